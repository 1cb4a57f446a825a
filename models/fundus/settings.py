"""What an operator may set about the fundus reader."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

PACKAGED_WEIGHTS = Path(__file__).parent / "weights"

Preprocessing = Literal["legacy", "corrected"]
Provider = Literal["auto", "CPUExecutionProvider", "CUDAExecutionProvider"]


class FundusSettings(BaseModel):
    """Settings of the fundus reader.

    Attributes:
        enabled: false answers every photo with "not read here".
        weights: folder with `manifest.json` and the network it names.
        original_model: the OculiChatDA four-head ONNX file; it fills the heads `weights` lacks.
        original_preprocessing: ``legacy`` repeats OculiChatDA bit for bit, with its swapped red
            and blue statistics; ``corrected`` applies them to the right channels.
        provider: ``auto`` takes CUDA when this machine has it.
        threads: of one run of the network; 2 halves the time on an idle machine.
        max_bytes: largest file that is opened at all.
        max_pixels: largest picture that is decoded, width × height.
        decode_timeout_s: longest time one file may take to decode; then its process is killed.
        timeout_s: longest time one photo may take, waiting included.
        queue: photos that may wait; more are asked to come again later.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    enabled: bool = True
    weights: Path = PACKAGED_WEIGHTS
    original_model: Path | None = None
    original_preprocessing: Preprocessing = "legacy"
    provider: Provider = "auto"
    threads: int = Field(default=2, ge=1, le=64)
    max_bytes: int = Field(default=25 * 1024 * 1024, ge=1024)
    max_pixels: int = Field(default=80_000_000, ge=10_000, le=200_000_000)
    decode_timeout_s: float = Field(default=4.0, gt=0, le=60)
    timeout_s: float = Field(default=30.0, gt=0)
    queue: int = Field(default=16, ge=1, le=1000)
