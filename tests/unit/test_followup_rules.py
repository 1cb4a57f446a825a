"""Follow-up rules: the most urgent finding wins, reminders respect sleep, dates are read."""

from __future__ import annotations

import zoneinfo
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import Bug
from core.followup.intervals import findings_of, parse, table
from core.followup.ladder import STEPS
from core.followup.places import parse_place, parse_time
from core.followup.plan import (
    PlanProposal,
    parse_date,
    proposal_reply,
    propose,
    reminder_reply,
    reminder_times,
)
from core.interview.consult import advance, after_reading
from core.interview.state import Assessment
from core.reading import CONDITIONS, Finding, Reading
from core.reply import plain_text
from core.texts import catalogue
from core.urgency import Urgency

ROOT = Path(__file__).resolve().parents[2]
LANGUAGES = ("zh-Hans", "en")
DAY_MS = 86_400_000
NOW = 1_800_000_000_000
ZONES = sorted(z for z in zoneinfo.available_timezones() if "/" in z)


def a_reading(*, grade=None, outcome="assessed", **decisions) -> Reading:
    findings = tuple(
        Finding(c, decisions.get(c, "negative" if outcome == "assessed" else "not_assessed"))
        for c in CONDITIONS
    )
    return Reading(outcome, findings, grade, None, 0.99, 0.9, (), "test", "CPU", 512, 512)


def an_assessment(urgency, reason="unclear", **slots) -> Assessment:
    return Assessment(Urgency(urgency), reason, slots)


# -- what is due -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reading", "modifiers", "rule", "days", "urgency"),
    [
        (a_reading(grade=0), {"diabetes"}, "no_dr", 365, "routine"),
        (a_reading(grade=1), {"diabetes"}, "dr1", 365, "routine"),
        (a_reading(grade=1), {"pregnant"}, "dr1", 180, "routine"),
        (a_reading(grade=2, dr="refer"), set(), "dr2", 90, "routine"),
        (a_reading(grade=3, dr="refer"), set(), "dr3", 14, "2_weeks"),
        (a_reading(grade=4, dr="refer"), set(), "dr4", 7, "2_weeks"),
        (a_reading(grade=4, dr="refer"), {"sudden"}, "dr4", 0, "immediate"),
        (a_reading(dr="refer"), set(), "dr_refer", 14, "2_weeks"),
        (a_reading(grade=2, dr="refer", dme="refer"), set(), "dme", 14, "2_weeks"),
        (a_reading(glaucoma="refer"), set(), "glaucoma", 28, "routine"),
        (a_reading(glaucoma="refer"), {"glaucoma_family"}, "glaucoma", 14, "2_weeks"),
        (a_reading(amd="refer"), set(), "amd", 14, "2_weeks"),
        (a_reading(amd="refer"), {"distortion"}, "amd", 1, "24_48h"),
        (a_reading(amd="borderline"), set(), "borderline", 90, "routine"),
        (a_reading(outcome="ungradable"), set(), "ungradable", 28, "routine"),
        (a_reading(outcome="ungradable"), {"blur"}, "ungradable", 14, "2_weeks"),
        (a_reading(), {"age_65"}, "normal_65", 365, "routine"),
        (a_reading(grade=3, dr="refer"), {"far_from_clinic"}, "dr3", 2, "24_48h"),
    ],
)
def test_a_reading_calls_for_its_interval(reading, modifiers, rule, days, urgency):
    p = propose(reading, None, modifiers=frozenset(modifiers))
    assert (p.rule_id, p.due_in_days, p.urgency) == (rule, days, urgency)
    assert p.table_version == table().version


@pytest.mark.parametrize("reading", [a_reading(), a_reading(outcome="not_fundus"), None])
def test_nothing_is_due_without_a_finding(reading):
    assert propose(reading, None) is None


def test_a_reading_with_nothing_assessed_is_not_called_free_of_retinopathy():
    silent = a_reading(**dict.fromkeys(CONDITIONS, "not_assessed"))
    assert findings_of(silent, diabetes=True) == ()


def test_what_the_consult_learned_hurries_a_finding():
    p = propose(a_reading(amd="refer"), an_assessment("routine", "blur_slow", distortion="yes"))
    assert (p.rule_id, p.urgency) == ("amd", "24_48h")


@pytest.mark.parametrize("urgency", [u for u in Urgency if u is not Urgency.NONE])
def test_a_normal_photo_never_lowers_what_the_consult_found(urgency):
    alone = propose(None, an_assessment(urgency))
    with_photo = propose(a_reading(grade=0), an_assessment(urgency, diabetes="yes"))
    assert with_photo.urgency.rank <= alone.urgency.rank
    if with_photo.urgency == alone.urgency:
        assert with_photo.due_in_days <= alone.due_in_days


@given(
    st.dictionaries(
        st.sampled_from(CONDITIONS),
        st.sampled_from(["negative", "borderline", "refer", "not_assessed"]),
    ),
    st.one_of(st.none(), st.integers(0, 4)),
    st.sampled_from([None, *list(Urgency)]),
    st.frozensets(st.sampled_from(["blur", "sudden", "distortion", "diabetes", "only_seeing_eye"])),
)
def test_one_more_finding_never_makes_it_later(decisions, grade, urgency, modifiers):
    assessment = an_assessment(urgency) if urgency else None
    base = propose(a_reading(grade=grade, **decisions), assessment, modifiers=modifiers)
    more = propose(
        a_reading(grade=grade, **{**decisions, "dme": "refer"}), assessment, modifiers=modifiers
    )
    assert more is not None
    if base is not None:
        assert (more.urgency.rank, more.due_in_days) <= (base.urgency.rank, base.due_in_days)


def test_the_photo_of_before_counts_when_the_consult_ends():
    step = after_reading(None, a_reading(grade=4, dr="refer"), language="en", now_ms=NOW)
    while step.assessment is None:
        step = advance(step.state, text="no", button=None, language="en", now_ms=NOW)
    p = propose(None, step.assessment)
    assert (p.rule_id, p.due_in_days) == ("dr4", 7)


def test_the_mother_with_diabetes_gets_two_weeks():
    state = None
    for words in ("我妈有糖尿病，最近看东西有点模糊", "慢慢的", "都没有", "好几年没查了"):
        step = advance(state, text=words, button=None, language="zh-Hans", now_ms=NOW)
        state = step.state
    p = propose(None, step.assessment)
    assert (p.reason, p.due_in_days) == ("diabetes_no_recent_photo", 14)
    said = plain_text(proposal_reply(p, due=date(2026, 12, 6), language="zh-Hans"))
    assert "2026年12月6日（星期日）" in said
    assert "有糖尿病又看不清" in said


# -- the table -------------------------------------------------------------------------------


def test_every_source_of_the_table_is_named():
    sources = yaml.safe_load((ROOT / "core/knowledge/sources.yaml").read_text("utf-8"))
    rows = [*table().findings.values(), *filter(None, table().assessments.values())]
    assert {r.source for r in rows} <= sources.keys()


def _raw(**row):
    good = {"days": 14, "urgency": "2_weeks", "refer": True, "source": "X", "status": "read"}
    return {
        "version": "t",
        "findings": {"x": {**good, **row}},
        "assessments": {},
        "urgency": {},
        "escalators": [],
    }


@pytest.mark.parametrize(
    "row",
    [
        {"days": 15},
        {"days": -1},
        {"source": ""},
        {"status": "guessed"},
        {"sooner": ["blur"], "sooner_days": 20},
        {"sooner": ["blur"], "sooner_days": 3, "sooner_urgency": "same_day"},
    ],
)
def test_a_contradictory_row_is_refused(row):
    parse(_raw())
    with pytest.raises(Bug, match="'x'"):
        parse(_raw(**row))


# -- reminders -------------------------------------------------------------------------------


def steps(times):
    return [t.step for t in times]


def test_ladders_are_those_of_the_specification():
    def ladder(days, **kwargs):
        return steps(
            reminder_times(NOW + days * DAY_MS, now_ms=NOW, zone="Asia/Shanghai", **kwargs)
        )

    after = ["ask_seen", "ask_again", "staff_call"]
    week = ["before_7", "before_3", "before_1", *after]
    assert ladder(30, booked=True, urgency=Urgency.ROUTINE) == week
    assert ladder(5, booked=True, urgency=Urgency.ROUTINE) == week[1:]
    assert ladder(90, booked=False, urgency=Urgency.ROUTINE) == [
        "before_14",
        "due",
        "after_7",
        "after_21",
        "staff_call",
    ]
    assert ladder(14, booked=False, urgency=Urgency.TWO_WEEKS) == [
        "day_1",
        "day_3",
        "staff_call",
        "due",
        "ask_seen",
    ]
    assert set(ladder(0, booked=False, urgency=Urgency.SAME_DAY)) == {
        "day_1",
        "day_3",
        "staff_call",
    }


def test_staff_call_after_two_hours_when_it_is_an_emergency():
    noon = int(datetime(2027, 3, 1, 4, 0, tzinfo=UTC).timestamp() * 1000)  # 12:00 in Shanghai
    times = reminder_times(
        noon, now_ms=noon, zone="Asia/Shanghai", booked=False, urgency=Urgency.IMMEDIATE
    )
    assert times[0].step == "staff_call"
    assert times[0].at_ms == noon + 2 * 3_600_000


@settings(max_examples=300, deadline=None)
@given(
    zone=st.sampled_from(ZONES),
    now_ms=st.integers(1_577_836_800_000, 2_208_988_800_000),  # 2020 to 2040
    days=st.integers(-40, 800),
    booked=st.booleans(),
    urgency=st.sampled_from(list(Urgency)),
    seed=st.text(max_size=8),
)
def test_reminders_come_by_day_in_order_and_later_than_now(
    zone, now_ms, days, booked, urgency, seed
):
    def plan():
        return reminder_times(
            now_ms + days * DAY_MS,
            now_ms=now_ms,
            zone=zone,
            booked=booked,
            urgency=urgency,
            seed=seed,
        )

    times = plan()
    assert times == plan()
    where = zoneinfo.ZoneInfo(zone)
    for each in times:
        local = datetime.fromtimestamp(each.at_ms / 1000, where)
        assert 8 <= local.hour < 21
        assert each.at_ms > now_ms
        assert each.step in STEPS
    moments = [t.at_ms for t in times]
    assert moments == sorted(set(moments))
    assert len(steps(times)) == len(set(steps(times)))


@pytest.mark.parametrize("zone", ["America/New_York", "Europe/Berlin", "Australia/Lord_Howe"])
def test_a_year_of_reminders_keeps_its_local_hour_over_the_clock_change(zone):
    where = zoneinfo.ZoneInfo(zone)
    hours = set()
    for day in range(365):
        due = NOW + (day + 20) * DAY_MS
        for each in reminder_times(
            due, now_ms=NOW, zone=zone, booked=True, urgency=Urgency.ROUTINE, seed="p"
        ):
            local = datetime.fromtimestamp(each.at_ms / 1000, where)
            hours.add((local.hour, local.minute))
    assert len(hours) == 1


def test_people_are_spread_over_the_morning():
    first = {
        reminder_times(
            NOW + 60 * DAY_MS,
            now_ms=NOW,
            zone="Asia/Shanghai",
            booked=True,
            urgency=Urgency.ROUTINE,
            seed=str(person),
        )[0].at_ms
        // 60_000
        for person in range(500)
    }
    assert len(first) > 80


# -- words -----------------------------------------------------------------------------------

DISEASES = (
    "糖",
    "青光眼",
    "黄斑",
    "白内障",
    "病变",
    "diabet",
    "glaucoma",
    "macul",
    "cataract",
    "retin",
)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("step", STEPS)
def test_a_reminder_names_no_disease_and_says_how_to_stop(step, language):
    reply = reminder_reply(step, due=date(2026, 12, 5), language=language, reminder_id=12345)
    said = plain_text(reply)
    assert not any(word in said.lower() for word in DISEASES)
    assert ("T" in said and "不再提醒" in said) if language == "zh-Hans" else "STOP" in said
    assert reply.kind == "reminder"
    actions = [b.action for row in reply.buttons for b in row]
    verbs = ["seen", "not_yet"] if step.startswith("ask") else ["booked", "seen"]
    assert actions == [f"v1:remind:{v}:12345" for v in (*verbs, "other", "help", "stop")]
    assert all(len(b.label) <= 20 for row in reply.buttons for b in row)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("urgency", list(Urgency)[:-1])
def test_a_proposal_says_what_when_and_why(urgency, language):
    p = PlanProposal("x", "not_in_the_catalogue", urgency, 3, "CO4", "t")
    reply = proposal_reply(p, due=date(2026, 12, 5), language=language)
    assert reply.kind == "plan"
    assert "2026" in plain_text(reply)
    assert [b.action for row in reply.buttons for b in row] == [
        "v1:plan:agree",
        "v1:plan:other",
        "v1:plan:none",
    ]


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_finding_has_its_reason_in_words(language):
    texts = catalogue(language)
    assert {f"followup.why.{name}" for name in table().findings} <= texts.keys()


# -- dates -----------------------------------------------------------------------------------

TODAY = date(2026, 11, 22)  # a Sunday


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("下周三", date(2026, 11, 25)),
        ("我下周三去", date(2026, 11, 25)),
        ("下下周一", date(2026, 11, 30)),
        ("周五", date(2026, 11, 27)),
        ("这周日", date(2026, 11, 22)),
        ("这周三", None),
        ("12月5号", date(2026, 12, 5)),
        ("十二月二十五日", date(2026, 12, 25)),
        ("1月3号", date(2027, 1, 3)),
        ("2027年1月3日", date(2027, 1, 3)),
        ("2026-12-05", date(2026, 12, 5)),
        ("12.5", date(2026, 12, 5)),
        ("三天后", date(2026, 11, 25)),
        ("10天以后", date(2026, 12, 2)),
        ("两周后", date(2026, 12, 6)),
        ("半个月后", date(2026, 12, 7)),
        ("三个月后", date(2027, 2, 22)),
        ("半年后", date(2027, 5, 23)),
        ("明天", date(2026, 11, 23)),
        ("后天", date(2026, 11, 24)),
        ("大后天", date(2026, 11, 25)),
        ("今天下午", date(2026, 11, 22)),
        ("下个月5号", date(2026, 12, 5)),
        ("28号", date(2026, 11, 28)),
        ("5号", date(2026, 12, 5)),
        ("月底", date(2026, 11, 30)),
        ("下周", date(2026, 11, 29)),
        ("２月３０日", None),
        ("2月29号", None),
        ("去年12月5号不行", None),
        ("下周三不行", None),
        ("2020年1月1日", None),
        ("下下周一上午", date(2026, 11, 30)),
        ("12月5号星期六", date(2026, 12, 5)),
        ("12月5号星期一", None),
        ("下周三去县医院", date(2026, 11, 25)),
        ("春节后", None),
        ("腊月二十", None),
        ("国庆后三天", None),
        ("年后再说", None),
        ("两年后", date(2028, 11, 22)),
        ("周末", None),
        ("过几天", None),
        ("下周三到周五", None),
        ("周三或者周四", None),
        ("5-8号", None),
        ("12月5号到8号", None),
        ("好的", None),
        ("", None),
    ],
)
def test_reads_chinese_dates(text, expected):
    assert parse_date(text, today=TODAY, language="zh-Hans") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("next Friday", date(2026, 11, 27)),
        ("this Sunday", date(2026, 11, 22)),
        ("on Wednesday please", date(2026, 11, 25)),
        ("Dec 5", date(2026, 12, 5)),
        ("December 5th", date(2026, 12, 5)),
        ("5 December 2027", date(2027, 12, 5)),
        ("the 3rd of January", date(2027, 1, 3)),
        ("2026-12-05", date(2026, 12, 5)),
        ("12/25", date(2026, 12, 25)),
        ("25/12", date(2026, 12, 25)),
        ("5/6", None),
        ("in three days", date(2026, 11, 25)),
        ("in 2 weeks", date(2026, 12, 6)),
        ("in a month", date(2026, 12, 22)),
        ("tomorrow", date(2026, 11, 23)),
        ("the day after tomorrow", date(2026, 11, 24)),
        ("next month", date(2026, 12, 22)),
        ("next week", date(2026, 11, 29)),
        ("3 days ago", None),
        ("next Wednesday at the county hospital", date(2026, 11, 25)),
        ("after the holidays", None),
        ("Friday or Saturday", None),
        ("some time in spring", None),
        ("I can't on Friday", None),
        ("Feb 30", None),
        ("Jan 1 2020", None),
        ("maybe", None),
    ],
)
def test_reads_english_dates(text, expected):
    assert parse_date(text, today=TODAY, language="en") == expected


@pytest.mark.parametrize(
    ("text", "place", "time_of_day"),
    [
        ("下周三上午9点去县医院", "县医院", "09:00"),
        ("约了市人民医院眼科，12月5日下午三点半", "市人民医院眼科", "15:30"),
        ("去中山眼科中心 12月9号", "中山眼科中心", None),
        ("明天去看眼科", None, None),
        ("12月5号 镇卫生院", "镇卫生院", None),
        ("next Wednesday at the county hospital at 9 am", "county hospital", "09:00"),
        ("Dec 5, 14:30, to Moorfields Eye Hospital", "Moorfields Eye Hospital", "14:30"),
        ("下周三", None, None),
        ("上午", None, None),
        ("25点", None, None),
    ],
)
def test_reads_where_and_when_a_visit_is(text, place, time_of_day):
    assert (parse_place(text), parse_time(text)) == (place, time_of_day)


@given(st.text(max_size=80))
def test_no_text_breaks_the_reader_of_places(text):
    place, time_of_day = parse_place(text), parse_time(text)
    assert place is None or 0 < len(place) <= 60
    assert time_of_day is None or time.fromisoformat(time_of_day) is not None


@given(
    st.dates(date(2026, 1, 1), date(2030, 1, 1)),
    st.integers(0, 700),
    st.sampled_from(
        ["{y}年{m}月{d}日", "{y}-{m:02}-{d:02}", "我{y}年{m}月{d}号去县医院", "约了{y}.{m}.{d}"]
    ),
)
def test_a_full_date_is_read_back_in_every_form(today, days, form):
    day = today + timedelta(days=days)
    said = form.format(y=day.year, m=day.month, d=day.day)
    assert parse_date(said, today=today, language="zh-Hans") == day


@given(
    st.dates(date(2026, 1, 1), date(2030, 1, 1)),
    st.sampled_from(
        [
            "春节后",
            "国庆以后",
            "过完年",
            "节后",
            "腊月",
            "五一期间",
            "农忙完",
            "周末",
            "after the holidays",
        ]
    ),
    st.sampled_from(["", "三天", "周三", "5号", "再去"]),
    st.sampled_from(LANGUAGES),
)
def test_seasons_and_feasts_are_asked_about(today, vague, more, language):
    assert parse_date(vague + more, today=today, language=language) is None


@settings(max_examples=300)
@given(
    st.text(max_size=60), st.dates(date(2020, 1, 1), date(2040, 1, 1)), st.sampled_from(LANGUAGES)
)
def test_no_text_breaks_the_date_reader(text, today, language):
    found = parse_date(text, today=today, language=language)
    assert found is None or today <= found <= today + timedelta(days=1098)


@given(st.dates(date(2020, 1, 1), date(2040, 1, 1)), st.integers(0, 300))
def test_a_written_date_comes_back(today, ahead):
    day = today + timedelta(days=ahead)
    written = {
        "zh-Hans": (f"{day.year}年{day.month}月{day.day}日", f"{day.month}月{day.day}号"),
        "en": (f"{day:%B} {day.day}, {day.year}", f"{day.day} {day:%b}"),
    }
    for language, forms in written.items():
        for form in forms:
            assert parse_date(form, today=today, language=language) == day, form
