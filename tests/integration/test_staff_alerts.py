"""Staff hear of an emergency in their own chats, over the wire of the fake Bot API."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from bot.service import Service
from bot.settings import Settings
from core.clock import SystemClock
from core.errors import ConfigError
from core.store.tables import staff_task
from tests.conftest import ManualClock
from tests.fakes.botapi import BotApi

PATIENT, OTHER_PATIENT, NURSE, DOCTOR = 4711, 4712, 9001, 9002
EMERGENCY = "我叫王小明，左眼突然看不见了"
# 2027-01-15 23:00 in Shanghai: quiet hours.
NIGHT_MS = 1_800_025_200_000


def a_config(api: BotApi, tmp_path: Path, *chats: str) -> Settings:
    values: dict[str, Any] = {
        "data_dir": tmp_path / "data",
        "server": {"port": 0},
        "webchat": {"enabled": False},
        "staff": {
            "alert_chats": chats,
            "repeat_after_minutes": 5,
            "console_url": "https://clinic.example/console",
        },
        "telegram": {
            "token": api.token,
            "base_url": api.base_url,
            "base_file_url": api.base_file_url,
            "poll_timeout_s": 1,
            "drafts": False,
        },
    }
    return Settings(**values)


CHATS = (f"telegram:{NURSE}", f"telegram:{DOCTOR}")


@asynccontextmanager
async def a_service(api: BotApi, settings: Settings, clock: Any) -> AsyncIterator[Service]:
    """Serve; nurse and doctor have started the bot, or Telegram would refuse to write to them."""
    service = Service(settings, clock=clock)
    await service.start()
    for chat in (NURSE, DOCTOR):
        if not api.texts(chat):
            api.user_text(chat, "/start")
            await api.until(lambda chat=chat: api.texts(chat))
    try:
        yield service
    finally:
        await service.stop()


def told(api: BotApi, chat: int) -> list[str]:
    """What a chat was sent, in order; of a staff chat only the alerts."""
    return [t for t in api.texts(chat) if chat == PATIENT or t.startswith("紧急")]


async def until(api: BotApi, chat: int, count: int) -> list[str]:
    await api.until(lambda: len(told(api, chat)) >= count)
    return told(api, chat)


async def tick(service: Service) -> None:
    assert service.alerts is not None
    await service.alerts.tick()
    await service.settle()


async def test_an_alert_is_there_within_seconds_and_names_nobody(tmp_path: Path) -> None:
    async with (
        BotApi.running() as api,
        a_service(api, a_config(api, tmp_path, *CHATS), SystemClock()) as service,
    ):
        api.user_text(PATIENT, "你好")
        await until(api, PATIENT, 1)
        api.user_text(PATIENT, EMERGENCY)
        (alert,) = await until(api, NURSE, 1)
        card = told(api, PATIENT)
        assert re.search(r"患者 P-\d+，立即急诊", alert)
        for private in ("王小明", "看不见", "左眼", str(PATIENT)):
            assert private not in alert
        assert any("急诊" in words for words in card)
        assert not told(api, DOCTOR)
        assert await service.desk.open_tasks(limit=5)


async def test_the_link_leads_to_the_console(tmp_path: Path) -> None:
    async with (
        BotApi.running() as api,
        a_service(api, a_config(api, tmp_path, *CHATS), ManualClock(NIGHT_MS)),
    ):
        api.user_text(PATIENT, EMERGENCY)
        await until(api, NURSE, 1)
        assert "https://clinic.example/console" in str(api.accepted("sendMessage", NURSE)[-1])


async def test_at_night_it_goes_on_to_the_next_chat_until_somebody_takes_it(tmp_path: Path) -> None:
    clock = ManualClock(NIGHT_MS)
    async with (
        BotApi.running() as api,
        a_service(api, a_config(api, tmp_path, *CHATS), clock) as service,
    ):
        api.user_text(PATIENT, EMERGENCY)
        await until(api, NURSE, 1)
        clock.advance(s=4 * 60)
        await tick(service)
        assert not told(api, DOCTOR)
        clock.advance(s=61)
        (again,) = await until(api, DOCTOR, 1)
        assert "第 2 次提醒" in again
        clock.advance(s=3600)
        await tick(service)
        assert (len(told(api, NURSE)), len(told(api, DOCTOR))) == (1, 1)


async def test_a_task_that_was_taken_is_not_announced_again(tmp_path: Path) -> None:
    clock = ManualClock()
    async with (
        BotApi.running() as api,
        a_service(api, a_config(api, tmp_path, *CHATS), clock) as service,
    ):
        api.user_text(PATIENT, EMERGENCY)
        await until(api, NURSE, 1)
        (task,) = await service.desk.open_tasks(limit=5)
        assert await service.desk.claim(task.id, by=1, at_ms=clock.now_ms())
        clock.advance(s=3600)
        await tick(service)
        assert not told(api, DOCTOR)


async def test_one_alert_per_flag_patient_and_hour(tmp_path: Path) -> None:
    clock = ManualClock()
    async with (
        BotApi.running() as api,
        a_service(api, a_config(api, tmp_path, f"telegram:{NURSE}"), clock) as service,
    ):
        for _ in range(3):
            api.user_text(PATIENT, "左眼突然看不见了")
        api.user_text(OTHER_PATIENT, "左眼突然看不见了")
        await until(api, NURSE, 2)
        await until(api, PATIENT, 3)
        await tick(service)
        assert len({re.search(r"P-\d+", t)[0] for t in told(api, NURSE)}) == 2  # type: ignore[index]
        api.user_text(PATIENT, "石灰溅到眼睛里了")  # another flag
        await until(api, NURSE, 3)
        clock.advance(s=3601)
        before = len(told(api, NURSE))
        api.user_text(PATIENT, "左眼突然看不见了")
        await until(api, NURSE, before + 1)


async def test_it_survives_a_stop_and_a_platform_that_says_no(tmp_path: Path) -> None:
    clock = ManualClock()
    async with BotApi.running() as api:
        settings = a_config(api, tmp_path, *CHATS)
        async with a_service(api, settings, clock) as service:
            service.ticker.stop()
            api.user_text(PATIENT, EMERGENCY)
            await until(api, PATIENT, 1)
            await service.settle()
            assert not told(api, NURSE)
        api.fault("429", "sendMessage", chat_id=NURSE, retry_after=1)
        api.fault("502", "sendMessage", chat_id=NURSE)
        async with a_service(api, settings, clock):
            assert len(await until(api, NURSE, 1)) == 1


async def test_refusal_and_a_call_for_staff_are_announced_too(tmp_path: Path) -> None:
    clock = ManualClock()
    async with (
        BotApi.running() as api,
        a_service(api, a_config(api, tmp_path, f"telegram:{NURSE}"), clock) as service,
    ):
        api.user_text(PATIENT, EMERGENCY)
        await until(api, NURSE, 1)
        api.user_presses(PATIENT, "v1:triage:not_now")
        await until(api, NURSE, 2)
        api.user_presses(PATIENT, "v1:triage:staff")
        await until(api, NURSE, 3)
        rows = await service.store.read(
            lambda c, _: list(c.execute(select(staff_task.c.kind, staff_task.c.patient_said))), None
        )
        assert ("emergency", "not_now") in [tuple(row) for row in rows]
        tasks = await service.desk.open_tasks(limit=9)
        assert any("「" in task.basis and "规则版本" in task.basis for task in tasks)


async def test_a_chat_of_a_channel_that_is_off_ends_the_start(tmp_path: Path) -> None:
    async with BotApi.running() as api:
        with pytest.raises(ConfigError, match=r"staff\.alert_chats"):
            Service(a_config(api, tmp_path, "wechat:abc"))
