"""`manifest.json`: what a network can say, as data beside the ONNX file.

A head that is absent, or whose status is off, is "not assessed": nothing in the code knows which
heads exist.
"""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from core.errors import ConfigError
from core.reading import Condition, Decision

Status = Literal["on", "experimental", "off"]


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Metric(_Data):
    """One measured figure of one head on one set of pictures.

    Attributes:
        name: for example ``auc``, ``sensitivity``, ``specificity``, ``ece``.
        pictures: which set.
        n: how many pictures.
        value: the figure.
        low: lower end of its 95 % interval.
        high: upper end.
    """

    name: str
    pictures: str
    n: int
    value: float
    low: float | None = None
    high: float | None = None


class Calibration(_Data):
    """Platt scaling: probability = sigmoid(scale × logit + bias), fitted off the training rows."""

    scale: float = 1.0
    bias: float = 0.0

    def probability(self, logit: float) -> float:
        """Return the calibrated probability, in [0, 1]."""
        x = max(-60.0, min(60.0, self.scale * logit + self.bias))
        return 1.0 / (1.0 + math.exp(-x))


class Head(_Data):
    """One yes-or-no question the network answers.

    Attributes:
        name: ``gate``, ``quality``, ``screen`` or a condition.
        channel: its place in the network's output.
        rule_out: calibrated probability below which the answer is no.
        refer: probability from which the answer is yes; between the two it is borderline.
        meaning: what a yes means, in clinical words.
        trained_on: names out of `Manifest.sources`.
        metrics: measured, with 95 % intervals.
    """

    name: str
    channel: int = Field(ge=0)
    calibration: Calibration = Calibration()
    rule_out: float = Field(ge=0, le=1)
    refer: float = Field(ge=0, le=1)
    status: Status = "on"
    meaning: str = ""
    trained_on: tuple[str, ...] = ()
    metrics: tuple[Metric, ...] = ()

    @model_validator(mode="after")
    def _ordered(self) -> Head:
        if self.rule_out > self.refer:
            raise ValueError(f"head {self.name!r}: rule_out {self.rule_out} > refer {self.refer}")
        return self

    def decide(self, probability: float) -> Decision:
        """Return the decision for a calibrated probability."""
        if probability >= self.refer:
            return "refer"
        return "negative" if probability < self.rule_out else "borderline"


class Grades(_Data):
    """An ordinal scale: channel n says how likely the grade is at least n + 1."""

    channels: tuple[int, ...]
    calibration: tuple[Calibration, ...]

    def grade(self, logits: list[float]) -> int:
        """Return the highest grade reached with probability one half, never skipping one."""
        reached = 0
        for channel, calibration in zip(self.channels, self.calibration, strict=True):
            if calibration.probability(logits[channel]) < 0.5:
                break
            reached += 1
        return reached


class Source(_Data):
    """Pictures the weights were made or measured with."""

    name: str
    licence: str
    use: Literal["training", "evaluation"]
    n: int
    attribution: str = ""


class Manifest(_Data):
    """What stands in `manifest.json`.

    Attributes:
        name: of the weights.
        version: shown with every result.
        file: the ONNX file, beside the manifest.
        sha256: of that file; checked at every start.
        size_px: side of the square input.
        channels: names of the output channels, in order.
        heads: the questions, gate and quality among them.
        dr_grades: the ICDR scale, when the network grades.
        sources: training and evaluation pictures with their licences.
        training: seed, steps and data hash of the run.
    """

    schema_version: Literal[1] = 1
    name: str
    version: str
    file: str
    sha256: str
    size_px: int = Field(ge=32, le=4096)
    channels: tuple[str, ...]
    heads: tuple[Head, ...]
    dr_grades: Grades | None = None
    sources: tuple[Source, ...] = ()
    training: dict[str, str | int | float] = {}

    @model_validator(mode="after")
    def _complete(self) -> Manifest:
        names = [h.name for h in self.heads]
        if len(set(names)) != len(names):
            raise ValueError(f"a head is named twice: {names}")
        if missing := {"gate", "quality"} - set(names):
            raise ValueError(f"no {sorted(missing)} head: photos could not be screened")
        used = [h.channel for h in self.heads] + list(
            self.dr_grades.channels if self.dr_grades else ()
        )
        if max(used) >= len(self.channels):
            raise ValueError(f"channel {max(used)} of {len(self.channels)} does not exist")
        return self

    @property
    def label(self) -> str:
        """Name and version as shown to people."""
        return f"{self.name} {self.version}"

    def named(self, name: str) -> Head:
        """Return a head whatever its status, for measuring; KeyError if these weights lack it."""
        for head in self.heads:
            if head.name == name:
                return head
        raise KeyError(name)

    def head(self, name: str) -> Head | None:
        """Return a head that is on, or None."""
        return next((h for h in self.heads if h.name == name and h.status == "on"), None)

    def assesses(self, condition: Condition) -> bool:
        """Tell whether these weights say anything about a condition."""
        return self.head(condition) is not None


def load(folder: Path) -> tuple[Manifest, Path]:
    """Read the manifest of a folder and check its network's hash.

    Returns:
        The manifest and the path of the ONNX file.

    Raises:
        ConfigError: something is missing, malformed or not the file the manifest was made for.
    """
    path = folder / "manifest.json"
    remedy = "install the package again, or set fundus.weights to a folder made by `make train`"
    try:
        manifest = Manifest.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ConfigError(
            f"fundus.weights: cannot read {path}: {error.strerror}; {remedy}"
        ) from error
    except ValidationError as error:
        raise ConfigError(f"fundus.weights: {path} is malformed: {error}; {remedy}") from error
    network = folder / manifest.file
    if network.parent != folder or not network.is_file():
        raise ConfigError(f"fundus.weights: {path} names {manifest.file!r}, not there; {remedy}")
    found = hashlib.sha256(network.read_bytes()).hexdigest()
    if found != manifest.sha256:
        raise ConfigError(
            f"fundus.weights: {network} has sha256 {found}, the manifest says {manifest.sha256};"
            f" {remedy}"
        )
    return manifest, network
