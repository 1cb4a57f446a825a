"""What the service did in a period, as figures and bars: readings, triage, agreement."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

from aiohttp import web
from jinja2 import Environment
from markupsafe import Markup

from adapters.console.frame import frame
from adapters.console.settings import ConsoleSettings
from adapters.http.language import Texts, language_of, texts_in
from adapters.http.pages import html
from core.clock import Clock
from core.followup.report import Share
from core.insight import MOST_ROWS, Agreement, Insight, Period, insight
from core.store.store import Store
from core.urgency import Urgency

_PAGE = "/console/insight"
_LONGEST = timedelta(days=10 * 366)
_USUAL = timedelta(days=90)
_READINGS = ("refer", "borderline", "negative", "ungradable", "not_fundus", "unread")
_GRADES = range(5)
_BAR = Markup(
    '<svg class="bar-line" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
    '<rect class="bar-all" width="100" height="10"/>'
    '<rect class="bar-part" width="{:.2f}" height="10"/></svg>'
)


class Insights(Protocol):
    """Where the counts come from."""

    async def insight(self, first_ms: int, end_ms: int) -> Insight:
        """Count from `first_ms` until before `end_ms`."""
        ...


class StoredInsights:
    """Implements `Insights` over the store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def insight(self, first_ms: int, end_ms: int) -> Insight:
        """Count a period."""
        return await self._store.read(insight, Period(first_ms, end_ms, self._store.keys))


class InsightPage:
    """Serves ``/console/insight``."""

    def __init__(
        self,
        *,
        settings: ConsoleSettings,
        insights: Insights,
        templates: Environment,
        clock: Clock,
    ) -> None:
        self._insights = insights
        self._page = templates.get_template("insight.html")
        self._clock = clock
        self._zone = ZoneInfo(settings.timezone)

    async def get(self, request: web.Request) -> web.StreamResponse:
        """Show a period; days that make no sense become the last ninety."""
        today = datetime.fromtimestamp(self._clock.now_ms() / 1000, self._zone).date()
        last = min(_day(request.query.get("to")) or today, today)
        first = _day(request.query.get("from")) or last - _USUAL
        if not timedelta() <= last - first <= _LONGEST:
            first = last - _USUAL
        found = await self._insights.insight(self._ms(first), self._ms(last + timedelta(days=1)))
        say = texts_in(language_of(request))
        urgencies = [str(urgency) for urgency in Urgency if found.triage[str(urgency)]]
        page = self._page.render(
            **frame(request, _PAGE),
            first=first,
            last=last,
            today=today,
            found=found,
            most=MOST_ROWS,
            readings=_bars(
                [(say(f"console.insight.reading.{w}"), found.readings[w]) for w in _READINGS]
            ),
            triage=_bars([(say(f"console.urgency.{w}"), found.triage[w]) for w in urgencies]),
            shares=_shares(found.agreement, say),
            grades=_GRADES if found.agreement.grades else (),
        )
        return html(page)

    def _ms(self, day: date) -> int:
        return int(datetime(day.year, day.month, day.day, tzinfo=self._zone).timestamp() * 1000)


def _day(written: str | None) -> date | None:
    try:
        return date.fromisoformat(written) if written else None
    except ValueError:
        return None


def _bars(counts: Sequence[tuple[str, int]]) -> list[tuple[str, int, str, Markup]]:
    """Return each name with its count, its share in words and its bar."""
    total = sum(count for _, count in counts)
    return [
        (name, count, f"{count / total:.0%}", _BAR.format(100 * count / total))
        for name, count in counts
        if total
    ]


def _shares(found: Agreement, say: Texts) -> list[tuple[str, str]]:
    """Return what doctors and the reader agree on, each as a share with its interval."""
    wanted = (
        ("agrees", Share(found.agree, found.agree + found.disagree)),
        ("found", Share(found.both_refer, found.both_refer + found.only_doctor)),
        ("cleared", Share(found.neither, found.neither + found.only_reader)),
    )
    lines: list[tuple[str, str]] = []
    for name, share in wanted:
        if share.value is not None and share.interval is not None:
            low, high = share.interval
            figures = f"{share.value:.0%} ({low:.0%}–{high:.0%}), {share.hits}/{share.of}"
            lines.append((say(f"console.insight.{name}"), figures))
    return lines
