"""What the morning message to staff counts, and how it is sent once a day by one process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, and_, case, func, select, update

from core.message import Address
from core.store.alerts import put
from core.store.dialect import insert_ignore
from core.store.outbox import OutboxRow
from core.store.tables import IS_OPEN_TASK, fact, follow_up, staff_task

_NAME = "digest_day"


@dataclass(frozen=True, slots=True)
class DayQuery:
    """Which day: local date (ISO) and the present."""

    day: str
    now_ms: int


@dataclass(frozen=True, slots=True)
class DayFigures:
    """How the worklist and the plans stand.

    Attributes:
        open: tasks that nobody closed.
        urgent: of these, the emergencies and those of the same day.
        overdue: of these, the ones whose deadline has passed.
        oldest_ms: when the oldest was opened.
        visits: booked visits of the day.
        due: plans due on the day or before, without a booked visit to come.
    """

    open: int
    urgent: int
    overdue: int
    oldest_ms: int | None
    visits: int
    due: int


def day_figures(connection: Connection, query: DayQuery) -> DayFigures:
    """Count what a morning begins with."""
    urgent = staff_task.c.urgency.in_(("immediate", "same_day"))
    tasks = connection.execute(
        select(
            func.count(),
            func.coalesce(func.sum(case((urgent, 1), else_=0)), 0),
            func.coalesce(func.sum(case((staff_task.c.deadline_ms < query.now_ms, 1), else_=0)), 0),
            func.min(staff_task.c.created_at_ms),
        ).where(IS_OPEN_TASK)
    ).one()
    active = follow_up.c.state == "active"
    visits, due = (
        connection.execute(
            select(func.count()).select_from(follow_up).where(active, which)
        ).scalar_one()
        for which in (
            follow_up.c.visit_day == query.day,
            and_(
                follow_up.c.due_day <= query.day,
                func.coalesce(follow_up.c.visit_day, "") < query.day,
            ),
        )
    )
    return DayFigures(int(tasks[0]), int(tasks[1]), int(tasks[2]), tasks[3], visits, due)


@dataclass(frozen=True, slots=True)
class Digest:
    """One morning's message, sealed for each chat.

    Attributes:
        day: local date (ISO); it is sent once per day.
        now_ms: the present.
        messages: chat, body for the transcript, parts for the outbox.
    """

    day: str
    now_ms: int
    messages: tuple[tuple[Address, bytes, tuple[bytes, ...]], ...]


def was_sent(connection: Connection, day: str) -> bool:
    """Tell whether this day's message (or a later one) is in the outbox."""
    found = connection.execute(select(fact.c.value).where(fact.c.name == _NAME)).scalar()
    return found is not None and found >= day


def send_digest(
    connection: Connection, digests: Sequence[Digest]
) -> list[list[tuple[Address, list[OutboxRow]]]]:
    """Put a digest into the outbox (batch function); nothing when a peer was faster."""
    return [_send(connection, digest) for digest in digests]


def _send(connection: Connection, digest: Digest) -> list[tuple[Address, list[OutboxRow]]]:
    mine = connection.execute(
        update(fact).where(fact.c.name == _NAME, fact.c.value < digest.day).values(value=digest.day)
    ).rowcount
    if not mine:
        row = {"name": _NAME, "value": digest.day}
        if connection.execute(insert_ignore(connection, fact, "name"), row).scalar() is None:
            return []
    turn_id = f"digest:{digest.day}"
    return [
        (to, put(connection, to, turn_id, "notice", body, parts, digest.now_ms))
        for to, body, parts in digest.messages
    ]
