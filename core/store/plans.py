"""Plans in the database: start, change, end, move to another zone; and what a turn reads of them.

One plan of a conversation is active at most. A plan of a rule never postpones: when the active one
is due earlier and as urgent, a newer one is dropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from sqlalchemy import Connection, bindparam, select, update

from core.followup.ladder import out_of_quiet_hours
from core.followup.walltime import day_of, moment_ms
from core.store.tables import (
    IS_TO_COME,
    contact,
    conversation,
    fact,
    follow_up,
    inbox,
    outbox,
    patient,
    photo,
    reminder,
    staff_task,
    transcript,
)
from core.urgency import Urgency, staff_within_ms

_OPEN = ("pending", "queued")
_BATCH = 500


@dataclass(frozen=True, slots=True)
class NewReminder:
    """One reminder of a new plan; `wall` is its time as a clock in the plan's zone shows it."""

    step: str
    due_at_ms: int
    wall: str = ""


@dataclass(frozen=True, slots=True)
class NewFollowUp:
    """A plan that replaces the conversation's active one, with its reminders.

    Attributes:
        row: columns of `follow_up`, and ``photo_of``: (inbox id, position) of the photo that the
            plan rests on, or empty.
        reminders: its ladder.
        private: what is sealed on the way to the database: ``place``.
    """

    row: dict[str, Any]
    reminders: tuple[NewReminder, ...]
    private: dict[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class FollowUpChange:
    """A decision about the active plan, or about the plan `plan_id`.

    Attributes:
        state: what it becomes; ``active`` = it goes on. Any other cancels its open reminders.
        columns: other columns to set.
        private: what is sealed on the way to the database: ``place``, ``outcome``.
        reminders: replace the open ones; None = leave them.
        plan_id: an ended plan to go on with, or to add to; None = the active one.
    """

    state: str
    columns: dict[str, Any] = field(default_factory=dict[str, Any])
    private: dict[str, Any] = field(default_factory=dict[str, Any])
    reminders: tuple[NewReminder, ...] | None = None
    plan_id: int | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan as a turn needs it; days are of the calendar in `zone`."""

    id: int
    conversation_id: int
    rule_id: str
    reason: str
    urgency: str
    due_at_ms: int
    zone: str
    set_by: str
    state: str
    arm: str
    due_day: date
    visit_day: date | None
    visit_time: str | None
    table_version: str
    changed_at_ms: int


_COLUMNS = (
    *(follow_up.c.id, follow_up.c.conversation_id, follow_up.c.rule_id, follow_up.c.reason),
    *(follow_up.c.urgency, follow_up.c.due_at_ms, follow_up.c.zone, follow_up.c.set_by),
    *(follow_up.c.state, follow_up.c.arm, follow_up.c.due_day, follow_up.c.visit_day),
    *(follow_up.c.visit_time, follow_up.c.table_version, follow_up.c.changed_at_ms),
)


def _plan(row: Any) -> Plan:
    values: dict[str, Any] = dict(row)
    day, visit = values["due_day"], values["visit_day"]
    values["due_day"] = (
        date.fromisoformat(day) if day else day_of(values["due_at_ms"], values["zone"])
    )
    values["visit_day"] = date.fromisoformat(visit) if visit else None
    return Plan(**values)


def latest_plan(connection: Connection, conversation_id: int) -> Plan | None:
    """Return the conversation's active plan, else the one that ended last, else None."""
    row = (
        connection.execute(
            select(*_COLUMNS)
            .where(
                follow_up.c.conversation_id == conversation_id,
                follow_up.c.state.not_in(("replaced", "declined")),
            )
            .order_by((follow_up.c.state == "active").desc(), follow_up.c.id.desc())
            .limit(1)
        )
        .mappings()
        .one_or_none()
    )
    return _plan(row) if row else None


# -- changing ------------------------------------------------------------------------------------


def change_plan(
    connection: Connection,
    conversation_id: int,
    change: NewFollowUp | FollowUpChange,
    now_ms: int,
) -> None:
    """Start a plan or change one, with its reminders; `private` must be sealed into columns."""
    active = (follow_up.c.conversation_id == conversation_id, follow_up.c.state == "active")
    if isinstance(change, NewFollowUp):
        _start(connection, conversation_id, change, now_ms)
        return
    which = active if change.plan_id is None else (follow_up.c.id == change.plan_id,)
    if change.state != "active" or change.reminders is not None:
        _cancel(connection, which, now_ms)
    plans = connection.execute(
        update(follow_up)
        .where(*which)
        .values(**change.columns, state=change.state, changed_at_ms=now_ms)
        .returning(follow_up.c.id)
    ).scalars()
    for plan_id in plans.all():
        _remind(connection, plan_id, conversation_id, change.reminders or (), now_ms)


def _start(connection: Connection, conversation_id: int, new: NewFollowUp, now_ms: int) -> None:
    active = (follow_up.c.conversation_id == conversation_id, follow_up.c.state == "active")
    if new.row["set_by"] == "rule" and _is_covered(connection, active, new.row):
        return
    _cancel(connection, active, now_ms)
    connection.execute(
        update(follow_up).where(*active).values(state="replaced", changed_at_ms=now_ms)
    )
    row: dict[str, Any] = {"basis": "consult", **new.row}
    if photo_of := row.pop("photo_of", ()):
        inbox_id, position = photo_of
        row["photo_id"] = connection.execute(
            select(photo.c.id).where(
                photo.c.conversation_id == conversation_id,
                photo.c.inbox_id == inbox_id,
                photo.c.position == position,
            )
        ).scalar()
    plan_id = connection.execute(
        follow_up.insert().returning(follow_up.c.id),
        {
            **row,
            "conversation_id": conversation_id,
            "state": "active",
            "created_at_ms": now_ms,
            "changed_at_ms": now_ms,
        },
    ).scalar_one()
    _remind(connection, plan_id, conversation_id, new.reminders, now_ms)


def _is_covered(connection: Connection, active: tuple[Any, ...], row: dict[str, Any]) -> bool:
    """Tell whether the active plan is due earlier and at least as urgent already."""
    found = connection.execute(
        select(follow_up.c.urgency, follow_up.c.due_at_ms).where(*active)
    ).first()
    return found is not None and (Urgency(found.urgency).rank, found.due_at_ms) <= (
        Urgency(row["urgency"]).rank,
        row["due_at_ms"],
    )


def _cancel(connection: Connection, which: tuple[Any, ...], now_ms: int) -> None:
    connection.execute(
        update(reminder)
        .where(
            reminder.c.follow_up_id.in_(select(follow_up.c.id).where(*which)),
            reminder.c.state.in_(_OPEN),
        )
        .values(state="cancelled", changed_at_ms=now_ms)
    )


def _remind(
    connection: Connection,
    plan_id: int,
    conversation_id: int,
    reminders: Sequence[NewReminder],
    now_ms: int,
) -> None:
    if reminders:
        connection.execute(
            reminder.insert(),
            [
                {
                    "follow_up_id": plan_id,
                    "conversation_id": conversation_id,
                    "step": r.step,
                    "due_at_ms": r.due_at_ms,
                    "wall": r.wall or None,
                    "changed_at_ms": now_ms,
                }
                for r in reminders
            ],
        )


@dataclass(frozen=True, slots=True)
class StaffChange:
    """What staff decided about a patient's plan, from the console.

    Attributes:
        conversation_id: whose plan.
        change: a plan of theirs (``set_by`` clinician), or how the active one ended.
        now_ms: the present.
    """

    conversation_id: int
    change: NewFollowUp | FollowUpChange
    now_ms: int


def change_by_staff(connection: Connection, changes: Sequence[StaffChange]) -> list[None]:
    """Apply what staff decided (batch function); takes no lease, so it never waits for a turn."""
    for each in changes:
        change_plan(connection, each.conversation_id, each.change, each.now_ms)
    return [None] * len(changes)


# -- zones ---------------------------------------------------------------------------------------


def move_to_zone(connection: Connection, conversation_id: int, zone: str, now_ms: int) -> None:
    """Keep the day and the hour of what is planned, in the zone where the patient is now."""
    active = (follow_up.c.conversation_id == conversation_id, follow_up.c.state == "active")
    rows = connection.execute(
        select(reminder.c.id, reminder.c.wall)
        .join(follow_up, follow_up.c.id == reminder.c.follow_up_id)
        .where(*active, IS_TO_COME, reminder.c.wall.is_not(None))
    ).all()
    _set_due(connection, [(r.id, moment_ms(datetime.fromisoformat(r.wall), zone)) for r in rows])
    connection.execute(update(follow_up).where(*active).values(zone=zone, changed_at_ms=now_ms))


def _set_due(connection: Connection, moments: Sequence[tuple[int, int]]) -> None:
    if moments:
        connection.execute(
            update(reminder)
            .where(reminder.c.id == bindparam("b_id"), IS_TO_COME)
            .values(due_at_ms=bindparam("b_due")),
            [{"b_id": reminder_id, "b_due": due_at_ms} for reminder_id, due_at_ms in moments],
        )


@dataclass(frozen=True, slots=True)
class Recomputed:
    """One step of `recompute`: where to go on (None = done), and how many moments moved."""

    next_id: int | None
    moved: int


def recompute(connection: Connection, after_ids: Sequence[int]) -> list[Recomputed]:
    """Compute the next 500 planned moments again from their wall times (batch function).

    For when the time zone data changed; ids only grow, so several processes may do it at once.
    """
    return [_recompute(connection, after_id) for after_id in after_ids]


def _recompute(connection: Connection, after_id: int) -> Recomputed:
    rows = connection.execute(
        select(reminder.c.id, reminder.c.wall, reminder.c.due_at_ms, follow_up.c.zone)
        .join(follow_up, follow_up.c.id == reminder.c.follow_up_id)
        .where(IS_TO_COME, reminder.c.id > after_id, reminder.c.wall.is_not(None))
        .order_by(reminder.c.id)
        .limit(_BATCH)
    ).all()
    moved = [
        (row.id, at_ms)
        for row in rows
        for at_ms in (moment_ms(datetime.fromisoformat(row.wall), row.zone),)
        if at_ms != row.due_at_ms
    ]
    _set_due(connection, moved)
    return Recomputed(rows[-1].id if len(rows) == _BATCH else None, len(moved))


def zone_data(connection: Connection, _argument: None = None) -> str | None:
    """Return the version of the time zone data that planned moments were computed with."""
    return connection.execute(select(fact.c.value).where(fact.c.name == "zone_data")).scalar()


def set_zone_data(connection: Connection, versions: Sequence[str]) -> list[None]:
    """Note that every planned moment fits this version (batch function)."""
    for version in versions:
        connection.execute(fact.delete().where(fact.c.name == "zone_data"))
        connection.execute(fact.insert(), {"name": "zone_data", "value": version})
    return [None] * len(versions)


# -- other chats ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Contact:
    """Another chat that agreed to get a patient's reminders."""

    id: int
    conversation_id: int
    contact_id: int
    kind: str


_CONTACTS = (
    select(contact.c.id, contact.c.conversation_id, contact.c.contact_id, contact.c.kind)
    .where(
        contact.c.conversation_id == bindparam("b_conversation_id"),
        contact.c.accepted_at_ms.is_not(None),
        contact.c.ended_at_ms.is_(None),
    )
    .order_by(contact.c.id)
)


def contacts_of(connection: Connection, conversation_id: int) -> list[Contact]:
    """Return the chats that both sides agreed on."""
    rows = connection.execute(_CONTACTS, {"b_conversation_id": conversation_id}).all()
    return [Contact(*row) for row in rows]


@dataclass(frozen=True, slots=True)
class ContactChange:
    """One step between two chats, as a turn decides it.

    Attributes:
        verb: ``offer`` (a code is given out), ``accept`` or ``refuse`` (in the other chat),
            ``end`` (either side).
        kind: ``same`` or ``family``, for an offer.
        code_hash: of the code.
        until_ms: how long the code is good, for an offer.
    """

    verb: str
    kind: str = ""
    code_hash: str = ""
    until_ms: int = 0


def offered(connection: Connection, query: tuple[str, int]) -> str | None:
    """Return the kind of the open offer with this code hash at this time, or None."""
    code_hash, now_ms = query
    return connection.execute(
        select(contact.c.kind).where(
            contact.c.code_hash == code_hash,
            contact.c.accepted_at_ms.is_(None),
            contact.c.code_until_ms > now_ms,
        )
    ).scalar()


def change_contact(
    connection: Connection, conversation_id: int, change: ContactChange, now_ms: int
) -> None:
    """Offer, accept, refuse or end; a code works once, and never in the chat that made it."""
    open_offer = (
        contact.c.code_hash == change.code_hash,
        contact.c.accepted_at_ms.is_(None),
        contact.c.code_until_ms > now_ms,
        contact.c.conversation_id != conversation_id,
    )
    match change.verb:
        case "offer":
            connection.execute(
                contact.insert(),
                {
                    "conversation_id": conversation_id,
                    "kind": change.kind,
                    "agreed_at_ms": now_ms,
                    "code_hash": change.code_hash,
                    "code_until_ms": change.until_ms,
                },
            )
        case "accept":
            connection.execute(
                update(contact)
                .where(*open_offer)
                .values(contact_id=conversation_id, accepted_at_ms=now_ms, code_hash=None)
            )
        case "refuse":
            connection.execute(
                update(contact).where(*open_offer).values(code_hash=None, ended_at_ms=now_ms)
            )
        case _:
            connection.execute(
                update(contact)
                .where(
                    (contact.c.conversation_id == conversation_id)
                    | (contact.c.contact_id == conversation_id),
                    contact.c.ended_at_ms.is_(None),
                )
                .values(ended_at_ms=now_ms, code_hash=None)
            )


def relay(connection: Connection, reminder_id: int, chats: Sequence[int], now_ms: int) -> int:
    """Put a reminder before other chats as an event of theirs, once each; return how many."""
    count = 0
    for chat in chats:
        sequence = connection.execute(
            select(conversation.c.last_sequence).where(conversation.c.id == chat)
        ).scalar()
        message_id = f"timer:relay:{reminder_id}"
        known = connection.execute(
            select(inbox.c.id).where(
                inbox.c.conversation_id == chat, inbox.c.message_id == message_id
            )
        ).first()
        if sequence is None or known is not None:
            continue
        connection.execute(
            inbox.insert(),
            {
                "conversation_id": chat,
                "message_id": message_id,
                "sequence": sequence,
                "received_at_ms": now_ms,
            },
        )
        count += 1
    return count


@dataclass(frozen=True, slots=True)
class AboutToSend:
    """A reminder that is about to leave, perhaps long after it was written.

    Attributes:
        row_id, conversation_id: its outbox row.
        now_ms: the present.
        task_sealed: detail of the staff task for a relayed one that comes too late.
    """

    row_id: int
    conversation_id: int
    now_ms: int
    task_sealed: bytes


def hold_back(connection: Connection, sends: Sequence[AboutToSend]) -> list[bool]:
    """Take back reminders that may not leave now (batch function); True for those taken back.

    One whose plan ended meanwhile goes for good. One that an outage carried into quiet hours is
    due again in the morning, instead of standing in the way of answers.
    """
    found = {
        row.row_id: row for row in connection.execute(_WAITING, {"ids": [s.row_id for s in sends]})
    }
    return [_hold(connection, send, found.get(send.row_id)) for send in sends]


# Made once: each reminder needs it.
_WAITING = (
    select(
        outbox.c.id.label("row_id"),
        transcript.c.id,
        reminder.c.id.label("reminder_id"),
        follow_up.c.state,
        follow_up.c.zone,
        patient.c.zone.label("patient_zone"),
    )
    .select_from(outbox)
    .join(transcript, transcript.c.id == outbox.c.transcript_id)
    .join(conversation, conversation.c.id == outbox.c.conversation_id)
    .outerjoin(patient, patient.c.id == conversation.c.patient_id)
    .outerjoin(
        reminder,
        (reminder.c.turn_id == transcript.c.turn_id)
        & (reminder.c.conversation_id == outbox.c.conversation_id),
    )
    .outerjoin(follow_up, follow_up.c.id == reminder.c.follow_up_id)
    .where(outbox.c.id.in_(bindparam("ids", expanding=True)), outbox.c.state == "pending")
)


def _hold(connection: Connection, send: AboutToSend, row: Any) -> bool:
    if row is None:
        return False
    zone = row.zone or row.patient_zone or "UTC"
    again_ms = out_of_quiet_hours(send.now_ms, zone, spread=send.row_id)
    has_ended = row.state not in (None, "active")
    if not has_ended and again_ms == send.now_ms:
        return False
    connection.execute(transcript.delete().where(transcript.c.id == row.id))
    if row.reminder_id is None:
        _late_relay(connection, send)
    else:
        ending: dict[str, Any] = {"outcome": "passed"}
        if not has_ended:
            ending = {"state": "pending", "due_at_ms": again_ms, "wall": None, "outcome": None}
        connection.execute(
            update(reminder).where(reminder.c.id == row.reminder_id).values(**ending)
        )
    return True


def _late_relay(connection: Connection, send: AboutToSend) -> None:
    connection.execute(
        staff_task.insert(),
        {
            "conversation_id": send.conversation_id,
            "kind": "follow_up",
            "urgency": str(Urgency.TWO_WEEKS),
            "detail_sealed": send.task_sealed,
            "created_at_ms": send.now_ms,
            "changed_at_ms": send.now_ms,
            "deadline_ms": send.now_ms + staff_within_ms(Urgency.TWO_WEEKS),
        },
    )


def set_phone(connection: Connection, conversation_id: int, phone_sealed: bytes) -> None:
    """Keep the number a patient left for staff to call."""
    connection.execute(
        update(patient)
        .where(
            patient.c.id
            == select(conversation.c.patient_id)
            .where(conversation.c.id == conversation_id)
            .scalar_subquery()
        )
        .values(phone_sealed=phone_sealed)
    )
