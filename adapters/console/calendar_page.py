"""The calendar of follow-ups: how many on each day, and who they are."""

from __future__ import annotations

from calendar import Calendar
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from aiohttp import web
from jinja2 import Environment

from adapters.console.calendar_ports import KINDS, DayCount, Entry, FollowUpCalendar
from adapters.console.frame import frame
from adapters.console.settings import ConsoleSettings
from adapters.http.language import Texts, language_of, texts_in
from adapters.http.pages import html
from core.clock import Clock
from core.followup.calendar import OpenDays
from core.message import Language
from core.texts import catalogue

_PAGE = "/console/calendar"
_SHOWN = 100
_FURTHEST = timedelta(days=3 * 366)
_WEEK = timedelta(days=7)
_WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


class CalendarPage:
    """Serves ``/console/calendar``: a month where there is room, a week on a phone, one day below.

    Both tables are in the page and the style sheet shows one of them, so nothing needs a script.
    """

    def __init__(
        self,
        *,
        settings: ConsoleSettings,
        calendar: FollowUpCalendar,
        open_days: OpenDays,
        templates: Environment,
        clock: Clock,
    ) -> None:
        self._calendar = calendar
        self._open_days = open_days
        self._page = templates.get_template("calendar.html")
        self._clock = clock
        self._zone = ZoneInfo(settings.timezone)

    async def get(self, request: web.Request) -> web.StreamResponse:
        """Show a day with its week and month; a day that makes no sense is today."""
        today = datetime.fromtimestamp(self._clock.now_ms() / 1000, self._zone).date()
        day = _day(request.query.get("day"), today)
        reason = request.query.get("reason", "")[:64]
        weeks = Calendar().monthdatescalendar(day.year, day.month)
        counts = await self._calendar.counts(weeks[0][0], weeks[-1][-1])
        reasons = sorted({each.reason for each in counts if each.reason} | {reason} - {""})
        shown = [each for each in counts if not reason or each.reason == reason]
        entries = await self._calendar.entries(day, reason=reason, limit=_SHOWN)
        language = language_of(request)
        say = texts_in(language)

        def link(to: date) -> str:
            query = {"day": to.isoformat(), **({"reason": reason} if reason else {})}
            return f"{_PAGE}?{urlencode(query)}"

        month = [[self._cell(d, day, today, shown, link, say) for d in week] for week in weeks]
        week = next(cells for days, cells in zip(weeks, month, strict=True) if day in days)
        page = self._page.render(
            **frame(request, _PAGE),
            kinds=KINDS,
            month=month,
            week=week,
            month_name=_month_name(day, say),
            weekdays=[say(f"console.calendar.weekday.{name}") for name in _WEEKDAYS],
            day=day,
            day_name=_day_name(day, say),
            is_today=day == today,
            is_open=self._open_days.is_open(day),
            links={
                "today": link(today),
                "month_before": link(day.replace(day=1) - timedelta(days=1)),
                "month_after": link((day.replace(day=28) + _WEEK).replace(day=1)),
                "week_before": link(day - _WEEK),
                "week_after": link(day + _WEEK),
            },
            reason=reason,
            reasons=[(each, reason_name(each, language)) for each in reasons],
            groups=_groups(entries, language),
            is_cut=any(n >= _SHOWN for n in Counter(each.kind for each in entries).values()),
            limit=_SHOWN,
        )
        return html(page)

    def _cell(
        self,
        day: date,
        chosen: date,
        today: date,
        counts: Sequence[DayCount],
        link: Callable[[date], str],
        say: Texts,
    ) -> dict[str, object]:
        numbers = {
            kind: sum(each.n for each in counts if each.day == day and each.kind == kind)
            for kind in KINDS
        }
        return {
            "day": day,
            "name": _day_name(day, say),
            "link": link(day),
            "numbers": numbers,
            "is_chosen": day == chosen,
            "is_today": day == today,
            "is_open": self._open_days.is_open(day),
            "is_near": day.month == chosen.month,
        }


def _groups(entries: Sequence[Entry], language: Language) -> list[tuple[str, list[object]]]:
    """Return the kinds a day has, each with its people and what is to be done."""
    say = texts_in(language)
    found: list[tuple[str, list[object]]] = []
    for kind in KINDS:
        people: list[object] = [
            {
                "entry": entry,
                "reason": reason_name(entry.reason, language) if entry.reason else "",
                "to_do": say(f"console.calendar.to_do.{kind}{'_late' if entry.is_late else ''}"),
            }
            for entry in entries
            if entry.kind == kind
        ]
        if people:
            found.append((kind, people))
    return found


def reason_name(reason: str, language: Language) -> str:
    """Return a reason in words; one of the clinic's own table is called what it is called there."""
    return catalogue(language).get(f"console.reason.{reason}", reason)


def _day(written: str | None, today: date) -> date:
    try:
        day = date.fromisoformat(written) if written else today
    except ValueError:
        return today
    return day if abs(day - today) <= _FURTHEST else today


def _day_name(day: date, say: Texts) -> str:
    weekday = say(f"console.calendar.weekday.{_WEEKDAYS[day.weekday()]}")
    return say("console.calendar.day", weekday=weekday, month=day.month, day=day.day)


def _month_name(day: date, say: Texts) -> str:
    return say(
        "console.calendar.month",
        year=day.year,
        month=say(f"console.calendar.months.{_MONTHS[day.month - 1]}"),
    )
