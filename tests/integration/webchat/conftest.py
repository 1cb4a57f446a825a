"""The chat page on a real socket, over a core in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import aiohttp
import pytest

from adapters.http.server import HttpServer
from adapters.webchat.channel import WebChat
from adapters.webchat.settings import MEBIBYTE, WebChatSettings
from core.message import Address
from core.reply import Reply
from models.fundus.reader import OnnxFundusReader
from models.fundus.settings import FundusSettings
from tests.fakes.core_fakes import FakeBlobs, FakeClock, FakeConversations
from tests.fakes.waiting import until


@dataclass
class Site:
    clock: FakeClock
    conversations: FakeConversations
    blobs: FakeBlobs
    chat: WebChat
    server: HttpServer

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.server.port}"

    @property
    def address(self) -> Address:
        """Who wrote last."""
        return self.conversations.accepted[-1].address

    async def watched(self) -> None:
        """Return once a page listens."""
        await until(lambda: self.chat.viewers, "a page that listens")

    async def say(self, to: Address, reply: Reply) -> None:
        item = self.conversations.say(to, reply)
        await self.chat.send(to, reply, key=f"{item.id}.0")


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    clock, blobs = FakeClock(), FakeBlobs()
    conversations = FakeConversations(clock)
    settings = WebChatSettings(max_upload_bytes=MEBIBYTE)
    reader = OnnxFundusReader(FundusSettings())
    chat = WebChat(settings, history=conversations, blobs=blobs, clock=clock, shrink=reader.clean)
    server = HttpServer("127.0.0.1", 0, chat.routes(conversations), shutdown_timeout_s=2)
    await server.start()
    yield Site(clock, conversations, blobs, chat, server)
    await server.stop()
    await reader.close()


@pytest.fixture
async def browser(site: Site) -> AsyncIterator[aiohttp.ClientSession]:
    """Someone whose browser has opened the page."""
    # unsafe=True keeps cookies of an IP address
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(site.base, cookie_jar=jar) as session:
        async with session.get("/chat") as page:
            assert page.status == 200
        yield session


@pytest.fixture
async def stranger(site: Site) -> AsyncIterator[aiohttp.ClientSession]:
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(site.base, cookie_jar=jar) as session:
        async with session.get("/chat"):
            pass
        yield session
