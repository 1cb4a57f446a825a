"""Train the members: masked multi-task loss, two picture sizes, averaged weights, resumable.

All members see the same stream of samples; each skips the patients of the fold it leaves out, so
its answers on that fold are out-of-fold. A run is a function of (data, plan): samples are made by
number, so stopping and resuming gives the same samples in the same order. Nothing is chosen by
looking at results on the way: the last averaged weights are the result.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, Subset

from training.fundus import samples
from training.fundus.backbone import FundusNet, Member, load_imagenet
from training.fundus.export import trunk_bytes
from training.fundus.labels import CHANNELS, INDEX, Row

# The answers people get weigh more than the ones that come easily.
IMPORTANCE = {"dr1": 1.5, "dr2": 2.0, "dr3": 1.5, "dr4": 1.0, "dme": 1.0, "glaucoma": 0.5}


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """What a run does; two runs with the same plan and data give the same weights.

    Member m leaves out fold m; with fewer members than folds some rows are in every member.
    """

    seed: int = 20261122
    members: int = 3
    batch: int = 24
    steps_small: int = 1100
    steps_large: int = 700
    small_px: int = 320
    large_px: int = 384
    rate: float = 3e-4
    warmup_steps: int = 40
    weight_decay: float = 0.03
    average: float = 0.995
    save_every: int = 50

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
    importance = torch.ones(len(CHANNELS), device=logits.device)
    for name, value in IMPORTANCE.items():
        importance[INDEX[name]] = value
    return (importance * each.sum(0) / weight.sum(0).clamp(min=1.0)).sum() / importance.sum()


def _rate(plan: Plan, step: int) -> float:
    if step < plan.warmup_steps:
        return plan.rate * (step + 1) / plan.warmup_steps
    done = (step - plan.warmup_steps) / max(1, plan.steps - plan.warmup_steps)
    return plan.rate * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))


Start = Callable[[FundusNet], object]


def from_imagenet(plan: Plan, init: Path) -> Start:
    """Return a start that fills the convolutions from ImageNet and draws the last layers."""

    def fill(net: FundusNet) -> None:
        load_imagenet(net, init)
        for number, member in enumerate(net.members):
            torch.manual_seed(plan.seed + number)
            torch.nn.init.normal_(member.head.weight, std=0.01)
            torch.nn.init.zeros_(member.head.bias)

    return fill


class _State:
    """Everything a checkpoint holds."""

    def __init__(self, plan: Plan, start: Start, device: torch.device) -> None:
        self.plan, self.device = plan, device
        torch.manual_seed(plan.seed)
        self.net = FundusNet(len(CHANNELS), plan.members)
        start(self.net)
        self.net.to(device, memory_format=torch.channels_last)
        self.optimiser = torch.optim.AdamW(
            self.net.members.parameters(), plan.rate, weight_decay=plan.weight_decay
        )
        self.average = {k: v.detach().clone() for k, v in self.net.members.state_dict().items()}
        self.step = 0

    def save(self, path: Path) -> None:
        state = {
            "members": self.net.members.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "average": self.average,
            "step": self.step,
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(state, path.with_suffix(".tmp"))
        path.with_suffix(".tmp").replace(path)

    def resume(self, path: Path) -> None:
        saved = torch.load(path, weights_only=True, map_location=self.device)
        self.net.members.load_state_dict(saved["members"])
        self.optimiser.load_state_dict(saved["optimiser"])
        self.average, self.step = saved["average"], saved["step"]

    def averaged(self) -> FundusNet:
        """Return a copy of the network with the averaged members, on the CPU."""
        net = FundusNet(len(CHANNELS), self.plan.members)
        net.trunk.load_state_dict(self.net.trunk.state_dict())
        net.members.load_state_dict(self.average)
        return net.to(memory_format=torch.channels_last).eval()

    def learn(self, seen: Tensor, target: Tensor, weight: Tensor, fold: Tensor) -> float:
        """Take one step with every member and return their mean loss."""
        self.net.train()
        for group in self.optimiser.param_groups:
            group["lr"] = _rate(self.plan, self.step)
        seen = seen.to(self.device, memory_format=torch.channels_last)
        target, weight, fold = (t.to(self.device) for t in (target, weight, fold))
        kind = self.device.type
        if seen.dtype is torch.uint8:
            with torch.no_grad(), torch.autocast(kind, torch.bfloat16):
                seen = self.net.trunk(samples.as_input(seen))
        total = 0.0
        self.optimiser.zero_grad()
        for number, member in enumerate(self.net.members):
            # Dropout is the only other randomness: tied to the step, resuming repeats it.
            torch.manual_seed(self.plan.seed + self.step * self.plan.members + number)
            mine = fold != number
            with torch.autocast(kind, torch.bfloat16):
                logits = member(seen[mine])
            loss = loss_of(logits.float(), target[mine], weight[mine])
            loss.backward()
            torch.nn.utils.clip_grad_norm_(member.parameters(), 1.0)
            total += loss.item()
        self.optimiser.step()
        keep = min(self.plan.average, (self.step + 1) / (self.step + 10))
        for name, value in self.net.members.state_dict().items():
            self.average[name].lerp_(value, 1 - keep)
        self.step += 1
        return total / self.plan.members


def device() -> torch.device:
    """Return the GPU where torch finds one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def train(
    folder: Path,
    start: Start,
    rows: list[Row],
    folds: np.ndarray,
    plan: Plan,
    run: Path,
    log: Path,
    *,
    stop_at: int | None = None,
) -> FundusNet:
    """Train and return the averaged members.

    Args:
        folder: the labelled folder.
        start: fills a fresh network.
        rows: what to learn from.
        folds: the fold of each row.
        plan: sizes and steps.
        run: folder of the checkpoint; an unfinished run of the same plan is resumed.
        log: JSON lines, one per save.
        stop_at: end at this step, with the learning rate it has by then.
    """
    place = device()
    state = _State(plan, start, place)
    checkpoint = run / f"checkpoint-{plan.key}.pt"
    if checkpoint.exists():
        state.resume(checkpoint)
        print(f"resuming at step {state.step}", flush=True)
    else:
        log.write_text("")
    sizes = [plan.small_px] * plan.steps_small + [plan.large_px] * plan.steps_large
    dataset = samples.Samples(
        folder,
        rows,
        folds,
        seed=plan.seed,
        count=plan.steps * plan.batch,
        size_at=[size for size in sizes for _ in range(plan.batch)],
        trunk=trunk_bytes(state.net.trunk) if place.type == "cpu" else None,
    )
    end = min(plan.steps, stop_at or plan.steps)
    left = Subset(dataset, range(state.step * plan.batch, end * plan.batch))
    workers = 1 if place.type == "cpu" else 8
    loader = (
        DataLoader(left, plan.batch, num_workers=workers, prefetch_factor=4) if len(left) else ()
    )
    began, running = time.monotonic(), 0.0
    for seen, target, weight, fold in loader:
        loss = state.learn(seen, target, weight, fold)
        running = loss if running == 0 else 0.97 * running + 0.03 * loss
        if state.step % plan.save_every == 0 or state.step == end:
            state.save(checkpoint)
            line = {
                "step": state.step,
                "size_px": sizes[state.step - 1],
                "loss": round(running, 4),
                "s": round(time.monotonic() - began),
                "device": place.type,
            }
            with log.open("a") as file:
                file.write(json.dumps(line) + "\n")
            print(line, flush=True)
        elif state.step % 10 == 0:
            s = round(time.monotonic() - began)
            print(f"step {state.step} loss {running:.4f} {s} s", flush=True)
    return state.averaged()


@torch.inference_mode()
def member_logits(member: Member, seen: list[Tensor], *, batch: int = 32) -> np.ndarray:
    """Return logits (pictures, channels) of what the trunk made of some pictures."""
    out = []
    for start in range(0, len(seen), batch):
        chunk = torch.stack(seen[start : start + batch])
        with torch.autocast("cpu", torch.bfloat16):
            out.append(member(chunk.contiguous(memory_format=torch.channels_last)).float().numpy())
    return np.concatenate(out)
