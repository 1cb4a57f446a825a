"""When reminders go out: the ladder of specification §4, in the patient's own daytime.

Booked visits: 7, 3 and 1 days before (7 and 3 days raised attendance in rural Guangdong, Chen
2018 AJO 194:54), then the question whether they were seen. Visits only due: 14 days before, on the
day, 7 and 21 days after, then staff. Referrals: the next day, the third day, then a call by staff.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from core.followup.cadence import CADENCES, STANDARD, Cadence
from core.followup.calendar import ALWAYS_OPEN, OpenDays
from core.urgency import Urgency

QUIET_FROM, QUIET_UNTIL = time(21, 0), time(8, 0)  # specification §4
_FIRST_MINUTE, _SPREAD_MINUTES = 9 * 60, 90  # reminders fall between 9:00 and 10:30

STEPS = (
    "before_14",
    "before_7",
    "before_3",
    "before_1",
    "due",
    "after_7",
    "after_21",
    "day_1",
    "day_3",
    "ask_seen",
    "ask_again",
    "staff_call",
)
# On these days the person is asked to book or to go: not while the clinic is closed.
_WANT_OPEN = ("before_14", "due", "after_7", "after_21")


@dataclass(frozen=True, slots=True)
class ReminderTime:
    """One step of a ladder; ``staff_call`` is work for staff, not a message.

    Attributes:
        at_ms: UTC epoch milliseconds, never in the patient's quiet hours.
        step: one of `STEPS`.
        wall: the same as a clock in the patient's zone shows it (ISO), or "" for a step that comes
            so many hours after, whatever the clock.
    """

    at_ms: int
    step: str
    wall: str = ""


@dataclass(slots=True)
class _Quiet:
    begin: time = QUIET_FROM
    end: time = QUIET_UNTIL


_quiet = _Quiet()


def keep_quiet(begin: time | None, end: time | None) -> None:
    """Leave people in peace between these local times in this process; None = as specified."""
    _quiet.begin, _quiet.end = begin or QUIET_FROM, end or QUIET_UNTIL


def is_quiet(moment: time) -> bool:
    """Tell whether people are left in peace at a local time."""
    return not _quiet.end <= moment < _quiet.begin


def out_of_quiet_hours(now_ms: int, zone: str, *, spread: int) -> int:
    """Return `now_ms`, or a minute of the next morning's first hour when people sleep.

    `spread` keeps a thousand messages from going out at 08:00 sharp.
    """
    where = ZoneInfo(zone)
    local = datetime.fromtimestamp(now_ms / 1000, where)
    if not is_quiet(local.time()):
        return now_ms
    day = local.date() + timedelta(days=1 if local.time() >= _quiet.begin else 0)
    opening = datetime.combine(day, _quiet.end, where).astimezone(UTC)
    return int((opening + timedelta(minutes=spread % 60, seconds=spread % 59)).timestamp() * 1000)


def _local(day: date, minute: int, zone: ZoneInfo) -> datetime:
    """Return a local time that exists: a time skipped by the clocks moves forward."""
    wall = datetime.combine(day, time(minute // 60, minute % 60), zone)
    return wall.astimezone(UTC).astimezone(zone)


def _awake(moment: datetime, minute: int, zone: ZoneInfo) -> datetime:
    """Return the moment, or the next morning's minute when it falls into quiet hours."""
    while is_quiet(moment.time()):
        evening = moment.time() >= _quiet.begin
        day = moment.date() + timedelta(days=1 if evening else 0)
        later = _local(day, minute, zone)
        moment = later if later > moment else _local(day + timedelta(days=1), minute, zone)
    return moment


def _named(days: int) -> str:
    return f"before_{-days}" if days < 0 else f"after_{days}" if days else "due"


def _days(
    due: date, today: date, booked: bool, urgency: Urgency, cadence: Cadence
) -> Iterator[tuple[str, date]]:
    """Yield the ladder's steps that are tied to a day."""
    if booked:
        for before in cadence.booked:
            yield _named(-before), due - timedelta(days=before)
        yield "ask_seen", due + timedelta(days=1)
        yield "ask_again", due + timedelta(days=4)
        yield "staff_call", due + timedelta(days=8)
        return
    if urgency.rank <= Urgency.TWO_WEEKS.rank:
        yield "day_1", today + timedelta(days=1)
        yield "day_3", today + timedelta(days=3)
        if urgency.rank > Urgency.SAME_DAY.rank:
            yield "staff_call", today + timedelta(days=5)
        if due > today + timedelta(days=5):
            yield "due", due
            yield "ask_seen", due + timedelta(days=3)
        return
    for days in cadence.due:
        yield _named(days), due + timedelta(days=days)
    yield "staff_call", due + timedelta(days=28)


def reminder_times(
    due_at_ms: int,
    *,
    now_ms: int,
    zone: str,
    booked: bool,
    urgency: Urgency,
    seed: str = "",
    arm: str = STANDARD,
    open_days: OpenDays = ALWAYS_OPEN,
) -> tuple[ReminderTime, ...]:
    """Return the whole ladder, earliest first; only future times, none in quiet hours.

    Args:
        due_at_ms: when the visit is due or booked, UTC epoch milliseconds.
        now_ms: the present.
        zone: the patient's IANA zone.
        booked: a visit is arranged.
        urgency: class of the follow-up; urgent ones have the referral ladder.
        seed: spreads people over the morning; the same seed gives the same times. Without one
            the moment of planning spreads them.
        arm: name of the cadence; one that is no longer there counts as the standard.
        open_days: messages that ask to book wait for the next open day.
    """
    where = ZoneInfo(zone)
    digest = hashlib.sha256((seed or str(now_ms)).encode()).digest()
    minute = _FIRST_MINUTE + int.from_bytes(digest[:4], "big") % _SPREAD_MINUTES
    second = timedelta(seconds=digest[4] % 60)
    now = datetime.fromtimestamp(now_ms / 1000, where)
    due = datetime.fromtimestamp(due_at_ms / 1000, where).date()
    cadence = CADENCES.get(arm, CADENCES[STANDARD])
    times: dict[int, ReminderTime] = {}
    urgent = urgency.rank <= Urgency.TWO_WEEKS.rank
    for step, planned in _days(due, now.date(), booked, urgency, cadence):
        waits = step in _WANT_OPEN and not (booked or urgent)
        day = open_days.on_or_after(planned) if waits else planned
        at = _awake(_local(day, minute, where) + second, minute, where)
        at_ms = int(at.timestamp() * 1000)
        times[at_ms] = ReminderTime(at_ms, step, _wall(at))
    hours = {Urgency.IMMEDIATE: 2, Urgency.SAME_DAY: 24}.get(urgency)
    if hours is not None and not booked:
        # Nobody pressed anything: a person calls, two hours or a day later.
        call = (now.astimezone(UTC) + timedelta(hours=hours)).astimezone(where)
        at_ms = int(_awake(call, minute, where).timestamp() * 1000)
        times[at_ms] = ReminderTime(at_ms, "staff_call")
    return tuple(times[at] for at in sorted(times) if at > now_ms)


def _wall(at: datetime) -> str:
    return at.replace(tzinfo=None, fold=0).isoformat(timespec="seconds")
