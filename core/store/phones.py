"""Phones that may keep the list of calls for when there is no line.

The trust belongs to the phone, known by the hash of a cookie of its own: it outlives a login and
ends when somebody takes it back, or when nobody has logged in there for half a year.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, delete, insert, select, update
from sqlalchemy.engine import RowMapping

from core.store.tables import clinic_phone, staff

UNUSED_MS = 180 * 86_400_000


@dataclass(frozen=True, slots=True)
class NewPhone:
    """A phone that somebody trusts."""

    token_hash: str
    device: str
    given_by: int
    at_ms: int


def trust_phones(connection: Connection, phones: Sequence[NewPhone]) -> list[None]:
    """Keep phones, and forget those nobody has used for long."""
    unused_ms = max(phone.at_ms for phone in phones) - UNUSED_MS
    connection.execute(delete(clinic_phone).where(clinic_phone.c.seen_at_ms < unused_ms))
    rows = [
        {
            "token_hash": phone.token_hash,
            "device": phone.device,
            "given_by": phone.given_by,
            "given_at_ms": phone.at_ms,
            "seen_at_ms": phone.at_ms,
        }
        for phone in phones
    ]
    connection.execute(insert(clinic_phone), rows)
    return [None] * len(phones)


def find_phone(connection: Connection, query: tuple[str, int]) -> int | None:
    """Return the id of the phone with this cookie's hash, when it is trusted at this moment."""
    token_hash, now_ms = query
    return connection.execute(
        select(clinic_phone.c.id).where(
            clinic_phone.c.token_hash == token_hash, clinic_phone.c.seen_at_ms >= now_ms - UNUSED_MS
        )
    ).scalar_one_or_none()


def see_phones(connection: Connection, seen: Sequence[tuple[int, int]]) -> list[None]:
    """Note that somebody logged in there."""
    for phone_id, at_ms in seen:
        connection.execute(
            update(clinic_phone).where(clinic_phone.c.id == phone_id).values(seen_at_ms=at_ms)
        )
    return [None] * len(seen)


def phones(connection: Connection, query: tuple[int | None, int]) -> list[RowMapping]:
    """Return the phones that somebody, or with None anybody, trusted; the one used last first."""
    given_by, now_ms = query
    wanted = (
        select(clinic_phone, staff.c.name)
        .join(staff, staff.c.id == clinic_phone.c.given_by)
        .where(clinic_phone.c.seen_at_ms >= now_ms - UNUSED_MS)
        .order_by(clinic_phone.c.seen_at_ms.desc())
    )
    if given_by is not None:
        wanted = wanted.where(clinic_phone.c.given_by == given_by)
    return list(connection.execute(wanted).mappings())


def distrust_phones(connection: Connection, phone_ids: Sequence[int]) -> list[bool]:
    """Take trust back; False where there was none."""
    return [
        connection.execute(delete(clinic_phone).where(clinic_phone.c.id == each)).rowcount == 1
        for each in phone_ids
    ]
