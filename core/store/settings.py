"""What the clinic changed in the console: one row a setting, the newest value with its version."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, func, select, update

from core.store.dialect import insert_ignore
from core.store.tables import setting, staff


@dataclass(frozen=True, slots=True)
class Stored:
    """A value as it is kept; "" = back to what the configuration says."""

    value: str
    version: int
    changed_at_ms: int
    by: str


@dataclass(frozen=True, slots=True)
class Change:
    """The wish to change a setting that was at `version` (0 = never changed) when it was shown."""

    name: str
    value: str
    version: int
    by: int
    at_ms: int


def stored_settings(connection: Connection, _argument: None = None) -> dict[str, Stored]:
    """Return every setting that was ever changed."""
    rows = connection.execute(
        select(
            setting.c.name,
            setting.c.value,
            setting.c.version,
            setting.c.changed_at_ms,
            staff.c.name.label("by"),
        ).join(staff, staff.c.id == setting.c.changed_by)
    )
    return {row.name: Stored(row.value, row.version, row.changed_at_ms, row.by) for row in rows}


def settings_stamp(connection: Connection, _argument: None = None) -> tuple[int, int]:
    """Return what changes whenever a setting does."""
    total = func.coalesce(func.sum(setting.c.version), 0)
    row = connection.execute(select(func.count(), total)).one()
    return int(row[0]), int(row[1])


def change_settings(connection: Connection, changes: Sequence[Change]) -> list[bool]:
    """Change settings; False where somebody else changed it since it was shown."""
    return [_change(connection, change) for change in changes]


def _change(connection: Connection, change: Change) -> bool:
    values = {
        "value": change.value,
        "version": change.version + 1,
        "changed_at_ms": change.at_ms,
        "changed_by": change.by,
    }
    if change.version == 0:
        row = {"name": change.name, **values}
        new = connection.execute(insert_ignore(connection, setting, "name"), row).scalar()
        return new is not None
    changed = connection.execute(
        update(setting)
        .where(setting.c.name == change.name, setting.c.version == change.version)
        .values(**values)
    )
    return changed.rowcount == 1
