"""Takeovers: staff answer a conversation instead of us, from one commit to another.

Taking over and handing back end the conversation's lease in their own transaction. A turn in
flight has therefore either committed before, or leaves nothing and runs anew knowing who answers
now (`core.store.leases.Lease.takeover_id`): never do both answer the same message.

Every function but the queries is a batch function (see `core.store.writer`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection, bindparam, select, update

from core.store.dialect import for_update
from core.store.outbox import OutboxRow
from core.store.tables import (
    IS_GOING_ON,
    IS_OPEN_TASK,
    conversation,
    outbox,
    staff_task,
    takeover,
    transcript,
)


@dataclass(frozen=True, slots=True)
class Message:
    """Something to say in a conversation.

    Attributes:
        turn_id: names it for ever; at most 40 characters.
        author: ``staff`` or ``service``.
        kind: as in `core.reply.ReplyKind`.
        body_sealed: for the transcript.
        parts: the same, cut and sealed for the outbox.
    """

    turn_id: str
    author: Literal["staff", "service"]
    kind: str
    body_sealed: bytes
    parts: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Taking:
    """The wish to answer a conversation instead of us.

    Attributes:
        conversation_id: which.
        staff_id: who.
        instead_of: staff id of the colleague who has it and is replaced, or None.
        now_ms: the present.
        notice: tells the patient who answers now.
    """

    conversation_id: int
    staff_id: int
    instead_of: int | None
    now_ms: int
    notice: Message


@dataclass(frozen=True, slots=True)
class Taken:
    """How taking over went.

    Attributes:
        takeover_id: the takeover going on now, whoever has it; None = no such conversation.
        staff_id: who has it.
        is_new: this call began it.
        ended_token: the lease that it ended, or None when nobody held one.
        rows: the notice, to send.
    """

    takeover_id: int | None
    staff_id: int
    is_new: bool = False
    ended_token: str | None = None
    rows: tuple[OutboxRow, ...] = ()


@dataclass(frozen=True, slots=True)
class StaffReply:
    """A reply by whoever has taken over."""

    conversation_id: int
    staff_id: int
    now_ms: int
    message: Message


@dataclass(frozen=True, slots=True)
class Replied:
    """How a reply went: said, said before (the form came twice), or not theirs to say."""

    how: Literal["said", "again", "not_yours"]
    rows: tuple[OutboxRow, ...] = ()


_LOCKED = select(conversation.c.id, conversation.c.takeover_id, conversation.c.lease_token).where(
    conversation.c.id == bindparam("b_id")
)
_END_LEASE = update(conversation).where(conversation.c.id == bindparam("b_id")).values(
    takeover_id=bindparam("b_takeover"), lease_token=None, lease_until_ms=0
)  # fmt: skip


def task_turn(takeover_id: int) -> str:
    """Return what names the task "the patient waits" of a takeover."""
    return f"takeover:{takeover_id}"


def lock(connection: Connection, conversation_id: int) -> Any:
    """Lock a conversation as the turns' completions do; None when there is no such one."""
    return connection.execute(
        for_update(connection, _LOCKED), {"b_id": conversation_id}
    ).one_or_none()


def put(
    connection: Connection, conversation_id: int, message: Message, now_ms: int
) -> tuple[OutboxRow, ...]:
    """Write a message into transcript and outbox, in the caller's transaction."""
    transcript_id = connection.execute(
        transcript.insert().returning(transcript.c.id),
        {
            "conversation_id": conversation_id,
            "turn_id": message.turn_id,
            "author": message.author,
            "kind": message.kind,
            "at_ms": now_ms,
            "body_sealed": message.body_sealed,
        },
    ).scalar_one()
    rows: list[OutboxRow] = []
    for number, body in enumerate(message.parts):
        row_id = connection.execute(
            outbox.insert().returning(outbox.c.id),
            {
                "conversation_id": conversation_id,
                "transcript_id": transcript_id,
                "part": number,
                "kind": message.kind,
                "body_sealed": body,
                "created_at_ms": now_ms,
                "changed_at_ms": now_ms,
            },
        ).scalar_one()
        rows.append(
            OutboxRow(
                row_id, conversation_id, transcript_id, number, message.kind, body, now_ms, 0, 0
            )
        )
    return tuple(rows)


def take(connection: Connection, takings: Sequence[Taking]) -> list[Taken]:
    """Begin takeovers; one that goes on stays with its holder unless they are to be replaced."""
    return [_take(connection, taking) for taking in takings]


def _take(connection: Connection, taking: Taking) -> Taken:
    found = lock(connection, taking.conversation_id)
    if found is None:
        return Taken(None, taking.staff_id)
    if found.takeover_id is not None:
        holder = connection.execute(
            select(takeover.c.staff_id).where(takeover.c.id == found.takeover_id)
        ).scalar_one()
        if holder == taking.staff_id or holder != taking.instead_of:
            return Taken(found.takeover_id, holder)
        end(connection, found.takeover_id, "staff", taking.now_ms)
    takeover_id = connection.execute(
        takeover.insert().returning(takeover.c.id),
        {
            "conversation_id": taking.conversation_id,
            "staff_id": taking.staff_id,
            "began_at_ms": taking.now_ms,
            "active_at_ms": taking.now_ms,
        },
    ).scalar_one()
    connection.execute(_END_LEASE, {"b_id": taking.conversation_id, "b_takeover": takeover_id})
    rows = put(connection, taking.conversation_id, taking.notice, taking.now_ms)
    return Taken(takeover_id, taking.staff_id, True, found.lease_token, rows)


def end(connection: Connection, takeover_id: int, ending: str, now_ms: int) -> None:
    """Close a takeover and its task; the conversation is the caller's to change."""
    connection.execute(
        update(takeover)
        .where(takeover.c.id == takeover_id, IS_GOING_ON)
        .values(ended_at_ms=now_ms, ending=ending)
    )
    close_task(connection, takeover_id, now_ms)


def close_task(connection: Connection, takeover_id: int, now_ms: int) -> None:
    """Close the task "the patient waits"."""
    connection.execute(
        update(staff_task)
        .where(staff_task.c.turn_id == task_turn(takeover_id), IS_OPEN_TASK)
        .values(state="done", alert_due_ms=None, changed_at_ms=now_ms)
    )


def open_task(
    connection: Connection,
    conversation_id: int,
    turn_id: str | None,
    detail_sealed: bytes,
    now_ms: int,
    *,
    kind: str = "human",
    urgency: str = "same_day",
    deadline_ms: int | None = None,
    alert: bool = False,
) -> None:
    """Put a task about this conversation on the worklist."""
    connection.execute(
        staff_task.insert(),
        {
            "conversation_id": conversation_id,
            "kind": kind,
            "urgency": urgency,
            "turn_id": turn_id,
            "detail_sealed": detail_sealed,
            "created_at_ms": now_ms,
            "changed_at_ms": now_ms,
            "deadline_ms": deadline_ms,
            "alert_due_ms": now_ms if alert else None,
        },
    )


def reply(connection: Connection, replies: Sequence[StaffReply]) -> list[Replied]:
    """Say what staff wrote, once; only while the conversation is theirs."""
    return [_reply(connection, item) for item in replies]


def tell(connection: Connection, items: Sequence[StaffReply]) -> list[Replied]:
    """Say something of staff's, once, whoever answers the conversation."""
    return [_tell(connection, item) for item in items]


def _tell(connection: Connection, item: StaffReply) -> Replied:
    lock(connection, item.conversation_id)
    if _is_said(connection, item):
        return Replied("again")
    return Replied("said", put(connection, item.conversation_id, item.message, item.now_ms))


def _is_said(connection: Connection, item: StaffReply) -> bool:
    found = connection.execute(
        select(transcript.c.id).where(
            transcript.c.conversation_id == item.conversation_id,
            transcript.c.turn_id == item.message.turn_id,
        )
    ).first()
    return found is not None


def _reply(connection: Connection, item: StaffReply) -> Replied:
    found = lock(connection, item.conversation_id)
    if _is_said(connection, item):
        return Replied("again")
    if found is None or found.takeover_id is None:
        return Replied("not_yours")
    mine = connection.execute(
        update(takeover)
        .where(takeover.c.id == found.takeover_id, takeover.c.staff_id == item.staff_id)
        .values(active_at_ms=item.now_ms, nudges=0)
    )
    if mine.rowcount != 1:
        return Replied("not_yours")
    close_task(connection, found.takeover_id, item.now_ms)
    return Replied("said", put(connection, item.conversation_id, item.message, item.now_ms))
