"""Due reminders and timers become inbox events of their conversation, so that order holds.

The event's message id contains the row's id and due time, and the inbox accepts each id once: a
reminder fires once for each time it is due, however many replicas tick.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, bindparam, func, select, update

from core.store.dialect import insert_ignore
from core.store.plans import contacts_of
from core.store.tables import (
    IS_TO_COME,
    channel_link,
    conversation,
    follow_up,
    inbox,
    reminder,
    timer,
)

# One statement's worth; a longer queue is taken in further ticks.
_BATCH = 500


@dataclass(frozen=True, slots=True)
class Due:
    """What a tick found.

    Attributes:
        conversation_ids: conversations that have a new event now.
        count: how many reminders and timers fired.
        latest_ms: how late the latest of them was.
    """

    conversation_ids: tuple[int, ...] = ()
    count: int = 0
    latest_ms: int = 0


def _skip_locked(connection: Connection, statement: Any) -> Any:
    if connection.dialect.name == "sqlite":
        return statement
    return statement.with_for_update(skip_locked=True)


# Made once: a tick that finds nothing costs little more than asking.
_DUE_REMINDERS = (
    select(reminder.c.id, reminder.c.conversation_id, reminder.c.due_at_ms)
    .where(IS_TO_COME, reminder.c.due_at_ms <= bindparam("b_now"))
    .order_by(reminder.c.due_at_ms)
    .limit(_BATCH)
)
_DUE_TIMERS = (
    select(timer.c.id, timer.c.conversation_id, timer.c.due_at_ms, timer.c.name)
    .where(timer.c.due_at_ms <= bindparam("b_now"))
    .order_by(timer.c.due_at_ms)
    .limit(_BATCH)
)


def take_due(connection: Connection, ticks: Sequence[int]) -> list[Due]:
    """Turn everything due at each tick (UTC ms) into inbox events, at most 500 of a kind."""
    return [_take(connection, now_ms) for now_ms in ticks]


def _take(connection: Connection, now_ms: int) -> Due:
    moment = {"b_now": now_ms}
    reminders = connection.execute(_skip_locked(connection, _DUE_REMINDERS), moment).all()
    timers = connection.execute(_skip_locked(connection, _DUE_TIMERS), moment).all()
    if not reminders and not timers:
        return Due()
    if reminders:
        connection.execute(
            update(reminder)
            .where(reminder.c.id == bindparam("b_id"))
            .values(state="queued", changed_at_ms=now_ms),
            [{"b_id": row.id} for row in reminders],
        )
    if timers:
        connection.execute(
            timer.delete().where(timer.c.id == bindparam("b_id")),
            [{"b_id": row.id} for row in timers],
        )
    events = [(r.conversation_id, f"reminder:{r.id}:{r.due_at_ms}") for r in reminders]
    events += [(t.conversation_id, f"timer:{t.name}:{t.id}") for t in timers]
    ids = sorted({conversation_id for conversation_id, _ in events})
    sequences = dict(
        connection.execute(
            select(conversation.c.id, conversation.c.last_sequence).where(
                conversation.c.id.in_(bindparam("ids", expanding=True))
            ),
            {"ids": ids},
        ).all()
    )
    connection.execute(
        insert_ignore(connection, inbox),
        [
            {
                "conversation_id": conversation_id,
                "message_id": message_id,
                "sequence": sequences[conversation_id],
                "received_at_ms": now_ms,
            }
            for conversation_id, message_id in events
        ],
    )
    oldest = min(row.due_at_ms for row in (*reminders, *timers))
    return Due(tuple(ids), len(events), now_ms - oldest)


@dataclass(frozen=True, slots=True)
class DueReminder:
    """A reminder that fires, with the plan it belongs to.

    Attributes:
        id, step, due_at_ms: of the reminder.
        conversation_id: whose it is.
        reason, rule_id, urgency, zone, plan_state: of its plan.
        plan_due_at_ms: when the visit is due.
        visit_day: the booked day in `zone` (ISO), or None.
        person: whom the plan is for; not ``self`` = who reads the reminder passes it on.
        is_reachable: the platform did not say that the chat is gone.
        last_inbound_at_ms: when the patient last wrote.
        same: conversations of the same person elsewhere, which agreed.
        family: conversations of relatives, which agreed.
    """

    id: int
    step: str
    due_at_ms: int
    reason: str
    rule_id: str
    urgency: str
    plan_due_at_ms: int
    zone: str
    plan_state: str
    conversation_id: int = 0
    visit_day: str | None = None
    person: str = "self"
    is_reachable: bool = True
    last_inbound_at_ms: int | None = None
    same: tuple[int, ...] = ()
    family: tuple[int, ...] = ()


def reminder_of(connection: Connection, reminder_id: int) -> DueReminder | None:
    """Return a queued reminder, or None when it was cancelled meanwhile."""
    found = _reminder(connection, reminder_id, "queued")
    if found is None:
        return None
    contacts = contacts_of(connection, found.conversation_id)
    return replace(
        found,
        same=tuple(c.contact_id for c in contacts if c.kind == "same"),
        family=tuple(c.contact_id for c in contacts if c.kind == "family"),
    )


def relayed_of(connection: Connection, query: tuple[int, int]) -> DueReminder | None:
    """Return a reminder that another chat gets (reminder id, that chat), while both agree to it.

    The chat's own kind is told by where it stands: in `same` or in `family`.
    """
    reminder_id, chat = query
    found = _reminder(connection, reminder_id, "done")
    if found is None:
        return None
    mine = [c for c in contacts_of(connection, found.conversation_id) if c.contact_id == chat]
    return replace(
        found,
        same=tuple(c.contact_id for c in mine if c.kind == "same"),
        family=tuple(c.contact_id for c in mine if c.kind == "family"),
    )


# Made once, like the two above: one runs for every reminder that fires.
_ONE_REMINDER = (
    select(
        reminder.c.id,
        reminder.c.step,
        reminder.c.due_at_ms,
        follow_up.c.reason,
        follow_up.c.rule_id,
        follow_up.c.urgency,
        follow_up.c.due_at_ms,
        follow_up.c.zone,
        follow_up.c.state,
        reminder.c.conversation_id,
        follow_up.c.visit_day,
        follow_up.c.person,
        func.coalesce(channel_link.c.active, True),
        channel_link.c.last_inbound_at_ms,
    )
    .join(follow_up, follow_up.c.id == reminder.c.follow_up_id)
    .outerjoin(channel_link, channel_link.c.conversation_id == reminder.c.conversation_id)
    .where(reminder.c.id == bindparam("b_id"), reminder.c.state == bindparam("b_state"))
)


def _reminder(connection: Connection, reminder_id: int, state: str) -> DueReminder | None:
    row = connection.execute(_ONE_REMINDER, {"b_id": reminder_id, "b_state": state}).one_or_none()
    return DueReminder(*row) if row else None


@dataclass(frozen=True, slots=True)
class Planned:
    """A reminder as `/reminders` and `oculichat reminders list` show it."""

    id: int
    conversation_id: int
    channel: str
    step: str
    due_at_ms: int
    state: str
    plan_due_at_ms: int
    reason: str
    zone: str


def planned(connection: Connection, conversation_id: int | None) -> list[Planned]:
    """Return reminders that are still to come, of one conversation or (None) of all."""
    query = (
        select(
            reminder.c.id,
            reminder.c.conversation_id,
            conversation.c.channel,
            reminder.c.step,
            reminder.c.due_at_ms,
            reminder.c.state,
            follow_up.c.due_at_ms,
            follow_up.c.reason,
            follow_up.c.zone,
        )
        .join(follow_up, follow_up.c.id == reminder.c.follow_up_id)
        .join(conversation, conversation.c.id == reminder.c.conversation_id)
        .where(reminder.c.state.in_(("pending", "queued")))
        .order_by(reminder.c.due_at_ms)
        .limit(1000)
    )
    if conversation_id is not None:
        query = query.where(reminder.c.conversation_id == conversation_id)
    return [Planned(*row) for row in connection.execute(query)]


def count_pending(connection: Connection, _argument: None = None) -> int:
    """Count reminders that wait for their time."""
    query = select(func.count()).select_from(reminder).where(IS_TO_COME)
    return connection.execute(query).scalar_one()
