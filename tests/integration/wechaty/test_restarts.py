"""The whole service on a gateway that dies again and again, with Telegram beside it.

A message counts as delivered when the gateway was asked what it says: from then on it must be
answered exactly once. What it had not delivered when it died is lost inside the gateway.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import aiohttp
import pytest
from sqlalchemy import select

from bot.service import Service
from bot.settings import Settings
from core.store.inbox import count_inbox
from core.store.tables import conversation, inbox, outbox
from tests.fakes.botapi import BotApi
from tests.fakes.waiting import until
from tests.gateway.gateway import Gateway, needs_node

pytestmark = needs_node

_GREETING = "您好"


class _Crowd:
    """New people write, one message each, as long as the gateway lets them."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._numbers = itertools.count(1)
        self.said: dict[str, str] = {}  # message id → who

    async def write(self) -> None:
        while True:
            who = f"wxid_crowd_{next(self._numbers)}"
            with suppress(aiohttp.ClientError, OSError):
                self.said[await self._gateway.says(who, _GREETING)] = who
            await asyncio.sleep(0.05)


class _Telegram:
    """One person on Telegram; how long each answer took."""

    def __init__(self, api: BotApi) -> None:
        self._api = api
        self.took_s: list[float] = []

    async def write(self) -> None:
        for chat in itertools.count(100):
            began_s = time.monotonic()
            self._api.user_text(chat, _GREETING)
            while not self._api.texts(chat):  # noqa: ASYNC110 nobody tells us
                await asyncio.sleep(0.02)
            self.took_s.append(time.monotonic() - began_s)
            await asyncio.sleep(0.1)


@pytest.mark.parametrize(
    "restarts",
    [1, pytest.param(20, marks=[pytest.mark.slow, pytest.mark.timeout(500)])],
)
async def test_no_delivered_message_is_lost_or_answered_twice(
    tmp_path: Path, restarts: int
) -> None:
    with Gateway.running(tmp_path) as gateway:
        async with BotApi.running() as api:
            service = Service(_settings(tmp_path, gateway, api))
            await service.start()
            crowd, telegram = _Crowd(gateway), _Telegram(api)
            writers = [asyncio.create_task(telegram.write())]
            await until(lambda: telegram.took_s)  # it has warmed up
            telegram.took_s.clear()
            writers.append(asyncio.create_task(crowd.write()))
            channel = next(c for c in service.connected if c.name == "wechaty")
            for _ in range(restarts):
                await until(lambda: channel.health().ok)
                await asyncio.sleep(0.8)
                await asyncio.to_thread(gateway.kill)
                assert not await _broken(service)
                await asyncio.to_thread(gateway.start)
            await until(lambda: channel.health().ok)
            await asyncio.sleep(0.5)
            for writer in writers:
                writer.cancel()
            await asyncio.gather(*writers, return_exceptions=True)
            await _quiet(service)
            state = await gateway.state()
            await _check(service, crowd, state, telegram, restarts)
            await service.stop()


def _settings(tmp_path: Path, gateway: Gateway, api: BotApi) -> Settings:
    return Settings.model_validate(
        {
            "data_dir": tmp_path / "data",
            "server": {"port": 0},
            "dialog": {"merge_window_ms": 0},
            "fundus": {"enabled": False},
            "webchat": {"enabled": False},
            "console": {"enabled": False},
            "wechat": {"wechaty": gateway.settings},
            "telegram": {
                "token": api.token,
                "base_url": api.base_url,
                "base_file_url": api.base_file_url,
                "poll_timeout_s": 1,
                "messages_per_s": 1000,
                "chat_messages_per_s": 1000,
            },
        }
    )


async def _broken(service: Service) -> list[str]:
    """Return required parts and other channels that suffer with the gateway."""
    return [p.name for p in await service.health() if not p.ok and p.name != "wechaty"]


async def _quiet(service: Service) -> None:
    async with asyncio.timeout(90):
        while True:
            await service.settle()
            counts = await service.store.read(count_inbox, None)
            if counts.pending == 0 and not service.delivery.open_queues:
                return
            await asyncio.sleep(0.1)


async def _check(
    service: Service, crowd: _Crowd, state: dict, telegram: _Telegram, restarts: int
) -> None:
    def rows(connection, _):
        handled = connection.execute(
            select(inbox.c.message_id, inbox.c.state).where(
                inbox.c.conversation_id == conversation.c.id,
                conversation.c.channel == "wechaty",
            )
        ).all()
        replies = connection.execute(
            select(conversation.c.chat_id, outbox.c.state).where(
                outbox.c.conversation_id == conversation.c.id,
                conversation.c.channel == "wechaty",
            )
        ).all()
        return handled, replies

    handled, replies = await service.store.read(rows, None)
    delivered = {m for m in state["asked"] if m in crowd.said}
    assert len(delivered) >= 5 * restarts, "the test says something only with enough messages"
    # Each delivered message is stored and handled, once.
    stored = Counter(m for m, _ in handled)
    assert {m for m in delivered if stored[m] != 1} == set()
    assert {s for _, s in handled} == {"done"}
    # Each reply was sent once, or is uncertain and with staff; none is sent twice.
    promised = Counter(chat for chat, _ in replies)
    arrived = Counter(s["chat"] for s in state["sent"])
    certain = Counter(chat for chat, s in replies if s == "sent")
    unknown = sum(s == "unknown" for _, s in replies)
    assert {s for _, s in replies} <= {"sent", "unknown"}
    assert {crowd.said[m] for m in delivered} <= set(promised)
    assert {c: n for c, n in arrived.items() if n > promised[c]} == {}
    assert {c: n for c, n in certain.items() if arrived[c] < n} == {}
    assert unknown <= restarts, "more replies hang in the air than the gateway died"
    # Nobody else noticed.
    assert max(telegram.took_s) < 3
    print(
        f"{restarts} restarts: {len(crowd.said)} written, {len(delivered)} delivered and answered "
        f"once, {unknown} replies uncertain; {len(telegram.took_s)} on Telegram meanwhile, the "
        f"slowest in {max(telegram.took_s) * 1000:.0f} ms"
    )
