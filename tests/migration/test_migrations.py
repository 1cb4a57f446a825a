"""Every revision, up and down, with rows in every table, on both databases."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from alembic import op
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Boolean, LargeBinary, String, func, inspect, select

import migrations
from core.errors import ConfigError
from core.store.engine import make_engine, parse_url
from core.store.tables import metadata
from migrations import HEAD, current, upgrade
from migrations.schema import create, prepare

_REVISIONS = [
    s.revision for s in ScriptDirectory(str(Path(migrations.__file__).parent)).walk_revisions()
]


def fill(url: str) -> dict[str, int]:
    """Put two rows into every table and return the row counts."""
    engine = make_engine(parse_url(url), "write")
    counts: dict[str, int] = {}
    with engine.begin() as connection:
        for table in metadata.sorted_tables:
            for number in (1, 2):
                connection.execute(table.insert(), {c.name: _value(c, number) for c in table.c})
            counts[table.name] = 2
    engine.dispose()
    return counts


def _value(column: Any, number: int) -> Any:
    words = {
        "author": "patient",
        "kind": {"consent": "health", "staff_task": "human", "contact": "family"}.get(
            column.table.name, "answer"
        ),
        "basis": "finding",
        "role": "doctor",
        "needs_code": False,  # half a login does not outlive a downgrade
        "outcome": "said",
        "eye": "OD",
        "ending": "staff",
        "visit_time": "08:30",
        "state": {"follow_up": "active", "staff_task": "open", "ilink_login": "active"}.get(
            column.table.name, "pending"
        ),
    }
    if column.name in words:
        return words[column.name]
    if isinstance(column.type, Boolean):
        return True
    if isinstance(column.type, LargeBinary):
        return b"sealed"
    return f"text {number}" if isinstance(column.type, String) else number


def count_rows(url: str) -> dict[str, int]:
    """Count the rows of every table of ours that is there."""
    engine = make_engine(parse_url(url), "read")
    with engine.connect() as connection:
        there = set(inspect(connection).get_table_names())
        counts = {
            t.name: connection.execute(select(func.count()).select_from(t)).scalar_one()
            for t in metadata.sorted_tables
            if t.name in there
        }
    engine.dispose()
    return counts


def test_head_is_the_newest_script() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    assert ScriptDirectory.from_config(config).get_current_head() == HEAD


def test_the_scripts_make_what_the_tables_say(empty_database: str) -> None:
    upgrade(empty_database)
    engine = make_engine(parse_url(empty_database), "read")
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
    engine.dispose()


def test_a_new_file_gets_the_same_schema_without_alembic(
    empty_database: str, tmp_path: Path
) -> None:
    create(empty_database)
    assert current(empty_database) == HEAD
    assert upgrade(empty_database).backup is None, "nothing to do"
    engine = make_engine(parse_url(empty_database), "read")
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
    engine.dispose()


@pytest.mark.parametrize("revision", _REVISIONS)
def test_up_and_down_keep_the_rows(empty_database: str, revision: str, tmp_path: Path) -> None:
    upgrade(empty_database)
    before = fill(empty_database)
    upgrade(empty_database, to=revision, backup_folder=tmp_path)
    kept = count_rows(empty_database)  # tables that this revision does not know are gone
    assert kept == {name: before[name] for name in kept}
    upgrade(empty_database, backup_folder=tmp_path)
    assert {**count_rows(empty_database), **kept} == count_rows(empty_database)
    upgrade(empty_database, to="base", backup_folder=tmp_path)
    assert count_rows(empty_database) == {}
    upgrade(empty_database, backup_folder=tmp_path)
    assert current(empty_database) == HEAD


@pytest.mark.parametrize("empty_database", ["sqlite"], indirect=True)
def test_an_sqlite_file_is_backed_up_before(empty_database: str, tmp_path: Path) -> None:
    upgrade(empty_database)
    before = fill(empty_database)
    done = upgrade(empty_database, to="base", backup_folder=tmp_path / "backups")
    assert done.backup is not None
    assert count_rows(f"sqlite:///{done.backup}") == before


@pytest.mark.parametrize("empty_database", ["postgresql"], indirect=True)
def test_postgresql_is_never_migrated_by_the_service(empty_database: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="oculichat migrate"):
        prepare(empty_database, backup_folder=tmp_path)
    assert current(empty_database) is None
    upgrade(empty_database)
    prepare(empty_database, backup_folder=tmp_path)


@pytest.mark.parametrize("empty_database", ["sqlite"], indirect=True)
def test_a_failing_migration_leaves_the_file_as_it_was(
    empty_database: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    upgrade(empty_database)
    before = fill(empty_database)
    real = op.drop_table
    calls: list[str] = []

    def drop(name: str) -> None:
        calls.append(name)
        if len(calls) == 3:
            raise RuntimeError("the disk says no")
        real(name)

    monkeypatch.setattr(op, "drop_table", drop)
    with pytest.raises(RuntimeError):
        upgrade(empty_database, to="base", backup_folder=tmp_path)
    assert len(calls) == 3
    assert count_rows(empty_database) == before
    assert current(empty_database) == HEAD
