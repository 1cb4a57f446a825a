"""Writes the system prompt: who the model is, what it must not do, and what is known.

What other people wrote (passages, what the patient told) stands in marked places and is stripped
of anything a chat template would take for markup, so that it stays material and never an order.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from core.agent import context
from core.message import Language
from core.texts import text
from core.urgency import Urgency

_FIXED = ("role", "abilities", "limits", "style", "sources", "material")
_DATED = "2026.11"


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of an article or a book.

    Attributes:
        id: what an answer cites it by: ``KB12``, or ``<book>#<number>``.
        title: what it is called, with the page of a book.
        text: its words.
    """

    id: str
    title: str
    text: str


@cache
def prompt_version(language: Language) -> str:
    """Return the version of the fixed part: a date and a fingerprint of its words."""
    words = "\n".join(text(language, f"agent.prompt.{p}") for p in _FIXED)
    return f"{_DATED}-{hashlib.sha256(words.encode()).hexdigest()[:8]}"


def system_prompt(
    language: Language,
    *,
    summary: str = "",
    findings: Sequence[str] = (),
    passages: Sequence[Passage] = (),
    open_urgency: Urgency = Urgency.NONE,
    passage_tokens: int = 1500,
) -> str:
    """Return the system prompt.

    The fixed part comes first and never changes, so that a server's prefix cache is hit.

    Args:
        language: of the prompt; the model answers in the person's language.
        summary: what the conversation has established, as short lines.
        findings: readings of the person's photos in words, newest last.
        passages: what the search found, best first; whole passages only, as far as they fit.
        open_urgency: class found by triage that is still open.
        passage_tokens: room for passages, about a third of the context at most.
    """
    parts = [text(language, f"agent.prompt.{p}") for p in _FIXED]
    if kind := _urgency(open_urgency):
        parts.append(text(language, f"agent.prompt.urgency.{kind}"))
    if summary.strip():
        parts.append(f"{text(language, 'agent.prompt.summary')}\n{summary.strip()}")
    if findings:
        lines = "\n".join(f"- {f}" for f in findings)
        parts.append(f"{text(language, 'agent.prompt.findings')}\n{lines}")
    if chosen := fitting(passages, passage_tokens):
        bodies = "\n\n".join(
            f"[{p.id}] {context.neutral(p.title)}\n{context.neutral(p.text).strip()}"
            for p in chosen
        )
        parts.append(f"{text(language, 'agent.prompt.passages')}\n{bodies}")
    return "\n\n".join(p.strip() for p in parts)


def _urgency(urgency: Urgency) -> str | None:
    match urgency:
        case Urgency.IMMEDIATE:
            return "immediate"
        case Urgency.SAME_DAY:
            return "same_day"
        case Urgency.WITHIN_48_H | Urgency.TWO_WEEKS:
            return "soon"
        case _:
            return None


def fitting(passages: Sequence[Passage], budget: int) -> list[Passage]:
    """Return the first passages that fit into so many tokens, each whole."""
    chosen: list[Passage] = []
    for passage in passages:
        budget -= context.text_tokens(passage.title + passage.text) + 8
        if budget < 0:
            break
        chosen.append(passage)
    return chosen


# --- citations -------------------------------------------------------------------------------

_CITED = re.compile(
    r"[ \t]*[\[【(（]\s*((?:KB\d{1,3}|"
    r"[\w.-]{1,60}#\d{1,6})(?:\s*[,，、;；]\s*(?:KB\d{1,3}|[\w.-]{1,60}#\d{1,6}))*)\s*[\]】)）]"
)


def with_sources(
    answer: str, offered: Sequence[Passage], language: Language
) -> tuple[str, tuple[str, ...]]:
    """Replace the marks in an answer by one line of sources that the person can read.

    A mark of a passage that was not shown to the model is invented and goes.

    Returns:
        The answer, and the ids it rests on.
    """
    known = {p.id: p for p in offered}
    cited: dict[str, None] = {}
    for found in _CITED.finditer(answer):
        ids = re.split(r"\s*[,，、;；]\s*", found[1])
        cited |= dict.fromkeys(i for i in ids if i in known)
    said = _CITED.sub("", answer).strip()
    if not cited or not said:
        return said, ()
    comma = "；" if language == "zh-Hans" else "; "
    named = comma.join(
        f"{known[i].title} ({i})" if i.startswith("KB") else known[i].title for i in cited
    )
    return f"{said}\n\n{text(language, 'agent.sources', sources=named)}", tuple(cited)
