"""The shape of what is lit: bodies, their convex outlines, and whether they are discs.

A camera's field of view is one large convex shape, nearly always a circle, whole or cut off at the
edges of the picture; burned-in letters are small, thin and apart from it. `field` tells them apart
with what is here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Mask = NDArray[np.bool_]
Points = NDArray[np.float64]

_STROKE_PX = 3  # half the width of the strokes and lines of letters that are taken away
_MIN_SHARE = 0.03  # of the picture; less is no field of view
_WISPS = 0.10  # of its size: how far dim edges may reach beyond what is solid
_MIN_SOLID = 0.80  # lit share of a field's outline; vessels and bleeding are dark
_ALIKE = 0.3  # share of the largest from which a second body counts beside it
_ROUND = 0.03  # of the radius: how far the edge of a disc may be from its circle
_STICKS_OUT = 0.05  # of the radius: fields that a file has squeezed a little are not cut
_MIN_ROUND = 0.55  # share of the edge on the circle; a square has a quarter, a half disc 0.6
_EDGE_POINTS = 180


@dataclass(frozen=True, slots=True)
class Body:
    """One connected lit shape.

    Attributes:
        mask: its pixels, dim edges included, letters that touch it cut off.
        outline: corners of its convex outline, (x, y) of shape (n, 2), in pixels of the mask.
        solid: lit share of the outline's area.
        is_disc: the outline follows a circle for most of its length.
    """

    mask: Mask
    outline: Points
    solid: float
    is_disc: bool

    @property
    def is_field(self) -> bool:
        """Whether it has the shape of a field of view."""
        return self.is_disc and self.is_solid

    @property
    def is_solid(self) -> bool:
        """Whether it is lit all over, but for vessels and bleeding."""
        return self.solid >= _MIN_SOLID


def bodies(lit: Mask) -> list[Body]:
    """Return the bodies of a mask that could be fields of view, largest first, at most four."""
    least = _MIN_SHARE * lit.size
    cores = [c for c in _components(_opened(lit))[:4] if int(c.sum()) >= least]
    if not cores:
        return []
    if len(cores) > 1 and int(cores[1].sum()) >= _ALIKE * int(cores[0].sum()):
        return [body_of(core, lit) for core in cores]  # one's dim edge may be the other's
    connected = _components(_widened(lit, 1))  # a dim edge is speckled: its specks count as one
    return [body_of(_with_wisps(core, connected) & lit, lit) for core in cores]


def body_of(shape: Mask, lit: Mask) -> Body:
    """Describe a shape; holes in it count as lit where `lit` says so."""
    outline = _convex(shape)
    circle = _circle(outline)
    if circle is not None:
        # What sticks out, such as a letter that touches the edge, is no part of a disc.
        shape = shape & _disc(circle, (shape.shape[0], shape.shape[1]))
        outline = _convex(shape)
    inside = filled(outline, (shape.shape[0], shape.shape[1]))
    solid = float(lit[inside].mean()) if inside.any() else 0.0
    return Body(shape, outline, solid, circle is not None)


def _with_wisps(core: Mask, connected: list[Mask]) -> Mask:
    """Return a core with what is lit around it and connected to it."""
    y, x = (int(n[0]) for n in np.nonzero(core))
    whole = next(c for c in connected if c[y, x])
    return whole & filled(_convex(core), (core.shape[0], core.shape[1]), grow=_WISPS)


def split(body: Body, lit: Mask) -> tuple[Body, Body] | None:
    """Cut a body that is two touching discs, side by side or one above the other, in two."""
    ys, xs = np.nonzero(body.mask)
    height, width = int(np.ptp(ys)) + 1, int(np.ptp(xs)) + 1
    if not 1.5 <= max(height, width) / min(height, width) <= 2.5:
        return None
    along = 0 if width >= height else 1
    profile = body.mask.sum(axis=along)
    first = int(xs.min() if along == 0 else ys.min())
    longest = max(height, width)
    middle = profile[first + longest * 2 // 5 : first + longest * 3 // 5]
    cut = first + longest * 2 // 5 + int(middle.argmin())
    if profile[cut] > 0.92 * min(profile[:cut].max(), profile[cut + 1 :].max()):
        return None
    halves: list[Body] = []
    for part in (slice(None, cut), slice(cut + 1, None)):
        shape = np.zeros_like(body.mask)
        where = (slice(None), part) if along == 0 else (part, slice(None))
        shape[where] = body.mask[where]
        halves.append(body_of(shape, lit))
    return (halves[0], halves[1]) if all(h.is_field for h in halves) else None


def filled(outline: Points, size: tuple[int, int], *, grow: float = 0.0) -> Mask:
    """Return the mask of (height, width) inside an outline grown by a share of its size."""
    centre = outline.mean(axis=0)
    points = centre + (outline - centre) * (1 + grow)
    canvas = Image.new("L", (size[1], size[0]))
    ImageDraw.Draw(canvas).polygon([(float(x), float(y)) for x, y in points], fill=1, outline=1)
    return np.asarray(canvas).view(np.bool_)


def _opened(lit: Mask) -> Mask:
    """Take thin parts away."""
    # At the edge of the picture a field goes on outside; so may a letter, it is cut off with it.
    framed = np.pad(lit, _STROKE_PX, mode="edge")
    core = _widened(~_widened(~framed, _STROKE_PX), _STROKE_PX)
    return core[_STROKE_PX:-_STROKE_PX, _STROKE_PX:-_STROKE_PX]


def _widened(mask: Mask, by_px: int) -> Mask:
    """Grow a mask by so many pixels in every direction."""
    wide = mask.copy()
    for n in range(1, by_px + 1):
        wide[n:] |= mask[:-n]
        wide[:-n] |= mask[n:]
    tall = wide.copy()
    for n in range(1, by_px + 1):
        tall[:, n:] |= wide[:, :-n]
        tall[:, :-n] |= wide[:, n:]
    return tall


def _components(mask: Mask) -> list[Mask]:
    """Return the connected parts, largest first, by joining the runs of neighbouring rows."""
    padded = np.zeros((mask.shape[0], mask.shape[1] + 2), np.int8)
    padded[:, 1:-1] = mask
    edges = np.diff(padded, axis=1)
    run_rows, run_starts = np.nonzero(edges == 1)
    # Lists: the loops below look at single numbers, which arrays are slow at.
    rows: list[int] = run_rows.tolist()
    starts: list[int] = run_starts.tolist()
    ends: list[int] = np.nonzero(edges == -1)[1].tolist()
    parent = list(range(len(rows)))

    def root(n: int) -> int:
        while parent[n] != n:
            parent[n] = parent[parent[n]]
            n = parent[n]
        return n

    first_of_row: list[int] = np.searchsorted(run_rows, range(mask.shape[0] + 1)).tolist()
    for y in range(1, mask.shape[0]):
        above, here, stop = first_of_row[y - 1 : y + 2]
        stop_above = here
        while above < stop_above and here < stop:
            if starts[above] < ends[here] and starts[here] < ends[above]:
                parent[root(here)] = root(above)
            if ends[above] < ends[here]:
                above += 1
            else:
                here += 1
    groups: dict[int, list[int]] = {}
    for n in range(len(rows)):
        groups.setdefault(root(n), []).append(n)
    parts: list[Mask] = []
    for runs in groups.values():
        part = np.zeros_like(mask)
        for n in runs:
            part[rows[n], starts[n] : ends[n]] = True
        parts.append(part)
    return sorted(parts, key=lambda p: -int(p.sum()))


def _convex(shape: Mask) -> Points:
    """Return the corners of the convex hull, from the first of the leftmost on."""
    ys = np.flatnonzero(shape.any(axis=1))
    rows = shape[ys]
    left = rows.argmax(axis=1)
    right = shape.shape[1] - 1 - rows[:, ::-1].argmax(axis=1)
    one, other = _bent_outwards(left, ys, -1), _bent_outwards(right, ys, 1)
    # Up along the left ends, down along the right ones; a row of one pixel has one end.
    x = np.concatenate([left[one], right[other][::-1]])
    y = np.concatenate([ys[one], ys[other][::-1]])
    is_new = (x != np.roll(x, 1)) | (y != np.roll(y, 1))
    points = np.stack([x[is_new], y[is_new]], axis=1).astype(np.float64)
    if len(points) < 3:
        return np.unique(np.stack([x, y], axis=1), axis=0).astype(np.float64)
    first = np.lexsort((points[:, 1], points[:, 0]))[0]
    return np.roll(points[::-1], first + 1 - len(points), axis=0)


def _bent_outwards(xs: NDArray[np.int64], ys: NDArray[np.int64], side: int) -> NDArray[np.int64]:
    """Return which ends of rows are corners of the hull: +1 for right ends, -1 for left ones.

    A point that lies inside the line between its neighbours is no corner, whatever becomes of them;
    so all such points go at once, until none is left.
    """
    kept = np.arange(xs.size)
    while kept.size > 2:
        x, y = xs[kept], ys[kept]
        turn = (x[1:-1] - x[:-2]) * (y[2:] - y[:-2]) - (x[2:] - x[:-2]) * (y[1:-1] - y[:-2])
        stays = np.concatenate([[True], side * turn > 0, [True]])
        if stays.all():
            break
        kept = kept[stays]
    return kept


@dataclass(frozen=True, slots=True)
class _Circle:
    x: float
    y: float
    radius: float


def _disc(circle: _Circle, size: tuple[int, int]) -> Mask:
    """Return the mask of (height, width) inside a circle and a little around it."""
    y, x = np.ogrid[: size[0], : size[1]]
    reach = circle.radius * (1 + _STICKS_OUT) + 1
    return (x - circle.x) ** 2 + (y - circle.y) ** 2 <= reach**2


def _circle(outline: Points) -> _Circle | None:
    """Fit a circle to the outline, without the straight parts where the picture cuts it off.

    None when the outline does not follow it.
    """
    if len(outline) < 8:
        return None
    closed = np.vstack([outline, outline[:1]])
    lengths = np.hypot(*np.diff(closed, axis=0).T)
    at = np.concatenate([[0.0], lengths.cumsum()])
    where: Points = np.linspace(0.0, float(at[-1]), _EDGE_POINTS, endpoint=False)
    edge: Points = np.stack([np.interp(where, at, closed[:, i]) for i in (0, 1)], axis=1)
    kept = np.ones(len(edge), np.bool_)
    off = np.zeros(len(edge))
    circle = _Circle(0.0, 0.0, 1.0)
    for _ in range(6):  # converges in three or four
        x, y = edge[kept].T
        system = np.stack([x, y, np.ones_like(x)], axis=1)
        # Normal equations: the points of a hull are far from being on one line.
        a, b, c = _solve(system.T @ system, system.T @ (x * x + y * y))
        circle = _Circle(a / 2, b / 2, float(np.sqrt(max(c + (a * a + b * b) / 4, 1e-9))))
        off = np.abs(np.hypot(edge[:, 0] - circle.x, edge[:, 1] - circle.y) / circle.radius - 1)
        before, kept = kept, off <= max(_ROUND, float(np.quantile(off, 0.6)))
        if np.array_equal(before, kept):
            break
    return circle if float((off <= _ROUND).mean()) >= _MIN_ROUND else None


def _solve(system: Points, right: Points) -> tuple[float, float, float]:
    solve: Any = np.linalg.solve  # its stubs leave the type open
    solved = solve(system, right)
    return float(solved[0]), float(solved[1]), float(solved[2])
