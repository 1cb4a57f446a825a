"""From trained members to what ships: ONNX, calibration, thresholds, manifest, model card."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from models.fundus.manifest import Head, Manifest, Source, Status
from training.fundus import evaluate, members, outoffold
from training.fundus.backbone import FundusNet
from training.fundus.calibration import RULES, fit, grades
from training.fundus.collect import collect
from training.fundus.export import write
from training.fundus.labels import CHANNELS, INDEX, Row, load
from training.fundus.model_card import model_card
from training.fundus.train import Plan

NAME, VERSION, FILE = "oculichat-fundus", "0.3.0", "fundus.onnx"
# What a disease head must reach on a source it was not trained on to be told to anybody.
SHOWN_FROM_AUC = 0.85

MEANING = {
    "gate": "a colour photo of the retina",
    "quality": "good enough to be assessed",
    "screen": "a photo of a screen or print (trained on simulated ones only)",
    "pair": "two eyes in one picture (composed from training pictures)",
    "dr": "referable diabetic retinopathy: ICDR grade 2 (moderate) or worse",
    "dme": "high risk of macular oedema: hard exudates near the fovea (IDRiD grade 2)",
    "pm": "pathological myopia",
    "glaucoma": "signs that can go with glaucoma; a photo cannot exclude it",
}
ATTRIBUTION = {
    "idrid": "Porwal P. et al., Indian Diabetic Retinopathy Image Dataset (IDRiD), 2018",
    "palm": "Fang H. et al., PALM, Scientific Data 2024; licence to be confirmed at the deposit",
    "hygd": "Abramovich O. et al., Hillel Yaffe Glaucoma Dataset, doi:10.13026/z0ak-km33; "
    "PhysioNet, Goldberger 2000",
    "srahim": "SRahimDR/DR-image-dataset; academic purpose: measured on, never trained on",
}
_SEEN = ("hygd", "idrid", "palm")


def package(
    net: FundusNet,
    folder: Path,
    rows: list[Row],
    folds: np.ndarray,
    plan: Plan,
    facts: dict[str, Any],
    weights: Path,
    run: Path,
) -> None:
    """Write `fundus.onnx`, `manifest.json` and `MODEL_CARD.md` into `weights`.

    Args:
        net: the trained network.
        folder: the labelled folder.
        rows: what it was trained on.
        folds: the fold of each row; member m never saw fold m.
        plan: sizes and steps.
        facts: hashes of the data.
        weights: where to write.
        run: folder of what an interrupted packaging already asked the members.
    """
    weights.mkdir(parents=True, exist_ok=True)
    asked = run / f"outoffold-{plan.key}-{facts['stopped_at']}.npz"
    if not asked.exists():
        outoffold.save(collect(net, folder, rows, folds, plan), asked)
    found = outoffold.load(asked)
    write(net, weights / FILE, size_px=plan.large_px, metadata={"name": NAME, "version": VERSION})
    made, grade_metrics = grades(found, rows)
    trained_on = dict.fromkeys(RULES, _SEEN) | {
        "gate": tuple(sorted({r.source for r in rows})),
        "dr": ("idrid", "palm"),
        "dme": ("idrid", "palm"),
        "glaucoma": ("hygd",),
    }
    heads = []
    for name, rule in RULES.items():
        fitted = fit(name, found, rows)
        heads.append(
            Head(
                name=name,
                channel=INDEX[rule.channel],
                calibration=fitted.calibration,
                rule_out=fitted.rule_out,
                refer=fitted.refer,
                # Its own hospital says nothing about another camera; `_judged` decides.
                status="experimental" if name == "glaucoma" else "on",
                meaning=MEANING[name],
                trained_on=trained_on[name],
                metrics=fitted.metrics + (tuple(grade_metrics) if name == "dr" else ()),
            )
        )
    everything = load(folder)
    counts = Counter((r.source, r.licence) for r in rows)
    tested = Counter((r.source, r.licence) for r in everything if r.split == "test")
    manifest = Manifest(
        name=NAME,
        version=VERSION,
        file=FILE,
        sha256=hashlib.sha256((weights / FILE).read_bytes()).hexdigest(),
        size_px=plan.large_px,
        channels=CHANNELS,
        heads=tuple(heads),
        dr_grades=made,
        sources=tuple(
            Source(
                name=source, licence=licence, use=use, n=n, attribution=ATTRIBUTION.get(source, "")
            )
            for use, table in (("training", counts), ("evaluation", tested))
            for (source, licence), n in sorted(table.items())
        ),
        training={
            "seed": plan.seed,
            "members": plan.members,
            "folds": len(facts["rows_by_fold"]),
            "steps": facts["stopped_at"],
            "steps_planned": plan.steps,
            "batch": plan.batch,
            "rows_sha256": facts["rows_sha256"],
        }
        | _earlier(facts.get("went_on_from")),
    )
    _write(weights, manifest)
    print(evaluate.table({h.name: list(h.metrics) for h in heads}), flush=True)


def _earlier(stood: dict[str, Any] | None) -> dict[str, str | int]:
    if stood is None:
        return {}
    before = stood.get("earlier_steps", 0)
    return {"earlier_version": stood["version"], "earlier_steps": stood["steps"] + before}


def finish(weights: Path, folder: Path) -> None:
    """Measure written weights on the test rows and add the figures to manifest and card."""
    manifest = Manifest.model_validate_json((weights / "manifest.json").read_bytes())
    measured = evaluate.measure(weights, folder)
    for name, metrics in members.spread(weights, folder).items():
        measured[name] += metrics
    heads = []
    for head in manifest.heads:
        own = tuple(m for m in head.metrics if m.pictures.startswith("out of fold"))
        metrics = own + tuple(measured.get(head.name, ()))
        heads.append(head.model_copy(update={"metrics": metrics, "status": _judged(head, metrics)}))
    manifest = manifest.model_copy(update={"heads": tuple(heads)})
    _write(weights, manifest)
    (weights / "MODEL_CARD.md").write_text(model_card(manifest), encoding="utf-8")
    print(evaluate.table(measured), flush=True)


def _judged(head: Head, metrics: tuple[Any, ...]) -> Status:
    """Keep a head that fails on other people's cameras from being told to anybody."""
    if head.name != "glaucoma":
        return head.status
    unseen = [m.value for m in metrics if m.name == "auc" and "unseen source" in m.pictures]
    return "on" if unseen and min(unseen) >= SHOWN_FROM_AUC else "experimental"


def _write(weights: Path, manifest: Manifest) -> None:
    text = json.dumps(manifest.model_dump(mode="json"), indent=1, ensure_ascii=False)
    (weights / "manifest.json").write_text(text + "\n", encoding="utf-8")
