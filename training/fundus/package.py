"""From a trained network to what ships: ONNX, calibration, thresholds, manifest, model card."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch

from models.fundus.manifest import Calibration, Grades, Head, Manifest, Source
from training.fundus import augment, evaluate, negatives, samples
from training.fundus.backbone import FundusNet
from training.fundus.export import write
from training.fundus.figures import platt
from training.fundus.labels import CHANNELS, INDEX, Row, load
from training.fundus.model_card import model_card
from training.fundus.train import Plan, predict

NAME, VERSION, FILE = "oculichat-fundus", "0.1.0", "fundus.onnx"
VIEWS = (
    6  # of each validation picture: as it is, and varied, so that calibration sees other cameras
)

MEANING = {
    "gate": "a colour photo of the retina",
    "quality": "good enough to be assessed",
    "screen": "a photo of a screen or print (trained on simulated ones only)",
    "dr": "referable diabetic retinopathy: ICDR grade 2 (moderate) or worse",
    "dme": "high risk of macular oedema: hard exudates near the fovea (IDRiD grade 2)",
    "pm": "pathological myopia",
}
ATTRIBUTION = {
    "idrid": "Porwal P. et al., Indian Diabetic Retinopathy Image Dataset (IDRiD), 2018",
    "palm": "Fang H. et al., PALM, Scientific Data 2024; licence to be confirmed at the deposit",
    "hygd": "Abramovich O. et al., Hillel Yaffe Glaucoma Dataset, doi:10.13026/z0ak-km33; "
    "PhysioNet, Goldberger 2000",
    "srahim": "SRahimDR/DR-image-dataset; academic purpose: measured on, never trained on",
}


def _val_logits(
    net: FundusNet, folder: Path, val: list[Row], plan: Plan
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return logits, targets and weights over views of `val`, spoiled views and drawn negatives."""
    target: list[np.ndarray] = []
    weight: list[np.ndarray] = []

    def pictures() -> Any:
        for n, row in enumerate(val):
            pixels = samples.open_cropped(folder / row.file)
            for view in range(VIEWS):
                target.append(row.target)
                weight.append(row.weight)
                if view == 0:
                    yield samples.clean(pixels, plan.large_px)
                    continue
                rng = np.random.default_rng([plan.seed, 1, n, view])
                x = augment.vary(rng, augment.place(rng, pixels, plan.large_px))
                yield _tensor(x)
            if (
                row.is_fundus
            ):  # one ungradable and one on-screen view each, for their own heads only
                rng = np.random.default_rng([plan.seed, 2, n])
                yield from _marked(rng, augment.spoil, pixels, "quality", 0.0)
                yield from _marked(rng, augment.screen, pixels, "screen", 1.0)
        for n in range(120):
            rng = np.random.default_rng([plan.seed, 3, n])
            target.append(np.zeros(len(CHANNELS), np.float32))
            weight.append(np.eye(len(CHANNELS), dtype=np.float32)[INDEX["gate"]])
            drawn = negatives.draw(rng, plan.large_px).astype(np.float32)
            yield _tensor(augment.vary_negative(rng, drawn))

    def _marked(rng: Any, change: Any, pixels: np.ndarray, name: str, value: float) -> Any:
        only = np.zeros(len(CHANNELS), np.float32)
        only[INDEX[name]] = value
        target.append(only)
        weight.append(np.eye(len(CHANNELS), dtype=np.float32)[INDEX[name]])
        yield _tensor(change(rng, augment.place(rng, pixels, plan.large_px)))

    logits = predict(net, pictures())
    return logits, np.stack(target), np.stack(weight)


def _tensor(x: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(x.clip(0, 255).astype(np.uint8)).permute(2, 0, 1)


def _calibrated(
    name: str, logits: np.ndarray, target: np.ndarray, weight: np.ndarray, *, balanced: bool
) -> tuple[Calibration, np.ndarray, np.ndarray]:
    """Return the calibration of a channel, and probabilities and answers it was fitted on."""
    channel = INDEX[name]
    used = weight[:, channel] >= 0.5  # weak negatives teach, they do not calibrate
    x, y = logits[used, channel].astype(float), target[used, channel].astype(float)
    scale, bias = platt(x, y, balanced=balanced)
    fitted = Calibration(scale=round(scale, 4), bias=round(bias, 4))
    return fitted, np.array([fitted.probability(v) for v in x]), y


def _thresholds(
    p: np.ndarray,
    y: np.ndarray,
    low: tuple[float, float],
    high: tuple[float, float],
    miss: float = 0.05,
) -> tuple[float, float]:
    """Return (rule out, refer): at most `miss` of yes below the first, of no above the second.

    Both are kept inside a range, because a small validation set separates more cleanly than life.
    """
    lose, alarm = np.quantile(p[y == 1], miss), np.quantile(p[y == 0], 1 - miss)
    rule_out = float(np.clip(min(lose, alarm), *low))
    refer = float(np.clip(max(lose, alarm), *high))
    return round(rule_out, 3), round(refer, 3)


def package(
    net: FundusNet,
    folder: Path,
    rows: list[Row],
    val: list[Row],
    plan: Plan,
    facts: dict[str, Any],
    weights: Path,
) -> None:
    """Write `fundus.onnx`, `manifest.json` and `MODEL_CARD.md` into `weights`."""
    weights.mkdir(parents=True, exist_ok=True)
    print("calibrating", flush=True)
    logits, target, weight = _val_logits(net, folder, val, plan)
    write(net, weights / FILE, size_px=plan.large_px, metadata={"name": NAME, "version": VERSION})

    trained_on = {
        "gate": tuple(sorted({r.source for r in rows})),
        "quality": ("hygd", "idrid", "palm"),
        "screen": ("hygd", "idrid", "palm"),
        "dr": ("idrid", "palm"),
        "dme": ("idrid", "palm"),
        "pm": ("hygd", "idrid", "palm"),
    }
    limits = {
        "gate": ((0.3, 0.5), (0.5, 0.7), 0.02),
        "quality": ((0.15, 0.4), (0.4, 0.7), 0.03),
        "screen": ((0.3, 0.5), (0.6, 0.9), 0.03),
        "dr": ((0.2, 0.45), (0.5, 0.8), 0.05),
        "dme": ((0.2, 0.45), (0.5, 0.8), 0.05),
        "pm": ((0.2, 0.45), (0.5, 0.8), 0.03),
    }
    heads = []
    for name, (low, high, miss) in limits.items():
        channel = "dr2" if name == "dr" else name
        fitted, p, y = _calibrated(
            channel, logits, target, weight, balanced=name not in {"gate", "quality", "screen"}
        )
        rule_out, refer = _thresholds(p, y, low, high, miss)
        heads.append(
            Head(
                name=name,
                channel=INDEX[channel],
                calibration=fitted,
                rule_out=rule_out,
                refer=refer,
                meaning=MEANING[name],
                trained_on=trained_on[name],
            )
        )
    grades = Grades(
        channels=tuple(INDEX[f"dr{n}"] for n in range(1, 5)),
        calibration=tuple(
            _calibrated(f"dr{n}", logits, target, weight, balanced=False)[0] for n in range(1, 5)
        ),
    )
    everything = load(folder)
    counts = Counter((r.source, r.licence) for r in rows + val)
    tested = Counter((r.source, r.licence) for r in everything if r.split == "test")
    manifest = Manifest(
        name=NAME,
        version=VERSION,
        file=FILE,
        sha256=hashlib.sha256((weights / FILE).read_bytes()).hexdigest(),
        size_px=plan.large_px,
        channels=CHANNELS,
        heads=tuple(heads),
        dr_grades=grades,
        sources=tuple(
            Source(
                name=source, licence=licence, use=use, n=n, attribution=ATTRIBUTION.get(source, "")
            )
            for use, table in (("training", counts), ("evaluation", tested))
            for (source, licence), n in sorted(table.items())
        ),
        training={
            "seed": plan.seed,
            "steps": plan.steps,
            "batch": plan.batch,
            "train_sha256": facts["train_sha256"],
            "val_sha256": facts["val_sha256"],
        },
    )
    _write(weights, manifest)
    print("measuring", flush=True)
    measured = evaluate.measure(weights, folder)
    manifest = manifest.model_copy(
        update={
            "heads": tuple(
                h.model_copy(update={"metrics": tuple(measured.get(h.name, ()))})
                for h in manifest.heads
            )
        }
    )
    _write(weights, manifest)
    (weights / "MODEL_CARD.md").write_text(model_card(manifest), encoding="utf-8")
    print(evaluate.table(measured), flush=True)


def _write(weights: Path, manifest: Manifest) -> None:
    text = json.dumps(manifest.model_dump(mode="json"), indent=1, ensure_ascii=False)
    (weights / "manifest.json").write_text(text + "\n", encoding="utf-8")
