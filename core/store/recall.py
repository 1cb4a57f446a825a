"""Recall: follow-up tasks for staff with what they need to call, and what came of the call.

What a patient is left to, a person decides; here it is only written down. An outcome ends the
plan that the page showed, and its reminders with it, in one transaction with the task.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

from sqlalchemy import Connection, delete, select, update

from core.store.dialect import insert_ignore
from core.store.keyring import Keyring
from core.store.tables import (
    IS_OPEN_TASK,
    conversation,
    follow_up,
    patient,
    reminder,
    staff,
    staff_form,
    staff_task,
    transcript,
)

Outcome = Literal["reached", "seen", "refused", "moved", "unreachable", "died"]
OUTCOMES: tuple[Outcome, ...] = ("reached", "seen", "refused", "moved", "unreachable", "died")

NOTE = "staff_task.note"
PHONE = "patient.phone"
PLACE = "follow_up.place"
PLAN_OUTCOME = "follow_up.outcome"

_LAST_MESSAGES = 4
_MOST_TASKS = 500
# Longer than a phone keeps what it could not post.
_FORMS_KNOWN_MS = 30 * 86_400_000


def recall_tasks(connection: Connection, _argument: None = None) -> list[dict[str, Any]]:
    """Return open follow-up tasks with their plan, phone and last messages, still sealed."""
    plan = follow_up.alias("plan")
    active = (
        select(plan.c.id)
        .where(plan.c.conversation_id == staff_task.c.conversation_id, plan.c.state == "active")
        .order_by(plan.c.id.desc())
        .limit(1)
        .correlate(staff_task)
        .scalar_subquery()
    )
    query = (
        select(
            staff_task.c.id,
            staff_task.c.conversation_id,
            staff_task.c.urgency,
            staff_task.c.created_at_ms,
            staff_task.c.deadline_ms,
            staff_task.c.detail_sealed,
            staff_task.c.note_sealed,
            conversation.c.patient_id,
            conversation.c.channel,
            patient.c.phone_sealed,
            staff.c.name.label("claimed_name"),
            follow_up.c.id.label("plan_id"),
            follow_up.c.reason,
            follow_up.c.urgency.label("plan_urgency"),
            follow_up.c.due_at_ms,
            follow_up.c.zone,
            follow_up.c.due_day,
            follow_up.c.visit_day,
            follow_up.c.visit_time,
            follow_up.c.place_sealed,
        )
        .join(conversation, conversation.c.id == staff_task.c.conversation_id)
        .outerjoin(patient, patient.c.id == conversation.c.patient_id)
        .outerjoin(staff, staff.c.id == staff_task.c.claimed_by)
        .outerjoin(follow_up, follow_up.c.id == active)
        .where(IS_OPEN_TASK, staff_task.c.kind == "follow_up")
        .order_by(staff_task.c.created_at_ms)
        .limit(_MOST_TASKS)
    )
    tasks = [dict(row) for row in connection.execute(query).mappings()]
    for task in tasks:
        task["messages"] = last_messages(connection, task["conversation_id"])
    return tasks


def last_messages(connection: Connection, conversation_id: int) -> list[dict[str, Any]]:
    """Return the last four entries of a conversation, still sealed, oldest first."""
    rows = connection.execute(
        select(transcript.c.author, transcript.c.at_ms, transcript.c.body_sealed)
        .where(transcript.c.conversation_id == conversation_id)
        .order_by(transcript.c.id.desc())
        .limit(_LAST_MESSAGES)
    ).mappings()
    return [dict(row) for row in reversed(rows.all())]


@dataclass(frozen=True, slots=True)
class Note:
    """Something a member of staff wrote on a task; earlier notes stay above it.

    Attributes:
        task_id: which task.
        by: id of the member of staff.
        line: what they wrote, with when and who.
        at_ms: when.
        keys: the keyring; notes are sealed.
        form_id: names the form it came with, so that the same one counts once; "" for none.
    """

    task_id: int
    by: int
    line: str
    at_ms: int
    keys: Keyring
    form_id: str = ""


@dataclass(frozen=True, slots=True)
class Closing:
    """The end of a recall task.

    Attributes:
        note: what was done.
        outcome: what came of it; ``reached`` leaves the plan as it is.
        plan_id: the plan the page showed, or None; one that has ended meanwhile stays as it is.
        day: when they were seen, or the day of the outcome.
        what: in words, sealed with the plan.
    """

    note: Note
    outcome: Outcome
    plan_id: int | None
    day: date
    what: str


def add_notes(connection: Connection, notes: Sequence[Note]) -> list[bool]:
    """Write notes on open tasks; False where the task is closed. Noting takes no task away.

    A form that was taken before is True again, and changes nothing.
    """
    return [_append(connection, note, {}) for note in notes]


def close_recalls(connection: Connection, closings: Sequence[Closing]) -> list[bool]:
    """Close tasks and end their plans; False where the task was closed before.

    By the same form it was not "before": True, and nothing changes.
    """
    return [_close(connection, closing) for closing in closings]


def _append(connection: Connection, note: Note, changes: dict[str, Any]) -> bool:
    row = connection.execute(
        select(staff_task.c.note_sealed)
        .where(staff_task.c.id == note.task_id, staff_task.c.kind == "follow_up", IS_OPEN_TASK)
        .with_for_update()
    ).one_or_none()
    if _is_known(connection, note.form_id):
        return True
    if row is None:
        return False
    before = note.keys.open(NOTE, row.note_sealed).decode() + "\n" if row.note_sealed else ""
    sealed = note.keys.seal(NOTE, (before + note.line).encode("utf-8", "replace"))
    connection.execute(
        update(staff_task)
        .where(staff_task.c.id == note.task_id)
        .values(note_sealed=sealed, changed_at_ms=note.at_ms, **changes)
    )
    if note.form_id:
        _remember(connection, note)
    return True


def _is_known(connection: Connection, form_id: str) -> bool:
    known = select(staff_form.c.form_id).where(staff_form.c.form_id == form_id)
    return bool(form_id) and connection.execute(known).first() is not None


def _remember(connection: Connection, note: Note) -> None:
    connection.execute(delete(staff_form).where(staff_form.c.at_ms < note.at_ms - _FORMS_KNOWN_MS))
    connection.execute(
        insert_ignore(connection, staff_form), [{"form_id": note.form_id, "at_ms": note.at_ms}]
    )


def _close(connection: Connection, closing: Closing) -> bool:
    note = closing.note
    done = {"state": "done", "claimed_by": note.by, "alert_due_ms": None}
    if not _append(connection, note, done):
        return False
    if closing.outcome == "reached" or closing.plan_id is None:
        return True
    owner = select(staff_task.c.conversation_id).where(staff_task.c.id == note.task_id)
    ended = connection.execute(
        update(follow_up)
        .where(
            follow_up.c.id == closing.plan_id,
            follow_up.c.conversation_id == owner.scalar_subquery(),
            follow_up.c.state == "active",
        )
        .values(
            state=closing.outcome,
            outcome_day=closing.day.isoformat(),
            outcome_by="staff",
            outcome_sealed=note.keys.seal_json(PLAN_OUTCOME, {"said": closing.what}),
            changed_at_ms=note.at_ms,
        )
    )
    if ended.rowcount:
        connection.execute(
            update(reminder)
            .where(
                reminder.c.follow_up_id == closing.plan_id,
                reminder.c.state.in_(("pending", "queued")),
            )
            .values(state="cancelled", changed_at_ms=note.at_ms)
        )
    return True
