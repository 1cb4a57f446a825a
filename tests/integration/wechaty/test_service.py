"""A patient on WeChat, a real gateway and the whole service between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from adapters.wechat.wechaty import channel as channel_module
from bot.service import Service
from bot.settings import Settings
from tests.fakes.waiting import until
from tests.gateway.gateway import ROOM, Gateway, needs_node

pytestmark = needs_node

_FUNDUS = Path(__file__).parents[2] / "fixtures" / "fundus" / "idrid_grade2.jpg"


@asynccontextmanager
async def _service(gateway: Gateway, folder: Path, **more: Any) -> AsyncIterator[Service]:
    values = {
        "data_dir": folder / "data",
        "server": {"port": 0},
        "dialog": {"merge_window_ms": 0},
        "fundus": {"threads": 1},
        "wechat": {"wechaty": gateway.settings | more},
    }
    service = Service(Settings.model_validate(values))
    await service.start()
    try:
        await until(lambda: all(c.health().ok for c in service.connected))
        yield service
    finally:
        await service.stop()


async def _heard(gateway: Gateway, chat: str, count: int) -> list[dict[str, Any]]:
    async def heard() -> list[dict[str, Any]]:
        sent = await gateway.sent(chat)
        return sent if len(sent) >= count else []

    return await until(heard)


async def test_a_fundus_photo_is_answered_with_a_card_and_a_picture(
    gateway: Gateway, tmp_path: Path, person: str
) -> None:
    async with _service(gateway, tmp_path) as service:
        await gateway.says(person, "您好")
        await _heard(gateway, person, 1)
        asked = await gateway.sent(person)
        number = next(
            line.partition(".")[0]
            for line in asked[-1]["text"].splitlines()
            if line.endswith("三项都同意")
        )
        await gateway.says(person, number)
        before = len(await _heard(gateway, person, len(asked) + 1))
        await gateway.sends(person, _FUNDUS.read_bytes())
        await _heard(gateway, person, before + 2)
        await service.settle()
        answer = (await gateway.sent(person))[before:]
    pictures = [s for s in answer if s["kind"] == "file"]
    words = "".join(s["text"] for s in answer if s["kind"] == "text")
    assert [p["type"] for p in pictures] == ["image/jpeg"]
    assert pictures[0]["bytes"] > 20_000
    assert "视网膜" in words
    assert all(len(s["text"].encode()) <= 2048 for s in answer if s["kind"] == "text")


async def test_a_question_in_a_group_is_answered_where_nobody_else_reads(
    gateway: Gateway, tmp_path: Path, person: str
) -> None:
    in_room = len(await gateway.sent(ROOM))
    async with _service(gateway, tmp_path):
        await gateway.says(person, "@瞳小护\u2005 我右眼突然看不见了", room="1", at="1")
        private = await _heard(gateway, person, 1)
        public = (await _heard(gateway, ROOM, in_room + 1))[in_room:]
    assert "急诊" in private[0]["text"]  # the emergency card, at once and in private
    assert len(public) == 1
    assert "私下" in public[0]["text"]
    assert "看不见了" not in public[0]["text"]


async def test_what_was_to_be_said_while_nobody_was_logged_in_goes_out_at_the_login(
    gateway: Gateway, tmp_path: Path, person: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel_module, "_TRY_AGAIN_S", 3600.0)  # at the login, not after a pause
    async with _service(gateway, tmp_path) as service:
        answering, handle = asyncio.Event(), service.dispatcher._handle

        async def held(turn: Any, token: str) -> Any:
            await answering.wait()
            return await handle(turn, token)

        service.dispatcher._handle = held
        await gateway.says(person, "您好")
        await until(lambda: service.intake.counts.accepted)
        await gateway.control("logout")  # before the greeting could be answered
        try:
            [channel] = service.connected
            await until(lambda: not channel.health().ok)
            answering.set()
            await until(lambda: service.delivery.counts.throttled)
            assert await gateway.sent(person) == []
        finally:
            await gateway.control("login")
        await _heard(gateway, person, 1)
