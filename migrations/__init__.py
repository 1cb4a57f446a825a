"""The database schema's history (Alembic), and how to bring a database to its newest state."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path

from core.store.engine import is_sqlite, make_engine, parse_url
from core.store.store import back_up_sqlite

# The newest revision; a test compares it with the scripts, so that `serve` need not import Alembic.
HEAD = "0014"


@dataclass(frozen=True, slots=True)
class Migrated:
    """What `upgrade` did: the revision before and after, and where the backup lies."""

    before: str | None
    after: str
    backup: Path | None


def current(url: str) -> str | None:
    """Return the database's revision, or None when it is empty."""
    from sqlalchemy import inspect  # noqa: PLC0415 heavy, and only needed here

    engine = make_engine(parse_url(url), "read")
    try:
        with engine.connect() as connection:
            if not inspect(connection).has_table("alembic_version"):
                return None
            found = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
            return str(found) if found else None
    finally:
        engine.dispose()


def upgrade(url: str, *, to: str = "head", backup_folder: Path | None = None) -> Migrated:
    """Bring a database to a revision, in one transaction; SQLite files are backed up before.

    Args:
        url: ``sqlite:///…`` or ``postgresql://…``.
        to: a revision id, ``head``, or ``base`` for an empty schema.
        backup_folder: where the copy of an SQLite file goes; None = beside the file.
    """
    parsed = parse_url(url)
    file = Path(parsed.database or "") if is_sqlite(parsed) else None
    before = current(url) if file is None or file.exists() else None
    if before == (HEAD if to == "head" else to):
        return Migrated(before, before or "", None)
    from alembic import command  # noqa: PLC0415 costs a second, and only real work needs it
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(files("migrations")))
    backup = None
    if file is not None and before is not None:
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        backup = (backup_folder or file.parent) / f"{file.stem}-{before}-{stamp}.bak"
        back_up_sqlite(file, backup)
    engine = make_engine(parsed, "migrate")
    try:
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            newer = to == "head" or (to != "base" and (before or "") < to)
            (command.upgrade if newer else command.downgrade)(config, to)
            if file is not None:
                broken = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
                if broken:
                    raise RuntimeError(f"migration left {len(broken)} rows without their parent")
    finally:
        engine.dispose()
    return Migrated(before, current(url) or "", backup)
