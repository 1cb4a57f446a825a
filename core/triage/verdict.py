"""What triage says about one message, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from core.message import Language
from core.texts import catalogue, text
from core.urgency import Urgency

Action = Literal["trigger", "confirm", "none"]


@dataclass(frozen=True, slots=True)
class Evidence:
    """Words that count for a flag.

    Attributes:
        flag: id of the red flag (clinical specification §2).
        text: the words as the person wrote them.
        start: where they begin in the message; -1 when they stand in an earlier line.
        end: one past their last character; -1 when they stand in an earlier line.
    """

    flag: str
    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of `engine.assess`.

    Attributes:
        action: ``trigger`` = send the emergency card now; ``confirm`` = ask whether it is
            happening now; ``none`` = no red flag.
        urgency: class of the flags. For ``confirm`` it is the class that will hold if the
            person says yes (or does not answer).
        flags: ids of the red flags, most urgent first.
        evidence: the words each flag rests on.
        rule_version: versions of lexicon and rules.
        reasons: how the verdict came about, as words of this engine: ``rule:<flag>``,
            ``doubt:<why asked>``, ``escalated:<why>``, ``known:<what was known from before>``,
            ``net``.
    """

    action: Action
    urgency: Urgency
    flags: tuple[str, ...]
    evidence: tuple[Evidence, ...]
    rule_version: str
    reasons: tuple[str, ...] = ()


def to_json(verdict: Verdict) -> dict[str, Any]:
    """Return a JSON-ready form that `from_json` reads back equal."""
    return {
        "action": verdict.action,
        "urgency": str(verdict.urgency),
        "red_flags": list(verdict.flags),
        "evidence": [[e.flag, e.text, e.start, e.end] for e in verdict.evidence],
        "rule_version": verdict.rule_version,
        "reasons": list(verdict.reasons),
    }


def from_json(data: dict[str, Any]) -> Verdict:
    """Read back what `to_json` wrote."""
    return Verdict(
        data["action"],
        Urgency(data["urgency"]),
        tuple(data["red_flags"]),
        tuple(Evidence(*e) for e in data["evidence"]),
        data["rule_version"],
        tuple(data["reasons"]),
    )


def explain(
    verdict: Verdict, language: Language, *, to: Literal["patient", "staff"] = "patient"
) -> str:
    """Say in plain words why this advice was given ("why this advice").

    Args:
        verdict: as it was stored with the turn.
        language: of whoever reads it.
        to: staff read the same words and version without what is meant to comfort.
    """
    if verdict.action == "none":
        return text(language, "triage.explain.none")
    said = list(dict.fromkeys(e.text for e in verdict.evidence if e.text.strip()))[:4]
    joined = text(language, "triage.explain.and").join(
        text(language, "triage.explain.quoted", words=words) for words in said
    )
    whose = "" if to == "patient" else "_staff"
    lines = [text(language, f"triage.explain.said{whose}", words=joined)] if said else []
    names = text(language, "triage.explain.and").join(
        text(language, f"triage.flag.{flag}") for flag in verdict.flags[:2]
    )
    if to == "patient":
        lines.append(text(language, f"triage.explain.{verdict.action}", flags=names))
    else:
        lines.append(names)
    named = catalogue(language)
    for kind in ("known", "escalated"):
        what = [r.removeprefix(f"{kind}:") for r in verdict.reasons if r.startswith(f"{kind}:")]
        keys = (f"triage.known.{name}" for name in what)
        words = list(dict.fromkeys(named[key] for key in keys if key in named))
        if words:
            joined = text(language, "triage.explain.and").join(words)
            key = f"known{whose}" if kind == "known" else kind
            lines.append(text(language, f"triage.explain.{key}", words=joined))
    lines.append(text(language, "triage.explain.version", version=verdict.rule_version))
    return "\n".join(lines)
