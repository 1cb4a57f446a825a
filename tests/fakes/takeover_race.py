"""The patient writes while staff take over and hand back: who answered what?"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass

from tests.fakes.takeover_world import MODEL_SAYS, World

_QUESTIONS = (
    "我想了解一下飞蚊症的常见原因是什么",
    "请问验光之前需要注意什么事情呢",
    "白内障手术以后多久可以看手机",
)


@dataclass
class Outcome:
    """What a race showed.

    Attributes:
        tries: takeovers.
        both: answers of ours that were committed between taking over and handing back.
        nobody: messages that ended without an answer of ours, nor in staff's hands.
        before: messages we answered, because the turn had ended before staff took over.
        abandoned: turns that staff overtook.
    """

    tries: int = 0
    both: int = 0
    nobody: int = 0
    before: int = 0
    abandoned: int = 0


async def race(world: World, *, tries: int, seed: int, desk: World | None = None) -> Outcome:
    """Run `tries` races, each in a conversation of its own, two messages and one takeover each.

    `desk` is the process that serves the console, when it is another one.
    """
    others = () if desk is None else (desk,)
    takeovers = (desk or world).takeovers
    chance = random.Random(seed)
    found = Outcome()
    for number in range(tries):
        chat = f"race-{number}"
        await world.write(chat, "你好")
        await world.settle(*others)
        where = world.chat(chat)

        async def patient(chat: str = chat) -> None:
            for _ in range(2):
                await asyncio.sleep(chance.random() * 0.006)
                await world.write(chat, chance.choice(_QUESTIONS))

        async def nurse(where=where) -> int:
            await asyncio.sleep(chance.random() * 0.012)
            taken = await takeovers.take(where, staff_id=1, name="王护士")
            assert taken.takeover_id is not None
            return taken.takeover_id

        _, takeover_id = await asyncio.gather(patient(), nurse())
        await world.settle(*others)
        found.tries += 1
        said = world.transcript(where.conversation_id)
        began = next(s.id for s in said if s.turn_id.startswith("taken-"))
        found.both += sum(s.origin == "model" and s.id > began for s in said)
        ours = sum(s.origin == "model" and s.id < began for s in said)
        outcomes = [v for k, v in world.outcomes(where.conversation_id).items()]
        found.before += ours
        handed = outcomes.count("handed")
        found.abandoned += handed
        found.nobody += len(outcomes) - handed - outcomes.count("answered")
        found.both += world.heard(chat).count(MODEL_SAYS) != ours
        done = await takeovers.hand_back(where, takeover_id, name="王护士")
        assert done.waiting == handed
    await world.settle(*others)
    return found
