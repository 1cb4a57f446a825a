"""The labelled folder: which rows may train, what each row teaches, and with what weight.

`labels.csv` columns: file, source, licence, split, is_fundus, quality, glaucoma, dr_grade, amd, pm,
cataract, normal, other, group, note. Rows whose licence says "evaluation only" never train.
"""

from __future__ import annotations

import csv
import hashlib
import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from models.fundus.manifest import Manifest

# One output channel each. dr1-dr4: cumulative, "grade is at least n" on the ICDR scale.
# pair: two fundus pictures in one, composed from training pictures.
CHANNELS = (
    "gate", "quality", "screen", "dr1", "dr2", "dr3", "dr4", "dme", "pm", "pair", "glaucoma",
)  # fmt: skip
INDEX = {name: n for n, name in enumerate(CHANNELS)}
WEAK = 0.25  # an unlabelled but very likely negative counts a quarter
FOLDS = 5
# Byte-identical to another IDRiD picture with another grade; the twin is not in the pack any more,
# so comparing pictures cannot find the conflict.
DISPUTED = frozenset({"idrid_tr_IDRiD_327", "idrid_tr_IDRiD_391"})


@dataclass(frozen=True, slots=True)
class Row:
    """One picture with its targets; a weight of 0 masks a channel."""

    file: str
    source: str
    licence: str
    split: str
    group: str
    note: str
    target: np.ndarray
    weight: np.ndarray
    dr_grade: int | None
    pm: int | None
    glaucoma: int | None
    is_fundus: bool

    @property
    def evaluation_only(self) -> bool:
        """Whether its licence forbids training."""
        return "evaluation only" in self.licence


def _number(text: str) -> int | None:
    return int(text) if text.strip() else None


def _row(raw: dict[str, str]) -> Row:
    target = np.zeros(len(CHANNELS), np.float32)
    weight = np.zeros(len(CHANNELS), np.float32)

    def teach(channel: str, value: float, strength: float = 1.0) -> None:
        target[INDEX[channel]], weight[INDEX[channel]] = value, strength

    is_fundus = raw["is_fundus"] == "1"
    teach("gate", float(is_fundus))
    grade, pm, quality = _number(raw["dr_grade"]), _number(raw["pm"]), _number(raw["quality"])
    glaucoma = _number(raw["glaucoma"])
    if is_fundus:
        teach("screen", 0.0)
        teach("pair", 0.0)
        if glaucoma is not None and raw["source"] == "hygd":
            # Other sources stay masked: as negatives they would teach "this camera has glaucoma".
            teach("glaucoma", float(glaucoma))
        if quality is not None:
            # HYGD scores come from a model, not from graders: weak labels.
            teach("quality", float(quality), 0.5 if raw["source"] == "hygd" else 1.0)
        elif raw["source"] == "palm":  # ungraded, but published as gradable
            teach("quality", 1.0, 0.5)
        if grade is not None:
            for n in range(1, 5):
                teach(f"dr{n}", float(grade >= n))
        if (dme := re.search(r"dme=(\d)", raw["note"])) is not None:
            teach("dme", float(int(dme[1]) >= 2))
        if pm is not None:
            teach("pm", float(pm))
        if raw["source"] == "palm" and raw["normal"] == "1":
            for name in ("dr1", "dr2", "dr3", "dr4", "dme"):
                teach(name, 0.0, WEAK)
        if raw["source"] in {"idrid", "hygd"}:
            teach("pm", 0.0, WEAK)
    return Row(
        raw["file"],
        raw["source"],
        raw["licence"],
        raw["split"],
        raw["group"],
        raw["note"],
        target,
        weight,
        grade,
        pm,
        glaucoma,
        is_fundus,
    )


def load(folder: Path) -> list[Row]:
    """Read `labels.csv` of a folder, in file order."""
    with (folder / "labels.csv").open(newline="", encoding="utf-8") as file:
        return [_row(raw) for raw in csv.DictReader(file)]


def data_sha256(folder: Path, rows: list[Row]) -> str:
    """Return one hash over names, bytes and targets of `rows`: the data the weights stand for."""
    whole = hashlib.sha256()
    for row in sorted(rows, key=lambda r: r.file):
        whole.update(row.file.encode())
        whole.update(hashlib.sha256((folder / row.file).read_bytes()).digest())
        whole.update(row.target.tobytes() + row.weight.tobytes())
    return whole.hexdigest()


def fingerprint(pixels: np.ndarray) -> np.ndarray:
    """Return a normalised 24×24 high-pass thumbnail; equal pictures correlate above 0.98."""
    grey = Image.fromarray(pixels).convert("L")
    small = np.asarray(grey.resize((24, 24), Image.Resampling.BOX), np.float32)
    smooth = np.asarray(
        grey.resize((6, 6), Image.Resampling.BOX).resize((24, 24), Image.Resampling.BICUBIC),
        np.float32,
    )
    high = (small - smooth).ravel()
    return high / (np.linalg.norm(high) + 1e-6)


def conflicting(rows: list[Row], prints: np.ndarray, limit: float = 0.98) -> set[str]:
    """Return files that show the same picture as another of their source with other labels."""
    drop = {r.file for r in rows if r.group in DISPUTED}
    by_source: dict[str, list[int]] = defaultdict(list)
    for n, row in enumerate(rows):
        if row.is_fundus:
            by_source[row.source].append(n)
    for numbers in by_source.values():
        block = prints[numbers]
        for a, b in np.argwhere(np.triu(block @ block.T, 1) > limit):
            first, second = rows[numbers[a]], rows[numbers[b]]
            if not np.array_equal(first.target, second.target):
                drop |= {first.file, second.file}
    return drop


def training_rows(rows: list[Row], split: str) -> list[Row]:
    """Return the rows of `split` that may be learnt from.

    Raises:
        ValueError: a training split holds a row whose licence forbids it.
    """
    chosen = [r for r in rows if r.split == split]
    if wrong := Counter(r.source for r in chosen if r.evaluation_only):
        raise ValueError(
            f"split {split!r} holds evaluation-only rows: {dict(wrong)}; fix labels.csv"
        )
    return chosen


def folds(rows: list[Row]) -> np.ndarray:
    """Return the fold, 0 to `FOLDS` - 1, of every row; all rows of a patient share one.

    Patients are dealt out in the order of source, worst label and the hash of their name, so that
    folds hold alike shares of each and do not depend on the order of the file.
    """
    worst: dict[str, tuple[str, float]] = {}
    for row in rows:
        badness = float((row.target * (row.weight > WEAK)).sum())
        source, so_far = worst.get(row.group, (row.source, 0.0))
        worst[row.group] = (source, max(so_far, badness))
    ordered = sorted(worst, key=lambda g: (*worst[g], hashlib.sha256(g.encode()).hexdigest()))
    fold = {group: n % FOLDS for n, group in enumerate(ordered)}
    return np.array([fold[r.group] for r in rows])


def may_go_on(earlier: Manifest, *, rows_sha256: str, folds: int) -> None:
    """Refuse to go on from weights whose members saw other patients than this run's would.

    Args:
        earlier: of the weights.
        rows_sha256: of the rows this run trains on.
        folds: into which this run deals them.

    Raises:
        ValueError: other rows, folds or channels: answers would no longer be out of fold.
    """
    had = earlier.training
    wanted = {"rows_sha256": rows_sha256, "folds": folds}
    if wrong := {name: had.get(name) for name, value in wanted.items() if had.get(name) != value}:
        raise ValueError(f"{earlier.label} was trained with other {wrong}: its folds would leak")
    if earlier.channels != CHANNELS:
        raise ValueError(f"{earlier.label} has other channels: {earlier.channels}")
