"""The OculiChatDA network: four heads (glaucoma, dr_level, amd, pm) behind the same reading.

Its pre-processing is repeated exactly as OculiChatDA ran it (`legacy`), because weights only mean
what they meant there: short side to 448 with OpenCV's bicubic, centre crop, CLIP statistics in RGB
order applied while the array is still BGR, then the channel flip. `corrected` gives each channel
its own statistics.
Its outputs are class scores without calibration, so bands, not percentages, follow from them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import ConfigError
from core.reading import Condition, Decision, Finding
from models.fundus.network import open_session
from models.fundus.settings import Preprocessing, Provider

SIZE_PX = 448
LABEL = "OculiChatDA four-head"
# CLIP image statistics, red, green, blue (Radford 2021), in grey levels as OculiChatDA writes them.
_MEAN = np.array([0.48145466 * 255, 0.4578275 * 255, 0.40821073 * 255])
_STD = np.array([0.26862954 * 255, 0.26130258 * 255, 0.27577711 * 255])
_CLASSES = {"glaucoma": 2, "dr_level": 5, "amd": 2, "pm": 2}
_ORDER = tuple(_CLASSES)
_REMEDY = (
    "fundus.original_model wants the OculiChatDA export: input [1, 3, 448, 448], outputs glaucoma"
    " (2 classes), dr_level (5), amd (2), pm (2)"
)
_BORDERLINE = 0.3  # uncalibrated: half way between a clear no and the argmax OculiChatDA used


@dataclass(frozen=True, slots=True)
class OriginalScores:
    """Class probabilities of each head; they sum to 1."""

    glaucoma: NDArray[np.float32]
    dr_level: NDArray[np.float32]
    amd: NDArray[np.float32]
    pm: NDArray[np.float32]

    @property
    def dr_grade(self) -> int:
        """The most likely ICDR grade, as OculiChatDA reported it."""
        return int(self.dr_level.argmax())

    @property
    def dr_at_least(self) -> tuple[float, ...]:
        """How likely the ICDR grade is at least 1, 2, 3 and 4."""
        return tuple(float(self.dr_level[n:].sum()) for n in range(1, self.dr_level.size))

    def finding(self, condition: Condition) -> Finding | None:
        """Return the finding of a condition, or None when there is no head for it."""
        match condition:
            case "dr":  # referable = moderate or worse (ICDR ≥ 2)
                probability = float(self.dr_level[2:].sum())
                yes = self.dr_grade >= 2
            case "glaucoma" | "amd" | "pm":
                scores: NDArray[np.float32] = getattr(self, condition)
                probability = float(scores[1])
                yes = probability >= 0.5
            case "dme":
                return None
        decision: Decision = "negative"
        if yes:
            decision = "refer"
        elif probability >= _BORDERLINE or (condition == "dr" and self.dr_grade == 1):
            decision = "borderline"
        return Finding(condition, decision, probability, LABEL)


def resize_short_edge(pixels: NDArray[np.uint8], size_px: int = SIZE_PX) -> NDArray[np.uint8]:
    """Scale so that the short side is `size_px`: OpenCV's INTER_CUBIC, without smoothing.

    OculiChatDA calls this "long edge", but its branches are swapped. OpenCV for x86 resizes with
    Intel's library: of random pixels about one in 100,000 comes out one grey level different here.
    OpenCV's portable code rounds its weights to 1/2048, and 4 in 100 differ by one level.
    """
    height, width = pixels.shape[:2]
    if width >= height:
        new_height, new_width = size_px, int(width * size_px / height)
    else:
        new_height, new_width = int(height * size_px / width), size_px
    across, down = _taps(width, new_width), _taps(height, new_height)
    rows = np.zeros((height, new_width, 3), np.float32)
    for at, weight in across:
        rows += pixels[:, at].astype(np.float32) * weight[None, :, None]
    out = np.zeros((new_height, new_width, 3), np.float32)
    for at, weight in down:
        out += rows[at] * weight[:, None, None]
    return np.rint(out).clip(0, 255).astype(np.uint8)


def _taps(old: int, new: int) -> list[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """Return the four neighbours of every new pixel and their weights (Keys 1981, a = -0.75).

    Pixel centres are at half integers; beyond the edge the last pixel is repeated.
    """
    centre = (np.arange(new) + 0.5) * (old / new) - 0.5
    low = np.floor(centre).astype(np.int64)
    t = centre - low
    a = -0.75
    weights = [
        ((a * (t + 1) - 5 * a) * (t + 1) + 8 * a) * (t + 1) - 4 * a,
        ((a + 2) * t - (a + 3)) * t * t + 1,
        ((a + 2) * (1 - t) - (a + 3)) * (1 - t) * (1 - t) + 1,
    ]
    weights.append(1 - weights[0] - weights[1] - weights[2])
    return [
        ((low + step).clip(0, old - 1), weight.astype(np.float32))
        for step, weight in zip((-1, 0, 1, 2), weights, strict=True)
    ]


def preprocess(pixels: NDArray[np.uint8], mode: Preprocessing) -> NDArray[np.float32]:
    """Return the network's input, float32 of shape (1, 3, 448, 448), channels in RGB order.

    Args:
        pixels: uint8 RGB of shape (height, width, 3), the whole photo, not cropped to its field.
        mode: see the module.
    """
    scaled = resize_short_edge(pixels)
    # Python's round, half to even, as there: an odd margin is not always cut on the same side.
    top = round((scaled.shape[0] - SIZE_PX) / 2)
    left = round((scaled.shape[1] - SIZE_PX) / 2)
    crop = scaled[top : top + SIZE_PX, left : left + SIZE_PX]
    # legacy: the statistics met a BGR array, so red was given blue's and blue red's
    mean, std = (_MEAN[::-1], _STD[::-1]) if mode == "legacy" else (_MEAN, _STD)
    normal = (crop - mean) / std  # in double precision, and only then to float32
    return np.ascontiguousarray(normal.transpose(2, 0, 1)[None], np.float32)


class OriginalNetwork:
    """The network in its session."""

    def __init__(
        self, path: Path, *, preprocessing: Preprocessing, provider: Provider, threads: int
    ) -> None:
        if not path.is_file():
            raise ConfigError(f"fundus.original_model: {path} is not there; {_REMEDY}")
        self._session = open_session(
            path, provider=provider, threads=threads, key="fundus.original_model"
        )
        self._preprocessing: Preprocessing = preprocessing
        self._input = _input_name(self._session, path)
        self._outputs = _output_names(self._session, path)

    @property
    def described(self) -> str:
        """How it runs: pre-processing and execution provider."""
        return f"{self._preprocessing} {self._session.get_providers()[0]}"

    def run(self, pixels: NDArray[np.uint8]) -> OriginalScores:
        """Run one photo, uint8 RGB of shape (height, width, 3)."""
        names = [self._outputs[head] for head in _ORDER]
        raw = self._session.run(names, {self._input: preprocess(pixels, self._preprocessing)})
        return OriginalScores(*(_probabilities(np.asarray(r, np.float32).reshape(-1)) for r in raw))


def _input_name(session: Any, path: Path) -> str:
    inputs = session.get_inputs()
    fixed = [d if isinstance(d, int) else None for d in inputs[0].shape]
    wanted = (1, 3, SIZE_PX, SIZE_PX)
    fits = len(fixed) == 4 and all(d in {None, w} for d, w in zip(fixed, wanted, strict=True))
    if len(inputs) != 1 or not fits or inputs[0].type != "tensor(float)":
        found = [(i.name, i.shape, i.type) for i in inputs]
        raise ConfigError(f"fundus.original_model: {path} takes {found}; {_REMEDY}")
    return str(inputs[0].name)


def _output_names(session: Any, path: Path) -> dict[str, str]:
    """Match heads to outputs: by name, else by the order and sizes of the OculiChatDA export."""
    found = [(str(o.name), o.shape[-1] if o.shape else None) for o in session.get_outputs()]
    sizes = dict(found)
    named = {
        head: next(
            (n for n, _ in found if n.lower() in {head, f"{head}_head", f"{head}_logits"}), ""
        )
        for head in _ORDER
    }
    if not named["dr_level"]:
        named["dr_level"] = next((n for n, _ in found if n.lower() in {"dr", "dr_grade"}), "")
    if not all(named.values()) and len(found) == len(_ORDER):
        named = {head: name for head, (name, _) in zip(_ORDER, found, strict=True)}
    if not all(named.values()) or any(
        isinstance(sizes[name], int) and sizes[name] != _CLASSES[head]
        for head, name in named.items()
    ):
        raise ConfigError(f"fundus.original_model: {path} gives {found}; {_REMEDY}")
    return named


def _probabilities(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return probabilities; scores that already are some are kept."""
    if scores.min() >= 0 and abs(float(scores.sum()) - 1) < 1e-3:
        return scores
    exp = np.exp(scores - scores.max())
    return exp / exp.sum()
