"""Random kill -9 of the real service while people write; a checker that trusts only the fakes.

Every message carries a token and its answer repeats it, so the fake Telegram's own log says what
was lost, came twice or came out of order. A send whose outcome nobody can know (the process died
between the call and its record) is not repeated but shown to staff; those are counted apart.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tests.acceptance.harness import ANSWER, MARK, World, a_world, mark
from tests.fakes.llm import Script
from tests.fakes.waiting import until

_FIRST_CHAT = 10_000
_SILENCE_S = 100.0  # after which nothing more is expected
_REDELIVERED = 0.05  # share of messages that come again under a new update id


@dataclass(frozen=True, slots=True)
class Soak:
    """What came out.

    Attributes:
        answered: messages whose answer arrived.
        unknown: not answered, but recorded as uncertain and on the staff's list.
        lost: neither.
        duplicates: answers beyond the first.
        out_of_order: people whose answers came in another order than their questions.
        unfinished: messages without an ending in the service's own books.
    """

    seed: int
    kills: int
    asked: int
    redelivered: int
    answered: int
    unknown: int
    lost: int
    duplicates: int
    out_of_order: int
    unfinished: int
    seconds: float

    @property
    def is_clean(self) -> bool:
        """Whether every promise was kept."""
        return not (self.lost or self.duplicates or self.out_of_order or self.unfinished)


async def soak(
    folder: Path,
    *,
    kills: int,
    messages: int,
    users: int,
    seed: int,
    pause_s: tuple[float, float] = (1.0, 3.0),
) -> Soak:
    """Run one soak.

    Args:
        folder: for the service's data.
        kills: how often to kill.
        messages: how many in all, spread over the kills.
        users: who writes them.
        seed: of times, people and redeliveries.
        pause_s: shortest and longest life of a process once it receives.
    """
    chance = random.Random(seed)
    model = Script(text=ANSWER, delay_s=0.05, chunk_characters=64)
    settings = {"DIALOG__TURNS_AT_ONCE": 32, "LOG__LEVEL": "warning"}
    started = time.monotonic()
    async with a_world(folder, llm=model, start=False, **settings) as world:
        rate = messages / (kills * sum(pause_s) / 2 + 1)
        feeding = asyncio.create_task(_feed(world, chance, messages, users, rate))
        for _ in range(kills):
            await _spawn(world)
            await asyncio.sleep(chance.uniform(*pause_s))
            await world.service.kill()
        await _spawn(world)
        redelivered = await feeding
        await _until_silent(world)
        assert await world.service.stop() == 0, world.service.log()
        seconds = round(time.monotonic() - started, 1)
        return _judge(world, seed, kills, messages, redelivered, seconds)


async def _spawn(world: World) -> None:
    """Start the service and wait until it receives."""
    polls = world.api.poller
    await world.service.spawn()
    await until(lambda: world.api.poller > polls, "a process that polls")


async def _feed(world: World, chance: random.Random, messages: int, users: int, rate: float) -> int:
    """Let people write at an even rate, whether or not anybody listens; count the repeats."""
    redelivered = 0
    began = time.monotonic()
    for number in range(messages):
        update = world.ask(_FIRST_CHAT + chance.randrange(users), number)
        if chance.random() < _REDELIVERED:
            world.api.redeliver(update)
            redelivered += 1
        ahead_s = number / rate - (time.monotonic() - began)
        if ahead_s > 0:
            await asyncio.sleep(ahead_s)
    return redelivered


async def _until_silent(world: World) -> None:
    seen, since = -1, time.monotonic()
    while time.monotonic() - since < _SILENCE_S:
        if not world.api.updates and world.service.unfinished() == 0:
            await asyncio.sleep(1)  # what came twice would come now
            return
        answered = len(set(world.answered()))
        if answered != seen:
            seen, since = answered, time.monotonic()
        await asyncio.sleep(0.5)


def _judge(
    world: World, seed: int, kills: int, messages: int, redelivered: int, seconds: float
) -> Soak:
    by_chat: dict[int, list[str]] = {}
    for call in world.replies():
        by_chat.setdefault(call["chat_id"], []).extend(MARK.findall(call["text"]))
    times = Counter(token for tokens in by_chat.values() for token in tokens)
    missing = {mark(number) for number in range(messages)} - times.keys()
    uncertain = set(MARK.findall("".join(world.service.said_in("unknown"))))
    tasks = world.service.query("SELECT COUNT(*) FROM staff_task WHERE kind = 'undelivered'")
    counts = world.service.counts()
    assert tasks[0][0] >= len(uncertain), "uncertain sends that staff do not see"
    return Soak(
        seed=seed,
        kills=kills,
        asked=messages,
        redelivered=redelivered,
        answered=len(times),
        unknown=len(missing & uncertain),
        lost=len(missing - uncertain),
        duplicates=sum(times.values()) - len(times),
        out_of_order=sum(tokens != sorted(tokens) for tokens in by_chat.values()),
        unfinished=counts.pending + counts.dead,
        seconds=seconds,
    )
