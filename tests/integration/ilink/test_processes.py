"""Several processes on one PostgreSQL: each login is polled by one of them."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest

from adapters.wechat.ilink import receiving
from adapters.wechat.ilink.channel import IlinkChannel
from adapters.wechat.ilink.logins import TOKEN, NewLogin, save_login
from adapters.wechat.ilink.settings import IlinkSettings
from core.store.blobs import BlobStore
from core.store.keyring import Keyring
from core.store.store import Store
from migrations.schema import create
from tests.conftest import ManualClock
from tests.fakes.core_fakes import FakeConversations
from tests.fakes.ilink import Ilink
from tests.fakes.waiting import until


@pytest.mark.parametrize("empty_database", ["postgresql"], indirect=True)
async def test_two_processes_share_the_logins_and_one_takes_over(
    empty_database: str,
    keys: Keyring,
    tmp_path: Path,
    clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(receiving, "_LOOK_EVERY_S", 0.05)
    create(empty_database)
    async with Ilink.running(clock.now_ms) as wechat:
        settings = IlinkSettings.model_validate(wechat.settings())
        blobs = BlobStore(tmp_path, keys)
        stores = [Store(empty_database, keys) for _ in range(2)]
        intake = FakeConversations()
        channels = [IlinkChannel(settings, store, blobs, clock) for store in stores]
        tasks: list[asyncio.Task[None]] = []
        try:
            for user in ("alice", "bob", "carol"):
                bot = wechat.connect(user)
                token = keys.seal(TOKEN, bot.token.encode())
                login = NewLogin(user, bot.bot_id, wechat.base, token, clock.now_ms())
                await stores[0].write(save_login, login)
            for channel in channels:
                await channel.start()
                tasks.append(asyncio.create_task(channel.run(intake)))
            await until(lambda: _polled(channels) == 3)
            await asyncio.sleep(0.3)
            assert _polled(channels) == 3, "no login is polled twice"
            assert all(bot.started == 1 for bot in wechat.bots.values())
            # The one with all logins dies without a word; the other has them when the claim ends.
            busy = max(range(2), key=lambda n: _polled([channels[n]]))
            held = _polled([channels[busy]])
            assert held > 0
            monkeypatch.setattr(channels[busy]._receiving, "_let_go", _nothing)
            tasks[busy].cancel()
            for _, task in channels[busy]._receiving._pollers.values():
                task.cancel()
            await asyncio.gather(tasks[busy], return_exceptions=True)
            await asyncio.sleep(0.3)
            assert _polled([channels[1 - busy]]) == 3 - held
            clock.advance(s=31)
            await until(lambda: _polled([channels[1 - busy]]) == 3)
            wechat.user_says("alice", "在吗")
            await until(lambda: intake.accepted)
        finally:
            for task in tasks:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
            for channel in channels:
                await channel.stop()
            for store in stores:
                store.close()


def _polled(channels: list[IlinkChannel]) -> int:
    return sum(int(channel.health().facts["logins"]) for channel in channels)


async def _nothing() -> None:
    return
