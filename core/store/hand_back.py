"""Handing a conversation back: we answer again, beginning with what nobody answered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import ColumnElement, Connection, func, select, update

from core.store.dialect import insert_ignore
from core.store.outbox import OutboxRow
from core.store.tables import conversation, inbox, photo, takeover, transcript
from core.store.takeover import Message, end, lock, open_task, put

# What the dialog state remembers (`core.turn.state`).
_LAST_SAID = 16
_REPLAYED = ":again"
_AGAIN_AT_MOST = 20

SaidRow = tuple[str, str, bytes]  # author, kind, body_sealed of the transcript
Rewrite = Callable[[bytes | None, Sequence[SaidRow]], bytes]
Again = Callable[[bytes], bytes | None]
PhotoResult = Callable[[int, bytes, str | None], Message]


@dataclass(frozen=True, slots=True)
class HandBack:
    """The end of a takeover.

    Attributes:
        conversation_id: which.
        takeover_id: the takeover to end; nothing happens when it has ended already.
        ending: by ``staff``, or because they fell ``idle``.
        now_ms: the present.
        notice: tells the patient that we answer again.
        remember: makes the dialog state that knows what staff said, from the old one and the last
            transcript rows (author, kind, body_sealed), oldest first.
        again: makes the message that we answer now from one nobody answered; None = leave it.
        result: says what was read in a photo nobody answered, from its id, sealed reading and card.
        task_sealed: detail of the task for staff when somebody was waiting, or None for no task.
    """

    conversation_id: int
    takeover_id: int
    ending: Literal["staff", "idle"]
    now_ms: int
    notice: Message
    remember: Rewrite
    again: Again
    result: PhotoResult
    task_sealed: bytes | None = None


@dataclass(frozen=True, slots=True)
class HandedBack:
    """How handing back went.

    Attributes:
        done: False when that takeover had ended already.
        waiting: messages of the patient that nobody had answered.
        ended_token: the lease that it ended, or None.
        rows: the notice, to send.
    """

    done: bool
    waiting: int = 0
    ended_token: str | None = None
    rows: tuple[OutboxRow, ...] = ()


def last_said(connection: Connection, conversation_id: int) -> list[SaidRow]:
    """Return the last transcript rows of a chat, oldest first."""
    rows = connection.execute(
        select(transcript.c.author, transcript.c.kind, transcript.c.body_sealed)
        .where(transcript.c.conversation_id == conversation_id)
        .order_by(transcript.c.id.desc())
        .limit(_LAST_SAID)
    ).all()
    return [(author, kind, body) for author, kind, body in reversed(rows)]


def hand_back(connection: Connection, items: Sequence[HandBack]) -> list[HandedBack]:
    """End takeovers; what nobody answered goes into the inbox once more, for us to answer."""
    return [_hand_back(connection, item) for item in items]


def _hand_back(connection: Connection, item: HandBack) -> HandedBack:
    found = lock(connection, item.conversation_id)
    if found is None or found.takeover_id != item.takeover_id:
        return HandedBack(done=False)
    began_at_ms = connection.execute(
        select(takeover.c.began_at_ms).where(takeover.c.id == item.takeover_id)
    ).scalar_one()
    waiting = unanswered(connection, item.conversation_id, began_at_ms)
    end(connection, item.takeover_id, item.ending, item.now_ms)
    rows = put(connection, item.conversation_id, item.notice, item.now_ms)
    rows += _say_results(connection, item, waiting)
    state = connection.execute(
        select(conversation.c.state_sealed).where(conversation.c.id == item.conversation_id)
    ).scalar()
    connection.execute(
        update(conversation)
        .where(conversation.c.id == item.conversation_id)
        .values(
            takeover_id=None,
            lease_token=None,
            lease_until_ms=0,
            state_sealed=item.remember(state, last_said(connection, item.conversation_id)),
        )
    )
    _ask_again(connection, item, waiting)
    if waiting and item.task_sealed is not None:
        open_task(connection, item.conversation_id, None, item.task_sealed, item.now_ms)
    return HandedBack(True, len(waiting), found.lease_token, rows)


def _last_id(connection: Connection, conversation_id: int, what: ColumnElement[bool]) -> int:
    found = connection.execute(
        select(func.max(transcript.c.id)).where(
            transcript.c.conversation_id == conversation_id, what
        )
    ).scalar()
    return found or 0


@dataclass(frozen=True, slots=True)
class Unanswered:
    """A message of the patient that came after staff's last words."""

    transcript_id: int
    inbox_id: int
    message_id: str
    sequence: int
    body_sealed: bytes | None
    received_at_ms: int


def unanswered(connection: Connection, conversation_id: int, began_at_ms: int) -> list[Unanswered]:
    """Return the patient's messages of this takeover that came after staff's last words."""
    last = _last_id(connection, conversation_id, transcript.c.author == "staff")
    handed = (
        select(
            transcript.c.id,
            inbox.c.id.label("inbox_id"),
            inbox.c.message_id,
            inbox.c.sequence,
            inbox.c.body_sealed,
            inbox.c.received_at_ms,
        )
        .join(
            transcript,
            (transcript.c.conversation_id == inbox.c.conversation_id)
            & (transcript.c.message_id == inbox.c.message_id),
        )
        .where(
            inbox.c.conversation_id == conversation_id,
            inbox.c.outcome == "handed",
            inbox.c.done_at_ms >= began_at_ms,
            transcript.c.author == "patient",
            transcript.c.id > last,
        )
        .order_by(transcript.c.id)
        .limit(_AGAIN_AT_MOST)
    )
    return [Unanswered(*row) for row in connection.execute(handed)]


def _say_results(
    connection: Connection, item: HandBack, waiting: Sequence[Unanswered]
) -> tuple[OutboxRow, ...]:
    """Say what was read in the photos that only staff have seen so far."""
    if not waiting:
        return ()
    photos = connection.execute(
        select(photo.c.id, photo.c.reading_sealed, photo.c.card_blob)
        .where(
            photo.c.inbox_id.in_([row.inbox_id for row in waiting]),
            photo.c.reading_sealed.is_not(None),
        )
        .order_by(photo.c.id)
    ).all()
    rows: tuple[OutboxRow, ...] = ()
    for photo_id, reading_sealed, card_blob in photos:
        message = item.result(photo_id, reading_sealed, card_blob)
        rows += put(connection, item.conversation_id, message, item.now_ms)
    return rows


def _ask_again(connection: Connection, item: HandBack, waiting: Sequence[Unanswered]) -> None:
    # An emergency card has answered what came before it.
    card = _last_id(connection, item.conversation_id, transcript.c.kind == "emergency")
    rows = [
        {
            "conversation_id": item.conversation_id,
            "message_id": f"{row.message_id[:180]}{_REPLAYED}",
            "sequence": row.sequence,
            "received_at_ms": item.now_ms,
            "body_sealed": body,
        }
        for row in waiting
        if row.body_sealed is not None and row.transcript_id > card
        if not is_replay(row.message_id)
        for body in (item.again(row.body_sealed),)
        if body is not None
    ]
    if rows:
        connection.execute(insert_ignore(connection, inbox), rows)


def is_replay(message_id: str) -> bool:
    """Tell whether a message is one that staff left without an answer, and we answer now."""
    return message_id.endswith(_REPLAYED)
