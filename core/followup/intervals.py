"""The interval table: which finding is due when, by which source. Loaded once, checked at load."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal, cast

import yaml

from core.errors import Bug
from core.reading import Reading
from core.urgency import Urgency

# Latest visit each class allows (specification §1), in days.
BOUND_DAYS = {
    Urgency.IMMEDIATE: 0,
    Urgency.SAME_DAY: 1,
    Urgency.WITHIN_48_H: 2,
    Urgency.TWO_WEEKS: 14,
}
_MAX_DAYS = 731


@dataclass(frozen=True, slots=True)
class Interval:
    """One row of the table.

    Attributes:
        rule_id: the row's name, for example ``dr3``.
        due_in_days: days from today, 0 = today.
        urgency: how soon that is, as a class.
        refer: an eye doctor has to see it.
        source: key of the guideline.
        status: whether the source's text was read, or the figure is still to be checked.
        sooner: modifiers that shorten it.
        sooner_days: days then.
        sooner_urgency: class then.
    """

    rule_id: str
    due_in_days: int
    urgency: Urgency
    refer: bool
    source: str
    status: Literal["read", "inferred"]
    sooner: frozenset[str]
    sooner_days: int
    sooner_urgency: Urgency


@dataclass(frozen=True, slots=True)
class IntervalTable:
    """The whole table; `assessments` maps to None where nothing is due."""

    version: str
    findings: Mapping[str, Interval]
    assessments: Mapping[str, Interval | None]
    urgency: Mapping[Urgency, Interval]
    escalators: frozenset[str]


def _interval(name: str, raw: Mapping[str, Any]) -> Interval:
    row = Interval(
        rule_id=name,
        due_in_days=raw["days"],
        urgency=Urgency(raw["urgency"]),
        refer=raw["refer"],
        source=raw["source"],
        status=raw["status"],
        sooner=frozenset(raw.get("sooner", ())),
        sooner_days=raw.get("sooner_days", raw["days"]),
        sooner_urgency=Urgency(raw.get("sooner_urgency", raw["urgency"])),
    )
    for days, urgency in (
        (row.due_in_days, row.urgency),
        (row.sooner_days, row.sooner_urgency),
    ):
        limit = BOUND_DAYS.get(urgency, _MAX_DAYS)
        if not 0 <= days <= limit:
            raise Bug(f"intervals.yaml, {name!r}: {urgency} allows 0 to {limit} days, not {days}")
    if row.sooner_days > row.due_in_days or row.sooner_urgency.rank > row.urgency.rank:
        raise Bug(f"intervals.yaml, {name!r}: 'sooner' must not be later than the row itself")
    if row.status not in ("read", "inferred") or not row.source:
        raise Bug(f"intervals.yaml, {name!r}: needs a source and a status read or inferred")
    return row


def parse(raw: Mapping[str, Any]) -> IntervalTable:
    """Check and return a table.

    Raises:
        Bug: a row is later than its class allows, or names no source; the message names it.
    """
    return IntervalTable(
        version=str(raw["version"]),
        findings={n: _interval(n, r) for n, r in raw["findings"].items()},
        assessments={n: r and _interval(n, r) for n, r in raw["assessments"].items()},
        urgency={Urgency(n): _interval(n, r) for n, r in raw["urgency"].items()},
        escalators=frozenset(raw["escalators"]),
    )


@cache
def table() -> IntervalTable:
    """Return the shipped table, read once."""
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    content = (files("core.followup") / "intervals.yaml").read_text("utf-8")
    return parse(cast("dict[str, Any]", yaml.load(content, Loader=loader)))  # noqa: S506 safe loaders only


def findings_of(reading: Reading, *, diabetes: bool = False) -> tuple[str, ...]:
    """Return the table's rows that a reading calls for; () when it calls for none.

    A normal photo of a person without diabetes calls for nothing here: what is due then depends
    on age and is decided by the caller's modifiers.
    """
    if reading.outcome == "not_fundus":
        return ()
    if reading.outcome == "ungradable":
        return ("ungradable",)
    found: list[str] = []
    grade = reading.dr_grade
    for finding in reading.findings:
        if finding.decision == "refer":
            is_dr = finding.condition == "dr"
            graded = f"dr{grade}" if grade is not None and grade >= 2 else "dr_refer"
            found.append(graded if is_dr else finding.condition)
        elif finding.decision == "borderline":
            found.append("borderline")
    if grade is not None and grade >= 1 and not any(f.startswith("dr") for f in found):
        found.append(f"dr{grade}")
    if not found and diabetes and reading.finding("dr").decision == "negative":
        found.append("no_dr")
    return tuple(dict.fromkeys(found))
