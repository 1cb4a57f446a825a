"""Bars of how follow-ups ended, as SVG made here: no script, no inline style, one figure a group.

Lengths are percentages, so a bar fits every screen; fates differ by hatching too, not by colour
alone. The picture has its numbers in words, and the table beside it has them all.
"""

from __future__ import annotations

from markupsafe import Markup

from core.followup.report import FATES, Fate, Figures

_HATCHES: dict[Fate, Markup] = {
    "late": Markup('<path d="M0 8L8 0M-2 2L2-2M6 10L10 6"/>'),
    "open": Markup('<circle cx="4" cy="4" r="1.4"/>'),
    "lost": Markup('<path d="M0 0L8 8M0 8L8 0"/>'),
    "died": Markup('<path d="M4 0V8"/>'),
}
_SWATCH = Markup(
    '<svg class="swatch" viewBox="0 0 16 16" aria-hidden="true"><defs>{}</defs>{}</svg>'
)
_PICTURE = Markup('<svg class="bar" role="img" aria-label="{}"><defs>{}</defs>{}</svg>')
_PATTERN = Markup(
    '<pattern id="{0}" width="8" height="8" patternUnits="userSpaceOnUse">'
    '<rect class="fate {1}" width="8" height="8"/><g class="hatch">{2}</g></pattern>'
)
_RECT = Markup('<rect x="{:.3f}%" y="0" width="{:.3f}%" height="26" fill="url(#{})"/>')
_WHISKER = Markup(
    '<g class="whisker"><line x1="{low:.3f}%" x2="{high:.3f}%" y1="36" y2="36"/>'
    '<line x1="{low:.3f}%" x2="{low:.3f}%" y1="32" y2="40"/>'
    '<line x1="{high:.3f}%" x2="{high:.3f}%" y1="32" y2="40"/>'
    '<circle cx="{value:.3f}%" cy="36" r="4"/></g>'
)


def _pattern(fate: Fate, name: str) -> Markup:
    return _PATTERN.format(name, fate, _HATCHES.get(fate, Markup("")))


def swatch(fate: Fate) -> Markup:
    """Return a small square that shows how a fate is drawn."""
    name = f"swatch-{fate}"
    square = Markup('<rect width="16" height="16" fill="url(#{})"/>').format(name)
    return _SWATCH.format(_pattern(fate, name), square)


def bar(figures: Figures, *, name: str, label: str) -> Markup:
    """Return one group's bar: how its plans ended, and below it attendance with its interval.

    Args:
        figures: the group; with nobody due the bar is empty.
        name: makes the ids inside, so each bar of a page needs its own: letters and digits.
        label: the same in words, for a screen reader.
    """
    patterns, rects, at = Markup(""), Markup(""), 0.0
    for fate in FATES:
        count = figures.fates[fate]
        if count:
            width = 100 * count / figures.due
            patterns += _pattern(fate, f"{name}-{fate}")
            rects += _RECT.format(at, width, f"{name}-{fate}")
            at += width
    share, interval = figures.attendance.value, figures.attendance.interval
    if share is not None and interval is not None:
        low, high = (100 * bound for bound in interval)
        rects += _WHISKER.format(low=low, high=high, value=100 * share)
    return _PICTURE.format(label, patterns, rects)
