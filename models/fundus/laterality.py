"""Which eye a photo shows, by the side on which the optic disc lies.

The disc lies on the nose's side of the macula, so a photo centred on the macula shows it on the
right for a right eye, as the camera sees it. The disc is looked for as a bright blob of its size
with upright vessels in it. A disc near the middle, or much else that is as bright (atrophy of high
myopia, exudates, reflections), leaves the question open. A photo that was mirrored, or taken
through a hand-held lens and so upside down, looks like the other eye: nothing in it says so, which
is why what the person or the file says goes first.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from core.reading import Eye

_SIZE_PX = 128  # a disc is then 16-20 px wide
_DISC_PX = 4  # inside of a disc
_AROUND_PX = 20  # a few discs wide
_DARK = 24
_EDGE = 0.95  # of the field's radius: its rim is often bright
_HEIGHT = 0.6  # of the radius: a disc is never near the top or the bottom
_VESSELS = 0.35  # weight of vessels beside brightness
_MIDDLE = 0.12  # of the radius: the middle belongs to no side

# Chosen by eye on 182 photos of the training and validation rows (IDRiD, HYGD, PALM), where they
# leave 99.3 % right; `python -m training.fundus.laterality` measures on photos of other cameras.
_MIN_ASIDE = 0.25  # of the radius
_MAX_BRIGHT = 0.08  # share of the field that is at least half as bright as the disc
_PER_MARGIN = 1.5  # log odds per unit of margin, by maximum likelihood on the same photos
SURE = 0.95

_Map = NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class Side:
    """Where the optic disc is.

    Attributes:
        eye: which eye that makes it.
        confidence: probability that this is right, in [0.5, 1]; 0.5 when the picture leaves the
            question open.
    """

    eye: Eye
    confidence: float

    @property
    def is_sure(self) -> bool:
        """Whether it may be told without asking."""
        return self.confidence >= SURE


def side(square: NDArray[np.uint8]) -> Side:
    """Look for the disc in a square made by `field.square`, uint8 RGB of shape (n, n, 3)."""
    found = _look(square)
    if found is None:
        return Side("OD", 0.5)
    across, score, bright = found.across, found.score, found.bright
    right, left = (np.where(s * across > _MIDDLE, score, -9.0) for s in (1, -1))
    margin = float(right.max() - left.max())
    peak = int((right if margin > 0 else left).argmax())
    much = float(((bright > 0.5 * bright.flat[peak]) & found.inside).sum() / found.inside.sum())
    is_open = abs(float(across.flat[peak])) < _MIN_ASIDE or much > _MAX_BRIGHT
    confidence = 0.5 if is_open else 1 / (1 + np.exp(-_PER_MARGIN * abs(margin)))
    return Side("OD" if margin > 0 else "OS", float(confidence))


def disc(square: NDArray[np.uint8]) -> tuple[float, float]:
    """Return where the disc most likely is, across and down, each in [-1, 1] of the square.

    The middle, (0, 0), when nothing of a field is seen.
    """
    found = _look(square)
    if found is None:
        return 0.0, 0.0
    peak = int(found.score.argmax())
    return float(found.across.flat[peak]), float(found.down.flat[peak])


@dataclass(frozen=True, slots=True)
class _Look:
    """Maps of `_SIZE_PX` pixels: place, inside of the field, likeness to a disc, brightness."""

    across: _Map
    down: _Map
    inside: NDArray[np.bool_]
    score: _Map
    bright: _Map


def _look(square: NDArray[np.uint8]) -> _Look | None:
    small = Image.fromarray(square).resize((_SIZE_PX, _SIZE_PX), Image.Resampling.BOX)
    pixels = np.asarray(small).astype(np.float32)
    red, green, blue = pixels[..., 0], pixels[..., 1], pixels[..., 2]
    lit = np.maximum(np.maximum(red, green), blue) >= _DARK
    at = ((np.arange(_SIZE_PX) + 0.5) / (_SIZE_PX / 2) - 1).astype(np.float32)
    across, down = np.meshgrid(at, at)
    inside = lit & (across**2 + down**2 < _EDGE**2)
    if int(inside.sum()) < _SIZE_PX:
        return None
    within = _Within(inside.astype(np.float32))
    level = green + 0.5 * red
    around = within.mean(within.mean(level, _AROUND_PX), 12)
    bright, vessels = _brightness(level, around, within), _vessels(green, around, within)
    may_be = (within.area(6, 6) > 150) & (np.abs(down) < _HEIGHT)
    score = np.where(may_be, bright + _VESSELS * vessels, -9.0)
    return _Look(across, down, inside, score, bright)


class _Within:
    """Means of boxes around each place, of what lies inside a mask."""

    def __init__(self, mask: _Map) -> None:
        self.mask = mask
        self._areas: dict[tuple[int, int], _Map] = {}

    def area(self, by_x: int, by_y: int) -> _Map:
        """Return how many places of each box lie inside the mask."""
        if (by_x, by_y) not in self._areas:
            self._areas[by_x, by_y] = _sum(self.mask, by_x, by_y)
        return self._areas[by_x, by_y]

    def mean(self, values: _Map, by_x: int, by_y: int | None = None) -> _Map:
        """Return the mean of the box that reaches `by_x` and `by_y` pixels from each place."""
        by_y = by_x if by_y is None else by_y
        return _sum(values * self.mask, by_x, by_y) / np.maximum(self.area(by_x, by_y), 1e-6)


def _brightness(level: _Map, around: _Map, within: _Within) -> _Map:
    """Return how much brighter than its surroundings each place is, in standard deviations."""
    mask = within.mask
    here = within.mean(within.mean(level, _DISC_PX), _DISC_PX)
    spread = np.sqrt(((level - around) ** 2 * mask).sum() / mask.sum()) + 1e-3
    return (here - around) * mask / spread


def _vessels(green: _Map, around: _Map, within: _Within) -> _Map:
    """Return how upright the edges around each place are; large vessels leave a disc upright."""
    even = within.mean(green, 1) / (around + 8)
    upright = (np.abs(np.gradient(even, axis=1)) - np.abs(np.gradient(even, axis=0))) * within.mask
    away = within.mask * (within.area(3, 3) > 48)  # from the field's own edge
    found = _Within(away).mean(upright, 7, 16)
    spread = np.sqrt((found**2 * away).sum() / max(1.0, float(away.sum()))) + 1e-6
    return found / spread


def _sum(values: _Map, by_x: int, by_y: int) -> _Map:
    """Return the sum of the box that reaches `by_x` and `by_y` pixels from each place."""
    # No product of matrices: a busy machine's linear algebra threads wait for each other.
    padded = np.pad(values.astype(np.float64), ((by_y + 1, by_y), (by_x + 1, by_x)))
    total = padded.cumsum(axis=0).cumsum(axis=1)
    height, width = 2 * by_y + 1, 2 * by_x + 1
    boxes = total[height:, width:] - total[:-height, width:]
    boxes -= total[height:, :-width] - total[:-height, :-width]
    return boxes.astype(np.float32)
