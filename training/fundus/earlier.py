"""Go on from weights that ship: their members, read back from the ONNX file.

Only members that left out the same patients may go on, or what they answer about their fold would
no longer be out of fold; the manifest says which rows and folds they were trained on.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper

from models.fundus import manifest
from training.fundus.backbone import Block, Conv, FundusNet
from training.fundus.labels import may_go_on
from training.fundus.train import Start


def start(weights: Path, *, rows_sha256: str, folds: int) -> tuple[Start, dict[str, Any]]:
    """Return what fills a network with the members of a weights folder, and where they stood.

    Args:
        weights: folder with `manifest.json` and its ONNX file.
        rows_sha256: of the rows this run trains on.
        folds: into which this run deals them.

    Raises:
        ValueError: `labels.may_go_on` says no; start from ImageNet.
    """
    loaded, path = manifest.load(weights)
    may_go_on(loaded, rows_sha256=rows_sha256, folds=folds)
    stored = {c.name: numpy_helper.to_array(c) for c in onnx.load(path).graph.initializer}
    stood = {"version": loaded.version, "sha256": loaded.sha256, **loaded.training}
    return lambda net: _fill(net, stored), stood


def _fill(net: FundusNet, stored: dict[str, np.ndarray]) -> None:
    def put(conv: Conv, name: str) -> None:
        conv.weight.copy_(torch.from_numpy(stored[f"{name}.weight.half"].astype(np.float32)))
        conv.bias.copy_(torch.from_numpy(stored[f"{name}.bias"].copy()))

    def block(one: Block, name: str) -> None:
        for c, conv in enumerate(one.convs):
            put(conv, f"{name}.{c}")

    with torch.no_grad():
        put(net.trunk.stem, "stem")
        for b, one in enumerate(net.trunk.blocks):
            block(one, f"block{b}")
        for m, member in enumerate(net.members):
            for b, one in enumerate(member.blocks):
                block(one, f"member{m}.block{b}")
            put(member.last, f"member{m}.last")
            head = stored[f"member{m}.head.weight.half"].astype(np.float32)[:, :, 0, 0]
            member.head.weight.copy_(torch.from_numpy(head))
            member.head.bias.copy_(torch.from_numpy(stored[f"member{m}.head.bias"].copy()))
