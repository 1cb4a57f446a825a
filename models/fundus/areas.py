"""Where in a photo the score of a condition came from: closed lines around what stood out.

A class-activation map has a few cells to a side; it is smoothed, cut at half of its peak and to the
retina, and followed around (marching squares; Lorensen and Cline 1987). The lines mark areas that
influenced the score, not lesions.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.fundus.field import Field

Line = NDArray[np.float64]

_GRID = 64  # to a side; the map has 12 cells or so
_SHARE = 0.5  # of the map's peak
_LIT = 28  # 8-bit level; darker is the camera's surround (`field`)
_LEAST = 0.001  # of the square; a smaller loop is no area
# What crosses a cell whose corners (upper left, upper right, lower right, lower left = 1, 2, 4, 8)
# are above the cut: from which side to which, what is above on the right hand.
_UP, _RIGHT, _DOWN, _LEFT = range(4)
_CROSSINGS = {
    1: ((_UP, _LEFT),),
    2: ((_RIGHT, _UP),),
    3: ((_RIGHT, _LEFT),),
    4: ((_DOWN, _RIGHT),),
    5: ((_UP, _LEFT), (_DOWN, _RIGHT)),
    6: ((_DOWN, _UP),),
    7: ((_DOWN, _LEFT),),
    8: ((_LEFT, _DOWN),),
    9: ((_UP, _DOWN),),
    10: ((_RIGHT, _UP), (_LEFT, _DOWN)),
    11: ((_RIGHT, _DOWN),),
    12: ((_LEFT, _RIGHT),),
    13: ((_UP, _RIGHT),),
    14: ((_LEFT, _UP),),
}


def around(
    activation: NDArray[np.float32], square: NDArray[np.uint8], field: Field
) -> tuple[Line, ...]:
    """Return the lines around what influenced a score, largest area first.

    Args:
        activation: class-activation map of the square.
        square: what the network saw, made by `field.square`.
        field: where that was cut out.

    Returns:
        Closed lines, (x, y) of shape (n, 2) in pixels of the photo `field` was found in; the first
        corner comes once.
    """
    values = np.asarray(
        Image.fromarray(activation.astype(np.float32)).resize(
            (_GRID, _GRID), Image.Resampling.BICUBIC
        )
    ).astype(np.float64)
    small = np.asarray(Image.fromarray(square).resize((_GRID, _GRID), Image.Resampling.BOX))
    retina = np.maximum(np.maximum(small[..., 0], small[..., 1]), small[..., 2]) >= _LIT
    peak = float(values[retina].max()) if retina.any() else 0.0
    if peak <= 0:
        return ()
    cut = peak * _SHARE
    loops = _followed(np.where(retina, values, cut - (peak - cut)), cut)
    longest = max(field.width, field.height)
    # `square` puts the middle of the field's box into its own middle.
    middle = np.array([field.left + field.width / 2, field.top + field.height / 2])
    return tuple(
        middle + (loop - 0.5) * longest
        for loop in sorted(loops, key=_area, reverse=True)
        if _area(loop) >= _LEAST
    )


def _followed(values: NDArray[np.float64], cut: float) -> list[Line]:
    """Return the closed lines at the height `cut`, in shares of the side."""
    framed = np.pad(values, 1, constant_values=cut - 1.0)  # what reaches the edge is closed there
    above = framed > cut
    code = above[:-1, :-1] + 2 * above[:-1, 1:] + 4 * above[1:, 1:] + 8 * above[1:, :-1]
    cells = np.argwhere((code > 0) & (code < 15))
    after: dict[tuple[int, int, bool], tuple[int, int, bool]] = {}
    for row, column in cells.tolist():
        # An edge is named by its upper or left corner and by whether it runs down.
        sides = (
            (row, column, False),
            (row, column + 1, True),
            (row + 1, column, False),
            (row, column, True),
        )
        for start, end in _CROSSINGS[int(code[row, column])]:
            after[sides[start]] = sides[end]
    loops: list[Line] = []
    while after:
        first, edge = after.popitem()
        loop = [_crossing(framed, cut, first)]
        while edge != first:
            loop.append(_crossing(framed, cut, edge))
            edge = after.pop(edge)
        # Less the frame, plus half: a value stands for the middle of its place.
        loops.append((np.array(loop) - 0.5) / values.shape[0])
    return loops


def _crossing(
    values: NDArray[np.float64], cut: float, edge: tuple[int, int, bool]
) -> tuple[float, float]:
    """Return where a line at the height `cut` crosses an edge of the grid, as (x, y)."""
    row, column, runs_down = edge
    start = float(values[row, column])
    end = float(values[row + runs_down, column + (not runs_down)])
    share = (cut - start) / (end - start)
    return (column, row + share) if runs_down else (column + share, row)


def _area(loop: Line) -> float:
    x, y = loop.T
    return abs(float(x @ np.roll(y, 1) - y @ np.roll(x, 1))) / 2
