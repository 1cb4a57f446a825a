"""Tools the model may call. Each gets what it needs as a callable; none touches the store."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from core.agent.loop import Tool
from core.message import Language
from core.ports import ToolSpec
from core.reading import Reading
from core.texts import text


def read_fundus_photo(
    photo_ids: Sequence[str],
    read: Callable[[str], Awaitable[Reading]],
    *,
    language: Language,
    timeout_s: float = 20.0,
) -> Tool | None:
    """Make the tool that reads one of the person's own photos, or None when there is none.

    Args:
        photo_ids: the only ids the model may name, newest last; from our upload table.
        read: reads the photo with that id; PatientError and TransientError are told to the model
            as "no result".
        language: of the findings.
        timeout_s: longest reading.
    """
    if not photo_ids:
        return None
    known = frozenset(photo_ids)
    photo_id = {
        "type": "string",
        "enum": list(photo_ids),
        "description": text(language, "agent.tool.photo.photo_id"),
    }
    spec = ToolSpec(
        "read_fundus_photo",
        text(language, "agent.tool.photo.description"),
        {
            "type": "object",
            "properties": {"photo_id": photo_id},
            "required": ["photo_id"],
            "additionalProperties": False,
        },
    )

    async def run(arguments: Mapping[str, Any]) -> str:
        wanted = arguments["photo_id"]
        if wanted not in known:  # the schema says so too; a path must never get through
            return "error: there is no such photo"
        return findings_text(await read(wanted), language)

    return Tool(spec, run, timeout_s)


def findings_text(reading: Reading, language: Language) -> str:
    """Return a reading in a few words, for the model and for later prompts."""

    def say(key: str, **fields: str | int) -> str:
        return text(language, f"agent.reading.{key}", **fields)

    if reading.outcome == "not_fundus":
        return say("not_fundus")
    comma = "；" if language == "zh-Hans" else "; "
    if reading.outcome == "ungradable":
        causes = [say(f"cause.{c}") for c in reading.retake] or [say("cause.unknown")]
        return say("ungradable", causes=comma.join(causes))
    colon = "：" if language == "zh-Hans" else ": "
    words = [
        f"{say(f'condition.{f.condition}')}{colon}{say(f'decision.{f.decision}')}"
        + (f" ({f.probability:.0%})" if f.probability is not None else "")
        for f in reading.findings
    ]
    if reading.dr_grade is not None:
        words.append(say("grade", grade=reading.dr_grade))
    eye = say(f"eye.{reading.eye or 'unknown'}")
    assessed = say("assessed", eye=eye, model=reading.model_version, findings=comma.join(words))
    return f"{assessed} {say('closing')}"
