"""The worklist over the store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, func, select, update

from adapters.console.last_words import said
from adapters.console.ports import Counts, StaffTask, TaskKind
from core.clock import Clock
from core.delivery import TASK_DETAIL
from core.interview import wording
from core.interview.state import Assessment
from core.message import Language
from core.store.inbox import count_inbox
from core.store.recall import PHONE, last_messages
from core.store.store import Store
from core.store.tables import (
    IS_OPEN_TASK,
    conversation,
    follow_up,
    outbox,
    patient,
    staff,
    staff_task,
)
from core.texts import text
from core.triage.verdict import explain
from core.triage.verdict import from_json as verdict_from_json
from core.urgency import Urgency, staff_within_ms

NOTE = "staff_task.note"
_MOST_TASKS = 1_000
_KINDS: dict[str, TaskKind] = {
    "emergency": "emergency",
    "human": "human",
    "undelivered": "failed_delivery",
    "dead_letter": "failed_delivery",
    "follow_up": "overdue_follow_up",
}


class StaffDesk:
    """Implements `Worklist`.

    Args:
        store: where everything is.
        clock: tells which follow-ups are overdue.
        language: of the summaries.
    """

    def __init__(self, store: Store, clock: Clock, language: Language) -> None:
        self._store = store
        self._clock = clock
        self._language: Language = language

    async def open_tasks(self, *, limit: int) -> Sequence[StaffTask]:
        """Return open tasks in the order in which they should be done."""
        now_ms = self._clock.now_ms()
        rows = await self._store.read(_open_tasks, (now_ms, limit))
        return [self._task(row) for row in rows]

    async def stamp(self) -> str:
        """Return a word that changes whenever an open task does."""
        return await self._store.read(_stamp, None)

    def _task(self, row: dict[str, Any]) -> StaffTask:
        keys = self._store.keys
        detail = keys.open_json(TASK_DETAIL, row["detail_sealed"])
        why = detail.get("why") or "red_flag"
        summary = text(self._language, f"desk.{why}")
        if detail.get("flags"):
            names = [text(self._language, f"desk.flags.{flag}") for flag in detail["flags"]]
            summary = f"{summary} {'、'.join(names)}"
        if assessed := detail.get("assessment"):
            slots = Assessment.from_json(assessed).slots
            summary = f"{summary} {wording.summary(slots, self._language)}"
        if asked := detail.get("summary"):  # the model's words for what the patient wants
            summary = f"{summary} “{asked}”"
        return StaffTask(
            row["id"],
            _KINDS[row["kind"]],
            Urgency(row["urgency"]),
            row["created_at_ms"],
            # A staff chat that never wrote to us has no patient.
            f"P-{row['patient_id']}" if row["patient_id"] else "-",
            row["channel"],
            summary,
            due_at_ms=row["deadline_ms"],
            claimed_by=row["claimed_name"],
            basis=self._basis(detail),
            patient_said=row["patient_said"] or "",
            patient_said_at_ms=row["patient_said_at_ms"] or 0,
            phone=keys.open_json(PHONE, row["phone_sealed"]) if row["phone_sealed"] else "",
            messages=tuple(said(keys, message) for message in row["messages"]),
        )

    def _basis(self, detail: dict[str, Any]) -> str:
        """Return what the patient is told when they ask "why?", as the staff read it."""
        if verdict := detail.get("verdict"):
            said = explain(verdict_from_json(verdict), self._language, to="staff")
        elif assessed := detail.get("assessment"):
            said = wording.because(Assessment.from_json(assessed), self._language)
        else:
            return ""
        return said

    async def claim(self, task_id: int, *, by: int, at_ms: int) -> bool:
        """Take a task; False when somebody else has it or it is closed."""
        return await self._store.write(_claim_tasks, (task_id, by, at_ms))

    async def close(self, task_id: int, *, by: int, note: str, at_ms: int) -> bool:
        """Close a task with what was done; False for one that is closed, or is a follow-up."""
        sealed = self._store.keys.seal(NOTE, note.encode("utf-8", "replace"))
        return await self._store.write(_close_tasks, (task_id, by, sealed, at_ms))

    async def counts(self) -> Counts:
        """Return how the service is doing now."""
        return await self._store.read(_counts, self._clock.now_ms())


def _open_tasks(connection: Connection, query: tuple[int, int]) -> list[dict[str, Any]]:
    now_ms, limit = query
    rows = connection.execute(
        select(
            staff_task.c.id,
            staff_task.c.conversation_id,
            staff_task.c.kind,
            staff_task.c.urgency,
            staff_task.c.created_at_ms,
            staff_task.c.deadline_ms,
            staff_task.c.detail_sealed,
            staff_task.c.patient_said,
            staff_task.c.patient_said_at_ms,
            conversation.c.patient_id,
            conversation.c.channel,
            patient.c.phone_sealed,
            staff.c.name.label("claimed_name"),
        )
        .join(conversation, conversation.c.id == staff_task.c.conversation_id)
        .outerjoin(patient, patient.c.id == conversation.c.patient_id)
        .outerjoin(staff, staff.c.id == staff_task.c.claimed_by)
        .where(IS_OPEN_TASK)
        .order_by(staff_task.c.created_at_ms)
        .limit(_MOST_TASKS)
    ).mappings()
    tasks = sorted(map(dict, rows), key=lambda row: _order(row, now_ms))[:limit]
    for task in tasks:
        task["messages"] = last_messages(connection, task["conversation_id"])
    return tasks


def _order(row: dict[str, Any], now_ms: int) -> tuple[bool, bool, int, int]:
    """Sort what cannot wait first, then what is late, then by class, then by deadline."""
    urgency = Urgency(row["urgency"])
    due_ms = row["deadline_ms"] or row["created_at_ms"] + staff_within_ms(urgency)
    return urgency is not Urgency.IMMEDIATE, due_ms >= now_ms, urgency.rank, due_ms


def _stamp(connection: Connection, _argument: None) -> str:
    found = connection.execute(
        select(
            func.count(),
            func.max(staff_task.c.id),
            func.max(staff_task.c.changed_at_ms),
            func.max(staff_task.c.patient_said_at_ms),
            func.sum(staff_task.c.claimed_by),
        ).where(IS_OPEN_TASK)
    ).one()
    return "/".join(map(str, found))


def _claim_tasks(connection: Connection, claims: Sequence[tuple[int, int, int]]) -> list[bool]:
    results: list[bool] = []
    for task_id, by, at_ms in claims:
        changed = connection.execute(
            update(staff_task)
            .where(
                staff_task.c.id == task_id,
                (staff_task.c.state == "open")
                | ((staff_task.c.state == "claimed") & (staff_task.c.claimed_by == by)),
            )
            .values(state="claimed", claimed_by=by, changed_at_ms=at_ms, alert_due_ms=None)
        )
        results.append(changed.rowcount == 1)
    return results


def _close_tasks(
    connection: Connection, closings: Sequence[tuple[int, int, bytes, int]]
) -> list[bool]:
    results: list[bool] = []
    for task_id, by, note, at_ms in closings:
        changed = connection.execute(
            update(staff_task)
            .where(staff_task.c.id == task_id, IS_OPEN_TASK, staff_task.c.kind != "follow_up")
            .values(
                state="done",
                claimed_by=by,
                note_sealed=note,
                changed_at_ms=at_ms,
                alert_due_ms=None,
            )
        )
        results.append(changed.rowcount == 1)
    return results


def _counts(connection: Connection, now_ms: int) -> Counts:
    waiting = count_inbox(connection)
    undelivered = connection.execute(
        select(func.count()).select_from(outbox).where(outbox.c.state.in_(("dead", "unknown")))
    ).scalar_one()
    overdue = connection.execute(
        select(func.count())
        .select_from(follow_up)
        .where(follow_up.c.state == "active", follow_up.c.due_at_ms < now_ms)
    ).scalar_one()
    return Counts(waiting.pending, undelivered + waiting.dead, overdue)
