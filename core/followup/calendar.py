"""Days on which the clinic is closed. A visit is proposed on an open day, never later than due."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, cast

import yaml

from core.errors import ConfigError

_LONGEST_BREAK = 31


@dataclass(frozen=True, slots=True)
class OpenDays:
    """When the clinic is open.

    Attributes:
        version: of the file.
        closed: public holidays and the clinic's own.
        closed_weekdays: Monday is 0.
    """

    version: str
    closed: frozenset[date]
    closed_weekdays: frozenset[int] = frozenset()

    def is_open(self, day: date) -> bool:
        """Tell whether somebody can be seen on a day."""
        return day not in self.closed and day.weekday() not in self.closed_weekdays

    def on_or_before(self, day: date, *, earliest: date) -> date:
        """Return the last open day up to `day`; without one since `earliest`, the next after it."""
        for back in range((day - earliest).days + 1):
            found = day - timedelta(days=back)
            if self.is_open(found):
                return found
        return self.on_or_after(day)

    def on_or_after(self, day: date) -> date:
        """Return the next open day from `day` on."""
        for ahead in range(_LONGEST_BREAK):
            found = day + timedelta(days=ahead)
            if self.is_open(found):
                return found
        return day


ALWAYS_OPEN = OpenDays("none", frozenset())


def _days(entry: Mapping[str, Any], name: str) -> list[date]:
    first, last = entry.get("from"), entry.get("to")
    if not isinstance(first, date) or not isinstance(last, date) or not first <= last:
        raise ConfigError(
            f"{name}: {entry.get('name', '?')}: needs `from` and `to` as days such as 2026-10-01, "
            "the first not after the last"
        )
    if (last - first).days >= _LONGEST_BREAK:
        raise ConfigError(f"{name}: {entry.get('name', '?')}: is longer than {_LONGEST_BREAK} days")
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]


def parse(raw: Any, *, name: str, closed_weekdays: frozenset[int] = frozenset()) -> OpenDays:
    """Check and return the days of a file.

    Raises:
        ConfigError: names the entry that cannot be understood.
    """
    if len(closed_weekdays) == 7:
        raise ConfigError("followups.closed_weekdays: one day of the week must stay open")
    content = cast("dict[str, Any]", raw if isinstance(raw, dict) else {})
    if not isinstance(content.get("years"), dict):
        raise ConfigError(f"{name}: needs `version` and `years`; see core/followup/holidays.yaml")
    closed: set[date] = set()
    for year, listed in content["years"].items():
        if not isinstance(listed, dict) or not cast("dict[str, Any]", listed).get("source"):
            raise ConfigError(f"{name}: {year}: needs a source")
        for entry in cast("dict[str, Any]", listed).get("closed") or ():
            closed.update(_days(entry, name))
    return OpenDays(str(content.get("version", "?")), frozenset(closed), closed_weekdays)


@cache
def shipped() -> OpenDays:
    """Return the public holidays that come with this version (China)."""
    content = (files("core.followup") / "holidays.yaml").read_text("utf-8")
    return parse(yaml.safe_load(content), name="holidays.yaml")


def load(path: Path | None, closed_weekdays: frozenset[int] = frozenset()) -> OpenDays:
    """Return the clinic's closed days, or the shipped ones.

    Raises:
        ConfigError: the file cannot be read or understood.
    """
    if path is None:
        return OpenDays(shipped().version, shipped().closed, closed_weekdays)
    try:
        raw = yaml.safe_load(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"followups.closed_days: {path} ({error.strerror})") from None
    except yaml.YAMLError:
        raise ConfigError(f"followups.closed_days: {path} is not valid YAML") from None
    return parse(raw, name=str(path), closed_weekdays=closed_weekdays)
