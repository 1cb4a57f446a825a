"""A conversation of 500 turns costs the same per turn as one of 20, database read included."""

from __future__ import annotations

import asyncio
import itertools
import statistics
import time
from collections.abc import AsyncIterator
from pathlib import Path

from adapters.terminal.channel import TerminalChannel
from bot.service import Service
from bot.settings import Settings
from core.agent.context import message_tokens
from core.agent.limits import Limits
from core.message import Address, Inbound
from core.ports import ChatEvent, ChatRequest, Completed
from core.turn.model_answer import ModelAssistant
from tests.fakes.waiting import PATIENCE_S

SHORT, LONG, MEASURED = 20, 500, 40
MOST = 1.2


class InstantModel:
    """Answers at once, so that all time is ours; keeps the size of each prompt."""

    def __init__(self) -> None:
        self.prompt_tokens: list[int] = []

    def is_healthy(self) -> bool:
        return True

    async def stream(self, request: ChatRequest) -> AsyncIterator[ChatEvent]:
        self.prompt_tokens.append(sum(map(message_tokens, request.messages)))
        yield Completed("看书久了可以休息一下，多眨眼，多看看远处。", (), "stop", 100, 20)


async def test_turn_500_costs_what_turn_20_costs(tmp_path: Path) -> None:
    lines: list[str] = []
    settings = Settings(
        data_dir=tmp_path / "data",
        consent={"required": False},
        dialog={"merge_window_ms": 0},
        fundus={"enabled": False},
    )
    service = Service(
        settings,
        extra_channel=lambda blobs: TerminalChannel(
            lines.append, blobs, tmp_path / "pictures", as_json=True
        ),
        network=False,
    )
    model = InstantModel()
    service.dispatcher._handle._assistant = ModelAssistant(model, Limits(), service.store)  # type: ignore[attr-defined]
    await service.start()
    numbers = itertools.count(1)

    async def turn(chat: str) -> float:
        n = next(numbers)
        words = (
            f"第{n}次问：我对青霉素过敏，有糖尿病{n}年，看书久了眼睛累，平时怎么保护眼睛比较好？"
        )
        address = Address("terminal", "local", chat)
        message = Inbound(address, f"m{n}", n, words, sent_at_ms=0)
        started = time.process_time()
        await service.intake.accept([message])
        async with asyncio.timeout(PATIENCE_S):
            await service.settle()
        return time.process_time() - started

    try:
        for chat, turns in (("short", SHORT), ("long", LONG)):
            for _ in range(turns):
                await turn(chat)
        spent: dict[str, list[float]] = {"short": [], "long": []}
        tokens: dict[str, list[int]] = {"short": [], "long": []}
        for _ in range(MEASURED):
            for chat, taken in spent.items():  # in turns: a busy machine slows both
                taken.append(await turn(chat))
                tokens[chat].append(model.prompt_tokens[-1])
    finally:
        await service.stop()
    cpu = statistics.median(spent["long"]) / statistics.median(spent["short"])
    size = statistics.median(tokens["long"]) / statistics.median(tokens["short"])
    print(
        f"cpu {cpu:.2f}, tokens {size:.2f}, {statistics.median(spent['long']) * 1000:.1f} ms a turn"
    )
    assert cpu <= MOST
    assert size <= MOST
