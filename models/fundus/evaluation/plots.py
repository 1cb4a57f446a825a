"""Draws ROC and calibration as PNG. matplotlib is an extra and loads only here."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from core.errors import ConfigError
from models.fundus.evaluation.figures import rate
from models.fundus.evaluation.questions import Plotted

# Colour and dashes both tell the lines apart (Okabe-Ito 2008; printed in grey, the dashes remain).
_LINES = (
    ("#0072B2", "-"),
    ("#D55E00", "--"),
    ("#009E73", "-."),
    ("#CC79A7", ":"),
    ("#E69F00", (0, (5, 1))),
    ("#56B4E9", (0, (3, 1, 1, 1))),
    ("#000000", (0, (1, 1))),
    ("#7F7F7F", (0, (8, 2))),
    ("#882255", (0, (4, 2, 1, 2))),
)


def calibration(plotted: Sequence[Plotted]) -> bytes:
    """Return what was said against what was true, a panel per question, as PNG.

    A dot is the photos of one bin, its bar the 95 % interval (Wilson): few photos, long bar.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    across = min(3, len(plotted))
    down = -(-len(plotted) // across)
    figure = _figure(2.6 * across, 2.8 * down)
    for number, line in enumerate(plotted):
        axes: Any = figure.add_subplot(down, across, number + 1)
        for found in line.bins:
            share = rate(round(found.seen * found.n), found.n)
            axes.plot([found.said] * 2, [share.low, share.high], color="#0072B2", linewidth=1)
            axes.plot(found.said, found.seen, "o", color="#0072B2", markersize=4)
        axes.set_title(line.question, fontsize="small")
        axes.tick_params(labelsize="x-small")
        _unit_square(axes)
    figure.supxlabel("probability said", fontsize="small")
    figure.supylabel("share that was positive", fontsize="small")
    return _png(figure)


def roc(plotted: Sequence[Plotted]) -> bytes:
    """Return the ROC curves of all questions as PNG.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    figure = _figure(6.4, 6.4)
    axes: Any = figure.add_subplot()
    for line, (colour, dashes) in zip(plotted, _LINES, strict=False):
        curve = line.curve
        area = float(np.trapezoid(curve.sensitivity, curve.false_positive_rate))
        axes.plot(
            curve.false_positive_rate,
            curve.sensitivity,
            color=colour,
            linestyle=dashes,
            label=f"{line.question}  AUC {area:.3f}",
        )
    axes.set_xlabel("1 - specificity")
    axes.set_ylabel("sensitivity")
    axes.legend(loc="lower right", fontsize="small")
    _unit_square(axes)
    return _png(figure)


def _figure(width_inch: float, height_inch: float) -> Any:
    # pyplot would look for a screen and keep figures; a Figure of its own does neither.
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415  an extra
    except ImportError:
        raise ConfigError(
            "matplotlib is not installed, so no plots are drawn; install the extra `evaluation`"
        ) from None
    return Figure(figsize=(width_inch, height_inch), dpi=120, layout="constrained")


def _unit_square(axes: Any) -> None:
    axes.plot([0, 1], [0, 1], color="#bbbbbb", linewidth=0.8, zorder=0)
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    axes.set_aspect("equal")


def _png(figure: Any) -> bytes:
    out = io.BytesIO()
    # Without the name and version of matplotlib the same figures give the same file.
    figure.savefig(out, format="png", metadata={"Software": None})
    return out.getvalue()
