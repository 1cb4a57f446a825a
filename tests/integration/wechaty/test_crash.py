"""The service itself is killed again and again while people write through a gateway that lives.

A message counts as delivered when the service asked the gateway what it says.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from pathlib import Path

import pytest

from tests.acceptance.harness import Service
from tests.gateway.gateway import Gateway, needs_node

pytestmark = [needs_node, pytest.mark.slow, pytest.mark.timeout(400)]

_KILLS = 8


async def test_nothing_delivered_is_lost_or_answered_twice_over_our_own_crashes(
    tmp_path: Path,
) -> None:
    with Gateway.running(tmp_path) as gateway:
        service = Service(tmp_path, _settings(gateway))
        said: dict[str, str] = {}

        async def write() -> None:
            for number in range(1, 100_000):
                who = f"wxid_crowd_{number}"
                said[await gateway.says(who, "您好")] = who
                await asyncio.sleep(0.03)

        writer = asyncio.create_task(write())
        for _ in range(_KILLS):
            await _start_and_hear(service, gateway)
            await asyncio.sleep(random.uniform(0.2, 1.0))
            await service.kill()
        await _start_and_hear(service, gateway)
        writer.cancel()
        await asyncio.gather(writer, return_exceptions=True)
        await _settled(gateway)
        assert await service.stop() == 0
        state = await gateway.state()
    _check(service, state, said)


def _settings(gateway: Gateway) -> dict[str, str]:
    mine = {f"WECHAT__WECHATY__{k.upper()}": str(v) for k, v in gateway.settings.items()}
    return mine | {
        "DATA_DIR": "data",
        "DIALOG__MERGE_WINDOW_MS": "0",
        "FUNDUS__ENABLED": "false",
        "SERVER__PORT": "0",
        "LOG__FORMAT": "json",
    }


async def _start_and_hear(service: Service, gateway: Gateway) -> None:
    await service.start(timeout_s=60)
    before = len((await gateway.state())["asked"])
    async with asyncio.timeout(40):
        while len((await gateway.state())["asked"]) < before + 5:  # noqa: ASYNC110
            await asyncio.sleep(0.1)


async def _settled(gateway: Gateway) -> None:
    """Wait until nothing has been sent for three seconds."""
    last, still = -1, 0
    while still < 6:
        count = len(await gateway.sent())
        still = still + 1 if count == last else 0
        last = count
        await asyncio.sleep(0.5)


def _check(service: Service, state: dict, said: dict[str, str]) -> None:
    handled = service.query("SELECT message_id, state FROM inbox")
    replies = service.query(
        "SELECT c.chat_id, o.state FROM outbox o JOIN conversation c ON c.id = o.conversation_id"
    )
    delivered = {m for m in state["asked"] if m in said}
    stored = Counter(m for m, _ in handled)
    assert {m for m in delivered if stored[m] != 1} == set()
    assert {s for _, s in handled} == {"done"}
    promised = Counter(chat for chat, _ in replies)
    arrived = Counter(s["chat"] for s in state["sent"])
    certain = Counter(chat for chat, s in replies if s == "sent")
    unknown = sum(s == "unknown" for _, s in replies)
    assert {s for _, s in replies} <= {"sent", "unknown"}
    assert {said[m] for m in delivered} <= set(promised)
    assert {c: n for c, n in arrived.items() if n > promised[c]} == {}
    assert {c: n for c, n in certain.items() if arrived[c] < n} == {}
    asked_again = sum(n > 1 for n in Counter(state["asked"]).values())
    print(
        f"{_KILLS} kill -9 of the service: {len(said)} written, {len(delivered)} delivered, "
        f"stored and answered once, {asked_again} of them asked for again after a crash, "
        f"{unknown} replies uncertain"
    )
