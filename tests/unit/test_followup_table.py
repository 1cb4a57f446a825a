"""A clinic's own interval table, its closed days, its cadences, and what hurries a visit."""

from __future__ import annotations

import zoneinfo
from collections import Counter
from datetime import date, datetime, time, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import ConfigError
from core.followup import calendar
from core.followup.cadence import CADENCES, STANDARD, arm_of
from core.followup.calendar import OpenDays
from core.followup.intervals import BOUND_DAYS, adopt, load_clinics, shipped, table
from core.followup.ladder import STEPS, reminder_times
from core.followup.plan import propose
from core.followup.risk import modifiers
from core.followup.walltime import day_of, moment_ms, next_daily, wall_of
from core.interview.state import Assessment
from core.urgency import Urgency

DAY_MS = 86_400_000
ZONES = sorted(z for z in zoneinfo.available_timezones() if "/" in z)


def noon(year: int, month: int, day: int) -> datetime:
    return datetime.combine(date(year, month, day), time(12))


@pytest.fixture
def clinic(tmp_path):
    """Write a clinic's table and load it."""

    def load(text: str):
        path = tmp_path / "intervals.yaml"
        path.write_text(text, "utf-8")
        return load_clinics(path)

    yield load
    adopt(None)


def test_the_shipped_table_keeps_to_its_classes():
    rows = [*shipped().findings.values(), *shipped().urgency.values()]
    rows += [row for row in shipped().assessments.values() if row]
    for row in rows:
        assert row.due_in_days <= BOUND_DAYS.get(row.urgency, 731)
        assert row.source
    assert set(shipped().urgency) == {u for u in Urgency if u is not Urgency.NONE}


def test_a_clinic_may_see_people_sooner(clinic):
    adopt(clinic("version: our-1\nfindings:\n  dr2: {days: 30}\n"))
    p = propose(None, Assessment(Urgency.ROUTINE, "unclear", {"findings": "dr2"}))
    assert (p.rule_id, p.due_in_days, p.table_version) == ("dr2", 30, "our-1")
    assert table().findings["dr2"].sooner_days == 14
    assert table().findings["dr3"] == shipped().findings["dr3"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("findings: {dr2: {days: 30}}", "version"),
        ("version: 2026.11-1\n", "version"),
        ("version: our-1\nfindings: {dr2: {days: 120}}", "reviewed_by"),
        ("version: our-1\nreviewed_by: none\nfindings: {dr2: {days: 120}}", "reviewed_by"),
        ("version: our-1\nfindings: {dr2: {sooner: []}}", "reviewed_by"),
        ("version: our-1\nfindings: {dr2: {refer: false}}", "reviewed_by"),
        ("version: our-1\nurgency: {same_day: {urgency: 24_48h, days: 2}}", "reviewed_by"),
        ("version: our-1\nreviewed_by: Dr. Li\nfindings: {dr4: {days: 30}}", "2_weeks allows"),
        ("version: our-1\nfindings: {dr9: {days: 3}}", "no such row"),
        ("version: our-1\nfindings: {dr2: {day: 3}}", "a row has only"),
        ("version: our-1\nfindings: {dr2: {days: soon}}", "whole numbers"),
        ("version: our-1\nfindings: {dr2: {urgency: fast}}", "must be one of"),
        ("version: our-1\ncolours: {}", "no part of a table"),
        ("version: our-1\nfindings: [1]", "rows by name"),
        ("version: [", "valid YAML"),
        ("", "version"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_by_name(clinic, text, said):
    with pytest.raises(ConfigError, match=r"followups\.intervals") as caught:
        clinic(text)
    assert said in str(caught.value)


def test_a_clinician_may_make_it_later_within_the_class(clinic):
    text = "version: our-2\nreviewed_by: Dr. Li, 2026-11-20\nfindings: {dr2: {days: 120}}"
    assert clinic(text).findings["dr2"].due_in_days == 120
    assert clinic(text).reviewed_by == "Dr. Li, 2026-11-20"


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere\.yaml"):
        load_clinics(tmp_path / "nowhere.yaml")


# -- closed days ---------------------------------------------------------------------------------


def test_the_national_day_week_of_2026_is_closed():
    days = calendar.shipped()
    assert [d for d in range(1, 9) if days.is_open(date(2026, 10, d))] == [8]
    assert not days.is_open(date(2026, 2, 20))
    assert not days.is_open(date(2027, 2, 6))


@given(st.dates(date(2026, 1, 1), date(2027, 12, 31)), st.integers(0, 400))
def test_a_visit_is_never_proposed_later_than_due_or_on_a_closed_day(due, days):
    open_days = OpenDays("t", calendar.shipped().closed, frozenset({6}))
    earliest = due - timedelta(days=days)
    found = open_days.on_or_before(due, earliest=earliest)
    assert open_days.is_open(found)
    if any(open_days.is_open(earliest + timedelta(days=n)) for n in range(days + 1)):
        assert earliest <= found <= due


def test_a_message_that_asks_to_book_waits_for_the_end_of_the_holiday():
    zone, due = "Asia/Shanghai", moment_ms(noon(2026, 10, 12), "Asia/Shanghai")
    now = moment_ms(noon(2026, 9, 1), zone)
    times = reminder_times(
        due - 9 * DAY_MS, now_ms=now, zone=zone, booked=False, urgency=Urgency.ROUTINE,
        open_days=calendar.shipped(),
    )  # fmt: skip
    days = {t.step: day_of(t.at_ms, zone) for t in times}
    assert days["before_14"] == date(2026, 9, 19)
    assert days["due"] == date(2026, 10, 8)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("version: 1", "years"),
        ("years: {2026: {closed: []}}", "source"),
        ("years: {2026: {source: x, closed: [{name: a, from: 2026-10-02, to: 2026-10-01}]}}", "a"),
        ("years: {2026: {source: x, closed: [{name: b, from: 2026-01-01, to: 2026-12-01}]}}", "b"),
        ("years: [", "valid YAML"),
    ],
)
def test_closed_days_that_cannot_be_used_are_refused(tmp_path, text, said):
    path = tmp_path / "days.yaml"
    path.write_text(text, "utf-8")
    with pytest.raises(ConfigError) as caught:
        calendar.load(path)
    assert said in str(caught.value)


def test_a_clinic_that_never_opens_is_refused():
    with pytest.raises(ConfigError, match="closed_weekdays"):
        calendar.parse({"years": {}}, name="x", closed_weekdays=frozenset(range(7)))


# -- cadences ------------------------------------------------------------------------------------


def test_arms_are_drawn_evenly_and_stay():
    arms = tuple(CADENCES)
    drawn = Counter(arm_of(n, arms, "autumn") for n in range(10_000))
    assert all(abs(count - 5_000) < 250 for count in drawn.values())
    assert all(arm_of(n, arms, "autumn") == arm_of(n, arms, "autumn") for n in range(100))
    assert any(arm_of(n, arms, "autumn") != arm_of(n, arms, "winter") for n in range(100))
    assert arm_of(1, (), "s") == STANDARD


@pytest.mark.parametrize("arm", list(CADENCES))
def test_every_step_of_a_cadence_has_words(arm):
    cadence = CADENCES[arm]
    named = {f"before_{n}" for n in cadence.booked}
    named |= {f"before_{-n}" if n < 0 else f"after_{n}" if n else "due" for n in cadence.due}
    assert named <= set(STEPS)


@pytest.mark.parametrize("urgency", [u for u in Urgency if u.rank <= Urgency.TWO_WEEKS.rank])
def test_nobodys_safety_is_drawn_by_lot(urgency):
    now = moment_ms(noon(2026, 11, 2), "Asia/Shanghai")
    ladders = {
        reminder_times(
            now + 10 * DAY_MS, now_ms=now, zone="Asia/Shanghai", booked=False, urgency=urgency,
            seed="x", arm=arm,
        )
        for arm in CADENCES
    }  # fmt: skip
    assert len(ladders) == 1


# -- wall times ----------------------------------------------------------------------------------


@pytest.mark.parametrize("day", [date(2026, 10, 25), date(2027, 3, 28)])
def test_what_is_daily_at_half_past_two_happens_once_on_the_night_the_clocks_change(day):
    """APScheduler's cron trigger fires twice on 2026-10-25 in Berlin."""
    start = moment_ms(datetime.combine(day - timedelta(days=2), time(12)), "Europe/Berlin")
    moments, at = [], start
    for _ in range(5):
        at, local_day = next_daily(at, time(2, 30), "Europe/Berlin")
        moments.append((at, local_day))
    assert [d for _, d in moments] == [day + timedelta(days=n) for n in (-1, 0, 1, 2, 3)]
    at_change = {d: m for m, d in moments}[day]
    local = wall_of(at_change, "Europe/Berlin").time()
    assert local == (time(3, 30) if day.month == 3 else time(2, 30))


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(ZONES),
    st.integers(1_262_304_000_000, 2_208_988_800_000),
    st.times(),
)
def test_daily_things_happen_at_most_once_a_day_and_never_stop(zone, after, at):
    at = at.replace(microsecond=0, second=0)
    days = []
    for _ in range(6):
        moment, day = next_daily(after, at, zone)
        assert after < moment <= after + 3 * DAY_MS
        days.append(day)
        after = moment
    assert days == sorted(set(days))


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(ZONES), st.integers(1_577_836_800_000, 2_208_988_800_000))
def test_a_planned_time_is_what_the_clock_shows(zone, now_ms):
    for each in reminder_times(
        now_ms + 60 * DAY_MS, now_ms=now_ms, zone=zone, booked=False, urgency=Urgency.ROUTINE
    ):
        assert moment_ms(datetime.fromisoformat(each.wall), zone) == each.at_ms


# -- what hurries ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("slots", "said", "expected"),
    [
        ({"pregnant": "yes"}, (), {"pregnant"}),
        ({"only_eye": "yes", "far": "yes"}, (), {"only_seeing_eye", "far_from_clinic"}),
        ({"glaucoma": "no", "diabetes": "no"}, (), set()),
        ({}, ("上次糖化血红蛋白9.2",), {"hba1c_high"}),
        ({}, ("HbA1c was 8.5%",), {"hba1c_high"}),
        ({}, ("糖化6.8",), set()),
        ({}, ("糖化 95",), set()),
        ({}, ("糖化一直高",), {"hba1c_high"}),
        ({}, ("肾功能不全",), {"renal"}),
        ({}, ("没有肾病",), set()),
        ({}, ("我妈妈透析",), set()),
        ({}, ("糖尿病15年了",), {"over_10_years"}),
        ({}, ("得了12年糖尿病",), {"over_10_years"}),
        ({}, ("糖尿病3年",), set()),
        ({}, ("diabetes for 20 years",), {"over_10_years"}),
    ],
)
def test_what_is_known_about_a_person_counts(slots, said, expected):
    assert modifiers(slots, said) == expected


@given(
    st.dictionaries(st.sampled_from(["pregnant", "far", "only_eye", "immune"]), st.just("yes")),
    st.sampled_from(sorted(shipped().findings)),
)
def test_risk_never_makes_a_visit_later(slots, finding):
    assessment = Assessment(Urgency.ROUTINE, "unclear", {"findings": finding})
    plain = propose(None, assessment)
    risky = propose(None, assessment, modifiers=modifiers(slots))
    assert (risky.urgency.rank, risky.due_in_days) <= (plain.urgency.rank, plain.due_in_days)
    assert set(risky.modifiers) <= modifiers(slots)
