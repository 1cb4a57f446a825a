"""Brings the schema to where this version needs it, when the service starts.

A new SQLite file gets the whole schema at once and an older one is upgraded after a backup;
PostgreSQL is only checked, because `oculichat migrate` is the operator's decision there.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import inspect, text

from core.store.engine import is_sqlite, make_engine, parse_url
from core.store.store import require_schema
from core.store.tables import metadata
from migrations import HEAD, upgrade


def prepare(url: str, *, backup_folder: Path) -> None:
    """Make the database ready for this version.

    Raises:
        ConfigError: PostgreSQL is not migrated, or cannot be reached.
    """
    parsed = parse_url(url)
    if not is_sqlite(parsed):
        require_schema(url, HEAD)
        return
    if Path(parsed.database or "").exists():
        upgrade(url, backup_folder=backup_folder)
        return
    create(url)


def create(url: str) -> None:
    """Write the newest schema into an empty database, without Alembic's second of start-up.

    A test compares the result with what the migrations make.
    """
    engine = make_engine(parse_url(url), "migrate")
    try:
        with engine.begin() as connection:
            if inspect(connection).has_table("alembic_version"):
                return
            metadata.create_all(connection)
            connection.execute(
                text(
                    "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL, "
                    "CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num))"
                )
            )
            connection.execute(text("INSERT INTO alembic_version VALUES (:head)"), {"head": HEAD})
    finally:
        engine.dispose()
