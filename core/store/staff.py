"""Staff accounts, their sessions and one-time codes, and the audit of what they did.

Batch functions for the writer, plain ones for readers. Who may call them is decided above.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, bindparam, func, select, update
from sqlalchemy.engine import RowMapping

from core.store.dialect import insert_ignore
from core.store.keyring import Keyring
from core.store.tables import audit, staff, staff_session

CODE_SECRET = "staff.code"  # noqa: S105 names a sealed column
RECOVERY = "staff.recovery"
# So much of a session's hash names it in a form.
HANDLE_LENGTH = 24
# The most that `console.session_hours` allows.
LONGEST_SESSION_MS = 72 * 3_600_000


@dataclass(frozen=True, slots=True)
class NewStaff:
    """A staff member to create, or whose password to set.

    Attributes:
        account: login name, in lower case.
        name: as shown to colleagues.
        password_hash: of the password.
        at_ms: now.
        role: what a new one may do; one that exists keeps theirs.
        must_change: they have to choose a password of their own.
    """

    account: str
    name: str
    password_hash: str
    at_ms: int
    role: str = "admin"
    must_change: bool = True


def set_staff(connection: Connection, members: Sequence[NewStaff]) -> list[bool]:
    """Create accounts or set their passwords; True for a new one."""
    return [_set_one(connection, member) for member in members]


def _set_one(connection: Connection, member: NewStaff) -> bool:
    changed = connection.execute(
        update(staff)
        .where(staff.c.account == member.account)
        .values(password_hash=member.password_hash, active=True, must_change=member.must_change)
    )
    return not changed.rowcount and _insert(connection, member)


def add_staff(connection: Connection, members: Sequence[NewStaff]) -> list[bool]:
    """Create accounts; False where the login name is taken, which stays as it is."""
    return [_insert(connection, member) for member in members]


def _insert(connection: Connection, member: NewStaff) -> bool:
    row = {
        "account": member.account,
        "name": member.name,
        "password_hash": member.password_hash,
        "active": True,
        "created_at_ms": member.at_ms,
        "role": member.role,
        "must_change": member.must_change,
    }
    return connection.execute(insert_ignore(connection, staff, "id"), row).scalar() is not None


def count_staff(connection: Connection, _argument: None = None) -> int:
    """Count active staff."""
    query = select(func.count()).select_from(staff).where(staff.c.active)
    return connection.execute(query).scalar_one()


def find_account(connection: Connection, account: str) -> RowMapping | None:
    """Return an active account."""
    query = select(staff).where(staff.c.account == account.lower(), staff.c.active)
    return connection.execute(query).mappings().one_or_none()


def find_staff(connection: Connection, staff_id: int) -> RowMapping | None:
    """Return an account by its id, active or not."""
    return connection.execute(select(staff).where(staff.c.id == staff_id)).mappings().one_or_none()


def list_members(connection: Connection, _argument: None = None) -> list[dict[str, Any]]:
    """Return every account with its open sessions, active ones first."""
    rows = connection.execute(
        select(
            staff.c.id,
            staff.c.account,
            staff.c.name,
            staff.c.role,
            staff.c.active,
            staff.c.must_change,
            staff.c.code_step.is_not(None).label("has_codes"),
            func.count(staff_session.c.token_hash).label("sessions"),
            func.max(staff_session.c.seen_at_ms).label("seen_at_ms"),
        )
        .outerjoin(
            staff_session, and_(staff_session.c.staff_id == staff.c.id, ~staff_session.c.needs_code)
        )
        .group_by(staff.c.id)
        .order_by(staff.c.active.desc(), staff.c.account)
    ).mappings()
    return [dict(row) for row in rows]


@dataclass(frozen=True, slots=True)
class NewPassword:
    """Another password, and the session that goes on."""

    staff_id: int
    password_hash: str
    must_change: bool
    keep: str


def rehash(connection: Connection, changes: Sequence[tuple[int, str]]) -> list[None]:
    """Store the same password hashed anew; ends no session."""
    for staff_id, password_hash in changes:
        connection.execute(
            update(staff).where(staff.c.id == staff_id).values(password_hash=password_hash)
        )
    return [None] * len(changes)


def set_passwords(connection: Connection, changes: Sequence[NewPassword]) -> list[bool]:
    """Set passwords and end the other sessions of their holders; False for nobody."""
    results: list[bool] = []
    for change in changes:
        changed = connection.execute(
            update(staff)
            .where(staff.c.id == change.staff_id)
            .values(password_hash=change.password_hash, must_change=change.must_change)
        )
        _end(connection, staff_session.c.staff_id == change.staff_id, keep=change.keep)
        results.append(changed.rowcount == 1)
    return results


def set_roles(connection: Connection, changes: Sequence[tuple[int, str]]) -> list[bool]:
    """Change roles; False for nobody, and where no active admin would be left."""
    return [
        _keeping_an_admin(connection, staff_id, stays=role == "admin", values={"role": role})
        for staff_id, role in changes
    ]


def set_active(connection: Connection, changes: Sequence[tuple[int, bool]]) -> list[bool]:
    """Let people in or out; who goes out is logged out at once."""
    results: list[bool] = []
    for staff_id, is_active in changes:
        done = _keeping_an_admin(
            connection, staff_id, stays=is_active, values={"active": is_active}
        )
        if done and not is_active:
            _end(connection, staff_session.c.staff_id == staff_id)
        results.append(done)
    return results


def _keeping_an_admin(
    connection: Connection, staff_id: int, *, stays: bool, values: dict[str, Any]
) -> bool:
    admins = connection.execute(
        select(staff.c.id).where(staff.c.role == "admin", staff.c.active).with_for_update()
    ).scalars()
    if not stays and set(admins) == {staff_id}:
        return False
    changed = connection.execute(update(staff).where(staff.c.id == staff_id).values(**values))
    return changed.rowcount == 1


def find_session(connection: Connection, token_hash: str) -> RowMapping | None:
    """Return a session with its holder, when they are active."""
    return (
        connection.execute(
            select(
                staff.c.id,
                staff.c.name,
                staff.c.role,
                staff.c.must_change,
                staff_session.c.created_at_ms,
                staff_session.c.seen_at_ms,
                staff_session.c.needs_code,
            )
            .join(staff, staff.c.id == staff_session.c.staff_id)
            .where(staff_session.c.token_hash == token_hash, staff.c.active)
        )
        .mappings()
        .one_or_none()
    )


def create_sessions(connection: Connection, rows: Sequence[dict[str, Any]]) -> list[None]:
    """Begin sessions, and forget those that ended long ago because nobody came back to them."""
    over_ms = max(row["created_at_ms"] for row in rows) - LONGEST_SESSION_MS
    connection.execute(staff_session.delete().where(staff_session.c.created_at_ms < over_ms))
    connection.execute(staff_session.insert(), list(rows))
    return [None] * len(rows)


def touch_sessions(connection: Connection, touches: Sequence[tuple[str, int]]) -> list[None]:
    """Note that their holders are here."""
    connection.execute(
        update(staff_session)
        .where(staff_session.c.token_hash == bindparam("b_hash"))
        .values(seen_at_ms=bindparam("b_at")),
        [{"b_hash": token_hash, "b_at": at_ms} for token_hash, at_ms in touches],
    )
    return [None] * len(touches)


def revoke_sessions(connection: Connection, hashes: Sequence[str]) -> list[None]:
    """End sessions by their hash."""
    connection.execute(staff_session.delete().where(staff_session.c.token_hash.in_(hashes)))
    return [None] * len(hashes)


def sessions_of(connection: Connection, staff_id: int) -> list[RowMapping]:
    """Return somebody's full sessions, the one used last first."""
    query = (
        select(staff_session)
        .where(staff_session.c.staff_id == staff_id, ~staff_session.c.needs_code)
        .order_by(staff_session.c.seen_at_ms.desc())
    )
    return list(connection.execute(query).mappings())


@dataclass(frozen=True, slots=True)
class EndSessions:
    """Which sessions of one person end: the one `handle` names, or all but `keep`."""

    staff_id: int
    handle: str
    keep: str


def end_sessions(connection: Connection, wishes: Sequence[EndSessions]) -> list[int]:
    """End sessions; a handle that belongs to somebody else ends nothing. Returns how many."""
    results: list[int] = []
    for wish in wishes:
        which = staff_session.c.staff_id == wish.staff_id
        if wish.handle:
            named = func.substr(staff_session.c.token_hash, 1, HANDLE_LENGTH) == wish.handle
            which = and_(which, named)
        results.append(_end(connection, which, keep=wish.keep))
    return results


def _end(connection: Connection, which: ColumnElement[bool], *, keep: str = "") -> int:
    gone = staff_session.delete().where(which, staff_session.c.token_hash != keep)
    return connection.execute(gone).rowcount


def begin_codes(connection: Connection, wishes: Sequence[tuple[int, bytes]]) -> list[None]:
    """Keep secrets that wait for their first code; a secret that is on stays."""
    for staff_id, sealed in wishes:
        connection.execute(
            update(staff)
            .where(staff.c.id == staff_id, staff.c.code_step.is_(None))
            .values(code_sealed=sealed)
        )
    return [None] * len(wishes)


def use_steps(connection: Connection, uses: Sequence[tuple[int, int]]) -> list[bool]:
    """Use up time steps, each once and only forward; the first one switches codes on."""
    results: list[bool] = []
    for staff_id, step in uses:
        used = connection.execute(
            update(staff)
            .where(
                staff.c.id == staff_id,
                staff.c.code_sealed.is_not(None),
                (staff.c.code_step < step) | staff.c.code_step.is_(None),
            )
            .values(code_step=step)
        )
        results.append(used.rowcount == 1)
    return results


def set_recovery(connection: Connection, changes: Sequence[tuple[int, bytes]]) -> list[None]:
    """Replace recovery codes."""
    for staff_id, sealed in changes:
        connection.execute(
            update(staff).where(staff.c.id == staff_id).values(recovery_sealed=sealed)
        )
    return [None] * len(changes)


@dataclass(frozen=True, slots=True)
class RecoveryUse:
    """The wish to use a recovery code; they are sealed, so the keyring comes along."""

    staff_id: int
    code_hash: str
    keys: Keyring


def use_recovery(connection: Connection, uses: Sequence[RecoveryUse]) -> list[bool]:
    """Use up recovery codes, each once."""
    return [_use_recovery(connection, use) for use in uses]


def _use_recovery(connection: Connection, use: RecoveryUse) -> bool:
    sealed = connection.execute(
        select(staff.c.recovery_sealed).where(staff.c.id == use.staff_id).with_for_update()
    ).scalar_one_or_none()
    left: list[str] = use.keys.open_json(RECOVERY, sealed) if sealed else []
    if use.code_hash not in left:
        return False
    left.remove(use.code_hash)
    connection.execute(
        update(staff)
        .where(staff.c.id == use.staff_id)
        .values(recovery_sealed=use.keys.seal_json(RECOVERY, left))
    )
    return True


def end_codes(connection: Connection, staff_ids: Sequence[int]) -> list[None]:
    """Switch codes off."""
    connection.execute(
        update(staff)
        .where(staff.c.id.in_(staff_ids))
        .values(code_sealed=None, code_step=None, recovery_sealed=None)
    )
    return [None] * len(staff_ids)


def record_audit(connection: Connection, rows: Sequence[dict[str, Any]]) -> list[None]:
    """Keep audit rows."""
    connection.execute(audit.insert(), list(rows))
    return [None] * len(rows)


@dataclass(frozen=True, slots=True)
class AuditQuery:
    """Which rows to show; None leaves a column open."""

    before: int | None
    limit: int
    patient_id: int | None
    staff_id: int | None


def audit_rows(connection: Connection, query: AuditQuery) -> list[RowMapping]:
    """Return the newest audit rows, newest first, with who it was."""
    wanted = select(
        audit.c.id,
        audit.c.at_ms,
        func.coalesce(staff.c.name, "").label("name"),
        audit.c.what,
        audit.c.patient_id,
        audit.c.subject,
    ).outerjoin(staff, staff.c.id == audit.c.staff_id)
    if query.before is not None:
        wanted = wanted.where(audit.c.id < query.before)
    if query.patient_id is not None:
        wanted = wanted.where(audit.c.patient_id == query.patient_id)
    if query.staff_id is not None:
        wanted = wanted.where(audit.c.staff_id == query.staff_id)
    wanted = wanted.order_by(audit.c.id.desc()).limit(query.limit)
    return list(connection.execute(wanted).mappings())
