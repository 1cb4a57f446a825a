from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from core.errors import ConfigError
from models.fundus import network
from models.fundus.network import open_session
from models.fundus.settings import Provider

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"


class FakeRuntime:
    """onnxruntime on a machine that has, or lacks, a GPU that starts."""

    def __init__(self, *, built_with: Sequence[str], starts: Sequence[str]) -> None:
        self.built_with, self.starts = built_with, starts
        self.asked: list[str] = []

    def get_available_providers(self) -> list[str]:
        return list(self.built_with)

    class SessionOptions:
        def add_session_config_entry(self, key: str, value: str) -> None:
            assert (key, value) == ("session.intra_op.allow_spinning", "0")

    def InferenceSession(self, path: str, options: Any, *, providers: Sequence[Any]) -> Any:
        self.asked = [p if isinstance(p, str) else p[0] for p in providers]
        runs = [p for p in self.asked if p in self.starts]

        class Session:
            def get_providers(self) -> list[str]:
                return runs

        return Session()


def opened(
    monkeypatch: pytest.MonkeyPatch,
    provider: Provider,
    *,
    built_with: Sequence[str] = (CUDA, CPU),
    starts: Sequence[str] = (CUDA, CPU),
) -> tuple[str, list[str]]:
    runtime = FakeRuntime(built_with=built_with, starts=starts)
    monkeypatch.setattr(network, "_ort", runtime)
    session = open_session(Path("w.onnx"), provider=provider, threads=1, key="fundus.weights")
    return session.get_providers()[0], runtime.asked


def test_auto_takes_the_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert opened(monkeypatch, "auto") == (CUDA, [CUDA, CPU])
    assert opened(monkeypatch, "auto", built_with=[CPU]) == (CPU, [CPU])
    assert opened(monkeypatch, "auto", starts=[CPU]) == (CPU, [CUDA, CPU])
    assert opened(monkeypatch, CPU) == (CPU, [CPU])
    assert opened(monkeypatch, CUDA) == (CUDA, [CUDA, CPU])


def test_a_gpu_that_was_asked_for_and_is_not_there_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(ConfigError, match="install the extra `gpu`"):
        opened(monkeypatch, CUDA, built_with=[CPU])
    with pytest.raises(ConfigError, match="does not start here"):
        opened(monkeypatch, CUDA, starts=[CPU])
