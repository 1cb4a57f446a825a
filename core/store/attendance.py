"""Reads the plans of a period for the report on attendance (`core.followup.report`)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, and_, exists, or_, select

from core.followup.report import PlanRow
from core.store.tables import conversation, follow_up, reminder


@dataclass(frozen=True, slots=True)
class Period:
    """Days from `first` to `last`, both included."""

    first: date
    last: date


def _noon_ms(day: date) -> int:
    return int(datetime.combine(day, time(12), UTC).timestamp() * 1000)


def _day(at_ms: int, zone: str) -> date:
    return datetime.fromtimestamp(at_ms / 1000, ZoneInfo(zone)).date()


def plans_due(connection: Connection, period: Period) -> list[PlanRow]:
    """Return the plans whose visit was due in the period, without anything that names a person."""
    said = exists().where(reminder.c.follow_up_id == follow_up.c.id, reminder.c.outcome == "said")
    # Plans without a day of their own have a moment: no zone is further than 14 hours away.
    one = timedelta(days=1)
    near = follow_up.c.due_at_ms.between(_noon_ms(period.first - one), _noon_ms(period.last + one))
    query = (
        select(
            follow_up.c.conversation_id,
            follow_up.c.reason,
            follow_up.c.arm,
            follow_up.c.zone,
            follow_up.c.state,
            follow_up.c.created_at_ms,
            follow_up.c.changed_at_ms,
            follow_up.c.due_at_ms,
            follow_up.c.due_day,
            follow_up.c.visit_day,
            follow_up.c.confirmed_at_ms,
            follow_up.c.outcome_day,
            conversation.c.channel,
            conversation.c.patient_id,
            said.label("reminded"),
        )
        .join(conversation, conversation.c.id == follow_up.c.conversation_id)
        .where(
            or_(
                follow_up.c.due_day.between(period.first.isoformat(), period.last.isoformat()),
                and_(follow_up.c.due_day.is_(None), near),
            )
        )
        .order_by(follow_up.c.id)
    )
    return [
        PlanRow(
            person=row.patient_id or -row.conversation_id,
            reason=row.reason,
            channel=row.channel,
            arm=row.arm,
            planned_day=_day(row.created_at_ms, row.zone),
            due_day=(
                date.fromisoformat(row.due_day) if row.due_day else _day(row.due_at_ms, row.zone)
            ),
            state=row.state,
            changed_day=_day(row.changed_at_ms, row.zone),
            reminded=bool(row.reminded),
            confirmed=row.visit_day is not None or row.confirmed_at_ms is not None,
            seen_day=_seen_day(row.state, row.outcome_day, _day(row.changed_at_ms, row.zone)),
        )
        for row in connection.execute(query)
    ]


def _seen_day(state: str, said: str | None, noted: date) -> date | None:
    """Return the day the patient was seen; without one that was told, the day we heard of it."""
    if state != "seen":
        return None
    return date.fromisoformat(said) if said else noted
