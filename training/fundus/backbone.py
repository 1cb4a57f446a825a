"""MobileNetV2 without batch norm, started from ImageNet weights with a clear licence.

The early layers are kept and shared; several members, each trained without another part of the
patients, continue from there and are averaged.

The start is `tf2_mobilenet_v2_1.0_224_ptq.tflite` of google-coral/test_data (Apache-2.0): its int8
weights have batch norm folded in, so dequantised they fill a plain conv network one to one.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

INIT_SHA256 = "5d3137241276e79c86d14a74fe43581398ae0e815191d3dba45495b810840e8c"

# expansion, channels, repeats, stride of the first repeat (Sandler 2018, table 2)
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
STEM, LAST = 32, 1280


class Conv(nn.Module):
    """Convolution with TensorFlow's "SAME" padding, then ReLU6 unless `linear`."""

    def __init__(
        self,
        channels_in: int,
        out: int,
        kernel: int,
        stride: int = 1,
        *,
        depthwise: bool = False,
        linear: bool = False,
    ) -> None:
        super().__init__()
        self.stride, self.kernel, self.linear = stride, kernel, linear
        self.groups = channels_in if depthwise else 1
        self.weight = nn.Parameter(torch.empty(out, channels_in // self.groups, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(out))

    def forward(self, x: Tensor) -> Tensor:
        """Return the activation map."""
        padding = (self.kernel - 1) // 2
        if self.stride == 2:  # SAME on even sizes pads right and bottom only
            x, padding = functional.pad(x, (0, 1, 0, 1)), 0
        x = functional.conv2d(x, self.weight, self.bias, self.stride, padding, groups=self.groups)
        return x if self.linear else functional.relu6(x)


class Block(nn.Module):
    """Inverted residual: expand, depthwise, project."""

    def __init__(self, channels_in: int, out: int, expansion: int, stride: int) -> None:
        super().__init__()
        wide = channels_in * expansion
        self.residual = stride == 1 and channels_in == out
        self.convs = nn.ModuleList()
        if expansion != 1:
            self.convs.append(Conv(channels_in, wide, 1))
        self.convs.append(Conv(wide, wide, 3, stride, depthwise=True))
        self.convs.append(Conv(wide, out, 1, linear=True))

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output."""
        y = x
        for conv in self.convs:
            y = conv(y)
        return x + y if self.residual else y


SHARED_BLOCKS = 6


def _blocks() -> list[Block]:
    blocks: list[Block] = []
    width = STEM
    for expansion, out, repeats, stride in STAGES:
        for n in range(repeats):
            blocks.append(Block(width, out, expansion, stride if n == 0 else 1))
            width = out
    return blocks


class Trunk(nn.Module):
    """The stem and the first blocks, as ImageNet left them: shared by all members, never trained.

    It has seen no fundus picture, so sharing it leaks nothing between folds.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = Conv(3, STEM, 3, 2)
        self.blocks = nn.ModuleList(_blocks()[:SHARED_BLOCKS])
        self.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, 32, H/8, W/8) of x, float in [-1, 1], shape (N, 3, H, W)."""
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return x


class Member(nn.Module):
    """The trained rest; average pooling and one linear layer keep its activation map exact."""

    def __init__(self, channels: int, dropout: float = 0.2) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(_blocks()[SHARED_BLOCKS:])
        self.last = Conv(STAGES[-1][1], LAST, 1)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(LAST, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, channels) of what the trunk made."""
        for block in self.blocks:
            x = block(x)
        return self.head(self.dropout(self.last(x).mean((2, 3))))


class FundusNet(nn.Module):
    """One frozen trunk, several members; the answer is the mean of their logits."""

    def __init__(self, channels: int, members: int) -> None:
        super().__init__()
        self.trunk = Trunk()
        self.members = nn.ModuleList(Member(channels) for _ in range(members))

    def forward(self, x: Tensor) -> Tensor:
        """Return logits of x, float in [-1, 1], shape (N, 3, H, W)."""
        x = self.trunk(x)
        return torch.stack([member(x) for member in self.members]).mean(0)


def convs(part: nn.Module) -> list[Conv]:
    """Return all convolutions of a part in the order they run."""
    return [m for m in part.modules() if isinstance(m, Conv)]


def _dequantised(model: Any, graph: Any, index: int) -> np.ndarray:
    tensor = graph.Tensors(index)
    kind = {0: np.float32, 2: np.int32, 3: np.uint8, 9: np.int8}[tensor.Type()]
    raw = model.Buffers(tensor.Buffer()).DataAsNumpy().tobytes()
    values = np.frombuffer(raw, kind).reshape(tensor.ShapeAsNumpy())
    quantisation = tensor.Quantization()
    if quantisation is None or quantisation.ScaleLength() == 0:
        return values.astype(np.float32)
    scale = quantisation.ScaleAsNumpy().astype(np.float32)
    zero = quantisation.ZeroPointAsNumpy().astype(np.float32)
    shape = [1] * values.ndim
    shape[quantisation.QuantizedDimension()] = -1
    if scale.size == 1:
        shape = [1] * values.ndim
    return (values.astype(np.float32) - zero.reshape(shape)) * scale.reshape(shape)


def load_imagenet(net: FundusNet, path: Path) -> None:
    """Fill the convolutions of `net` from the TFLite file.

    Raises:
        ValueError: the file is not the one this recipe was made for.
    """
    import tflite  # noqa: PLC0415  only needed here

    data = path.read_bytes()
    if (found := hashlib.sha256(data).hexdigest()) != INIT_SHA256:
        raise ValueError(f"{path} has sha256 {found}, expected {INIT_SHA256}: fetch it again")
    model = tflite.Model.GetRootAsModel(data, 0)
    graph = model.Subgraphs(0)
    wanted = {tflite.BuiltinOperator.CONV_2D, tflite.BuiltinOperator.DEPTHWISE_CONV_2D}
    operators = [graph.Operators(n) for n in range(graph.OperatorsLength())]

    def code(operator: Any) -> int:
        entry = model.OperatorCodes(operator.OpcodeIndex())
        return max(entry.BuiltinCode(), entry.DeprecatedBuiltinCode())

    trunk = convs(net.trunk)
    count = len(trunk) + len(convs(net.members[0]))
    found_convs = [o for o in operators if code(o) in wanted][:count]
    if len(found_convs) != count:
        raise ValueError(f"{path} has {len(found_convs)} convolutions, expected {count}")
    with torch.no_grad():
        for member in net.members:
            for conv, operator in zip([*trunk, *convs(member)], found_convs, strict=True):
                weight = _dequantised(model, graph, operator.Inputs(1))
                depthwise = code(operator) == tflite.BuiltinOperator.DEPTHWISE_CONV_2D
                order = (3, 0, 1, 2) if depthwise else (0, 3, 1, 2)
                conv.weight.copy_(torch.from_numpy(weight.transpose(order).copy()))
                conv.bias.copy_(torch.from_numpy(_dequantised(model, graph, operator.Inputs(2))))
