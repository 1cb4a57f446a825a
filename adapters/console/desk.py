"""The console's Protocols over the store: staff, sessions and the worklist."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, func, select, update

from adapters.console.ports import Counts, Staff, StaffSession, StaffTask, TaskKind
from core.clock import Clock
from core.delivery import TASK_DETAIL
from core.interview import wording
from core.interview.state import Assessment
from core.message import Language
from core.store.inbox import count_inbox
from core.store.store import Store
from core.store.tables import (
    conversation,
    follow_up,
    outbox,
    staff,
    staff_session,
    staff_task,
)
from core.texts import text
from core.triage.verdict import explain
from core.triage.verdict import from_json as verdict_from_json
from core.urgency import Urgency

NOTE = "staff_task.note"
_KINDS: dict[str, TaskKind] = {
    "emergency": "emergency",
    "human": "human",
    "undelivered": "failed_delivery",
    "dead_letter": "failed_delivery",
    "follow_up": "overdue_follow_up",
}


@dataclass(frozen=True, slots=True)
class NewStaff:
    """A staff member to create, or whose password to set."""

    account: str
    name: str
    password_hash: str
    at_ms: int


def set_staff(connection: Connection, members: Sequence[NewStaff]) -> list[bool]:
    """Create accounts or set their passwords; True for a new one."""
    return [_set_one(connection, member) for member in members]


def _set_one(connection: Connection, member: NewStaff) -> bool:
    changed = connection.execute(
        update(staff)
        .where(staff.c.account == member.account)
        .values(password_hash=member.password_hash, active=True)
    )
    if changed.rowcount:
        return False
    connection.execute(
        staff.insert(),
        {
            "account": member.account,
            "name": member.name,
            "password_hash": member.password_hash,
            "active": True,
            "created_at_ms": member.at_ms,
        },
    )
    return True


def count_staff(connection: Connection, _argument: None = None) -> int:
    """Count active staff."""
    query = select(func.count()).select_from(staff).where(staff.c.active)
    return connection.execute(query).scalar_one()


def _find_account(connection: Connection, account: str) -> Staff | None:
    row = connection.execute(
        select(staff.c.id, staff.c.name, staff.c.password_hash).where(
            staff.c.account == account.lower(), staff.c.active
        )
    ).one_or_none()
    return Staff(*row) if row else None


def _find_session(connection: Connection, token_hash: str) -> StaffSession | None:
    row = connection.execute(
        select(staff.c.id, staff.c.name, staff_session.c.created_at_ms, staff_session.c.seen_at_ms)
        .join(staff, staff.c.id == staff_session.c.staff_id)
        .where(staff_session.c.token_hash == token_hash, staff.c.active)
    ).one_or_none()
    return StaffSession(*row) if row else None


def _set_hash(connection: Connection, changes: Sequence[tuple[int, str]]) -> list[None]:
    for staff_id, password_hash in changes:
        connection.execute(
            update(staff).where(staff.c.id == staff_id).values(password_hash=password_hash)
        )
    return [None] * len(changes)


def _create_sessions(connection: Connection, rows: Sequence[dict[str, Any]]) -> list[None]:
    connection.execute(staff_session.insert(), list(rows))
    return [None] * len(rows)


def _touch_sessions(connection: Connection, touches: Sequence[tuple[str, int]]) -> list[None]:
    connection.execute(
        update(staff_session)
        .where(staff_session.c.token_hash == bindparam("b_hash"))
        .values(seen_at_ms=bindparam("b_at")),
        [{"b_hash": token_hash, "b_at": at_ms} for token_hash, at_ms in touches],
    )
    return [None] * len(touches)


def _revoke_sessions(connection: Connection, hashes: Sequence[str]) -> list[None]:
    connection.execute(staff_session.delete().where(staff_session.c.token_hash.in_(hashes)))
    return [None] * len(hashes)


class StaffDesk:
    """Implements `StaffAccounts`, `StaffSessions` and `Worklist`.

    Args:
        store: where everything is.
        clock: tells which follow-ups are overdue.
        language: of the summaries.
    """

    def __init__(self, store: Store, clock: Clock, language: Language) -> None:
        self._store = store
        self._clock = clock
        self._language: Language = language

    async def find_account(self, account: str) -> Staff | None:
        """Return the active account of this login name, or None."""
        return await self._store.read(_find_account, account)

    async def replace_password_hash(self, staff_id: int, password_hash: str) -> None:
        """Store the same password hashed with today's parameters."""
        await self._store.write(_set_hash, (staff_id, password_hash))

    async def create_session(self, token_hash: str, staff_id: int, *, at_ms: int) -> None:
        """Begin a session."""
        row = {
            "token_hash": token_hash,
            "staff_id": staff_id,
            "created_at_ms": at_ms,
            "seen_at_ms": at_ms,
        }
        await self._store.write(_create_sessions, row)

    async def find_session(self, token_hash: str) -> StaffSession | None:
        """Return a session that was not revoked and whose holder is still active."""
        return await self._store.read(_find_session, token_hash)

    async def touch_session(self, token_hash: str, *, at_ms: int) -> None:
        """Note that its holder is here."""
        await self._store.write(_touch_sessions, (token_hash, at_ms))

    async def revoke_session(self, token_hash: str) -> None:
        """End a session."""
        await self._store.write(_revoke_sessions, token_hash)

    async def open_tasks(self, *, limit: int) -> Sequence[StaffTask]:
        """Return open tasks, most urgent first, then the one that waits longest."""
        rows = await self._store.read(_open_tasks, None)
        tasks = [self._task(row) for row in rows]
        tasks.sort(key=lambda task: (task.urgency.rank, task.opened_at_ms))
        return tasks[:limit]

    def _task(self, row: dict[str, Any]) -> StaffTask:
        detail = self._store.keys.open_json(TASK_DETAIL, row["detail_sealed"])
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
            claimed_by=row["claimed_name"],
            basis=self._basis(detail),
            patient_said=row["patient_said"] or "",
            patient_said_at_ms=row["patient_said_at_ms"] or 0,
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
        """Close a task with what was done; False when it was closed before."""
        sealed = self._store.keys.seal(NOTE, note.encode("utf-8", "replace"))
        return await self._store.write(_close_tasks, (task_id, by, sealed, at_ms))

    async def counts(self) -> Counts:
        """Return how the service is doing now."""
        return await self._store.read(_counts, self._clock.now_ms())


def _open_tasks(connection: Connection, _argument: None) -> list[dict[str, Any]]:
    rows = connection.execute(
        select(
            staff_task.c.id,
            staff_task.c.kind,
            staff_task.c.urgency,
            staff_task.c.created_at_ms,
            staff_task.c.detail_sealed,
            staff_task.c.patient_said,
            staff_task.c.patient_said_at_ms,
            conversation.c.patient_id,
            conversation.c.channel,
            staff.c.name.label("claimed_name"),
        )
        .join(conversation, conversation.c.id == staff_task.c.conversation_id)
        .outerjoin(staff, staff.c.id == staff_task.c.claimed_by)
        .where(staff_task.c.state != "done")
        .order_by(staff_task.c.created_at_ms)
        .limit(1_000)
    ).mappings()
    return [dict(row) for row in rows]


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
            .where(staff_task.c.id == task_id, staff_task.c.state != "done")
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
