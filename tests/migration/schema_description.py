"""Everything a database says about its schema, in a form in which two of them can be compared.

The order of a table's columns is left out: a column that came later stands last, and every
statement of ours names its columns.
"""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy import Connection, inspect

from core.store.engine import make_engine, parse_url

Description = dict[str, Any]

# What PostgreSQL knows about our own tables, as it would write it itself.
_POSTGRESQL = {
    "columns": """
        SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
               a.attidentity, a.attgenerated, pg_get_expr(d.adbin, d.adrelid)
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
        LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped
          AND c.relnamespace = 'public'::regnamespace""",
    "constraints": """
        SELECT conrelid::regclass::text, conname, contype, convalidated, condeferrable,
               pg_get_constraintdef(oid)
        FROM pg_constraint WHERE connamespace = 'public'::regnamespace""",
    "indexes": """
        SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'""",
    "triggers": """
        SELECT tgrelid::regclass::text, tgname, pg_get_triggerdef(oid)
        FROM pg_trigger WHERE NOT tgisinternal""",
    "sequences": """
        SELECT sequencename, data_type::text, start_value, increment_by, max_value, cycle
        FROM pg_sequences WHERE schemaname = 'public'""",
    "others": """
        SELECT relname, relkind FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relkind NOT IN ('r', 'i', 'S')""",
}


def describe(url: str) -> Description:
    """Return what a database's schema is made of, by kind and name."""
    engine = make_engine(parse_url(url), "read")
    try:
        with engine.connect() as connection:
            if connection.dialect.name == "sqlite":
                return _sqlite(connection)
            return {
                kind: sorted(tuple(map(str, row)) for row in connection.exec_driver_sql(sql))
                for kind, sql in _POSTGRESQL.items()
            }
    finally:
        engine.dispose()


def _sqlite(connection: Connection) -> Description:
    seen = inspect(connection)
    tables = {name: _sqlite_table(connection, name) for name in seen.get_table_names()}
    kept = connection.exec_driver_sql(
        "SELECT type, name, tbl_name, sql FROM sqlite_master WHERE type <> 'table'"
    )
    return {
        "tables": tables,
        "indexes, triggers, views": {
            (kind, name): (table, _plain(sql)) for kind, name, table, sql in kept
        },
    }


def _sqlite_table(connection: Connection, name: str) -> Description:
    seen = inspect(connection)
    sql = connection.exec_driver_sql("SELECT sql FROM sqlite_master WHERE name = ?", (name,))
    text = _plain(sql.scalar_one())
    columns = connection.exec_driver_sql(f"PRAGMA table_xinfo('{name}')").all()
    return {
        # type, NOT NULL, default, place in the primary key, hidden or generated
        "columns": {c[1]: (c[2].upper(), *c[3:]) for c in columns},
        "kind": re.sub(r"^.*\)", "", text),  # WITHOUT ROWID, STRICT
        "autoincrement": "AUTOINCREMENT" in text.upper(),
        "primary key": seen.get_pk_constraint(name),
        "foreign keys": _by_name(seen.get_foreign_keys(name)),
        "unique": _by_name(seen.get_unique_constraints(name)),
        "checks": {c["name"]: _plain(c["sqltext"]) for c in seen.get_check_constraints(name)},
        # SQLAlchemy reads constraints with patterns; none may be one that it does not know.
        "constraints": len(re.findall(r"\b(?:CHECK|UNIQUE|REFERENCES|PRIMARY KEY)\b", text)),
    }


def _by_name(found: list[Any]) -> dict[str, Any]:
    assert all(f["name"] for f in found), "a constraint without a name cannot be changed later"
    return {f["name"]: f for f in found}


def _plain(sql: str | None) -> str:
    """Return SQL without what does not matter: quotes around names and the width of spaces."""
    return re.sub(r"\s*([(),=<>])\s*", r"\1", " ".join((sql or "").replace('"', "").split()))
