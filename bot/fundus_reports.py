"""`fundus drift` and `fundus agreement`: what became of stored readings, and what doctors say."""

from __future__ import annotations

import json
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from bot.settings import Settings
from core import agreement, drift
from core.clock import SystemClock
from core.errors import ConfigError
from core.followup.report import Share
from core.reading import Reading
from core.store.engine import make_engine, parse_url
from core.store.keycheck import open_keyring
from core.store.keyring import Keyring
from core.store.readings import Period, readings_of, reviews_of
from core.turn.completion import READING
from core.turn.photos import reading_from_json
from migrations import HEAD, current

_WEEKS = 12


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")


def print_drift(settings: Settings, *, first: str | None, last: str | None, as_json: bool) -> int:
    """Print what the reader said by week and channel; returns 1 when a week differs.

    Args:
        settings: which database, and the clinic's zone.
        first: first day (ISO); None = twelve weeks before the last.
        last: last day (ISO), included; None = today.
        as_json: print JSON.

    Raises:
        ConfigError: a day is none, or there is no database of this version.
    """
    period = _period(settings, first, last, days=7 * _WEEKS)
    with _opened(settings) as (connection, keys):
        weeks = drift.weekly(
            (
                drift.Received(r.channel, r.received_at_ms, _reading(keys, r.reading_sealed))
                for r in readings_of(connection, period)
            ),
            zone=settings.dialog.zone,
        )
    if as_json:
        _say(json.dumps(drift.to_json(weeks), ensure_ascii=False))
    else:
        for line in _drift_lines(weeks):
            _say(line)
    return 1 if any(week.shifts for week in weeks) else 0


def print_agreement(
    settings: Settings, *, first: str | None, last: str | None, as_json: bool
) -> int:
    """Print how far reader and doctors agree, by version of the weights.

    Args:
        settings: which database, and the clinic's zone.
        first: first day of the photos (ISO); None = a year before the last.
        last: last day (ISO), included; None = today.
        as_json: print JSON.

    Raises:
        ConfigError: a day is none, or there is no database of this version.
    """
    period = _period(settings, first, last, days=365)
    with _opened(settings) as (connection, keys):
        found = agreement.agreement(
            agreement.Reviewed(
                r.patient,
                reading_from_json(keys.open_json(READING, r.reading_sealed)),
                agrees=r.agrees,
                gradable=r.gradable,
                dr_grade=r.dr_grade,
                dme=r.dme,
                glaucoma=r.glaucoma,
                amd=r.amd,
                pm=r.pm,
            )
            for r in reviews_of(connection, period)
        )
    if as_json:
        _say(json.dumps(agreement.to_json(found), ensure_ascii=False))
    else:
        for line in _agreement_lines(found):
            _say(line)
    return 0


@contextmanager
def _opened(settings: Settings) -> Generator[tuple[Connection, Keyring]]:
    """Open the database to read, and the keys of what is sealed in it."""
    url = settings.database_url
    found = current(url)
    if found != HEAD:
        raise ConfigError(
            f"database.url: schema {found or 'none'}, needed {HEAD}; start the service once or run"
            " `oculichat migrate`"
        )
    keys = open_keyring(url, settings.key_file)
    engine = make_engine(parse_url(url), "read")
    try:
        with engine.connect() as connection:
            yield connection, keys
    finally:
        engine.dispose()


def _reading(keys: Keyring, sealed: bytes | None) -> Reading | None:
    return None if sealed is None else reading_from_json(keys.open_json(READING, sealed))


def _period(settings: Settings, first: str | None, last: str | None, *, days: int) -> Period:
    zone = ZoneInfo(settings.dialog.zone)
    today = datetime.fromtimestamp(SystemClock().now_ms() / 1000, zone).date()
    until = _day("--to", last, today)
    since = _day("--from", first, until - timedelta(days=days))
    if since > until:
        raise ConfigError(f"--from {since} is after --to {until}; swap them")
    start, end = (datetime.combine(d, time(), zone) for d in (since, until + timedelta(days=1)))
    return Period(int(start.timestamp() * 1000), int(end.timestamp() * 1000))


def _day(option: str, written: str | None, default: date) -> date:
    if written is None:
        return default
    try:
        return date.fromisoformat(written)
    except ValueError:
        raise ConfigError(f"{option}: {written!r} is not a day such as 2026-03-31") from None


def _drift_lines(weeks: list[drift.Week]) -> Iterator[str]:
    if not weeks:
        yield "no photos in this period"
        return
    yield f"{'week':9} {'channel':16} {'photos':>6}  no retina  too poor  unread"
    for week in weeks:
        shares = week.tally.shares()
        cells = (_percent(shares[w]) for w in ("not_fundus", "ungradable", "unread"))
        figures = "  ".join(c.rjust(w) for c, w in zip(cells, (9, 8, 6), strict=True))
        yield f"{week.week:9} {week.channel:16} {week.tally.photos:6}  {figures}"
        for shift in week.shifts:
            if shift.before is None:
                yield f"  differs: {shift.what}, stability index {shift.here:.2f}"
            else:
                yield f"  differs: {shift.what} {shift.here:.0%}, before {shift.before:.0%}"
    if not any(week.shifts for week in weeks):
        yield "no week differs from those before it"


def _agreement_lines(found: list[agreement.Agreement]) -> Iterator[str]:
    if not found:
        yield "no reviews in this period"
    for one in found:
        yield f"{one.model_version}: {one.reviews} reviews of {one.patients} patients"
        yield f"  doctors agree with the answer: {_span(one.agrees)}"
        names = " ".join(n.ljust(26) for n in ("same", "reader says more", "reader says less"))
        yield f"  {'':13} {'n':>5}  {names} kappa"
        for head in one.heads:
            cells = " ".join(_span(s).ljust(26) for s in (head.same, head.over, head.under))
            yield f"  {head.name:13} {head.n:5}  {cells} {_kappa(head.kappa)}"
            if head.unsure:
                yield f"  {'':13} and {head.unsure} borderline, in none of these figures"
    if found:
        yield "the doctors saw the reader's answer: agreement is flattered; see `eval fundus`"


def _percent(share: Share) -> str:
    return "-" if share.value is None else f"{share.value:.0%}"


def _span(share: Share) -> str:
    if share.value is None or share.interval is None:
        return "-"
    low, high = share.interval
    return f"{share.hits}/{share.of} {share.value:.0%} ({low:.0%}-{high:.0%})"


def _kappa(kappa: agreement.Kappa) -> str:
    if kappa.value is None:
        return "-"
    if kappa.interval is None:
        return f"{kappa.value:.2f}"
    return f"{kappa.value:.2f} ({kappa.interval[0]:.2f} to {kappa.interval[1]:.2f})"
