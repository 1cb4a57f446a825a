"""What the staff console needs from the store, as data and small Protocols."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from core.urgency import Urgency

TaskKind = Literal["emergency", "human", "failed_delivery", "overdue_follow_up"]


@dataclass(frozen=True, slots=True)
class Staff:
    """Someone who may use the console.

    Attributes:
        id: stable id, written beside everything they do.
        name: as shown to colleagues.
        password_hash: argon2id in its PHC string form, or "" when they cannot log in.
    """

    id: int
    name: str
    password_hash: str


@dataclass(frozen=True, slots=True)
class StaffSession:
    """A login that has not ended.

    Attributes:
        staff_id: whose.
        staff_name: as shown to colleagues.
        created_at_ms: when they logged in.
        seen_at_ms: when they were last here.
    """

    staff_id: int
    staff_name: str
    created_at_ms: int
    seen_at_ms: int


class StaffAccounts(Protocol):
    """Who may log in."""

    async def find_account(self, account: str) -> Staff | None:
        """Return the active account of this login name (compared in lower case), or None."""
        ...

    async def replace_password_hash(self, staff_id: int, password_hash: str) -> None:
        """Store the same password hashed with today's parameters."""
        ...


class StaffSessions(Protocol):
    """Logins, kept on our side so that they can be listed and revoked.

    `token_hash` is the SHA-256 of the cookie as 64 hexadecimal digits; the cookie itself is
    never stored.
    """

    async def create_session(self, token_hash: str, staff_id: int, *, at_ms: int) -> None:
        """Begin a session."""
        ...

    async def find_session(self, token_hash: str) -> StaffSession | None:
        """Return a session that was not revoked and whose staff member is still active."""
        ...

    async def touch_session(self, token_hash: str, *, at_ms: int) -> None:
        """Note that its holder is here; called at most once a minute."""
        ...

    async def revoke_session(self, token_hash: str) -> None:
        """End a session; ending it again changes nothing."""
        ...


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
        """Return open tasks, most urgent first, then the one that waits longest."""
        ...

    async def claim(self, task_id: int, *, by: int, at_ms: int) -> bool:
        """Take a task; False when somebody else has it or it is closed. Repeating is harmless."""
        ...

    async def close(self, task_id: int, *, by: int, note: str, at_ms: int) -> bool:
        """Close a task with what was done; False when it was closed before."""
        ...

    async def counts(self) -> Counts:
        """Return how the service is doing now."""
        ...
