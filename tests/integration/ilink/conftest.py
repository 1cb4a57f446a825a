from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from adapters.wechat.ilink.api import IlinkApi
from adapters.wechat.ilink.channel import IlinkChannel
from adapters.wechat.ilink.logins import TOKEN, NewLogin, save_login
from adapters.wechat.ilink.settings import IlinkSettings
from core.store.blobs import BlobStore
from core.store.keyring import Keyring
from core.store.store import Store
from migrations.schema import create
from tests.conftest import ManualClock
from tests.fakes.core_fakes import FakeConversations
from tests.fakes.ilink import Bot, Ilink
from tests.fakes.waiting import until


@dataclass
class Clinic:
    """A channel between the fake WeChat and an intake that keeps what comes."""

    wechat: Ilink
    store: Store
    blobs: BlobStore
    clock: ManualClock
    settings: IlinkSettings
    channel: IlinkChannel
    intake: FakeConversations = field(default_factory=FakeConversations)
    running: asyncio.Task[Any] | None = None

    async def connect(self, user: str) -> Bot:
        """A person scans our code."""
        bot = self.wechat.connect(user)
        await self.keep(bot)
        return bot

    async def keep(self, bot: Bot) -> None:
        """Store what a confirmed scan gives."""
        sealed = self.store.keys.seal(TOKEN, bot.token.encode())
        login = NewLogin(bot.user, bot.bot_id, self.wechat.base, sealed, self.clock.now_ms())
        await self.store.write(save_login, login)

    async def run(self) -> None:
        """Receive from now on."""
        self.running = asyncio.create_task(self.channel.run(self.intake))

    async def end(self) -> None:
        """Stop receiving and sending."""
        if self.running is not None:
            self.running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self.running
            self.running = None
        await self.channel.stop()

    async def again(self) -> None:
        """Be another process on the same database."""
        self.channel = IlinkChannel(self.settings, self.store, self.blobs, self.clock)
        await self.channel.start()
        await self.run()

    async def hears(self, user: str, text: str = "你好") -> None:
        """A person writes, and it is in the inbox."""
        count = len(self.intake.accepted)
        self.wechat.user_says(user, text)
        await until(lambda: len(self.intake.accepted) > count)


@pytest.fixture
def store(tmp_path: Path, keys: Keyring) -> Iterator[Store]:
    url = f"sqlite:///{tmp_path / 'ilink.db'}"
    create(url)
    store = Store(url, keys)
    yield store
    store.close()


@pytest.fixture
async def wechat(clock: ManualClock) -> AsyncIterator[Ilink]:
    async with Ilink.running(clock.now_ms) as fake:
        yield fake


@pytest.fixture
async def clinic(
    wechat: Ilink, store: Store, tmp_path: Path, clock: ManualClock, keys: Keyring
) -> AsyncIterator[Clinic]:
    settings = IlinkSettings.model_validate(wechat.settings(request_timeout_s=30))
    blobs = BlobStore(tmp_path / "blobs", keys)
    channel = IlinkChannel(settings, store, blobs, clock)
    await channel.start()
    clinic = Clinic(wechat, store, blobs, clock, settings, channel)
    yield clinic
    await clinic.end()


@pytest.fixture
async def api(wechat: Ilink) -> AsyncIterator[IlinkApi]:
    client = IlinkApi(IlinkSettings.model_validate(wechat.settings()))
    await client.start()
    yield client
    await client.stop()
