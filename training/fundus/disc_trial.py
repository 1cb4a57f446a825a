"""Try glaucoma on a crop around the optic disc: does it carry over to other cameras that way?

python -m training.fundus.disc_trial --data ../shared/fundus

One network from ImageNet (the trunk frozen as everywhere), trained on crops of HYGD alone, both
labels equally often, with the camera variations of the main run. Measured once on the test rows of
the same hospital and of a source never trained on. Nothing of it ships; the model card of the
reader says what it gave.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.nn import functional

from models.fundus import field, laterality
from models.fundus.evaluation.figures import auc
from training.fundus import augment, samples
from training.fundus.backbone import FundusNet, load_imagenet
from training.fundus.export import trunk_bytes
from training.fundus.labels import Row, load, training_rows
from training.fundus.train import member_logits

SIZE_PX = 224
CROP = 0.45  # of the field's width: about three discs
SOURCES = ("hygd", "4class-odir")


@dataclass(frozen=True, slots=True)
class Found:
    """A picture on its square and where the disc is, in pixels of the square."""

    square: np.ndarray
    across_px: float
    down_px: float

    def crop(self, shift: tuple[float, float] = (0.0, 0.0), zoom: float = 1.0) -> np.ndarray:
        """Return the surroundings of the disc, uint8 of side `SIZE_PX`."""
        side = self.square.shape[0]
        half = CROP * side * zoom / 2
        x, y = self.across_px + shift[0] * side, self.down_px + shift[1] * side
        box = (round(x - half), round(y - half), round(x + half), round(y + half))
        cut = Image.fromarray(self.square).crop(box)
        return np.asarray(cut.resize((SIZE_PX, SIZE_PX), Image.Resampling.BICUBIC))


def look(path: Path) -> Found:
    """Open a picture and find its disc."""
    pixels = samples.open_cropped(path)
    square = field.square(pixels, field.find(pixels), samples.SOURCE_PX)
    across, down = laterality.disc(square)
    side = square.shape[0]
    return Found(square, (across + 1) / 2 * side, (down + 1) / 2 * side)


def varied(rng: np.random.Generator, found: Found, style: np.ndarray) -> np.ndarray:
    """Return a crop as another camera and another hand would have made it."""
    shift = tuple(rng.normal(0, 0.02, 2))
    crop = found.crop((shift[0], shift[1]), float(np.exp(rng.normal(0, 0.12))))
    if rng.random() < 0.5:
        crop = crop[:, ::-1]
    turned = Image.fromarray(crop).rotate(float(rng.uniform(-20, 20)), Image.Resampling.BILINEAR)
    return augment.vary(rng, np.asarray(turned, np.float32), style)


def labelled(rows: list[Row], source: str) -> list[Row]:
    """Return the rows of a source whose glaucoma label is known."""
    return [r for r in rows if r.source == source and r.glaucoma is not None]


def train(folder: Path, init: Path, rows: list[Row], *, steps: int, batch: int, seed: int) -> tuple:
    """Train one member on crops; returns it and the session of the trunk below it."""
    net = FundusNet(1, 1)
    load_imagenet(net, init)
    torch.manual_seed(seed)
    member = net.members[0]
    torch.nn.init.normal_(member.head.weight, std=0.01)
    torch.nn.init.zeros_(member.head.bias)
    trunk = samples.TrunkSession(trunk_bytes(net.trunk))
    optimiser = torch.optim.AdamW(member.parameters(), 3e-4, weight_decay=0.03)
    pictures = [look(folder / r.file) for r in rows]
    styles = [augment.style(p.square) for p in pictures]
    by_label = [[n for n, r in enumerate(rows) if r.glaucoma == label] for label in (0, 1)]
    average = {k: v.detach().clone() for k, v in member.state_dict().items()}
    for step in range(steps):
        rng = np.random.default_rng([seed, step])
        chosen = [int(rng.choice(by_label[n % 2])) for n in range(batch)]
        seen = [
            varied(rng, pictures[n], styles[int(rng.integers(len(styles)))]).clip(0, 255)
            for n in chosen
        ]
        x = torch.stack([trunk.run(s.astype(np.uint8)) for s in seen])
        target = torch.tensor([float(rows[n].glaucoma or 0) for n in chosen])
        for group in optimiser.param_groups:
            group["lr"] = 3e-4 * 0.5 * (1 + math.cos(math.pi * step / steps))
        member.train()
        with torch.autocast("cpu", torch.bfloat16):
            logits = member(x.contiguous(memory_format=torch.channels_last))
        loss = functional.binary_cross_entropy_with_logits(logits.float()[:, 0], target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        keep = min(0.99, (step + 1) / (step + 10))
        for name, value in member.state_dict().items():
            average[name].lerp_(value, 1 - keep)
        if (step + 1) % 50 == 0:
            print(f"step {step + 1} loss {loss.item():.3f}", flush=True)
    member.load_state_dict(average)
    return member.eval(), trunk


def main() -> None:
    """Train, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m training.fundus.disc_trial")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--batch", type=int, default=24)
    parser.add_argument("--seed", type=int, default=20261122)
    given = parser.parse_args()
    torch.set_num_threads(1)
    everything = load(given.data)
    learnt = training_rows(everything, "train") + training_rows(everything, "val")
    init = next((given.data / "init").glob("*.tflite"))
    member, trunk = train(
        given.data,
        init,
        labelled(learnt, "hygd"),
        steps=given.steps,
        batch=given.batch,
        seed=given.seed,
    )
    tested = [r for r in everything if r.split == "test"]
    for source in SOURCES:
        rows = labelled(tested, source)
        logits = member_logits(member, [trunk.run(look(given.data / r.file).crop()) for r in rows])[
            :, 0
        ]
        truth = np.array([r.glaucoma for r in rows])
        area = auc(logits.astype(float), truth, [r.group for r in rows])
        print(f"{source}: AUC {area.value:.3f} [{area.low:.3f}-{area.high:.3f}], n = {len(rows)}")


if __name__ == "__main__":
    main()
