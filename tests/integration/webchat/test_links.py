"""A link that opens one's own conversation in another browser."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from sqlalchemy import Connection, select

from adapters.http.server import HttpServer
from adapters.webchat.channel import WebChat
from adapters.webchat.links import StoredLinks
from adapters.webchat.settings import WebChatSettings
from core.store.keyring import load_or_create
from core.store.store import Store
from core.store.tables import chat_guest
from migrations.schema import create
from tests.fakes.core_fakes import FakeBlobs, FakeClock, FakeConversations
from tests.integration.webchat.conftest import Site

_DAY_MS = 86_400_000


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    url = f"sqlite:///{tmp_path}/links.db"
    create(url)
    store = Store(url, load_or_create(tmp_path / "keys.json"))
    yield store
    store.close()


@pytest.fixture
async def site(store: Store) -> AsyncIterator[Site]:
    clock, blobs = FakeClock(), FakeBlobs()
    conversations = FakeConversations(clock)
    links = StoredLinks(store, clock, days=180)
    chat = WebChat(WebChatSettings(), history=conversations, blobs=blobs, clock=clock, links=links)
    server = HttpServer("127.0.0.1", 0, chat.routes(conversations), shutdown_timeout_s=1)
    await server.start()
    yield Site(clock, conversations, blobs, chat, server)
    await server.stop()


async def link_of(browser: aiohttp.ClientSession) -> str:
    async with browser.post("/chat/link") as page:
        text = await page.text()
        assert page.status == 200
    assert "<svg" in text
    assert "style=" not in text
    found = re.search(r">(http://[^<]+/chat/continue/[\w-]+)<", text)
    assert found
    return found[1].partition("/chat/")[2]


async def test_another_browser_continues_after_asking(site, browser, stranger):
    async with browser.get("/chat") as page:
        assert 'href="/chat/link"' in await page.text()
    async with browser.post("/chat/messages", data={"text": "我右眼模糊"}) as page:
        assert page.status == 200
    path = f"/chat/{await link_of(browser)}"
    site.clock.ms += 30 * _DAY_MS
    async with stranger.get(path) as page:  # a preview opens links too
        assert "原来的对话将不再显示" in await page.text()
    async with stranger.get("/chat") as page:
        assert "我右眼模糊" not in await page.text()
    async with stranger.post(path, data={}) as page:
        assert page.url.path == "/chat"
        assert "我右眼模糊" in await page.text()
    async with stranger.post("/chat/messages", data={"text": "左眼也是"}) as page:
        assert page.status == 200
    async with browser.get("/chat") as page:
        assert "左眼也是" in await page.text()
    async with browser.get(path) as page:  # one's own
        assert page.url.path == "/chat"


async def test_a_link_ends_by_a_new_one_by_hand_and_by_itself(site, browser, stranger):
    async def status(path: str) -> int:
        async with stranger.get(f"/chat/{path}", allow_redirects=False) as page:
            return page.status

    first = await link_of(browser)
    second = await link_of(browser)
    assert (await status(first), await status(second)) == (404, 200)
    async with browser.get("/chat/link") as page:
        assert "让链接失效" in await page.text()
    async with browser.post("/chat/link/end") as page:
        assert "让链接失效" not in await page.text()
    assert await status(second) == 404
    third = await link_of(browser)
    assert await status(third) == 200
    site.clock.ms += 180 * _DAY_MS
    assert await status(third) == 404


async def status_of(browser: aiohttp.ClientSession, path: str) -> int:
    async with browser.get(path, allow_redirects=False) as answer:
        return answer.status


async def text_of(browser: aiohttp.ClientSession) -> str:
    async with browser.get("/chat") as page:
        return await page.text()


async def come_in(site: Site, path: str) -> aiohttp.ClientSession:
    jar = aiohttp.CookieJar(unsafe=True)
    session = aiohttp.ClientSession(site.base, cookie_jar=jar)
    async with session.post(f"/chat/{path}", data={}) as page:
        assert page.url.path == "/chat"
    return session


async def test_taking_the_link_back_logs_out_who_came_in_by_it(site, browser, store):
    async with browser.post("/chat/messages", data={"text": "我右眼模糊"}) as page:
        assert page.status == 200
    first, second = [await come_in(site, await link_of(browser)) for _ in range(2)]
    async with first, second:
        for guest in (first, second):  # the second link ended the first, and nobody's visit
            assert "我右眼模糊" in await text_of(guest)
        async with browser.get("/chat/link") as page:
            assert "其他浏览器：2 个" in await page.text()
        async with first.get("/chat/stream") as stream:
            assert (await stream.content.readline()).startswith(b"retry")
            async with browser.post("/chat/link/end") as page:
                assert "其他浏览器" not in await page.text()
            rest = await stream.content.read()  # ends by itself
            assert b"event: over" in rest
        async with second.post("/chat/messages", data={"text": "还在吗"}) as answer:
            assert answer.status == 401
        async with second.get("/chat/stream") as stream:
            assert b"event: over" in await stream.content.read()
        async with second.get("/chat") as page:
            text = await page.text()
            assert "已被收回" in text
            assert "我右眼模糊" not in text
            assert page.headers["Clear-Site-Data"] == '"cache"'
        async with second.get("/chat") as page:  # a conversation of its own from now on
            assert "已被收回" not in await page.text()
            assert "Clear-Site-Data" not in page.headers
        assert "我右眼模糊" in await text_of(browser)


async def test_a_guest_who_takes_the_link_back_stays(site, browser):
    path = await link_of(browser)
    guest, other = await come_in(site, path), await come_in(site, path)
    async with guest, other:
        async with guest.post("/chat/link/end") as page:
            assert page.status == 200
        assert await status_of(guest, "/chat/link") == 200
        assert await status_of(other, "/chat/link") == 401
        assert await status_of(browser, "/chat/link") == 200
        again = await come_in(site, await link_of(guest))  # a guest's link opens the same chat
        async with again:
            assert await status_of(again, "/chat/link") == 200


async def test_a_guest_who_stays_away_as_long_as_a_link_lasts_is_forgotten(site, browser, store):
    guest = await come_in(site, await link_of(browser))
    async with guest:
        for _ in range(3):  # who comes back stays
            site.clock.ms += 100 * _DAY_MS
            assert await status_of(guest, "/chat/link") == 200
        site.clock.ms += 180 * _DAY_MS
        assert await status_of(guest, "/chat/link") == 401
        async with await come_in(site, await link_of(browser)) as new:
            assert await status_of(new, "/chat/link") == 200
        assert len(await store.read(_guests, None)) == 1


def _guests(connection: Connection, _argument: None) -> list[str]:
    return list(connection.execute(select(chat_guest.c.token_hash)).scalars())


async def test_nothing_else_opens_anything(site, browser, stranger, store):
    path = await link_of(browser)
    secret = path.partition("/")[2]
    other = store.keys.seal("other.column", b"0" * 75)
    changed = secret[:-1] + ("A" if secret[-1] != "A" else "B")
    for wrong in (secret[:-2], changed, "x", "é", "a" * 500, "A" * 96, other.hex()):
        for ask in (stranger.get, stranger.post):
            async with ask(f"/chat/continue/{wrong}", data={}) as page:
                assert page.status == 404, wrong
                assert "失效" in await page.text()
    async with aiohttp.ClientSession(site.base) as nobody:
        for ask in (nobody.get, nobody.post):
            async with ask("/chat/link") as page:
                assert page.status == 401
    foreign = {"Origin": "https://evil.test"}
    async with stranger.post(f"/chat/{path}", data={}, headers=foreign) as page:
        assert page.status == 403


async def test_tries_are_counted(site, stranger):
    statuses = set()
    for _ in range(70):
        async with stranger.get("/chat/continue/none") as page:
            statuses.add(page.status)
    assert statuses == {404, 429}


async def test_the_database_holds_no_link(site, browser, store, tmp_path: Path):
    path = await link_of(browser)
    secret = path.partition("/")[2]
    (cookie,) = [c.value for c in browser.cookie_jar if "oc_chat" in c.key]
    async with await come_in(site, path) as guest:
        (guests,) = [c.value for c in guest.cookie_jar if "oc_chat" in c.key]
    store.close()
    content = b"".join(p.read_bytes() for p in tmp_path.glob("links.db*"))
    for word in (secret, secret[40:80], cookie, guests, guests[2:]):
        assert word.encode() not in content
