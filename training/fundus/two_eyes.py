"""Measure how often two eyes in one picture are taken apart, and one eye is left alone.

python -m training.fundus.two_eyes --data ../shared/fundus

Pairs are put together from test rows of one source at the same height, with and without a gap.
"""

from __future__ import annotations

import argparse
import csv
import random
from pathlib import Path

import numpy as np
from PIL import Image

from models.fundus import field

SOURCES = ("idrid", "srahim", "hygd", "palm", "tvh-mx", "4class-odir")
HEIGHT_PX, PAIRS, SEED = 400, 40, 1
GAPS_PX = (0, 20)


def _pixels(path: Path, height_px: int | None = None) -> np.ndarray:
    with Image.open(path) as opened:
        image = opened.convert("RGB")
    if height_px is None:
        return np.asarray(image)
    return np.asarray(image.resize((round(image.width * height_px / image.height), height_px)))


def main() -> None:
    """Print what was split, of what must not be and of what must be."""
    parser = argparse.ArgumentParser(prog="python -m training.fundus.two_eyes")
    parser.add_argument("--data", type=Path, required=True)
    folder = parser.parse_args().data
    with (folder / "labels.csv").open(encoding="utf-8") as file:
        rows = [r for r in csv.DictReader(file) if r["split"] == "test"]
    split = sum(len(field.find_all(_pixels(folder / r["file"]))) == 2 for r in rows)
    print(f"single pictures split in two: {split} of {len(rows)}")
    rng = random.Random(SEED)
    for source in SOURCES:
        mine = [r["file"] for r in rows if r["source"] == source]
        found = 0
        for _ in range(PAIRS):
            one, other = (_pixels(folder / name, HEIGHT_PX) for name in rng.sample(mine, 2))
            for gap_px in GAPS_PX:
                between = np.zeros((HEIGHT_PX, gap_px, 3), np.uint8)
                pair = np.concatenate([one, between, other], axis=1)
                found += len(field.find_all(pair)) == 2
        print(f"pairs of {source}: {found} of {PAIRS * len(GAPS_PX)} taken apart")


if __name__ == "__main__":
    main()
