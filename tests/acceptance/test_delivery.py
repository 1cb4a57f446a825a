"""What the service says arrives: once, whole, in order, whatever Telegram answers meanwhile."""

from __future__ import annotations

import asyncio
import itertools
import re

import pytest
import pytest_asyncio

from tests.acceptance.harness import ANSWER, MARK, QUESTION, a_world, mark
from tests.fakes.llm import Script
from tests.fakes.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

_chats = itertools.count(2001)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory):
    folder = tmp_path_factory.mktemp("delivery")
    # Few turns at once, so that on a slow machine none waits for the model until it gives up.
    slow = {"DIALOG__TURNS_AT_ONCE": 16}
    async with a_world(folder, llm=Script(text=ANSWER), **slow) as world:
        yield world
        assert "Traceback" not in world.service.log()
        await world.stop()


@pytest_asyncio.fixture(loop_scope="module")
async def world(running):
    running.llm.script = Script(text=ANSWER)
    yield running
    assert running.api.faults == []
    assert running.service.is_running


@pytest.fixture
def chat() -> int:
    return next(_chats)


async def quiet(world) -> None:
    """Wait until nothing is left to do and a repeat would have been seen."""
    await world.settled()
    await asyncio.sleep(0.3)


@pytest.mark.parametrize("delay_s", [0.0, 0.7], ids=["after the answer", "in flight"])
async def test_a_redelivered_message_has_one_answer_and_one_model_call(world, chat, delay_s):
    world.llm.script = Script(text=ANSWER, delay_s=delay_s)
    calls = world.llm.calls
    update = world.ask(chat, chat)
    if delay_s:
        await until(lambda: world.llm.active == 1, "the model call")
    else:
        await until(lambda: world.answered(chat), "the answer")
    world.api.redeliver(update)
    world.api.redeliver(update)
    await quiet(world)
    await until(lambda: world.answered(chat), "the answer")
    await quiet(world)
    assert world.answered(chat) == [mark(chat)]
    assert len(world.replies(chat)) == 1
    assert world.llm.calls == calls + 1


@pytest.mark.parametrize("fault", ["429", "502"])
async def test_three_refusals_delay_an_answer_and_nothing_else(world, chat, fault):
    world.api.fault(fault, "sendMessage", 3, chat_id=chat)
    calls = world.llm.calls
    world.ask(chat, chat)
    other = next(_chats)
    await until(lambda: len(world.api.faults) <= 1, "the refusal")
    world.ask(other, other)
    await until(lambda: world.answered(other), "another person's answer")
    await until(lambda: world.answered(chat), "the answer")
    assert world.api.faults == []
    await quiet(world)
    assert world.answered(chat) == [mark(chat)]
    assert world.llm.calls == calls + 2


async def test_fifty_people_with_ten_messages_each_are_answered_in_order(world):
    users = [next(_chats) for _ in range(50)]
    asked = {user: [mark(user * 10 + n) for n in range(10)] for user in users}
    for n in range(10):
        for user in users:
            world.ask(user, user * 10 + n)
    before = len(world.api.accepted("sendMessage"))
    await until(lambda: len(world.api.accepted("sendMessage")) >= before + 500, "all 500 answers")
    await quiet(world)
    assert {user: world.answered(user) for user in users} == asked


async def test_five_quick_messages_of_one_person_never_meet_in_the_model(world, chat):
    world.llm.script = Script(text=ANSWER, delay_s=0.1)
    world.llm.most_active = 0
    for n in range(5):
        world.ask(chat, chat * 10 + n)
    await until(lambda: len(world.answered(chat)) == 5, "five answers")
    assert world.answered(chat) == [mark(chat * 10 + n) for n in range(5)]
    assert world.llm.most_active == 1


async def test_a_long_answer_arrives_whole_in_order_and_within_the_limit(world, chat):
    sentences = [f"第 {n} 条，周末门诊请提前一天在网上预约。" for n in range(1, 460)]
    text = "".join(sentences)
    assert len(text) > 10_000
    world.llm.script = Script(text=text, chunk_characters=500)
    world.ask(chat, chat)
    await until(lambda: "459" in "".join(c["text"] for c in world.replies(chat)), "the end")
    parts = [c["text"] for c in world.replies(chat)]
    assert len(parts) == 3
    assert all(len(part.encode("utf-16-le")) <= 2 * 4096 for part in parts)
    numbers = [int(n) for n in re.findall(r"第 (\d+) 条", "".join(parts))]
    assert numbers == list(range(1, 460))
    assert re.sub(r"\s", "", text) in re.sub(r"\s", "", "".join(parts))


async def test_refused_markup_arrives_as_plain_text(world, chat):
    world.llm.script = Script(text="**收到 {token}**，周末上班。")
    world.api.fault("entities", "sendMessage", chat_id=chat)
    world.ask(chat, chat)
    await until(lambda: world.answered(chat), "the answer")
    await quiet(world)
    (call,) = world.replies(chat)
    assert "parse_mode" not in call["params"]
    assert MARK.findall(call["text"]) == [mark(chat)]
    assert "<b>" not in call["text"]


async def test_a_blocked_chat_holds_up_nobody_and_is_told_to_staff(world, chat):
    world.api.fault("blocked", "sendMessage", chat_id=chat)
    world.ask(chat, chat)
    await until(lambda: not world.api.faults, "the refusal")
    other = next(_chats)
    world.ask(other, other, QUESTION)
    await until(lambda: world.answered(other), "another person's answer")
    await quiet(world)
    assert world.replies(chat) == []
