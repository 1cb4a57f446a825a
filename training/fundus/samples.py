"""Training samples by number: sample `n` of a run is always the same picture, whoever asks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

from models.fundus import field
from training.fundus import augment, negatives
from training.fundus.labels import INDEX, Row

SOURCE_PX = 512
SPOILED, SCREENED = 0.12, 0.2  # share of fundus samples made ungradable / shown on a screen
DRAWN = 0.5  # share of negatives that are drawn
DISEASE = [INDEX[n] for n in ("dr1", "dr2", "dr3", "dr4", "dme", "pm")]


def open_cropped(path: Path) -> np.ndarray:
    """Read a picture, cropped to its field, long edge at most `SOURCE_PX`."""
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"))
    found = field.find(pixels)
    inside = Image.fromarray(pixels[found.top : found.bottom, found.left : found.right])
    if max(inside.size) > SOURCE_PX:
        inside.thumbnail((SOURCE_PX, SOURCE_PX), Image.Resampling.BILINEAR, reducing_gap=2.0)
    return np.asarray(inside)


def _pools(rows: list[Row]) -> list[tuple[float, list[int]]]:
    """Return (share of the batch, row numbers): balanced by source and, where it matters, grade."""

    def where(test: object) -> list[int]:
        return [n for n, r in enumerate(rows) if test(r)]  # type: ignore[operator]

    idrid = [
        (share, where(lambda r, g=g: r.source == "idrid" and r.dr_grade == g))
        for g, share in ((0, 0.13), (1, 0.04), (2, 0.12), (3, 0.07), (4, 0.06))
    ]
    palm = [(0.12, where(lambda r, p=p: r.source == "palm" and r.pm == p)) for p in (0, 1)]
    others = {r.source for r in rows if r.is_fundus} - {"idrid", "palm"}
    rest = where(lambda r: r.source in others)
    negative = where(lambda r: not r.is_fundus)
    pools = [*idrid, *palm, (0.15, rest), (0.19, negative)]
    return [(share, numbers) for share, numbers in pools if numbers]


class Samples(Dataset[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]):
    """Sample n → (uint8 CHW picture, targets, weights)."""

    def __init__(
        self, folder: Path, rows: list[Row], *, seed: int, count: int, size_at: list[int]
    ) -> None:
        self.rows, self.seed, self.count, self.size_at = rows, seed, count, size_at
        self.pictures = [open_cropped(folder / row.file) for row in rows]
        pools = _pools(rows)
        self.shares = np.cumsum([share for share, _ in pools])
        self.numbers = [numbers for _, numbers in pools]

    def __len__(self) -> int:
        """Return how many samples the whole run has."""
        return self.count

    def __getitem__(self, n: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Make sample `n`."""
        rng = np.random.default_rng([self.seed, n])
        size = self.size_at[n]
        pool = int(np.searchsorted(self.shares, rng.random() * self.shares[-1]))
        number = int(rng.choice(self.numbers[pool]))
        row = self.rows[number]
        target, weight = row.target.copy(), row.weight.copy()
        if not row.is_fundus:
            drawn = rng.random() < DRAWN
            pixels = negatives.draw(rng, size) if drawn else self.pictures[number]
            x = augment.place(rng, pixels, size)
            x = augment.vary_negative(rng, x)
            if rng.random() < 0.1:
                x = augment.screen(rng, x)
        else:
            x = augment.place(rng, self.pictures[number], size)
            if rng.random() < SPOILED:
                x = augment.spoil(rng, augment.colour(rng, x))
                weight[DISEASE] = 0
                weight[INDEX["screen"]] = 0
                weight[INDEX["gate"]] = 0.3  # some show nothing of a retina any more
                target[INDEX["quality"]], weight[INDEX["quality"]] = 0.0, 1.0
            else:
                x = augment.vary(rng, x)
                if rng.random() < SCREENED:
                    x = augment.screen(rng, x)
                    target[INDEX["screen"]] = 1.0
        picture = torch.from_numpy(x.clip(0, 255).astype(np.uint8)).permute(2, 0, 1)
        return picture, torch.from_numpy(target), torch.from_numpy(weight)


def as_input(pictures: torch.Tensor) -> torch.Tensor:
    """Return uint8 pictures as the network wants them: float in [-1, 1], channels last."""
    return (pictures.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)


def clean(pixels: np.ndarray, size: int) -> torch.Tensor:
    """Return a picture as it is in use: field found, letterboxed, nothing varied."""
    return torch.from_numpy(field.square(pixels, field.find(pixels), size)).permute(2, 0, 1)
