"""One gateway for many tests, and a channel on it with an intake that remembers."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from adapters.wechat.wechaty.channel import WechatyChannel
from adapters.wechat.wechaty.settings import WechatySettings
from core.clock import SystemClock
from core.errors import TransientError
from core.message import Inbound
from core.store.blobs import BlobStore
from core.store.keyring import Keyring
from tests.fakes.waiting import until
from tests.gateway.gateway import Gateway

_people = itertools.count(1)


class Remembering:
    """An intake; `closed` makes it refuse."""

    def __init__(self) -> None:
        self.messages: list[Inbound] = []
        self.closed = False

    async def accept(self, messages: Sequence[Inbound]) -> None:
        if self.closed:
            raise TransientError("the database is away")
        self.messages += messages

    def of(self, chat: str) -> list[Inbound]:
        return [m for m in self.messages if m.address.chat_id == chat]


@pytest.fixture
def gateway(wechaty_gateway: Gateway) -> Gateway:
    return wechaty_gateway


@pytest.fixture
def person() -> str:
    """Somebody no other test has written as."""
    return f"wxid_person_{next(_people)}"


@pytest.fixture
def intake() -> Remembering:
    return Remembering()


@pytest.fixture
def blobs(tmp_path: Path, keys: Keyring) -> BlobStore:
    return BlobStore(tmp_path / "blobs", keys)


@asynccontextmanager
async def connected(
    gateway: Gateway, intake: Remembering, blobs: BlobStore, folder: Path, **settings: Any
) -> AsyncIterator[WechatyChannel]:
    """Run a channel until the block ends; it need not have got anywhere yet."""
    made = WechatySettings.model_validate(gateway.settings | settings)
    channel = WechatyChannel(made, blobs, SystemClock(), folder)
    await channel.start()
    task = asyncio.create_task(channel.run(intake))
    try:
        yield channel
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await channel.stop()


def state_of(channel: WechatyChannel) -> str:
    return channel.health().facts["state"]


@pytest.fixture
async def channel(
    gateway: Gateway, intake: Remembering, blobs: BlobStore, tmp_path: Path
) -> AsyncIterator[WechatyChannel]:
    async with connected(gateway, intake, blobs, tmp_path) as running:
        await until(lambda: running.health().ok)
        yield running


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the long tests to `make gateway-soak`."""
    if "slow" in (config.option.markexpr or ""):
        return
    long = [item for item in items if item.get_closest_marker("slow") and _is_ours(item)]
    if long:
        items[:] = [item for item in items if item not in long]
        config.hook.pytest_deselected(items=long)


def _is_ours(item: pytest.Item) -> bool:
    return item.path.parent == Path(__file__).parent
