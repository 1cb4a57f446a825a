"""`make bench-lmdeploy`: two LMDeploy nodes, one of which goes away while patients write.

Compared in one run: our client with both addresses, and a plain reader of the stream (no retry, no
circuit breaker) behind `lmdeploy serve proxy` with the same two nodes. Nodes and proxy are the real
ones of LMDeploy; only what the engine says is written in advance (`tests.contract.lmdeploy`).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import statistics
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field

import httpx
import structlog

from core.errors import ModelUnavailable
from core.ports import ChatMessage, ChatRequest, TextDelta
from models.llm.client import LlmClient
from models.llm.settings import LlmSettings
from tests.contract.lmdeploy import server as lmdeploy
from tests.contract.lmdeploy.script import Rule
from tests.contract.lmdeploy.server import LmdeployServer

# One answer: 0.25 s to the first token, about as long again for the rest.
_ANSWER = Rule("请闭眼休息十分钟。", first_step_s=0.25, step_s=0.01)
_TURN_S = 0.8


@dataclass(slots=True)
class Turn:
    """One question; times are `time.monotonic`."""

    began_s: float
    first_s: float | None = None
    ended_s: float = 0.0
    is_answered: bool = False


@dataclass(slots=True)
class Run:
    """What patients met while one node went away at `gone_s`."""

    how: str
    turns: list[Turn] = field(default_factory=list[Turn])
    gone_s: float = 0.0

    def after(self) -> list[Turn]:
        """Turns that had no first word when the node went."""
        return [t for t in self.turns if t.first_s is None or t.first_s > self.gone_s]

    def failed(self) -> list[Turn]:
        """Those of them without an answer."""
        return [t for t in self.after() if not t.is_answered and t.ended_s > self.gone_s]

    def cut(self) -> list[Turn]:
        """Answers in the middle of which the node went."""
        return [
            t for t in self.turns if t.first_s and t.first_s <= self.gone_s and not t.is_answered
        ]

    def first_words_ms(self, *, after: bool) -> list[float]:
        """Times to the first word before or after."""
        return [
            (t.first_s - t.began_s) * 1000
            for t in self.turns
            if t.first_s and (t.began_s > self.gone_s) == after
        ]


class Failed(Exception):
    """A turn without a whole answer."""


# Yields when a word became visible; raises `Failed` unless the answer is whole.
_Ask = Callable[[str], AsyncIterator[None]]


def _messages(patient: str) -> list[ChatMessage]:
    return [ChatMessage("system", "你是眼科助手。"), ChatMessage("user", f"我是{patient}，眼睛干")]


@asynccontextmanager
async def _our_client(urls: Sequence[str]) -> AsyncGenerator[_Ask]:
    client = LlmClient(LlmSettings(base_urls=tuple(urls), model=lmdeploy.MODEL))

    async def ask(patient: str) -> AsyncIterator[None]:
        try:
            async for event in client.stream(ChatRequest(_messages(patient), affinity=patient)):
                if isinstance(event, TextDelta):
                    yield
        except ModelUnavailable as error:
            raise Failed from error

    await client.start()
    try:
        await client.probe()
        yield ask
    finally:
        await client.stop()


@asynccontextmanager
async def _plain_reader(url: str) -> AsyncGenerator[_Ask]:
    body = {"model": lmdeploy.MODEL, "stream": True, "max_completion_tokens": 256}
    async with httpx.AsyncClient(trust_env=False, timeout=8) as client:

        async def ask(patient: str) -> AsyncIterator[None]:
            messages = [{"role": m.role, "content": m.content} for m in _messages(patient)]
            is_finished = False
            try:
                async with client.stream(
                    "POST", f"{url}/v1/chat/completions", json=body | {"messages": messages}
                ) as answer:
                    async for line in answer.aiter_lines():
                        if not line.startswith("data: {"):
                            continue
                        choice = json.loads(line.removeprefix("data: "))["choices"][0]
                        is_finished |= choice.get("finish_reason") == "stop"
                        if choice["delta"].get("content"):
                            yield
            except httpx.HTTPError as error:
                raise Failed from error
            if not is_finished:
                raise Failed

        yield ask


async def _patient(ask: _Ask, name: str, run: Run, until_s: float) -> None:
    while (began_s := time.monotonic()) < until_s:
        turn = Turn(began_s)
        run.turns.append(turn)
        with suppress(Failed):
            async for _ in ask(name):
                turn.first_s = turn.first_s or time.monotonic()
            turn.is_answered = True
        turn.ended_s = time.monotonic()
        # At an even pace, so that quick failures do not make more turns.
        await asyncio.sleep(max(0.0, began_s + _TURN_S - turn.ended_s))


async def _traffic(run: Run, ask: _Ask, options: _Options, go: Callable[[], None]) -> None:
    began_s = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for n in range(options.patients):
            group.create_task(_patient(ask, f"P{n:03}", run, began_s + options.seconds))
            await asyncio.sleep(_TURN_S / options.patients)
        await asyncio.sleep(began_s + options.seconds / 3 - time.monotonic())
        run.gone_s = time.monotonic()
        go()


@asynccontextmanager
async def _proxy(nodes: Sequence[str]) -> AsyncGenerator[str]:
    """Run LMDeploy's own proxy before `nodes`."""
    port = lmdeploy.free_port()
    process = await asyncio.create_subprocess_exec(
        lmdeploy.PYTHON.parent / "lmdeploy",
        *("serve", "proxy", "--server-name", "127.0.0.1", "--server-port", str(port)),
        "--disable-cache-status",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        async with httpx.AsyncClient(trust_env=False, timeout=5) as client:
            async with asyncio.timeout(60):
                while True:
                    with suppress(httpx.HTTPError):
                        if (await client.get(f"{url}/v1/models")).status_code == 200:
                            break
                    await asyncio.sleep(0.2)
            for node in nodes:
                (await client.post(f"{url}/nodes/add", json={"url": node})).raise_for_status()
        yield url
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _measure(how: str, signal_number: int, *, by_proxy: bool, options: _Options) -> Run:
    run = Run(how)
    async with AsyncExitStack() as stack:
        nodes = await asyncio.gather(
            *(stack.enter_async_context(LmdeployServer.running()) for _ in range(2))
        )
        for node in nodes:
            await node.say(_ANSWER)
        urls = [node.url for node in nodes]
        if by_proxy:
            url = await stack.enter_async_context(_proxy(urls))
            ask = await stack.enter_async_context(_plain_reader(url))
        else:
            ask = await stack.enter_async_context(_our_client(urls))
        await _traffic(run, ask, options, lambda: os.kill(nodes[0].pid, signal_number))
    return run


class _Options(argparse.Namespace):
    patients: int
    seconds: float
    ways: list[str]


_WAYS = {"kill -9": signal.SIGKILL, "stop": signal.SIGTERM, "freeze": signal.SIGSTOP}


def _row(run: Run) -> str:
    after = run.after()
    before_ms, after_ms = run.first_words_ms(after=False), run.first_words_ms(after=True)
    cells = [
        run.how,
        str(len(run.turns)),
        f"**{len(run.failed())}** of {len(after)}",
        str(len(run.cut())),
        f"{statistics.median(before_ms):,.0f}" if before_ms else "-",
        f"{statistics.median(after_ms):,.0f}" if after_ms else "-",
        f"{max(after_ms):,.0f}" if after_ms else "-",
    ]
    return f"| {' | '.join(cells)} |"


_HEAD = (
    "| one of two nodes | turns | failed, of those without a first word when it went "
    "| cut in the middle | first word before, p50 ms | after, p50 ms | after, max ms |\n"
    "|---|---|---|---|---|---|---|"
)


async def _run(options: _Options) -> int:
    rows: list[str] = []
    failed = 0
    for way in options.ways:
        for by_proxy in (False, True):
            how = f"{way}: {'lmdeploy serve proxy' if by_proxy else 'our client'}"
            sys.stderr.write(f"{how} …\n")
            run = await _measure(how, _WAYS[way], by_proxy=by_proxy, options=options)
            rows.append(_row(run))
            failed += 0 if by_proxy else len(run.failed())
    load = " ".join(f"{x:.1f}" for x in os.getloadavg())
    sys.stdout.write("\n".join([_HEAD, *rows]) + "\n")
    sys.stdout.write(f"\n{options.patients} patients, {options.seconds:g} s each; load {load}\n")
    return 1 if failed else 0


def main() -> int:
    """Measure; status 1 when a turn of ours failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.llm_servers", description=__doc__)
    parser.add_argument("--patients", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--ways", nargs="*", default=[*_WAYS], choices=[*_WAYS])
    options = parser.parse_args(namespace=_Options())
    if not lmdeploy.is_installed():
        sys.stdout.write(f"skipped: {lmdeploy.MISSING}\n")
        return 0
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("critical"))
    return asyncio.run(_run(options))


if __name__ == "__main__":
    sys.exit(main())
