"""Staff who have Today open: how soon an emergency reaches all of them, and what they cost.

The real process, one login per viewer, an emergency that a patient writes over Telegram.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import aiohttp

from tests.acceptance.harness import World, a_world
from tests.bench.process_figures import cpu_ms, rss_mib
from tests.bench.table import Figure

EMERGENCY = "我左眼突然看不见了"
_WITHIN_S = 60.0
# A fresh process compiles the triage vocabulary in the background.
_SETTLES_S = 6.0


@dataclass(frozen=True, slots=True)
class Viewed:
    """What one run measured.

    Attributes:
        first_ms: from the patient's message until the first viewer had the emergency.
        last_ms: the same until the last one had it.
        extra_mib: resident memory that the viewers added, the emergency handled.
        cpu_percent: of one core while all watch and nothing happens.
    """

    first_ms: float
    last_ms: float
    extra_mib: float
    cpu_percent: float


def log_in(world: World, count: int) -> list[str]:
    """Put sessions of the first account into the database and return their cookies."""
    # The first account is made right after the start.
    while not world.service.execute("UPDATE staff SET must_change = 0"):
        time.sleep(0.05)
    now_ms = int(time.time() * 1000)
    tokens = [secrets.token_urlsafe(32) for _ in range(count)]
    rows = ", ".join(
        f"('{hashlib.sha256(token.encode()).hexdigest()}', "
        f"(SELECT min(id) FROM staff), {now_ms}, {now_ms})"
        for token in tokens
    )
    columns = "token_hash, staff_id, created_at_ms, seen_at_ms"
    world.service.execute(f"INSERT INTO staff_session ({columns}) VALUES {rows}")
    return tokens


class Viewer:
    """One open page: reads its stream and notes when the emergency came."""

    def __init__(self) -> None:
        self.is_open = asyncio.Event()
        self.at = 0.0
        self.has_it = asyncio.Event()

    async def watch(self, session: aiohttp.ClientSession, url: str, token: str) -> None:
        """Read events until cancelled."""
        async with session.get(url, headers={"Cookie": f"oc_staff={token}"}) as answer:
            assert answer.status == 200, answer.status
            async for line in answer.content:
                if line.startswith(b"data: {"):
                    self.is_open.set()
                    if b"task emergency" in line:
                        self.at = time.monotonic()
                        self.has_it.set()


@asynccontextmanager
async def watching(world: World, count: int) -> AsyncIterator[list[Viewer]]:
    """Open `count` pages, each with its own login, and wait until all have their first event."""
    tokens = await asyncio.to_thread(log_in, world, count)
    viewers = [Viewer() for _ in range(count)]
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(
            aiohttp.ClientSession(
                connector=connector, timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()
            )
        )
        url = f"{world.service.url}/console/live"
        tasks = [
            asyncio.create_task(viewer.watch(session, url, token))
            for viewer, token in zip(viewers, tokens, strict=True)
        ]
        try:
            async with asyncio.timeout(_WITHIN_S):
                await asyncio.gather(*(viewer.is_open.wait() for viewer in viewers))
            yield viewers
        finally:
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
        failures = [e for e in ended if isinstance(e, Exception)]
        assert not failures, failures[0]


async def viewed(world: World, count: int) -> Viewed:
    """Measure one emergency in front of `count` viewers."""
    async with watching(world, 1):  # what the first viewer loads is not the viewers' cost
        pass
    world.api.user_text(999, "你好")
    await asyncio.sleep(_SETTLES_S)
    before = rss_mib(world.service.pid)
    async with watching(world, count) as viewers:
        await asyncio.sleep(0.5)
        busy = cpu_ms(world.service.pid)
        await asyncio.sleep(2)
        cpu_percent = (cpu_ms(world.service.pid) - busy) / 20
        said = time.monotonic()
        world.api.user_text(1000, EMERGENCY)
        async with asyncio.timeout(_WITHIN_S):
            await asyncio.gather(*(viewer.has_it.wait() for viewer in viewers))
        extra = rss_mib(world.service.pid) - before
    took = [(viewer.at - said) * 1000 for viewer in viewers]
    return Viewed(min(took), max(took), extra, cpu_percent)


async def viewers(repeat: int, count: int = 300) -> list[Figure]:
    """An emergency in front of 300 phones."""
    runs: list[Viewed] = []
    for _ in range(repeat):
        with TemporaryDirectory() as folder:
            async with a_world(Path(folder), llm=None) as world:
                runs.append(await viewed(world, count))
    about = f"{count} viewers, each with a login"
    return [
        Figure("emergency to the first viewer", "ms", tuple(r.first_ms for r in runs), note=about),
        Figure("emergency to the last viewer", "ms", tuple(r.last_ms for r in runs), 1000),
        Figure("memory of the viewers", "MiB", tuple(r.extra_mib for r in runs), 60),
        Figure("CPU while nothing happens", "% of a core", tuple(r.cpu_percent for r in runs)),
    ]
