"""Measure how often the side of the eye is read right, on photos whose file names tell it.

python -m training.fundus.laterality --data ../shared/fundus

Both sources are evaluation only, other cameras than those the limits were chosen on.
"""

from __future__ import annotations

import argparse
import csv
import math
import re
from pathlib import Path

from models.fundus import field, intake, laterality

SOURCES = ("srahim", "tvh-mx")
_EYE = re.compile(r"\b(OD|OS)\b")
LIMITS = {"max_bytes": 25 * 1024 * 1024, "max_pixels": 80_000_000}


def wilson(right: int, n: int) -> tuple[float, float]:
    """Return the 95 % interval of a share (Wilson 1927)."""
    if n == 0:
        return 0.0, 1.0
    z, p = 1.96, right / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return centre - half, centre + half


def measure(folder: Path, source: str, *, limit: int | None = None) -> list[tuple[bool, bool]]:
    """Return (told without asking, right) for every photo of a source with a known side."""
    with (folder / "labels.csv").open(encoding="utf-8") as file:
        rows = [r for r in csv.DictReader(file) if r["source"] == source]
    found: list[tuple[bool, bool]] = []
    for row in rows[:limit]:
        truth = _EYE.search(row["note"])
        if truth is None:
            continue
        photo = intake.decode((folder / row["file"]).read_bytes(), **LIMITS, working_px=640)
        square = field.square(photo.pixels, field.find(photo.pixels), 448)
        side = laterality.side(square)
        found.append((side.is_sure, side.eye == truth[1]))
    return found


def main() -> None:
    """Print a line for each source."""
    parser = argparse.ArgumentParser(prog="python -m training.fundus.laterality")
    parser.add_argument("--data", type=Path, required=True)
    folder = parser.parse_args().data
    for source in SOURCES:
        found = measure(folder, source)
        told = [right for sure, right in found if sure]
        low, high = wilson(sum(told), len(told))
        print(
            f"{source}: {len(found)} photos, told without asking {len(told) / len(found):.3f},"
            f" of these right {sum(told) / max(1, len(told)):.3f} [{low:.3f}-{high:.3f}];"
            f" all, had nobody been asked, {sum(r for _, r in found) / len(found):.3f}"
        )


if __name__ == "__main__":
    main()
