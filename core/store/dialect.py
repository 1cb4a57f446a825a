"""The two places where SQLite and PostgreSQL differ: upserts and row locks.

Statements that each message needs are made once: making one costs as much as running it.
"""

from __future__ import annotations

from functools import cache
from typing import Any, TypeVarTuple

from sqlalchemy import BindParameter, Connection, Select, Table, bindparam

from core.store.tables import conversation

_Columns = TypeVarTuple("_Columns")


IDS: BindParameter[Any] = bindparam("ids", expanding=True)


def insert_ignore(connection: Connection, table: Table, *returning: str) -> Any:
    """Return ``INSERT … ON CONFLICT DO NOTHING`` in the connection's dialect.

    Args:
        connection: says which dialect.
        table: where to.
        returning: columns of the rows that were really inserted.
    """
    return _insert_ignore(connection.dialect.name, table, returning)


@cache
def _insert_ignore(dialect: str, table: Table, returning: tuple[str, ...]) -> Any:
    # Each brings its drivers' code along (PostgreSQL's takes 2 MiB), and one is in use.
    if dialect == "sqlite":
        from sqlalchemy.dialects.sqlite import insert as insert_into  # noqa: PLC0415
    else:
        from sqlalchemy.dialects.postgresql import insert as insert_into  # noqa: PLC0415
    insert: Any = insert_into(table).on_conflict_do_nothing()
    return insert.returning(*(table.c[name] for name in returning)) if returning else insert


def for_update(
    connection: Connection, statement: Select[*_Columns], *, skip_locked: bool = False
) -> Select[*_Columns]:
    """Lock the selected rows; SQLite has one writer and needs no row locks."""
    if connection.dialect.name == "sqlite":
        return statement
    return statement.with_for_update(skip_locked=skip_locked, of=conversation)
