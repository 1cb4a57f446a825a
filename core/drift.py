"""What the fundus reader has said, counted; and whether a week differs from those before it.

A reader that was right last year may be wrong today: another camera, other phones, another light.
Nobody tells it. What shows first is a change in what it says, by week and channel: more photos
refused, more too poor, scores that sit elsewhere. This counts it; a person finds out why.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from math import log
from typing import Any
from zoneinfo import ZoneInfo

from core.followup.report import Share
from core.reading import CONDITIONS, Reading

BINS = 10  # of equal width over [0, 1]
SCORES = ("is_fundus", "gradable", *CONDITIONS)
# Population stability index: 0.25 is the usual line between "some" and "a clear" shift (Siddiqi
# 2006). What chance alone gives is taken off first, so that small weeks do not cry wolf.
SHIFTED_PSI = 0.25
MIN_PHOTOS, MIN_SCORES = 20, 50


@dataclass(slots=True)
class Histogram:
    """Scores in bins of equal width."""

    counts: list[int] = field(default_factory=lambda: [0] * BINS)
    total: float = 0.0

    @property
    def n(self) -> int:
        """How many scores."""
        return sum(self.counts)

    def add(self, score: float) -> None:
        """Count one score, in [0, 1]."""
        self.counts[min(BINS - 1, max(0, int(score * BINS)))] += 1
        self.total += score

    def merge(self, other: Histogram) -> None:
        """Count everything the other counted."""
        self.counts = [a + b for a, b in zip(self.counts, other.counts, strict=True)]
        self.total += other.total


@dataclass(slots=True)
class Tally:
    """What was said about a number of photos.

    Attributes:
        photos: how many were read, each eye of a picture with two counted.
        outcomes: by `Reading.outcome`; ``unread`` are photos that nobody could read.
        decisions: by (condition, decision), of assessed photos.
        retake: by cause.
        scores: by name in `SCORES`.
    """

    photos: int = 0
    outcomes: Counter[str] = field(default_factory=Counter[str])
    decisions: Counter[tuple[str, str]] = field(default_factory=Counter[tuple[str, str]])
    retake: Counter[str] = field(default_factory=Counter[str])
    scores: dict[str, Histogram] = field(
        default_factory=lambda: {name: Histogram() for name in SCORES}
    )

    def add(self, reading: Reading | None) -> None:
        """Count one photo; None = it could not be read."""
        if reading is None:
            self.photos += 1
            self.outcomes["unread"] += 1
            return
        for eye in reading.eyes():
            self._add_eye(eye)

    def _add_eye(self, reading: Reading) -> None:
        self.photos += 1
        self.outcomes[reading.outcome] += 1
        self.retake.update(reading.retake)
        self.scores["is_fundus"].add(reading.fundus_probability)
        if reading.gradable_probability is not None:
            self.scores["gradable"].add(reading.gradable_probability)
        if reading.outcome == "assessed":
            for finding in reading.findings:
                self.decisions[finding.condition, finding.decision] += 1
                if finding.probability is not None:
                    self.scores[finding.condition].add(finding.probability)

    def merge(self, other: Tally) -> None:
        """Count everything the other counted."""
        self.photos += other.photos
        self.outcomes.update(other.outcomes)
        self.decisions.update(other.decisions)
        self.retake.update(other.retake)
        for name, histogram in self.scores.items():
            histogram.merge(other.scores[name])

    def shares(self) -> dict[str, Share]:
        """Return the shares that are compared between weeks."""
        found = {
            outcome: Share(self.outcomes[outcome], self.photos)
            for outcome in ("not_fundus", "ungradable", "unread")
        }
        assessed = self.outcomes["assessed"]
        for condition in CONDITIONS:
            said = assessed - self.decisions[condition, "not_assessed"]
            found[f"{condition} refer"] = Share(self.decisions[condition, "refer"], said)
        return found


class Tallies:
    """A tally per channel since this process began, for `/metrics`. Used from one event loop."""

    def __init__(self) -> None:
        self.by_channel: defaultdict[str, Tally] = defaultdict(Tally)

    def add(self, channel: str, reading: Reading | None) -> None:
        """Count one photo of a channel."""
        self.by_channel[channel].add(reading)


@dataclass(frozen=True, slots=True)
class Received:
    """A stored photo; `reading` is None when nobody could read it."""

    channel: str
    at_ms: int
    reading: Reading | None


@dataclass(frozen=True, slots=True)
class Shift:
    """One way in which a week differs from the channel's weeks before it.

    Attributes:
        what: a share of `Tally.shares`, or ``scores of …``.
        here: the share, or the population stability index.
        before: the share in the weeks before; None for scores.
    """

    what: str
    here: float
    before: float | None


@dataclass(frozen=True, slots=True)
class Week:
    """One ISO week of one channel, and how it differs."""

    week: str
    channel: str
    tally: Tally
    shifts: tuple[Shift, ...]


def weekly(photos: Iterable[Received], *, zone: str) -> list[Week]:
    """Count photos by ISO week and channel, and compare each week with those before it.

    Args:
        photos: of the period, in any order.
        zone: IANA zone in which weeks begin.
    """
    clock = ZoneInfo(zone)
    tallies: defaultdict[tuple[str, str], Tally] = defaultdict(Tally)
    for photo in photos:
        at = datetime.fromtimestamp(photo.at_ms / 1000, clock)
        tallies[f"{at:%G-W%V}", photo.channel].add(photo.reading)
    found: list[Week] = []
    past: defaultdict[str, Tally] = defaultdict(Tally)
    for (week, channel), tally in sorted(tallies.items()):
        found.append(Week(week, channel, tally, tuple(_shifts(tally, past[channel]))))
        past[channel].merge(tally)
    return found


def stability(here: Histogram, before: Histogram) -> float:
    """Return the population stability index less what chance alone gives, at least 0."""
    n, m = here.n, before.n
    index = 0.0
    for a, b in zip(here.counts, before.counts, strict=True):
        p, q = (a + 0.5) / (n + BINS / 2), (b + 0.5) / (m + BINS / 2)  # no bin is ever quite empty
        index += (p - q) * log(p / q)
    filled = sum(a + b > 0 for a, b in zip(here.counts, before.counts, strict=True))
    return max(0.0, index - max(filled - 1, 0) * (1 / n + 1 / m))


def _shifts(here: Tally, before: Tally) -> Iterable[Shift]:
    there = before.shares()
    for what, share in here.shares().items():
        if min(share.of, there[what].of) < MIN_PHOTOS:
            continue
        mine, theirs = share.interval, there[what].interval
        # Intervals that do not touch: stricter than a test at 5 %, and many shares are looked at.
        if mine and theirs and (mine[0] > theirs[1] or mine[1] < theirs[0]):
            yield Shift(what, share.hits / share.of, there[what].hits / there[what].of)
    for name in SCORES:
        mine_scores, their_scores = here.scores[name], before.scores[name]
        if min(mine_scores.n, their_scores.n) >= MIN_SCORES:
            index = stability(mine_scores, their_scores)
            if index > SHIFTED_PSI:
                yield Shift(f"scores of {name}", index, None)


def to_json(weeks: Iterable[Week]) -> list[dict[str, Any]]:
    """Return the weeks as JSON-ready rows."""
    return [
        {
            "week": week.week,
            "channel": week.channel,
            "photos": week.tally.photos,
            "outcomes": dict(sorted(week.tally.outcomes.items())),
            "retake": dict(sorted(week.tally.retake.items())),
            "refer": {
                c: {
                    "refer": week.tally.decisions[c, "refer"],
                    "borderline": week.tally.decisions[c, "borderline"],
                    "negative": week.tally.decisions[c, "negative"],
                }
                for c in CONDITIONS
            },
            "scores": {name: h.counts for name, h in week.tally.scores.items()},
            "shifts": [{"what": s.what, "here": s.here, "before": s.before} for s in week.shifts],
        }
        for week in weeks
    ]
