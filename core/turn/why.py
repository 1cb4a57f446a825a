"""Answers "why?": which words counted, what was known, and by which version of the rules.

The verdict itself is stored with the patient's words, sealed; here is how it is told to them.
"""

from __future__ import annotations

from typing import Any

from core.interview.slots import load
from core.interview.state import Assessment
from core.interview.understand import normalise
from core.interview.wording import because
from core.reply import Reply, paragraph
from core.texts import text
from core.triage.verdict import explain, from_json
from core.turn.answer import Answer


def asks_why(words: str) -> bool:
    """Tell whether somebody asks for the reason of what we advised."""
    plain = normalise(words)
    return len(plain) <= 60 and bool(load().talk["why"].search(plain))


def explain_advice(answer: Answer) -> bool:
    """Explain the last advice; False when there was none."""
    advice = answer.state.advice
    if advice is None:
        return False
    data: dict[str, Any] = advice["data"]
    if advice["kind"] == "consult":
        said = because(Assessment.from_json(data), answer.language)
    else:
        said = explain(from_json(data), answer.language)
    lines = tuple(paragraph(line) for line in said.split("\n") if line)
    answer.say(Reply("answer", lines))
    return True


def say_nothing_advised(answer: Answer) -> None:
    """Say that there is nothing to explain yet."""
    answer.say(Reply("answer", (paragraph(text(answer.language, "turn.why_nothing")),)))
