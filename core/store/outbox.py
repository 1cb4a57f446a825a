"""Outbox: what must reach the patient, and how far it has come.

A row goes pending → sending → sent; the attempt is committed before the call, so after a crash a
row in `sending` is known to be uncertain instead of being sent twice or never. Only the oldest
open row of a conversation may be sent, which keeps order across replicas too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Connection, and_, bindparam, func, select, update

from core.store.plans import contacts_of, relay
from core.store.tables import (
    IS_UNSENT,
    channel_link,
    conversation,
    outbox,
    reminder,
    staff_task,
    transcript,
)
from core.urgency import Urgency, staff_within_ms

Ending = Literal["sent", "pending", "unknown", "dead"]


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """One part to send."""

    id: int
    conversation_id: int
    transcript_id: int
    part: int
    kind: str
    body_sealed: bytes
    created_at_ms: int
    not_before_ms: int
    attempts: int


@dataclass(frozen=True, slots=True)
class Addressed:
    """A row together with the chat it goes to."""

    row: OutboxRow
    channel: str
    account: str
    chat_id: str


@dataclass(frozen=True, slots=True)
class Attempt:
    """The wish to send one row now."""

    row_id: int
    conversation_id: int
    now_ms: int
    until_ms: int


@dataclass(frozen=True, slots=True)
class SendResult:
    """How an attempt ended.

    Attributes:
        row_id: the row.
        state: ``pending`` = again at `not_before_ms`; the others are final.
        now_ms: the present.
        platform_id: the platform's id, when sent.
        error: our own short word for what went wrong, never the platform's text.
        unlink: the chat itself is gone.
        task_sealed: sealed detail of a staff task to open, or None.
    """

    row_id: int
    state: Ending
    now_ms: int
    not_before_ms: int = 0
    platform_id: str | None = None
    error: str | None = None
    unlink: bool = False
    task_sealed: bytes | None = None


# Made once: each message needs them, and making one costs as much as running it.
_HEADS = (
    select(outbox.c.conversation_id, func.min(outbox.c.id))
    .where(outbox.c.conversation_id.in_(bindparam("ids", expanding=True)), IS_UNSENT)
    .group_by(outbox.c.conversation_id)
)
# The state is checked in the same statement, so of two replicas one wins.
_BEGIN = (
    update(outbox)
    .where(outbox.c.id == bindparam("b_id"), outbox.c.state == "pending")
    .values(
        state="sending",
        attempts=outbox.c.attempts + 1,
        sending_until_ms=bindparam("b_until"),
        changed_at_ms=bindparam("b_now"),
    )
)
_FINISH = (
    update(outbox)
    .where(outbox.c.id == bindparam("b_id"), outbox.c.state == "sending")
    .values(
        state=bindparam("b_state"),
        not_before_ms=bindparam("b_not_before"),
        platform_id=bindparam("b_platform_id"),
        last_error=bindparam("b_error"),
        changed_at_ms=bindparam("b_now"),
    )
)


def begin_sending(connection: Connection, attempts: Sequence[Attempt]) -> list[bool]:
    """Commit attempts before their calls; False when the row is not ours to send now."""
    ids = sorted({a.conversation_id for a in attempts})
    heads = dict(connection.execute(_HEADS, {"ids": ids}).all())
    results: list[bool] = []
    for attempt in attempts:
        if heads.get(attempt.conversation_id) != attempt.row_id:
            results.append(False)
            continue
        changed = connection.execute(
            _BEGIN,
            {"b_id": attempt.row_id, "b_until": attempt.until_ms, "b_now": attempt.now_ms},
        )
        results.append(changed.rowcount == 1)
    return results


def finish_sending(connection: Connection, results: Sequence[SendResult]) -> list[None]:
    """Record how attempts ended; a row that somebody else settled meanwhile is left alone."""
    connection.execute(
        _FINISH,
        [
            {
                "b_id": r.row_id,
                "b_state": r.state,
                "b_not_before": r.not_before_ms,
                "b_platform_id": r.platform_id,
                "b_error": r.error,
                "b_now": r.now_ms,
            }
            for r in results
        ],
    )
    for result in results:
        if result.task_sealed is not None or result.unlink:
            _tell_staff(connection, result)
    return [None] * len(results)


def _tell_staff(connection: Connection, result: SendResult) -> None:
    conversation_id = connection.execute(
        select(outbox.c.conversation_id).where(outbox.c.id == result.row_id)
    ).scalar_one()
    if result.task_sealed is not None and not _relayed(connection, conversation_id, result):
        connection.execute(
            staff_task.insert(),
            {
                "conversation_id": conversation_id,
                "kind": "undelivered",
                "urgency": "same_day",
                "detail_sealed": result.task_sealed,
                "created_at_ms": result.now_ms,
                "changed_at_ms": result.now_ms,
                "deadline_ms": result.now_ms + staff_within_ms(Urgency.SAME_DAY),
            },
        )
    if result.unlink:
        connection.execute(
            update(channel_link)
            .where(channel_link.c.conversation_id == conversation_id)
            .values(active=False)
        )


def _relayed(connection: Connection, conversation_id: int, result: SendResult) -> bool:
    """Send a reminder that did not arrive to the patient's other chat; False without one.

    Either way the plan shows who has it now: the other chat, or staff.
    """
    reminder_id = connection.execute(
        select(reminder.c.id)
        .join(transcript, transcript.c.turn_id == reminder.c.turn_id)
        .join(outbox, outbox.c.transcript_id == transcript.c.id)
        .where(
            outbox.c.id == result.row_id,
            outbox.c.kind == "reminder",
            reminder.c.conversation_id == conversation_id,
        )
    ).scalar()
    if reminder_id is None:
        return False
    others = [c.contact_id for c in contacts_of(connection, conversation_id) if c.kind == "same"]
    if relay(connection, reminder_id, others, result.now_ms):
        return True
    connection.execute(update(reminder).where(reminder.c.id == reminder_id).values(outcome="staff"))
    return False


def open_rows(connection: Connection, limit: int) -> list[Addressed]:
    """Return unsent rows, each conversation's in order: at start, and when a peer died."""
    rows = connection.execute(
        select(outbox, conversation.c.channel, conversation.c.account, conversation.c.chat_id)
        .join(conversation, conversation.c.id == outbox.c.conversation_id)
        .where(IS_UNSENT, outbox.c.state == "pending")
        .order_by(outbox.c.conversation_id, outbox.c.id)
        .limit(limit)
    ).mappings()
    return [
        Addressed(
            OutboxRow(
                r["id"],
                r["conversation_id"],
                r["transcript_id"],
                r["part"],
                r["kind"],
                r["body_sealed"],
                r["created_at_ms"],
                r["not_before_ms"],
                r["attempts"],
            ),
            r["channel"],
            r["account"],
            r["chat_id"],
        )
        for r in rows
    ]


@dataclass(frozen=True, slots=True)
class UncertainPolicy:
    """What to do with rows whose sender vanished between call and record.

    Attributes:
        now_ms: the present.
        all_stale: every `sending` row is orphaned (this process is the database's only user).
        resend_channels: channels whose receivers recognise a repeat.
        resend_kinds: kinds that are rather repeated than lost, whatever the channel.
        task_sealed: sealed detail for the staff task of a row that stays unknown.
    """

    now_ms: int
    all_stale: bool
    resend_channels: tuple[str, ...]
    resend_kinds: tuple[str, ...]
    task_sealed: bytes


def settle_uncertain(connection: Connection, policies: Sequence[UncertainPolicy]) -> list[int]:
    """Decide about orphaned `sending` rows; returns how many became `unknown`."""
    return [_settle(connection, policy) for policy in policies]


def _settle(connection: Connection, policy: UncertainPolicy) -> int:
    stale = and_(IS_UNSENT, outbox.c.state == "sending")
    if not policy.all_stale:
        stale = stale & (outbox.c.sending_until_ms < policy.now_ms)
    rows = connection.execute(
        select(outbox.c.id, outbox.c.kind, conversation.c.channel)
        .join(conversation, conversation.c.id == outbox.c.conversation_id)
        .where(stale)
    ).all()
    unknown = 0
    for row_id, kind, channel in rows:
        again = channel in policy.resend_channels or kind in policy.resend_kinds
        connection.execute(
            update(outbox)
            .where(outbox.c.id == row_id, outbox.c.state == "sending")
            .values(state="pending" if again else "unknown", changed_at_ms=policy.now_ms)
        )
        if not again:
            unknown += 1
            _tell_staff(
                connection,
                SendResult(row_id, "unknown", policy.now_ms, task_sealed=policy.task_sealed),
            )
    return unknown


@dataclass(frozen=True, slots=True)
class OutboxCounts:
    """How the outbox stands."""

    by_state: dict[str, int]
    oldest_open_ms: int | None


def count_outbox(connection: Connection, _argument: None = None) -> OutboxCounts:
    """Count rows by state."""
    rows = connection.execute(select(outbox.c.state, func.count()).group_by(outbox.c.state))
    oldest = connection.execute(select(func.min(outbox.c.created_at_ms)).where(IS_UNSENT)).scalar()
    return OutboxCounts(dict(rows.all()), oldest)
