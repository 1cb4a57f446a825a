"""What could not be delivered or handled and waits for a person, and how full the queues are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Connection, func, select, update

from core.store.tables import IS_UNSENT, IS_WAITING, conversation, inbox, outbox

Box = Literal["inbox", "outbox"]
# What is sent again by itself, or must not come late: a reminder has its own ladder.
_NOT_AGAIN = ("reminder",)


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One of them.

    Attributes:
        box: where it lies: a patient's message (``inbox``) or a reply (``outbox``).
        id: of its row there.
        patient_id: whose, or None for a staff chat.
        channel: where it came from or was to go.
        at_ms: when it came in or was made.
        state: ``dead``, or ``unknown`` where it may have arrived after all.
        error: our own short word for what went wrong, or "".
        can_retry: its content is still there, and it may be tried again.
    """

    box: Box
    id: int
    patient_id: int | None
    channel: str
    at_ms: int
    state: str
    error: str
    can_retry: bool


@dataclass(frozen=True, slots=True)
class Depths:
    """How many messages of a channel wait.

    Attributes:
        waiting: patients' messages without an answer.
        unsent: replies that are to go out.
    """

    waiting: int = 0
    unsent: int = 0


def queue_depths(connection: Connection, _argument: None = None) -> dict[str, Depths]:
    """Return the depths of each channel that has anything waiting."""
    waiting = dict(
        connection.execute(
            select(conversation.c.channel, func.count())
            .join(inbox, inbox.c.conversation_id == conversation.c.id)
            .where(IS_WAITING)
            .group_by(conversation.c.channel)
        ).all()
    )
    unsent = dict(
        connection.execute(
            select(conversation.c.channel, func.count())
            .join(outbox, outbox.c.conversation_id == conversation.c.id)
            .where(IS_UNSENT)
            .group_by(conversation.c.channel)
        ).all()
    )
    return {
        channel: Depths(waiting.get(channel, 0), unsent.get(channel, 0))
        for channel in waiting.keys() | unsent.keys()
    }


def dead_letters(connection: Connection, limit: int) -> list[DeadLetter]:
    """Return the newest dead letters, newest first."""
    replies = connection.execute(
        select(
            outbox.c.id,
            conversation.c.patient_id,
            conversation.c.channel,
            outbox.c.created_at_ms,
            outbox.c.state,
            outbox.c.last_error,
            outbox.c.body_sealed.is_not(None).label("is_there"),
            outbox.c.kind,
        )
        .join(conversation, conversation.c.id == outbox.c.conversation_id)
        .where(outbox.c.state.in_(("dead", "unknown")))
        .order_by(outbox.c.id.desc())
        .limit(limit)
    )
    found = [
        DeadLetter(
            "outbox",
            row.id,
            row.patient_id,
            row.channel,
            row.created_at_ms,
            row.state,
            row.last_error or "",
            bool(row.is_there) and row.kind not in _NOT_AGAIN,
        )
        for row in replies
    ]
    messages = connection.execute(
        select(
            inbox.c.id,
            conversation.c.patient_id,
            conversation.c.channel,
            inbox.c.received_at_ms,
            inbox.c.body_sealed.is_not(None).label("is_there"),
        )
        .join(conversation, conversation.c.id == inbox.c.conversation_id)
        .where(inbox.c.state == "dead")
        .order_by(inbox.c.id.desc())
        .limit(limit)
    )
    found += [
        DeadLetter(
            "inbox",
            row.id,
            row.patient_id,
            row.channel,
            row.received_at_ms,
            "dead",
            "",
            bool(row.is_there),
        )
        for row in messages
    ]
    found.sort(key=lambda letter: letter.at_ms, reverse=True)
    return found[:limit]


@dataclass(frozen=True, slots=True)
class Retry:
    """The wish to try a dead letter again now."""

    box: Box
    row_id: int
    now_ms: int


def retry_letters(connection: Connection, wishes: Sequence[Retry]) -> list[bool]:
    """Put dead letters back into their queue; False for one that is not dead, or has no content.

    The ticker finds them: replies within seconds, messages at its next sweep.
    """
    return [_retry(connection, wish) for wish in wishes]


def _retry(connection: Connection, wish: Retry) -> bool:
    if wish.box == "outbox":
        again = (
            update(outbox)
            .where(
                outbox.c.id == wish.row_id,
                outbox.c.state.in_(("dead", "unknown")),
                outbox.c.body_sealed.is_not(None),
                outbox.c.kind.not_in(_NOT_AGAIN),
            )
            .values(state="pending", attempts=0, not_before_ms=0, changed_at_ms=wish.now_ms)
        )
    else:
        again = (
            update(inbox)
            .where(
                inbox.c.id == wish.row_id,
                inbox.c.state == "dead",
                inbox.c.body_sealed.is_not(None),
            )
            .values(state="pending", attempts=0, not_before_ms=0, outcome=None, done_at_ms=None)
        )
    return connection.execute(again).rowcount == 1
