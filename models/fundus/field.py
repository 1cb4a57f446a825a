"""Where the retina is in a photo: the camera's field of view inside a dark surround.

Between `intake` (decoded pixels) and `network` (a square of fixed size); training uses the same
functions, so what the network sees in use is what it was trained on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]

_THUMB_PX = 192  # enough to place the edge to half a percent
_DARK = 28  # 8-bit level: camera surrounds measure 0-15, retina 40 and more
_ROW_FILL = 0.04  # burned-in letters fill less of a row than the disc does


@dataclass(frozen=True, slots=True)
class Field:
    """The field of view, as a box in pixels of the decoded photo.

    Attributes:
        left: first column inside.
        top: first row inside.
        right: first column outside again.
        bottom: first row outside again.
        fill: lit share of the box, in [0, 1]; π/4 ≈ 0.79 for a full disc.
        dark_surround: all corners of the photo are dark, as a fundus camera leaves them.
        touches: how many sides of the photo the field runs into, 0-4.
    """

    left: int
    top: int
    right: int
    bottom: int
    fill: float
    dark_surround: bool
    touches: int

    @property
    def width(self) -> int:
        """Width in pixels."""
        return self.right - self.left

    @property
    def height(self) -> int:
        """Height in pixels."""
        return self.bottom - self.top


def find(pixels: Pixels) -> Field:
    """Find the field of view of `pixels`, uint8 RGB of shape (height, width, 3).

    A photo without a dark surround is its own field.
    """
    height, width = pixels.shape[:2]
    step = max(1, max(height, width) // _THUMB_PX)
    level = pixels[::step, ::step].max(axis=2)
    rows, columns = level.shape
    corner = max(1, min(rows, columns) // 16)
    corners = [
        float(np.median(level[y, x]))
        for y in (slice(0, corner), slice(-corner, None))
        for x in (slice(0, corner), slice(-corner, None))
    ]
    dark_surround = max(corners) < _DARK
    lit = level >= _DARK
    whole = Field(0, 0, width, height, float(lit.mean()), dark_surround, 4)
    if sum(c < _DARK for c in corners) < 2:
        return whole
    ys = np.flatnonzero(lit.mean(axis=1) > _ROW_FILL)
    xs = np.flatnonzero(lit.mean(axis=0) > _ROW_FILL)
    if ys.size < rows // 8 or xs.size < columns // 8:
        return whole
    top, bottom = int(ys[0]) * step, min(height, (int(ys[-1]) + 1) * step)
    left, right = int(xs[0]) * step, min(width, (int(xs[-1]) + 1) * step)
    fill = float(lit[ys[0] : ys[-1] + 1, xs[0] : xs[-1] + 1].mean())
    touches = (top <= step) + (left <= step) + (bottom >= height - step) + (right >= width - step)
    return Field(left, top, right, bottom, fill, dark_surround, touches)


def square(pixels: Pixels, field: Field, size_px: int) -> Pixels:
    """Return the field on a black square of `size_px`, uint8 RGB, its shape kept."""
    scale = size_px / max(field.width, field.height)
    width = max(1, round(field.width * scale))
    height = max(1, round(field.height * scale))
    inside = Image.fromarray(pixels[field.top : field.bottom, field.left : field.right])
    inside = inside.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2.0)
    canvas = np.zeros((size_px, size_px, 3), np.uint8)
    y, x = (size_px - height) // 2, (size_px - width) // 2
    canvas[y : y + height, x : x + width] = np.asarray(inside)
    return canvas
