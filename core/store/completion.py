"""The one transaction that ends a turn: fence, replies, state, records, and inbox done.

Either all of it is there afterwards or none of it, so a crash at any point leaves a message
either unanswered and pending, or answered and done.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection, bindparam, select, update

from core.message import Attachment
from core.store.dialect import insert_ignore
from core.store.leases import holders
from core.store.outbox import OutboxRow
from core.store.plans import (
    ContactChange,
    FollowUpChange,
    NewFollowUp,
    NewReminder,
    change_contact,
    change_plan,
    move_to_zone,
    relay,
    set_phone,
)
from core.store.tables import (
    IS_OPEN_TASK,
    consent,
    conversation,
    inbox,
    outbox,
    patient,
    photo,
    reminder,
    staff_task,
    timer,
    transcript,
    voice_note,
)

__all__ = [
    "Completion",
    "Ended",
    "Entry",
    "FollowUpChange",
    "NewFollowUp",
    "NewReminder",
    "complete",
]


@dataclass(frozen=True, slots=True)
class Entry:
    """One transcript row, with the outbox parts that carry it to the patient (none for theirs)."""

    author: str
    kind: str
    body_sealed: bytes
    at_ms: int
    message_id: str | None = None
    verdict_sealed: bytes | None = None
    parts: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Completion:
    """Everything a turn leaves behind.

    Attributes:
        conversation_id, token: the fence; nothing is written when the token is not current.
        turn_id: names the turn in every row it leaves.
        now_ms: the present.
        done: inbox ids and how each ended (answered, handed, refused, merged, ignored).
        dead: True when these messages are given up; their state becomes ``dead``.
        last_sequence: highest platform sequence handled.
        state_sealed: new dialog state.
        entries: transcript, in order.
        release: give the lease back in the same breath.
        language, zone: what the turn learned about the patient, or None.
        consents: rows of the consent log.
        photos: rows of the photo table.
        voices: rows of the table of voice notes.
        readings: photo ids and their new sealed readings.
        tasks: rows of the staff worklist; `joins` in one is the id of an open task that says the
            same, which then stands for it.
        follow_up: a plan to start, or a change of the active one.
        reminder_done: id of the reminder this turn has handled.
        reminder_outcome: how: said, handed to staff, or passed over.
        reminder_again_ms: not handled after all: it is due again at this time.
        relay_to: conversations that get this reminder too, or instead.
        new_zone: where the patient is now; what is planned keeps its local day and hour.
        contact: a step between this chat and another one.
        phone_sealed: a number that the patient left for staff.
        timers: name and due time of delays to start; None as time cancels one.
        discard: attachments to forget once this is committed (not a row).
        patient_said: what the patient said about their open emergency tasks, for staff to see.
        follow_on: message id, sequence and sealed body of messages to handle next: parts of these
            ones that had to wait for something more urgent.
    """

    conversation_id: int
    token: str
    turn_id: str
    now_ms: int
    done: tuple[tuple[int, str], ...]
    state_sealed: bytes
    dead: bool = False
    last_sequence: int = 0
    entries: tuple[Entry, ...] = ()
    release: bool = True
    language: str | None = None
    zone: str | None = None
    consents: tuple[dict[str, Any], ...] = ()
    photos: tuple[dict[str, Any], ...] = ()
    voices: tuple[dict[str, Any], ...] = ()
    readings: tuple[tuple[int, bytes], ...] = ()
    tasks: tuple[dict[str, Any], ...] = ()
    follow_up: NewFollowUp | FollowUpChange | None = None
    reminder_done: int | None = None
    reminder_outcome: str = "said"
    reminder_again_ms: int | None = None
    relay_to: tuple[int, ...] = ()
    new_zone: str | None = None
    contact: ContactChange | None = None
    phone_sealed: bytes | None = None
    timers: tuple[tuple[str, int | None], ...] = ()
    discard: tuple[Attachment, ...] = ()
    follow_on: tuple[tuple[str, int, bytes], ...] = ()
    patient_said: str | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """How a completion went.

    Attributes:
        how: ``done`` = all of it is committed; ``lost`` = the lease is somebody else's now;
            ``stale`` = one of its messages was done already. Nothing was written for the last two.
        rows: what to send, in order.
    """

    how: Literal["done", "lost", "stale"]
    rows: tuple[OutboxRow, ...] = ()


# Made once: each turn needs them, and making one costs as much as running it.
_STILL_PENDING = select(inbox.c.id).where(
    inbox.c.id.in_(bindparam("ids", expanding=True)), inbox.c.state == "pending"
)
_FINISH_INBOX = (
    update(inbox)
    .where(inbox.c.id == bindparam("b_id"))
    .values(
        state=bindparam("b_state"),
        outcome=bindparam("b_outcome"),
        turn_id=bindparam("b_turn"),
        done_at_ms=bindparam("b_at"),
    )
)
_KEEP_STATE = (
    update(conversation)
    .where(conversation.c.id == bindparam("b_id"))
    .values(state_sealed=bindparam("b_state"), last_sequence=bindparam("b_sequence"))
)
_KEEP_STATE_AND_RELEASE = _KEEP_STATE.values(lease_token=None, lease_until_ms=0)
_CHANGE_READING = (
    update(photo)
    .where(
        photo.c.id == bindparam("b_id"),
        photo.c.conversation_id == bindparam("b_conversation"),
    )
    .values(reading_sealed=bindparam("b_reading"))
)
_NEW_ENTRY = transcript.insert().returning(transcript.c.id, sort_by_parameter_order=True)
_NEW_PART = outbox.insert().returning(outbox.c.id, sort_by_parameter_order=True)
_SET_PATIENT = update(patient).where(
    patient.c.id
    == select(conversation.c.patient_id)
    .where(conversation.c.id == bindparam("b_conversation"))
    .scalar_subquery()
)


def complete(connection: Connection, completions: Sequence[Completion]) -> list[Ended]:
    """End turns, each wholly or not at all."""
    held = holders(connection, [(c.conversation_id, c.token) for c in completions])
    waiting = set(
        connection.execute(
            _STILL_PENDING,
            {"ids": [inbox_id for c in completions for inbox_id, _ in c.done]},
        ).scalars()
    )
    verdicts: dict[int, Literal["done", "lost", "stale"]] = {}
    for c in completions:
        fresh = all(inbox_id in waiting for inbox_id, _ in c.done)
        holds = (c.conversation_id, c.token) in held
        verdicts[id(c)] = "lost" if not holds else "done" if fresh else "stale"
    mine = [c for c in completions if verdicts[id(c)] == "done"]
    if not mine:
        return [Ended(verdicts[id(c)]) for c in completions]
    _finish_inbox(connection, mine)
    _save_state(connection, mine)
    rows = _write_entries(connection, mine)
    for completion in mine:
        if completion.language or completion.zone:
            _update_patient(connection, completion)
        _change_plans(connection, completion)
    _insert(connection, consent, mine, "consents")
    _insert(connection, photo, mine, "photos")
    _insert(connection, voice_note, mine, "voices")
    _change_readings(connection, mine)
    _open_tasks(connection, mine)
    _note_on_tasks(connection, mine)
    _set_timers(connection, mine)
    _put_follow_ons(connection, mine)
    _finish_reminders(connection, mine)
    return [Ended(verdicts[id(c)], tuple(rows.get(id(c), ()))) for c in completions]


def _finish_inbox(connection: Connection, completions: Sequence[Completion]) -> None:
    connection.execute(
        _FINISH_INBOX,
        [
            {
                "b_id": inbox_id,
                "b_state": "dead" if c.dead else "done",
                "b_outcome": outcome,
                "b_turn": c.turn_id,
                "b_at": c.now_ms,
            }
            for c in completions
            for inbox_id, outcome in c.done
        ],
    )


def _change_readings(connection: Connection, completions: Sequence[Completion]) -> None:
    changes = [
        {"b_id": photo_id, "b_conversation": c.conversation_id, "b_reading": reading}
        for c in completions
        for photo_id, reading in c.readings
    ]
    if changes:
        connection.execute(_CHANGE_READING, changes)


def _save_state(connection: Connection, completions: Sequence[Completion]) -> None:
    for release, statement in ((True, _KEEP_STATE_AND_RELEASE), (False, _KEEP_STATE)):
        rows = [
            {"b_id": c.conversation_id, "b_state": c.state_sealed, "b_sequence": c.last_sequence}
            for c in completions
            if c.release is release
        ]
        if rows:
            connection.execute(statement, rows)


def _write_entries(
    connection: Connection, completions: Sequence[Completion]
) -> dict[int, list[OutboxRow]]:
    pairs = [(c, entry) for c in completions for entry in c.entries]
    written: dict[int, list[OutboxRow]] = {id(c): [] for c in completions}
    if not pairs:
        return written
    ids = connection.execute(
        _NEW_ENTRY,
        [
            {
                "conversation_id": c.conversation_id,
                "turn_id": c.turn_id,
                "author": entry.author,
                "kind": entry.kind,
                "message_id": entry.message_id,
                "at_ms": entry.at_ms,
                "body_sealed": entry.body_sealed,
                "verdict_sealed": entry.verdict_sealed,
            }
            for c, entry in pairs
        ],
    ).scalars()
    parts = [
        (c, entry.kind, transcript_id, number, body)
        for (c, entry), transcript_id in zip(pairs, ids, strict=True)
        for number, body in enumerate(entry.parts)
    ]
    if not parts:
        return written
    outbox_ids = connection.execute(
        _NEW_PART,
        [
            {
                "conversation_id": c.conversation_id,
                "transcript_id": transcript_id,
                "part": number,
                "kind": kind,
                "body_sealed": body,
                "created_at_ms": c.now_ms,
                "changed_at_ms": c.now_ms,
            }
            for c, kind, transcript_id, number, body in parts
        ],
    ).scalars()
    for (c, kind, transcript_id, number, body), row_id in zip(parts, outbox_ids, strict=True):
        written[id(c)].append(
            OutboxRow(row_id, c.conversation_id, transcript_id, number, kind, body, c.now_ms, 0, 0)
        )
    return written


def _update_patient(connection: Connection, completion: Completion) -> None:
    changes = {
        name: value
        for name, value in (("language", completion.language), ("zone", completion.zone))
        if value
    }
    connection.execute(
        _SET_PATIENT.values({name: bindparam(f"b_{name}") for name in changes}),
        {"b_conversation": completion.conversation_id}
        | {f"b_{name}": value for name, value in changes.items()},
    )


def _insert(
    connection: Connection, table: Any, completions: Sequence[Completion], name: str
) -> None:
    rows = [
        {**row, "conversation_id": c.conversation_id}
        for c in completions
        for row in getattr(c, name)
    ]
    if rows:
        connection.execute(insert_ignore(connection, table), rows)


def _open_tasks(connection: Connection, completions: Sequence[Completion]) -> None:
    rows: list[dict[str, Any]] = []
    for c in completions:
        for task in c.tasks:
            joins = task.get("joins")
            row = {name: value for name, value in task.items() if name != "joins"}
            if joins is None or not _join(connection, c, joins):
                rows.append({**row, "conversation_id": c.conversation_id})
    if rows:
        connection.execute(insert_ignore(connection, staff_task), rows)


def _join(connection: Connection, c: Completion, task_id: int) -> bool:
    """Renew an open task, so that the worklist draws it anew; False when it was closed."""
    renewed = connection.execute(
        update(staff_task)
        .where(
            staff_task.c.id == task_id,
            staff_task.c.conversation_id == c.conversation_id,
            IS_OPEN_TASK,
        )
        .values(changed_at_ms=c.now_ms)
    )
    return renewed.rowcount == 1


def _change_plans(connection: Connection, c: Completion) -> None:
    if c.new_zone is not None:
        move_to_zone(connection, c.conversation_id, c.new_zone, c.now_ms)
    if c.follow_up is not None:
        change_plan(connection, c.conversation_id, c.follow_up, c.now_ms)
    if c.contact is not None:
        change_contact(connection, c.conversation_id, c.contact, c.now_ms)
    if c.phone_sealed is not None:
        set_phone(connection, c.conversation_id, c.phone_sealed)


def _set_timers(connection: Connection, completions: Sequence[Completion]) -> None:
    for c in completions:
        for name, due_at_ms in c.timers:
            connection.execute(
                timer.delete().where(
                    timer.c.conversation_id == c.conversation_id, timer.c.name == name
                )
            )
            if due_at_ms is not None:
                connection.execute(
                    timer.insert(),
                    {"conversation_id": c.conversation_id, "name": name, "due_at_ms": due_at_ms},
                )


def _note_on_tasks(connection: Connection, completions: Sequence[Completion]) -> None:
    for c in completions:
        if c.patient_said is not None:
            connection.execute(
                update(staff_task)
                .where(
                    staff_task.c.conversation_id == c.conversation_id,
                    staff_task.c.kind == "emergency",
                    IS_OPEN_TASK,
                )
                .values(patient_said=c.patient_said, patient_said_at_ms=c.now_ms)
            )


def _put_follow_ons(connection: Connection, completions: Sequence[Completion]) -> None:
    rows = [
        {
            "conversation_id": c.conversation_id,
            "message_id": message_id,
            "sequence": sequence,
            "received_at_ms": c.now_ms,
            "body_sealed": body,
        }
        for c in completions
        for message_id, sequence, body in c.follow_on
    ]
    if rows:
        connection.execute(insert_ignore(connection, inbox), rows)


_REMINDED = (
    update(reminder)
    .where(reminder.c.id == bindparam("b_id"), reminder.c.state == "queued")
    .values(
        state="done",
        outcome=bindparam("b_outcome"),
        turn_id=bindparam("b_turn_id"),
        changed_at_ms=bindparam("b_now_ms"),
    )
)
_REMIND_AGAIN = (
    update(reminder)
    .where(reminder.c.id == bindparam("b_id"), reminder.c.state == "queued")
    .values(
        state="pending",
        due_at_ms=bindparam("b_due_at_ms"),
        wall=None,
        changed_at_ms=bindparam("b_now_ms"),
    )
)


def _finish_reminders(connection: Connection, completions: Sequence[Completion]) -> None:
    done: list[dict[str, Any]] = []
    again: list[dict[str, Any]] = []
    for c in completions:
        if c.reminder_done is None:
            continue
        relay(connection, c.reminder_done, c.relay_to, c.now_ms)
        of = {"b_id": c.reminder_done, "b_now_ms": c.now_ms}
        if c.reminder_again_ms is not None:
            again.append({**of, "b_due_at_ms": c.reminder_again_ms})
        else:
            done.append({**of, "b_outcome": c.reminder_outcome, "b_turn_id": c.turn_id})
    if done:
        connection.execute(_REMINDED, done)
    if again:
        connection.execute(_REMIND_AGAIN, again)
