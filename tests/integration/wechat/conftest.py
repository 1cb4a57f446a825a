"""An Official Account that knows no hurry: what is ready decides, not how fast the machine is."""

from __future__ import annotations

import pytest

from adapters.wechat.official import channel, passive, push


@pytest.fixture(autouse=True)
def _no_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let WeChat's five seconds be a minute; `make bench` measures how long it really waits."""
    monkeypatch.setattr(passive, "ANSWER_WITHIN_S", 60.0)
    monkeypatch.setattr(push, "CUT_AFTER_S", 80.0)
    monkeypatch.setattr(channel, "_STORED_WITHIN_S", 60.0)
    monkeypatch.setattr(push, "_BODY_WITHIN_S", 60.0)
