"""Print percentiles of the plain quality measurements over gradable and spoiled training pictures.

python -m training.fundus.limits --data ../shared/fundus
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import numpy as np

from models.fundus import field, quality
from training.fundus import augment, samples
from training.fundus.labels import load, training_rows

SIZE_PX = 448


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m training.fundus.limits")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--pictures", type=int, default=240)
    given = parser.parse_args()
    rows = [r for r in training_rows(load(given.data), "train") if r.is_fundus]
    rng = np.random.default_rng(1)
    rows = [rows[n] for n in rng.permutation(len(rows))[: given.pictures]]
    sets: dict[str, list[quality.Measures]] = {"as they are": [], "varied": [], "spoiled": []}
    for row in rows:
        pixels = samples.open_cropped(given.data / row.file)
        found = field.find(pixels)
        square = field.square(pixels, found, SIZE_PX)
        sets["as they are"].append(quality.measure(square, found))
        placed = augment.place(rng, pixels, SIZE_PX)
        for name, change in (("varied", augment.vary), ("spoiled", augment.spoil)):
            changed = change(rng, placed).clip(0, 255).astype(np.uint8)
            sets[name].append(quality.measure(changed, field.find(changed)))
    for name, measures in sets.items():
        print(f"{name}, n={len(measures)}")
        for item in dataclasses.fields(quality.Measures):
            values = [getattr(m, item.name) for m in measures]
            points = np.percentile(values, [1, 5, 25, 50, 75, 95, 99])
            print(f"  {item.name:10s}", " ".join(f"{p:8.3f}" for p in points))


if __name__ == "__main__":
    main()
