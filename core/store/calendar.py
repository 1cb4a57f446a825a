"""Follow-ups by day, for the staff's calendar: visits, messages to come, and people to call.

Counts are grouped in the database, so a month costs the same however many people it has. Moments
are grouped by quarters of an hour: no zone's day begins anywhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, Connection, Select, and_, func, select

from core.store.tables import (
    IS_OPEN_TASK,
    IS_RUNNING,
    IS_RUNNING_WITHOUT_DAY,
    IS_TO_COME,
    conversation,
    follow_up,
    reminder,
    staff,
    staff_task,
)

_QUARTER_MS = 900_000
_DAY = timedelta(days=1)
MOST_CALLS = 500


@dataclass(frozen=True, slots=True)
class Days:
    """Days from `first` to `last`, both included, as the clinic's calendar shows them.

    Attributes:
        first: the first day.
        last: the last day.
        zone: of the clinic; plans keep days of their own, moments are counted in it.
        reason: only plans with this reason, or "" for all.
        limit: the most rows of each kind.
    """

    first: date
    last: date
    zone: str
    reason: str = ""
    limit: int = 0

    def bounds_ms(self) -> tuple[int, int]:
        """Return where the days begin and end in the clinic's zone; the end is not included."""
        zone = ZoneInfo(self.zone)
        begins = (self.first, self.last + _DAY)
        first, end = (int(datetime.combine(d, time(), zone).timestamp() * 1000) for d in begins)
        return first, end


@dataclass(frozen=True, slots=True)
class Counted:
    """How many plans of a reason there are on a day."""

    day: date
    reason: str
    n: int


def day_of(at_ms: int, zone: str) -> date:
    """Return the day of a moment."""
    return datetime.fromtimestamp(at_ms / 1000, ZoneInfo(zone)).date()


def _near_ms(days: Days) -> tuple[int, int]:
    """Return moments that no zone's days go beyond: none is further than 14 hours away."""
    ends = (days.first - _DAY, days.last + 2 * _DAY)
    first, end = (int(datetime.combine(d, time(), UTC).timestamp() * 1000) for d in ends)
    return first, end


def _within(column: Any, bounds: tuple[int, int]) -> ColumnElement[bool]:
    return and_(column >= bounds[0], column < bounds[1])


def _written(column: Any, days: Days) -> ColumnElement[bool]:
    return column.between(days.first.isoformat(), days.last.isoformat())


def count_visits(connection: Connection, days: Days) -> list[Counted]:
    """Count booked visits of running plans."""
    query = (
        select(follow_up.c.visit_day, follow_up.c.reason, func.count())
        .where(IS_RUNNING, _written(follow_up.c.visit_day, days))
        .group_by(follow_up.c.visit_day, follow_up.c.reason)
    )
    return [Counted(date.fromisoformat(d), r, n) for d, r, n in connection.execute(query)]


def count_due(connection: Connection, days: Days) -> list[Counted]:
    """Count running plans that are due and have no booked visit."""
    written = (
        select(follow_up.c.due_day, follow_up.c.reason, func.count())
        .where(IS_RUNNING, _written(follow_up.c.due_day, days), follow_up.c.visit_day.is_(None))
        .group_by(follow_up.c.due_day, follow_up.c.reason)
    )
    found = [Counted(date.fromisoformat(d), r, n) for d, r, n in connection.execute(written)]
    # Plans of earlier versions have a moment and a zone instead of a day.
    quarter = (follow_up.c.due_at_ms // _QUARTER_MS).label("quarter")
    moments = (
        select(quarter, follow_up.c.zone, follow_up.c.reason, func.count())
        .where(
            IS_RUNNING_WITHOUT_DAY,
            _within(follow_up.c.due_at_ms, _near_ms(days)),
            follow_up.c.visit_day.is_(None),
        )
        .group_by(quarter, follow_up.c.zone, follow_up.c.reason)
    )
    counted = [
        Counted(day_of(q * _QUARTER_MS, zone), reason, n)
        for q, zone, reason, n in connection.execute(moments)
    ]
    return found + [each for each in counted if days.first <= each.day <= days.last]


def count_messages(connection: Connection, days: Days) -> list[Counted]:
    """Count reminders that are to go out."""
    quarter = (reminder.c.due_at_ms // _QUARTER_MS).label("quarter")
    query = (
        select(quarter, follow_up.c.reason, func.count())
        .join(follow_up, follow_up.c.id == reminder.c.follow_up_id)
        .where(IS_TO_COME, _within(reminder.c.due_at_ms, days.bounds_ms()))
        .group_by(quarter, follow_up.c.reason)
    )
    return [
        Counted(day_of(q * _QUARTER_MS, days.zone), reason, n)
        for q, reason, n in connection.execute(query)
    ]


_PLAN = (
    follow_up.c.id.label("plan_id"),
    follow_up.c.reason,
    follow_up.c.urgency,
    follow_up.c.visit_day,
    follow_up.c.visit_time,
    follow_up.c.place_sealed,
    follow_up.c.due_at_ms,
    follow_up.c.due_day,
    follow_up.c.zone,
    conversation.c.patient_id,
    conversation.c.channel,
)


def _of(days: Days, query: Select[*tuple[Any, ...]]) -> Select[*tuple[Any, ...]]:
    query = query.join(conversation, conversation.c.id == follow_up.c.conversation_id)
    if days.reason:
        query = query.where(follow_up.c.reason == days.reason)
    return query.limit(days.limit)


def _rows(connection: Connection, query: Select[*tuple[Any, ...]]) -> list[dict[str, Any]]:
    return [dict(row) for row in connection.execute(query).mappings()]


def visits(connection: Connection, days: Days) -> list[dict[str, Any]]:
    """Return booked visits, by day and hour; the place is still sealed."""
    query = select(*_PLAN).select_from(follow_up)
    query = query.where(IS_RUNNING, _written(follow_up.c.visit_day, days))
    in_order = (follow_up.c.visit_day, func.coalesce(follow_up.c.visit_time, "99"), follow_up.c.id)
    return _rows(connection, _of(days, query.order_by(*in_order)))


def due(connection: Connection, days: Days) -> list[dict[str, Any]]:
    """Return plans that are due and have no booked visit."""
    is_open = follow_up.c.visit_day.is_(None)
    plans = select(*_PLAN).select_from(follow_up)
    written = plans.where(IS_RUNNING, _written(follow_up.c.due_day, days), is_open)
    near = _within(follow_up.c.due_at_ms, _near_ms(days))
    moments = plans.where(IS_RUNNING_WITHOUT_DAY, near, is_open)
    found = _rows(connection, _of(days, written.order_by(follow_up.c.due_day, follow_up.c.id)))
    older = _rows(connection, _of(days, moments.order_by(follow_up.c.due_at_ms)))
    found += [r for r in older if days.first <= day_of(r["due_at_ms"], r["zone"]) <= days.last]
    return found[: days.limit]


def messages(connection: Connection, days: Days) -> list[dict[str, Any]]:
    """Return reminders that are to go out, in their order."""
    query = (
        select(*_PLAN, reminder.c.due_at_ms.label("at_ms"))
        .select_from(reminder)
        .join(follow_up, follow_up.c.id == reminder.c.follow_up_id)
        .where(IS_TO_COME, _within(reminder.c.due_at_ms, days.bounds_ms()))
        .order_by(reminder.c.due_at_ms, reminder.c.id)
    )
    return _rows(connection, _of(days, query))


def calls(connection: Connection, _argument: None = None) -> Sequence[dict[str, Any]]:
    """Return open follow-up tasks with the reason of the conversation's running plan."""
    plan = follow_up.alias("plan")
    reason = (
        select(plan.c.reason)
        .where(plan.c.conversation_id == staff_task.c.conversation_id, plan.c.state == "active")
        .order_by(plan.c.id.desc())
        .limit(1)
        .correlate(staff_task)
        .scalar_subquery()
    )
    query = (
        select(
            staff_task.c.id.label("task_id"),
            staff_task.c.urgency,
            staff_task.c.created_at_ms,
            staff_task.c.deadline_ms,
            conversation.c.patient_id,
            conversation.c.channel,
            staff.c.name.label("claimed_name"),
            reason.label("reason"),
        )
        .join(conversation, conversation.c.id == staff_task.c.conversation_id)
        .outerjoin(staff, staff.c.id == staff_task.c.claimed_by)
        .where(IS_OPEN_TASK, staff_task.c.kind == "follow_up")
        .order_by(staff_task.c.created_at_ms)
        .limit(MOST_CALLS)
    )
    return _rows(connection, query)
