"""Figures with 95 % intervals: AUC, rates, calibration error, kappa.

Areas and kappas are resampled by patient, because two photos of one person are not two
observations; the draw is seeded, so the same file gives the same interval. Rates have Wilson's
interval (Wilson 1927).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

RESAMPLES = 1000
_SEED = 7
_Z = 1.959963984540054  # 97.5 % of the normal distribution


@dataclass(frozen=True, slots=True)
class Figure:
    """A measured figure and its 95 % interval.

    Attributes:
        n: photos it rests on.
        value: NaN where it cannot be computed (one class is missing).
        low: lower end, or NaN where there is no interval.
        high: upper end.
    """

    n: int
    value: float
    low: float = math.nan
    high: float = math.nan


@dataclass(frozen=True, slots=True)
class Curve:
    """A receiver operating characteristic: one point per distinct score, from (0, 0) to (1, 1)."""

    false_positive_rate: Floats
    sensitivity: Floats


@dataclass(frozen=True, slots=True)
class Bin:
    """Photos whose probability fell into one bin.

    Attributes:
        n: how many.
        said: their mean probability.
        seen: share of them that truly were positive.
    """

    n: int
    said: float
    seen: float


def rate(hits: int, n: int) -> Figure:
    """Return a share with its Wilson interval."""
    if n == 0:
        return Figure(0, math.nan)
    share = hits / n
    spread = 1 + _Z**2 / n
    centre = (share + _Z**2 / (2 * n)) / spread
    half = _Z * math.sqrt(share * (1 - share) / n + _Z**2 / (4 * n * n)) / spread
    return Figure(n, share, max(0.0, centre - half), min(1.0, centre + half))


def auc(score: Floats, truth: Ints, groups: Sequence[str]) -> Figure:
    """Return the area under the ROC curve, ties counted half.

    Args:
        score: higher = more likely positive.
        truth: 0 or 1, of the same length.
        groups: patient of each photo; they are resampled whole.
    """
    if score.size == 0:
        return Figure(0, math.nan)
    order = np.argsort(score, kind="stable")
    # where each distinct score begins: equal ones share a step
    steps = np.append(0, np.flatnonzero(np.diff(score[order])) + 1)
    is_positive = (truth[order] == 1).astype(np.float64)

    def area(weights: Floats) -> Floats:
        ordered = weights[:, order]
        hits = np.add.reduceat(ordered * is_positive, steps, axis=1)
        alarms = np.add.reduceat(ordered * (1 - is_positive), steps, axis=1)
        below = np.cumsum(alarms, axis=1) - alarms
        pairs = hits.sum(axis=1) * alarms.sum(axis=1)
        won = (hits * (below + alarms / 2)).sum(axis=1)
        return _divided(won, pairs)

    return _resampled(area, score.size, groups)


def weighted_kappa(first: Ints, second: Ints, groups: Sequence[str], *, classes: int) -> Figure:
    """Return Cohen's kappa with quadratic weights; with two classes that is the plain kappa.

    Args:
        first: classes 0 … `classes` - 1 by one reader.
        second: of the same photos by the other.
        groups: patient of each photo.
        classes: how many there are.
    """
    if first.size == 0:
        return Figure(0, math.nan)
    table = np.zeros((first.size, classes * classes))
    table[np.arange(first.size), first * classes + second] = 1
    grid = np.arange(classes)
    cost = ((grid[:, None] - grid[None, :]) ** 2).astype(np.float64)

    def kappa(weights: Floats) -> Floats:
        seen = (weights @ table).reshape(-1, classes, classes)
        by_chance = seen.sum(2)[:, :, None] * seen.sum(1)[:, None, :]
        by_chance /= seen.sum((1, 2))[:, None, None]
        worst = (cost * by_chance).sum((1, 2))
        got = (cost * seen).sum((1, 2))
        return 1 - _divided(got, worst)

    return _resampled(kappa, first.size, groups)


def calibration(probability: Floats, truth: Ints, bins: int = 10) -> list[Bin]:
    """Return what was said and what was true, in bins of equal width; empty bins are left out."""
    place = np.minimum((probability * bins).astype(int), bins - 1)
    found: list[Bin] = []
    for number in range(bins):
        inside = place == number
        if inside.any():
            said, seen = float(probability[inside].mean()), float(truth[inside].mean())
            found.append(Bin(int(inside.sum()), said, seen))
    return found


def calibration_error(bins: Sequence[Bin]) -> Figure:
    """Return the expected calibration error (ECE).

    It has no interval: resampling makes it larger by itself.
    """
    n = sum(b.n for b in bins)
    if n == 0:
        return Figure(0, math.nan)
    return Figure(n, sum(b.n * abs(b.said - b.seen) for b in bins) / n)


def roc(score: Floats, truth: Ints) -> Curve:
    """Return the ROC curve; both classes must be there."""
    order = np.argsort(-score, kind="stable")
    # a point only where the score changes: equal scores cannot be told apart
    last = np.append(np.flatnonzero(np.diff(score[order])), score.size - 1)
    hits = np.cumsum(truth[order] == 1)[last]
    alarms = np.cumsum(truth[order] == 0)[last]
    start = np.zeros(1)
    return Curve(
        np.concatenate([start, alarms / alarms[-1]]), np.concatenate([start, hits / hits[-1]])
    )


def _divided(above: Floats, below: Floats) -> Floats:
    """Divide; NaN where the divisor is 0."""
    nothing: Floats = np.full(below.shape, math.nan)
    return np.divide(above, below, out=nothing, where=below > 0)


def _resampled(figure: Callable[[Floats], Floats], n: int, groups: Sequence[str]) -> Figure:
    """Compute `figure` on everything and on resampled patients.

    Args:
        figure: takes weights of shape (draws, n), returns one value per draw; NaN = no value.
        n: photos.
        groups: patient of each photo.
    """
    value = float(figure(np.ones((1, n)))[0])
    if math.isnan(value):
        return Figure(n, value)
    names, member = np.unique(np.asarray(groups), return_inverse=True)
    rng = np.random.default_rng(_SEED)
    share = np.full(names.size, 1 / names.size)
    drawn: list[Floats] = []
    # A few draws at a time: all of them on a large file would take a gigabyte.
    at_once = max(1, min(RESAMPLES, 4_000_000 // max(n, 1)))
    for start in range(0, RESAMPLES, at_once):
        times = rng.multinomial(names.size, share, size=min(at_once, RESAMPLES - start))
        drawn.append(figure(times[:, member].astype(np.float64)))
    values = np.concatenate(drawn)
    values = values[~np.isnan(values)]
    if not values.size:
        return Figure(n, value)
    low, high = np.percentile(values, [2.5, 97.5])
    return Figure(n, value, float(low), float(high))
