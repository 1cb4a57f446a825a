"""Measure shipped weights on the test rows, through the same code that reads a patient's photo.

python -m training.fundus.evaluate --data ../shared/fundus
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.fundus import field, intake, manifest
from models.fundus.manifest import Manifest, Metric
from models.fundus.network import Network
from models.fundus.settings import PACKAGED_WEIGHTS
from training.fundus import augment
from training.fundus.figures import Figure, auc_figure, ece, quadratic_kappa, rate
from training.fundus.labels import Row, load

Measured = dict[str, list[Metric]]
LIMITS = {"max_bytes": 25 * 1024 * 1024, "max_pixels": 80_000_000}


@dataclass(frozen=True, slots=True)
class Answers:
    """Logits of some rows and what they become."""

    rows: list[Row]
    logits: np.ndarray
    manifest: Manifest

    def probability(self, head: str) -> np.ndarray:
        """Return the calibrated probability of a head for every row."""
        found = self.manifest.head(head)
        return np.array([found.calibration.probability(v) for v in self.logits[:, found.channel]])

    def decided(self, head: str, *decisions: str) -> np.ndarray:
        """Tell for every row whether the head decided one of `decisions`."""
        found = self.manifest.head(head)
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


def read(
    network: Network, loaded: Manifest, folder: Path, rows: list[Row], change: object = None
) -> Answers:
    """Run rows through intake, field and network; `change(rng, square)` may spoil the square."""
    logits = []
    for n, row in enumerate(rows):
        photo = intake.decode((folder / row.file).read_bytes(), **LIMITS, working_px=640)
        square = field.square(photo.pixels, field.find(photo.pixels), loaded.size_px)
        if change is not None:
            rng = np.random.default_rng([11, n])
            changed = change(rng, square.astype(np.float32)).clip(0, 255).astype(np.uint8)  # type: ignore[operator]
            square = field.square(changed, field.find(changed), loaded.size_px)
        logits.append(network.run(square)[0])
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
    idrid, srahim = every.of("idrid"), every.of("srahim")
    out: Measured = {h.name: [] for h in loaded.heads}

    for source in sorted({r.source for r in rows}):
        part = every.of(source)
        name = "true positive rate" if part.rows[0].is_fundus else "false positive rate"
        out["gate"].append(_metric(name, source, rate(part.decided("gate", "refer"))))
    out["gate"].append(
        _metric(
            "auc",
            "all test rows",
            auc_figure(
                every.probability("gate"),
                np.array([int(r.is_fundus) for r in rows]),
                [r.group for r in rows],
            ),
        )
    )

    for name, part in (("idrid test", idrid), ("srahim (unseen source)", srahim)):
        graded = part.where(r.dr_grade is not None for r in part.rows)
        truth = np.array([r.dr_grade for r in graded.rows])
        out["dr"] += _binary("dr", graded, (truth >= 2).astype(int), name)
        groups = [r.group for r in graded.rows]
        for level, word in ((1, "any DR"), (3, "severe DR")):
            score = graded.logits[:, loaded.channels.index(f"dr{level}")]
            out["dr"].append(
                _metric(
                    f"auc {word}", name, auc_figure(score, (truth >= level).astype(int), groups)
                )
            )
        given = np.array([loaded.dr_grades.grade(list(v)) for v in graded.logits.astype(float)])
        out["dr"].append(_metric("grade accuracy", name, rate(given == truth)))
        out["dr"].append(
            _plain("grade weighted kappa", name, len(truth), quadratic_kappa(truth, given))
        )
    mexico = every.of("tvh-mx")
    known = mexico.where(r.dr_grade is not None or "NPDR" in r.note for r in mexico.rows)
    any_dr = np.array([int(r.dr_grade != 0) for r in known.rows])
    score = known.logits[:, loaded.channels.index("dr1")]
    out["dr"].append(
        _metric(
            "auc any DR",
            "tvh-mx (unseen source)",
            auc_figure(score, any_dr, [r.group for r in known.rows]),
        )
    )

    out["dme"] += _binary(
        "dme", idrid, (_noted(idrid.rows, r"dme=(\d)") >= 2).astype(int), "idrid test"
    )
    maculopathy = _noted(srahim.rows, r"maculopathy=(\d)")
    part = srahim.where(maculopathy >= 0)
    out["dme"] += _binary(
        "dme", part, maculopathy[maculopathy >= 0], "srahim maculopathy (unseen source)"
    )

    palm = every.of("palm")
    out["pm"] += _binary("pm", palm, np.array([r.pm for r in palm.rows]), "palm test (same source)")
    for source in ("4class-odir", "idrid", "srahim", "hygd", "tvh-mx"):
        part = every.of(source)
        out["pm"].append(_metric("flag rate", source, rate(part.decided("pm", "refer"))))

    good = np.ones(len(idrid.rows), int)
    spoiled = read(network, loaded, folder, idrid.rows, augment.spoil)
    both = Answers(idrid.rows * 2, np.concatenate([idrid.logits, spoiled.logits]), loaded)
    truth = np.concatenate([good, 0 * good])
    out["quality"] += _binary("quality", both, truth, "idrid test, clean vs simulated")
    for source in ("idrid", "srahim", "hygd", "palm", "4class-odir", "tvh-mx"):
        part = every.of(source)
        out["quality"].append(
            _metric("called ungradable", source, rate(part.decided("quality", "negative")))
        )
    scored = every.of("hygd").where(r.weight[1] > 0 for r in every.of("hygd").rows)
    out["quality"].append(
        _metric(
            "auc against FundusQ-Net score",
            "hygd test",
            auc_figure(
                scored.probability("quality"),
                np.array([int(r.target[1]) for r in scored.rows]),
                [r.group for r in scored.rows],
            ),
        )
    )

    shown = read(network, loaded, folder, srahim.rows, augment.screen)
    graded = shown.where(r.dr_grade is not None for r in shown.rows)
    truth = np.array([int(r.dr_grade >= 2) for r in graded.rows])
    out["dr"] += _binary("dr", graded, truth, "srahim, simulated photo of a screen")
    out["screen"].append(
        _metric(
            "detected",
            "srahim, simulated photo of a screen",
            rate(shown.decided("screen", "refer")),
        )
    )
    out["gate"].append(
        _metric(
            "true positive rate",
            "srahim, simulated photo of a screen",
            rate(shown.decided("gate", "refer")),
        )
    )
    for source in ("idrid", "srahim", "hygd", "palm", "4class-odir", "tvh-mx"):
        out["screen"].append(
            _metric("false alarm", source, rate(every.of(source).decided("screen", "refer")))
        )
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
