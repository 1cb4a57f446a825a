"""How far single members lie apart on the test rows: what a seed and other patients change."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

from models.fundus import manifest
from models.fundus.manifest import Metric
from training.fundus import evaluate
from training.fundus.figures import auc
from training.fundus.labels import Row, load

# name of the head → its channel, the pictures, what counts as yes
SETS = {
    "dr": ("dr2", ("idrid", "srahim"), lambda r: None if r.dr_grade is None else r.dr_grade >= 2),
}


def spread(weights: Path, folder: Path) -> dict[str, list[Metric]]:
    """Return mean and standard deviation of the members' AUC, by head."""
    loaded, path = manifest.load(weights)
    model = onnx.load(path)
    names = [n.name for n in model.graph.node if n.name.endswith(".maps")]
    for name in names:
        model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    rows = [r for r in load(folder) if r.split == "test"]
    out: dict[str, list[Metric]] = {}
    for head, (channel, sources, answer) in SETS.items():
        out[head] = []
        for source in sources:
            asked: list[Row] = [r for r in rows if r.source == source and answer(r) is not None]
            truth = np.array([int(answer(r)) for r in asked])
            logits = []
            for row in asked:
                square = evaluate.square(folder / row.file, loaded.size_px)
                maps = session.run(names, {"picture": square[None]})
                logits.append([m[0, loaded.channels.index(channel)].mean() for m in maps])
            areas = [auc(np.array(one), truth) for one in zip(*logits, strict=True)]
            for name, value in (("mean", np.mean(areas)), ("sd", np.std(areas, ddof=1))):
                metric = Metric(
                    name=f"auc of one member, {name} of {len(areas)}",
                    pictures=f"{source} test",
                    n=len(asked),
                    value=round(float(value), 4),
                )
                out[head].append(metric)
    return out
