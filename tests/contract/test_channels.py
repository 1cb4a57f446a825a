"""One suite over every channel: what core relies on, whatever the platform."""

from __future__ import annotations

import asyncio
import html
import json
import re
from collections.abc import AsyncIterator, Callable
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
from core.errors import PatientError
from core.message import Address, Attachment, AttachmentKind
from core.ports import Channel
from core.reply import Bold, Bullets, Button, Heading, Image, Paragraph, Reply, Text, say
from core.split import split, text_size
from core.store.blobs import BlobStore
from core.store.keyring import Keyring
from tests.fakes.botapi import BotApi
from tests.fakes.core_fakes import FakeConversations

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


@pytest.fixture(params=["terminal", "telegram", "webchat"])
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
        )
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
        )
        await channel.stop()


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

    async def send(self, to: Address, reply: Reply, *, key: str) -> str | None:
        item = self._watched.say(to, reply)  # core commits the reply before it is sent
        article = self._page.item(item, chat_id=to.chat_id, language="en", now_ms=0)
        self.shown.append(_plain(article))
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
