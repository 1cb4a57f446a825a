"""What is known about a person: learnt, kept as long as it holds, and given to triage."""

from __future__ import annotations

import pytest

from core.interview.known import facts, for_triage, learn, remember
from core.interview.slots import load
from core.triage.engine import assess
from core.urgency import Urgency

DATA = load()
NOW = 1_800_000_000_000
DAY_MS = 24 * 3_600_000


def after(*said: str, days: float = 0, person: str = "self") -> dict[str, str]:
    known = {}
    for words in said:
        known = learn(known, words, DATA, person="self", now_ms=NOW)
    return for_triage(known, person, DATA, NOW + int(days * DAY_MS))


@pytest.mark.parametrize(
    ("words", "person", "expected"),
    [
        ("我怀孕六个月了", "self", {"pregnant": "yes"}),
        ("我就剩这一只好眼了", "self", {"only_eye": "yes"}),
        ("I only have one good eye", "self", {"only_eye": "yes"}),
        ("正在化疗", "self", {"immune": "yes"}),
        ("住在山里，去县医院要三个小时", "self", {"far": "yes"}),
        ("the nearest eye clinic is three hours away", "self", {"far": "yes"}),
        ("我妈一直吃华法林", "mother", {"thinner": "yes"}),
        ("宝宝两个月大", "baby", {"age": "under_3_months"}),
        ("my baby is six weeks old", "baby", {"age": "under_3_months"}),
        ("宝宝出生十天", "baby", {"age": "newborn"}),
        ("孩子五岁半", "child", {"age": "child"}),
        ("我平时戴隐形眼镜", "self", {"lens": "yes"}),
        ("三天前做了白内障手术", "self", {"surgery": "recent"}),
        ("近视一千多度", "self", {"myopia": "yes"}),
        ("老公有糖尿病", "spouse", {"diabetes": "yes"}),
        ("如果怀孕了能散瞳吗", "self", {}),
        ("我没有怀孕", "self", {"pregnant": "no"}),
        ("我只有一只眼红", "self", {}),
        ("will I need this if I am pregnant?", "self", {}),
    ],
)
def test_learns_from_words(words: str, person: str, expected: dict[str, str]) -> None:
    assert after(words, person=person) == expected


@pytest.mark.parametrize(
    ("words", "person", "days", "expected"),
    [
        ("我怀孕六个月了", "self", 60, {"pregnant": "yes"}),
        ("我怀孕六个月了", "self", 120, {}),
        ("宝宝两个月大", "baby", 45, {"age": "infant"}),
        ("宝宝两个月大", "baby", 400, {"age": "child"}),
        ("三天前做了白内障手术", "self", 50, {"surgery": "recent"}),
        ("三天前做了白内障手术", "self", 60, {"surgery": "past"}),
        ("我有糖尿病", "self", 2000, {"diabetes": "yes"}),
        ("我平时戴隐形眼镜", "self", 400, {}),
    ],
)
def test_holds_as_long_as_it_makes_sense(
    words: str, person: str, days: float, expected: dict[str, str]
) -> None:
    assert after(words, days=days, person=person) == expected


def test_facts_of_two_people_stay_apart() -> None:
    said = ("我怀孕了", "我妈有糖尿病")
    assert after(*said) == {"pregnant": "yes"}
    assert after(*said, person="mother") == {"diabetes": "yes"}


def test_an_interview_that_repeats_a_fact_keeps_the_day_of_the_operation() -> None:
    known = learn({}, "三天前做了白内障手术", DATA, person="self", now_ms=NOW)
    later = NOW + 50 * DAY_MS
    again = remember(known, {"surgery": "recent"}, DATA, person="self", now_ms=later)
    assert facts(again, "self", DATA, later + 20 * DAY_MS)["surgery"] == "past"


@pytest.mark.parametrize(
    ("words", "slots", "urgency"),
    [
        ("眼睛又红又疼，怕光", {}, Urgency.SAME_DAY),
        ("眼睛又红又疼，怕光", {"only_eye": "yes"}, Urgency.IMMEDIATE),
        ("眼睛又红又疼，怕光", {"pregnant": "yes"}, Urgency.IMMEDIATE),
        ("眼睛又红又疼，怕光", {"immune": "yes"}, Urgency.IMMEDIATE),
        ("眼睛又红又疼，怕光", {"far": "yes"}, Urgency.IMMEDIATE),
        ("被球砸到眼睛，看不清", {"thinner": "yes"}, Urgency.IMMEDIATE),
        ("眼睛又红又疼，看不清", {"surgery": "recent"}, Urgency.IMMEDIATE),
        ("谢谢，明白了", {"only_eye": "yes", "lens": "yes", "surgery": "recent"}, Urgency.NONE),
    ],
)
def test_triage_counts_it(words: str, slots: dict[str, str], urgency: Urgency) -> None:
    assert assess(words, slots=slots).urgency is urgency


@pytest.mark.parametrize(
    "words",
    ["右眼今天突然变模糊", "眼前一直闪光", "眼珠转不动了", "眼睛又红又疼", "黑点突然变多了"],
)
@pytest.mark.parametrize(
    "slots",
    [{"lens": "yes"}, {"age": "child"}, {"pregnant": "yes"}, {"surgery": "recent"}],
)
def test_what_is_known_never_lowers_a_verdict(words: str, slots: dict[str, str]) -> None:
    assert assess(words, slots=slots).urgency.rank <= assess(words).urgency.rank


def test_what_is_most_urgent_already_is_not_said_to_be_raised() -> None:
    verdict = assess("左眼突然看不见了", slots={"only_eye": "yes"})
    assert verdict.urgency is Urgency.IMMEDIATE
    assert not any(reason.startswith("escalated:") for reason in verdict.reasons)
