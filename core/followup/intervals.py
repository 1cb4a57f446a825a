"""The interval table: which finding is due when, by which source. Loaded once, checked at load.

A clinic may bring rows of its own (`adopt`): sooner than the shipped ones as it likes, later only
with the name of the clinician who reviewed it, and never later than the class allows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, cast

import yaml

from core.errors import Bug, ConfigError
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
    reviewed_by: str = ""


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
        reviewed_by=_reviewer(raw.get("reviewed_by")),
    )


def _reviewer(value: object) -> str:
    """Return who reviewed a table; "none" and nothing are nobody."""
    name = str(value or "").strip()
    return "" if name.lower() in ("none", "nobody", "-") else name


@cache
def shipped() -> IntervalTable:
    """Return the table that comes with this version, read once."""
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    content = (files("core.followup") / "intervals.yaml").read_text("utf-8")
    return parse(cast("dict[str, Any]", yaml.load(content, Loader=loader)))  # noqa: S506 safe loaders only


_in_force: list[IntervalTable] = []


def table() -> IntervalTable:
    """Return the table in force: the clinic's when it has one, else the shipped one."""
    return _in_force[-1] if _in_force else shipped()


def adopt(clinics: IntervalTable | None) -> None:
    """Put a clinic's table in force for this process, or (None) the shipped one again."""
    _in_force[:] = [] if clinics is None else [clinics]


_ROW_KEYS = frozenset(
    {"days", "urgency", "refer", "source", "status", "quoted", "sooner", "sooner_days"}
    | {"sooner_urgency"}
)
_SECTIONS = ("findings", "assessments", "urgency")


def load_clinics(path: Path) -> IntervalTable:
    """Read a clinic's rows and lay them over the shipped table.

    A row names only what it changes. The file needs a `version` of its own, which is stored with
    every plan, and `reviewed_by` where anything becomes later than shipped.

    Raises:
        ConfigError: names the file, the row and what to change.
    """
    try:
        content = path.read_text("utf-8")
    except OSError as error:
        raise ConfigError(f"followups.intervals: {path} ({error.strerror}); check it") from None
    try:
        return read_clinics(content)
    except ConfigError as error:
        raise ConfigError(f"followups.intervals: {path}: {error}") from None


def read_clinics(content: str) -> IntervalTable:
    """Lay a clinic's rows, written as YAML, over the shipped table; see `load_clinics`.

    Raises:
        ConfigError: names the row, or the line, and what to change.
    """
    try:
        raw: Any = yaml.safe_load(content)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f"line {mark.line + 1}: " if mark else ""
        raise ConfigError(f"{line}is not valid YAML") from None
    try:
        return _laid_over(cast("dict[str, Any]", raw if isinstance(raw, dict) else {}))
    except (ConfigError, Bug) as error:
        raise ConfigError(str(error).replace("intervals.yaml, ", "")) from None


def _laid_over(raw: dict[str, Any]) -> IntervalTable:
    known = {"version", "reviewed_by", "escalators", *_SECTIONS}
    if strange := sorted(set(raw) - known):
        raise ConfigError(
            f"{strange[0]!r} is no part of a table; it has {', '.join(sorted(known))}"
        )
    version = str(raw.get("version") or "")
    if not version or version == shipped().version or len(version) > 32:
        raise ConfigError("needs a `version` of its own, at most 32 characters")
    base = shipped()
    reviewer = _reviewer(raw.get("reviewed_by"))
    findings = _rows(raw.get("findings"), base.findings, "findings", reviewer)
    classes = {str(u): row for u, row in base.urgency.items()}
    urgency = _rows(raw.get("urgency"), classes, "urgency", reviewer)
    assessments = _rows(raw.get("assessments"), base.assessments, "assessments", reviewer)
    added = frozenset(str(name) for name in raw.get("escalators") or ())
    return IntervalTable(
        version,
        {name: row for name, row in findings.items() if row is not None},
        assessments,
        {Urgency(name): row for name, row in urgency.items() if row is not None},
        base.escalators | added,
        reviewer,
    )


def _rows(
    changed: Any, base: Mapping[str, Interval | None], section: str, reviewer: str
) -> dict[str, Interval | None]:
    rows = dict(base)
    if changed is None:
        return rows
    if not isinstance(changed, dict):
        raise ConfigError(f"`{section}` must hold rows by name")
    for name, fields in cast("dict[str, Any]", changed).items():
        where = f"{section}, {name!r}"
        before = base.get(name)
        if name not in base or before is None:
            raise ConfigError(f"{where}: there is no such row; rows cannot be added")
        if not isinstance(fields, dict) or not set(cast("dict[str, Any]", fields)) <= _ROW_KEYS:
            raise ConfigError(f"{where}: a row has only {', '.join(sorted(_ROW_KEYS))}")
        row = _changed(where, before, cast("dict[str, Any]", fields))
        if _is_later(row, before) and not reviewer:
            raise ConfigError(
                f"{where}: is later or less urgent than the shipped row; name the clinician who "
                "reviewed it in `reviewed_by`"
            )
        rows[name] = row
    return rows


def _changed(where: str, before: Interval, fields: dict[str, Any]) -> Interval:
    if not all(isinstance(fields.get(d, 0), int) for d in ("days", "sooner_days")):
        raise ConfigError(f"{where}: days are whole numbers")
    merged = {
        "days": before.due_in_days,
        "urgency": str(before.urgency),
        "refer": before.refer,
        "source": before.source,
        "status": before.status,
        "sooner": sorted(before.sooner),
        "sooner_days": min(before.sooner_days, fields.get("days", before.sooner_days)),
        "sooner_urgency": str(before.sooner_urgency),
    } | fields
    try:
        return _interval(before.rule_id, merged)
    except ValueError:
        classes = ", ".join(str(u) for u in Urgency)
        raise ConfigError(f"{where}: the urgency must be one of {classes}") from None


def _is_later(row: Interval, before: Interval) -> bool:
    return (
        row.due_in_days > before.due_in_days
        or row.sooner_days > before.sooner_days
        or row.urgency.rank > before.urgency.rank
        or row.sooner_urgency.rank > before.sooner_urgency.rank
        or not row.sooner >= before.sooner
        or (before.refer and not row.refer)
    )


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
