from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass

import aiohttp
from aiohttp import web

from adapters.http.server import HttpServer
from adapters.http.sse import EventStream
from adapters.webchat.rooms import MAX_VIEWERS_PER_CHAT
from core.reply import say
from tests.fakes.waiting import PATIENCE_S
from tests.integration.webchat.test_posts import SCRIPT


@dataclass
class Event:
    name: str
    id: str
    data: dict


class Reader:
    """Reads events off one answer."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self._answer = answer

    async def next(self) -> Event:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                fields: dict[str, str] = {}
                while line := (await self._answer.content.readline()).decode().rstrip("\n"):
                    name, _, value = line.partition(": ")
                    fields[name] = value
                if "data" in fields:
                    data = json.loads(fields["data"] or "{}")
                    return Event(fields.get("event", ""), fields.get("id", ""), data)
                if self._answer.content.at_eof():
                    raise EOFError


async def write(browser: aiohttp.ClientSession, text: str) -> None:
    async with browser.post("/chat/messages", data={"text": text}, headers=SCRIPT) as answer:
        assert answer.status == 202


async def test_answers_arrive_live_and_in_order(site, browser):
    await write(browser, "hello")
    async with browser.get("/chat/stream") as answer:
        assert answer.content_type == "text/event-stream"
        reader = Reader(answer)
        first = await reader.next()
        assert (first.name, first.id, first.data["author"]) == ("item", "1", "patient")
        for n in range(3):
            await site.say(site.address, say("answer", f"reply {n}"))
        for n in range(3):
            event = await reader.next()
            assert event.id == str(n + 2)
            assert f"reply {n}" in event.data["html"]


async def test_reconnecting_replays_exactly_what_was_missed(site, browser):
    await write(browser, "hello")
    async with browser.get("/chat/stream", params={"after": "1"}) as answer:
        await site.say(site.address, say("answer", "seen"))
        assert (await Reader(answer).next()).id == "2"
    for n in range(3):  # nobody listens
        await site.say(site.address, say("answer", f"missed {n}"))
    headers = {"Last-Event-ID": "2"}  # the browser adds it to the address of the first connection
    async with browser.get("/chat/stream", params={"after": "1"}, headers=headers) as answer:
        reader = Reader(answer)
        assert [(await reader.next()).id for _ in range(3)] == ["3", "4", "5"]


async def test_odd_cursors_count_as_none(site, browser):
    await write(browser, "hello")
    for cursor in ("-1", "x", "1e3", "９", "9" * 40, ""):
        async with browser.get("/chat/stream", headers={"Last-Event-ID": cursor}) as answer:
            assert (await Reader(answer).next()).id == "1"


async def test_the_own_message_comes_back_under_its_id(site, browser):
    async with browser.get("/chat/stream") as answer:
        reader = Reader(answer)
        await write(browser, "mine")
        event = await reader.next()
        assert event.data["message_id"] == site.conversations.accepted[0].message_id


async def test_strangers_hear_nothing(site, browser, stranger):
    await write(browser, "hello")
    async with stranger.get("/chat/stream") as answer:
        await site.say(site.address, say("answer", "private"))
        await write(stranger, "me")
        assert "private" not in (await Reader(answer).next()).data["html"]


async def test_typing_and_drafts(site, browser):
    await write(browser, "hello")
    async with browser.get("/chat/stream", params={"after": "1"}) as answer:
        reader = Reader(answer)
        await site.watched()
        async with site.chat.activity(site.address, "typing"):
            assert (await reader.next()).data == {"typing": True, "draft": ""}
            draft = site.chat.draft(site.address)
            await draft.show("正在\n写")
            assert (await reader.next()).data == {"typing": True, "draft": "正在\n写"}
            await draft.close()
            assert (await reader.next()).data == {"typing": True, "draft": ""}
        assert (await reader.next()).data == {"typing": False, "draft": ""}


async def test_who_left_is_forgotten_at_the_next_word(site, browser):
    await write(browser, "hello")
    answer = await browser.get("/chat/stream", params={"after": "1"})
    await site.watched()
    answer.close()
    async with asyncio.timeout(PATIENCE_S):
        while site.chat.viewers:
            await site.say(site.address, say("answer", "x"))
            await asyncio.sleep(0.01)
    assert site.chat.draft(site.address) is None


async def test_a_page_opened_too_often_waits(site, browser):
    open_pages = [await browser.get("/chat/stream") for _ in range(MAX_VIEWERS_PER_CHAT)]
    async with browser.get("/chat/stream") as answer:
        assert answer.status == 503
    for page in open_pages:
        page.close()


async def test_without_a_session_there_is_no_stream(site):
    async with aiohttp.ClientSession(site.base) as nobody, nobody.get("/chat/stream") as answer:
        assert answer.status == 401


async def test_a_reader_that_takes_nothing_is_cut_off():
    ended = asyncio.Event()

    async def flood(request: web.Request) -> web.StreamResponse:
        stream = EventStream(request, write_timeout_s=0.2)
        async with stream:
            while True:
                await stream.send("x" * 100_000)
        ended.set()
        return stream.response

    server = HttpServer("127.0.0.1", 0, [web.get("/flood", flood)], shutdown_timeout_s=1)
    await server.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1024)
    writer.write(b"GET /flood HTTP/1.1\r\nHost: x\r\n\r\n")
    async with asyncio.timeout(PATIENCE_S):
        await ended.wait()
        with contextlib.suppress(ConnectionError):
            while await reader.read(1_000_000):
                pass
    writer.close()
    await server.stop()


async def test_stopping_the_server_ends_the_streams(site, browser):
    async with browser.get("/chat/stream") as answer:
        await site.watched()
        async with asyncio.timeout(PATIENCE_S):
            await site.server.stop()
        assert await answer.content.read() is not None
    assert site.chat.viewers == 0
