"""Each answer and each failure of the Bot API, over real sockets."""

from __future__ import annotations

import socket
import traceback
from dataclasses import replace

import pytest

from adapters.telegram.channel import TelegramChannel
from core.errors import (
    OculiChatError,
    SendRefused,
    SendUnknown,
    Throttled,
    TransientError,
    Unreachable,
)
from core.message import Address
from core.reply import Bold, Button, Image, Link, Paragraph, Reply, Text, paragraph, say
from core.split import split
from tests.fakes.botapi import BotApi
from tests.fakes.ports import free_port
from tests.integration.telegram.conftest import impatient

CHAT = Address("telegram", "4242", "1001")


async def test_a_text_arrives_as_it_was_meant(api: BotApi, channel: TelegramChannel):
    spans = (Text("IOP < 21 & > 10 "), Bold("安全"), Link("地图", "https://x.org/?a=1&b=2"))
    sent = await channel.send(CHAT, Reply("answer", (Paragraph(spans),)), key="1.1")
    [call] = api.accepted("sendMessage")
    assert call["text"] == "IOP < 21 & > 10 安全地图"
    assert sent == str(call["message_id"])
    assert call["params"]["link_preview_options"]["is_disabled"] is True


async def test_buttons_carry_their_actions(api: BotApi, channel: TelegramChannel):
    reply = say("question", "痛吗？", buttons=((Button("痛", "v1:ask:yes"), Button("不", "n")),))
    await channel.send(CHAT, reply, key="1.1")
    [[yes, no]] = api.accepted("sendMessage")[0]["params"]["reply_markup"]["inline_keyboard"]
    assert (yes["text"], yes["callback_data"]) == ("痛", "v1:ask:yes")
    assert no["callback_data"] == "n"


@pytest.mark.parametrize(
    ("fault", "raised", "facts"),
    [
        ({"kind": "429", "retry_after": 7}, Throttled, {"retry_after_s": 7.0, "scope": "chat"}),
        ({"kind": "blocked"}, SendRefused, {"unlink": True}),
        ({"kind": "chat_not_found"}, SendRefused, {"unlink": True}),
        ({"kind": "bad_request"}, SendRefused, {"unlink": False}),
        ({"kind": "502"}, Unreachable, {}),
        ({"kind": "internal"}, Unreachable, {}),
        ({"kind": "hang"}, SendUnknown, {}),
        ({"kind": "cut"}, SendUnknown, {}),
        ({"kind": "lost"}, SendUnknown, {}),
        ({"kind": "garbage"}, SendUnknown, {}),
        ({"kind": "strange"}, SendUnknown, {}),
        ({"kind": "unauthorized"}, TransientError, {}),
        ({"kind": "not_found"}, TransientError, {}),
        ({"kind": "proxy_403"}, Unreachable, {}),
        ({"kind": "413"}, SendRefused, {"unlink": False}),
        ({"kind": "429_bare"}, Throttled, {"retry_after_s": 5.0}),
    ],
    ids=lambda value: value.get("kind") if isinstance(value, dict) else None,
)
async def test_each_failure_has_its_meaning(
    api: BotApi, channel: TelegramChannel, fault: dict, raised: type, facts: dict
):
    api.fault(method="sendMessage", **fault)
    if fault["kind"] == "hang":
        impatient(channel)
    with pytest.raises(OculiChatError) as caught:
        await channel.send(CHAT, say("answer", "你好"), key="1.1")
    assert type(caught.value) is raised
    assert {name: getattr(caught.value, name) for name in facts} == facts
    assert len(api.texts()) == (1 if fault["kind"] == "lost" else 0)
    assert "test-token" not in "".join(traceback.format_exception(caught.value))


async def test_a_pause_stops_one_chat_only(api: BotApi, channel: TelegramChannel):
    api.chats.add(1002)
    api.fault("429", "sendMessage", retry_after=30)
    with pytest.raises(Throttled):
        await channel.send(CHAT, say("answer", "a"), key="1.1")
    asked = api.requests
    with pytest.raises(Throttled) as caught:
        await channel.ready(CHAT, urgent=True)
    assert api.requests == asked
    assert 29 < caught.value.retry_after_s <= 30
    await channel.ready(replace(CHAT, chat_id="1002"), urgent=False)
    await channel.send(replace(CHAT, chat_id="1002"), say("answer", "b"), key="2.1")
    assert api.texts() == ["b"]


async def test_nothing_listens(api: BotApi, a_channel):
    address = f"http://127.0.0.1:{free_port()}/bot"
    async with a_channel(base_url=address) as channel:
        with pytest.raises(Unreachable):
            await channel.send(CHAT, say("answer", "a"), key="1.1")


async def test_no_connection_in_time(api: BotApi, a_channel):
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = [socket.socket() for _ in range(3)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        address = f"http://127.0.0.1:{full.getsockname()[1]}/bot"
        async with a_channel(base_url=address, connect_timeout_s=0.4) as channel:
            with pytest.raises(Unreachable) as caught:
                await channel.send(CHAT, say("answer", "a"), key="1.1")
        # aiohttp's own error names the address, and so the token.
        assert "test-token" not in "".join(traceback.format_exception(caught.value))
        for one in waiting:
            one.close()


async def test_refused_markup_goes_out_as_plain_text(api: BotApi, channel: TelegramChannel):
    api.fault("entities", "sendMessage")
    reply = Reply("answer", (Paragraph((Text("IOP < 21 "), Bold("ok"))),))
    assert await channel.send(CHAT, reply, key="1.1")
    [call] = api.accepted("sendMessage")
    assert call["text"] == "IOP < 21 ok"
    assert "parse_mode" not in call["params"]


async def test_markup_refused_twice_is_given_up(api: BotApi, channel: TelegramChannel):
    api.fault("entities", "sendMessage", times=2)
    with pytest.raises(SendRefused):
        await channel.send(CHAT, say("answer", "x"), key="1.1")


async def test_a_picture_has_its_text_as_caption(api: BotApi, channel: TelegramChannel):
    image = Image("card", "image/png", "右眼：请复查")
    reply = Reply("reading", (paragraph("右眼 < 左眼"),), image=image)
    assert await channel.send(CHAT, reply, key="1.1")
    assert api.accepted("sendPhoto")[0]["text"] == "右眼 < 左眼"


async def test_a_picture_alone_has_its_words_as_caption(api: BotApi, channel: TelegramChannel):
    image = Image("card", "image/png", "右眼：<请复查>")
    await channel.send(CHAT, Reply("reading", (), image=image), key="1.1")
    assert api.accepted("sendPhoto")[0]["text"] == "右眼：<请复查>"
    await channel.send(CHAT, Reply("reading", (), image=replace(image, alt="长" * 1025)), key="1.2")
    assert api.accepted("sendPhoto")[1]["text"] == ""


@pytest.mark.parametrize("blob", ["gone", "not-a-picture"])
async def test_without_its_picture_the_words_still_arrive(api, channel, blob):
    image = Image(blob, "image/png", "右眼：请复查")
    await channel.send(CHAT, Reply("reading", (), image=image), key="1.1")
    assert api.texts() == ["右眼：请复查"]
    assert not api.accepted("sendPhoto")


async def test_a_picture_whose_caption_markup_is_refused(api: BotApi, channel: TelegramChannel):
    api.fault("entities", "sendPhoto")
    reply = Reply("reading", (paragraph("a < b"),), image=Image("card", "image/png", "alt"))
    await channel.send(CHAT, reply, key="1.1")
    assert api.accepted("sendPhoto")[0]["text"] == "a < b"


@pytest.mark.parametrize("unit", ["好", "😀", "a", "<", "&"])
async def test_text_up_to_the_limit_passes(api: BotApi, channel: TelegramChannel, unit: str):
    text = unit * (4096 // (len(unit.encode("utf-16-le")) // 2))
    [part] = split(say("answer", text), channel.capabilities)
    await channel.send(CHAT, part, key="1.1")
    assert api.texts() == [text]
    with pytest.raises(SendRefused, match="too long"):
        await channel.send(CHAT, say("answer", text + unit), key="1.2")


async def test_ten_thousand_characters_arrive_whole_and_in_order(
    api: BotApi, channel: TelegramChannel
):
    text = "".join(f"第{n}句<重要>👁：请按时复查。" for n in range(620))
    assert len(text) > 10_000
    for n, part in enumerate(split(say("answer", text), channel.capabilities)):
        await channel.send(CHAT, part, key=f"1.{n}")
    assert "".join(api.texts()) == text
    assert len(api.texts()) in (3, 4)


async def test_what_platforms_refuse_is_removed(api: BotApi, channel: TelegramChannel):
    await channel.send(CHAT, say("answer", "a\x00b\ud800c"), key="1.1")
    assert api.texts() == ["abc"]


async def test_an_address_that_is_none_of_telegrams(channel: TelegramChannel):
    with pytest.raises(SendRefused):
        await channel.send(replace(CHAT, chat_id="abc"), say("answer", "x"), key="1.1")


async def test_through_a_proxy(api: BotApi, a_channel):
    # The fake answers absolute addresses too, so it can stand for a proxy.
    async with a_channel(base_url="http://telegram.invalid/bot", proxy=api.base) as channel:
        await channel.send(CHAT, say("answer", "a"), key="1.1")
    assert api.texts() == ["a"]


async def test_an_emergency_overtakes_our_own_pace(a_channel):
    async with a_channel(chat_burst=1, longest_wait_s=0) as channel:
        await channel.ready(CHAT, urgent=False)
        with pytest.raises(Throttled):
            await channel.ready(CHAT, urgent=False)
        await channel.ready(CHAT, urgent=True)


async def test_our_own_pace_hands_back_what_would_wait_too_long(api: BotApi, a_channel):
    async with a_channel(chat_burst=2, longest_wait_s=0.1) as channel:
        await channel.ready(CHAT, urgent=False)
        await channel.ready(CHAT, urgent=False)
        with pytest.raises(Throttled) as caught:
            await channel.ready(CHAT, urgent=False)
    assert 0.5 < caught.value.retry_after_s <= 1.0
    assert api.requests == 0
