"""Figures of the real process: what a turn, a start, idling, an emergency and a photo cost."""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from models.llm.settings import LlmSettings
from tests.acceptance.harness import (
    ANSWER,
    ROOT,
    TOKEN,
    World,
    a_world,
    environment,
)
from tests.bench import fundus_figures
from tests.bench.table import Figure
from tests.fakes.botapi import BotApi
from tests.fakes.llm import FakeLlm, Script
from tests.fakes.waiting import until

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_WARM_UP = 60
_PHOTO = ROOT / "tests/fixtures/fundus/idrid_grade2.jpg"
_EMERGENCY = "我左眼突然看不见了"
_QUESTION = "我最近看书时眼睛有点干涩"
_PEERS_CPU = "7.5 n3d1117, 10 nonebot2 (aiohttp), 31-36 AstrBot, 124-150 LangBot"


def cpu_ms(pid: int) -> float:
    """Return the CPU time of a process so far, all its threads together."""
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * 1000 / _TICKS_PER_S


def rss_mib(pid: int) -> float:
    """Return the resident memory of a process."""
    for line in Path(f"/proc/{pid}/status").read_text("ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise LookupError("VmRSS")


async def _one(api: BotApi, chat: int, say: Callable[[], object]) -> float:
    """Say something and return the ms until the chat's next message."""
    news = len(api.accepted("sendMessage", chat))
    began = time.monotonic()
    say()
    while len(api.accepted("sendMessage", chat)) == news:  # noqa: ASYNC110 the fake has no event
        await asyncio.sleep(0.0005)
    return (time.monotonic() - began) * 1000


async def _turns(api: BotApi, pid: int, turns: int) -> tuple[float, float]:
    """Return CPU ms per turn and the median latency, one new person after the other."""
    text = "T000001 请问你们周末上班吗"
    for chat in range(1, _WARM_UP + 1):
        await _one(api, chat, lambda chat=chat: api.user_text(chat, text))
    await asyncio.sleep(0.3)
    api.calls.clear()
    before = cpu_ms(pid)
    took = [
        await _one(api, chat, lambda chat=chat: api.user_text(chat, text))
        for chat in range(1000, 1000 + turns)
    ]
    await asyncio.sleep(0.3)
    return (cpu_ms(pid) - before) / turns, statistics.median(took)


async def _reference(turns: int) -> float:
    async with BotApi.running(token=TOKEN) as api, FakeLlm(Script(text=ANSWER)) as llm:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.bench.reference",
            f"{api.base_url}{TOKEN}",
            llm.url,
            cwd=ROOT,
            env=environment({}),
        )
        try:
            return (await _turns(api, process.pid, turns))[0]
        finally:
            process.kill()
            await process.wait()


async def turns(repeat: int, count: int = 300) -> list[Figure]:
    """CPU per Telegram text turn, beside the least a bot can do."""
    least: list[float] = []
    cpu: dict[str, list[float]] = {"llm": [], "guided": []}
    latency: dict[str, list[float]] = {"llm": [], "guided": []}
    for _ in range(repeat):
        least.append(await _reference(count))
        for name, model in (("llm", Script(text=ANSWER)), ("guided", None)):
            with TemporaryDirectory() as folder:
                async with a_world(Path(folder), llm=model) as world:
                    cost, took = await _turns(world.api, world.service.pid, count)
            cpu[name].append(cost)
            latency[name].append(took)
    # 0.8 ms is what such a bot cost where the peers were measured.
    scaled = tuple(c / r * 0.8 for c, r in zip(cpu["llm"], least, strict=True))
    return [
        Figure("least a bot can do: CPU per turn", "ms", tuple(least), peers="0.8"),
        Figure("Telegram turn with 0 ms LLM: CPU", "ms", tuple(cpu["llm"]), 4, peers=_PEERS_CPU),
        Figure("  the same, scaled to the peers' machine", "ms", scaled, note="by the first row"),
        Figure("Telegram turn without LLM: CPU", "ms", tuple(cpu["guided"]), 4),
        Figure("Telegram turn with 0 ms LLM: latency p50", "ms", tuple(latency["llm"])),
        Figure("Telegram turn without LLM: latency p50", "ms", tuple(latency["guided"])),
    ]


async def _until_polls(world: World) -> float:
    polls = world.api.poller
    await world.service.spawn()
    spawned_at = world.service.spawned_at
    while world.api.poller == polls:
        assert world.service.is_running, world.service.log()
        await asyncio.sleep(0.002)
    return time.monotonic() - spawned_at


async def _empty_start() -> float:
    began = time.monotonic()
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", "pass")
    await process.wait()
    return time.monotonic() - began


async def _help_s() -> float:
    began = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bot",
        "--help",
        stdout=asyncio.subprocess.DEVNULL,
        cwd=ROOT,
        env=environment({}),
    )
    await process.wait()
    return time.monotonic() - began


async def starts(repeat: int) -> list[Figure]:
    """Cold start until the first getUpdates, CPU of it, idle memory and CPU, `--help`."""
    empty, help_s, fresh, again, start_cpu, rss, idle = ([] for _ in range(7))
    for _ in range(repeat):
        empty.append(await _empty_start())
        help_s.append(await _help_s())
        with TemporaryDirectory() as folder:
            async with a_world(Path(folder), llm=Script(), start=False) as world:
                fresh.append(await _until_polls(world))
                await world.service.stop()
                again.append(await _until_polls(world))
                start_cpu.append(cpu_ms(world.service.pid) / 1000)
                await asyncio.sleep(3)
                before = cpu_ms(world.service.pid)
                await asyncio.sleep(5)
                idle.append((cpu_ms(world.service.pid) - before) / 50)
                rss.append(rss_mib(world.service.pid))
                await world.service.stop()
    return [
        Figure("python -c pass", "s", tuple(empty), note="how busy the machine was"),
        Figure("oculichat --help", "s", tuple(help_s), 0.3),
        Figure(
            "cold start to first poll, new data folder",
            "s",
            tuple(fresh),
            1.5,
            peers="0.9-1.0 n3d1117, 1.1-2.2 nonebot2, 5.7-8.4 AstrBot, 11.9 LangBot",
        ),
        Figure("cold start to first poll, existing folder", "s", tuple(again), 1.5),
        Figure("  CPU of it", "s", tuple(start_cpu)),
        Figure(
            "idle memory with web chat and console",
            "MiB",
            tuple(rss),
            110,
            peers="69-74 nonebot2, 89 n3d1117, 253 AstrBot, 535 LangBot",
        ),
        Figure("idle CPU", "%", tuple(idle), peers="0-0.3"),
    ]


async def _card(api: BotApi, chat: int) -> float:
    return await _one(api, chat, lambda: api.user_text(chat, _EMERGENCY))


async def emergencies(repeat: int, count: int = 40) -> list[Figure]:
    """Red flag to card, and question to honest answer, while the LLM hangs."""
    p95: list[float] = []
    honest: list[float] = []
    patience = {"LLM__FIRST_TOKEN_TIMEOUT_S": LlmSettings().first_token_timeout_s}
    for _ in range(repeat):
        with TemporaryDirectory() as folder:
            async with a_world(Path(folder), llm=Script(fail="hang", fail_after=0)) as world:
                for chat in range(10):
                    world.ask(100 + chat, chat)
                took = sorted([await _card(world.api, 1000 + chat) for chat in range(count)])
                p95.append(took[int(count * 0.95) - 1])
        with TemporaryDirectory() as folder:
            silent = Script(fail="hang", fail_after=0)
            async with a_world(Path(folder), llm=silent, **patience) as world:
                ask = partial(world.api.user_text, 999, _QUESTION)
                honest.append(await _one(world.api, 999, ask) / 1000)
    return [
        Figure("emergency card, LLM hanging: p95", "ms", tuple(p95), 300),
        Figure("honest answer, LLM hanging", "s", tuple(honest), 10),
    ]


async def photos(repeat: int, count: int = 8) -> list[Figure]:
    """Photo sent to result received, after a first one; and the reader alone."""
    p50: list[float] = []
    data = _PHOTO.read_bytes()
    for _ in range(repeat):
        with TemporaryDirectory() as folder:
            async with a_world(Path(folder)) as world:
                took = [await _photo(world, 1000 + n, data) for n in range(count + 1)]
                p50.append(statistics.median(took[1:]))
    whole = Figure("fundus photo to result, warm: p50", "ms", tuple(p50), 300)
    return [whole, *await asyncio.to_thread(fundus_figures.reading, repeat)]


async def _photo(world: World, chat: int, data: bytes) -> float:
    began = time.monotonic()
    world.api.user_photo(chat, data)
    while not world.replies(chat):
        assert time.monotonic() - began < 60, "no result"
        await asyncio.sleep(0.001)
    took_ms = (time.monotonic() - began) * 1000
    await asyncio.sleep(0.5)  # what follows the result
    return took_ms


async def faults(_repeat: int) -> list[Figure]:
    """Lost and repeated answers over kill -9, SIGTERM, redelivery, 429 and 502."""
    scenarios: dict[str, Callable[[World], Awaitable[int]]] = {
        "kill -9": _killed,
        "SIGTERM": _terminated,
        "redelivered": _redelivered,
        "429 three times": _refused("429"),
        "502 three times": _refused("502"),
    }
    peers = {
        "kill -9": "all 20 lost by every one",
        "SIGTERM": "20, 0, 20 lost",
        "redelivered": "2 answers by every one",
        "429 three times": "lost by every one",
        "502 three times": "lost by every one",
    }
    figures: list[Figure] = []
    for name, play in scenarios.items():
        with TemporaryDirectory() as folder:
            async with a_world(Path(folder), llm=Script(text=ANSWER, delay_s=1.0)) as world:
                asked = await play(world)
                await asyncio.sleep(1)
                answers = world.answered()
        wrong = asked - len(set(answers)) + len(answers) - len(set(answers))
        what = f"lost + repeated answers: {name}"
        figures.append(Figure(what, f"of {asked}", (wrong,), 0, peers=peers[name]))
    return figures


async def _twenty(world: World) -> None:
    for chat in range(1001, 1021):
        world.ask(chat, chat)
    await until(lambda: world.llm is not None and world.llm.active == 20)


async def _all_answered(world: World, count: int) -> int:
    # Too few is a result, not a failure of the measurement.
    deadline = time.monotonic() + 30
    while len(set(world.answered())) < count and time.monotonic() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(0.05)
    return count


async def _killed(world: World) -> int:
    await _twenty(world)
    await world.service.kill()
    await world.service.start()
    return await _all_answered(world, 20)


async def _terminated(world: World) -> int:
    await _twenty(world)
    await world.service.stop()
    await world.service.start()
    return await _all_answered(world, 20)


async def _redelivered(world: World) -> int:
    update = world.ask(1001, 1)
    world.api.redeliver(update)
    await _all_answered(world, 1)
    world.api.redeliver(update)
    await until(lambda: not world.api.updates)
    return 1


def _refused(fault: str) -> Callable[[World], Awaitable[int]]:
    async def play(world: World) -> int:
        world.api.fault(fault, "sendMessage", 3)
        world.ask(1001, 1)
        return await _all_answered(world, 1)

    return play
