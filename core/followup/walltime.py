"""Wall-clock times and moments: what a clock in some zone shows, and when that is.

A reminder is planned as a wall time ("Saturday, 9:31 where the patient lives"). Its moment is
computed, and computed again when the patient travels or when governments change their clocks.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

_MOST_DAYS = 4  # a zone may skip a whole day (Samoa did, 2011-12-30)


def moment_ms(wall: datetime, zone: str) -> int:
    """Return when a clock in `zone` shows `wall`, as UTC epoch milliseconds.

    A time that the clocks skip is taken as much later as they jump; one that they show twice is
    taken the first time.

    Args:
        wall: without a zone.
        zone: IANA name.
    """
    moment = wall.replace(tzinfo=ZoneInfo(zone), fold=0).astimezone(UTC)
    return int(moment.timestamp() * 1000)


def wall_of(at_ms: int, zone: str) -> datetime:
    """Return what a clock in `zone` shows at a moment, without its zone."""
    return datetime.fromtimestamp(at_ms / 1000, ZoneInfo(zone)).replace(tzinfo=None, fold=0)


def day_of(at_ms: int, zone: str) -> date:
    """Return the day in `zone` at a moment."""
    return wall_of(at_ms, zone).date()


def next_daily(after_ms: int, at: time, zone: str) -> tuple[int, date]:
    """Return the next moment at which something daily happens, and the local day it belongs to.

    Each local day has exactly one moment, so what is keyed by that day happens once on the night
    the clocks go back, and also on the night they skip the time.

    Args:
        after_ms: the moment returned is later than this.
        at: local time of day.
        zone: IANA name.
    """
    first = day_of(after_ms, zone)
    for days in range(_MOST_DAYS):
        day = first + timedelta(days=days)
        moment = moment_ms(datetime.combine(day, at), zone)
        if moment > after_ms:
            return moment, day
    raise ValueError(f"no {at} within {_MOST_DAYS} days in {zone}")
