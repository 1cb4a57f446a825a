"""Writes the system prompt: who the model is, what it must not do, and what is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from core.agent import context
from core.message import Language
from core.texts import text
from core.urgency import Urgency


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of an article from the knowledge base."""

    title: str
    text: str


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
    parts = [text(language, f"agent.prompt.{p}") for p in ("role", "abilities", "limits", "style")]
    if kind := _urgency(open_urgency):
        parts.append(text(language, f"agent.prompt.urgency.{kind}"))
    if summary.strip():
        parts.append(f"{text(language, 'agent.prompt.summary')}\n{summary.strip()}")
    if findings:
        lines = "\n".join(f"- {f}" for f in findings)
        parts.append(f"{text(language, 'agent.prompt.findings')}\n{lines}")
    if chosen := _fitting(passages, passage_tokens):
        bodies = "\n\n".join(f"## {p.title}\n{p.text.strip()}" for p in chosen)
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


def _fitting(passages: Sequence[Passage], budget: int) -> list[Passage]:
    chosen: list[Passage] = []
    for passage in passages:
        budget -= context.text_tokens(passage.title + passage.text) + 8
        if budget < 0:
            break
        chosen.append(passage)
    return chosen
