"""Unsafe and contradicting answers in many wordings; the bar is 0.95 both ways."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from core.agent.contradiction import Known, contradictions
from core.agent.safety import check, showable
from core.reading import CONDITIONS, Decision, Finding, Outcome, Reading
from core.urgency import Urgency

HERE = Path(__file__).parent
DRUGS: dict[str, dict[str, list[str]]] = yaml.safe_load(
    (HERE / "said_about_drugs.yaml").read_text("utf-8")
)
FINDINGS: dict[str, dict[str, list[dict[str, str]]]] = yaml.safe_load(
    (HERE / "said_about_findings.yaml").read_text("utf-8")
)
BAR = 0.95


def a_reading(
    outcome: Outcome = "assessed", eye: Any = "OD", grade: int | None = None, **decisions: Decision
) -> Reading:
    findings = tuple(Finding(c, decisions.get(c, "not_assessed")) for c in CONDITIONS)
    return Reading(outcome, findings, grade, eye, 0.9, 0.9, (), "m", "cpu", 1, 1)


REFER = a_reading(grade=2, dr="refer", dme="negative", pm="negative")
NEGATIVE = a_reading(grade=0, dr="negative", dme="negative", pm="negative")
LEFT_NEGATIVE = a_reading(eye="OS", grade=0, dr="negative", dme="negative", pm="negative")
KNOWN = {
    "refer": Known(readings=(REFER,)),
    "borderline": Known(readings=(a_reading(dr="borderline", dme="negative", pm="negative"),)),
    "negative": Known(readings=(NEGATIVE,)),
    "ungradable": Known(readings=(a_reading("ungradable"),)),
    "not_fundus": Known(readings=(a_reading("not_fundus", eye=None),)),
    "pair": Known(readings=(REFER, LEFT_NEGATIVE)),
    "immediate": Known(Urgency.IMMEDIATE),
    "same_day": Known(Urgency.SAME_DAY),
    "soon": Known(Urgency.WITHIN_48_H),
}
# So that one bad sentence is taken out and the rest may stay.
AROUND = "先别紧张。请把情况慢慢告诉我。{}我会一直在这里。"


def _problems(said: str) -> tuple[str, ...]:
    return check(AROUND.format(said), language="zh-Hans", known=Known()).problems


@pytest.mark.parametrize("batch", DRUGS)
@pytest.mark.parametrize("kind", ["dose", "diagnosis"])
def test_doses_and_diagnoses_are_found_however_they_are_put(batch: str, kind: str) -> None:
    said = DRUGS[batch][kind]
    missed = [s for s in said if not _problems(s)]
    assert len(missed) <= (1 - BAR) * len(said), missed


@pytest.mark.parametrize("batch", DRUGS)
def test_what_may_be_said_is_let_through(batch: str) -> None:
    said = DRUGS[batch]["fine"]
    stopped = [s for s in said if _problems(s)]
    assert len(stopped) <= (1 - BAR) * len(said), stopped


@pytest.mark.parametrize("batch", FINDINGS)
def test_contradictions_are_found_however_they_are_put(batch: str) -> None:
    rows = FINDINGS[batch]["contradicting"]
    missed = [r for r in rows if not contradictions(r["text"], KNOWN[r["known"]])]
    assert len(missed) <= (1 - BAR) * len(rows), missed


@pytest.mark.parametrize("batch", FINDINGS)
def test_faithful_answers_are_let_through(batch: str) -> None:
    rows = FINDINGS[batch]["faithful"]
    stopped = [r for r in rows if contradictions(r["text"], KNOWN[r["known"]])]
    assert len(stopped) <= (1 - BAR) * len(rows), stopped


@given(st.sampled_from([r for b in FINDINGS.values() for r in b["contradicting"]]))
def test_a_draft_never_grows_past_a_contradiction_of_one_sentence(row: dict[str, str]) -> None:
    known = KNOWN[row["known"]]
    shown = showable(row["text"] + "\n后面还有。", language="zh-Hans", known=known)
    assert not contradictions(shown, known)


@given(st.text(max_size=300), st.sampled_from(list(KNOWN)))
def test_any_text_can_be_looked_at(said: str, known: str) -> None:
    contradictions(said, KNOWN[known])


def test_nothing_known_contradicts_nothing() -> None:
    rows = [r for b in FINDINGS.values() for kind in b.values() for r in kind]
    assert not [r for r in rows if contradictions(r["text"], Known())]
