"""Brings the schema to where this version needs it: when the service starts, and by `migrate`.

An empty database gets the whole schema at once, an older one by the revisions in between. The
service does so with an SQLite file, after a backup; PostgreSQL it only checks, because `oculichat
migrate` is the operator's decision there.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import inspect, text

from core.store.engine import is_sqlite, make_engine, parse_url
from core.store.store import require_schema
from core.store.tables import metadata
from migrations import HEAD, Migrated, current, upgrade


def prepare(url: str, *, backup_folder: Path) -> None:
    """Make the database ready for this version.

    Raises:
        ConfigError: PostgreSQL is not migrated, or cannot be reached.
    """
    parsed = parse_url(url)
    if not is_sqlite(parsed):
        require_schema(url, HEAD)
        return
    bring_up_to_date(url, backup_folder=backup_folder)


def bring_up_to_date(url: str, *, backup_folder: Path) -> Migrated:
    """Give a database the newest schema; an SQLite file with an older one is backed up before."""
    parsed = parse_url(url)
    is_new = is_sqlite(parsed) and not Path(parsed.database or "").exists()
    if (is_new or current(url) is None) and create(url):
        return Migrated(None, HEAD, None)
    return upgrade(url, backup_folder=backup_folder)


def create(url: str) -> bool:
    """Write the newest schema into an empty database, without Alembic's second of start-up.

    A test compares the result with what the revisions make.

    Returns:
        False when there is, or was, a schema of ours: nothing was written.
    """
    engine = make_engine(parse_url(url), "migrate")
    try:
        with engine.begin() as connection:
            if inspect(connection).has_table("alembic_version"):
                return False
            # Unasked: a table that is there already is somebody else's, and no reason to go on.
            metadata.create_all(connection, checkfirst=False)
            connection.execute(
                text(
                    "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL, "
                    "CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num))"
                )
            )
            connection.execute(text("INSERT INTO alembic_version VALUES (:head)"), {"head": HEAD})
            return True
    finally:
        engine.dispose()
