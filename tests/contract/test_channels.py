"""One suite over every channel: what core relies on, whatever the platform."""

from __future__ import annotations

import asyncio
import html
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

import adapters.webchat.channel as webchat_package
from adapters.http.pages import environment
from adapters.telegram.channel import TelegramChannel
from adapters.telegram.settings import TelegramSettings
from adapters.terminal.channel import TerminalChannel
from adapters.webchat.channel import WebChat
from adapters.webchat.render import Renderer
from adapters.webchat.settings import WebChatSettings
from adapters.wechat.ilink.channel import IlinkChannel
from adapters.wechat.ilink.logins import TOKEN, NewLogin, save_login
from adapters.wechat.ilink.settings import IlinkSettings
from adapters.wechat.official.channel import OfficialAccount
from adapters.wechat.official.settings import OfficialSettings
from core.clock import SystemClock
from core.errors import PatientError, Throttled
from core.message import Address, Attachment, AttachmentKind
from core.ports import Channel
from core.reply import Bold, Bullets, Button, Document, Heading, Image, Paragraph, Reply, Text, say
from core.split import split, text_size
from core.store.blobs import BlobStore
from core.store.inbox import NewMessage, ingest
from core.store.keyring import Keyring
from core.store.store import Store
from core.store.wechat_official import Chat, HeardFrom, note_heard
from migrations.schema import create
from tests.conftest import ManualClock
from tests.fakes.botapi import BotApi
from tests.fakes.core_fakes import FakeConversations
from tests.fakes.ilink import Ilink
from tests.fakes.waiting import until
from tests.fakes.wechat_api import WechatApi
from tests.gateway.gateway import Gateway

NASTY = "IOP < 21 & 血压>140 *非常* _重要_ [链接](x) <b>不是标签</b> 👁️‍🗨️ \\ ` ~ |"


@dataclass
class Bench:
    """A channel, a chat on it, and what its person has seen."""

    channel: Channel
    to: Address
    seen: Callable[[], list[str]]
    good_file: Attachment
    missing_file: Attachment
    data: bytes
    # What the file that came with the last reply holds.
    document: Callable[[], bytes] = bytes


@pytest.fixture(params=["terminal", "telegram", "webchat", "wechat", "ilink", "wechaty"])
async def bench(
    request: pytest.FixtureRequest, tmp_path: Path, keys: Keyring
) -> AsyncIterator[Bench]:
    blobs = BlobStore(tmp_path / "blobs", keys)
    data = b"\xff\xd8\xff picture bytes" * 100
    stored = await blobs.put(data)
    gone = "0" * 64
    if request.param == "terminal":
        lines: list[str] = []
        file = tmp_path / "photo.jpg"
        file.write_bytes(data)
        channel = TerminalChannel(lines.append, blobs, tmp_path / "out", as_json=True)
        yield Bench(
            channel,
            Address("terminal", "local", "me"),
            lambda: [json.loads(line)["text"] for line in lines],
            Attachment(AttachmentKind.PHOTO, str(file)),
            Attachment(AttachmentKind.PHOTO, str(tmp_path / "none.jpg")),
            data,
            (tmp_path / "out" / "visit.ics").read_bytes,
        )
        return
    if request.param == "webchat":
        channel = _WatchedWebChat(FakeConversations(), blobs)
        yield Bench(
            channel,
            Address("webchat", "web", "a" * 64),
            lambda: channel.shown,
            Attachment(AttachmentKind.PHOTO, stored),
            Attachment(AttachmentKind.PHOTO, gone),
            data,
            lambda: channel.documents[-1],
        )
        return
    if request.param == "ilink":
        async with _ilink(blobs, data, tmp_path, keys) as found:
            yield found
        return
    if request.param == "wechat":
        async with _an_official_account(tmp_path, keys, blobs, data) as found:
            yield found
        return
    if request.param == "wechaty":
        gateway = request.getfixturevalue("wechaty_gateway")
        async with _wechaty(gateway, blobs, data, tmp_path) as found:
            yield found
        return
    async with BotApi.running() as api:
        settings = TelegramSettings.model_validate(
            {
                "token": api.token,
                "base_url": api.base_url,
                "base_file_url": api.base_file_url,
                "chat_messages_per_s": 1000,
            }
        )
        channel = TelegramChannel(settings, blobs)
        await channel.start()
        api.user_text(7, "hello")
        file = api.file(data)
        yield Bench(
            channel,
            Address("telegram", channel.account, "7"),
            lambda: api.texts(7),
            Attachment(AttachmentKind.DOCUMENT, file["file_id"], size_bytes=len(data)),
            Attachment(AttachmentKind.PHOTO, "no-such-file"),
            data,
            lambda: api.documents(7)[-1],
        )
        await channel.stop()


@asynccontextmanager
async def _ilink(
    blobs: BlobStore, data: bytes, folder: Path, keys: Keyring
) -> AsyncIterator[Bench]:
    """Somebody who scanned our code and has written, with room for the suite's long replies."""
    url = f"sqlite:///{folder / 'ilink.db'}"
    create(url)
    store, clock, intake = Store(url, keys), ManualClock(), FakeConversations()
    async with Ilink.running(clock.now_ms) as wechat:
        wechat.quota = 1000
        settings = IlinkSettings.model_validate(wechat.settings(messages_per_context=1000))
        channel = IlinkChannel(settings, store, blobs, clock)
        bot = wechat.connect("alice")
        token = store.keys.seal(TOKEN, bot.token.encode())
        await store.write(save_login, NewLogin("alice", bot.bot_id, wechat.base, token, 0))
        wechat.user_photo("alice", data)
        wechat.user_photo("alice", data, encrypt_query_param="nowhere")
        await channel.start()
        running = asyncio.create_task(channel.run(intake))
        await until(lambda: len(intake.accepted) == 2, "two messages taken")
        good, missing = (m.attachments[0] for m in intake.accepted)
        address = intake.accepted[0].address
        yield Bench(channel, address, lambda: wechat.texts("alice"), good, missing, data)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await channel.stop()
    store.close()


@asynccontextmanager
async def _wechaty(
    gateway: Gateway, blobs: BlobStore, data: bytes, folder: Path
) -> AsyncIterator[Bench]:
    """Somebody of the real gateway's, who has sent a picture."""
    from adapters.wechat.wechaty.channel import WechatyChannel  # noqa: PLC0415 an extra
    from adapters.wechat.wechaty.settings import WechatySettings  # noqa: PLC0415

    who, shown, files = f"wxid_{folder.name}", list[str](), list[bytes]()

    class Watched(WechatyChannel):
        async def send(self, to: Address, reply: Reply, *, key: str) -> str | None:
            sent_id = await super().send(to, reply, key=key)
            sent = await gateway.sent(who)
            shown[:] = [s.get("text", "") for s in sent]
            files[:] = [s["head"].encode() for s in sent if s["kind"] == "file"]
            return sent_id

    settings = WechatySettings.model_validate(gateway.settings)
    channel, intake = Watched(settings, blobs, SystemClock(), folder), FakeConversations()
    await channel.start()
    running = asyncio.create_task(channel.run(intake))
    await until(lambda: channel.health().ok, "the gateway connected")
    await gateway.sends(who, data)
    mine = await until(lambda: [m for m in intake.accepted if m.sender_id == who], "the picture")
    [photo] = mine[0].attachments
    missing = Attachment(AttachmentKind.PHOTO, "no-such-message")
    yield Bench(channel, mine[0].address, lambda: shown, photo, missing, data, lambda: files[-1])
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await channel.stop()


@asynccontextmanager
async def _an_official_account(
    tmp_path: Path, keys: Keyring, blobs: BlobStore, data: bytes
) -> AsyncIterator[Bench]:
    url = f"sqlite:///{tmp_path / 'wechat.db'}"
    create(url)
    store = Store(url, keys)
    async with WechatApi.running() as api:
        settings = OfficialSettings.model_validate(api.settings())
        channel = _PatientPerson(settings, store=store, blobs=blobs, clock=SystemClock())
        await channel.start()
        to = Address("wechat", channel.account, "oPatient_1")
        message = NewMessage(
            *(to.channel, to.account, to.chat_id),
            *("1", 1, b"", 1, "Asia/Shanghai", None, None, 0),
        )
        await store.write(ingest, message)
        channel.api_of_test, api.media["m1"] = api, data
        await channel.writes(to)
        yield Bench(
            channel,
            to,
            lambda: api.texts(to.chat_id),
            Attachment(AttachmentKind.PHOTO, "m1"),
            Attachment(AttachmentKind.PHOTO, "no-such-media"),
            data,
        )
        await channel.stop()
    store.close()


class _PatientPerson(OfficialAccount):
    """An account whose person writes again whenever WeChat takes no more for their last message."""

    api_of_test: WechatApi

    async def writes(self, to: Address) -> None:
        self.api_of_test.user_acts(to.chat_id, "message")
        chat = Chat(to.channel, to.account, to.chat_id)
        at_ms = SystemClock().now_ms()
        await self._store.write(note_heard, HeardFrom(chat, "message", str(at_ms), at_ms))

    async def send(self, to: Address, reply: Reply, *, key: str) -> str | None:
        try:
            return await super().send(to, reply, key=key)
        except Throttled:
            await self.writes(to)
            return await super().send(to, reply, key=key)


class _WatchedWebChat(WebChat):
    """The web chat as its page shows it: rendered from history after each wake-up."""

    def __init__(self, conversations: FakeConversations, blobs: BlobStore) -> None:
        super().__init__(WebChatSettings(), history=conversations, blobs=blobs)
        self._watched = conversations
        templates = environment(
            Path(webchat_package.__file__).parent / "templates", static_url=lambda name: name
        )
        self._page = Renderer(templates, ZoneInfo("Asia/Shanghai"))
        self.shown: list[str] = []
        self.documents: list[bytes] = []

    async def send(self, to: Address, reply: Reply, *, key: str) -> str | None:
        item = self._watched.say(to, reply)  # core commits the reply before it is sent
        article = self._page.item(item, chat_id=to.chat_id, language="en", now_ms=0)
        self.shown.append(_plain(article))
        if item.reply and item.reply.document and f"/chat/document/{item.id}" in article:
            self.documents.append(item.reply.document.text.encode())
        return await super().send(to, reply, key=key)


def _plain(markup: str) -> str:
    return html.unescape(re.sub(r"<[^>]+>", "", markup))


async def test_it_says_who_it_is_and_what_it_can(bench: Bench) -> None:
    channel = bench.channel
    assert (channel.name, channel.account) == (bench.to.channel, bench.to.account)
    assert channel.capabilities.text_limit >= 1000
    assert channel.capabilities.media_limit_bytes >= 10_000_000


async def test_every_character_arrives(bench: Bench) -> None:
    reply = Reply(
        "answer",
        (
            Heading(NASTY),
            Paragraph((Text(NASTY), Bold(NASTY))),
            Bullets(((Text(NASTY),), (Text("二"),)), ordered=True),
        ),
        ((Button("好 <&>", "v1:a:b"),),),
    )
    for part in split(reply, bench.channel.capabilities):
        await bench.channel.ready(bench.to, urgent=False)
        await bench.channel.send(bench.to, part, key="1.0")
    seen = "".join("".join(bench.seen()).split())
    assert seen.count("".join(NASTY.split())) == 4


async def test_a_long_reply_comes_whole_and_in_order(bench: Bench) -> None:
    sentences = [f"这是第{n}句话，讲的是眼睛的健康。" for n in range(600)]
    parts = split(say("answer", "".join(sentences)), bench.channel.capabilities)
    for number, part in enumerate(parts):
        await bench.channel.ready(bench.to, urgent=False)
        await bench.channel.send(bench.to, part, key=f"1.{number}")
    limits = bench.channel.capabilities
    assert all(text_size(t, limits.text_unit) <= limits.text_limit for t in bench.seen())
    seen = "".join("".join(bench.seen()).split())
    found = [int(n) for n in re.findall(r"这是第(\d+)句话", seen)]
    assert found == list(range(600))


async def test_a_picture_that_was_erased_still_says_its_words(bench: Bench) -> None:
    image = Image("0" * 64, "image/jpeg", "the card in words")
    reply = Reply("reading", (Paragraph((Text("what the reader says"),)),), image=image)
    await bench.channel.send(bench.to, reply, key="1.0")
    assert "what the reader says" in "".join(bench.seen())


async def test_a_document_arrives_or_its_words_do(bench: Bench) -> None:
    """A channel that takes none still says the words; `split` leaves the file out for it."""
    file = Document("visit.ics", "text/calendar", "BEGIN:VCALENDAR\r\n")
    reply = Reply("plan", (Paragraph((Text("the visit as a file"),)),), document=file)
    parts = split(reply, bench.channel.capabilities)
    with_file = [p for p in parts if p.document is not None]
    assert len(with_file) == bench.channel.capabilities.documents
    for part in parts:
        await bench.channel.send(bench.to, part, key="1.0")
    assert "the visit as a file" in "".join(bench.seen())
    if with_file:
        assert bench.document() == file.text.encode()


async def test_files_are_fetched_up_to_the_limit(bench: Bench) -> None:
    fetched = await bench.channel.fetch(bench.good_file, limit_bytes=1_000_000)
    assert fetched == bench.data
    with pytest.raises(PatientError):
        await bench.channel.fetch(bench.good_file, limit_bytes=100)
    with pytest.raises(PatientError):
        await bench.channel.fetch(bench.missing_file, limit_bytes=1_000_000)


async def test_refused_files_can_be_forgotten_twice(bench: Bench) -> None:
    await bench.channel.discard(bench.good_file)
    await bench.channel.discard(bench.good_file)
    if bench.channel.name == "webchat":
        with pytest.raises(PatientError):
            await bench.channel.fetch(bench.good_file, limit_bytes=1_000_000)


async def test_showing_activity_and_drafts_never_fails_a_turn(bench: Bench) -> None:
    async with bench.channel.activity(bench.to, "typing"):
        await asyncio.sleep(0)
    draft = bench.channel.draft(bench.to)
    if draft is not None:
        await draft.show("half an")
        await draft.show("half an answer")
        await draft.close()
    with pytest.raises(ValueError, match="a turn's own error"):
        async with bench.channel.activity(bench.to, "typing"):
            raise ValueError("a turn's own error")
