"""One ONNX network in one onnxruntime session, made at first use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from core.errors import ConfigError
from models.fundus.settings import Provider

# onnxruntime has no types; what we take out of it is named here once.
_ort: Any = onnxruntime


def open_session(path: Path, *, provider: Provider, threads: int, key: str) -> Any:
    """Open an ONNX file.

    Args:
        path: the file.
        provider: ``auto`` prefers CUDA where this onnxruntime and machine have it.
        threads: of one run.
        key: the setting that named the file, for the error.

    Raises:
        ConfigError: the file is no network, or the provider is not there.
    """
    available: list[str] = _ort.get_available_providers()
    if provider not in {"auto", *available}:
        raise ConfigError(
            f"fundus.provider: {provider} is not in this onnxruntime ({', '.join(available)});"
            " install the extra `gpu`, or set fundus.provider to auto"
        )
    cpu = ("CPUExecutionProvider", {"arena_extend_strategy": "kSameAsRequested"})
    cuda = ("CUDAExecutionProvider", {"arena_extend_strategy": "kSameAsRequested"})
    wants_cuda = provider != "CPUExecutionProvider" and "CUDAExecutionProvider" in available
    options = _ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Threads that spin between photos would burn the cores the chat needs.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = _ort.InferenceSession(
            str(path), options, providers=[cuda, cpu] if wants_cuda else [cpu[0]]
        )
    except Exception as error:  # onnxruntime's own errors share no public base class
        raise ConfigError(f"{key}: {path} does not open as an ONNX network: {error}") from error
    if provider not in {"auto", session.get_providers()[0]}:
        # onnxruntime falls back in silence; who asked for a GPU wants to know.
        raise ConfigError(
            f"fundus.provider: {provider} does not start here (driver or CUDA libraries missing?);"
            " mend it, or set fundus.provider to auto"
        )
    return session


class Network:
    """The embedded network: a uint8 square in, logits and class-activation maps out."""

    def __init__(
        self, path: Path, *, size_px: int, channels: int, provider: Provider, threads: int
    ) -> None:
        self._session = open_session(path, provider=provider, threads=threads, key="fundus.weights")
        self.size_px = size_px
        shape: list[Any] = self._session.get_outputs()[0].shape
        if shape[-1] != channels:
            raise ConfigError(
                f"fundus.weights: {path} has {shape[-1]} outputs, its manifest lists {channels};"
                " install the package again"
            )

    @property
    def provider(self) -> str:
        """The execution provider that runs it."""
        return str(self._session.get_providers()[0])

    def run(self, square: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Run one picture.

        Args:
            square: uint8 RGB of shape (size_px, size_px, 3).

        Returns:
            Logits of shape (channels,) and maps of shape (channels, rows, columns); the mean of a
            map is its logit.
        """
        logits, maps = self._session.run(["logits", "maps"], {"picture": square[None]})
        return logits[0], maps[0]
