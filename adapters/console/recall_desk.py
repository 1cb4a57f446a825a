"""The recall list and its figures over the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from adapters.console.desk import StaffDesk
from adapters.console.last_words import said
from adapters.console.recall_ports import RecallTask
from core.clock import Clock
from core.delivery import TASK_DETAIL
from core.followup.report import PlanRow
from core.store.attendance import Period, plans_due
from core.store.recall import (
    NOTE,
    PHONE,
    PLACE,
    Closing,
    Note,
    Outcome,
    add_notes,
    close_recalls,
    recall_tasks,
)
from core.store.store import Store
from core.urgency import Urgency

_HOUR_MS = 3_600_000
# Where the task itself has no deadline: the clinical specification §4 has a person call within
# two hours, a day, or by the fifth day.
_HOURS_TO_ACT = {Urgency.IMMEDIATE: 2, Urgency.SAME_DAY: 24, Urgency.WITHIN_48_H: 48}
_OTHERWISE_HOURS = 5 * 24


class RecallDesk:
    """Implements `Recalls` and `Attendance`.

    Args:
        store: where everything is.
        clock: tells which tasks are past their deadline.
        desk: takes tasks, as on the list of today.
        zone: IANA zone of the times written into notes.
    """

    def __init__(self, store: Store, clock: Clock, desk: StaffDesk, zone: str) -> None:
        self._store = store
        self._clock = clock
        self._desk = desk
        self._zone = ZoneInfo(zone)

    async def open_recalls(self, *, limit: int) -> Sequence[RecallTask]:
        """Return them: past their deadline first, then the most urgent, then the soonest."""
        tasks = [self._task(row) for row in await self._store.read(recall_tasks, None)]
        return in_order(tasks, self._clock.now_ms())[:limit]

    def _task(self, row: dict[str, Any]) -> RecallTask:
        keys = self._store.keys
        detail = keys.open_json(TASK_DETAIL, row["detail_sealed"])
        urgency = Urgency(row["urgency"])
        notes = keys.open(NOTE, row["note_sealed"]).decode() if row["note_sealed"] else ""
        return RecallTask(
            row["id"],
            detail.get("why") or "no_answer",
            urgency,
            row["created_at_ms"],
            deadline_ms(row),
            f"P-{row['patient_id']}" if row["patient_id"] else "-",
            row["channel"],
            plan_id=row["plan_id"],
            reason=row["reason"] or "",
            due_day=_due_day(row),
            visit=self._visit(row),
            phone=keys.open_json(PHONE, row["phone_sealed"]) if row["phone_sealed"] else "",
            messages=tuple(said(keys, message) for message in row["messages"]),
            notes=tuple(notes.splitlines()),
            claimed_by=row["claimed_name"],
        )

    def _visit(self, row: dict[str, Any]) -> str:
        place = row["place_sealed"]
        known = self._store.keys.open_json(PLACE, place) if place else None
        parts = (row["visit_day"], row["visit_time"], known)
        return " ".join(str(part) for part in parts if part)

    async def claim(self, task_id: int, *, by: int, at_ms: int) -> bool:
        """Take a task; False when somebody else has it or it is closed."""
        return await self._desk.claim(task_id, by=by, at_ms=at_ms)

    async def note(
        self, task_id: int, *, by: int, name: str, words: str, at_ms: int, form_id: str = ""
    ) -> bool:
        """Add a note below the earlier ones; False when the task is closed."""
        return await self._store.write(
            add_notes, self._line(task_id, by, name, words, at_ms, form_id)
        )

    async def finish(
        self,
        task_id: int,
        *,
        by: int,
        name: str,
        outcome: Outcome,
        plan_id: int | None,
        day: date,
        words: str,
        at_ms: int,
        form_id: str = "",
    ) -> bool:
        """Close a task with its outcome, which ends the plan; False when it was closed before."""
        note = self._line(task_id, by, name, f"[{outcome}] {words}".strip(), at_ms, form_id)
        closing = Closing(note, outcome, plan_id, day, words)
        return await self._store.write(close_recalls, closing)

    def _line(self, task_id: int, by: int, name: str, words: str, at_ms: int, form_id: str) -> Note:
        at = datetime.fromtimestamp(at_ms / 1000, self._zone)
        line = f"{at:%Y-%m-%d %H:%M} {name}: {' '.join(words.split())}"
        return Note(task_id, by, line, at_ms, self._store.keys, form_id)

    async def plans_due(self, first: date, last: date) -> Sequence[PlanRow]:
        """Return the plans whose visit was due in these days."""
        return await self._store.read(plans_due, Period(first, last))


def deadline_ms(row: Mapping[str, Any]) -> int:
    """Return when somebody must have acted on a task."""
    hours = _HOURS_TO_ACT.get(Urgency(row["urgency"]), _OTHERWISE_HOURS)
    return row["deadline_ms"] or row["created_at_ms"] + hours * _HOUR_MS


def in_order(tasks: Sequence[RecallTask], now_ms: int) -> list[RecallTask]:
    """Return tasks as they should be done: what is late rises above everything else."""
    return sorted(tasks, key=lambda t: (t.deadline_ms >= now_ms, t.urgency.rank, t.deadline_ms))


def _due_day(row: dict[str, Any]) -> date | None:
    if row["plan_id"] is None:
        return None
    if row["due_day"]:
        return date.fromisoformat(row["due_day"])
    return datetime.fromtimestamp(row["due_at_ms"] / 1000, ZoneInfo(row["zone"])).date()
