"""The store as the rest of core uses it: one writer, some readers, one keyring."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection, select
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from core.errors import ConfigError, TransientError
from core.store.engine import is_sqlite, make_engine, parse_url
from core.store.keyring import Keyring
from core.store.tables import conversation
from core.store.writer import Batch, Writer

A = TypeVar("A")
R = TypeVar("R")


class Store:
    """Writes through the group-committing writer, reads beside it.

    Args:
        url: ``sqlite:///…`` or ``postgresql://…``; the schema must be there already.
        keyring: for sealed columns.

    Attributes:
        keys: the keyring.
        shared: true when other processes may work on the same database (PostgreSQL).
        writer: the writer, for its counts.
    """

    def __init__(self, url: str, keyring: Keyring) -> None:
        parsed = parse_url(url)
        self.keys = keyring
        self.shared = not is_sqlite(parsed)
        self.writer = Writer(make_engine(parsed, "write"))
        self._read_engine = make_engine(parsed, "read")
        self._readers = ThreadPoolExecutor(2, thread_name_prefix="store-reader")

    async def write(self, function: Batch[A, R], argument: A) -> R:
        """Run a batch function for one argument; returns once committed."""
        return await self.writer.run(function, argument)

    async def write_all(self, function: Batch[A, R], arguments: Sequence[A]) -> list[R]:
        """Run a batch function for several arguments, in one transaction where possible."""
        return list(await asyncio.gather(*(self.writer.run(function, a) for a in arguments)))

    async def read(self, function: Callable[[Connection, A], R], argument: A) -> R:
        """Run a query function in a reader thread.

        Raises:
            TransientError: the database was not available.
        """
        return await asyncio.get_running_loop().run_in_executor(
            self._readers, self._read, function, argument
        )

    def _read(self, function: Callable[[Connection, A], R], argument: A) -> R:
        try:
            with self._read_engine.connect() as connection:
                return function(connection, argument)
        except (OperationalError, InterfaceError) as error:
            kind = type(error.orig).__name__
            raise TransientError(f"the database is not available ({kind})") from None

    async def check(self) -> None:
        """Read one row, so that `/readyz` can tell whether the database answers.

        Raises:
            TransientError: it does not.
        """
        await self.read(_probe, None)

    def close(self) -> None:
        """Finish accepted writes and disconnect."""
        self.writer.close()
        self._readers.shutdown(wait=True)
        self._read_engine.dispose()


def _probe(connection: Connection, _argument: None) -> None:
    connection.execute(select(conversation.c.id).limit(1)).all()


def back_up_sqlite(source: Path, target: Path) -> None:
    """Copy a database file consistently, also while it is in use (SQLite's backup API)."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with sqlite3.connect(source) as original, sqlite3.connect(target) as copy:
        original.backup(copy)
    original.close()
    copy.close()


def require_schema(url: str, head: str) -> None:
    """Check that the database has the schema this version expects.

    Raises:
        ConfigError: it has not; names the command that mends it.
    """
    engine = make_engine(parse_url(url), "read")
    try:
        with engine.connect() as connection:
            found = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    except DBAPIError as error:
        found = None
        if "alembic_version" not in str(error):
            raise ConfigError(
                f"database.url: cannot connect ({type(error.orig).__name__}); check host, name and "
                "password, and that the server runs"
            ) from None
    finally:
        engine.dispose()
    if found != head:
        raise ConfigError(
            f"database.url: the schema is {found or 'missing'}, this version needs {head}; "
            "run `oculichat migrate`"
        )
