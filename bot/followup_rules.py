"""The clinic's rules for follow-ups: read at start and by `doctor`, and kept true to the clocks."""

from __future__ import annotations

import importlib.metadata
import zoneinfo
from pathlib import Path

import structlog

from bot.settings import FollowUpSettings, Settings
from core.errors import ConfigError
from core.followup import calendar
from core.followup.calendar import OpenDays
from core.followup.intervals import IntervalTable, adopt, load_clinics, table
from core.ports import Health
from core.store.plans import recompute, set_zone_data, zone_data
from core.store.store import Store

log = structlog.get_logger(__name__)


def open_days(settings: FollowUpSettings) -> OpenDays:
    """Return when the clinic is open.

    Raises:
        ConfigError: its file cannot be used; names what is wrong.
    """
    return calendar.load(settings.closed_days, frozenset(d - 1 for d in settings.closed_weekdays))


def put_in_force(settings: FollowUpSettings) -> None:
    """Use the clinic's interval table in this process, or the shipped one.

    Raises:
        ConfigError: the file cannot be used; names the row and the remedy.
    """
    adopt(clinics_table(settings))


def clinics_table(settings: FollowUpSettings) -> IntervalTable | None:
    """Return the table the configuration names, or None for the shipped one.

    Raises:
        ConfigError: the file cannot be used; names the row and the remedy.
    """
    return load_clinics(settings.intervals) if settings.intervals else None


def health(settings: Settings) -> Health:
    """Tell which rules are in force, or what is wrong with the clinic's."""
    try:
        put_in_force(settings.followups)
        days = open_days(settings.followups)
    except ConfigError as error:
        return Health("followups", False, str(error))
    reviewer = table().reviewed_by or "nobody"
    detail = f"intervals {table().version}, reviewed by {reviewer}"
    return Health("followups", True, detail, facts={"closed_days": days.version})


def zone_data_version() -> str:
    """Return which time zone data this process computes with."""
    for folder in zoneinfo.TZPATH:
        file = Path(folder) / "tzdata.zi"
        if file.exists():
            with file.open(encoding="utf-8") as lines:
                return lines.readline().removeprefix("# version ").strip()[:64]
    return importlib.metadata.version("tzdata")


async def follow_zone_data(store: Store) -> None:
    """Compute every planned moment again when governments changed their clocks since."""
    version = zone_data_version()
    if await store.read(zone_data, None) == version:
        return
    after: int | None = 0
    moved = 0
    while after is not None:
        step = await store.write(recompute, after)
        after, moved = step.next_id, moved + step.moved
    await store.write(set_zone_data, version)
    log.info("zone_data_changed", version=version, moved=moved)
