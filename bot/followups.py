"""`oculichat followups …`: what became of the follow-ups, for whoever answers for them."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from bot.settings import Settings
from core.clock import SystemClock
from core.errors import ConfigError
from core.followup.report import (
    LOST_AFTER_DAYS,
    METHOD,
    Comparison,
    Figures,
    Report,
    Share,
    report,
    to_json,
    to_rows,
)
from core.store.attendance import Period, plans_due
from core.store.engine import make_engine, parse_url

_HEAD = (
    "",
    "due",
    "reminded",
    "confirmed",
    "on time",
    "late",
    "open",
    "lost",
    "died",
    "attendance",
)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")


def _day(option: str, written: str | None, default: date) -> date:
    if written is None:
        return default
    try:
        return date.fromisoformat(written)
    except ValueError:
        raise ConfigError(f"{option}: {written!r} is not a day such as 2026-03-31") from None


def print_report(
    settings: Settings, *, first: str | None, last: str | None, as_json: bool, as_csv: bool
) -> int:
    """Print the report of a period; returns the exit status.

    Args:
        settings: which database, and the clinic's zone: its calendar says what today is.
        first: first day (ISO); None = a year before the last.
        last: last day (ISO); None = today.
        as_json: print JSON.
        as_csv: print CSV, one row per group.

    Raises:
        ConfigError: a day is none, or the last is before the first.
    """
    now = datetime.fromtimestamp(SystemClock().now_ms() / 1000, ZoneInfo(settings.dialog.zone))
    today = now.date()
    until = _day("--to", last, today)
    since = _day("--from", first, until - timedelta(days=365))
    if since > until:
        raise ConfigError(f"--from {since} is after --to {until}; swap them")
    engine = make_engine(parse_url(settings.database_url), "read")
    try:
        with engine.connect() as connection:
            rows = plans_due(connection, Period(since, min(until, today)))
    finally:
        engine.dispose()
    found = report(rows, first=since, last=until, today=today)
    if as_json:
        _say(json.dumps(to_json(found), ensure_ascii=False))
    elif as_csv:
        lines = to_rows(found)
        writer = csv.DictWriter(sys.stdout, fieldnames=list(lines[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
    else:
        for line in as_text(found):
            _say(line)
    return 0


def as_text(found: Report) -> list[str]:
    """Return the report as lines for a terminal."""
    lines = [f"visits due {found.first} to {found.last}, as of {found.today}", ""]
    table: list[Sequence[str]] = [_HEAD, ("all", *_cells(found.total))]
    for by, group in found.groups.items():
        table.append((f"by {by}",))
        table += [(f"  {name}", *_cells(figures)) for name, figures in group.items()]
    widths = [max(len(row[n]) for row in table if len(row) > n) for n in range(len(_HEAD))]
    for row in table:
        counts = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=False))
        lines.append("  ".join((row[0].ljust(widths[0]), *counts)).rstrip())
    lines += ["", "attendance: seen on time, of those whose time has passed; 95 % Wilson interval"]
    lines.append(f"open: not seen yet, at most {LOST_AFTER_DAYS} days after the due day; then lost")
    if found.comparisons:
        lines += ["", "cadences compared, first plan of each person:"]
        lines += [_compared(one) for one in found.comparisons]
        lines.append(f"  95 % interval: {METHOD}")
    return lines


def _cells(figures: Figures) -> tuple[str, ...]:
    f = figures.fates
    counts = (figures.due, figures.reminded, figures.confirmed)
    fates = (f["on_time"], f["late"], f["open"], f["lost"], f["died"])
    return (*map(str, (*counts, *fates)), _share(figures.attendance))


def _share(share: Share) -> str:
    value, interval = share.value, share.interval
    if value is None or interval is None:
        return "-"
    low, high = interval
    return f"{share.hits}/{share.of} = {value:.0%} ({low:.0%} to {high:.0%})"


def _compared(one: Comparison) -> str:
    difference, interval = one.difference, one.interval
    names = f"  {one.arm} {_share(one.share)}, {one.reference} {_share(one.reference_share)}"
    if difference is None or interval is None:
        return f"{names}: nothing to compare yet"
    points = [round(100 * value, 1) for value in (difference, *interval)]
    return f"{names}: {points[0]:+} points ({points[1]:+} to {points[2]:+})"
