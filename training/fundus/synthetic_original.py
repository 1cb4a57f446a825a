"""Make the tiny stand-in for the OculiChatDA four-head network that the tests load.

Same input and outputs as the real export, random fixed weights on 7 × 7 patch means, so that every
pixel, channel and head counts. python -m training.fundus.synthetic_original tests/fixtures/fundus
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

HEADS = (("glaucoma", 2), ("dr_level", 5), ("amd", 2), ("pm", 2))


def build(heads: tuple[tuple[str, int], ...] = HEADS) -> bytes:
    """Return the network as ONNX bytes."""
    rng = np.random.default_rng(5)
    nodes = [
        helper.make_node(
            "AveragePool", ["input"], ["patches"], kernel_shape=[64, 64], strides=[64, 64]
        ),
        helper.make_node("Flatten", ["patches"], ["features"]),
    ]
    constants, outputs = [], []
    for name, size in heads:
        weight = rng.normal(0, 0.25, (147, size)).astype(np.float32)
        constants.append(numpy_helper.from_array(weight, f"{name}.weight"))
        nodes.append(helper.make_node("MatMul", ["features", f"{name}.weight"], [name]))
        outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, size]))
    picture = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, 448, 448])
    graph = helper.make_graph(nodes, "synthetic", [picture], outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


def main() -> None:
    """Write the good file, one with unnamed outputs and one that lacks a head."""
    folder = Path(sys.argv[1])
    unnamed = tuple((f"output_{n}", size) for n, (_, size) in enumerate(HEADS))
    (folder / "original_four_heads.onnx").write_bytes(build())
    (folder / "original_unnamed.onnx").write_bytes(build(unnamed))
    (folder / "original_three_heads.onnx").write_bytes(build(HEADS[:3]))


if __name__ == "__main__":
    main()
