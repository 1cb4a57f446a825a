"""Training samples by number: sample `n` of a run is always the same picture, whoever asks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import torch
from PIL import Image
from torch.utils.data import Dataset

from models.fundus import field
from training.fundus import augment, negatives
from training.fundus.labels import INDEX, Row

SOURCE_PX = 512
# Share of the fundus samples made ungradable / shown on a screen / put beside another one.
SPOILED, SCREENED, PAIRED = 0.12, 0.16, 0.05
DRAWN = 0.5  # share of negatives that are drawn
DISEASE = [INDEX[n] for n in ("dr1", "dr2", "dr3", "dr4", "dme", "pm", "glaucoma")]

Sample = tuple[torch.Tensor, torch.Tensor, torch.Tensor, int]


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
        for g, share in ((0, 0.14), (1, 0.05), (2, 0.14), (3, 0.09), (4, 0.07))
    ]
    palm = [(0.09, where(lambda r, p=p: r.source == "palm" and r.pm == p)) for p in (0, 1)]
    hygd = [(0.08, where(lambda r, g=g: r.source == "hygd" and r.glaucoma == g)) for g in (0, 1)]
    negative = where(lambda r: not r.is_fundus)
    pools = [*idrid, *palm, *hygd, (0.17, negative)]
    return [(share, numbers) for share, numbers in pools if numbers]


class Samples(Dataset[Sample]):
    """Sample n → (picture or what the trunk made of it, targets, weights, fold of its patient)."""

    def __init__(
        self,
        folder: Path,
        rows: list[Row],
        folds: np.ndarray,
        *,
        seed: int,
        count: int,
        size_at: list[int],
        trunk: bytes | None,
    ) -> None:
        """Open all pictures.

        Args:
            folder: the labelled folder.
            rows: what to draw from.
            folds: the fold of each row.
            seed: of all samples.
            count: how many samples the run has.
            size_at: side of each sample.
            trunk: ONNX of the frozen trunk, run here in the loader's process; None: the pictures.
        """
        self.rows, self.folds, self.seed, self.count = rows, folds, seed, count
        self.size_at, self.trunk = size_at, trunk
        self.pictures = [open_cropped(folder / row.file) for row in rows]
        self.styles = [augment.style(p) for p, r in zip(self.pictures, rows, strict=True)]
        self.fundus = {
            fold: [n for n, r in enumerate(rows) if r.is_fundus and folds[n] == fold]
            for fold in set(folds.tolist())
        }
        pools = _pools(rows)
        self.shares = np.cumsum([share for share, _ in pools])
        self.numbers = [numbers for _, numbers in pools]
        self._session: TrunkSession | None = None

    def __len__(self) -> int:
        """Return how many samples the whole run has."""
        return self.count

    def __getitem__(self, n: int) -> Sample:
        """Make sample `n`."""
        rng = np.random.default_rng([self.seed, n])
        size = self.size_at[n]
        pool = int(np.searchsorted(self.shares, rng.random() * self.shares[-1]))
        number = int(rng.choice(self.numbers[pool]))
        row, fold = self.rows[number], int(self.folds[number])
        target, weight = row.target.copy(), row.weight.copy()
        place = augment.place(rng, self.pictures[number], size)
        if not row.is_fundus:
            if rng.random() < DRAWN:
                place = augment.place(rng, negatives.draw(rng, size), size)
            x = augment.vary_negative(rng, place)
            if rng.random() < 0.1:
                x = augment.screen(rng, x)
        else:
            # What is borrowed from another picture comes from the same fold: nothing of a patient
            # reaches a member that must not have seen them.
            other = int(rng.choice(self.fundus[fold]))
            kind = rng.random()
            if kind < SPOILED:
                x = augment.spoil(rng, augment.colour(rng, place))
                _mask(weight, *DISEASE, INDEX["screen"], INDEX["pair"])
                weight[INDEX["gate"]] = 0.6  # some show nothing of a retina any more
                target[INDEX["quality"]], weight[INDEX["quality"]] = 0.0, 1.0
            elif kind < SPOILED + PAIRED:
                beside = augment.place(rng, self.pictures[other], size)
                x = augment.vary(rng, augment.pair(place, beside, rng))
                _mask(weight, *DISEASE, INDEX["screen"], INDEX["quality"])
                weight[INDEX["gate"]] = 0.5
                target[INDEX["pair"]], weight[INDEX["pair"]] = 1.0, 1.0
            else:
                x = augment.vary(rng, place, self.styles[other])
                if rng.random() < SCREENED:
                    x = augment.screen(rng, x)
                    target[INDEX["screen"]] = 1.0
        pixels = x.clip(0, 255).astype(np.uint8)
        return self._seen(pixels), torch.from_numpy(target), torch.from_numpy(weight), fold

    def _seen(self, pixels: np.ndarray) -> torch.Tensor:
        if self.trunk is None:
            return torch.from_numpy(pixels).permute(2, 0, 1)
        if self._session is None:  # made in the process that uses it
            self._session = TrunkSession(self.trunk)
        return self._session.run(pixels)


def _mask(weight: np.ndarray, *channels: int) -> None:
    weight[list(channels)] = 0


class TrunkSession:
    """The frozen trunk in onnxruntime, on one thread."""

    def __init__(self, network: bytes) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            network, options, providers=["CPUExecutionProvider"]
        )

    def run(self, pixels: np.ndarray) -> torch.Tensor:
        """Return the trunk's output, bfloat16 of shape (32, H/8, W/8), of uint8 (H, W, 3)."""
        (made,) = self._session.run(None, {"picture": pixels[None]})
        return torch.from_numpy(made[0]).to(torch.bfloat16)


def as_input(pictures: torch.Tensor) -> torch.Tensor:
    """Return uint8 pictures as the trunk wants them: float in [-1, 1], channels last."""
    return (pictures.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)


def clean(pixels: np.ndarray, size: int) -> np.ndarray:
    """Return a picture as it is in use, uint8: field found, letterboxed, nothing varied."""
    return field.square(pixels, field.find(pixels), size)
