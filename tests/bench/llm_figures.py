"""Figures of the LLM client: what it adds to the server, how many it carries, how soon it lets go.

The server is the real HTTP layer of LMDeploy with scripted output where `make contract-lmdeploy`
has set it up; otherwise a fake of it, and the figure says so.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager

import httpx

from core.ports import ChatMessage, ChatRequest, Completed, TextDelta
from models.llm import wire
from models.llm.client import LlmClient
from models.llm.settings import LlmSettings
from tests.bench.table import Figure
from tests.contract.lmdeploy.script import Rule
from tests.contract.lmdeploy.server import LmdeployServer, is_installed
from tests.fakes.llm import FakeLlm, Script

_ANSWER = "请闭眼休息，少看屏幕。如果今天加重，请尽快就诊。"
_ASKED = 60
_STREAMS = 200
_SLOW_S = 2.0


@asynccontextmanager
async def _server(*rules: Rule) -> AsyncGenerator[tuple[str, str, LmdeployServer | None], None]:
    """Yield address, what it is, and the server itself if it is LMDeploy."""
    if is_installed():
        async with LmdeployServer.running("qwen3", "--session-len", "2048") as server:
            await server.say(*rules)
            yield server.url, "LMDeploy's api_server", server
        return
    script = Script(text=_ANSWER, chunk_characters=1)
    async with FakeLlm(script) as fake:
        yield fake.url, "a fake; make contract-lmdeploy for the real one", None


@asynccontextmanager
async def _client(url: str, **more: int | float) -> AsyncGenerator[LlmClient, None]:
    settings = LlmSettings(base_urls=(url,), probe_interval_s=60, **more)
    client = LlmClient(settings)
    await client.start()
    try:
        await client.probe()
        yield client
    finally:
        await client.stop()


def _request(n: int) -> ChatRequest:
    return ChatRequest([ChatMessage("system", "简短"), ChatMessage("user", f"眼睛干 {n}")])


async def _ours(client: LlmClient, request: ChatRequest) -> tuple[float, float]:
    """Return ms to the first word, and of CPU until the end."""
    began, cpu = time.perf_counter(), time.process_time()
    first = 0.0
    async for event in client.stream(request):
        if isinstance(event, TextDelta) and not first:
            first = time.perf_counter() - began
    return first * 1000, (time.process_time() - cpu) * 1000


async def _direct(http: httpx.AsyncClient, url: str, body: bytes) -> tuple[float, float]:
    """The same, with the least code that reads the answer."""
    began, cpu = time.perf_counter(), time.process_time()
    first, said = 0.0, ""
    async with http.stream("POST", f"{url}/v1/chat/completions", content=body) as response:
        async for line in response.aiter_lines():
            if line.startswith("data: {"):
                for choice in json.loads(line[6:])["choices"]:
                    said += choice["delta"].get("content", "")
                if said and not first:
                    first = time.perf_counter() - began
    assert said == _ANSWER, said
    return first * 1000, (time.process_time() - cpu) * 1000


async def _overhead(url: str) -> tuple[float, float]:
    """Return how many ms later the first word comes, and how much more CPU a turn takes."""
    first: dict[str, list[float]] = {"ours": [], "direct": []}
    cpu: dict[str, list[float]] = {"ours": [], "direct": []}
    headers = {"Content-Type": "application/json"}
    async with (
        _client(url) as client,
        httpx.AsyncClient(trust_env=False, headers=headers, timeout=20) as http,
    ):
        model = client.servers.all[0].model or ""
        for n in range(_ASKED + 5):
            request = _request(n)
            body = wire.encode(request, LlmSettings(), model=model, thinking=False)
            # Alternating, so that a busy moment of the machine meets both.
            for name, took in (
                ("ours", await _ours(client, request)),
                ("direct", await _direct(http, url, body)),
            ):
                if n >= 5:
                    first[name].append(took[0])
                    cpu[name].append(took[1])
    return (
        statistics.median(first["ours"]) - statistics.median(first["direct"]),
        statistics.median(cpu["ours"]) - statistics.median(cpu["direct"]),
    )


async def _slow_streams(repeat: int) -> tuple[list[float], list[int]]:
    """200 slow streams from a fake in a process of its own: LMDeploy on one core cannot."""
    walls: list[float] = []
    lost: list[int] = []
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.fakes.llm", "--port", "0"),
        stdout=asyncio.subprocess.PIPE,
        env=os.environ,
    )
    try:
        assert process.stdout
        url = (await process.stdout.readline()).decode().split()[-1]
        # Ten pieces and the end, 2 s in all.
        script = {
            "text": "T{token}" + "。" * 73,
            "token": r"\d+$",
            "chunk_characters": 8,
            "chunk_delay_s": _SLOW_S / 11,
        }
        async with httpx.AsyncClient(trust_env=False) as http:
            await http.post(f"{url}/_control", json=script)
        for _ in range(repeat):
            async with _client(url, max_in_flight=_STREAMS, first_token_timeout_s=20) as client:
                began = time.perf_counter()
                done = await asyncio.gather(
                    *(_is_answered(client, n) for n in range(100_000, 100_000 + _STREAMS)),
                    return_exceptions=True,
                )
                walls.append(time.perf_counter() - began)
                lost.append(sum(answered is not True for answered in done))
    finally:
        process.kill()
        await process.wait()
    return walls, lost


async def _is_answered(client: LlmClient, n: int) -> bool:
    last = [event async for event in client.stream(_request(n))][-1]
    return isinstance(last, Completed) and last.text.startswith(f"T{n}")


async def _freed(url: str, server: LmdeployServer) -> float:
    """Return the longest time in seconds from leaving to the engine having stopped."""
    waits: list[float] = []
    async with _client(url) as client:
        for n in range(10):
            await server.say(Rule(_ANSWER * 50, step_s=0.02))
            async with aclosing(client.stream(_request(n))) as events:
                await anext(events)
                left_s = time.time()
            while (await server.state())["active"]:  # noqa: ASYNC110 another process
                await asyncio.sleep(0.005)
            (call,) = await server.calls()
            waits.append(call["ended_s"] - left_s)
    return max(waits)


async def llm(repeat: int) -> list[Figure]:
    """What the client adds, carries and lets go."""
    first: list[float] = []
    cpu: list[float] = []
    freed: list[float] = []
    async with _server(Rule(_ANSWER)) as (url, what, server):
        for _ in range(repeat):
            if server:
                await server.say(Rule(_ANSWER))
            later, more = await _overhead(url)
            first.append(later)
            cpu.append(more)
            if server:
                freed.append(await _freed(url, server))
    walls, lost = await _slow_streams(repeat)
    figures = [
        Figure("LLM client over direct httpx: first word, p50", "ms", tuple(first), 5, note=what),
        Figure("LLM client over direct httpx: CPU per turn", "ms", tuple(cpu), 4, note=what),
        Figure("200 streams of 2 s at once: wall", "s", tuple(walls), 2.6, note="one process"),
        Figure("  of them not answered", "", tuple(map(float, lost)), 0),
    ]
    if freed:
        figures.append(
            Figure("engine's slot free after leaving: longest of 10", "s", tuple(freed), 0.2)
        )
    return figures
