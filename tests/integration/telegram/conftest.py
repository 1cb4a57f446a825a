from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager

import pytest

from adapters.telegram import link
from adapters.telegram.channel import TelegramChannel
from adapters.telegram.settings import TelegramSettings
from core.errors import PatientError, TransientError
from core.message import Address, Inbound
from tests.fakes.botapi import TOKEN, BotApi

PNG = b"\x89PNG\r\n\x1a\n" + b"\x00" * 64
CHAT = Address("telegram", "4242", "1001")
GROUP = Address("telegram", "4242", "-1009")


class MemoryIntake:
    """Keeps messages; refuses while `broken`; waits while `gate` is not set."""

    def __init__(self) -> None:
        self.messages: list[Inbound] = []
        self.batches: list[int] = []
        self.broken = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.waiting = 0

    async def accept(self, messages: Sequence[Inbound]) -> None:
        self.waiting += 1
        await self.gate.wait()
        self.waiting -= 1
        if self.broken:
            self.broken -= 1
            raise TransientError("no disk")
        self.batches.append(len(messages))
        self.messages += messages

    @property
    def texts(self) -> list[str]:
        return [m.text for m in self.messages]


class MemoryBlobs:
    """Holds a card, something Telegram takes for no picture, and what is put into it."""

    def __init__(self) -> None:
        self.files = {"card": PNG, "not-a-picture": b"GIF89a"}

    async def put(self, data: bytes, *, salt: bytes = b"") -> str:
        blob = hashlib.sha256(salt + data).hexdigest()
        self.files[blob] = data
        return blob

    async def get(self, blob: str) -> bytes:
        if blob not in self.files:
            raise PatientError("turn.photo_gone")
        return self.files[blob]

    async def discard(self, blob: str) -> None:
        self.files.pop(blob, None)


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Failures are tried again soon; how long the pauses really are is a unit test's question."""
    monkeypatch.setattr(link, "_FIRST_PAUSE_S", 0.02)


@pytest.fixture
async def api() -> AsyncIterator[BotApi]:
    async with BotApi.running() as running:
        running.chats.add(int(CHAT.chat_id))
        yield running


@pytest.fixture
def intake() -> MemoryIntake:
    return MemoryIntake()


def settings_for(api: BotApi, **changes: object) -> TelegramSettings:
    given: dict[str, object] = {
        "token": TOKEN,
        "base_url": api.base_url,
        "base_file_url": api.base_file_url,
        "request_timeout_s": 60,
        "connect_timeout_s": 60,
        "menu": False,
        "chat_burst": 10,
    }
    return TelegramSettings.model_validate(given | changes)


Opener = Callable[..., AbstractAsyncContextManager[TelegramChannel]]


@pytest.fixture
def a_channel(api: BotApi, intake: MemoryIntake) -> Opener:
    """Open a channel on the fake; ``polling=True`` also runs it."""

    @contextlib.asynccontextmanager
    async def opened(*, running: bool = False, **changes: object) -> AsyncIterator[TelegramChannel]:
        channel = TelegramChannel(settings_for(api, **changes), MemoryBlobs())
        await channel.start()
        task = asyncio.create_task(channel.run(intake)) if running else None
        try:
            yield channel
        finally:
            if task:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            await channel.stop()

    return opened


def impatient(channel: TelegramChannel) -> None:
    """Make its next calls wait half a second, for tests of a Telegram that answers nothing."""
    channel._request._request_timeout_s = 0.5


@pytest.fixture
async def channel(a_channel: Opener) -> AsyncIterator[TelegramChannel]:
    """A channel that can send and fetch; nothing is received."""
    async with a_channel() as opened:
        yield opened
