"""The LLM client against a server on a real socket: every way an answer can go wrong."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest
import structlog

from core.errors import ContextOverflow, ModelUnavailable
from core.ports import ChatMessage, ChatRequest, Completed, TextDelta, ToolCall, ToolSpec
from models.llm.client import LlmClient
from models.llm.settings import LlmSettings
from tests.fakes.llm import FakeLlm, Script
from tests.fakes.waiting import until

PHOTO_TOOL = ToolSpec(
    "read_fundus_photo",
    "Reads a fundus photo.",
    {"type": "object", "properties": {"photo_id": {"type": "string"}}, "required": ["photo_id"]},
)


def a_request(text: str = "眼睛干 T000123", *, tools: tuple[ToolSpec, ...] = ()) -> ChatRequest:
    return ChatRequest([ChatMessage("system", "简短"), ChatMessage("user", text)], tools)


@asynccontextmanager
async def a_client(*servers: FakeLlm | str, **settings: Any) -> AsyncIterator[LlmClient]:
    urls = [s if isinstance(s, str) else s.url for s in servers]
    patient = {"connect_timeout_s": 60, "probe_timeout_s": 60}  # a slow machine is no failure
    client = LlmClient(LlmSettings(base_urls=urls, **(patient | settings)))
    await client.start()
    try:
        yield client
    finally:
        await client.stop()


async def ask(client: LlmClient, request: ChatRequest | None = None) -> tuple[str, Completed]:
    """Return the streamed text and the end, checking that the end is the last event."""
    events = [event async for event in client.stream(request or a_request())]
    assert isinstance(events[-1], Completed)
    assert all(isinstance(e, TextDelta) for e in events[:-1])
    streamed = "".join(e.text for e in events[:-1] if isinstance(e, TextDelta))
    assert streamed.strip() == events[-1].text
    return streamed, events[-1]


def _connections(client: LlmClient) -> set[int]:
    """Return which connections are open."""
    http = client._http
    return {id(c) for t in http._all for c in t._pool.connections} if http else set()


class TestAnswers:
    async def test_text_arrives_in_pieces_and_whole(self) -> None:
        async with FakeLlm(Script(text="好的，请休息。{token}")) as llm, a_client(llm) as client:
            streamed, done = await ask(client)
        assert streamed == "好的，请休息。T000123"
        assert done.finish_reason == "stop"
        assert (done.prompt_tokens, done.completion_tokens) == (24, 3)

    async def test_what_has_arrived_is_read_without_pauses(self) -> None:
        script = Script(text="请休息。" * 100, chunk_characters=1)
        async with FakeLlm(script) as llm, a_client(llm) as client:
            await ask(client)
            took_s: list[float] = []
            while not took_s or (min(took_s) > 8 and len(took_s) < 3):  # a busy machine may pause
                started = time.monotonic()
                streamed, _ = await ask(client)
                took_s.append(time.monotonic() - started)
                assert streamed == "请休息。" * 100
        assert min(took_s) < 8, "400 pauses of 40 ms are 16 s, each time"

    @pytest.mark.parametrize("arrived", [1, 5, 20, 39])
    async def test_slow_answer_grows_steadily(self, arrived: int) -> None:
        """What the server has said is passed on although it has not said the rest."""
        text = "请休息。" * 10
        script = Script(text=text, chunk_characters=1, fail="hang", fail_after=arrived)
        async with (
            FakeLlm(script) as llm,
            a_client(llm, first_token_timeout_s=60) as client,
            aclosing(client.stream(a_request())) as events,
        ):
            said = ""
            while said != text[:arrived]:
                event = await anext(events)
                assert isinstance(event, TextDelta)
                said += event.text

    @pytest.mark.parametrize("suffix", ["", "/", "/v1", "/v1/"])
    async def test_base_url_with_and_without_v1(self, suffix: str) -> None:
        async with FakeLlm() as llm, a_client(llm.url + suffix) as client:
            assert (await ask(client))[0]

    async def test_every_sampling_field_is_sent(self) -> None:
        async with FakeLlm() as llm, a_client(llm, thinking=False) as client:
            await ask(client)
        body = llm.bodies[0]
        assert body["temperature"] == 0.3
        assert body["top_p"] == 0.8
        assert body["top_k"] == 40
        assert body["repetition_penalty"] == 1.02
        assert body["max_completion_tokens"] == 1024
        assert body["chat_template_kwargs"] == {"enable_thinking": False}
        assert body["stream_options"] == {"include_usage": True}
        assert body["model"] == llm.model
        assert body["max_tokens"] == 1024, "the only name that some servers know"
        assert not body.keys() & {"stop", "session_id", "tools"}

    async def test_api_key_is_sent(self) -> None:
        async with FakeLlm(api_key="k1") as llm:
            async with a_client(llm, api_key="k1") as client:
                assert (await ask(client))[0]
            async with a_client(llm, api_key="wrong") as client:
                with pytest.raises(ModelUnavailable):
                    await ask(client)

    async def test_connection_is_kept(self) -> None:
        async with FakeLlm() as llm, a_client(llm, probe_interval_s=60) as client:
            await ask(client)
            before = _connections(client)
            for _ in range(5):
                await ask(client)
            assert _connections(client) == before

    async def test_connections_of_a_crowd_are_closed_again(self) -> None:
        async with FakeLlm(Script(delay_s=0.05)) as llm, a_client(llm) as client:
            await asyncio.gather(*(ask(client) for _ in range(20)))
            assert len(_connections(client)) <= 20 + 1, "and one for the health probe"
            await client.stop()
            assert not _connections(client)

    async def test_native_tool_call(self) -> None:
        script = Script(tool={"name": "read_fundus_photo", "arguments": {"photo_id": "p1"}})
        async with FakeLlm(script) as llm, a_client(llm) as client:
            _, done = await ask(client, a_request(tools=(PHOTO_TOOL,)))
        call = ToolCall("chatcmpl-tool-1", "read_fundus_photo", '{"photo_id": "p1"}')
        assert done.tool_calls == (call,)
        assert done.finish_reason == "tool_calls"
        assert llm.bodies[0]["tools"][0]["function"]["name"] == "read_fundus_photo"

    async def test_text_mode_describes_tools_and_results_in_words(self) -> None:
        call = ToolCall("c1", "read_fundus_photo", '{"photo_id": "p1"}')
        messages = [
            ChatMessage("system", "简短"),
            ChatMessage("user", "看图"),
            ChatMessage("assistant", "", (call,)),
            ChatMessage("tool", "DR 2", tool_call_id="c1"),
        ]
        async with FakeLlm() as llm, a_client(llm, tool_mode="text") as client:
            await ask(client, ChatRequest(messages, (PHOTO_TOOL,)))
        body = llm.bodies[0]
        assert "tools" not in body
        assert body["skip_special_tokens"] is False
        assert "read_fundus_photo" in body["messages"][0]["content"]
        assert [m["role"] for m in body["messages"]] == ["system", "user", "assistant", "user"]
        assert (
            '{"name": "read_fundus_photo", "arguments": {"photo_id": "p1"}}'
            in (body["messages"][2]["content"])
        )
        assert "<tool_response>\nDR 2" in body["messages"][3]["content"]

    async def test_silent_drop_reaches_the_caller_when_tools_were_offered(self) -> None:
        async with FakeLlm(Script(fail="empty")) as llm, a_client(llm) as client:
            _, done = await ask(client, a_request(tools=(PHOTO_TOOL,)))
            assert (done.text, done.tool_calls) == ("", ())
            with pytest.raises(ModelUnavailable):
                await ask(client)


class TestHiddenText:
    @pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 100])
    async def test_thoughts_are_never_shown(self, size: int) -> None:
        script = Script(
            text="<think>病人可能…</think>\n\n请休息。", reasoning="嗯", chunk_characters=size
        )
        async with FakeLlm(script) as llm, a_client(llm) as client:
            streamed, done = await ask(client)
        assert streamed == done.text == "请休息。"

    @pytest.mark.parametrize("size", [1, 4, 100])
    async def test_thought_opened_by_the_template(self, size: int) -> None:
        script = Script(text="病人可能…\n</think>\n请休息。", chunk_characters=size)
        async with FakeLlm(script) as llm, a_client(llm, thinking=True) as client:
            streamed, _ = await ask(client)
        assert streamed == "请休息。"

    @pytest.mark.parametrize("size", [1, 3, 7, 100])
    async def test_stop_string_ends_the_answer(self, size: int) -> None:
        script = Script(text="请休息。\nObservation: 假的结果", chunk_characters=size)
        async with FakeLlm(script) as llm, a_client(llm, stop=("Observation:",)) as client:
            streamed, done = await ask(client)
        assert streamed.strip() == done.text == "请休息。"
        assert done.finish_reason == "stop"

    async def test_only_thoughts_are_asked_for_again_without_thinking(self) -> None:
        def answer(body: dict[str, Any]) -> Script:
            is_thinking = body["chat_template_kwargs"]["enable_thinking"]
            return Script(text="", reasoning="嗯") if is_thinking else Script(text="请休息。")

        async with FakeLlm() as llm, a_client(llm, thinking=True) as client:
            llm.answer = answer
            assert (await ask(client))[0] == "请休息。"
            assert llm.calls == 2

    async def test_call_inside_a_thought_is_rescued(self) -> None:
        text = (
            '<think>看图<tool_call>\n{"name": "read_fundus_photo", "arguments": '
            '{"photo_id": "p1"}}\n</tool_call></think>'
        )
        async with FakeLlm(Script(text=text, token="x")) as llm, a_client(llm) as client:
            llm.answer = lambda body: Script(text=text)
            _, done = await ask(client, a_request(tools=(PHOTO_TOOL,)))
        assert done.text == ""
        assert done.tool_calls[0].arguments == '{"photo_id": "p1"}'


class TestFailures:
    @pytest.mark.parametrize(
        "fail",
        [
            "http_401",
            "http_404",
            "http_429",
            "http_500",
            "http_503",
            "plain_500",
            "error_200",
            "proxy_dead",
            "error_chunk",
            "no_finish",
            "cut",
            "garbage",
            "bad_json",
            "empty",
            "finish_error",
            "finish_abort",
        ],
    )
    async def test_becomes_model_unavailable_without_the_servers_words(self, fail: str) -> None:
        script = Script(text="请休息。请休息。请休息。", fail=fail)
        with structlog.testing.capture_logs() as logs:
            async with FakeLlm(script) as llm, a_client(llm) as client:
                with pytest.raises(ModelUnavailable) as caught:
                    await ask(client)
                llm.script = Script()
                assert (await ask(client))[0], "one failure must not lock the server out"
        assert not isinstance(caught.value, ContextOverflow)
        said = repr(caught.value) + repr(caught.value.__cause__) + repr(logs)
        assert "SECRET-UPSTREAM" not in said
        assert "T000123" not in said

    async def test_context_overflow_is_told_apart(self) -> None:
        async with FakeLlm(Script(fail="http_400")) as llm, a_client(llm) as client:
            for _ in range(5):
                with pytest.raises(ContextOverflow):
                    await ask(client)
            assert client.is_healthy(), "our own long request says nothing about the server"

    async def test_silence_before_the_first_token(self) -> None:
        script = Script(fail="hang", fail_after=0)
        async with FakeLlm(script) as llm, a_client(llm, first_token_timeout_s=0.2) as client:
            with pytest.raises(ModelUnavailable):
                await ask(client)
            await until(lambda: llm.dropped == 1)

    async def test_slow_headers(self) -> None:
        script = Script(delay_s=30)
        async with FakeLlm(script) as llm, a_client(llm, first_token_timeout_s=0.2) as client:
            with pytest.raises(ModelUnavailable):
                await ask(client)

    async def test_silence_between_tokens(self) -> None:
        script = Script(text="请休息。" * 9, fail="hang", fail_after=2)
        async with FakeLlm(script) as llm, a_client(llm, first_token_timeout_s=0.2) as client:
            with pytest.raises(ModelUnavailable):
                await ask(client)

    async def test_trickle_meets_the_total_timeout(self) -> None:
        script = Script(text="请休息。" * 99, chunk_delay_s=0.05, chunk_characters=1)
        async with FakeLlm(script) as llm, a_client(llm, total_timeout_s=0.4) as client:
            with pytest.raises(ModelUnavailable):
                await ask(client)

    async def test_connection_refused(self, unused_tcp_port: int) -> None:
        async with a_client(f"http://127.0.0.1:{unused_tcp_port}") as client:
            with pytest.raises(ModelUnavailable):
                await ask(client)
            assert not client.is_healthy()
            assert not client.health().ok
            assert not client.health().required

    async def test_reset_before_headers(self) -> None:
        async def reset(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.transport.abort()

        server = await asyncio.start_server(reset, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            async with a_client(f"http://127.0.0.1:{port}", model="m") as client:
                with pytest.raises(ModelUnavailable):
                    await ask(client)

    async def test_not_started_and_stopped(self) -> None:
        client = LlmClient(LlmSettings(base_urls=("http://127.0.0.1:9",)))
        assert not client.is_healthy()
        with pytest.raises(ModelUnavailable):
            await ask(client)
        await client.start()
        await client.stop()
        await client.stop()
        with pytest.raises(ModelUnavailable):
            await ask(client)

    async def test_no_server_configured(self) -> None:
        async with a_client() as client:
            assert not client.is_healthy()
            with pytest.raises(ModelUnavailable):
                await ask(client)


class TestCancel:
    async def test_closing_the_iterator_stops_the_server(self) -> None:
        script = Script(text="请休息。" * 200, chunk_delay_s=0.2)  # 20 s, were it not stopped
        async with FakeLlm(script) as llm, a_client(llm) as client:
            async with aclosing(client.stream(a_request())) as events:
                assert isinstance(await anext(events), TextDelta)
            await until(lambda: llm.dropped == 1)
            assert llm.finished == 0

    async def test_cancelling_the_task_stops_the_server(self) -> None:
        script = Script(fail="hang", fail_after=0)
        async with FakeLlm(script) as llm, a_client(llm) as client:
            task = asyncio.create_task(ask(client))
            await until(lambda: llm.active == 1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await until(lambda: llm.dropped == 1)
            llm.script = Script()
            assert (await ask(client))[0], "the slot and the pool are free again"


class TestAdmission:
    async def test_never_more_in_flight_than_allowed(self) -> None:
        async with FakeLlm() as llm, a_client(llm, max_in_flight=3) as client:
            llm.hold()
            calls = [asyncio.create_task(ask(client)) for _ in range(12)]
            await until(lambda: sum(c.done() for c in calls) == 6, "the refusals")
            await until(lambda: llm.active == 3, "three calls under way")
            llm.release()
            results = await asyncio.gather(*calls, return_exceptions=True)
            assert llm.most_active == 3
        served = [r for r in results if isinstance(r, tuple)]
        refused = [r for r in results if isinstance(r, ModelUnavailable)]
        # Three at once and three waiting; the rest hears at once that it is too much.
        assert (len(served), len(refused)) == (6, 6)

    async def test_waiting_is_bounded(self) -> None:
        script = Script(text="请休息。" * 99, fail="hang", fail_after=2)
        async with (
            FakeLlm(script) as llm,
            a_client(llm, max_in_flight=1, first_token_timeout_s=60) as client,
            aclosing(client.stream(a_request())) as events,
        ):
            await anext(events)
            hasty = {"first_token_timeout_s": 0.3}
            client._settings = client._settings.model_copy(update=hasty)
            with pytest.raises(ModelUnavailable):
                await ask(client)
            assert llm.calls == 1


class TestSeveralServers:
    @pytest.mark.parametrize("fail", ["http_500", "http_503", "error_200", "cut", "error_chunk"])
    async def test_another_server_answers_before_the_first_word(self, fail: str) -> None:
        bad = Script(fail=fail, fail_after=0)
        async with FakeLlm(bad) as one, FakeLlm(bad) as two, FakeLlm() as three:
            async with a_client(one, two, three) as client:
                for _ in range(6):
                    assert (await ask(client))[0]
            assert three.calls == 6

    async def test_no_second_server_after_the_first_word(self) -> None:
        bad = Script(text="请休息。" * 9, fail="cut", fail_after=2)
        async with FakeLlm(bad) as one, FakeLlm(bad) as two, a_client(one, two) as client:
            with pytest.raises(ModelUnavailable):
                await ask(client)
            assert one.calls + two.calls == 1

    async def test_dead_server_is_left_out_and_comes_back(self) -> None:
        one, two = FakeLlm(), FakeLlm()
        async with two:
            await one.start()
            async with a_client(one, two, probe_interval_s=0.05) as client:
                await until(lambda: client.health().facts["servers"] == "2/2")
                await one.stop()
                for _ in range(4):
                    assert (await ask(client))[0]
                await until(lambda: client.health().facts["servers"] == "1/2")
                assert client.is_healthy()
                await one.start()
                await until(lambda: client.health().facts["servers"] == "2/2")
            await one.stop()

    async def test_unhealthy_server_gets_no_calls(self) -> None:
        async with FakeLlm() as one, FakeLlm() as two:
            one.healthy = False
            async with a_client(one, two) as client:
                await until(lambda: client.health().facts["servers"] == "1/2")
                for _ in range(4):
                    await ask(client)
            assert (one.calls, two.calls) == (0, 4)

    async def test_server_without_health_route_is_probed_by_its_models(self) -> None:
        async with FakeLlm() as llm:
            llm.has_health_route = False
            async with a_client(llm) as client:
                await until(lambda: client.health().facts["models"] == llm.model)
                assert client.health().ok

    async def test_load_is_shared(self) -> None:
        async with FakeLlm() as one, FakeLlm() as two, a_client(one, two) as client:
            one.hold()
            two.hold()
            calls = [asyncio.create_task(ask(client)) for _ in range(8)]
            await until(lambda: one.active + two.active == 8, "eight calls under way")
            one.release()
            two.release()
            await asyncio.gather(*calls)
            assert (one.calls, two.calls) == (4, 4)

    async def test_renamed_model_is_found_again(self) -> None:
        async with FakeLlm() as llm, a_client(llm, probe_interval_s=60) as client:
            await ask(client)
            llm.model = "qwen3"
            with pytest.raises(ModelUnavailable):
                await ask(client)
            assert (await ask(client))[0]
