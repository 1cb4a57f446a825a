"""Who is connected, and what their last message allows: the rows of `ilink_login` and
`ilink_context`. Every writing function is a batch function (see `core.store.writer`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Connection, delete, or_, select, update

from core.store.dialect import insert_ignore
from core.store.keyring import Keyring
from core.store.tables import ilink_context, ilink_login

TOKEN = "ilink_login.token"  # noqa: S105 a column's name
CURSOR = "ilink_login.cursor"
CONTEXT = "ilink_context.token"
LoginState = Literal["active", "stale"]


@dataclass(frozen=True, slots=True)
class Login:
    """A person who is connected, as stored.

    Attributes:
        id: its row.
        user_id: the person, as WeChat calls them to us.
        bot_id: the bot that is theirs.
        state: ``stale`` = WeChat wants a new scan.
        login_at_ms: when they scanned; a new scan makes a new one.
    """

    id: int
    user_id: str
    bot_id: str
    base_url: str
    token_sealed: bytes
    cursor_sealed: bytes | None
    state: LoginState
    login_at_ms: int

    def token(self, keys: Keyring) -> str:
        """Return the bot token, which allows everything here."""
        return keys.open(TOKEN, self.token_sealed).decode()

    def cursor(self, keys: Keyring) -> str:
        """Return where the long poll goes on; "" = from its beginning."""
        return keys.open(CURSOR, self.cursor_sealed).decode() if self.cursor_sealed else ""


_LOGIN = select(
    ilink_login.c.id,
    ilink_login.c.user_id,
    ilink_login.c.bot_id,
    ilink_login.c.base_url,
    ilink_login.c.token_sealed,
    ilink_login.c.cursor_sealed,
    ilink_login.c.state,
    ilink_login.c.login_at_ms,
)


def all_logins(connection: Connection, limit: int) -> list[Login]:
    """Return the logins, newest first."""
    rows = connection.execute(_LOGIN.order_by(ilink_login.c.login_at_ms.desc()).limit(limit))
    return [Login(*row) for row in rows]


@dataclass(frozen=True, slots=True)
class NewLogin:
    """What a confirmed scan gives."""

    user_id: str
    bot_id: str
    base_url: str
    token_sealed: bytes
    at_ms: int


def save_login(connection: Connection, logins: Sequence[NewLogin]) -> list[bool]:
    """Store logins; True for a person who was not connected before.

    The cursor begins anew: it belongs to the bot, and the inbox knows what came already.
    """
    return [_save(connection, login) for login in logins]


def _save(connection: Connection, login: NewLogin) -> bool:
    values = {
        "bot_id": login.bot_id,
        "base_url": login.base_url,
        "token_sealed": login.token_sealed,
        "cursor_sealed": None,
        "state": "active",
        "login_at_ms": login.at_ms,
        "changed_at_ms": login.at_ms,
        "poller": None,
        "poll_until_ms": 0,
    }
    is_new = connection.execute(
        insert_ignore(connection, ilink_login, "id"), [{"user_id": login.user_id, **values}]
    ).all()
    if not is_new:
        connection.execute(
            update(ilink_login).where(ilink_login.c.user_id == login.user_id).values(values)
        )
    return bool(is_new)


def forget_login(connection: Connection, bot_ids: Sequence[str]) -> list[bool]:
    """Delete logins with their contexts; False for one that is not there."""
    return [
        connection.execute(delete(ilink_login).where(ilink_login.c.bot_id == bot_id)).rowcount > 0
        for bot_id in bot_ids
    ]


@dataclass(frozen=True, slots=True)
class Claim:
    """The wish to poll for a login until a time; also renews it."""

    login_id: int
    poller: str
    now_ms: int
    until_ms: int


def claim(connection: Connection, claims: Sequence[Claim]) -> list[bool]:
    """Take or keep the polling of logins; False while another process has it."""
    return [
        connection.execute(
            update(ilink_login)
            .where(
                ilink_login.c.id == c.login_id,
                or_(ilink_login.c.poller == c.poller, ilink_login.c.poll_until_ms <= c.now_ms),
            )
            .values(poller=c.poller, poll_until_ms=c.until_ms)
        ).rowcount
        == 1
        for c in claims
    ]


def release(connection: Connection, pollers: Sequence[str]) -> list[None]:
    """Let go of everything a process polls."""
    connection.execute(
        update(ilink_login).where(ilink_login.c.poller.in_(pollers)).values(poll_until_ms=0)
    )
    return [None] * len(pollers)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a login is; only of the same scan, so that an old poll changes nothing new."""

    login_id: int
    login_at_ms: int
    at_ms: int
    cursor_sealed: bytes | None = None
    state: LoginState | None = None


def note_progress(connection: Connection, steps: Sequence[Progress]) -> list[None]:
    """Move cursors and states."""
    for step in steps:
        values: dict[str, object] = {"changed_at_ms": step.at_ms}
        if step.cursor_sealed is not None:
            values["cursor_sealed"] = step.cursor_sealed
        if step.state is not None:
            values["state"] = step.state
        connection.execute(
            update(ilink_login)
            .where(ilink_login.c.id == step.login_id, ilink_login.c.login_at_ms == step.login_at_ms)
            .values(values)
        )
    return [None] * len(steps)


@dataclass(frozen=True, slots=True)
class NewContext:
    """What a person's message brought: a new allowance."""

    login_id: int
    user_id: str
    token_sealed: bytes
    received_at_ms: int


def note_contexts(connection: Connection, contexts: Sequence[NewContext]) -> list[None]:
    """Store the newest context of each person; the allowance begins anew.

    The same one again, as a repeated delivery brings it, changes nothing: its messages are counted
    already.
    """
    for context in contexts:
        values = {
            "login_id": context.login_id,
            "token_sealed": context.token_sealed,
            "received_at_ms": context.received_at_ms,
            "sent": 0,
            "refused": 0,
        }
        is_new = connection.execute(
            insert_ignore(connection, ilink_context, "id"),
            [{"user_id": context.user_id, **values}],
        ).all()
        if not is_new:
            connection.execute(
                update(ilink_context)
                .where(
                    ilink_context.c.user_id == context.user_id,
                    ilink_context.c.received_at_ms < context.received_at_ms,
                )
                .values(values)
            )
    return [None] * len(contexts)


@dataclass(frozen=True, slots=True)
class Context:
    """A person's allowance and the login that it goes through."""

    id: int
    token_sealed: bytes
    received_at_ms: int
    sent: int
    refused: int
    login: Login


def context_of(connection: Connection, user_id: str) -> Context | None:
    """Return what a person's last message allows, or None when they never wrote."""
    columns = ("id", "token_sealed", "received_at_ms", "sent", "refused")
    row = connection.execute(
        _LOGIN.add_columns(*(ilink_context.c[name] for name in columns))
        .join(ilink_context, ilink_context.c.login_id == ilink_login.c.id)
        .where(ilink_context.c.user_id == user_id)
    ).one_or_none()
    if row is None:
        return None
    login, context = Login(*row[: -len(columns)]), row[-len(columns) :]
    return Context(*context, login=login)


@dataclass(frozen=True, slots=True)
class Use:
    """One message more (or, given back, one less) on a context of this age."""

    context_id: int
    received_at_ms: int
    limit: int
    refused: int | None = None


def take(connection: Connection, uses: Sequence[Use]) -> list[bool]:
    """Count a message before it is sent; False when the allowance is used up or a newer one came.

    Committed before the call, so that no crash and no second process sends more than allowed.
    """
    return [
        connection.execute(
            update(ilink_context)
            .where(
                ilink_context.c.id == use.context_id,
                ilink_context.c.received_at_ms == use.received_at_ms,
                ilink_context.c.sent < use.limit,
            )
            .values(sent=ilink_context.c.sent + 1)
        ).rowcount
        == 1
        for use in uses
    ]


def settle(connection: Connection, uses: Sequence[Use]) -> list[None]:
    """Note how a counted message ended: refused ones are given back, a taken one ends refusals."""
    for use in uses:
        values: dict[str, object] = {"refused": use.refused or 0}
        if use.refused is not None:
            values["sent"] = ilink_context.c.sent - 1
        connection.execute(
            update(ilink_context)
            .where(
                ilink_context.c.id == use.context_id,
                ilink_context.c.received_at_ms == use.received_at_ms,
            )
            .values(values)
        )
    return [None] * len(uses)
