"""What WeChat allows, counted in the database; both databases."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import Connection

from core.store import wechat_answers as answers
from core.store.inbox import NewMessage, ingest
from core.store.keyring import Keyring
from core.store.store import Store
from core.store.wechat_official import (
    EVENT_WINDOW_MS,
    WINDOW_MS,
    Chat,
    Correction,
    HeardFrom,
    Wish,
    correct,
    has_unsent,
    is_subscribed,
    note_heard,
    subscribe,
    take,
    unfollow,
    use_subscription,
)
from migrations.schema import create

CHAT = Chat("wechat", "wxapp", "oPatient_1")
NOW = 1_800_000_000_000


@pytest.fixture
async def store(empty_database: str, keys: Keyring) -> AsyncIterator[Store]:
    create(empty_database)
    made = Store(empty_database, keys)
    message = NewMessage(
        *(CHAT.channel, CHAT.account, CHAT.chat_id, "1", 1, b"", NOW),
        *("Asia/Shanghai", None, None, 0),
    )
    await made.write(ingest, message)
    yield made
    made.close()


async def _heard(store: Store, what: str, message_id: str, at_ms: int) -> None:
    await store.write(note_heard, HeardFrom(CHAT, what, message_id, at_ms))  # type: ignore[arg-type]


async def _take(store: Store, now_ms: int, count: int = 8) -> list[str]:
    wish = Wish(CHAT, now_ms)
    return [g.of for g in await asyncio.gather(*(store.write(take, wish) for _ in range(count)))]


async def test_a_message_allows_five_and_a_tap_three_for_a_minute(store: Store) -> None:
    assert await _take(store, NOW, 1) == ["shut"], "nobody has written"
    await _heard(store, "message", "m1", NOW)
    assert await _take(store, NOW) == ["message"] * 5 + ["used_up"] * 3
    await _heard(store, "message", "m1", NOW)
    assert await _take(store, NOW, 1) == ["used_up"], "a redelivery renews nothing"
    await _heard(store, "event", "e1", NOW)
    assert await _take(store, NOW, 4) == ["event"] * 3 + ["used_up"]
    await _heard(store, "event", "e2", NOW + 1_000)
    assert await _take(store, NOW + 1_000 + EVENT_WINDOW_MS, 1) == ["used_up"]
    await _heard(store, "message", "m2", NOW + 2_000)
    assert await _take(store, NOW + 2_000 + WINDOW_MS - 1, 2) == ["message"] * 2
    assert await _take(store, NOW + 2_000 + WINDOW_MS, 1) == ["shut"]


async def test_what_was_not_sent_is_given_back_and_wechat_has_the_last_word(store: Store) -> None:
    await _heard(store, "message", "m1", NOW)
    assert await _take(store, NOW, 5) == ["message"] * 5
    await store.write(correct, Correction(CHAT, "message", "return"))
    assert await _take(store, NOW, 2) == ["message", "used_up"]
    await _heard(store, "message", "m2", NOW + 1)
    await store.write(correct, Correction(CHAT, "message", "used_up"))
    assert await _take(store, NOW, 1) == ["used_up"]
    await _heard(store, "message", "m3", NOW + 2)
    await store.write(correct, Correction(CHAT, "message", "shut"))
    assert await _take(store, NOW, 1) == ["shut"]
    await _heard(store, "message", "m4", NOW + 3)
    await store.write(unfollow, CHAT)
    assert await _take(store, NOW, 1) == ["shut"]
    assert not await store.read(has_unsent, CHAT)


async def test_an_old_message_that_comes_late_does_not_renew(store: Store) -> None:
    await _heard(store, "message", "m2", NOW)
    await _take(store, NOW, 5)
    await _heard(store, "message", "m1", NOW - 1_000)
    assert await _take(store, NOW, 1) == ["used_up"]


async def test_a_consent_is_good_for_one_message(store: Store) -> None:
    stranger = Chat("wechat", "wxapp", "oStranger")
    assert await store.write(subscribe, CHAT)
    assert await store.write(subscribe, CHAT)
    assert not await store.write(subscribe, stranger)
    assert await store.read(is_subscribed, CHAT)
    used = await asyncio.gather(*(store.write(use_subscription, CHAT) for _ in range(4)))
    assert sorted(used) == [False, False, False, True]
    assert not await store.read(is_subscribed, CHAT)


async def test_one_answer_waits_and_moves_on(store: Store) -> None:
    asked = answers.Asked(CHAT, "m1", NOW)
    first = await store.write(answers.ask, asked)
    assert first is not None
    assert (first.attempts, first.body_sealed) == (1, None)
    assert await store.write(answers.offer, asked) is None

    def adding(before: bytes | None, body: bytes, message_id: str = "m1") -> answers.Addition:
        return answers.Addition(CHAT, message_id, before, body, NOW + 1)

    assert await store.write(answers.add, adding(None, b"one"))
    assert not await store.write(answers.add, adding(None, b"lost race"))
    assert await store.write(answers.add, adding(b"one", b"one two"))
    again = await store.write(answers.ask, asked)
    assert again is not None
    assert (again.attempts, again.body_sealed) == (2, b"one two")
    assert await store.write(answers.offer, asked) == b"one two"
    assert not await store.write(answers.add, adding(b"one two", b"x")), "offered is closed"
    assert await store.write(answers.offer, asked) == b"one two", "its repeat gets the same"
    moved = await store.write(answers.ask, answers.Asked(CHAT, "m2", NOW + 2))
    assert moved is not None
    assert (moved.attempts, moved.body_sealed) == (1, None), "WeChat went on: it has arrived"
    assert await store.write(answers.add, adding(None, b"kept", "m2"))
    carried = await store.write(answers.ask, answers.Asked(CHAT, "m3", NOW + 3))
    assert carried is not None
    assert carried.body_sealed == b"kept", "never offered, so it goes with the next"
    await store.write(answers.close, answers.Asked(CHAT, "m3", NOW + 4))
    late = answers.Addition(CHAT, "m3", b"kept", b"x", NOW + 5)
    assert not await store.write(answers.add, late)
    stranger = answers.Asked(Chat("wechat", "wxapp", "oStranger"), "m", NOW)
    assert await store.write(answers.ask, stranger) is None


async def test_it_goes_with_the_conversation(store: Store) -> None:
    await _heard(store, "message", "m1", NOW)
    await store.write(answers.ask, answers.Asked(CHAT, "m1", NOW))

    def erase(connection: Connection, arguments: list[None]) -> list[int]:
        connection.exec_driver_sql("DELETE FROM conversation")
        tables = ("wechat_chat", "wechat_answer")
        left = [connection.exec_driver_sql(f"SELECT count(*) FROM {t}").scalar() for t in tables]
        return [sum(n or 0 for n in left)] * len(arguments)

    assert await store.write(erase, None) == 0
