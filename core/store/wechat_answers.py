"""Passive answers: one per chat waits, durable, until WeChat asks for it.

WeChat asks up to three times, five seconds apart, for the answer to one message. What is ready by
then goes into the response; the rest goes with the person's next message.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, select, update

from core.store.dialect import insert_ignore
from core.store.tables import wechat_answer
from core.store.wechat_official import Chat, conversation_of

# Three requests, five seconds apart, and some slack for the clocks.
_OPEN_FOR_MS = 16_000


@dataclass(frozen=True, slots=True)
class Asked:
    """WeChat asks for the answer to a message; a repeat of it asks again."""

    chat: Chat
    message_id: str
    now_ms: int


@dataclass(frozen=True, slots=True)
class Waiting:
    """The answer that waits.

    Attributes:
        message_id: for which message.
        attempts: how often WeChat has asked for it, this time included.
        body_sealed: the sealed answer, or None while there is none.
        is_offered: it went into a response before.
        open_until_ms: until when words may still be added.
    """

    message_id: str
    attempts: int
    body_sealed: bytes | None
    is_offered: bool
    open_until_ms: int


_ROW = select(wechat_answer).where(wechat_answer.c.conversation_id == bindparam("b_conversation"))


def _row(connection: Connection, conversation_id: int | None) -> Any:
    if conversation_id is None:
        return None
    return connection.execute(_ROW, {"b_conversation": conversation_id}).mappings().first()


def _waiting(row: Any) -> Waiting:
    return Waiting(
        row["message_id"],
        row["attempts"],
        row["body_sealed"],
        row["offered_at_ms"] is not None,
        row["open_until_ms"],
    )


def ask(connection: Connection, questions: Sequence[Asked]) -> list[Waiting | None]:
    """Open the answer to a message, or find it; None when the chat has no conversation.

    What was offered for an earlier message has arrived, for WeChat went on to the next; what was
    never offered is kept for this one.
    """
    return [_ask(connection, question) for question in questions]


def _ask(connection: Connection, question: Asked) -> Waiting | None:
    conversation_id = conversation_of(connection, question.chat)
    if conversation_id is None:
        return None
    fresh = {"message_id": question.message_id, "open_until_ms": question.now_ms + _OPEN_FOR_MS}
    connection.execute(
        insert_ignore(connection, wechat_answer), {"conversation_id": conversation_id, **fresh}
    )
    row = _row(connection, conversation_id)
    if row["message_id"] == question.message_id:
        values: dict[str, Any] = {"attempts": row["attempts"] + 1}
    else:
        values = {**fresh, "attempts": 1, "offered_at_ms": None}
        if row["offered_at_ms"] is not None:
            values["body_sealed"] = None
    connection.execute(
        update(wechat_answer)
        .where(wechat_answer.c.conversation_id == conversation_id)
        .values(**values)
    )
    return _waiting(_row(connection, conversation_id))


def answer_of(connection: Connection, chat: Chat) -> Waiting | None:
    """Return what waits for a chat. A plain query."""
    row = _row(connection, conversation_of(connection, chat))
    return _waiting(row) if row is not None else None


@dataclass(frozen=True, slots=True)
class Addition:
    """An answer as it should be from now on.

    Attributes:
        chat: where.
        message_id: for which message it was opened.
        before: what it was; somebody else's change in between refuses this one.
        body_sealed: what it becomes.
        now_ms: the present.
    """

    chat: Chat
    message_id: str
    before: bytes | None
    body_sealed: bytes
    now_ms: int


def add(connection: Connection, additions: Sequence[Addition]) -> list[bool]:
    """Put words into an open answer; False when it is closed, offered or another by now."""
    results: list[bool] = []
    for addition in additions:
        conversation_id = conversation_of(connection, addition.chat)
        row = _row(connection, conversation_id)
        fits = (
            row is not None
            and row["message_id"] == addition.message_id
            and row["body_sealed"] == addition.before
            and row["offered_at_ms"] is None
            and row["open_until_ms"] > addition.now_ms
        )
        if fits:
            connection.execute(
                update(wechat_answer)
                .where(wechat_answer.c.conversation_id == conversation_id)
                .values(body_sealed=addition.body_sealed)
            )
        results.append(fits)
    return results


def offer(connection: Connection, questions: Sequence[Asked]) -> list[bytes | None]:
    """Close answers and return them for the response; None when there is nothing to say."""
    found: list[bytes | None] = []
    for question in questions:
        conversation_id = conversation_of(connection, question.chat)
        row = _row(connection, conversation_id)
        if row is None or row["message_id"] != question.message_id or row["body_sealed"] is None:
            found.append(None)
            continue
        connection.execute(
            update(wechat_answer)
            .where(wechat_answer.c.conversation_id == conversation_id)
            .values(offered_at_ms=row["offered_at_ms"] or question.now_ms)
        )
        found.append(row["body_sealed"])
    return found


def close(connection: Connection, questions: Sequence[Asked]) -> list[None]:
    """Take nothing more for these messages: WeChat will not ask for them again."""
    for question in questions:
        connection.execute(
            update(wechat_answer)
            .where(
                wechat_answer.c.conversation_id == conversation_of(connection, question.chat),
                wechat_answer.c.message_id == question.message_id,
            )
            .values(open_until_ms=question.now_ms)
        )
    return [None] * len(questions)
