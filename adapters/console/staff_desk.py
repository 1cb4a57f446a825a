"""The Protocols about staff over the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from adapters.console.rights import ROLES, Role
from adapters.console.staff_ports import (
    AuditLine,
    AuditRow,
    Member,
    OwnSession,
    Phone,
    Staff,
    StaffSession,
)
from core.store import phones as phone_queries
from core.store import staff as queries
from core.store.store import Store


class StaffRoll:
    """Implements `StaffAccounts`, `StaffSessions`, `Phones`, `CodeBook` and `Audit`.

    Args:
        store: where everything is.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    async def find_account(self, account: str) -> Staff | None:
        """Return the active account of this login name, or None."""
        row = await self._store.read(queries.find_account, account)
        if row is None:
            return None
        has_codes = row["code_step"] is not None
        return Staff(row["id"], row["name"], row["password_hash"], _role(row), has_codes)

    async def password_hash(self, staff_id: int) -> str:
        """Return the hash, or "" for nobody."""
        row = await self._store.read(queries.find_staff, staff_id)
        return row["password_hash"] if row else ""

    async def replace_password_hash(self, staff_id: int, password_hash: str) -> None:
        """Store the same password hashed with today's parameters."""
        await self._store.write(queries.rehash, (staff_id, password_hash))

    async def set_password(
        self, staff_id: int, password_hash: str, *, must_change: bool, keep: str = ""
    ) -> bool:
        """Set another password and end every session but `keep`."""
        change = queries.NewPassword(staff_id, password_hash, must_change, keep)
        return await self._store.write(queries.set_passwords, change)

    async def members(self) -> Sequence[Member]:
        """Return every account, active ones first."""
        return [
            Member(
                row["id"],
                row["account"],
                row["name"],
                _role(row),
                row["active"],
                row["has_codes"],
                row["must_change"],
                row["sessions"],
                row["seen_at_ms"],
            )
            for row in await self._store.read(queries.list_members, None)
        ]

    async def add_member(
        self, account: str, name: str, role: Role, password_hash: str, *, at_ms: int
    ) -> bool:
        """Create an account whose password has to be changed."""
        member = queries.NewStaff(account, name, password_hash, at_ms, role)
        return await self._store.write(queries.add_staff, member)

    async def set_role(self, staff_id: int, role: Role) -> bool:
        """Change a role."""
        return await self._store.write(queries.set_roles, (staff_id, role))

    async def set_active(self, staff_id: int, *, is_active: bool) -> bool:
        """Let somebody in again, or out."""
        return await self._store.write(queries.set_active, (staff_id, is_active))

    async def create_session(
        self,
        token_hash: str,
        staff_id: int,
        *,
        at_ms: int,
        device: str = "",
        needs_code: bool = False,
    ) -> None:
        """Begin a session."""
        row = {
            "token_hash": token_hash,
            "staff_id": staff_id,
            "created_at_ms": at_ms,
            "seen_at_ms": at_ms,
            "device": device,
            "needs_code": needs_code,
        }
        await self._store.write(queries.create_sessions, row)

    async def find_session(self, token_hash: str) -> StaffSession | None:
        """Return a session that was not revoked and whose holder is still active."""
        row = await self._store.read(queries.find_session, token_hash)
        if row is None:
            return None
        return StaffSession(
            row["id"],
            row["name"],
            row["created_at_ms"],
            row["seen_at_ms"],
            _role(row),
            row["must_change"],
            row["needs_code"],
        )

    async def touch_session(self, token_hash: str, *, at_ms: int) -> None:
        """Note that its holder is here."""
        await self._store.write(queries.touch_sessions, (token_hash, at_ms))

    async def revoke_session(self, token_hash: str) -> None:
        """End a session."""
        await self._store.write(queries.revoke_sessions, token_hash)

    async def sessions_of(self, staff_id: int) -> Sequence[OwnSession]:
        """Return somebody's sessions, the one used last first."""
        return [
            OwnSession(
                row["token_hash"][: queries.HANDLE_LENGTH],
                row["created_at_ms"],
                row["seen_at_ms"],
                row["device"],
            )
            for row in await self._store.read(queries.sessions_of, staff_id)
        ]

    async def end_sessions(self, staff_id: int, *, handle: str = "", keep: str = "") -> int:
        """End one session of this person, or all of theirs but `keep`."""
        return await self._store.write(
            queries.end_sessions, queries.EndSessions(staff_id, handle, keep)
        )

    async def trust_phone(self, token_hash: str, *, by: int, device: str, at_ms: int) -> None:
        """Let a phone keep the list of calls from now on."""
        phone = phone_queries.NewPhone(token_hash, device, by, at_ms)
        await self._store.write(phone_queries.trust_phones, phone)

    async def find_phone(self, token_hash: str, *, at_ms: int) -> int | None:
        """Return the id of a phone that is trusted at this moment, or None."""
        return await self._store.read(phone_queries.find_phone, (token_hash, at_ms))

    async def see_phone(self, phone_id: int, *, at_ms: int) -> None:
        """Note that somebody logged in there."""
        await self._store.write(phone_queries.see_phones, (phone_id, at_ms))

    async def phones(self, *, given_by: int | None, at_ms: int) -> Sequence[Phone]:
        """Return what one person, or with None anybody, trusted."""
        rows = await self._store.read(phone_queries.phones, (given_by, at_ms))
        return [
            Phone(
                row["id"],
                row["device"],
                row["given_by"],
                row["name"],
                row["given_at_ms"],
                row["seen_at_ms"],
            )
            for row in rows
        ]

    async def distrust_phone(self, phone_id: int) -> bool:
        """Take the trust back."""
        return await self._store.write(phone_queries.distrust_phones, phone_id)

    async def secret(self, staff_id: int) -> str | None:
        """Return the secret that was begun or is on, or None."""
        row = await self._store.read(queries.find_staff, staff_id)
        sealed = row["code_sealed"] if row else None
        return self._store.keys.open(queries.CODE_SECRET, sealed).decode() if sealed else None

    async def is_on(self, staff_id: int) -> bool:
        """Tell whether codes are asked for."""
        row = await self._store.read(queries.find_staff, staff_id)
        return row is not None and row["code_step"] is not None

    async def begin(self, staff_id: int, secret: str) -> None:
        """Keep a secret that is not confirmed yet."""
        sealed = self._store.keys.seal(queries.CODE_SECRET, secret.encode())
        await self._store.write(queries.begin_codes, (staff_id, sealed))

    async def use_step(self, staff_id: int, step: int) -> bool:
        """Use up a time step."""
        return await self._store.write(queries.use_steps, (staff_id, step))

    async def set_recovery(self, staff_id: int, hashes: Sequence[str]) -> None:
        """Replace the recovery codes."""
        sealed = self._store.keys.seal_json(queries.RECOVERY, list(hashes))
        await self._store.write(queries.set_recovery, (staff_id, sealed))

    async def use_recovery(self, staff_id: int, code_hash: str) -> bool:
        """Use up a recovery code."""
        use = queries.RecoveryUse(staff_id, code_hash, self._store.keys)
        return await self._store.write(queries.use_recovery, use)

    async def end(self, staff_id: int) -> None:
        """Switch codes off."""
        await self._store.write(queries.end_codes, staff_id)

    async def record(self, rows: Sequence[AuditRow]) -> None:
        """Keep audit queries."""
        await self._store.write_all(queries.record_audit, [asdict(row) for row in rows])

    async def lines(
        self, *, before: int | None, limit: int, patient_id: int | None, staff_id: int | None
    ) -> Sequence[AuditLine]:
        """Return the newest rows, newest first."""
        query = queries.AuditQuery(before, limit, patient_id, staff_id)
        return [AuditLine(**row) for row in await self._store.read(queries.audit_rows, query)]


def _role(row: Mapping[Any, Any]) -> Role:
    """Return the row's role; a word of a newer version gets the fewest rights."""
    for role in ROLES:
        if role == row["role"]:
            return role
    return "nurse"
