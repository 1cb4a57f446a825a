"""The short form of `make soak`."""

from __future__ import annotations

from tests.bench.soak import soak


async def test_six_random_crashes_lose_repeat_and_reorder_nothing(tmp_path):
    done = await soak(tmp_path, kills=6, messages=300, users=40, seed=7, pause_s=(0.5, 2.0))
    assert done.is_clean, done
    assert done.answered + done.unknown == done.asked
    assert done.answered > done.unknown, "the run says something"
