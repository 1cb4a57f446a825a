from __future__ import annotations

import random
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.agreement import Reviewed, agreement, to_json
from core.drift import BINS, Histogram, Received, Tallies, Tally, stability, weekly
from core.drift import to_json as weeks_to_json
from core.reading import CONDITIONS, Decision, Finding, Outcome, Reading, RetakeCause

ZONE = "Asia/Shanghai"


def a_reading(
    outcome: Outcome = "assessed",
    *,
    fundus: float = 0.95,
    gradable: float | None = 0.9,
    dr: tuple[Decision, float] = ("negative", 0.1),
    grade: int | None = 0,
    retake: tuple[RetakeCause, ...] = (),
    version: str = "m 1",
    other: Reading | None = None,
    **more: Decision,
) -> Reading:
    findings = tuple(
        Finding(c, *dr) if c == "dr" else Finding(c, more.get(c, "not_assessed"))
        for c in CONDITIONS
    )
    return Reading(
        outcome, findings, grade, None, fundus, gradable, retake, version, "CPU", 9, 9, other=other
    )


def at(day: str) -> int:
    return int(datetime.fromisoformat(day).replace(tzinfo=ZoneInfo(ZONE)).timestamp() * 1000)


def test_weeks_begin_on_monday_in_the_clinics_zone() -> None:
    photos = [
        Received("telegram", at("2026-11-15T23:59"), a_reading()),
        Received("telegram", at("2026-11-16T00:00"), a_reading()),
        Received("webchat", at("2026-01-01T12:00"), None),
    ]
    weeks = [(w.week, w.channel, w.tally.photos) for w in weekly(photos, zone=ZONE)]
    assert weeks == [("2026-W01", "webchat", 1), ("2026-W46", "telegram", 1), ("2026-W47", "telegram", 1)]  # fmt: skip  # noqa: E501


def test_a_tally_counts_each_eye_and_only_what_was_assessed() -> None:
    tally = Tally()
    tally.add(a_reading(dr=("refer", 0.97), other=a_reading("ungradable", retake=("blur",))))
    tally.add(a_reading("not_fundus", fundus=0.02, gradable=None))
    tally.add(None)
    assert tally.photos == 4
    assert tally.outcomes == {"assessed": 1, "ungradable": 1, "not_fundus": 1, "unread": 1}
    assert tally.decisions["dr", "refer"] == 1
    assert tally.retake == {"blur": 1}
    assert tally.scores["dr"].counts[9] == 1
    assert tally.scores["dr"].n == 1
    assert tally.scores["is_fundus"].n == 3
    assert tally.scores["gradable"].n == 2
    share = tally.shares()["dr refer"]
    assert (share.hits, share.of) == (1, 1)


def some_weeks(change: str, weeks: int = 5, n: int = 120) -> list[Received]:
    rng = random.Random(4)
    found = []
    for week in range(weeks):
        for _ in range(n):
            changed = week == weeks - 1
            poor = rng.random() < (0.4 if changed and change == "poor" else 0.1)
            score = rng.betavariate(2, 8)
            if changed and change == "scores":
                score = 0.4 + score / 2
            reading = (
                a_reading("ungradable", gradable=0.2)
                if poor
                else a_reading(dr=("borderline", score))
            )
            day = f"2026-10-{5 + 7 * week:02}T12:00" if week < 4 else "2026-11-02T12:00"
            found.append(Received("telegram", at(day), reading))
    return found


def test_a_week_that_differs_is_named_and_no_other() -> None:
    weeks = weekly(some_weeks("nothing"), zone=ZONE)
    assert [w.shifts for w in weeks] == [()] * 5
    weeks = weekly(some_weeks("poor"), zone=ZONE)
    assert [s.what for s in weeks[-1].shifts] == ["ungradable", "scores of gradable"]
    assert weeks[-1].shifts[0].here > 0.3 > (weeks[-1].shifts[0].before or 1)
    assert not any(s.what == "ungradable" for w in weeks[:-1] for s in w.shifts)
    weeks = weekly(some_weeks("scores"), zone=ZONE)
    assert [s.what for s in weeks[-1].shifts] == ["scores of dr"]
    assert weeks_to_json(weeks)[-1]["shifts"][0]["before"] is None
    assert not any(w.shifts for w in weeks[:-1])
    few = weekly(some_weeks("poor", n=12), zone=ZONE)
    assert not any(w.shifts for w in few)


@settings(max_examples=50)
@given(st.lists(st.integers(0, 50), min_size=BINS, max_size=BINS).filter(lambda c: sum(c) >= 50))
def test_the_same_scores_are_stable(counts: list[int]) -> None:
    here, there = Histogram(list(counts)), Histogram([3 * c for c in counts])
    # Fifty in one bin is the worst case: no bin counts as quite empty.
    assert stability(here, there) == pytest.approx(0, abs=0.06)
    moved = Histogram(list(reversed(counts)))
    assert stability(here, moved) == pytest.approx(stability(moved, here))


@given(st.floats(0, 1))
def test_every_score_has_a_bin(score: float) -> None:
    histogram = Histogram()
    histogram.add(score)
    assert histogram.n == 1


def test_tallies_by_channel() -> None:
    tallies = Tallies()
    tallies.add("telegram", a_reading())
    tallies.add("webchat", None)
    assert {c: t.photos for c, t in tallies.by_channel.items()} == {"telegram": 1, "webchat": 1}


def head(reviews: list[Reviewed], name: str):
    (found,) = agreement(reviews)
    return next(h for h in found.heads if h.name == name)


def test_agreement_says_who_said_more() -> None:
    reviews = [
        Reviewed(1, a_reading(dr=("refer", 0.9), grade=3), agrees=True, dr_grade=3),
        Reviewed(2, a_reading(dr=("refer", 0.9), grade=2), agrees=False, dr_grade=1),
        Reviewed(3, a_reading(grade=0), agrees=False, dr_grade=2),
        Reviewed(4, a_reading(grade=0), agrees=True, dr_grade=0),
        Reviewed(4, a_reading(dr=("borderline", 0.5), grade=1), dr_grade=1),
        Reviewed(5, a_reading("ungradable"), gradable=True),
        Reviewed(6, a_reading(), gradable=False),
        Reviewed(7, a_reading(), gradable=True, pm=True),  # pm is not assessed
    ]
    referable = head(reviews, "dr_referable")
    assert (referable.n, referable.unsure) == (4, 1)
    assert (referable.same.hits, referable.over.hits, referable.under.hits) == (2, 1, 1)
    assert referable.kappa.value == pytest.approx(0)
    grade = head(reviews, "dr_grade")
    assert (grade.n, grade.over.hits, grade.under.hits) == (5, 1, 1)
    gradable = head(reviews, "gradable")
    assert (gradable.n, gradable.over.hits, gradable.under.hits) == (3, 1, 1)
    (found,) = agreement(reviews)
    assert (found.agrees.hits, found.agrees.of) == (2, 4)
    assert found.patients == 7
    assert {h.name for h in found.heads} == {"gradable", "dr_grade", "dr_referable"}
    assert to_json([found])[0]["heads"][0]["name"] == "gradable"


def test_each_version_of_the_weights_on_its_own() -> None:
    reviews = [Reviewed(1, a_reading(version=v), dr_grade=0) for v in ("m 2", "m 1", "m 1")]
    assert [(a.model_version, a.reviews) for a in agreement(reviews)] == [("m 1", 2), ("m 2", 1)]
    assert agreement([]) == []


def test_the_interval_counts_patients_not_photos() -> None:
    rng = random.Random(9)
    once = []
    for patient in range(60):
        truth = rng.random() < 0.5
        said = truth if rng.random() < 0.8 else not truth
        reading = a_reading(dr=("refer", 0.9) if said else ("negative", 0.1))
        once.append(Reviewed(patient, reading, dr_grade=3 if truth else 0))
    alone, tenfold = head(once, "dr_referable").kappa, head(once * 10, "dr_referable").kappa
    assert alone.value == pytest.approx(tenfold.value)
    assert alone.interval == pytest.approx(tenfold.interval, rel=1e-6)
    low, high = alone.interval or (0, 0)
    assert 0.2 < high - low < 0.6


def test_kappa_of_cohens_table() -> None:
    """Cohen 1960: 20 and 15 agreed of 50, chance one half: 0.4."""
    counts = {(1, 1): 20, (1, 0): 5, (0, 1): 10, (0, 0): 15}
    reviews = [
        Reviewed(n, a_reading(dr=("refer", 0.9) if said else ("negative", 0.1)), dr_grade=4 * truth)
        for (said, truth), times in counts.items()
        for n in range(times)
    ]
    assert head(reviews, "dr_referable").kappa.value == pytest.approx(0.4)
    same = head([Reviewed(n, a_reading(), dr_grade=0) for n in range(5)], "dr_referable")
    assert same.kappa.value is None  # neither ever varies: nothing beyond chance to see
