"""Figures of training's arrays, by the product's `models.fundus.evaluation`; Platt scaling."""

from __future__ import annotations

import numpy as np

from models.fundus.evaluation import figures
from models.fundus.evaluation.figures import Figure


def auc(score: np.ndarray, truth: np.ndarray) -> float:
    """Return the area under the ROC curve alone; NaN where one class is missing."""
    return figures.auc(score, truth, [""] * score.size).value  # one group: nothing to resample


def auc_figure(score: np.ndarray, truth: np.ndarray, groups: list[str]) -> Figure:
    """Return the AUC, its interval by resampling groups (patients)."""
    return figures.auc(score, truth, groups)


def rate(hits: np.ndarray) -> Figure:
    """Return a share with its Wilson interval."""
    return figures.rate(int(hits.sum()), hits.size)


def ece(probability: np.ndarray, truth: np.ndarray) -> float:
    """Return the expected calibration error over ten bins of equal width."""
    return figures.calibration_error(figures.calibration(probability, truth)).value


def quadratic_kappa(first: np.ndarray, second: np.ndarray) -> float:
    """Return Cohen's kappa of ICDR grades with quadratic weights."""
    return figures.weighted_kappa(first, second, [""] * first.size, classes=5).value


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
