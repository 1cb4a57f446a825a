"""Every revision, up and down, with rows in every table, on both databases."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from alembic import op
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Boolean, LargeBinary, String, func, inspect, select
from sqlalchemy.exc import DBAPIError

import migrations
from core.errors import ConfigError
from core.store.engine import make_engine, parse_url
from core.store.tables import metadata
from migrations import HEAD, Migrated, current, upgrade
from migrations.schema import bring_up_to_date, create, prepare
from tests.migration.schema_description import describe

_REVISIONS = [
    s.revision for s in ScriptDirectory(str(Path(migrations.__file__).parent)).walk_revisions()
]


def execute(url: str, statements: str) -> None:
    """Change the schema, one statement after the other, as somebody else might."""
    engine = make_engine(parse_url(url), "migrate")
    try:
        with engine.begin() as connection:
            for statement in re.split(r"; (?!END)", statements):
                connection.exec_driver_sql(statement)
    finally:
        engine.dispose()


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


def test_made_at_once_is_what_all_revisions_make(empty_database: str, tmp_path: Path) -> None:
    nothing = describe(empty_database)
    upgrade(empty_database)
    revised = describe(empty_database)
    assert revised != nothing
    upgrade(empty_database, to="base", backup_folder=tmp_path)
    execute(empty_database, "DROP TABLE alembic_version")
    assert describe(empty_database) == nothing
    assert bring_up_to_date(empty_database, backup_folder=tmp_path) == Migrated(None, HEAD, None)
    assert describe(empty_database) == revised
    assert current(empty_database) == HEAD
    again = bring_up_to_date(empty_database, backup_folder=tmp_path)
    assert again == Migrated(HEAD, HEAD, None), "nothing to do"


_INDEX = "CREATE INDEX ix_inbox_pending ON inbox (conversation_id, sequence, id)"
_CHANGES = {
    "a column": "ALTER TABLE fact ADD COLUMN more INTEGER",
    "no index": "DROP INDEX ix_inbox_pending",
    "a whole index for a partial one": f"DROP INDEX IF EXISTS ix_inbox_pending; {_INDEX}",
    "another part": f"DROP INDEX IF EXISTS ix_inbox_pending; {_INDEX} WHERE state = 'dead'",
    "a unique index": "CREATE UNIQUE INDEX one_zone ON patient (zone)",
    "a table": "CREATE TABLE more (id INTEGER NOT NULL, CONSTRAINT pk_more PRIMARY KEY (id))",
    "a view": "CREATE VIEW names AS SELECT name FROM fact",
}
_CHANGES_POSTGRESQL = {
    "a type": "ALTER TABLE fact ALTER COLUMN value TYPE text",
    "nullable": "ALTER TABLE fact ALTER COLUMN value DROP NOT NULL",
    "a default": "ALTER TABLE fact ALTER COLUMN value SET DEFAULT 'x'",
    "no check": "ALTER TABLE inbox DROP CONSTRAINT ck_inbox_state",
    "no cascade": "ALTER TABLE consent DROP CONSTRAINT fk_consent_conversation_id; ALTER TABLE "
    "consent ADD CONSTRAINT fk_consent_conversation_id FOREIGN KEY (conversation_id) "
    "REFERENCES conversation (id)",
    "a trigger": "CREATE TRIGGER quiet BEFORE UPDATE ON fact FOR EACH ROW EXECUTE FUNCTION "
    "suppress_redundant_updates_trigger()",
}


def _table(more: str) -> str:
    """Return statements that make `timer` anew, with something else in place of its NOT NULL."""
    return (
        "DROP TABLE timer; CREATE TABLE timer (id INTEGER NOT NULL, conversation_id INTEGER "
        f"NOT NULL, name VARCHAR(32) {more}, due_at_ms BIGINT NOT NULL, CONSTRAINT pk_timer "
        "PRIMARY KEY (id), CONSTRAINT fk_timer_conversation_id FOREIGN KEY (conversation_id) "
        "REFERENCES conversation (id) ON DELETE CASCADE, CONSTRAINT "
        "uq_timer_conversation_id_name UNIQUE (conversation_id, name)); "
        "CREATE INDEX ix_timer_due ON timer (due_at_ms)"
    )


_CHANGES_SQLITE = {
    "a type": _table("NOT NULL").replace("VARCHAR(32)", "VARCHAR(33)"),
    "nullable": _table(""),
    "a default": _table("NOT NULL DEFAULT 'x'"),
    "a check": _table("NOT NULL CONSTRAINT ck_timer_name CHECK (name <> '')"),
    "no cascade": _table("NOT NULL").replace(" ON DELETE CASCADE", ""),
    "no unique": _table("NOT NULL").replace("UNIQUE (conversation_id, name)", "CHECK (name <> '')"),
    "a trigger": "CREATE TRIGGER quiet BEFORE UPDATE ON fact BEGIN SELECT 1; END",
}


@pytest.mark.parametrize("empty_database", ["sqlite"], indirect=True)
def test_the_comparison_takes_the_same_table_for_the_same(empty_database: str) -> None:
    create(empty_database)
    before = describe(empty_database)
    execute(empty_database, _table("NOT NULL"))
    assert describe(empty_database) == before


@pytest.mark.parametrize("change", [*_CHANGES, *_CHANGES_SQLITE])
@pytest.mark.parametrize("empty_database", ["sqlite"], indirect=True)
def test_the_comparison_sees_a_change_sqlite(empty_database: str, change: str) -> None:
    create(empty_database)
    before = describe(empty_database)
    execute(empty_database, (_CHANGES | _CHANGES_SQLITE)[change])
    assert describe(empty_database) != before


@pytest.mark.parametrize("empty_database", ["postgresql"], indirect=True)
def test_the_comparison_sees_each_change_postgresql(empty_database: str) -> None:
    create(empty_database)
    for change, statements in (_CHANGES | _CHANGES_POSTGRESQL).items():
        before = describe(empty_database)
        execute(empty_database, statements)
        assert describe(empty_database) != before, change


def test_a_table_of_somebody_else_stops_it(empty_database: str, tmp_path: Path) -> None:
    execute(empty_database, "CREATE TABLE patient (id INTEGER)")
    with pytest.raises(DBAPIError):
        bring_up_to_date(empty_database, backup_folder=tmp_path)
    execute(empty_database, "DROP TABLE patient")
    bring_up_to_date(empty_database, backup_folder=tmp_path)
    assert current(empty_database) == HEAD


def test_an_emptied_database_and_an_older_one_go_by_the_revisions(
    empty_database: str, tmp_path: Path
) -> None:
    create(empty_database)
    for older in ("base", "0001"):
        upgrade(empty_database, to=older, backup_folder=tmp_path)
        done = bring_up_to_date(empty_database, backup_folder=tmp_path)
        assert (done.before, done.after) == (None if older == "base" else older, HEAD)
        assert describe(empty_database)


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
