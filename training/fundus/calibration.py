"""Calibration and thresholds of every head, from out-of-fold answers alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.fundus.manifest import Calibration, Grades, Metric
from training.fundus.figures import auc_figure, ece, platt, quadratic_kappa, rate
from training.fundus.labels import INDEX, WEAK, Row
from training.fundus.outoffold import CAMERA, CLEAN, DRAWING, PAIR, SCREEN, SPOILED, OutOfFold

# What the refer threshold must reach (criterion of the trials in facts and card): the threshold
# with the widest margin over both is taken.
WANTED_SENSITIVITY, WANTED_SPECIFICITY = 0.85, 0.80


@dataclass(frozen=True, slots=True)
class Fitted:
    """One head, ready for the manifest."""

    calibration: Calibration
    rule_out: float
    refer: float
    metrics: tuple[Metric, ...]


@dataclass(frozen=True, slots=True)
class Rule:
    """How a head's thresholds are chosen.

    Attributes:
        channel: of the network.
        views: what calibrates it.
        balanced: calibrate as if yes and no were equally frequent.
        miss: share of yes that may fall below the rule-out threshold.
        alarm: share of no that may reach the refer threshold; None: the widest margin over the
            wanted sensitivity and specificity instead.
        lenient: the refer threshold is where `alarm` puts it, even if all of yes lie higher. For
            the gate: a retina refused sends a patient away, what is let in wrongly still meets
            the quality check.
        low: range of the rule-out threshold.
        high: range of the refer threshold: a small set separates more cleanly than life.
    """

    channel: str
    views: tuple[int, ...]
    balanced: bool
    miss: float
    alarm: float | None
    low: tuple[float, float]
    high: tuple[float, float]
    lenient: bool = False


_CAMERAS = (CLEAN, CAMERA)
# Diseases are calibrated on views with another camera simulated only: nobody's camera is the one
# the weights learnt from, and on that one their answers are too sure of themselves.
RULES = {
    "gate": Rule(
        "gate", (*_CAMERAS, DRAWING), True, 0.002, 0.01, (0.05, 0.4), (0.3, 0.7), lenient=True
    ),
    "quality": Rule("quality", (*_CAMERAS, SPOILED), True, 0.01, 0.03, (0.15, 0.4), (0.4, 0.7)),
    "screen": Rule("screen", (*_CAMERAS, SCREEN), True, 0.05, 0.015, (0.2, 0.5), (0.5, 0.9)),
    "pair": Rule("pair", (*_CAMERAS, PAIR), True, 0.05, 0.003, (0.2, 0.5), (0.6, 0.95)),
    "dr": Rule("dr2", (CAMERA,), True, 0.05, None, (0.15, 0.45), (0.5, 0.8)),
    "dme": Rule("dme", (CAMERA,), True, 0.05, None, (0.15, 0.45), (0.5, 0.8)),
    # Rare in use, and the probability is the one at a prevalence of one half: where 1-2 % have it,
    # 0.95 means about one in five.
    "pm": Rule("pm", (CAMERA,), True, 0.03, 0.005, (0.2, 0.45), (0.95, 0.95)),
    "glaucoma": Rule("glaucoma", (CAMERA,), True, 0.05, 0.05, (0.15, 0.45), (0.5, 0.85)),
}


def widest_margin(p: np.ndarray, y: np.ndarray) -> float:
    """Return the threshold with the largest least margin over both wanted rates."""
    tried = np.unique(p)
    sensitivity = np.array([(p[y == 1] >= t).mean() for t in tried])
    specificity = np.array([(p[y == 0] < t).mean() for t in tried])
    margin = np.minimum(sensitivity - WANTED_SENSITIVITY, specificity - WANTED_SPECIFICITY)
    best = np.flatnonzero(margin >= margin.max() - 1e-9)
    return float(tried[best].mean())


def _usable(found: OutOfFold, channel: int) -> np.ndarray:
    """Mark what is labelled; weak negatives teach, but calibrate nothing."""
    return found.weight[:, channel] > WEAK


def fit(name: str, found: OutOfFold, rows: list[Row]) -> Fitted:
    """Calibrate one head and choose its thresholds.

    Args:
        name: of the head.
        found: the out-of-fold answers.
        rows: what `found.row` counts in.
    """
    rule = RULES[name]
    channel = INDEX[rule.channel]
    views = found.of(*rule.views)
    strong = _usable(views, channel)
    x, y = views.logits[strong, channel].astype(float), views.target[strong, channel].astype(float)
    calibration = _platt(x, y, balanced=rule.balanced)
    p = _probabilities(calibration, x)
    lose = float(np.quantile(p[y == 1], rule.miss))
    if rule.alarm is None:
        refer = widest_margin(p, y)
    else:
        alarmed = float(np.quantile(p[y == 0], 1 - rule.alarm))
        refer = alarmed if rule.lenient else max(lose, alarmed)
    refer = float(np.clip(refer, *rule.high))
    rule_out = float(np.clip(min(lose, refer), *rule.low))
    rule_out, refer = round(min(rule_out, refer), 3), round(refer, 3)
    metrics: list[Metric] = []
    sets = [("out of fold", rule.views)]
    if rule.views == (CAMERA,):
        sets = [("out of fold", (CLEAN,)), ("out of fold, cameras simulated", (CAMERA,))]
    for pictures, kinds in sets:
        metrics += _figures(found.of(*kinds), rows, channel, calibration, refer, rule_out, pictures)
    return Fitted(calibration, rule_out, refer, tuple(metrics))


def _figures(
    views: OutOfFold,
    rows: list[Row],
    channel: int,
    calibration: Calibration,
    refer: float,
    rule_out: float,
    pictures: str,
) -> list[Metric]:
    keep = _usable(views, channel)
    p = _probabilities(calibration, views.logits[keep, channel].astype(float))
    y = views.target[keep, channel].astype(int)
    groups = [rows[n].group if n >= 0 else f"drawn {v}" for v, n in enumerate(views.row[keep])]
    area = auc_figure(p, y, groups)
    sensitivity, specificity = rate(p[y == 1] >= refer), rate(p[y == 0] < refer)
    kept = rate(p[y == 1] >= rule_out)
    return [
        Metric(
            name=name,
            pictures=pictures,
            n=figure.n,
            value=round(figure.value, 4),
            low=round(figure.low, 4),
            high=round(figure.high, 4),
        )
        for name, figure in (
            ("auc", area),
            ("sensitivity at refer", sensitivity),
            ("specificity at refer", specificity),
            ("sensitivity at rule-out", kept),
        )
    ] + [Metric(name="ece", pictures=pictures, n=len(p), value=round(ece(p, y), 4))]


def grades(found: OutOfFold, rows: list[Row]) -> tuple[Grades, list[Metric]]:
    """Calibrate the cumulative grade channels at the prevalence of IDRiD.

    Grading wants the likeliest grade, so rare grades are not weighted up (out of fold that gives a
    weighted kappa of 0.85 instead of 0.83). PALM's weak "no retinopathy" calibrates nothing.
    """
    views = found.of(*_CAMERAS)
    graded = np.array([n >= 0 and rows[n].dr_grade is not None for n in views.row])
    x = views.logits[graded]
    truth = np.array([rows[n].dr_grade for n in views.row[graded]])
    fitted = tuple(
        _platt(x[:, INDEX[f"dr{n}"]].astype(float), (truth >= n).astype(float), balanced=False)
        for n in range(1, 5)
    )
    made = Grades(channels=tuple(INDEX[f"dr{n}"] for n in range(1, 5)), calibration=fitted)
    metrics: list[Metric] = []
    for pictures, kind in (("out of fold", CLEAN), ("out of fold, cameras simulated", CAMERA)):
        part = views.kind[graded] == kind
        given = np.array([made.grade([float(v) for v in one]) for one in x[part]])
        exact = rate(given == truth[part])
        metrics.append(
            Metric(
                name="grade accuracy",
                pictures=pictures,
                n=exact.n,
                value=round(exact.value, 4),
                low=round(exact.low, 4),
                high=round(exact.high, 4),
            )
        )
        kappa = quadratic_kappa(truth[part], given)
        metrics.append(
            Metric(name="grade weighted kappa", pictures=pictures, n=exact.n, value=round(kappa, 4))
        )
    return made, metrics


def _platt(x: np.ndarray, y: np.ndarray, *, balanced: bool) -> Calibration:
    scale, bias = platt(x, y, balanced=balanced)
    return Calibration(scale=round(scale, 4), bias=round(bias, 4))


def _probabilities(calibration: Calibration, logits: np.ndarray) -> np.ndarray:
    return np.array([calibration.probability(v) for v in logits])
