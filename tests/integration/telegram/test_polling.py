"""The long poll over real sockets: nothing is acknowledged before it is stored."""

from __future__ import annotations

import asyncio
from unittest.mock import ANY

import pytest

from core.message import Address, AttachmentKind
from tests.fakes.botapi import BotApi


async def test_a_message_is_stored_and_only_then_confirmed(api: BotApi, intake, a_channel):
    intake.gate.clear()
    async with a_channel(running=True) as channel:
        api.user_text(1001, "眼睛痛 😀")
        await api.until(lambda: intake.waiting)
        assert len(api.updates) == 1
        intake.gate.set()
        await api.until(lambda: not api.updates)
        [message] = intake.messages
        assert message.address == Address("telegram", "4242", "1001")
        assert (message.text, message.private) == ("眼睛痛 😀", True)
        assert channel.health().ok
        assert channel.health().facts["bot"] == "oculi_test_bot"


async def test_what_could_not_be_stored_comes_again(api: BotApi, intake, a_channel):
    intake.broken = 2
    async with a_channel(running=True) as channel:
        api.user_text(1001, "a")
        await api.until(lambda: channel.health().facts["state"] == "not_storing")
        assert len(api.updates) == 1
        await api.until(lambda: intake.messages)
        assert intake.texts == ["a"]
        await api.until(lambda: channel.health().ok)


async def test_a_backlog_comes_in_order_and_in_batches(api: BotApi, intake, a_channel):
    for n in range(250):
        api.user_text(1001 + n % 7, str(n))
    async with a_channel(running=True):
        await api.until(lambda: len(intake.messages) == 250)
    assert intake.texts == [str(n) for n in range(250)]
    assert intake.batches == [100, 100, 50]


async def test_the_same_message_under_a_new_update_id_has_the_same_identity(
    api: BotApi, intake, a_channel
):
    update = api.user_text(1001, "a")
    api.redeliver(update)
    async with a_channel(running=True):
        await api.until(lambda: len(intake.messages) == 2)
    first, again = intake.messages
    assert (first.address, first.message_id) == (again.address, again.message_id)
    assert first.sequence < again.sequence


@pytest.mark.parametrize("update", [{"message": {"no": "sense"}}, {"message": 7}, {"new": {}}])
async def test_an_update_nobody_can_read_blocks_nothing(api: BotApi, intake, a_channel, update):
    api.push(update)
    api.user_text(1001, "after")
    async with a_channel(running=True):
        await api.until(lambda: intake.messages)
        await api.until(lambda: not api.updates)
    assert intake.texts == ["after"]


@pytest.mark.parametrize("kind", ["502", "garbage", "cut", "429", "internal"])
async def test_it_survives_a_failing_poll(api: BotApi, intake, a_channel, kind):
    api.fault(kind, "getUpdates", times=1 if kind == "429" else 2)
    api.user_text(1001, "a")
    async with a_channel(running=True):
        await api.until(lambda: intake.messages)
    assert intake.texts == ["a"]


@pytest.mark.parametrize(
    ("kind", "state"), [("conflict", "conflict"), ("unauthorized", "unauthorized")]
)
async def test_who_must_act_has_a_state_of_its_own(api: BotApi, a_channel, kind, state):
    api.fault(kind, "getUpdates", times=100)
    async with a_channel(running=True) as channel:
        await api.until(lambda: channel.health().facts["state"] == state)
        assert not channel.health().ok
        assert channel.health().detail


async def test_it_comes_up_by_itself_when_telegram_does(api: BotApi, intake, a_channel):
    api.fault("502", "getMe", times=2)
    api.user_text(1001, "a")
    async with a_channel(running=True) as channel:
        assert channel.account == "4242"
        assert not channel.health().ok
        await api.until(lambda: channel.health().facts["state"] == "unreachable")
        await api.until(lambda: intake.messages)
        assert channel.health().ok


async def test_a_left_over_webhook_is_removed_and_its_messages_kept(api: BotApi, intake, a_channel):
    api.webhook = {"url": "https://elsewhere.example"}
    api.user_text(1001, "a")
    async with a_channel(running=True):
        await api.until(lambda: intake.messages)
    assert "drop_pending_updates" not in api.webhook


async def test_a_pressed_button_is_stored_and_answered(api: BotApi, intake, a_channel):
    async with a_channel(running=True):
        update = api.user_presses(1001, "v1:consent:yes")
        await api.until(lambda: api.accepted("answerCallbackQuery"))
    [message] = intake.messages
    assert message.button == "v1:consent:yes"
    assert message.message_id == f"cb:{update['callback_query']['id']}"


async def test_a_button_pressed_too_long_ago_is_still_a_message(api: BotApi, intake, a_channel):
    update = api.user_presses(1001, "v1:consent:yes")
    api.expire_query(update["callback_query"]["id"])
    async with a_channel(running=True):
        api.user_text(1001, "after")
        await api.until(lambda: len(intake.messages) == 2)
    assert not api.accepted("answerCallbackQuery")


async def test_an_album_comes_as_parts_of_one(api: BotApi, intake, a_channel):
    api.user_album(1001, [b"one", b"two", b"three"], "右眼")
    async with a_channel(running=True) as channel:
        await api.until(lambda: len(intake.messages) == 3)
        got = [await channel.fetch(m.attachments[0], limit_bytes=99) for m in intake.messages]
    assert got == [b"one", b"two", b"three"]
    assert len({m.album_id for m in intake.messages}) == 1
    assert [m.text for m in intake.messages] == ["右眼", "", ""]


async def test_everything_a_person_can_send_becomes_something(api: BotApi, intake, a_channel):
    api.user_document(1001, b"%PDF", "report.pdf", "application/pdf")
    api.user_voice(1001)
    api.user_sticker(1001)
    api.user_location(1001)
    api.user_message(1001, contact={"phone_number": "1", "first_name": "x"})
    api.user_edits(1001, 3, "edited")
    api.user_text(1001, "end")
    async with a_channel(running=True):
        await api.until(lambda: intake.texts[-1:] == ["end"])
    kinds = [a.kind for m in intake.messages for a in m.attachments]
    assert kinds == [
        AttachmentKind.DOCUMENT,
        AttachmentKind.VOICE,
        AttachmentKind.STICKER,
        AttachmentKind.LOCATION,
        AttachmentKind.OTHER,
    ]


async def test_the_menu_is_written_once(api: BotApi, a_channel):
    async with a_channel(running=True, menu=True):
        await api.until(lambda: len(api.commands) == 3)
    assert [c["command"] for c in api.commands["zh"]][:2] == ["start", "help"]
    assert {"command": "human", "description": "转人工"} in api.commands["zh"]
    async with a_channel(running=True, menu=True) as channel:
        await api.until(lambda: channel.health().ok)
        await asyncio.sleep(0.05)
    assert len(api.accepted("setMyCommands")) == 3


async def test_typing_is_shown_only_when_it_takes_a_while(api: BotApi, a_channel):
    chat = Address("telegram", "4242", "1001")
    async with a_channel() as channel:
        async with channel.activity(chat, "typing"):
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.35)
        assert not api.accepted("sendChatAction")
        async with channel.activity(chat, "sending_photo"):
            await api.until(lambda: api.accepted("sendChatAction"))
        for kind in ("502", "429"):
            api.fault(kind, "sendChatAction")
            async with channel.activity(chat, "typing"):
                await api.until(lambda: not api.faults)
    assert [c["params"] for c in api.accepted("sendChatAction")] == [
        {"chat_id": ANY, "action": "upload_photo"}
    ]
