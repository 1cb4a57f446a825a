"""Channels, settings and insight: the pages about the service itself."""

from __future__ import annotations

import re

import pytest

from core.clinic import clinic as clinic_now
from core.clinic import with_hours
from core.followup import ladder
from core.followup.intervals import table
from core.ports import Health
from core.store.tables import (
    audit,
    conversation,
    inbox,
    outbox,
    patient,
    photo,
    reading_review,
    setting,
    transcript,
)
from core.texts import text
from tests.integration.console.conftest import form_token, logged_in
from tests.integration.console.test_accounts import post

_SETTINGS = "/console/settings"


async def save(browser, name, value, version=0):
    return await post(browser, _SETTINGS, _SETTINGS, name=name, value=value, version=str(version))


async def test_settings_count_at_once_and_go_back(clinic, admin):
    assert (await save(admin, "clinic.hours", " 周一至周五 8:00–17:00 "))[:2] == (200, _SETTINGS)
    await save(admin, "clinic.name", "青山乡卫生院")
    await save(admin, "clinic.emergency_place", "县医院眼科 0855-120")
    assert clinic_now().emergency_place == "县医院眼科 0855-120"
    said = with_hours("zh-Hans", text("zh-Hans", "turn.human"))
    assert said.endswith("青山乡卫生院门诊时间：周一至周五 8:00–17:00")
    await save(admin, "quiet.from", "19:30")
    assert ladder.is_quiet(ladder.time(20))
    await save(admin, "quiet.from", "", version=1)
    assert not ladder.is_quiet(ladder.time(20))
    await save(admin, "text.zh-Hans.turn.welcome", "您好，这里是青山乡卫生院。")
    assert text("zh-Hans", "turn.welcome") == "您好，这里是青山乡卫生院。"
    assert text("en", "turn.welcome").startswith("Hello")
    subjects = {row["subject"] for row in await clinic.rows(audit)}
    assert {"clinic.hours", "quiet.from"} <= subjects


async def test_a_clinics_own_intervals(clinic, admin):
    own = "version: qingshan-1\nfindings:\n  dr1: {days: 150}\n"
    shipped = table().findings["dr1"].due_in_days
    assert (await save(admin, "followups.intervals", own))[0] == 200
    assert (table().version, table().findings["dr1"].due_in_days) == ("qingshan-1", 150)
    later = "version: qingshan-2\nfindings:\n  dr1: {days: 700}\n"
    status, _, page = await save(admin, "followups.intervals", later, version=1)
    assert status == 400
    assert "dr1" in page
    assert "days: 700" in page  # what was typed is still there
    assert table().version == "qingshan-1"
    await save(admin, "followups.intervals", "", version=1)
    assert table().findings["dr1"].due_in_days == shipped


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("quiet.from", "17:00"),
        ("quiet.from", "23:00"),
        ("quiet.until", "7:00"),
        ("quiet.until", "06:00"),
        ("clinic.name", "很" * 41),
        ("followups.intervals", "version: [1"),
        ("text.zh-Hans.turn.welcome", "您好 {name}"),
        ("text.zh-Hans.turn.welcome", "您好 {"),
        ("text.zh-Hans.triage.card.gca", "没事"),
        ("text.zh-Hans.consent.ask", "同意吗"),
        ("llm.api_key", "x"),
        ("", ""),
    ],
)
async def test_what_cannot_be_used_is_refused_and_nothing_is_kept(clinic, admin, name, value):
    assert (await save(admin, name, value))[0] == 400
    assert await clinic.rows(setting) == []
    assert "setting_changed" not in await clinic.audited()


async def test_two_admins_do_not_overwrite_each_other(clinic, admin):
    await save(admin, "clinic.name", "甲")
    async with logged_in(clinic, "zhao") as other:
        assert (await save(other, "clinic.name", "乙", version=1))[0] == 200
    status, _, page = await save(admin, "clinic.name", "丙", version=1)
    assert status == 409
    assert 'value="丙"' in page
    assert clinic_now().name == "乙"


async def fill(clinic) -> None:
    """Put a patient with replies that failed, a message given up, and a message that waits."""
    now = clinic.clock.ms
    await clinic.execute(patient.insert().values(id=5, zone="Asia/Shanghai", created_at_ms=now))
    await clinic.execute(
        conversation.insert().values(
            id=6, channel="telegram", account="b", chat_id="1", patient_id=5
        )
    )
    await clinic.execute(
        transcript.insert().values(
            id=7,
            conversation_id=6,
            turn_id="t",
            author="service",
            kind="answer",
            at_ms=now,
            body_sealed=b"x",
        )
    )
    for part, (state, kind, body) in enumerate(
        (
            ("dead", "answer", b"x"),
            ("unknown", "answer", b"x"),
            ("dead", "reminder", b"x"),
            ("dead", "answer", None),
            ("pending", "answer", b"x"),
        )
    ):
        await clinic.execute(
            outbox.insert().values(
                id=10 + part,
                conversation_id=6,
                transcript_id=7,
                part=part,
                kind=kind,
                body_sealed=body,
                state=state,
                attempts=4,
                last_error="refused",
                created_at_ms=now,
                changed_at_ms=now,
            )
        )
    for number, state in ((20, "dead"), (21, "pending")):
        await clinic.execute(
            inbox.insert().values(
                id=number,
                conversation_id=6,
                message_id=str(number),
                sequence=number,
                received_at_ms=now,
                body_sealed=b"x",
                state=state,
                attempts=6,
            )
        )


async def test_dead_letters_are_listed_and_tried_again_once(clinic, admin):
    await fill(clinic)
    async with admin.get("/console/channels") as page:
        shown = await page.text()
    assert re.findall(r'name="id" value="(\d+)"', shown) == ["11", "10", "20"]
    assert "1 条待回复，1 条待发送" in shown
    assert "P-5" in shown
    assert "未开启" in shown
    token = await form_token(admin)
    for box, row_id, status in (
        ("outbox", "10", 200),
        ("outbox", "10", 409),
        ("outbox", "12", 409),  # a reminder has its own ladder
        ("outbox", "13", 409),  # its content is gone
        ("inbox", "20", 200),
        ("inbox", "21", 409),
        ("attic", "1", 400),
    ):
        data = {"form_token": token, "box": box, "id": row_id}
        async with admin.post("/console/channels/retry", data=data) as answer:
            assert answer.status == status, (box, row_id)
    states = {row["id"]: (row["state"], row["attempts"]) for row in await clinic.rows(outbox)}
    assert states[10] == ("pending", 0)
    assert states[12] == ("dead", 4)
    assert {row["id"]: row["state"] for row in await clinic.rows(inbox)}[20] == "pending"
    assert (await clinic.audited()).count("message_retried") == 2


async def test_a_login_code_is_drawn_for_admins_only(clinic, admin, nurse):
    clinic.parts.found.append(Health("long", False, facts={"qr": "x" * 1_001}))
    async with admin.get("/console/channels") as page:
        assert '/console/channels/wechaty/3/qr.svg"' in await page.text()
    async with admin.get("/console/channels/wechaty/3/qr.svg") as picture:
        assert picture.content_type == "image/svg+xml"
        assert picture.headers["Cache-Control"] == "no-store"
    for path in ("wechaty/2", "database/0", "long/4", "wechaty/99"):
        async with admin.get(f"/console/channels/{path}/qr.svg") as picture:
            assert picture.status == 404
    async with nurse.get("/console/channels") as page:
        shown = await page.text()
        assert "qr.svg" not in shown
        assert "login.weixin" not in shown
    assert (await clinic.audited()).count("login_code_viewed") == 1


async def fill_readings(clinic) -> None:
    """Give that patient four readings, each reviewed twice, and an emergency."""
    now, keys = clinic.clock.ms, clinic.store.keys
    await clinic.execute(inbox.update().values(state="done"))
    grades = [(2, "refer", 3), (2, "negative", 0), (0, "negative", 0), (0, "refer", 2)]
    for number, (doctor, decision, reader) in enumerate(grades, start=30):
        reading = {
            "outcome": "assessed",
            "findings": [{"condition": "dr", "decision": decision}],
            "dr_grade": reader,
            "eye": "OD",
            "fundus_probability": 1.0,
            "gradable_probability": 1.0,
            "retake": [],
            "model_version": "m",
            "provider": "p",
            "width_px": 1,
            "height_px": 1,
            "card": None,
            "elapsed_ms": 1,
        }
        await clinic.execute(
            photo.insert().values(
                id=number,
                conversation_id=6,
                inbox_id=20,
                position=number,
                blob="b",
                reading_sealed=keys.seal_json("photo.reading", reading),
                received_at_ms=now,
            )
        )
        for review, agrees in ((0, False), (1, doctor == 0 or decision == "refer")):
            await clinic.execute(
                reading_review.insert().values(
                    photo_id=number,
                    staff_id=clinic.ids["li"],
                    form_id=f"{number}-{review}",
                    at_ms=now,
                    dr_grade=doctor,
                    agrees=agrees,
                )
            )
    verdict = {"action": "trigger", "urgency": "immediate"}
    await clinic.execute(
        transcript.insert().values(
            conversation_id=6,
            turn_id="u",
            author="patient",
            kind="text",
            at_ms=now,
            body_sealed=b"x",
            verdict_sealed=keys.seal_json("transcript.verdict", verdict),
        )
    )


async def test_insight_counts_readings_triage_and_agreement(clinic, nurse):
    await fill(clinic)
    await fill_readings(clinic)
    async with nurse.get("/console/insight") as page:
        text_ = re.sub(r"<[^>]+>", " ", await page.text())
    words = re.sub(r"\s+", " ", text_)
    assert "需要转诊 2 50%" in words
    assert "没有发现 2 50%" in words
    assert "立即 1 100%" in words
    assert "共收到 1 条患者消息" in words
    assert ", 3/4" in words  # the newest review of each photo counts
    assert ", 1/2" in words
    async with nurse.get("/console/insight?from=2001-01-01&to=2001-02-01") as page:
        assert "这段时间没有" in await page.text()
