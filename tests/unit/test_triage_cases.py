"""The engine on its own paraphrases: every red flag raised, next to nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from core.triage.engine import assess
from core.triage.evaluation import context_line
from core.triage.frames import rule_book

CASES: dict[str, Any] = yaml.safe_load(
    (Path(__file__).parent / "triage_cases.yaml").read_text("utf-8")
)


@pytest.mark.parametrize(("flag", "text"), CASES["red_flags"])
def test_a_red_flag_triggers(flag: str, text: str) -> None:
    assert assess(text).action == "trigger"


def test_the_right_flag_is_named() -> None:
    named = [flag in assess(text).flags for flag, text in CASES["red_flags"]]
    assert sum(named) / len(named) >= 0.98


@pytest.mark.parametrize(("kind", "text"), CASES["hard_negatives"])
def test_a_hard_negative_does_not_trigger(kind: str, text: str) -> None:
    assert assess(text).action != "trigger"


@pytest.mark.parametrize("text", CASES["ordinary"])
def test_an_ordinary_question_is_not_even_asked_about(text: str) -> None:
    assert assess(text).action == "none"


def test_negatives_are_seldom_asked_about() -> None:
    texts = [t for _, t in CASES["hard_negatives"]] + CASES["ordinary"]
    asked = [t for t in texts if assess(t).action == "confirm"]
    assert len(asked) / len(texts) <= 0.12


@pytest.mark.parametrize("row", CASES["dialogues"])
def test_a_dialogue_is_read_together(row: dict[str, Any]) -> None:
    verdict = assess(row["text"], context=[context_line(c) for c in row["context"]])
    if row["flag"] == "none":
        assert verdict.action != "trigger"
    else:
        assert verdict.action == "trigger"
        assert row["flag"] in verdict.flags


def test_the_cases_cover_every_flag() -> None:
    assert {flag for flag, _ in CASES["red_flags"]} == set(rule_book().flags)
