"""Measure shipped weights on the test rows, through the same code that reads a patient's photo.

python -m training.fundus.evaluate --data ../shared/fundus
"""

from __future__ import annotations

import argparse
import io
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from models.fundus import field, intake, manifest
from models.fundus.evaluation.figures import Figure, weighted_kappa
from models.fundus.manifest import Manifest, Metric
from models.fundus.network import Network
from models.fundus.settings import PACKAGED_WEIGHTS
from training.fundus import augment
from training.fundus.figures import auc_figure, ece, rate
from training.fundus.labels import Row, load

Measured = dict[str, list[Metric]]
FUNDUS_SOURCES = ("idrid", "srahim", "hygd", "palm", "4class-odir", "tvh-mx")
STABLE = 90  # test rows of each source that are read again, changed
LIMITS = {"max_bytes": 25 * 1024 * 1024, "max_pixels": 80_000_000}


@dataclass(frozen=True, slots=True)
class Answers:
    """Logits of some rows and what they become."""

    rows: list[Row]
    logits: np.ndarray
    manifest: Manifest

    def probability(self, head: str) -> np.ndarray:
        """Return the calibrated probability of a head for every row."""
        found = self.manifest.named(head)
        return np.array([found.calibration.probability(v) for v in self.logits[:, found.channel]])

    def decided(self, head: str, *decisions: str) -> np.ndarray:
        """Tell for every row whether the head decided one of `decisions`."""
        found = self.manifest.named(head)
        return np.array([found.decide(p) in decisions for p in self.probability(head)])

    def of(self, *sources: str) -> Answers:
        """Return only rows of these sources."""
        keep = np.array([r.source in sources for r in self.rows])
        chosen = [r for r, k in zip(self.rows, keep, strict=True) if k]
        return Answers(chosen, self.logits[keep], self.manifest)

    def where(self, keep: Iterable[bool]) -> Answers:
        """Return only the rows marked."""
        marks = np.fromiter(keep, bool, len(self.rows))
        chosen = [r for r, k in zip(self.rows, marks, strict=True) if k]
        return Answers(chosen, self.logits[marks], self.manifest)


def square(path: Path, size_px: int) -> np.ndarray:
    """Return what the network sees of a file, uint8 of shape (size_px, size_px, 3)."""
    photo = intake.decode(path.read_bytes(), **LIMITS, working_px=640)
    return field.square(photo.pixels, field.find(photo.pixels), size_px)


Change = Callable[[np.random.Generator, np.ndarray], np.ndarray]


def read(
    network: Network, loaded: Manifest, folder: Path, rows: list[Row], change: Change | None = None
) -> Answers:
    """Run rows through intake, field and network; `change(rng, square)` may spoil the square."""
    logits = []
    for n, row in enumerate(rows):
        pixels = square(folder / row.file, loaded.size_px)
        if change is not None:
            rng = np.random.default_rng([11, n])
            changed = change(rng, pixels.astype(np.float32)).clip(0, 255).astype(np.uint8)
            pixels = field.square(changed, field.find(changed), loaded.size_px)
        logits.append(network.run(pixels)[0])
    return Answers(rows, np.stack(logits), loaded)


def _metric(name: str, pictures: str, figure: Figure) -> Metric:
    return Metric(
        name=name,
        pictures=pictures,
        n=figure.n,
        value=round(figure.value, 4),
        low=round(figure.low, 4),
        high=round(figure.high, 4),
    )


def _plain(name: str, pictures: str, n: int, value: float) -> Metric:
    return Metric(name=name, pictures=pictures, n=n, value=round(value, 4))


def _binary(head: str, answers: Answers, truth: np.ndarray, pictures: str) -> list[Metric]:
    p = answers.probability(head)
    groups = [r.group for r in answers.rows]
    refer, negative = answers.decided(head, "refer"), answers.decided(head, "negative")
    return [
        _metric("auc", pictures, auc_figure(p, truth, groups)),
        _metric("sensitivity at refer", pictures, rate(refer[truth == 1])),
        _metric("specificity at refer", pictures, rate(~refer[truth == 0])),
        _metric("sensitivity at rule-out", pictures, rate(~negative[truth == 1])),
        _metric("borderline share", pictures, rate(~refer & ~negative)),
        _plain("ece", pictures, len(p), ece(p, truth)),
    ]


def _noted(rows: list[Row], pattern: str) -> np.ndarray:
    found = [re.search(pattern, r.note) for r in rows]
    return np.array([int(m[1]) if m else -1 for m in found])


def measure(weights: Path, folder: Path) -> Measured:
    """Return all figures by head."""
    loaded, path = manifest.load(weights)
    network = Network(
        path,
        size_px=loaded.size_px,
        channels=len(loaded.channels),
        provider="CPUExecutionProvider",
        threads=2,
    )
    rows = [r for r in load(folder) if r.split == "test"]
    every = read(network, loaded, folder, rows)
    out: Measured = {h.name: [] for h in loaded.heads}
    out["gate"] = _gate(every)
    out["dr"] = _retinopathy(every)
    out["dme"] = _macula(every)
    out["pm"] = _myopia(every)
    out["quality"] = _quality(every, network, folder)
    shown = read(network, loaded, folder, every.of("srahim").rows, augment.screen)
    _on_screen(out, every, shown)
    if "pair" in out:
        out["pair"] = _pairs(every, network, folder)
    if "glaucoma" in out:
        out["glaucoma"] = _glaucoma(every)
    for head, metrics in _stability(every, network, folder).items():
        out[head] += metrics
    return out


def _groups(answers: Answers) -> list[str]:
    return [r.group for r in answers.rows]


def _gate(every: Answers) -> list[Metric]:
    out = []
    for source in sorted({r.source for r in every.rows}):
        part = every.of(source)
        name = "true positive rate" if part.rows[0].is_fundus else "false positive rate"
        out.append(_metric(name, source, rate(part.decided("gate", "refer"))))
    truth = np.array([int(r.is_fundus) for r in every.rows])
    area = auc_figure(every.probability("gate"), truth, _groups(every))
    return [*out, _metric("auc", "all test rows", area)]


def _retinopathy(every: Answers) -> list[Metric]:
    loaded = every.manifest
    assert loaded.dr_grades is not None  # noqa: S101  these weights grade
    out = []
    for name, part in (
        ("idrid test", every.of("idrid")),
        ("srahim (unseen source)", every.of("srahim")),
    ):
        graded = part.where(r.dr_grade is not None for r in part.rows)
        truth = np.array([r.dr_grade for r in graded.rows])
        out += _binary("dr", graded, (truth >= 2).astype(int), name)
        for level, word in ((1, "any DR"), (3, "severe DR")):
            score = graded.logits[:, loaded.channels.index(f"dr{level}")]
            area = auc_figure(score, (truth >= level).astype(int), _groups(graded))
            out.append(_metric(f"auc {word}", name, area))
        given = np.array([loaded.dr_grades.grade(list(v)) for v in graded.logits.astype(float)])
        out.append(_metric("grade accuracy", name, rate(given == truth)))
        kappa = weighted_kappa(truth, given, _groups(graded), classes=5)
        out.append(_metric("grade weighted kappa", name, kappa))
    mexico = every.of("tvh-mx")
    known = mexico.where(r.dr_grade is not None or "NPDR" in r.note for r in mexico.rows)
    any_dr = np.array([int(r.dr_grade != 0) for r in known.rows])
    score = known.logits[:, loaded.channels.index("dr1")]
    area = auc_figure(score, any_dr, _groups(known))
    return [*out, _metric("auc any DR", "tvh-mx (unseen source)", area)]


def _macula(every: Answers) -> list[Metric]:
    idrid, srahim = every.of("idrid"), every.of("srahim")
    truth = (_noted(idrid.rows, r"dme=(\d)") >= 2).astype(int)
    seen = _noted(srahim.rows, r"maculopathy=(\d)")
    part = srahim.where(seen >= 0)
    unseen = _binary("dme", part, seen[seen >= 0], "srahim maculopathy (unseen source)")
    return _binary("dme", idrid, truth, "idrid test") + unseen


def _myopia(every: Answers) -> list[Metric]:
    palm = every.of("palm")
    out = _binary("pm", palm, np.array([r.pm for r in palm.rows]), "palm test (same source)")
    for source in ("4class-odir", "idrid", "srahim", "hygd", "tvh-mx"):
        out.append(_metric("flag rate", source, rate(every.of(source).decided("pm", "refer"))))
    # ODIR's classes are normal, glaucoma, cataract, retinopathy; only the first two say "glaucoma".
    odir = every.of("4class-odir")
    normal = odir.where(r.glaucoma == 0 for r in odir.rows)
    return [*out, _metric("flag rate", "4class-odir, normal", rate(normal.decided("pm", "refer")))]


def _quality(every: Answers, network: Network, folder: Path) -> list[Metric]:
    idrid = every.of("idrid")
    spoiled = read(network, every.manifest, folder, idrid.rows, augment.spoil)
    logits = np.concatenate([idrid.logits, spoiled.logits])
    both = Answers(idrid.rows * 2, logits, every.manifest)
    truth = np.repeat([1, 0], len(idrid.rows))
    out = _binary("quality", both, truth, "idrid test, clean vs simulated")
    for source in FUNDUS_SOURCES:
        refused = rate(every.of(source).decided("quality", "negative"))
        out.append(_metric("called ungradable", source, refused))
    channel = every.manifest.channels.index("quality")
    hygd = every.of("hygd")
    scored = hygd.where(r.weight[channel] > 0 for r in hygd.rows)
    good = np.array([int(r.target[channel]) for r in scored.rows])
    area = auc_figure(scored.probability("quality"), good, _groups(scored))
    return [*out, _metric("auc against FundusQ-Net score", "hygd test", area)]


def _on_screen(out: Measured, every: Answers, shown: Answers) -> None:
    """Add what a simulated photo of a screen does to `dr`, `gate` and `screen`."""
    name = "srahim, simulated photo of a screen"
    graded = shown.where(r.dr_grade is not None for r in shown.rows)
    truth = np.array([int((r.dr_grade or 0) >= 2) for r in graded.rows])
    out["dr"] += _binary("dr", graded, truth, name)
    out["screen"].append(_metric("detected", name, rate(shown.decided("screen", "refer"))))
    out["gate"].append(_metric("true positive rate", name, rate(shown.decided("gate", "refer"))))
    for source in FUNDUS_SOURCES:
        alarm = rate(every.of(source).decided("screen", "refer"))
        out["screen"].append(_metric("false alarm", source, alarm))


def _pairs(every: Answers, network: Network, folder: Path) -> list[Metric]:
    """Put each test picture beside the next one of its source."""
    out = []
    for source in ("idrid", "srahim", "4class-odir"):
        rows = every.of(source).rows[:40]
        squares = [square(folder / r.file, network.size_px).astype(np.float32) for r in rows]
        logits = []
        for n, first in enumerate(squares):
            rng = np.random.default_rng([13, n])
            both = augment.pair(first, squares[(n + 1) % len(squares)], rng)
            logits.append(network.run(both.clip(0, 255).astype(np.uint8))[0])
        made = Answers(rows, np.stack(logits), every.manifest)
        out.append(_metric("detected", f"{source}, composed", rate(made.decided("pair", "refer"))))
    for source in FUNDUS_SOURCES:
        alarm = rate(every.of(source).decided("pair", "refer"))
        out.append(_metric("false alarm", source, alarm))
    return out


def _glaucoma(every: Answers) -> list[Metric]:
    out = []
    for name, source in (
        ("hygd test (same source)", "hygd"),
        ("4class-odir (unseen source)", "4class-odir"),
    ):
        part = every.of(source)
        part = part.where(r.glaucoma is not None for r in part.rows)
        out += _binary("glaucoma", part, np.array([r.glaucoma for r in part.rows]), name)
    idrid = every.of("idrid")
    return [*out, _metric("flag rate", "idrid", rate(idrid.decided("glaucoma", "refer")))]


def _jpeg60(_rng: np.random.Generator, square: np.ndarray) -> np.ndarray:
    out = io.BytesIO()
    Image.fromarray(square.astype(np.uint8)).save(out, "JPEG", quality=60)
    return np.asarray(Image.open(out))


def _mirrored(_rng: np.random.Generator, square: np.ndarray) -> np.ndarray:
    return square[:, ::-1]


def _turned(_rng: np.random.Generator, square: np.ndarray) -> np.ndarray:
    return np.rot90(square)


def _stability(every: Answers, network: Network, folder: Path) -> Measured:
    """Count how often a head keeps its band when the same picture comes another way."""
    kept = {source: every.of(source).rows[:STABLE] for source in ("idrid", "srahim", "palm")}
    files = {r.file for rows in kept.values() for r in rows}
    part = every.where(r.file in files for r in every.rows)
    out: Measured = {"dr": [], "dme": [], "pm": []}
    for name, change in (
        ("JPEG quality 60", _jpeg60),
        ("mirrored", _mirrored),
        ("turned by 90°", _turned),
    ):
        again = read(network, every.manifest, folder, part.rows, change)
        for head, metrics in out.items():
            bands = [
                [every.manifest.named(head).decide(p) for p in answers.probability(head)]
                for answers in (part, again)
            ]
            same = np.array([a == b for a, b in zip(*bands, strict=True)])
            metrics.append(_metric("same band", f"idrid, srahim, palm: {name}", rate(same)))
    return out


def table(measured: Measured) -> str:
    """Return the figures as text."""
    lines = []
    for head, metrics in measured.items():
        lines.append(head)
        for m in metrics:
            span = f" [{m.low:.3f}-{m.high:.3f}]" if m.low is not None else ""
            lines.append(f"  {m.name:30s} {m.value:.3f}{span:16s} n={m.n:<5d} {m.pictures}")
    return "\n".join(lines)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m training.fundus.evaluate", description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path, default=PACKAGED_WEIGHTS)
    given = parser.parse_args()
    print(table(measure(given.weights, given.data)))


if __name__ == "__main__":
    main()
