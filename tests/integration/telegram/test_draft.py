"""Growing answers: drafts, else edits; the answer itself is always a message of its own."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from adapters.telegram import draft as module
from core.errors import Throttled
from core.message import Address
from core.reply import say
from tests.fakes.botapi import BotApi
from tests.fakes.waiting import PATIENCE_S, until
from tests.integration.telegram.conftest import impatient

CHAT = Address("telegram", "4242", "1001")
LONG = "请不要揉眼睛，" * 20


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_DRAFT_INTERVAL_S", 0.02)
    monkeypatch.setattr(module, "_EDIT_INTERVAL_S", 0.02)


async def shown(api: BotApi, draft, text: str, method: str, times: int) -> None:
    """Show a text again until Telegram has had `times` calls of `method`."""
    async with asyncio.timeout(PATIENCE_S):
        while len(api.accepted(method)) < times:
            await draft.show(text)
            await asyncio.sleep(0.005)


async def test_a_private_chat_gets_a_draft_and_then_one_message(api: BotApi, channel):
    draft = channel.draft(CHAT)
    await shown(api, draft, "请", "sendMessageDraft", 1)
    await shown(api, draft, "请不要", "sendMessageDraft", 2)
    await draft.close()
    await channel.send(CHAT, say("answer", "请不要揉眼睛"), key="1.1")
    first, second = (c["params"] for c in api.accepted("sendMessageDraft"))
    assert (first["text"], second["text"]) == ("请", "请不要")
    assert first["draft_id"] == second["draft_id"] != 0
    assert api.texts() == ["请不要揉眼睛"]


async def test_each_answer_has_a_draft_of_its_own(api: BotApi, channel):
    for n in (1, 2):
        draft = channel.draft(CHAT)
        await shown(api, draft, f"text {n}", "sendMessageDraft", n)
        await draft.close()
    assert len({c["params"]["draft_id"] for c in api.accepted("sendMessageDraft")}) == 2


async def test_an_old_server_gets_edits_that_vanish_before_the_answer(api: BotApi, channel):
    api.drafts = False
    draft = channel.draft(CHAT)
    await shown(api, draft, "请", "sendMessage", 1)
    assert api.texts() == ["请 …"]
    await shown(api, draft, LONG, "editMessageText", 1)
    await draft.close()
    assert api.texts() == []
    await channel.send(CHAT, say("answer", LONG), key="1.1")
    assert api.texts() == [LONG]
    again = channel.draft(CHAT)
    before = api.requests
    await shown(api, again, "b", "sendMessage", 3)
    assert api.requests == before + 1  # drafts are not tried again
    await again.close()


async def test_a_draft_refused_for_one_chat_only_falls_back_there(api: BotApi, channel):
    api.fault("bad_request", "sendMessageDraft")
    draft = channel.draft(CHAT)
    await shown(api, draft, "请", "sendMessage", 1)
    await draft.close()
    assert api.texts() == []
    await shown(api, channel.draft(CHAT), "b", "sendMessageDraft", 1)


async def test_an_answer_that_is_ready_at_once_is_not_drawn_first(api: BotApi, channel):
    draft = channel.draft(CHAT)
    await draft.show("请")
    await draft.show("请不要揉眼睛")
    await draft.close()
    await channel.send(CHAT, say("answer", "请不要揉眼睛"), key="1.1")
    assert [call["method"] for call in api.accepted()] == ["sendMessage"]


@pytest.mark.parametrize("drafts", [True, False])
async def test_during_a_pause_nothing_is_drawn(api: BotApi, channel, drafts):
    api.drafts = drafts
    method = "sendMessageDraft" if drafts else "sendMessage"
    api.fault("429", method, retry_after=30)
    draft = channel.draft(CHAT)
    await asyncio.sleep(0.03)
    await draft.show("a")
    await api.until(lambda: not api.faults)
    await until(lambda: channel._pace.pause_s(CHAT.chat_id) > 0, "the pause")
    asked = api.requests
    for n in range(5):
        await draft.show("b" * 100 * (n + 2))
        await asyncio.sleep(0.03)
    await draft.close()
    assert api.requests == asked
    with pytest.raises(Throttled):
        await channel.ready(CHAT, urgent=False)


@pytest.mark.parametrize("kind", ["502", "hang", "cut", "blocked", "unauthorized", "garbage"])
async def test_no_failure_reaches_the_turn(api: BotApi, channel, kind):
    api.fault(kind, times=2)
    patience_s = channel._request._request_timeout_s
    if kind == "hang":
        impatient(channel)
    draft = channel.draft(CHAT)
    for n in range(1, 4):
        await draft.show("a" * 100 * n)
        await asyncio.sleep(0.03)
    await draft.close()
    await draft.show("after the end")
    api.faults.clear()
    channel._request._request_timeout_s = patience_s
    await channel.send(CHAT, say("answer", "whole"), key="1.1")
    assert api.texts()[-1] == "whole"


async def test_closing_waits_for_the_message_under_way(api: BotApi, channel):
    api.drafts = False
    channel._drafting.native = False
    draft = channel.draft(CHAT)
    await draft.show("first")
    await draft.close()  # the message may not even be sent yet
    assert api.texts() == []


async def test_a_message_that_arrives_after_closing_is_taken_away_too(
    api: BotApi, channel, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "_CLOSE_TIMEOUT_S", 0.02)
    channel._drafting.native = False
    api.fault("slow", "sendMessage")
    draft = channel.draft(CHAT)
    await asyncio.sleep(0.03)
    await draft.show("first")
    await draft.close()
    await api.until(lambda: api.accepted("deleteMessage"))
    assert api.texts() == []


async def test_a_removal_that_fails_is_tried_again(api: BotApi, channel):
    channel._drafting.native = False
    api.fault("429", "deleteMessage", retry_after=1)
    draft = channel.draft(CHAT)
    await shown(api, draft, "first", "sendMessage", 1)
    await draft.close()
    assert api.texts() == []


async def test_a_text_longer_than_a_message_shows_its_beginning(api: BotApi, channel):
    draft = channel.draft(CHAT)
    await shown(api, draft, "😀" * 3000, "sendMessageDraft", 1)
    await draft.close()
    assert api.accepted("sendMessageDraft")[0]["params"]["text"] == "😀" * 2048


async def test_no_drafts_in_groups_or_when_turned_off(channel, a_channel):
    assert channel.draft(replace(CHAT, chat_id="-1009")) is None
    async with a_channel(drafts=False) as other:
        assert other.draft(CHAT) is None
