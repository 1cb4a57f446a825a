"""The whole service between a patient on WeChat and the database."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from adapters.wechat.ilink import channel as channel_module
from adapters.wechat.ilink.channel import IlinkChannel
from adapters.wechat.ilink.logins import TOKEN, NewLogin, save_login
from bot.http import WithLogin
from bot.service import Service
from bot.settings import Settings
from core.store.tables import conversation, outbox, photo, staff_task
from tests.conftest import ManualClock
from tests.fakes.ilink import Ilink
from tests.fakes.waiting import PATIENCE_S, until

FIXTURES = Path(__file__).parents[2] / "fixtures" / "fundus"
ALICE = "o9cq80-alice@im.wechat"
# 2027-01-15 10:00 in Shanghai: a Friday morning, outside quiet hours.
START_MS = 1_799_978_400_000


@dataclass
class World:
    wechat: Ilink
    service: Service
    clock: ManualClock
    said: int = 0

    async def says(self, text: str) -> list[str]:
        """Alice writes; returns what she reads then."""
        before = len(self.wechat.texts(ALICE))
        self.wechat.user_says(ALICE, text)
        await self.taken()
        return self.wechat.texts(ALICE)[before:]

    async def sends(self, data: bytes) -> None:
        """Alice sends a picture."""
        self.wechat.user_photo(ALICE, data)
        await self.taken()

    async def taken(self) -> None:
        """Wait until her message is in and nothing more happens by itself."""
        self.said += 1
        await until(lambda: self.service.intake.counts.accepted >= self.said)
        async with asyncio.timeout(PATIENCE_S):
            await self.service.settle()

    async def rows(self, query: Any) -> list[Any]:
        """Read the database."""
        return await self.service.store.read(lambda c, _: list(c.execute(query)), None)


Make = Callable[..., Awaitable[World]]


@pytest.fixture
async def world_of(tmp_path: Path) -> AsyncIterator[Make]:
    """Makes a service to which Alice is connected."""
    async with AsyncExitStack() as stack:

        async def make(*, consent: bool = False, **settings: Any) -> World:
            clock = ManualClock(START_MS)
            wechat = await stack.enter_async_context(Ilink.running(clock.now_ms))
            values: dict[str, Any] = {
                "data_dir": tmp_path / "data",
                "server": {"port": 0},
                "dialog": {"merge_window_ms": 0},
                "fundus": {"threads": 1},
                "consent": {"required": consent},
                "wechat": {"ilink": wechat.settings(**settings)},
            }
            service = Service(Settings(**values), clock=clock)
            bot = wechat.connect(ALICE)
            sealed = service.store.keys.seal(TOKEN, bot.token.encode())
            scan = NewLogin(ALICE, bot.bot_id, wechat.base, sealed, clock.now_ms())
            await service.store.write(save_login, scan)
            stack.push_async_callback(service.stop)
            await service.start()
            return World(wechat, service, clock)

        yield make


async def test_a_fundus_photo_comes_back_as_card_and_picture(world_of: Make) -> None:
    world = await world_of()
    data = (FIXTURES / "idrid_grade4.jpg").read_bytes()
    await world.sends(data)
    words = "\n".join(world.wechat.texts(ALICE))
    assert "眼底照片的参考结果" in words
    assert "不能替代医生诊断" in words
    (picture,) = world.wechat.pictures(ALICE)
    ((card_blob,),) = await world.rows(select(photo.c.card_blob))
    card = await world.service.blobs.get(card_blob)
    assert hashlib.sha256(picture).digest() == hashlib.sha256(card).digest()
    assert picture.startswith(b"\xff\xd8\xff")
    states = await world.rows(select(outbox.c.state))
    assert {state for (state,) in states} == {"sent"}


async def test_what_exceeds_the_allowance_waits_for_the_patient(
    world_of: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel_module, "_LOOK_FOR_NEWS_S", 3600.0)  # what she writes wakes it
    world = await world_of(consent=True, messages_per_context=1, kept_for_emergencies=0)
    world.wechat.quota = 1
    # The card, and behind it the question for consent: the second must wait.
    world.wechat.user_says(ALICE, "右眼突然看不见了")
    await until(lambda: world.wechat.texts(ALICE))
    await asyncio.sleep(0.5)  # the next one would come now
    (card,) = world.wechat.texts(ALICE)
    assert "急诊" in card
    assert world.service.delivery.open_queues == 1
    world.wechat.user_says(ALICE, "好")
    await until(lambda: len(world.wechat.texts(ALICE)) == 2)
    assert "健康信息" in world.wechat.texts(ALICE)[1]
    ids = [sent["client_id"] for sent in world.wechat.sent]
    assert len(set(ids)) == 2


async def test_what_waited_a_day_is_a_task_for_staff(
    world_of: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel_module, "_LOOK_FOR_NEWS_S", 0.1)
    world = await world_of(consent=True, messages_per_context=1, kept_for_emergencies=0)
    world.wechat.user_says(ALICE, "右眼突然看不见了")
    await until(lambda: world.wechat.texts(ALICE))
    await asyncio.sleep(0.5)
    assert world.service.delivery.open_queues == 1
    world.clock.advance(s=24 * 3600)
    await until(lambda: world.service.delivery.open_queues == 0)
    tasks = [kind for (kind,) in await world.rows(select(staff_task.c.kind))]
    assert "undelivered" in tasks
    states = [s for (s,) in await world.rows(select(outbox.c.state).order_by(outbox.c.id))]
    assert states[:2] == ["sent", "dead"]


async def test_a_reminder_due_after_the_day_is_a_task_for_staff(world_of: Make) -> None:
    world = await world_of()
    await world.sends((FIXTURES / "idrid_grade4.jpg").read_bytes())
    for _ in range(8):
        newest = world.wechat.texts(ALICE)[-1]
        if "好，提醒我" in newest:
            break
        number = next(
            line.partition(".")[0] for line in newest.splitlines() if "直接说结果" in line
        )
        await world.says(number)
    agreed = await world.says("好，提醒我")
    assert "已经记下" in agreed[0]
    assert "23 小时" in agreed[1], "the patient is told that staff will call instead"
    before = len(world.wechat.sent)
    for _ in range(30):
        world.clock.advance(s=24 * 3600)
        await world.service.ticker.tick_due()
        await world.service.settle()
    assert len(world.wechat.sent) == before, "WeChat would refuse it"
    tasks = [kind for (kind,) in await world.rows(select(staff_task.c.kind))]
    assert "follow_up" in tasks
    assert not await world.rows(select(outbox.c.id).where(outbox.c.state != "sent"))


async def test_the_console_and_readyz_see_the_logins(world_of: Make) -> None:
    world = await world_of()
    await world.says("你好")
    (part,) = [p for p in await world.service.health() if p.name == "ilink"]
    assert part.ok
    assert part.facts == {"ready": "1", "logins": "1", "login": "idle"}
    (channel,) = [c for c in world.service.connected if isinstance(c, IlinkChannel)]
    assert isinstance(channel, WithLogin), "the console offers its login"
    await channel.desk.begin()
    await until(lambda: channel.desk.view.qr)
    facts = channel.health().facts
    assert (facts["login"], facts["qr"]) == ("waiting", "https://liteapp.weixin.qq.com/q/1")
    world.wechat.scan("bob@im.wechat")
    await until(lambda: channel.desk.view.state == "confirmed")
    assert "qr" not in channel.health().facts
    world.wechat.user_says("bob@im.wechat", "你好")
    await until(lambda: world.wechat.texts("bob@im.wechat"))
    chats = [c for (c,) in await world.rows(select(conversation.c.chat_id))]
    assert sorted(chats) == ["bob@im.wechat", ALICE]
