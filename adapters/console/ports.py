"""What the worklist needs from the store, as data and small Protocols; staff: `staff_ports`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from adapters.console.recall_ports import Said
from core.urgency import Urgency

TaskKind = Literal["emergency", "human", "failed_delivery", "overdue_follow_up"]


@dataclass(frozen=True, slots=True)
class StaffTask:
    """Something a person on the staff has to do.

    Attributes:
        id: stable id; appears in forms, in no address.
        kind: why it is here.
        urgency: how soon somebody must act.
        opened_at_ms: since when it waits.
        due_at_ms: when it must be done, or None.
        patient: short opaque label such as ``P-1042``; never a name or a chat id.
        channel: where the patient writes.
        summary: what it is about, in one or two sentences; may hold the patient's words.
        claimed_by: name of who took it, or None.
        basis: what an emergency rests on: the words that counted and the rules' version.
        patient_said: what the patient said about it since (``going`` …), or "".
        patient_said_at_ms: when.
        phone: number the patient left, or "".
        messages: what was said last, oldest first.
    """

    id: int
    kind: TaskKind
    urgency: Urgency
    opened_at_ms: int
    patient: str
    channel: str
    summary: str
    due_at_ms: int | None = None
    claimed_by: str | None = None
    basis: str = ""
    patient_said: str = ""
    patient_said_at_ms: int = 0
    phone: str = ""
    messages: tuple[Said, ...] = ()


@dataclass(frozen=True, slots=True)
class Counts:
    """How the service is doing.

    Attributes:
        unanswered: patients' messages that have no answer yet.
        dead_letters: messages that could not be delivered or handled and wait for a person.
        overdue_follow_ups: follow-ups past their date without an outcome.
    """

    unanswered: int
    dead_letters: int
    overdue_follow_ups: int


class Worklist(Protocol):
    """The staff's open tasks."""

    async def open_tasks(self, *, limit: int) -> Sequence[StaffTask]:
        """Return open tasks: what cannot wait, then what is late, then by class and deadline."""
        ...

    async def stamp(self) -> str:
        """Return a word that changes whenever an open task does; cheap, it is asked often."""
        ...

    async def claim(self, task_id: int, *, by: int, at_ms: int) -> bool:
        """Take a task; False when somebody else has it or it is closed. Repeating is harmless."""
        ...

    async def close(self, task_id: int, *, by: int, note: str, at_ms: int) -> bool:
        """Close a task with what was done.

        Returns:
            False when it was closed before, or is a follow-up: that one ends with an outcome, on
            the list of people to call.
        """
        ...

    async def counts(self) -> Counts:
        """Return how the service is doing now."""
        ...
