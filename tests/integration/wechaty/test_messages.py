"""Messages both ways through the real gateway."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from adapters.wechat.wechaty import remote
from adapters.wechat.wechaty.channel import WechatyChannel
from core.errors import PatientError
from core.message import Address, Attachment, AttachmentKind
from core.reply import Image, Reply, say
from core.store.blobs import BlobStore
from tests.fakes.waiting import until
from tests.gateway.gateway import ALICE, ROOM, Gateway, needs_node
from tests.integration.wechaty.conftest import Remembering

pytestmark = needs_node

SIZES = [5_000, 270_448, 6 * 1024 * 1024]


def _photo(message_id: str) -> Attachment:
    return Attachment(AttachmentKind.PHOTO, message_id)


async def test_a_text_comes_in(
    channel: WechatyChannel, gateway: Gateway, intake: Remembering, person: str
) -> None:
    message_id = await gateway.says(person, "右眼看东西有黑影")
    [message] = await until(lambda: intake.of(person))
    assert message.address == Address("wechaty", "gateway", person)
    assert (message.message_id, message.text, message.private) == (
        message_id,
        "右眼看东西有黑影",
        True,
    )
    assert message.sender_name == f"Name of {person}"
    assert message.sent_at_ms


async def test_a_text_goes_out_and_does_not_come_back(
    channel: WechatyChannel, gateway: Gateway, intake: Remembering, person: str
) -> None:
    await gateway.says(person, "你好")
    await until(lambda: intake.of(person))
    sent_id = await channel.send(channel_to(person), say("answer", "请坐，慢慢说。"), key="1.0")
    [sent] = await gateway.sent(person)
    assert (sent["id"], sent["text"]) == (sent_id, "请坐，慢慢说。")
    await gateway.says(person, "好")
    await until(lambda: len(intake.of(person)) == 2)
    assert [m.text for m in intake.messages] == ["你好", "好"]  # not our own words


def channel_to(person: str) -> Address:
    return Address("wechaty", "gateway", person)


async def test_one_persons_messages_keep_their_order(
    channel: WechatyChannel, gateway: Gateway, intake: Remembering, person: str
) -> None:
    words = [f"第{n}句" for n in range(30)]
    for word in words:
        await gateway.says(person, word)
    found = await until(lambda: len(m := intake.of(person)) == 30 and m)
    assert [m.text for m in found] == words
    assert [m.sequence for m in found] == sorted({m.sequence for m in found})


@pytest.mark.parametrize("size", SIZES)
async def test_a_picture_comes_in_as_it_was(
    channel: WechatyChannel, gateway: Gateway, intake: Remembering, person: str, size: int
) -> None:
    data = os.urandom(size)
    await gateway.sends(person, data)
    [message] = await until(lambda: intake.of(person))
    [photo] = message.attachments
    assert photo.kind is AttachmentKind.PHOTO
    fetched = await channel.fetch(photo, limit_bytes=20_000_000)
    assert hashlib.sha256(fetched).digest() == hashlib.sha256(data).digest()
    assert (await gateway.state())["imageType"] == 3  # the original, not a thumbnail


@pytest.mark.parametrize("size", SIZES)
async def test_a_picture_goes_out_as_it_is(
    channel: WechatyChannel, gateway: Gateway, blobs: BlobStore, person: str, size: int
) -> None:
    await gateway.says(person, "hi")
    data = os.urandom(size)
    image = Image(await blobs.put(data), "image/jpeg", "the card")
    await channel.send(channel_to(person), Reply("reading", (), image=image), key="1.0")
    [sent] = await gateway.sent(person)
    assert (sent["bytes"], sent["name"], sent["type"]) == (size, "picture.jpeg", "image/jpeg")
    assert sent["sha256"] == hashlib.sha256(data).hexdigest()


async def test_a_file_over_the_limit_is_refused_wherever_it_lies(
    channel: WechatyChannel, gateway: Gateway, intake: Remembering, person: str
) -> None:
    for size in (15_000, 400_000):
        message_id = await gateway.sends(person, os.urandom(size))
        with pytest.raises(PatientError, match="too_large"):
            await channel.fetch(_photo(message_id), limit_bytes=10_000)


async def test_a_picture_the_gateway_has_forgotten_is_gone(channel: WechatyChannel) -> None:
    with pytest.raises(PatientError, match="unreadable"):
        await channel.fetch(_photo("no-such-message"), limit_bytes=10_000)


@asynccontextmanager
async def _web_server(data: bytes) -> AsyncIterator[str]:
    async def picture(request: web.Request) -> web.Response:
        return web.Response(body=data)

    async def moved(request: web.Request) -> web.Response:
        raise web.HTTPFound("/eye.jpg")

    app = web.Application()
    app.router.add_get("/eye.jpg", picture)
    app.router.add_get("/moved", moved)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def test_a_picture_named_by_its_address_is_fetched_from_public_hosts_only(
    channel: WechatyChannel, gateway: Gateway, person: str
) -> None:
    data = os.urandom(50_000)
    async with _web_server(data) as base:
        message_id = await gateway.sends(person, b"", url=f"{base}/eye.jpg")
        with pytest.raises(PatientError, match="unreadable"):  # loopback is not public
            await channel.fetch(_photo(message_id), limit_bytes=1_000_000)

        async def anywhere(host: str, port: int) -> bool:
            return True

        async def fetch(path: str, limit_bytes: int) -> bytes:
            return await remote.fetch_url(
                base + path, limit_bytes=limit_bytes, timeout_s=5, allowed=anywhere
            )

        assert await fetch("/eye.jpg", 50_000) == data
        assert await fetch("/moved", 50_000) == data
        with pytest.raises(remote.TooLarge):
            await fetch("/eye.jpg", 49_999)
        with pytest.raises(remote.NotThere):
            await fetch("/other.jpg", 50_000)


async def test_a_group_is_heard_only_when_it_speaks_to_us(
    channel: WechatyChannel, gateway: Gateway, intake: Remembering, person: str
) -> None:
    await gateway.says(person, "今天天气真好", room="1")
    await gateway.says(person, "@瞳小护\u2005 左眼又红又痛", room="1", at="1")
    found = await until(lambda: len(intake.messages) == 2 and intake.messages)
    assert [(m.address.chat_id, m.private) for m in found] == [(ROOM, False), (person, True)]
    assert {m.text for m in found} == {"左眼又红又痛"}


async def test_who_is_no_contact_is_answered_in_the_group_alone(
    channel: WechatyChannel, gateway: Gateway, intake: Remembering, person: str
) -> None:
    await gateway.says(person, "@瞳小护\u2005 看看", room="1", at="1", friend="0")
    await gateway.says(person, "ok", friend="0")
    await until(lambda: intake.of(person))
    assert [(m.address.chat_id, m.private) for m in intake.messages] == [
        (ROOM, False),
        (person, True),
    ]
    assert intake.messages[1].text == "ok"


async def test_other_kinds_are_named_and_notices_are_not(
    channel: WechatyChannel, gateway: Gateway, intake: Remembering, person: str
) -> None:
    for kind in (0, 2, 5, 8, 10, 13, 15, 16, 99):
        message = {"type": kind, "talkerId": person, "text": "<xml>not for reading</xml>"}
        await gateway.control("post", json.dumps(message).encode())
    await gateway.says(person, "end")
    await until(lambda: "end" in [m.text for m in intake.of(person)])
    kinds = [m.attachments[0].kind.value for m in intake.of(person) if m.attachments]
    assert kinds == ["voice", "sticker", "location", "video", "other"]
    assert [m.text for m in intake.of(person) if m.text] == ["end"]


async def test_an_error_event_and_an_unreadable_one_change_nothing(
    channel: WechatyChannel, gateway: Gateway, intake: Remembering
) -> None:
    await gateway.control("emit", b'{"gerror": "{}"}', event="error")
    await gateway.control("emit", b'{"messageId": 7}', event="message")
    await gateway.control("emit", b"[1, 2]", event="message")
    await gateway.control("emit", b'{"messageId": "unknown"}', event="message")
    message_id = await gateway.says(ALICE, "still there?")
    await until(lambda: message_id in [m.message_id for m in intake.messages])
    assert channel.health().ok
