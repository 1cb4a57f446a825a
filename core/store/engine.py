"""SQLAlchemy engines for both databases, set up so that nothing is lost quietly.

SQLite as its driver comes loses updates without an error, because SELECT runs outside any
transaction; with deferred BEGIN it fails with "database is locked" instead. So transactions are
begun by us: IMMEDIATE for the one writer, deferred for readers. WAL with synchronous=FULL keeps
every committed row through a power cut.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import ConnectionPoolEntry

from core.errors import ConfigError

Role = Literal["write", "read", "migrate"]


def parse_url(url: str) -> URL:
    """Read a database URL and choose the driver.

    Raises:
        ConfigError: neither SQLite nor PostgreSQL, or not a URL at all.
    """
    try:
        parsed = make_url(url)
    except Exception:
        raise ConfigError(
            "database.url is not a database URL: write sqlite:///path/to/file.db or "
            "postgresql://user:password@host/name"
        ) from None
    backend = parsed.get_backend_name()
    if backend == "sqlite":
        if parsed.database in (None, "", ":memory:"):
            raise ConfigError("database.url: an SQLite file is needed, memory would lose messages")
        return parsed.set(drivername="sqlite")
    if backend in ("postgresql", "postgres"):
        return parsed.set(drivername="postgresql+psycopg")
    raise ConfigError(f"database.url: {backend!r} is not supported; use sqlite or postgresql")


def is_sqlite(url: URL) -> bool:
    """Tell whether this is the embedded database."""
    return url.get_backend_name() == "sqlite"


def make_engine(url: URL, role: Role) -> Engine:
    """Make an engine for one role.

    Args:
        url: from `parse_url`.
        role: ``write`` = the single writer, ``read`` = queries only, ``migrate`` = like write,
            with foreign keys off (Alembic rebuilds tables on SQLite, which would otherwise delete
            their children).
    """
    if not is_sqlite(url):
        engine = create_engine(
            url,
            pool_size=4 if role == "read" else 1,
            max_overflow=0,
            connect_args={"connect_timeout": 10},
        )
        _ask_after_a_rest(engine)
        return engine
    Path(url.database or "").absolute().parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(
        url,
        pool_size=2 if role == "read" else 1,
        max_overflow=0,
        connect_args={"check_same_thread": False, "timeout": 10},
    )
    begin = "BEGIN" if role == "read" else "BEGIN IMMEDIATE"

    @event.listens_for(engine, "connect")
    def _on_connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves
        cursor = connection.cursor()
        cursor.execute("PRAGMA busy_timeout=10000")
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute(f"PRAGMA foreign_keys={'OFF' if role == 'migrate' else 'ON'}")
        if role == "read":
            cursor.execute("PRAGMA query_only=ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _on_begin(connection: Any) -> None:
        connection.exec_driver_sql(begin)

    # Registered for their effect; named so that a reader finds them in a traceback.
    _ = (_on_connect, _on_begin)
    return engine


# Seconds for which a connection that was just used is taken to be alive.
_ALIVE_FOR_S = 2.0


def _ask_after_a_rest(engine: Engine) -> None:
    """Ask a connection whether it is alive before it is used, but not between two transactions.

    A round trip before each transaction is one in eight that a message costs. A server that goes
    away in between fails the transaction, as it would have a moment later.
    """

    @event.listens_for(engine, "checkin")
    def _on_checkin(_connection: Any, record: ConnectionPoolEntry) -> None:
        record.info["used_at_s"] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def _on_checkout(connection: Any, record: ConnectionPoolEntry, _proxy: Any) -> None:
        used_at_s = record.info.get("used_at_s")
        if used_at_s is None or time.monotonic() - used_at_s < _ALIVE_FOR_S:
            return
        try:
            engine.dialect.do_ping(connection)
        except engine.dialect.loaded_dbapi.Error as error:
            raise DisconnectionError from error  # the pool connects anew

    _ = (_on_checkin, _on_checkout)
