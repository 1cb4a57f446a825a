"""Write the network as ONNX by hand: plain convolutions need no exporter, the graph stays plain.

picture uint8 (n, size, size, 3) → maps (n, channels, size/32, size/32) → logits (n, channels),
where a logit is the mean of its map: the class-activation map is the same graph's other output.
Maps are the mean over the members. Weights are stored as float16 and widened once at load: half
the bytes in the repository, the same arithmetic.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from training.fundus.backbone import Block, Conv, FundusNet, Trunk

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

    def halved(self, name: str, values: np.ndarray) -> str:
        stored = self.constant(f"{name}.half", values.astype(np.float16))
        return self.node("Cast", [stored], name, to=TensorProto.FLOAT)

    def conv(self, x: str, conv: Conv, name: str) -> str:
        values = conv.weight.detach().float().cpu().numpy()
        weight = self.halved(f"{name}.weight", values)
        bias = self.constant(f"{name}.bias", conv.bias.detach().float().cpu().numpy())
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

    def block(self, x: str, block: Block, name: str) -> str:
        y = x
        for c, conv in enumerate(block.convs):
            y = self.conv(y, conv, f"{name}.{c}")
        return self.node("Add", [x, y], f"{name}.add") if block.residual else y

    def trunk(self, trunk: Trunk) -> str:
        self.constant("zero", np.float32(0))
        self.constant("six", np.float32(6))
        x = self.node("Transpose", ["picture"], "planes", perm=[0, 3, 1, 2])
        x = self.node("Cast", [x], "float", to=TensorProto.FLOAT)
        x = self.node("Mul", [x, self.constant("scale", np.float32(1 / 127.5))], "scaled")
        x = self.node("Sub", [x, self.constant("one", np.float32(1))], "centred")
        x = self.conv(x, trunk.stem, "stem")
        for b, block in enumerate(trunk.blocks):
            x = self.block(x, block, f"block{b}")
        return x

    def model(self, outputs: dict[str, list[str | int]], size: int | str) -> onnx.ModelProto:
        shape = ["n", size, size, 3]
        return helper.make_model(
            helper.make_graph(
                self.nodes,
                "fundus",
                [helper.make_tensor_value_info("picture", TensorProto.UINT8, shape)],
                [
                    helper.make_tensor_value_info(name, TensorProto.FLOAT, dims)
                    for name, dims in outputs.items()
                ],
                self.constants,
            ),
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR,
            producer_name="oculichat training.fundus",
        )


def trunk_bytes(trunk: Trunk) -> bytes:
    """Return the trunk alone as ONNX, for pictures of any size: three times as fast as torch."""
    graph = _Graph()
    last = graph.trunk(trunk)
    return graph.model({last: ["n", "c", "h", "w"]}, "s").SerializeToString()


def write(net: FundusNet, path: Path, *, size_px: int, metadata: dict[str, str]) -> None:
    """Write `net` to `path` and check the file."""
    graph = _Graph()
    shared = graph.trunk(net.trunk)
    maps: list[str] = []
    channels = 0
    for m, member in enumerate(net.members):
        x = shared
        for b, block in enumerate(member.blocks):
            x = graph.block(x, block, f"member{m}.block{b}")
        x = graph.conv(x, member.last, f"member{m}.last")
        head = member.head.weight.detach().float().cpu().numpy()[:, :, None, None]
        channels = head.shape[0]
        weight = graph.halved(f"member{m}.head.weight", head)
        bias = graph.constant(
            f"member{m}.head.bias", member.head.bias.detach().float().cpu().numpy()
        )
        maps.append(graph.node("Conv", [x, weight, bias], f"member{m}.maps", kernel_shape=[1, 1]))
    graph.node("Mean", maps, "maps")
    graph.node("ReduceMean", ["maps"], "logits", axes=[2, 3], keepdims=0)
    cells = size_px // 32
    outputs: dict[str, list[str | int]] = {
        "logits": ["n", channels],
        "maps": ["n", channels, cells, cells],
    }
    model = graph.model(outputs, size_px)
    helper.set_model_props(model, metadata)
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())
