"""The page that shows whether patients came: a chart, and the table it was drawn from."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from aiohttp import web
from jinja2 import Environment

from adapters.console.chart import bar, swatch
from adapters.console.frame import frame
from adapters.console.recall_ports import Attendance
from adapters.console.session import Doorkeeper
from adapters.console.settings import ConsoleSettings
from adapters.console.today import PAGES
from adapters.http.language import Texts, language_of, texts_in
from adapters.http.pages import html
from core.clock import Clock
from core.followup.report import (
    FATES,
    GROUPINGS,
    LOST_AFTER_DAYS,
    METHOD,
    Comparison,
    Figures,
    Grouping,
    Share,
    report,
)
from core.message import Language
from core.texts import catalogue

_LONGEST = timedelta(days=10 * 366)


class AttendancePage:
    """Serves ``/console/attendance``."""

    def __init__(
        self,
        *,
        settings: ConsoleSettings,
        attendance: Attendance,
        doorkeeper: Doorkeeper,
        templates: Environment,
        clock: Clock,
    ) -> None:
        self._attendance = attendance
        self._doorkeeper = doorkeeper
        self._page = templates.get_template("attendance.html")
        self._clock = clock
        self._zone = ZoneInfo(settings.timezone)

    async def get(self, request: web.Request) -> web.StreamResponse:
        """Show a period; days that make no sense become the last year."""
        visit = await self._doorkeeper.visit(request)
        if visit is None:
            raise web.HTTPSeeOther("/console/login")
        today = datetime.fromtimestamp(self._clock.now_ms() / 1000, self._zone).date()
        last = min(_day(request.query.get("to")) or today, today)
        first = _day(request.query.get("from")) or last - timedelta(days=365)
        if not timedelta() <= last - first <= _LONGEST:
            first = last - timedelta(days=365)
        by = _grouping(request.query.get("by"))
        rows = await self._attendance.plans_due(first, last)
        found = report(rows, first=first, last=last, today=today)
        language = language_of(request)
        say = texts_in(language)
        groups = [(_name(by, key, language), figures) for key, figures in found.groups[by].items()]
        page = self._page.render(
            **frame(request, PAGES[2]),
            today=today,
            found=found,
            by=by,
            groupings=GROUPINGS,
            headline=_shown(found.total.attendance, say),
            fates=[(fate, say(f"console.attendance.fate.{fate}")) for fate in FATES],
            swatch=swatch,
            bars=[
                {
                    "name": name,
                    "picture": bar(figures, name=f"bar{n}", label=_in_words(figures, say)),
                }
                for n, (name, figures) in enumerate(groups)
            ],
            columns=[
                *(say(f"console.attendance.column.{c}") for c in ("due", "reminded", "confirmed")),
                *(say(f"console.attendance.fate.{fate}") for fate in FATES),
                say("console.attendance.column.attendance"),
            ],
            table=[
                (name, *_cells(figures, say))
                for name, figures in (*groups, (say("console.attendance.all"), found.total))
            ],
            compared=[_compared(one, language) for one in found.comparisons],
            method=METHOD,
            lost_after=LOST_AFTER_DAYS,
        )
        return html(page)


def _day(written: str | None) -> date | None:
    try:
        return date.fromisoformat(written) if written else None
    except ValueError:
        return None


def _grouping(written: str | None) -> Grouping:
    for word in GROUPINGS:
        if word == written:
            return word
    return "reason"


def _name(by: Grouping, key: str, language: Language) -> str:
    """Return a group's name; a rule of the clinic's own table is called what it is called there."""
    return catalogue(language).get(f"console.{by}.{key}", key)


def _cells(figures: Figures, say: Texts) -> list[str]:
    counts = (figures.due, figures.reminded, figures.confirmed, *figures.fates.values())
    return [*map(str, counts), _shown(figures.attendance, say)]


def _shown(share: Share, say: Texts) -> str:
    if share.value is None or share.interval is None:
        return "–"
    low, high = share.interval
    between = say("console.attendance.between", low=f"{low:.0%}", high=f"{high:.0%}")
    return f"{share.value:.0%} {between}"


def _in_words(figures: Figures, say: Texts) -> str:
    parts = [f"{say(f'console.attendance.fate.{f}')} {figures.fates[f]}" for f in FATES]
    rate = f"{say('console.attendance.column.attendance')} {_shown(figures.attendance, say)}"
    return ", ".join((*parts, rate))


def _compared(one: Comparison, language: Language) -> str:
    say = texts_in(language)
    fields = {
        "arm": _name("arm", one.arm, language),
        "reference": _name("arm", one.reference, language),
        "share": _shown(one.share, say),
        "reference_share": _shown(one.reference_share, say),
    }
    difference, interval = one.difference, one.interval
    if difference is None or interval is None:
        return say("console.attendance.not_yet", **fields)
    points = [f"{100 * value:+.1f}" for value in (difference, *interval)]
    return say(
        "console.attendance.compared",
        **fields,
        difference=points[0],
        low=points[1],
        high=points[2],
    )
