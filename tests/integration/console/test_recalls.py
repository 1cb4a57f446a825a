from __future__ import annotations

import re
from datetime import date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from adapters.console.desk import StaffDesk
from adapters.console.recall_desk import RecallDesk
from core.delivery import TASK_DETAIL
from core.store.history import PATIENT_BODY
from core.store.keyring import load_or_create
from core.store.recall import PHONE, PLACE
from core.store.store import Store
from core.store.tables import (
    clinic_phone,
    conversation,
    follow_up,
    patient,
    reminder,
    staff_task,
    transcript,
)
from migrations.schema import prepare
from tests.fakes.attendance import some_plans
from tests.fakes.core_fakes import FakeClock
from tests.fakes.recalls import some_recalls
from tests.integration.console.conftest import HOSTILE, PASSWORD, form_token, logged_in

HOUR_MS = 3_600_000


@pytest.fixture
def today() -> date:
    return datetime.fromtimestamp(FakeClock().now_ms() / 1000, ZoneInfo("Asia/Shanghai")).date()


async def test_the_list_says_who_to_call_and_why(clinic, nurse):
    some_recalls(clinic, HOSTILE)
    async with nurse.get("/console/recalls") as page:
        text = await page.text()
    assert re.findall(r'id="recall-(\d)"', text) == ["2", "1", "3"]
    assert 'href="tel:+8613800138000"' in text
    assert "没有留电话" in text
    assert "照片里的变化可能比较重" in text
    assert HOSTILE not in text
    assert "&lt;script&gt;" in text


async def test_taken_noted_and_done_with_an_outcome(clinic, nurse, today):
    some_recalls(clinic, "好的")
    token = await form_token(nurse)
    async with nurse.post("/console/recalls/claim", data={"form_token": token, "task": "1"}) as p:
        assert p.url.path == "/console/recalls"
    data = {"form_token": token, "task": "1", "words": " 没人接 ", "outcome": "reached"}
    async with nurse.post("/console/recalls/note", data=data) as page:
        assert "王护士: 没人接" in await page.text()
    assert 1 in clinic.recalls.tasks
    data |= {
        "plan": "11",
        "outcome": "seen",
        "words": "县医院看过",
        "day": str(today - timedelta(2)),
    }
    async with nurse.post("/console/recalls/close", data=data) as page:
        assert page.status == 200
    assert clinic.recalls.outcomes == {1: ("seen", 11, today - timedelta(2), "县医院看过")}
    async with nurse.post("/console/recalls/close", data=data) as page:
        assert page.status == 409


@pytest.mark.parametrize(
    "wrong",
    [
        {"form_token": ""},
        {"outcome": "cured"},
        {"day": "tomorrow"},
        {"day": "2999-01-01"},
        {"plan": "x"},
        {"task": "-1"},
    ],
)
async def test_forms_that_are_wrong_change_nothing(clinic, nurse, wrong):
    some_recalls(clinic, "好的")
    token = await form_token(nurse)
    data = {"form_token": token, "task": "1", "words": "x", "outcome": "seen", **wrong}
    async with nurse.post("/console/recalls/close", data=data) as page:
        assert page.status in {400, 403}
    assert clinic.recalls.outcomes == {}


async def test_a_queue_that_repeats_itself_counts_once(clinic, nurse):
    some_recalls(clinic, "好的")
    data = {
        "form_token": await form_token(nurse),
        "task": "1",
        "key": "0b9b0c6e-52f5-4d6c-8ef1-8f2c1f4f0c11",
        "waited_s": "3600",
    }
    as_script = {"Accept": "application/json"}
    for words, status in (("没人接", 202), ("没人接", 202), ("接了", 202)):
        said = data | {"words": words}
        async with nurse.post("/console/recalls/note", data=said, headers=as_script) as answer:
            assert answer.status == status
    assert clinic.recalls.tasks[1].notes[-2:] == ("王护士: 没人接", "王护士: 接了")
    for _ in range(2):
        said = data | {"words": "看过", "outcome": "seen"}
        async with nurse.post("/console/recalls/close", data=said, headers=as_script) as answer:
            assert answer.status == 202
    said |= {"key": "no uuid"}
    async with nurse.post("/console/recalls/close", data=said, headers=as_script) as answer:
        assert answer.status == 409


async def trust(browser, password=PASSWORD, **fields) -> int:
    data = {"form_token": await form_token(browser), "old": password, **fields}
    async with browser.post("/console/account/phone", data=data) as page:
        return page.status


async def keeps(browser) -> bool:
    async with browser.get("/console/recalls") as page:
        kept, text = page.headers.get("X-Keep-S", ""), await page.text()
    assert f'data-keeps="{int(bool(kept))}"' in text
    assert kept in {"", "43200"}
    return bool(kept)


async def test_a_phone_keeps_the_list_once_somebody_confirmed_it_with_the_password(clinic, nurse):
    assert not await keeps(nurse)
    assert await trust(nurse, "wrong") == 403
    assert await trust(nurse, form_token="") == 403
    assert not await keeps(nurse)
    assert await trust(nurse) == 200
    assert await trust(nurse) == 200  # a second tap makes no second phone
    assert len(await clinic.rows(clinic_phone)) == 1
    assert await keeps(nurse)
    assert "phone_trusted" in await clinic.audited()
    async with logged_in(clinic, "wang") as elsewhere:  # the same person on another phone
        assert not await keeps(elsewhere)
        async with elsewhere.get("/console/account") as page:
            assert "您设为诊所手机的其他手机" in await page.text()
    async with nurse.get("/console/worker.js") as script:
        assert script.content_type == "text/javascript"
        assert script.headers["Cache-Control"] == "no-store"
        assert len(await script.read()) < 6_000


async def test_a_logout_leaves_the_trust_and_half_a_year_without_a_login_ends_it(clinic, nurse):
    day_ms = 24 * HOUR_MS
    await trust(nurse)
    login = {"account": "li", "password": PASSWORD}
    for days, kept in ((179, True), (179, True), (181, False)):
        async with nurse.post("/console/logout", data={"form_token": await form_token(nurse)}):
            clinic.clock.ms += days * day_ms
        async with nurse.post("/console/login", data=login) as page:
            assert page.url.path == "/console"
        assert await keeps(nurse) is kept


async def test_trust_is_taken_back_by_who_gave_it_and_by_an_admin_alone(clinic, nurse, admin):
    await trust(nurse)
    (phone,) = await clinic.rows(clinic_phone)
    async with logged_in(clinic, "li") as doctor:
        end = {"form_token": await form_token(doctor), "phone": str(phone["id"])}
        for path, status in (("account/phone/end", 404), ("staff/phones/end", 403)):
            async with doctor.post(f"/console/{path}", data=end) as page:
                assert page.status == status
    assert await keeps(nurse)
    end = {"form_token": await form_token(nurse), "phone": str(phone["id"])}
    async with nurse.post("/console/account/phone/end", data=end) as page:
        assert page.status == 200
    assert not await keeps(nurse)
    await trust(nurse)
    (phone,) = await clinic.rows(clinic_phone)
    async with admin.get("/console/staff") as page:
        assert f'name="phone" value="{phone["id"]}"' in await page.text()
    end = {"form_token": await form_token(admin), "phone": str(phone["id"])}
    for status in (200, 404):
        async with admin.post("/console/staff/phones/end", data=end) as page:
            assert page.status == status
    assert not await keeps(nurse)
    assert (await clinic.audited()).count("phone_ended") == 2


async def test_the_database_does_not_hold_the_phones_cookie(clinic, nurse):
    await trust(nurse)
    (cookie,) = [c.value for c in nurse.cookie_jar if c.key.endswith("oc_phone")]
    (phone,) = await clinic.rows(clinic_phone)
    assert cookie not in str(phone)


async def test_nobody_sees_it_without_a_login(clinic, browser):
    some_recalls(clinic, "好的")
    for path in ("/console/recalls", "/console/attendance"):
        async with browser.get(path, allow_redirects=False) as page:
            assert page.headers["Location"] == "/console/login"
    for path in ("claim", "note", "close"):
        async with browser.post(
            f"/console/recalls/{path}", data={"task": "1"}, allow_redirects=False
        ) as page:
            assert page.headers["Location"] == "/console/login"
    assert len(clinic.recalls.tasks) == 3


async def test_attendance_as_chart_and_table(clinic, nurse, today):
    clinic.recalls.plans = some_plans(today)
    async with nurse.get("/console/attendance") as page:
        text = await page.text()
    assert text.count('class="bar"') == 3
    assert "糖网 2 级（中度）" in text
    assert "相差" in text
    assert "style=" not in text
    assert "<script" not in text
    bars = re.findall(r'<rect x="([\d.]+)%" y="0" width="([\d.]+)%"', text)
    assert sum(float(width) for _, width in bars) == pytest.approx(300, abs=0.1)
    async with nurse.get("/console/attendance?by=month&from=x&to=2999-01-01") as page:
        assert page.status == 200
    early = {"from": "2001-01-01", "to": "2001-02-01", "by": "reason"}
    async with nurse.get("/console/attendance", params=early) as page:
        assert "没有到期的复查" in await page.text()


async def test_the_language_button_comes_back_to_its_page(nurse):
    form = {
        "language": "en",
        "page": "/console/attendance",
        "form_token": await form_token(nurse),
    }
    async with nurse.post("/console/preferences", data=form) as page:
        assert page.url.path == "/console/attendance"
    form |= {"page": "//evil.test/"}
    async with nurse.post("/console/preferences", data=form) as page:
        assert page.url.path == "/console"


def _insert(connection, batches):
    for table, rows in batches:
        connection.execute(table.insert(), rows)
    return [None] * len(batches)


def _rows(connection, table):
    return [dict(row) for row in connection.execute(table.select()).mappings()]


@pytest.fixture
async def desk(tmp_path: Path):
    url = f"sqlite:///{tmp_path}/desk.db"
    prepare(url, backup_folder=tmp_path)
    store = Store(url, load_or_create(tmp_path / "keys.json"))
    clock, keys = FakeClock(), store.keys
    now = clock.now_ms()
    chat = {"channel": "telegram", "account": "1"}
    plan = {
        "rule_id": "dr3", "table_version": "1", "source": "ADA17", "reason": "dr3",
        "urgency": "2_weeks", "due_at_ms": now, "zone": "Asia/Shanghai", "set_by": "rule",
        "state": "active", "created_at_ms": now, "changed_at_ms": now,
    }  # fmt: skip
    call = {"kind": "follow_up", "state": "open", "changed_at_ms": now}
    why = keys.seal_json(TASK_DETAIL, {"why": "no_answer"})
    said = [{"text": f"第{n}句", "photos": []} for n in range(9)]
    step = {"step": "after_7", "due_at_ms": now, "changed_at_ms": now}
    for batch in (
        (patient, [{"id": 1, "zone": "Asia/Shanghai", "created_at_ms": now,
                    "phone_sealed": keys.seal_json(PHONE, "138 0013 8000")}]),
        (conversation, [{"id": 1, "chat_id": "a", "patient_id": 1, **chat}]),
        (conversation, [{"id": 2, "chat_id": "b", **chat}]),
        (follow_up, [{"id": 10, "conversation_id": 1, **plan, "visit_day": "2027-01-02",
                      "place_sealed": keys.seal_json(PLACE, "县医院")}]),
        (follow_up, [{"id": 20, "conversation_id": 2, **plan}]),
        (reminder, [{"follow_up_id": p, "conversation_id": p // 10, **step} for p in (10, 20)]),
        (transcript, [{"conversation_id": 1, "author": "patient", "kind": "message", "at_ms": n,
                       "turn_id": "t", "body_sealed": keys.seal_json(PATIENT_BODY, body)}
                      for n, body in enumerate(said)]),
        (staff_task, [
            {"id": 1, "conversation_id": 1, "urgency": "routine", "created_at_ms": now,
             "deadline_ms": now - 1, "detail_sealed": why, **call},
            {"id": 2, "conversation_id": 2, "urgency": "same_day", "created_at_ms": now,
             "deadline_ms": None, "detail_sealed": why, **call},
        ]),
    ):  # fmt: skip
        await store.write(_insert, batch)
    yield RecallDesk(store, clock, StaffDesk(store, clock, "zh-Hans"), "Asia/Shanghai"), store, now
    store.close()


async def test_the_store_tells_what_a_caller_needs(desk):
    recalls, _, now = desk
    late, soon = await recalls.open_recalls(limit=10)
    assert (late.id, soon.id) == (1, 2)  # past its deadline rises above the more urgent one
    assert (late.phone, late.visit, late.plan_id) == ("138 0013 8000", "2027-01-02 县医院", 10)
    assert [said.text for said in late.messages] == ["第5句", "第6句", "第7句", "第8句"]
    assert soon.deadline_ms == now + 24 * HOUR_MS
    assert soon.phone == ""


@pytest.mark.parametrize("outcome", ["seen", "refused", "moved", "unreachable", "died"])
async def test_an_outcome_ends_the_plan_and_its_reminders(desk, outcome):
    recalls, store, now = desk
    who = {"by": 7, "name": "王护士", "at_ms": now + 5}
    for _ in range(2):  # a phone did not hear that the first one had arrived
        assert await recalls.note(1, words="没人接", **who, form_id="a" * 36)
    end = {"outcome": outcome, "plan_id": 10, "day": date(2026, 3, 1), "words": "儿子接的"}
    for _ in range(2):
        assert await recalls.finish(1, **end, **who, form_id="b" * 36)
    assert not await recalls.finish(1, **end, **who)
    assert not await recalls.finish(1, **end, **who, form_id="c" * 36)
    assert not await recalls.note(1, words="还在吗", **who)
    mine, other = await store.read(_rows, follow_up)
    assert (mine["state"], mine["outcome_day"], mine["outcome_by"]) == (
        outcome,
        "2026-03-01",
        "staff",
    )
    assert other["state"] == "active"
    assert [row["state"] for row in await store.read(_rows, reminder)] == ["cancelled", "pending"]
    note = store.keys.open(
        "staff_task.note", (await store.read(_rows, staff_task))[0]["note_sealed"]
    )
    assert [line.partition(": ")[2] for line in note.decode().splitlines()] == [
        "没人接",
        f"[{outcome}] 儿子接的",
    ]


async def test_reached_leaves_the_plan_and_another_plan_is_never_touched(desk):
    recalls, store, now = desk
    who = {"by": 7, "name": "王护士", "at_ms": now, "day": date(2026, 3, 1), "words": "x"}
    assert await recalls.finish(1, outcome="reached", plan_id=10, **who)
    assert await recalls.finish(2, outcome="died", plan_id=10, **who)  # not this patient's plan
    assert [row["state"] for row in await store.read(_rows, follow_up)] == ["active", "active"]
