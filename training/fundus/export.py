"""Write the network as ONNX by hand: 52 convolutions need no exporter, the graph stays plain.

picture uint8 (n, size, size, 3) → maps (n, channels, size/32, size/32) → logits (n, channels),
where a logit is the mean of its map: the class-activation map is the same graph's other output.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from training.fundus.backbone import Conv, FundusNet

OPSET, IR = 17, 9


class _Graph:
    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, values: np.ndarray) -> str:
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def node(self, operator: str, inputs: list[str], name: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(operator, inputs, [name], name=name, **attributes))
        return name

    def conv(self, x: str, conv: Conv, name: str) -> str:
        weight = self.constant(f"{name}.weight", conv.weight.detach().float().numpy())
        bias = self.constant(f"{name}.bias", conv.bias.detach().float().numpy())
        side = (conv.kernel - 1) // 2
        pads = [0, 0, 1, 1] if conv.stride == 2 else [side] * 4
        y = self.node(
            "Conv",
            [x, weight, bias],
            name,
            kernel_shape=[conv.kernel] * 2,
            strides=[conv.stride] * 2,
            pads=pads,
            group=conv.groups,
        )
        return y if conv.linear else self.node("Clip", [y, "zero", "six"], f"{name}.relu6")


def write(net: FundusNet, path: Path, *, size_px: int, metadata: dict[str, str]) -> None:
    """Write `net` to `path` and check the file."""
    graph = _Graph()
    graph.constant("zero", np.float32(0))
    graph.constant("six", np.float32(6))
    x = graph.node("Cast", ["picture"], "float", to=TensorProto.FLOAT)
    x = graph.node("Mul", [x, graph.constant("scale", np.float32(1 / 127.5))], "scaled")
    x = graph.node("Sub", [x, graph.constant("one", np.float32(1))], "centred")
    x = graph.node("Transpose", [x], "planes", perm=[0, 3, 1, 2])
    x = graph.conv(x, net.stem, "stem")
    for b, block in enumerate(net.blocks):
        y = x
        for c, conv in enumerate(block.convs):
            y = graph.conv(y, conv, f"block{b}.{c}")
        x = graph.node("Add", [x, y], f"block{b}.add") if block.residual else y
    x = graph.conv(x, net.last, "last")
    head = net.head.weight.detach().float().numpy()[:, :, None, None]
    weight = graph.constant("head.weight", head)
    bias = graph.constant("head.bias", net.head.bias.detach().float().numpy())
    graph.node("Conv", [x, weight, bias], "maps", kernel_shape=[1, 1])
    graph.node("ReduceMean", ["maps"], "logits", axes=[2, 3], keepdims=0)
    channels, cells = head.shape[0], size_px // 32
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "fundus",
            [
                helper.make_tensor_value_info(
                    "picture", TensorProto.UINT8, ["n", size_px, size_px, 3]
                )
            ],
            [
                helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", channels]),
                helper.make_tensor_value_info(
                    "maps", TensorProto.FLOAT, ["n", channels, cells, cells]
                ),
            ],
            graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR,
        producer_name="oculichat training.fundus",
    )
    helper.set_model_props(model, metadata)
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())
