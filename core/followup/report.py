"""What became of follow-ups: rows in, figures out. Pure; nothing here reads a database.

A plan belongs to the period in which its visit was due, whenever it was made and however it ended,
so that nobody drops out of the figures by not coming. Rates are taken over plans whose time to
come on time has passed: whoever came early would otherwise count before those who still may.
`docs/how-to/measure-attendance.md` says the same for readers of the figures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from math import sqrt
from typing import Any, Literal

# The ladder's last step, the call by staff, is 28 days after the due day (specification §4).
LOST_AFTER_DAYS = 28
REFERENCE_ARM = "standard"
METHOD = "Newcombe 1998, method 10: hybrid of two Wilson intervals, no continuity correction"
_Z_95 = 1.959963984540054

Fate = Literal["on_time", "late", "lost", "open", "died"]
FATES: tuple[Fate, ...] = ("on_time", "late", "open", "lost", "died")
Grouping = Literal["reason", "channel", "arm", "month"]
GROUPINGS: tuple[Grouping, ...] = ("reason", "channel", "arm", "month")


@dataclass(frozen=True, slots=True)
class PlanRow:
    """One plan as the store knows it; days are of the calendar in the plan's own zone.

    Attributes:
        person: who, only to count each person once in a comparison; never shown.
        reason: why, a key such as ``dr3``.
        channel: where the patient writes.
        arm: which cadence of reminders the plan got.
        planned_day: when it was agreed.
        due_day: when the visit was due.
        state: as in the table `follow_up`.
        changed_day: when it came into that state.
        reminded: at least one reminder was said.
        confirmed: the patient booked a visit or answered a reminder.
        seen_day: when they were seen, or None.
    """

    person: int
    reason: str
    channel: str
    arm: str
    planned_day: date
    due_day: date
    state: str
    changed_day: date
    reminded: bool
    confirmed: bool
    seen_day: date | None = None

    @property
    def last_on_time(self) -> date:
        """The last day that counts as on time: a tenth of the interval later, 1 to 14 days."""
        tenth = (self.due_day - self.planned_day).days // 10
        return self.due_day + timedelta(days=min(max(tenth, 1), 14))

    def counts(self) -> bool:
        """Tell whether it is a plan of its own.

        One that was declined never began. One that was replaced while there was still time goes
        on in the one that replaced it; one replaced later was missed.
        """
        if self.state == "declined":
            return False
        return self.state != "replaced" or self.changed_day > self.last_on_time

    def fate(self, today: date) -> Fate:
        """Return how it ended, or that it is open."""
        if self.state == "died":
            return "died"
        if self.seen_day is not None:
            return "on_time" if self.seen_day <= self.last_on_time else "late"
        if self.state in ("refused", "moved", "unreachable"):
            return "lost"
        return "lost" if today > self.due_day + timedelta(days=LOST_AFTER_DAYS) else "open"

    def is_judged(self, today: date) -> bool:
        """Tell whether its time to come on time has passed, whatever the patient did."""
        return self.state != "died" and today > self.last_on_time


@dataclass(frozen=True, slots=True)
class Share:
    """A proportion with its 95 % interval (Wilson score); all None when `of` is 0."""

    hits: int
    of: int

    @property
    def value(self) -> float | None:
        """The proportion itself."""
        return self.hits / self.of if self.of else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Return the Wilson score interval (Wilson 1927), without continuity correction."""
        if not self.of:
            return None
        p, n, z2 = self.hits / self.of, self.of, _Z_95 * _Z_95
        centre = (p + z2 / (2 * n)) / (1 + z2 / n)
        half = _Z_95 * sqrt(p * (1 - p) / n + z2 / (4 * n * n)) / (1 + z2 / n)
        low = 0.0 if self.hits == 0 else centre - half
        return low, 1.0 if self.hits == self.of else centre + half


@dataclass(slots=True)
class Figures:
    """Counts of one group of plans.

    Attributes:
        due: plans whose visit was due in the period.
        reminded: of them, with at least one reminder said.
        confirmed: of them, booked or answered.
        fates: of them, how they ended; the values add up to `due`.
        judged: of them, whose time to come on time has passed.
        judged_on_time: of those, seen on time.
    """

    due: int = 0
    reminded: int = 0
    confirmed: int = 0
    fates: dict[Fate, int] = field(default_factory=lambda: dict.fromkeys(FATES, 0))
    judged: int = 0
    judged_on_time: int = 0

    @property
    def attendance(self) -> Share:
        """Seen on time, of those whose time has passed."""
        return Share(self.judged_on_time, self.judged)

    def add(self, row: PlanRow, today: date) -> None:
        """Count one plan."""
        fate = row.fate(today)
        self.due += 1
        self.reminded += row.reminded
        self.confirmed += row.confirmed
        self.fates[fate] += 1
        if row.is_judged(today):
            self.judged += 1
            self.judged_on_time += fate == "on_time"


@dataclass(frozen=True, slots=True)
class Comparison:
    """One cadence beside the reference: attendance on time, first plan of each person only.

    Attributes:
        arm: the cadence.
        reference: what it is compared with.
        share: its attendance.
        reference_share: the reference's.
    """

    arm: str
    reference: str
    share: Share
    reference_share: Share

    @property
    def difference(self) -> float | None:
        """Attendance minus the reference's; None when one of them has nobody."""
        a, b = self.share.value, self.reference_share.value
        return None if a is None or b is None else a - b

    @property
    def interval(self) -> tuple[float, float] | None:
        """Return the 95 % interval of the difference (`METHOD`)."""
        a, b = self.share, self.reference_share
        around_a, around_b = a.interval, b.interval
        p, q, difference = a.value, b.value, self.difference
        if around_a is None or around_b is None or p is None or q is None or difference is None:
            return None
        low = difference - sqrt((p - around_a[0]) ** 2 + (around_b[1] - q) ** 2)
        high = difference + sqrt((around_a[1] - p) ** 2 + (q - around_b[0]) ** 2)
        return max(low, -1.0), min(high, 1.0)


@dataclass(frozen=True, slots=True)
class Report:
    """The whole report of a period; the last day is never later than `today`."""

    first: date
    last: date
    today: date
    total: Figures
    groups: dict[Grouping, dict[str, Figures]]
    comparisons: tuple[Comparison, ...]


_KEYS: dict[Grouping, Callable[[PlanRow], str]] = {
    "reason": lambda row: row.reason,
    "channel": lambda row: row.channel,
    "arm": lambda row: row.arm,
    "month": lambda row: f"{row.due_day:%Y-%m}",
}


def report(rows: Iterable[PlanRow], *, first: date, last: date, today: date) -> Report:
    """Return the figures of the plans due from `first` to `last`, both included.

    Plans that are due after `today` have no part in it: nobody has missed them yet, and those
    who came early may not count alone.
    """
    last = min(last, today)
    cohort = [row for row in rows if first <= row.due_day <= last and row.counts()]
    total = Figures()
    groups: dict[Grouping, dict[str, Figures]] = {by: {} for by in GROUPINGS}
    for row in cohort:
        total.add(row, today)
        for by, key in _KEYS.items():
            groups[by].setdefault(key(row), Figures()).add(row, today)
    ordered: dict[Grouping, dict[str, Figures]] = {
        by: dict(sorted(found.items())) for by, found in groups.items()
    }
    return Report(first, last, today, total, ordered, _compare(cohort, today))


def _compare(cohort: Sequence[PlanRow], today: date) -> tuple[Comparison, ...]:
    """Compare by the arm a plan was given, kept to or not.

    Plans of one person are not independent, so each person counts once, with their first.
    """
    earliest: dict[int, PlanRow] = {}
    for row in sorted(cohort, key=lambda row: (row.planned_day, row.due_day)):
        earliest.setdefault(row.person, row)
    arms: dict[str, Figures] = {}
    for row in earliest.values():
        arms.setdefault(row.arm, Figures()).add(row, today)
    if len(arms) < 2:
        return ()
    reference = REFERENCE_ARM if REFERENCE_ARM in arms else min(arms)
    return tuple(
        Comparison(arm, reference, arms[arm].attendance, arms[reference].attendance)
        for arm in sorted(arms)
        if arm != reference
    )


def _rounded(pair: tuple[float, float] | None) -> list[float] | None:
    return None if pair is None else [round(value, 4) for value in pair]


def _figures_json(figures: Figures) -> dict[str, Any]:
    share = figures.attendance
    return {
        "due": figures.due,
        "reminded": figures.reminded,
        "confirmed": figures.confirmed,
        **figures.fates,
        "judged": figures.judged,
        "on_time_rate": None if share.value is None else round(share.value, 4),
        "on_time_95": _rounded(share.interval),
    }


def to_json(found: Report) -> dict[str, Any]:
    """Return the report as JSON-ready data; counts and keys only, nobody's name."""
    return {
        "from": found.first.isoformat(),
        "to": found.last.isoformat(),
        "as_of": found.today.isoformat(),
        "lost_after_days": LOST_AFTER_DAYS,
        "total": _figures_json(found.total),
        **{
            f"by_{by}": {name: _figures_json(f) for name, f in group.items()}
            for by, group in found.groups.items()
        },
        "comparison": {
            "method": METHOD,
            "arms": [
                {
                    "arm": c.arm,
                    "reference": c.reference,
                    "people": c.share.of,
                    "reference_people": c.reference_share.of,
                    "difference": None if c.difference is None else round(c.difference, 4),
                    "difference_95": _rounded(c.interval),
                }
                for c in found.comparisons
            ],
        },
    }


def to_rows(found: Report) -> list[dict[str, Any]]:
    """Return one flat row per group, for a spreadsheet: total first, then each grouping."""
    named = [("total", "", found.total)]
    named += [(by, name, f) for by, group in found.groups.items() for name, f in group.items()]
    rows: list[dict[str, Any]] = []
    for by, name, figures in named:
        row = {"by": by, "name": name, **_figures_json(figures)}
        low, high = row.pop("on_time_95") or (None, None)
        rows.append({**row, "on_time_95_low": low, "on_time_95_high": high})
    return rows
