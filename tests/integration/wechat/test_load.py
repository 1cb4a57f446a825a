"""The short form of `python -m tests.bench --only wechat`."""

from __future__ import annotations

from pathlib import Path

from tests.bench.wechat_load import load


async def test_each_message_is_answered_once_though_delivered_three_times(tmp_path: Path) -> None:
    found = await load(tmp_path, people=20, per_s=10, seconds=3, model_s=2.0)
    assert set(found.statuses) == {"200 success"}
    assert sum(found.statuses.values()) == 90
    assert found.times_answered == {1: 30}
