"""What the pages about staff need from the store: accounts, sessions, one-time codes, the audit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from adapters.console.rights import Role


@dataclass(frozen=True, slots=True)
class Staff:
    """Someone who may use the console.

    Attributes:
        id: stable id, written beside everything they do.
        name: as shown to colleagues.
        password_hash: argon2id in its PHC string form, or "" when they cannot log in.
        role: what they may do.
        has_codes: a password alone does not let them in.
    """

    id: int
    name: str
    password_hash: str
    role: Role = "nurse"
    has_codes: bool = False


@dataclass(frozen=True, slots=True)
class StaffSession:
    """A login that has not ended.

    Attributes:
        staff_id: whose.
        staff_name: as shown to colleagues.
        created_at_ms: when they logged in.
        seen_at_ms: when they were last here.
        role: what they may do now.
        must_change: they have to choose a password of their own first.
        needs_code: the one-time code is still to come, so this opens nothing yet.
    """

    staff_id: int
    staff_name: str
    created_at_ms: int
    seen_at_ms: int
    role: Role = "nurse"
    must_change: bool = False
    needs_code: bool = False


@dataclass(frozen=True, slots=True)
class OwnSession:
    """A session as its holder sees it in the list; `handle` names it in forms, opens nothing."""

    handle: str
    created_at_ms: int
    seen_at_ms: int
    device: str


@dataclass(frozen=True, slots=True)
class Phone:
    """A phone that may keep the list of calls for when there is no line.

    Attributes:
        id: stable id; appears in forms.
        device: system and browser in a word each.
        given_by: id of who trusted it.
        name: theirs.
        given_at_ms: when.
        seen_at_ms: when somebody last logged in there.
    """

    id: int
    device: str
    given_by: int
    name: str
    given_at_ms: int
    seen_at_ms: int


@dataclass(frozen=True, slots=True)
class Member:
    """An account as an admin sees it.

    Attributes:
        id: stable id.
        account: login name.
        name: as shown to colleagues.
        role: what they may do.
        is_active: whether they may log in.
        has_codes: one-time codes are on.
        must_change: the password is one an admin gave them.
        sessions: logins that have not ended.
        seen_at_ms: when they were last here, or None.
    """

    id: int
    account: str
    name: str
    role: Role
    is_active: bool
    has_codes: bool
    must_change: bool
    sessions: int
    seen_at_ms: int | None


class StaffAccounts(Protocol):
    """Who may log in."""

    async def find_account(self, account: str) -> Staff | None:
        """Return the active account of this login name (compared in lower case), or None."""
        ...

    async def password_hash(self, staff_id: int) -> str:
        """Return the hash, to ask for the password once more before something that matters."""
        ...

    async def replace_password_hash(self, staff_id: int, password_hash: str) -> None:
        """Store the same password hashed with today's parameters."""
        ...

    async def set_password(
        self, staff_id: int, password_hash: str, *, must_change: bool, keep: str = ""
    ) -> bool:
        """Set another password and end every session but `keep` (a token hash); False = no one."""
        ...

    async def members(self) -> Sequence[Member]:
        """Return every account, active ones first."""
        ...

    async def add_member(
        self, account: str, name: str, role: Role, password_hash: str, *, at_ms: int
    ) -> bool:
        """Create an account whose password has to be changed; False when the name is taken."""
        ...

    async def set_role(self, staff_id: int, role: Role) -> bool:
        """Change a role; False for nobody, and where no admin would be left."""
        ...

    async def set_active(self, staff_id: int, *, is_active: bool) -> bool:
        """Let somebody in again, or out and end their sessions; False as for `set_role`."""
        ...


class StaffSessions(Protocol):
    """Logins, kept on our side so that they can be listed and revoked.

    `token_hash` is the SHA-256 of the cookie as 64 hexadecimal digits; the cookie itself is
    never stored.
    """

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

    async def sessions_of(self, staff_id: int) -> Sequence[OwnSession]:
        """Return somebody's sessions, the one used last first."""
        ...

    async def end_sessions(self, staff_id: int, *, handle: str = "", keep: str = "") -> int:
        """End the session `handle` of this person, or all of theirs but `keep`; returns how many.

        A handle of somebody else's session ends nothing.
        """
        ...


class Phones(Protocol):
    """Phones of the clinic, known by the SHA-256 of a cookie of their own."""

    async def trust_phone(self, token_hash: str, *, by: int, device: str, at_ms: int) -> None:
        """Let a phone keep the list of calls from now on."""
        ...

    async def find_phone(self, token_hash: str, *, at_ms: int) -> int | None:
        """Return the id of a phone that is trusted at this moment, or None."""
        ...

    async def see_phone(self, phone_id: int, *, at_ms: int) -> None:
        """Note that somebody logged in there."""
        ...

    async def phones(self, *, given_by: int | None, at_ms: int) -> Sequence[Phone]:
        """Return what one person, or with None anybody, trusted; the one used last first."""
        ...

    async def distrust_phone(self, phone_id: int) -> bool:
        """Take the trust back; False where there was none. The phone hears of it when it asks."""
        ...


class Doors(StaffSessions, Phones, Protocol):
    """Who comes in, and on which phone."""


class CodeBook(Protocol):
    """Secrets of one-time codes, sealed at rest."""

    async def secret(self, staff_id: int) -> str | None:
        """Return the secret that was begun or is on, or None."""
        ...

    async def is_on(self, staff_id: int) -> bool:
        """Tell whether codes are asked for."""
        ...

    async def begin(self, staff_id: int, secret: str) -> None:
        """Keep a secret that is not confirmed yet; changes nothing once codes are on."""
        ...

    async def use_step(self, staff_id: int, step: int) -> bool:
        """Use up a time step, which also switches codes on; False when it was used before."""
        ...

    async def set_recovery(self, staff_id: int, hashes: Sequence[str]) -> None:
        """Replace the recovery codes."""
        ...

    async def use_recovery(self, staff_id: int, code_hash: str) -> bool:
        """Use up a recovery code; False when there is no such code any more."""
        ...

    async def end(self, staff_id: int) -> None:
        """Switch codes off and forget secret and recovery codes."""
        ...


@dataclass(frozen=True, slots=True)
class AuditRow:
    """Something that somebody did or saw.

    Attributes:
        at_ms: when.
        staff_id: who, or None where nobody was logged in.
        what: a word, key of ``staff.audit.*``.
        patient_id: whose data, or None.
        subject: which account or setting, or "".
    """

    at_ms: int
    staff_id: int | None
    what: str
    patient_id: int | None = None
    subject: str = ""


@dataclass(frozen=True, slots=True)
class AuditLine:
    """A row as it is shown; `id` is the cursor of the next page."""

    id: int
    at_ms: int
    name: str
    what: str
    patient_id: int | None
    subject: str


class Audit(Protocol):
    """Who did or saw what."""

    async def record(self, rows: Sequence[AuditRow]) -> None:
        """Keep rows; returns once they are committed."""
        ...

    async def lines(
        self, *, before: int | None, limit: int, patient_id: int | None, staff_id: int | None
    ) -> Sequence[AuditLine]:
        """Return the newest rows with an id below `before`, newest first."""
        ...
