"""Figures with their bars, as a table and as JSON."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured thing.

    Attributes:
        name: what was measured.
        unit: of the values.
        values: one per repetition.
        bar: what the design asks for, or None for a figure that is only shown.
        more_is_better: whether the bar is a lower bound.
        peers: what others measured elsewhere with the same method.
        note: what a reader must know.
    """

    name: str
    unit: str
    values: tuple[float, ...]
    bar: float | None = None
    more_is_better: bool = False
    peers: str = ""
    note: str = ""

    @property
    def median(self) -> float:
        """The figure itself."""
        return statistics.median(self.values)

    @property
    def verdict(self) -> str:
        """Return met, missed, or nothing for a figure without a bar."""
        if self.bar is None:
            return ""
        good = self.median >= self.bar if self.more_is_better else self.median <= self.bar
        return "met" if good else "MISSED"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def as_markdown(figures: Sequence[Figure]) -> str:
    """Return a table that reads well in a terminal and in a document."""
    rows = [["what", "median", "low - high", "bar", "", "peers (measured elsewhere)", "note"]]
    for figure in figures:
        bound = "" if figure.bar is None else ("≥ " if figure.more_is_better else "≤ ")
        low, high = min(figure.values), max(figure.values)
        rows.append(
            [
                figure.name,
                f"{_number(figure.median)} {figure.unit}",
                f"{_number(low)} - {_number(high)}" if len(figure.values) > 1 else "",
                bound + _number(figure.bar) if figure.bar is not None else "",
                figure.verdict,
                figure.peers,
                figure.note,
            ]
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (w + 2) for w in widths) + "|")
    return "\n".join(lines)


def write_json(figures: Sequence[Figure], path: Path, **about: Any) -> None:
    """Write the figures for later comparison."""
    content = {
        **about,
        "figures": [{**asdict(f), "median": f.median, "verdict": f.verdict} for f in figures],
    }
    path.write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n", "utf-8")
