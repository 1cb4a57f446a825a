"""Figures with 95 % intervals: AUC, rates, calibration error, weighted kappa."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

RESAMPLES = 1000


@dataclass(frozen=True, slots=True)
class Figure:
    """A measured figure and its 95 % interval."""

    n: int
    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}-{self.high:.3f}] n={self.n}"


def auc(score: np.ndarray, truth: np.ndarray) -> float:
    """Return the area under the ROC curve, ties counted half."""
    positive, negative = score[truth == 1], score[truth == 0]
    if not positive.size or not negative.size:
        return math.nan
    order = np.sort(negative)
    below = np.searchsorted(order, positive, "left")
    up_to = np.searchsorted(order, positive, "right")
    return float((below + up_to).sum() / (2 * positive.size * negative.size))


def auc_figure(score: np.ndarray, truth: np.ndarray, groups: list[str]) -> Figure:
    """Return the AUC, its interval by resampling groups (patients)."""
    names = np.unique(groups)
    members = {g: np.flatnonzero(np.asarray(groups) == g) for g in names}
    rng = np.random.default_rng(7)
    values = []
    for _ in range(RESAMPLES):
        chosen = np.concatenate([members[g] for g in rng.choice(names, names.size)])
        if not math.isnan(value := auc(score[chosen], truth[chosen])):
            values.append(value)
    low, high = np.percentile(values, [2.5, 97.5])
    return Figure(score.size, auc(score, truth), float(low), float(high))


def rate(hits: np.ndarray) -> Figure:
    """Return a share with its Wilson interval."""
    n, k = hits.size, float(hits.sum())
    if n == 0:
        return Figure(0, math.nan, math.nan, math.nan)
    z, p = 1.96, k / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return Figure(n, p, max(0.0, centre - half), min(1.0, centre + half))


def ece(probability: np.ndarray, truth: np.ndarray, bins: int = 10) -> float:
    """Return the expected calibration error over equal-width bins."""
    index = np.minimum((probability * bins).astype(int), bins - 1)
    total = 0.0
    for b in range(bins):
        inside = index == b
        if inside.any():
            total += inside.mean() * abs(probability[inside].mean() - truth[inside].mean())
    return float(total)


def quadratic_kappa(first: np.ndarray, second: np.ndarray, grades: int = 5) -> float:
    """Return Cohen's kappa with quadratic weights."""
    seen = np.zeros((grades, grades))
    for a, b in zip(first, second, strict=True):
        seen[a, b] += 1
    wanted = np.outer(seen.sum(1), seen.sum(0)) / seen.sum()
    cost = (np.arange(grades)[:, None] - np.arange(grades)[None, :]) ** 2
    return float(1 - (cost * seen).sum() / (cost * wanted).sum())


def platt(logit: np.ndarray, truth: np.ndarray, *, balanced: bool) -> tuple[float, float]:
    """Fit (scale, bias) of sigmoid(scale × logit + bias) by Newton steps.

    A weak pull to (1, 0) keeps few pictures from making it certain. With `balanced`, both answers
    weigh the same, so the probability is the one at a prevalence of one half.
    """
    weight = np.ones_like(logit)
    if balanced:
        share = truth.mean()
        weight = np.where(truth == 1, 0.5 / share, 0.5 / (1 - share))
    pull = 0.02 * logit.size
    x = np.array([1.0, 0.0])
    design = np.stack([logit, np.ones_like(logit)], 1)
    for _ in range(60):
        p = 1 / (1 + np.exp(-np.clip(design @ x, -40, 40)))
        gradient = design.T @ (weight * (p - truth)) + pull * (x - [1.0, 0.0]) * [1.0, 0.2]
        hessian = (design * (weight * p * (1 - p))[:, None]).T @ design
        hessian += np.diag([pull, 0.2 * pull]) + 1e-6 * np.eye(2)
        x = x - np.linalg.solve(hessian, gradient)
        x[0] = max(x[0], 0.05)
    return float(x[0]), float(x[1])
