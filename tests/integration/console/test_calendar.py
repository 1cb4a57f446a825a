"""The calendar of follow-ups: the right day, the right people, and no whole table read for it."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from core.delivery import TASK_DETAIL
from core.followup.calendar import OpenDays
from core.store.recall import PLACE
from core.store.tables import conversation, follow_up, patient, reminder, staff_task
from tests.fakes.core_fakes import FakeClock
from tests.integration.console.conftest import HOSTILE, logged_in, start_clinic

SHANGHAI = ZoneInfo("Asia/Shanghai")
NOW_MS = FakeClock().now_ms()
TODAY = datetime.fromtimestamp(NOW_MS / 1000, SHANGHAI).date()


def at(day: date, hour: int, minute: int = 0, zone: ZoneInfo = SHANGHAI) -> int:
    return int(datetime(day.year, day.month, day.day, hour, minute, tzinfo=zone).timestamp() * 1000)


async def fill(clinic, place: str = "县医院", *, after: int = 0) -> None:
    """Put six people with a plan each into the store, with numbers behind `after`."""
    keys = clinic.store.keys
    sealed = keys.seal_json(PLACE, place)
    monday = TODAY - timedelta(days=TODAY.weekday())
    plans = {
        1: {
            "visit_day": TODAY,
            "visit_time": "09:30",
            "place_sealed": sealed,
        },
        2: {"visit_day": TODAY},
        3: {"due_day": TODAY},
        4: {"due_day": TODAY, "state": "seen"},
        # As earlier versions wrote it: a moment that is still today where the patient lives.
        5: {"due_at_ms": at(TODAY, 23, 50), "reason": "glaucoma"},
        6: {"due_day": monday - timedelta(days=20), "reason": "glaucoma"},
    }
    for number, plan in plans.items():
        ids = {"id": after + number}
        await clinic.execute(patient.insert().values(**ids, zone="Asia/Shanghai", created_at_ms=1))
        chat = {"channel": "telegram", "account": "1", "chat_id": f"c{number}"}
        await clinic.execute(conversation.insert().values(**ids, patient_id=after + number, **chat))
        row = {
            "rule_id": "dr3", "table_version": "1", "source": "ADA17", "reason": "dr3",
            "urgency": "2_weeks", "due_at_ms": 1, "zone": "Asia/Shanghai", "set_by": "rule",
            "state": "active", "created_at_ms": 1, "changed_at_ms": 1, "due_day": None, **plan,
        }  # fmt: skip
        if "due_day" not in plan and "due_at_ms" not in plan:
            row["due_day"] = TODAY + timedelta(days=9)
        days = {k: str(v) for k, v in row.items() if k.endswith("_day") and v}
        await clinic.execute(
            follow_up.insert().values(**{**row, **days}, **ids, conversation_id=after + number)
        )
    for ladder, moment, state in (
        (3, at(TODAY, 0), "pending"),
        (3, at(TODAY, 23, 59), "pending"),
        (3, at(TODAY + timedelta(days=1), 0), "pending"),
        (3, at(TODAY, 12), "done"),
    ):
        await clinic.execute(
            reminder.insert().values(
                follow_up_id=after + ladder, conversation_id=after + ladder, step="before",
                due_at_ms=moment, state=state, changed_at_ms=1,
            )
        )  # fmt: skip
    for number, deadline_ms in ((6, NOW_MS - 5 * 86_400_000), (3, NOW_MS + 2 * 86_400_000)):
        await clinic.execute(
            staff_task.insert().values(
                id=after + number, conversation_id=after + number, kind="follow_up",
                urgency="routine",
                detail_sealed=keys.seal_json(TASK_DETAIL, {"why": "no_answer"}),
                created_at_ms=1, changed_at_ms=1, deadline_ms=deadline_ms,
            )
        )  # fmt: skip


def numbers(text: str) -> list[tuple[str, ...]]:
    """Return the rows of the week: day, booked, to call, due, messages."""
    week = text.partition('<div class="week">')[2].partition("</table>")[0]
    rows = re.findall(r'<tr class="[^"]*"><th scope="row">(.*?)</th>(.*?)</tr>', week, re.S)
    return [
        (" ".join(re.sub(r"<[^>]+>", " ", name).split()), *re.findall(r"<td>(.*?)</td>", cells))
        for name, cells in rows
    ]


async def page_of(browser, **query: str) -> str:
    async with browser.get("/console/calendar", params=query) as page:
        assert page.status == 200
        return await page.text()


async def test_each_day_has_its_numbers_and_today_its_people(clinic, nurse):
    await fill(clinic, HOSTILE)
    text = await page_of(nurse)
    rows = numbers(text)
    assert len(rows) == 7
    by_weekday = dict(enumerate(rows))
    # Late calls are to be made today, wherever their deadline was.
    assert by_weekday[TODAY.weekday()][1:] == ("2", "1", "2", "2")
    assert "今天" in by_weekday[TODAY.weekday()][0]
    assert text.count('aria-current="date"') == 2  # in the week and in the month
    people = re.findall(r'href="/console/patients/(\d+)"', text)
    assert people == ["1", "2", "6", "3", "5", "3", "3"]
    assert "09:30" in text
    assert "这个电话已经晚了" in text
    assert 'href="/console/recalls#recall-6"' in text
    assert HOSTILE not in text
    assert "<script>alert" not in text


async def test_another_day_and_one_reason(clinic, nurse):
    await fill(clinic)
    tomorrow = await page_of(nurse, day=str(TODAY + timedelta(days=1)))
    assert re.findall(r'href="/console/patients/(\d+)"', tomorrow) == ["3"]
    text = await page_of(nurse, day=str(TODAY), reason="glaucoma")
    assert re.findall(r'href="/console/patients/(\d+)"', text) == ["6", "5"]
    assert dict(enumerate(numbers(text)))[TODAY.weekday()][1:] == ("–", "1", "1", "–")
    assert "reason=glaucoma" in text  # goes along to the next day
    past = await page_of(nurse, day=str(TODAY - timedelta(days=TODAY.weekday() + 20)))
    assert "已经到期，还没有预约" in past


@pytest.mark.parametrize("odd", ["x", "2999-01-01", "0001-01-01", "2026-02-30", "١"])
async def test_a_day_that_makes_no_sense_is_today(clinic, nurse, odd):
    text = await page_of(nurse, day=odd, reason="<b>")
    assert f'name="day" value="{TODAY}"' in text
    assert "<b>" not in text.partition("<select")[2].partition("</select>")[0]


async def test_every_month_has_its_neighbours(clinic, nurse):
    for day, before, after in (
        ("2024-01-31", "2023-12-31", "2024-02-01"),
        ("2024-02-29", "2024-01-31", "2024-03-01"),
        ("2025-12-31", "2025-11-30", "2026-01-01"),
    ):
        month = (await page_of(nurse, day=day)).partition('<div class="month">')[2]
        links = re.findall(r'class="button-link" href="[^"]*day=([\d-]+)', month)
        assert (links[0], links[2]) == (before, after)


async def test_holidays_are_marked_and_the_day_belongs_to_the_clinics_zone():
    closed = OpenDays("test", frozenset({TODAY}), frozenset({6}))
    clinic = await start_clinic(open_days=closed)
    try:
        # Just after midnight in Shanghai it is still yesterday in Greenwich.
        clinic.clock.ms = at(TODAY, 0, 5)
        assert datetime.fromtimestamp(clinic.clock.ms / 1000, UTC).date() < TODAY
        async with logged_in(clinic, "wang") as nurse:
            text = await page_of(nurse)
        rows = numbers(text)
        assert "今天 休息" in rows[TODAY.weekday()][0]
        assert "休息" in rows[6][0]
        assert sum("休息" in row[0] for row in rows) == len({TODAY.weekday(), 6})
        assert "这一天门诊休息" in text
    finally:
        await clinic.close()


async def test_a_day_shows_at_most_a_hundred_of_a_kind(clinic, nurse):
    chat = {"channel": "telegram", "account": "1", "chat_id": "1"}
    await clinic.execute(conversation.insert().values(id=1, **chat))
    row = {
        "rule_id": "dr3", "table_version": "1", "source": "ADA17", "reason": "dr3",
        "urgency": "2_weeks", "due_at_ms": 1, "zone": "Asia/Shanghai", "set_by": "rule",
        "state": "active", "created_at_ms": 1, "changed_at_ms": 1, "due_day": str(TODAY),
    }  # fmt: skip
    for _ in range(103):
        await clinic.execute(follow_up.insert().values(conversation_id=1, **row))
    text = await page_of(nurse)
    assert text.count("<li><p>") == 100
    assert "只显示前 100 人" in text
    assert numbers(text)[TODAY.weekday()][3] == "103"


async def test_today_and_the_menu_lead_there_and_it_is_in_the_audit(clinic, nurse):
    async with nurse.get("/console") as page:
        assert (await page.text()).count('href="/console/calendar"') == 2
    await page_of(nurse)
    assert (await clinic.audited()).count("calendar_viewed") == 1
