"""The calendar of follow-ups over the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from adapters.console.calendar_ports import DayCount, Entry, Kind
from adapters.console.recall_desk import deadline_ms
from core.clock import Clock
from core.store import calendar
from core.store.calendar import Counted, Days, day_of
from core.store.recall import PLACE
from core.store.store import Store


class CalendarDesk:
    """Implements `FollowUpCalendar`.

    Args:
        store: where everything is.
        clock: tells what is late.
        zone: IANA zone of the clinic.
    """

    def __init__(self, store: Store, clock: Clock, zone: str) -> None:
        self._store = store
        self._clock = clock
        self._zone = zone

    async def counts(self, first: date, last: date) -> Sequence[DayCount]:
        """Return how many there are of each kind and reason."""
        days = Days(first, last, self._zone)
        found = [
            *_of("visit", await self._store.read(calendar.count_visits, days)),
            *_of("due", await self._store.read(calendar.count_due, days)),
            *_of("message", await self._store.read(calendar.count_messages, days)),
        ]
        for row in await self._store.read(calendar.calls, None):
            day = self._day_of_call(row)
            if first <= day <= last:
                found.append(DayCount(day, "call", row["reason"] or "", 1))
        return found

    async def entries(self, day: date, *, reason: str, limit: int) -> Sequence[Entry]:
        """Return who is on a day."""
        days = Days(day, day, self._zone, reason, limit)
        is_past = day < self._today()
        calls = [
            row
            for row in await self._store.read(calendar.calls, None)
            if self._day_of_call(row) == day and (not reason or row["reason"] == reason)
        ]
        calls.sort(key=deadline_ms)
        due = await self._store.read(calendar.due, days)
        return [
            *(self._visit(r, is_past) for r in await self._store.read(calendar.visits, days)),
            *(self._call(r) for r in calls[:limit]),
            *(_entry("due", r, is_late=is_past) for r in due),
            *(self._message(r) for r in await self._store.read(calendar.messages, days)),
        ]

    def _today(self) -> date:
        return day_of(self._clock.now_ms(), self._zone)

    def _day_of_call(self, row: Mapping[str, Any]) -> date:
        return max(day_of(deadline_ms(row), self._zone), self._today())

    def _visit(self, row: Mapping[str, Any], is_past: bool) -> Entry:
        sealed = row["place_sealed"]
        place = str(self._store.keys.open_json(PLACE, sealed) or "") if sealed else ""
        return _entry("visit", row, at=row["visit_time"] or "", place=place, is_late=is_past)

    def _call(self, row: Mapping[str, Any]) -> Entry:
        until_ms = deadline_ms(row)
        return _entry(
            "call",
            row,
            at=self._clock_time(until_ms),
            task_id=row["task_id"],
            is_late=until_ms < self._clock.now_ms(),
            claimed_by=row["claimed_name"],
        )

    def _message(self, row: Mapping[str, Any]) -> Entry:
        return _entry("message", row, at=self._clock_time(row["at_ms"]))

    def _clock_time(self, at_ms: int) -> str:
        return f"{datetime.fromtimestamp(at_ms / 1000, ZoneInfo(self._zone)):%H:%M}"


def _of(kind: Kind, counted: Sequence[Counted]) -> list[DayCount]:
    return [DayCount(each.day, kind, each.reason, each.n) for each in counted]


def _entry(kind: Kind, row: Mapping[str, Any], **more: Any) -> Entry:
    patient = f"P-{row['patient_id']}" if row["patient_id"] else "-"
    return Entry(kind, patient, row["channel"], row["reason"] or "", **more)
