"""Help for whoever is locked out of the console: a new password, from the server itself."""

from __future__ import annotations

import re
import sys
from contextlib import closing
from time import time_ns

from sqlalchemy import Connection

from adapters.console.codes import new_password
from adapters.console.passwords import Passwords
from bot.settings import Settings
from core.store.engine import make_engine, parse_url
from core.store.staff import (
    EndSessions,
    NewStaff,
    end_codes,
    end_sessions,
    find_account,
    set_staff,
)
from core.store.store import require_schema
from migrations import HEAD

_ACCOUNT = re.compile(r"[a-z0-9][a-z0-9._-]{1,31}")


def reset_password(settings: Settings, account: str) -> int:
    """Give an account a new password and print it; one that does not exist becomes an admin.

    Works while the service runs. Ends the account's sessions and switches its one-time codes off.

    Returns:
        The exit status: 2 for a name that cannot be an account.
    """
    account = account.strip().lower()
    if not _ACCOUNT.fullmatch(account):
        sys.stderr.write(f"{account!r}: an account has 2 to 32 letters, digits, dots or hyphens\n")
        return 2
    require_schema(settings.database_url, HEAD)
    password = new_password()
    with closing(Passwords(settings.console)) as passwords:
        hashed = passwords.hash(password)
    engine = make_engine(parse_url(settings.database_url), "write")
    try:
        with engine.begin() as connection:
            is_new = _reset(connection, account, hashed)
    finally:
        engine.dispose()
    what = "new account, admin" if is_new else "new password, one-time codes off, logged out"
    sys.stdout.write(f"{account} / {password}  ({what}; change it at the first login)\n")
    return 0


def _reset(connection: Connection, account: str, hashed: str) -> bool:
    member = NewStaff(account, account, hashed, time_ns() // 1_000_000)
    (is_new,) = set_staff(connection, [member])
    found = find_account(connection, account)
    if found is not None:
        end_codes(connection, [found["id"]])
        end_sessions(connection, [EndSessions(found["id"], "", "")])
    return is_new
