"""Train the network: masked multi-task loss, two picture sizes, averaged weights, resumable.

A run is a function of (data, seed, steps): samples are made by number, so stopping and resuming
gives the same samples in the same order.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, Subset

from training.fundus import augment, samples
from training.fundus.backbone import FundusNet, load_imagenet
from training.fundus.labels import CHANNELS, Row

VAL_VIEWS = 2  # as it is and varied


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """What a run does; two runs with the same plan and data give the same weights."""

    seed: int = 20261122
    batch: int = 24
    steps_small: int = 400
    steps_large: int = 125
    small_px: int = 320
    large_px: int = 448
    rate: float = 3e-4
    warmup_steps: int = 40
    weight_decay: float = 0.02
    average: float = 0.99
    frozen_blocks: int = 6
    validate_every: int = 75
    save_every: int = 25

    @property
    def steps(self) -> int:
        """All steps."""
        return self.steps_small + self.steps_large

    @property
    def key(self) -> str:
        """Short hash of the plan, so that a checkpoint of another plan is never resumed."""
        return hashlib.sha256(repr(self).encode()).hexdigest()[:12]


def loss_of(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Return the mean over channels of each channel's weighted mean binary cross-entropy."""
    each = functional.binary_cross_entropy_with_logits(logits, target, reduction="none") * weight
    total = weight.sum(0)
    return (each.sum(0) / total.clamp(min=1.0)).mean()


def _rate(plan: Plan, step: int) -> float:
    if step < plan.warmup_steps:
        return plan.rate * (step + 1) / plan.warmup_steps
    done = (step - plan.warmup_steps) / max(1, plan.steps - plan.warmup_steps)
    return plan.rate * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))


def views(pictures: list[np.ndarray], size: int, seed: int, count: int) -> Iterator[Tensor]:
    """Yield `count` views of each picture: the first as it is, the others varied."""
    for n, pixels in enumerate(pictures):
        yield samples.clean(pixels, size)
        for view in range(1, count):
            rng = np.random.default_rng([seed, n, view])
            x = augment.vary(rng, augment.place(rng, pixels, size))
            yield torch.from_numpy(x.clip(0, 255).astype(np.uint8)).permute(2, 0, 1)


@torch.inference_mode()
def predict(net: FundusNet, pictures: Iterator[Tensor], *, batch: int = 24) -> np.ndarray:
    """Return logits of shape (pictures, channels)."""
    net.eval()
    out: list[np.ndarray] = []
    chunk: list[Tensor] = []

    def flush() -> None:
        if chunk:
            with torch.autocast("cpu", torch.bfloat16):
                logits = net(samples.as_input(torch.stack(chunk)))
            out.append(logits.float().numpy())
            chunk.clear()

    for picture in pictures:
        chunk.append(picture)
        if len(chunk) == batch:
            flush()
    flush()
    return np.concatenate(out)


class _State:
    """Everything a checkpoint holds."""

    def __init__(self, plan: Plan, init: Path) -> None:
        torch.manual_seed(plan.seed)
        net = FundusNet(len(CHANNELS))
        load_imagenet(net, init)
        torch.nn.init.normal_(net.head.weight, std=0.01)
        torch.nn.init.zeros_(net.head.bias)
        net.freeze(plan.frozen_blocks)
        self.plan = plan
        self.net = net.to(memory_format=torch.channels_last)
        self.learnt = [p for p in net.parameters() if p.requires_grad]
        self.optimiser = torch.optim.AdamW(self.learnt, plan.rate, weight_decay=plan.weight_decay)
        self.average = {k: v.detach().clone() for k, v in net.state_dict().items()}
        self.best: dict[str, Tensor] = {}
        self.best_loss = math.inf
        self.step = 0

    def save(self, path: Path) -> None:
        state = {
            "net": self.net.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "average": self.average,
            "best": self.best,
            "best_loss": self.best_loss,
            "step": self.step,
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(state, path.with_suffix(".tmp"))
        path.with_suffix(".tmp").replace(path)

    def resume(self, path: Path) -> None:
        saved = torch.load(path, weights_only=True)
        self.net.load_state_dict(saved["net"])
        self.optimiser.load_state_dict(saved["optimiser"])
        self.average, self.best = saved["average"], saved["best"]
        self.best_loss, self.step = saved["best_loss"], saved["step"]

    def learn(self, pictures: Tensor, target: Tensor, weight: Tensor) -> float:
        """Take one step and return its loss."""
        self.net.train()
        for group in self.optimiser.param_groups:
            group["lr"] = _rate(self.plan, self.step)
        # Dropout is the only other randomness: tied to the step, resuming repeats it.
        torch.manual_seed(self.plan.seed + self.step)
        with torch.autocast("cpu", torch.bfloat16):
            logits = self.net(samples.as_input(pictures))
        loss = loss_of(logits.float(), target, weight)
        self.optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.learnt, 1.0)
        self.optimiser.step()
        keep = min(self.plan.average, (self.step + 1) / (self.step + 10))
        for name, value in self.net.state_dict().items():
            self.average[name].lerp_(value, 1 - keep)
        self.step += 1
        return loss.item()


class _Judge:
    """Measures averaged weights on the validation rows."""

    def __init__(self, folder: Path, val: list[Row], plan: Plan) -> None:
        self.plan = plan
        self.pictures = [samples.open_cropped(folder / r.file) for r in val]
        self.target = torch.from_numpy(np.repeat([r.target for r in val], VAL_VIEWS, 0))
        self.weight = torch.from_numpy(np.repeat([r.weight for r in val], VAL_VIEWS, 0))
        self.net = FundusNet(len(CHANNELS)).to(memory_format=torch.channels_last)

    def loss(self, weights: dict[str, Tensor], size: int) -> float:
        self.net.load_state_dict(weights)
        logits = predict(self.net, views(self.pictures, size, self.plan.seed, VAL_VIEWS))
        return loss_of(torch.from_numpy(logits), self.target, self.weight).item()


def train(
    folder: Path, init: Path, rows: list[Row], val: list[Row], plan: Plan, run: Path, log: Path
) -> FundusNet:
    """Train and return the averaged weights that did best on `val`.

    Args:
        folder: the labelled folder.
        init: the ImageNet TFLite file.
        rows: what to learn from.
        val: what chooses between averaged weights of the second phase.
        plan: sizes and steps.
        run: folder of the checkpoint; an unfinished run of the same plan is resumed.
        log: JSON lines, one per validation.
    """
    state = _State(plan, init)
    checkpoint = run / f"checkpoint-{plan.key}.pt"
    if checkpoint.exists():
        state.resume(checkpoint)
        print(f"resuming at step {state.step}", flush=True)
    else:
        log.write_text("")
    sizes = [plan.small_px] * plan.steps_small + [plan.large_px] * plan.steps_large
    size_at = [size for size in sizes for _ in range(plan.batch)]
    dataset = samples.Samples(
        folder, rows, seed=plan.seed, count=plan.steps * plan.batch, size_at=size_at
    )
    left = Subset(dataset, range(state.step * plan.batch, len(dataset)))
    loader = DataLoader(left, plan.batch, num_workers=1, prefetch_factor=4) if len(left) else ()
    judge = _Judge(folder, val, plan)
    began, running = time.monotonic(), 0.0
    for pictures, target, weight in loader:
        loss = state.learn(pictures, target, weight)
        running = loss if running == 0 else 0.95 * running + 0.05 * loss
        if state.step % plan.validate_every == 0 or state.step == plan.steps:
            size = plan.small_px if state.step <= plan.steps_small else plan.large_px
            val_loss = judge.loss(state.average, size)
            line = {
                "step": state.step,
                "size_px": size,
                "loss": round(running, 4),
                "val_loss": round(val_loss, 4),
                "s": round(time.monotonic() - began),
            }
            with log.open("a") as file:
                file.write(json.dumps(line) + "\n")
            print(line, flush=True)
            late = state.step > plan.steps_small + plan.steps_large // 3
            if late and val_loss < state.best_loss:
                state.best_loss = val_loss
                state.best = {k: v.clone() for k, v in state.average.items()}
        elif state.step % 10 == 0:
            print(f"step {state.step} loss {running:.4f}", flush=True)
        if state.step % plan.save_every == 0 or state.step == plan.steps:
            state.save(checkpoint)
    judge.net.load_state_dict(state.best)
    return judge.net.eval()
