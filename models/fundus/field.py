"""Where the retina is in a photo: the camera's field of view inside a dark surround.

Between `intake` (decoded pixels) and `network` (a square of fixed size); training uses the same
functions, so what the network sees in use is what it was trained on. What is lit outside the field,
such as a burned-in name, is neither read nor kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.fundus import outline
from models.fundus.outline import Body, Mask, Points

Pixels = NDArray[np.uint8]

_THUMB_PX = 192  # enough to place the edge to half a percent
_DARK = 28  # 8-bit level: camera surrounds measure 0-15, retina 40 and more
_ROW_FILL = 0.04  # specks of light fill less of a row than the disc does
_GROW = 0.02  # of the outline: its corners lie up to a thumbnail pixel inside the edge
_RED = 30  # 8-bit levels by which a retina's red exceeds its blue
_ALIKE = 0.5  # two eyes in one picture are shown at about the same size


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
        outline: corners of its convex outline, (x, y) in pixels; empty when nothing but the box
            is known.
        marks: something else is lit outside the outline: letters, a ruler, the other eye.
    """

    left: int
    top: int
    right: int
    bottom: int
    fill: float
    dark_surround: bool
    touches: int
    outline: tuple[tuple[float, float], ...] = ()
    marks: bool = False

    @property
    def width(self) -> int:
        """Width in pixels."""
        return self.right - self.left

    @property
    def height(self) -> int:
        """Height in pixels."""
        return self.bottom - self.top


@dataclass(frozen=True, slots=True)
class _Thumb:
    """A coarse look at a photo: the mean of each block of `step` by `step` pixels."""

    lit: Mask
    coarse: Pixels
    step: int
    width: int
    height: int
    dark_corners: int


def find(pixels: Pixels) -> Field:
    """Find the field of view of `pixels`, uint8 RGB of shape (height, width, 3).

    A photo without a dark surround is its own field. Two fields are found as one box around both;
    `find_all` takes them apart.
    """
    thumb = _thumb(pixels)
    return _around_all(thumb, _fields_of_view(thumb))


def find_all(pixels: Pixels) -> tuple[Field, ...]:
    """Find every field of view: one, or two when the picture shows two eyes.

    Two are in reading order: left to right, or top to bottom.
    """
    thumb = _thumb(pixels)
    found = _fields_of_view(thumb)
    if len(found) == 2:
        return tuple(_box(thumb, [b]) for b in found)
    return (_around_all(thumb, found),)


def square(pixels: Pixels, field: Field, size_px: int) -> Pixels:
    """Return the field on a black square of `size_px`, uint8 RGB, its shape kept."""
    scale = size_px / max(field.width, field.height)
    width = max(1, round(field.width * scale))
    height = max(1, round(field.height * scale))
    inside = Image.fromarray(cut_out(pixels, field))
    inside = inside.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2.0)
    canvas = np.zeros((size_px, size_px, 3), np.uint8)
    y, x = (size_px - height) // 2, (size_px - width) // 2
    canvas[y : y + height, x : x + width] = np.asarray(inside)
    return canvas


def only(pixels: Pixels, fields: Sequence[Field]) -> Pixels:
    """Return the photo with everything outside the fields black.

    Unchanged where no field with the shape of a camera's was found: what is no fundus photo has no
    outside.
    """
    if not fields or not all(f.outline for f in fields):
        return pixels
    height, width = pixels.shape[:2]
    inside = np.zeros((height, width), np.bool_)
    for found in fields:
        inside |= outline.filled(np.array(found.outline), (height, width))
    return np.where(inside[..., None], pixels, np.uint8(0))


def cut_out(pixels: Pixels, field: Field) -> Pixels:
    """Return the field's box, black where marks lie beside the field."""
    crop = pixels[field.top : field.bottom, field.left : field.right]
    if not field.marks:
        return crop
    points = np.array(field.outline) - (field.left, field.top)
    inside = outline.filled(points, (field.height, field.width))
    return np.where(inside[..., None], crop, np.uint8(0))


def _thumb(pixels: Pixels) -> _Thumb:
    height, width = pixels.shape[:2]
    step = max(1, max(height, width) // _THUMB_PX)
    # The mean, not every n-th pixel: the noise of a compression must not move the edge.
    coarse = np.asarray(Image.fromarray(pixels).reduce(step))
    level = np.maximum(np.maximum(coarse[..., 0], coarse[..., 1]), coarse[..., 2])
    corner = max(1, min(level.shape) // 16)
    corners = [
        float(np.median(level[y, x]))
        for y in (slice(0, corner), slice(-corner, None))
        for x in (slice(0, corner), slice(-corner, None))
    ]
    dark_corners = sum(c < _DARK for c in corners)
    return _Thumb(level >= _DARK, coarse, step, width, height, dark_corners)


def _fields_of_view(thumb: _Thumb) -> list[Body]:
    """Return one or two bodies that have a field's shape, or none."""
    shapes = outline.bodies(thumb.lit)
    # On paper or a screen, where the corners are light, many things are round: red ones may be it.
    fields = [
        b
        for b in shapes
        if b.is_field and (thumb.dark_corners >= 2 or _is_red(thumb.coarse[b.mask]))
    ]
    if not fields:
        halves = outline.split(shapes[0], thumb.lit) if shapes else None
        return list(halves) if halves else []
    first = fields[0]
    for other in shapes:
        # Beside a retina a second one need not be round: some files are cut square.
        may_be = other.is_field or (other.is_solid and _is_red(thumb.coarse[other.mask]))
        alike = other.mask.sum() >= _ALIKE * first.mask.sum()
        if other is not first and may_be and alike and _are_beside(first, other):
            return sorted((first, other), key=_reading_order)
    return [first]


def _is_red(colours: Pixels) -> bool:
    red, _, blue = colours.mean(axis=0)
    return bool(red - blue >= _RED)


def _are_beside(one: Body, other: Body) -> bool:
    """Tell whether two bodies lie side by side or one above the other, none inside the other."""
    (x0, y0), (x1, y1) = one.outline.min(axis=0), one.outline.max(axis=0)
    (u0, v0), (u1, v1) = other.outline.min(axis=0), other.outline.max(axis=0)
    shared_x = (min(x1, u1) - max(x0, u0)) / min(x1 - x0, u1 - u0)
    shared_y = (min(y1, v1) - max(y0, v0)) / min(y1 - y0, v1 - v0)
    return min(shared_x, shared_y) <= 0.1 and max(shared_x, shared_y) >= 0.6


def _reading_order(body: Body) -> float:
    x, y = body.outline.mean(axis=0)
    return float(x + y)  # the two differ in only one of them


def _around_all(thumb: _Thumb, found: list[Body]) -> Field:
    return _box(thumb, found) if found or thumb.dark_corners >= 2 else _whole(thumb)


def _whole(thumb: _Thumb) -> Field:
    fill = float(thumb.lit.mean())
    return Field(0, 0, thumb.width, thumb.height, fill, thumb.dark_corners == 4, 4)


def _box(thumb: _Thumb, found: list[Body]) -> Field:
    """Return the box around the bodies, or around all that is lit when there are none."""
    lit = np.logical_or.reduce([b.mask for b in found]) if found else thumb.lit
    rows, columns = lit.shape
    step, width, height = thumb.step, thumb.width, thumb.height
    ys = np.flatnonzero(lit.mean(axis=1) > _ROW_FILL)
    xs = np.flatnonzero(lit.mean(axis=0) > _ROW_FILL)
    if not found and (ys.size < rows // 8 or xs.size < columns // 8):
        return _whole(thumb)
    top, bottom = int(ys[0]) * step, min(height, (int(ys[-1]) + 1) * step)
    left, right = int(xs[0]) * step, min(width, (int(xs[-1]) + 1) * step)
    fill = float(lit[ys[0] : ys[-1] + 1, xs[0] : xs[-1] + 1].mean())
    touches = (top <= step) + (left <= step) + (bottom >= height - step) + (right >= width - step)
    points: tuple[tuple[float, float], ...] = ()
    marks = False
    if len(found) == 1:
        points = _in_pixels(found[0].outline, step)
        inside = outline.filled(found[0].outline, (rows, columns), grow=_GROW)
        marks = bool((thumb.lit & ~inside).any())
    dark = thumb.dark_corners == 4
    return Field(left, top, right, bottom, fill, dark, touches, points, marks)


def _in_pixels(points: Points, step: int) -> tuple[tuple[float, float], ...]:
    """Scale an outline of the thumbnail to the photo, grown so that nothing of the field is cut."""
    centre = points.mean(axis=0)
    grown = (centre + (points - centre) * (1 + _GROW)) * step + (step - 1) / 2
    return tuple((float(x), float(y)) for x, y in grown)
