"""The areas that influenced a score, as a transparent drawing to lay over the photo.

SVG, because its lines stay thin and sharp however far a doctor zooms in. Inside a page it is a
picture of lines alone; opened by itself it shows the photo under them, which needs no script.
"""

from __future__ import annotations

from collections.abc import Mapping
from xml.sax.saxutils import escape, quoteattr

from core.reading import Areas, Condition, Decision, Line, Reading

HEADERS: Mapping[str, str] = {
    "Content-Type": "image/svg+xml",
    "Cache-Control": "no-store",
    # No sandbox: the photo under the lines is fetched with the visitor's own session.
    "Content-Security-Policy": "default-src 'none'; img-src 'self'",
}
# As on the result card; amber and red are brighter here, on a retina.
_COLOURS: Mapping[Decision, str] = {"borderline": "#ffc04d", "refer": "#ff5a36"}
_OTHER = "#ffffff"
# What tells conditions apart without colour: the pattern of the line and the number beside it.
_DASHES = ("none", "10 5", "3 5", "14 4 3 4", "1 4")
_LETTER = 0.035  # of the photo's longer side


def numbered(areas: Areas) -> list[tuple[int, Condition]]:
    """Return what each number in the drawing stands for; nothing where nothing stood out."""
    shown = [area for area in areas.influenced if area.lines]
    return [(number, area.condition) for number, area in enumerate(shown, start=1)]


def drawing(reading: Reading, areas: Areas, *, title: str, photo_url: str) -> str:
    """Return the SVG.

    Args:
        reading: whose scores they are.
        areas: of that reading.
        title: what it shows, in the viewer's language.
        photo_url: address of the photo under the lines.
    """
    size = f'width="{areas.width_px}" height="{areas.height_px}"'
    letter_px = max(8, round(max(areas.width_px, areas.height_px) * _LETTER))
    parts = [
        # No size of its own: it fills the page's frame, or the window when opened by itself.
        '<svg xmlns="http://www.w3.org/2000/svg" '
        f'viewBox="0 0 {areas.width_px} {areas.height_px}">',
        f"<title>{escape(title)}</title>",
        f"<image href={quoteattr(photo_url)} {size}/>",
        '<g fill="none" stroke-linejoin="round">',
        _twice(areas.field, "#ffffff", "2 6", 1.5),
    ]
    for number, condition in numbered(areas):
        colour = _COLOURS.get(reading.finding(condition).decision, _OTHER)
        area = next(a for a in areas.influenced if a.condition == condition)
        parts += [_twice(line, colour, _DASHES[(number - 1) % 5], 2.5) for line in area.lines]
        parts.append(_number(number, area.lines[0], colour, letter_px))
    return "".join([*parts, "</g></svg>"])


def _twice(line: Line, colour: str, dashes: str, width: float) -> str:
    """Draw a closed line on a dark one, so that it shows on any ground."""
    path = "M" + "L".join(f"{x} {y}" for x, y in line) + "Z"
    same = f'd="{path}" vector-effect="non-scaling-stroke"'
    return (
        f'<path {same} stroke="#000" stroke-opacity=".55" stroke-width="{width + 2}"/>'
        f'<path {same} stroke="{colour}" stroke-width="{width}" stroke-dasharray="{dashes}"/>'
    )


def _number(number: int, line: Line, colour: str, size_px: int) -> str:
    """Write a number at the top of a line, one beside the other where tops are alike."""
    x, y = min(line, key=lambda point: point[1])
    at = f'x="{x + round((number - 1) * 1.5 * size_px)}" y="{max(size_px, y - size_px // 4)}"'
    return (
        f'<text {at} font-family="sans-serif" font-weight="bold" font-size="{size_px}"'
        f' fill="{colour}" stroke="#000" stroke-width="{size_px / 5:.1f}" paint-order="stroke"'
        f' text-anchor="middle">{number}</text>'
    )
