"""Ask every member about the patients it never learnt from, in several views of each picture."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from training.fundus import augment, negatives, samples
from training.fundus.backbone import FundusNet
from training.fundus.export import trunk_bytes
from training.fundus.labels import CHANNELS, INDEX, Row
from training.fundus.outoffold import CAMERA, CLEAN, DRAWING, PAIR, SCREEN, SPOILED, OutOfFold
from training.fundus.train import Plan, member_logits

VARIED = 2  # views of each picture with another camera simulated
SPOILED_SHARE = 3  # every third picture is also spoiled, shown on a screen and paired
DRAWN = 90  # non-fundus pictures drawn with seeds of their own


def _only(name: str, value: float) -> tuple[np.ndarray, np.ndarray]:
    weight = np.eye(len(CHANNELS), dtype=np.float32)[INDEX[name]]
    return weight * np.float32(value), weight


def _views(
    pixels: np.ndarray, row: Row, number: int, size: int, seed: int
) -> Iterator[tuple[int, np.ndarray, np.ndarray, np.ndarray]]:
    """Yield (kind, picture, target, weight) of every view of one row."""
    yield CLEAN, samples.clean(pixels, size), row.target, row.weight
    for view in range(VARIED):
        rng = np.random.default_rng([seed, 1, number, view])
        x = augment.vary(rng, augment.place(rng, pixels, size))
        yield CAMERA, x, row.target, row.weight
    if row.is_fundus and number % SPOILED_SHARE == 0:  # for their own heads only
        rng = np.random.default_rng([seed, 2, number])
        placed = augment.place(rng, pixels, size)
        yield SPOILED, augment.spoil(rng, placed), *_only("quality", 0)
        yield SCREEN, augment.screen(rng, placed), *_only("screen", 1)
        turned = augment.place(rng, pixels, size)
        yield PAIR, augment.vary(rng, augment.pair(placed, turned, rng)), *_only("pair", 1)


def collect(
    net: FundusNet, folder: Path, rows: list[Row], folds: np.ndarray, plan: Plan
) -> OutOfFold:
    """Ask every member about the fold it left out; rows of the other folds have no entry."""
    session = samples.TrunkSession(trunk_bytes(net.trunk))
    parts: list[OutOfFold] = []

    def part(member: int, found: list[tuple[int, int, np.ndarray, np.ndarray, np.ndarray]]) -> None:
        seen = [session.run(x.clip(0, 255).astype(np.uint8)) for _, _, x, _, _ in found]
        parts.append(
            OutOfFold(
                np.array([f[0] for f in found]),
                np.array([f[1] for f in found]),
                member_logits(net.members[member], seen),
                np.stack([f[3] for f in found]),
                np.stack([f[4] for f in found]),
            )
        )

    for member in range(plan.members):
        for number in np.flatnonzero(folds == member):
            row = rows[number]
            pixels = samples.open_cropped(folder / row.file)
            views = _views(pixels, row, int(number), plan.large_px, plan.seed)
            part(member, [(int(number), *view) for view in views])
        drawn = []
        for n in range(member, DRAWN, plan.members):
            rng = np.random.default_rng([plan.seed, 3, n])
            x = augment.vary_negative(rng, negatives.draw(rng, plan.large_px).astype(np.float32))
            drawn.append((-1, DRAWING, x, *_only("gate", 0)))
        part(member, drawn)
        print(f"out of fold: member {member} done", flush=True)
    return OutOfFold(
        *(
            np.concatenate([getattr(p, name) for p in parts])
            for name in ("row", "kind", "logits", "target", "weight")
        )
    )
