"""Urgency classes (clinical specification §1): how soon a person must be seen."""

from __future__ import annotations

from enum import StrEnum


class Urgency(StrEnum):
    """Most urgent first; the order is what "never lowered" means."""

    IMMEDIATE = "immediate"  # minutes to hours: emergency department now
    SAME_DAY = "same_day"  # ≤ 24 h
    WITHIN_48_H = "24_48h"
    TWO_WEEKS = "2_weeks"
    ROUTINE = "routine"  # weeks to 12 months: interval table
    SELF_CARE = "self_care"
    NONE = "none"

    @property
    def rank(self) -> int:
        """0 = most urgent."""
        return list(Urgency).index(self)


def most_urgent(*classes: Urgency) -> Urgency:
    """Return the most urgent of the given classes; `NONE` when there are none."""
    return min(classes, key=lambda u: u.rank, default=Urgency.NONE)


_MINUTE_MS = 60_000
_STAFF_WITHIN_MS = {
    Urgency.IMMEDIATE: 30 * _MINUTE_MS,
    Urgency.SAME_DAY: 4 * 60 * _MINUTE_MS,
    Urgency.WITHIN_48_H: 24 * 60 * _MINUTE_MS,
    Urgency.TWO_WEEKS: 3 * 24 * 60 * _MINUTE_MS,
}


def staff_within_ms(urgency: Urgency) -> int:
    """Return how long staff have for a task of this class; a week where nothing hurries."""
    return _STAFF_WITHIN_MS.get(urgency, 7 * 24 * 60 * _MINUTE_MS)
