"""What the console's recall list and its figures need from the store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal, Protocol

from core.followup.report import PlanRow
from core.store.recall import Outcome
from core.urgency import Urgency


@dataclass(frozen=True, slots=True)
class Said:
    """One of the last messages of a conversation."""

    author: Literal["patient", "service", "staff"]
    at_ms: int
    text: str


@dataclass(frozen=True, slots=True)
class RecallTask:
    """Somebody to call because a visit has no answer.

    Attributes:
        id: stable id; appears in forms, in no address.
        why: why it is here, a key of ``desk.*`` such as ``no_answer``.
        urgency: how soon somebody must act.
        opened_at_ms: since when it waits.
        deadline_ms: when somebody must have acted.
        patient: short opaque label such as ``P-1042``.
        channel: where the patient writes.
        plan_id: the plan it is about, or None when it has ended meanwhile.
        reason: why the visit is due, a key of ``followup.why.*``.
        due_day: when the visit is due, or None without a plan.
        visit: day, time and place that were booked, or "".
        phone: number the patient left, or "".
        messages: the last ones, oldest first.
        notes: what staff wrote so far, one line each.
        claimed_by: name of who took it, or None.
    """

    id: int
    why: str
    urgency: Urgency
    opened_at_ms: int
    deadline_ms: int
    patient: str
    channel: str
    plan_id: int | None = None
    reason: str = ""
    due_day: date | None = None
    visit: str = ""
    phone: str = ""
    messages: tuple[Said, ...] = ()
    notes: tuple[str, ...] = ()
    claimed_by: str | None = None


class Recalls(Protocol):
    """The staff's list of people to call."""

    async def open_recalls(self, *, limit: int) -> Sequence[RecallTask]:
        """Return them: past their deadline first, then the most urgent, then the soonest."""
        ...

    async def claim(self, task_id: int, *, by: int, at_ms: int) -> bool:
        """Take a task; False when somebody else has it or it is closed. Repeating is harmless."""
        ...

    async def note(
        self, task_id: int, *, by: int, name: str, words: str, at_ms: int, form_id: str = ""
    ) -> bool:
        """Add a note below the earlier ones; False when the task is closed.

        The same `form_id` again changes nothing and is True.
        """
        ...

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
        """Close a task with its outcome, which ends the plan; False when it was closed before.

        Args:
            task_id: which task.
            by: id of the member of staff.
            name: theirs, for the note.
            outcome: ``reached`` leaves the plan as it is.
            plan_id: the plan the page showed; one that has ended meanwhile stays as it is.
            day: when they were seen, or today.
            words: what was done.
            at_ms: now.
            form_id: the same one again changes nothing and is True; "" for none.
        """
        ...


class Attendance(Protocol):
    """Plans as the report counts them."""

    async def plans_due(self, first: date, last: date) -> Sequence[PlanRow]:
        """Return the plans whose visit was due from `first` to `last`, both included."""
        ...
