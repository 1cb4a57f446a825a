from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.followup.report import (
    FATES,
    GROUPINGS,
    Comparison,
    PlanRow,
    Share,
    report,
    to_json,
    to_rows,
)

TODAY = date(2026, 6, 30)
FIRST, LAST = date(2026, 1, 1), date(2026, 12, 31)


def a_plan(person: int = 1, **fields) -> PlanRow:
    """A DR2 referral planned in February, due 90 days later, nothing heard since."""
    known = {
        "reason": "dr2",
        "channel": "telegram",
        "arm": "standard",
        "planned_day": date(2026, 2, 1),
        "due_day": date(2026, 5, 2),
        "state": "active",
        "changed_day": date(2026, 2, 1),
        "reminded": True,
        "confirmed": False,
    }
    return PlanRow(person, **{**known, **fields})


def seen(day: date, **fields) -> PlanRow:
    return a_plan(state="seen", seen_day=day, changed_day=day, **fields)


def of(*rows: PlanRow, today: date = TODAY):
    return report(rows, first=FIRST, last=LAST, today=today)


@pytest.mark.parametrize(
    ("row", "fate"),
    [
        (seen(date(2026, 3, 1)), "on_time"),  # early
        (seen(date(2026, 5, 11)), "on_time"),  # 90 days: nine more
        (seen(date(2026, 5, 12)), "late"),
        (a_plan(), "lost"),
        (a_plan(state="stopped"), "lost"),  # opting out of reminders is no visit
        (a_plan(state="died"), "died"),
        (a_plan(due_day=date(2026, 6, 2)), "open"),  # 28 days ago
        (a_plan(due_day=date(2026, 6, 1)), "lost"),
        (a_plan(due_day=date(2026, 6, 20), state="refused"), "lost"),
        (a_plan(due_day=date(2026, 6, 20), state="moved"), "lost"),
        (a_plan(due_day=date(2026, 6, 20), state="unreachable"), "lost"),
    ],
)
def test_fates(row, fate):
    found = of(row).total
    assert found.due == 1
    assert found.fates == {**dict.fromkeys(FATES, 0), fate: 1}


@pytest.mark.parametrize(("interval", "grace"), [(0, 1), (2, 1), (14, 1), (90, 9), (365, 14)])
def test_a_tenth_of_the_interval_is_still_on_time(interval, grace):
    due = date(2026, 5, 2)
    row = a_plan(planned_day=due - timedelta(days=interval), due_day=due)
    assert row.last_on_time - due == timedelta(days=grace)


def test_nobody_is_lost_before_the_visit_is_due():
    tomorrow = TODAY + timedelta(days=1)
    early = seen(date(2026, 6, 1), due_day=tomorrow)  # would count alone
    found = of(a_plan(due_day=tomorrow), early)
    assert found.total.due == 0
    assert found.last == TODAY
    assert found.total.attendance.value is None


def test_who_came_at_once_does_not_count_before_those_who_still_may():
    """Of ten due today three have come; the others still have nine days."""
    days = {"planned_day": date(2026, 4, 1), "due_day": TODAY}
    rows = [seen(date(2026, 6, 28), person=n, **days) for n in range(3)]
    rows += [a_plan(n, **days) for n in range(3, 10)]
    found = of(*rows).total
    assert (found.fates["on_time"], found.fates["open"], found.judged) == (3, 7, 0)
    later = of(*rows, today=TODAY + timedelta(days=10)).total
    assert (later.attendance.hits, later.attendance.of) == (3, 10)


def test_replaced_and_declined_plans():
    in_time = a_plan(state="replaced", changed_day=date(2026, 5, 11))
    too_late = a_plan(state="replaced", changed_day=date(2026, 5, 12))
    found = of(in_time, too_late, a_plan(state="declined")).total
    assert (found.due, found.fates["lost"]) == (1, 1)


def test_a_clinics_quarter():
    rows = [
        *(seen(date(2026, 5, 1), person=n, confirmed=True) for n in range(43)),
        *(seen(date(2026, 5, 30), person=100 + n) for n in range(7)),
        *(a_plan(200 + n, reminded=n > 2, channel="webchat") for n in range(40)),
        *(a_plan(300 + n, reason="glaucoma", due_day=date(2026, 6, 20)) for n in range(6)),
        *(a_plan(400 + n, state="died") for n in range(2)),
    ]
    found = of(*rows)
    total = found.total
    assert (total.due, total.reminded, total.confirmed) == (98, 95, 43)
    assert total.fates == {"on_time": 43, "late": 7, "open": 6, "lost": 40, "died": 2}
    assert (total.attendance.hits, total.attendance.of) == (43, 90)
    assert {n: f.due for n, f in found.groups["reason"].items()} == {"dr2": 92, "glaucoma": 6}
    assert {n: f.due for n, f in found.groups["channel"].items()} == {"telegram": 58, "webchat": 40}
    assert list(found.groups["month"]) == ["2026-05", "2026-06"]
    assert found.comparisons == ()  # one cadence


def test_wilson_as_published():
    """Newcombe 1998 (Stat Med 17:857), table I, method 3: 81/263, 15/148, 0/20, 1/29."""
    for hits, n, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ):
        assert Share(hits, n).interval == pytest.approx((low, high), abs=5e-5)


def test_newcombe_as_published():
    """Newcombe 1998 (Stat Med 17:873), table II, method 10."""
    for a, m, b, n, low, high in (
        (56, 70, 48, 80, 0.0524, 0.3339),
        (9, 10, 3, 10, 0.1705, 0.8090),
        (5, 56, 0, 29, -0.0381, 0.1926),
        (0, 10, 0, 20, -0.1611, 0.2775),
        (10, 10, 0, 10, 0.6075, 1.0),
    ):
        one = Comparison("lighter", "standard", Share(a, m), Share(b, n))
        assert one.interval == pytest.approx((low, high), abs=5e-5)


def test_cadences_are_compared_by_person_as_given():
    rows = [seen(date(2026, 5, 1), person=n) for n in range(40)]
    rows += [a_plan(100 + n) for n in range(60)]
    rows += [seen(date(2026, 5, 1), person=200 + n, arm="lighter") for n in range(30)]
    rows += [a_plan(300 + n, arm="lighter", state="stopped") for n in range(70)]
    # A second plan of the same people, kept by all of them, must not count again.
    rows += [
        replace(seen(date(2026, 6, 1), person=200 + n, arm="lighter"), due_day=date(2026, 6, 1))
        for n in range(30)
    ]
    (one,) = of(*rows).comparisons
    assert (one.arm, one.reference) == ("lighter", "standard")
    assert (one.share, one.reference_share) == (Share(30, 100), Share(40, 100))
    assert one.difference == pytest.approx(-0.1)
    low, high = one.interval
    assert low < -0.1 < high
    assert 0.2 < high - low < 0.3


def test_an_arm_without_anybody_judged_is_said_to_be_so():
    rows = [seen(date(2026, 5, 1)), a_plan(2, arm="lighter", due_day=TODAY)]
    (one,) = of(*rows).comparisons
    assert one.difference is None
    assert one.interval is None
    assert to_json(of(*rows))["comparison"]["arms"][0]["difference_95"] is None


def test_nothing_at_all():
    found = of()
    assert found.total.attendance.interval is None
    data = to_json(found)
    assert data["total"]["due"] == 0
    assert data["total"]["on_time_rate"] is None
    (row,) = to_rows(found)
    assert row["on_time_95_low"] is None


_days = st.dates(date(2025, 6, 1), date(2026, 12, 31))
_plans = st.builds(
    PlanRow,
    person=st.integers(1, 8),
    reason=st.sampled_from(["dr2", "dr3", "glaucoma"]),
    channel=st.sampled_from(["telegram", "webchat"]),
    arm=st.sampled_from(["standard", "lighter"]),
    planned_day=_days,
    due_day=_days,
    state=st.sampled_from(
        ["active", "replaced", "declined", "stopped", "refused", "moved", "unreachable", "died"]
    ),
    changed_day=_days,
    reminded=st.booleans(),
    confirmed=st.booleans(),
    seen_day=st.none() | _days,
)


@given(st.lists(_plans, max_size=30))
def test_everybody_is_somewhere_and_nowhere_twice(rows):
    found = of(*rows)
    assert sum(found.total.fates.values()) == found.total.due <= len(rows)
    for by in GROUPINGS:
        parts = found.groups[by].values()
        assert sum(f.due for f in parts) == found.total.due
        assert sum(f.judged for f in parts) == found.total.judged
    assert found.total.judged_on_time <= found.total.judged <= found.total.due


@given(st.integers(0, 500), st.integers(1, 500), st.integers(0, 500), st.integers(1, 500))
def test_intervals_hold_their_estimate(a, m, b, n):
    one = Comparison("x", "y", Share(min(a, m), m), Share(min(b, n), n))
    for interval, value in (
        (one.share.interval, one.share.value),
        (one.interval, one.difference),
    ):
        assert interval[0] - 1e-12 <= value <= interval[1] + 1e-12
