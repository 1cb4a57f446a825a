"""The model away, ill or silent: people get an honest answer, emergencies theirs at once."""

from __future__ import annotations

import pytest

from models.llm.settings import LlmSettings
from tests.acceptance.harness import ANSWER, INNARDS, a_world
from tests.fakes.llm import Script
from tests.fakes.waiting import until

SUDDEN = "我左眼突然看不见了"
HANG = Script(fail="hang", fail_after=0)


async def the_card(world, chat: int, words: str = SUDDEN) -> None:
    """Send an emergency and wait for its card."""
    world.api.user_text(chat, words)
    await until(lambda: any("120" in call["text"] for call in world.replies(chat)), "the card")


def test_a_silent_model_is_given_up_within_ten_seconds():
    assert LlmSettings().first_token_timeout_s < 10


@pytest.mark.parametrize(
    "script",
    [None, Script(fail="http_500"), Script(fail="error_chunk"), HANG],
    ids=["refuses connections", "HTTP 500", "breaks in the middle", "says nothing"],
)
async def test_without_a_model_an_honest_answer_comes(tmp_path, script):
    hasty = {"LLM__FIRST_TOKEN_TIMEOUT_S": "2"} if script == HANG else {}
    async with a_world(tmp_path, llm=script or Script(), **hasty) as world:
        if script is None:
            await world.llm.stop()
        world.api.user_text(1001, "我最近看书时眼睛有点干涩")
        # The guided consult goes on by itself: its question has buttons.
        await until(
            lambda: any("reply_markup" in c["params"] for c in world.replies(1001)), "a question"
        )
        assert "AI 助手现在太忙或联系不上" in world.replies(1001)[0]["text"]
        assert not INNARDS.search("".join(c["text"] for c in world.replies()))
        await world.stop()
        assert "SECRET-UPSTREAM" not in world.service.log()


async def test_emergency_cards_do_not_wait_for_a_silent_model(tmp_path):
    async with a_world(tmp_path, llm=Script(text=ANSWER)) as world:
        world.llm.hold()
        for chat in range(2001, 2011):  # ten people wait for the model meanwhile
            world.ask(chat, chat)
        await until(lambda: world.llm.active == 10, "ten model calls")
        for number in range(20):
            await the_card(world, 1000 + number)
        assert (world.llm.active, world.llm.calls) == (10, 10), "they still wait"


async def test_an_emergency_overtakes_the_model_answer_of_the_same_person(tmp_path):
    async with a_world(tmp_path, llm=Script(text=ANSWER)) as world:
        world.llm.hold()
        world.ask(1001, 1)
        await until(lambda: world.llm.active == 1, "the model call")
        await the_card(world, 1001)
        await until(lambda: world.llm.dropped == 1, "the end of the call nobody waits for")
        counts = await world.stop()
        assert sum(counts.outcomes.values()) == 2


async def test_an_emergency_overtakes_everything_that_waits_for_our_own_pace(tmp_path):
    slow = {"TELEGRAM__MESSAGES_PER_S": "0.01"}
    async with a_world(tmp_path, llm=Script(text=ANSWER), **slow) as world:
        for chat in range(2001, 2011):
            world.ask(chat, chat)
        await until(lambda: world.llm.finished == 10, "ten answers that wait")
        await the_card(world, 1001)
        assert len(world.replies()) < 8
