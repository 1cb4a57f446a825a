"""Scoring: the arithmetic, and the engine on the shared development set where it is present."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from core.triage.evaluation import (
    Case,
    Rate,
    context_line,
    prediction_line,
    read_cases,
    report,
    run,
    score,
)
from core.triage.verdict import Verdict
from core.urgency import Urgency

SHARED = Path(os.environ.get("OCULICHAT_SHARED", Path(__file__).parents[3] / "shared"))
DEV = SHARED / "clinical" / "eval_dev.jsonl"


def a_row(case_id: str, *, trigger: bool, **fields: object) -> str:
    row: dict[str, object] = {
        "id": case_id, "lang": "zh", "text": "左眼突然看不见了" if trigger else "你好",
        "context": ["bot: 您好", "user: 在吗"], "urgency": "immediate" if trigger else "none",
        "min_ok": "same_day" if trigger else "none",
        "max_ok": "immediate" if trigger else "routine",
        "red_flags": ["sudden_vision_loss"] if trigger else [], "should_trigger": trigger,
        "kind": "red_flag" if trigger else "ordinary",
    }  # fmt: skip
    return json.dumps({**row, **fields})


def test_wilson_interval() -> None:
    low, high = Rate(8, 10).interval
    assert (round(low, 3), round(high, 3)) == (0.490, 0.943)
    assert Rate(0, 0).value == 0
    assert Rate(5, 5).interval[1] == 1


def test_context_lines_know_their_author() -> None:
    assert context_line("bot: 戴隐形吗").author == "service"
    assert context_line("user: 戴").text == "戴"
    assert context_line("随便说: 一句").author == "patient"


def test_scores_count_hits_misses_and_confirms() -> None:
    cases: list[Case] = read_cases([a_row("a", trigger=True), a_row("b", trigger=False), ""])
    verdicts = run(cases)
    scores = score(cases, verdicts)
    assert scores.rates["sensitivity_all"] == Rate(1, 1)
    assert scores.rates["specificity_all"] == Rate(1, 1)
    assert "sensitivity_immediate" in report(scores)
    asked = Verdict("confirm", Urgency.IMMEDIATE, ("sudden_vision_loss",), (), "1")
    scores = score(cases, {"a": asked, "b": asked})
    assert scores.rates["sensitivity_all"] == Rate(0, 1)
    assert scores.rates["confirm_rate_on_negatives"] == Rate(1, 1)
    assert scores.rates["specificity_all"] == Rate(1, 1)
    assert scores.missed == ("a",)
    assert json.loads(prediction_line("a", asked))["red_flags"] == ["sudden_vision_loss"]


@pytest.mark.skipif(not DEV.exists(), reason=f"no shared development set at {DEV}")
def test_the_development_set_meets_its_bars() -> None:
    cases = read_cases(DEV.read_text("utf-8").splitlines())
    rates = score(cases, run(cases)).rates
    assert rates["sensitivity_all"].value >= 0.97
    assert rates["sensitivity_immediate"].value >= 0.98
    assert rates["specificity_hard_negative"].value >= 0.93
    assert rates["specificity_ordinary"].value >= 0.96
    assert rates["no_undertriage"].value >= 0.95
    assert rates["confirm_rate_on_negatives"].value <= 0.12


# Written by somebody who had not seen the vocabulary, and measured once before it was put here.
# Whoever changes the vocabulary after reading it has used it up: then write another one.
UNSEEN = Path(__file__).parent / "triage_unseen.jsonl"


def test_messages_nobody_tuned_to_meet_the_bars() -> None:
    cases = read_cases(UNSEEN.read_text("utf-8").splitlines())
    rates = score(cases, run(cases)).rates
    assert rates["sensitivity_all"].value >= 0.95
    assert rates["sensitivity_immediate"].value >= 0.97
    assert rates["specificity_hard_negative"].value >= 0.90
    assert rates["specificity_ordinary"].value >= 0.95
    assert rates["confirm_rate_on_negatives"].value <= 0.15
