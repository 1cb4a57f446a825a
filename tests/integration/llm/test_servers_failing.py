"""Several servers on real sockets, one of which fails in every way a server can."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from typing import Any

import pytest
import structlog

from core.errors import ModelUnavailable
from core.ports import ChatMessage, ChatRequest, Completed, TextDelta
from models.llm import health, servers
from models.llm.client import LlmClient
from models.llm.settings import LlmSettings
from tests.fakes.llm import FakeLlm, Script
from tests.fakes.waiting import until

# A slow machine is no failing server.
PATIENT = {"connect_timeout_s": 60, "probe_timeout_s": 60}
PATIENTS = [f"patient-{n}" for n in range(8)]


@asynccontextmanager
async def a_client(*servers: FakeLlm | str, **settings: Any) -> AsyncIterator[LlmClient]:
    urls = [s if isinstance(s, str) else s.url for s in servers]
    client = LlmClient(LlmSettings(base_urls=urls, **(PATIENT | settings)))
    await client.start()
    try:
        yield client
    finally:
        await client.stop()


async def ask(client: LlmClient, affinity: str = "") -> str:
    """Return the answer, which must be the streamed text."""
    request = ChatRequest([ChatMessage("user", "眼睛干 T000123")], affinity=affinity)
    events = [event async for event in client.stream(request)]
    assert isinstance(events[-1], Completed)
    streamed = "".join(e.text for e in events[:-1] if isinstance(e, TextDelta))
    assert streamed.strip() == events[-1].text
    return events[-1].text


def state(client: LlmClient, number: int) -> str:
    return client.servers.state(client.servers.all[number])


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let suspicion and probes take tenths of seconds instead of seconds."""
    monkeypatch.setattr(health, "_PATIENCE_S", 0.1)
    monkeypatch.setattr(health, "_AWAY_INTERVAL_S", 0.1)


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def a_raw_server(on_chat: Handler) -> AsyncIterator[str]:
    """A server whose health is fine; what it does with a call is up to `on_chat`."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := (await reader.readuntil(b"\r\n\r\n")).decode():
                if head.startswith("POST"):
                    length = int(head.lower().partition("content-length:")[2].split()[0])
                    await reader.readexactly(length)
                    await on_chat(reader, writer)
                    return
                is_health = "/health" in head
                body = b'{"status":"healthy"}' if is_health else b'{"data":[{"id":"m"}]}'
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


async def reset(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def close_politely(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def half_a_head(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Ty")
    await writer.drain()


async def head_only(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    await writer.drain()


async def no_http(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-OpenSSH_9.6\r\n")
    await writer.drain()


@contextmanager
def a_server_process() -> Iterator[tuple[subprocess.Popen[str], str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.fakes.llm", "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ,
    )
    try:
        assert process.stdout
        yield process, process.stdout.readline().split()[-1]
    finally:
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


class TestBeforeTheFirstByte:
    @pytest.mark.parametrize("failing", [reset, close_politely, half_a_head, head_only, no_http])
    async def test_a_connection_that_breaks_moves_the_call(self, failing: Handler) -> None:
        async with a_raw_server(failing) as bad, FakeLlm() as good, a_client(bad, good) as client:
            for patient in PATIENTS:
                assert await ask(client, patient) == "好的。T000123"
        assert good.calls == len(PATIENTS)

    async def test_nobody_listens(self, unused_tcp_port: int) -> None:
        async with (
            FakeLlm() as good,
            a_client(f"http://127.0.0.1:{unused_tcp_port}", good) as client,
        ):
            for patient in PATIENTS:
                assert await ask(client, patient)

    @pytest.mark.parametrize(
        "fail",
        ["http_401", "http_404", "http_429", "http_500", "http_503", "plain_500", "proxy_dead"],
    )
    async def test_an_error_instead_of_an_answer_moves_the_call(self, fail: str) -> None:
        async with (
            FakeLlm(Script(fail=fail)) as bad,
            FakeLlm() as good,
            a_client(bad, good) as client,
        ):
            for patient in PATIENTS:
                assert await ask(client, patient)

    async def test_a_request_every_server_would_refuse_is_not_repeated(self) -> None:
        async with FakeLlm(Script(fail="http_400")) as one, FakeLlm(Script(fail="http_400")) as two:
            async with a_client(one, two) as client:
                with pytest.raises(ModelUnavailable):
                    await ask(client, "a")
            assert one.calls + two.calls == 1

    @pytest.mark.usefixtures("hasty")
    async def test_a_server_that_freezes_gives_its_waiting_call_away(self) -> None:
        with a_server_process() as (process, frozen):
            only_probes = {
                "first_token_timeout_s": 300,
                "total_timeout_s": 300,
                "probe_timeout_s": 1,
            }
            async with FakeLlm() as good, a_client(frozen, good, **only_probes) as client:
                await until(lambda: {state(client, 0), state(client, 1)} == {"usable"})
                process.send_signal(signal.SIGSTOP)
                # Without a patient: the least busy, so one of these calls meets the frozen server.
                answers = await asyncio.gather(*(ask(client) for _ in PATIENTS))
                assert all(answers)
                assert good.calls == len(answers)
                assert state(client, 0) == "unreachable"
                process.send_signal(signal.SIGCONT)
                await until(lambda: state(client, 0) == "usable")

    @pytest.mark.usefixtures("hasty")
    async def test_a_lone_server_may_take_all_its_time(self) -> None:
        script = Script(delay_s=0.8)
        async with FakeLlm(script) as only, a_client(only, probe_interval_s=0.1) as client:
            await until(lambda: state(client, 0) == "usable")
            only.healthy = False
            client.servers.all[0].is_reachable = True
            assert await ask(client)

    async def test_silence_while_its_health_is_fine_is_an_honest_failure(self) -> None:
        hanging = Script(fail="hang", fail_after=0)
        async with FakeLlm(hanging) as one, FakeLlm(hanging) as two:
            async with a_client(one, two, first_token_timeout_s=0.3) as client:
                with pytest.raises(ModelUnavailable, match="first_token_timeout"):
                    await ask(client, "a")
            assert one.calls + two.calls == 1, "the patient has waited enough"

    async def test_a_slow_server_is_waited_for(self) -> None:
        async with FakeLlm(Script(delay_s=0.5)) as one, FakeLlm(Script(delay_s=0.5)) as two:
            async with a_client(one, two) as client:
                assert await ask(client, "a")
            assert one.calls + two.calls == 1


class TestAfterTheFirstByte:
    @pytest.mark.parametrize("fail", ["cut", "error_chunk", "no_finish", "hang"])
    async def test_an_answer_that_breaks_off_is_never_repeated(self, fail: str) -> None:
        bad = Script(text="请休息。" * 9, fail=fail, fail_after=2)
        async with FakeLlm(bad) as one, FakeLlm(bad) as two:
            async with a_client(one, two, first_token_timeout_s=2) as client:
                events = client.stream(ChatRequest([ChatMessage("user", "痛")]))
                assert isinstance(await anext(events), TextDelta)
                with pytest.raises(ModelUnavailable):
                    _ = [event async for event in events]
            assert one.calls + two.calls == 1


class TestPatients:
    async def test_a_patient_keeps_the_server_and_comes_back_to_it(self) -> None:
        one, two = FakeLlm(), FakeLlm()
        async with two:
            await one.start()
            async with a_client(one, two, probe_interval_s=0.05) as client:
                by_server = {p: client.servers.choose(p) for p in PATIENTS}
                homes = {p: s.number for p, s in by_server.items() if s}
                assert set(homes.values()) == {0, 1}
                patient = next(p for p in PATIENTS if homes[p] == 0)
                for _ in range(4):
                    await ask(client, patient)
                assert (one.calls, two.calls) == (4, 0)
                await one.stop()
                await ask(client, patient)
                assert two.calls == 1
                await one.start()
                await until(lambda: state(client, 0) == "usable")
                await ask(client, patient)
                assert (one.calls, two.calls) == (5, 1)
            await one.stop()

    async def test_a_crowd_is_shared_out(self) -> None:
        async with FakeLlm() as one, FakeLlm() as two, a_client(one, two) as client:
            one.hold()
            two.hold()
            calls = [asyncio.create_task(ask(client, "the same patient")) for _ in range(16)]
            await until(lambda: one.active + two.active == 16, "16 calls under way")
            one.release()
            two.release()
            await asyncio.gather(*calls)
            assert max(one.most_active, two.most_active) <= 1.25 * 17 / 2
            assert one.calls + two.calls == 16

    async def test_each_server_is_asked_for_its_own_model(self) -> None:
        async with FakeLlm(model="qwen3") as one, FakeLlm(model="internlm3") as two:
            async with a_client(one, two) as client:
                for patient in PATIENTS:
                    await ask(client, patient)
                assert client.health().facts["models"] == "internlm3, qwen3"
            assert {b["model"] for b in one.bodies} == {"qwen3"}
            assert {b["model"] for b in two.bodies} == {"internlm3"}

    async def test_admission_counts_over_all_servers(self) -> None:
        async with FakeLlm() as one, FakeLlm() as two:
            async with a_client(one, two, max_in_flight=4, first_token_timeout_s=60) as client:
                one.hold()
                two.hold()
                calls = [asyncio.create_task(ask(client, p)) for p in PATIENTS]
                await until(lambda: one.active + two.active == 4, "four calls under way")
                for _ in range(20):  # a fifth would come now
                    await asyncio.sleep(0.01)
                    assert one.active + two.active == 4
                one.release()
                two.release()
                most = 0
                while not all(c.done() for c in calls):
                    most = max(most, one.active + two.active)
                    await asyncio.sleep(0)
                assert [c.exception() for c in calls] == [None] * len(calls)
            assert most <= 4


class TestDrain:
    async def test_a_draining_server_gets_nothing_new(self) -> None:
        async with FakeLlm() as one, FakeLlm() as two:
            async with a_client(one, two, draining=[one.url + "/v1"]) as client:
                for patient in PATIENTS:
                    await ask(client, patient)
                assert state(client, 0) == "draining"
            assert (one.calls, two.calls) == (0, len(PATIENTS))

    async def test_what_runs_on_a_server_that_becomes_unhealthy_finishes(self) -> None:
        slow = Script(text="请休息。" * 12, chunk_characters=4, chunk_delay_s=0.1)
        async with FakeLlm(slow) as one, FakeLlm() as two:
            async with a_client(one, two, probe_interval_s=0.05) as client:
                patient = next(
                    p for p in PATIENTS if client.servers.choose(p) is client.servers.all[0]
                )
                request = ChatRequest([ChatMessage("user", "痛")], affinity=patient)
                async with aclosing(client.stream(request)) as events:
                    first = await anext(events)
                    one.healthy = False
                    await until(lambda: state(client, 0) == "unreachable")
                    assert await ask(client, patient), "the next one goes to the other"
                    rest = [event async for event in events]
                assert isinstance(first, TextDelta)
                assert isinstance(rest[-1], Completed)
                assert rest[-1].text == "请休息。" * 12
            assert (one.calls, two.calls) == (1, 1)

    async def test_a_server_that_says_503_is_left_alone(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(servers, "_REFUSED_S", 3600.0)
        async with FakeLlm(Script(fail="http_503")) as one, FakeLlm() as two:
            async with a_client(one, two) as client:
                for patient in PATIENTS * 2:
                    await ask(client, patient)
                assert state(client, 0) == "refusing"
            assert (one.calls, two.calls) == (1, 16)

    async def test_a_sleeping_server_is_not_used(self) -> None:
        """LMDeploy says 200 on /health while it sleeps, and 503 on every call."""
        async with (
            a_raw_health(b'{"status":"sleeping"}') as sleeping,
            FakeLlm() as two,
            a_client(sleeping, two) as client,
        ):
            await until(lambda: state(client, 0) == "unreachable")
            assert "wakeup" in client.health().detail


@asynccontextmanager
async def a_raw_health(body: bytes) -> AsyncIterator[str]:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


async def test_a_change_is_logged_once_with_its_reason() -> None:
    with structlog.testing.capture_logs() as logs:
        async with (
            FakeLlm(api_key="k1") as llm,
            a_client(llm, api_key="wrong", probe_interval_s=0.02) as client,
        ):
            await until(lambda: state(client, 0) == "unreachable")
            await asyncio.sleep(0.15)
            assert "set llm.api_key" in client.health().detail
    changes = [e for e in logs if e["event"] == "llm_server_changed"]
    assert [(e["server"], e["state"], e["why"]) for e in changes] == [
        (0, "unreachable", "unauthorized")
    ]
