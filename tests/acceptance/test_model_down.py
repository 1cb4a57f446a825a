"""The model away, ill or silent: people get an honest answer, emergencies theirs at once."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.acceptance.harness import ANSWER, INNARDS, a_world, until
from tests.fakes.llm import Script

SUDDEN = "我左眼突然看不见了"
HANG = Script(fail="hang", fail_after=0)


async def card_after_ms(world, chat: int, words: str = SUDDEN) -> float:
    """Send an emergency and return how long its card took to arrive."""
    started = time.monotonic()
    world.api.user_text(chat, words)
    while not any("120" in call["text"] for call in world.replies(chat)):
        assert time.monotonic() - started < 20, "no card"
        await asyncio.sleep(0.002)
    return (time.monotonic() - started) * 1000


@pytest.mark.parametrize(
    "script",
    [None, Script(fail="http_500"), Script(fail="error_chunk"), HANG],
    ids=["refuses connections", "HTTP 500", "breaks in the middle", "says nothing"],
)
async def test_without_a_model_an_honest_answer_comes_within_ten_seconds(tmp_path, script):
    async with a_world(tmp_path, llm=script or Script()) as world:
        if script is None:
            await world.llm.stop()
        started = time.monotonic()
        world.api.user_text(1001, "我最近看书时眼睛有点干涩")
        await until(lambda: world.replies(1001), 15, "an answer")
        assert time.monotonic() - started < 10
        # The guided consult goes on by itself: its question has buttons.
        await until(
            lambda: any("reply_markup" in c["params"] for c in world.replies(1001)), 5, "a question"
        )
        assert "AI 助手现在太忙或联系不上" in world.replies(1001)[0]["text"]
        assert not INNARDS.search("".join(c["text"] for c in world.replies()))
        await world.stop()
        assert "SECRET-UPSTREAM" not in world.service.log()


async def test_emergency_cards_do_not_wait_for_a_silent_model(tmp_path):
    async with a_world(tmp_path, llm=HANG) as world:
        for chat in range(2001, 2011):  # ten people wait for the model meanwhile
            world.ask(chat, chat)
        await until(lambda: world.llm.active == 10, what="ten model calls")
        took_ms = sorted([await card_after_ms(world, 1000 + n) for n in range(20)])
        assert world.llm.calls == 10
        assert took_ms[18] <= 300, f"p95 {took_ms[18]:.0f} ms of {[round(t) for t in took_ms]}"


async def test_an_emergency_overtakes_the_model_answer_of_the_same_person(tmp_path):
    async with a_world(tmp_path, llm=Script(text=ANSWER, delay_s=6)) as world:
        world.ask(1001, 1)
        await until(lambda: world.llm.active == 1, what="the model call")
        assert await card_after_ms(world, 1001) < 1_000
        await until(lambda: world.llm.active == 0, 3, "the end of the call nobody waits for")
        counts = await world.stop()
        assert sum(counts.outcomes.values()) == 2


async def test_an_emergency_overtakes_everything_that_waits_for_our_own_pace(tmp_path):
    slow = {"TELEGRAM__MESSAGES_PER_S": "1"}
    async with a_world(tmp_path, llm=Script(text=ANSWER), **slow) as world:
        for chat in range(2001, 2011):
            world.ask(chat, chat)
        await until(lambda: world.llm.finished == 10, what="ten answers that wait")
        assert await card_after_ms(world, 1001) < 1_000
        assert len(world.replies()) < 8
