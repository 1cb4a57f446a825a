"""Why a photo cannot be assessed, in words a person can act on.

The network says whether a photo is gradable; these plain measurements say what to change. They run
on the square the network saw, so their limits do not depend on the camera's resolution.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from core.reading import RetakeCause
from models.fundus.field import Field

_MEASURED_PX = 224
_LIT = 28

# Limits between gradable pictures of the training split (1st or 99th percentile) and spoiled ones;
# `python -m training.fundus.limits` prints both.
MIN_FIELD_PX = 160
MIN_SHARPNESS = 0.007
MIN_LEVEL = 42.0
MAX_LEVEL = 240.0
MAX_BURNT = 0.10
MAX_GLARE = 0.03
MIN_FILL = 0.60


@dataclass(frozen=True, slots=True)
class Measures:
    """What was measured inside the field.

    Attributes:
        sharpness: mean fine detail over mean level; vessels give 0.02 and more.
        level: median of the brightest channel, 0-255.
        burnt: share of pixels at the top of every channel but blue.
        glare: share of pixels that are white.
        fill: lit share of the field's box.
        field_px: shorter side of the field in the photo as sent.
    """

    sharpness: float
    level: float
    burnt: float
    glare: float
    fill: float
    field_px: int


def measure(square: NDArray[np.uint8], field: Field, *, shrunk: float = 1.0) -> Measures:
    """Measure the square made from `field`.

    Args:
        square: uint8 RGB, what the network sees.
        field: where it was cut out.
        shrunk: how many pixels of the sent photo one decoded pixel stands for.
    """
    # One size for networks of every size: fine detail is less where there are more pixels.
    image = Image.fromarray(square).resize((_MEASURED_PX, _MEASURED_PX), Image.Resampling.BOX)
    red, green, blue = (np.asarray(image.getchannel(n)) for n in range(3))
    top = np.maximum(np.maximum(red, green), blue)
    lit = top >= _LIT
    count = max(1, int(lit.sum()))
    # Fine detail: what a 3 × 3 mean takes away, measured away from the field's own edge.
    inner = lit.copy()
    for shift in (-4, 4):
        inner &= np.roll(lit, shift, 0)
        inner &= np.roll(lit, shift, 1)
    mean = np.asarray(image.getchannel(1).filter(ImageFilter.BoxBlur(1)))
    # The difference of two unsigned levels, without a wider copy of either.
    detail = (np.maximum(green, mean) - np.minimum(green, mean))[inner]
    # With hardly anything lit the few bright specks must not speak for the whole.
    level = _median(top[lit] if lit.mean() > 0.25 else top)
    return Measures(
        sharpness=float(detail.mean() / (green[inner].mean() + 1.0)) if detail.size else 0.0,
        level=level,
        burnt=float(((red > 250) & (green > 215)).sum() / count),
        glare=float(((red > 225) & (green > 225) & (blue > 225)).sum() / count),
        fill=field.fill,
        field_px=round(min(field.width, field.height) * shrunk),
    )


def _median(levels: NDArray[np.uint8]) -> float:
    """Return the median by counting levels; sorting takes ten times as long."""
    up_to = np.bincount(levels.reshape(-1), minlength=256).cumsum()
    n = levels.size
    low, high = np.searchsorted(up_to, [(n - 1) // 2, n // 2], side="right")
    return float(low + high) / 2


def causes(measures: Measures, *, on_screen: bool) -> tuple[RetakeCause, ...]:
    """Return what to change, worst first; empty when nothing measurable is wrong."""
    found: list[RetakeCause] = []
    if measures.field_px < MIN_FIELD_PX:
        found.append("too_small")
    if measures.level < MIN_LEVEL:
        found.append("dark")
    if measures.burnt > MAX_BURNT or measures.level > MAX_LEVEL:
        found.append("bright")
    if measures.glare > MAX_GLARE and "bright" not in found:
        found.append("reflection")
    if on_screen:
        found.append("screen")
    if measures.sharpness < MIN_SHARPNESS and "dark" not in found:
        found.append("blur")
    if measures.fill < MIN_FILL:
        found.append("off_centre")
    return tuple(found)
