"""Whatever ends the process, every message is answered, once."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from tests.acceptance.harness import ANSWER, a_world, mark
from tests.fakes.llm import Script
from tests.fakes.waiting import until

USERS = range(1001, 1021)


@pytest.mark.parametrize("how", ["kill -9", "SIGTERM"])
async def test_twenty_in_flight_are_all_answered_once(tmp_path, how):
    async with a_world(tmp_path, llm=Script(text=ANSWER)) as world:
        world.llm.hold()
        for user in USERS:
            world.ask(user, user)
        await until(lambda: world.llm.active == len(USERS), "20 model calls in flight")
        if how == "SIGTERM":
            stopping = asyncio.create_task(world.service.stop())
            await asyncio.sleep(0.5)  # the stop waits for the turns under way
            world.llm.release()
            assert await stopping == 0
        else:
            await world.service.kill()
            assert world.answered() == []
            world.llm.release()
        await world.service.start()
        await until(lambda: len(set(world.answered())) == len(USERS), "20 answers")
        await asyncio.sleep(0.5)  # a second answer would come now
        await world.stop()
        assert Counter(world.answered()) == Counter(mark(user) for user in USERS)
        assert all(len(world.replies(user)) == 1 for user in USERS)


async def test_a_crash_between_sending_and_noting_it_is_shown_to_staff_not_repeated(tmp_path):
    async with a_world(tmp_path, llm=Script(text=ANSWER)) as world:
        world.api.fault("hang", "sendMessage")
        world.ask(1001, 1)
        await until(lambda: not world.api.faults, "the send that hangs")
        await world.service.kill()
        await world.service.start()
        world.ask(1001, 2)
        await until(lambda: world.answered() == [mark(2)], "the next answer")
        await world.stop()
        (unknown,) = world.service.said_in("unknown")
        assert mark(1) in unknown
        assert world.service.query("SELECT kind, state FROM staff_task") == [
            ("undelivered", "open")
        ]
