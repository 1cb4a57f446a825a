"""What a recording cannot show: what reaches LMDeploy's engine, and when it is let go."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import httpx
import pytest
import structlog

from core.errors import ModelBusy, ModelUnavailable
from core.ports import ChatMessage, ChatRequest, Completed, TextDelta
from models.llm import wire
from models.llm.client import LlmClient
from models.llm.settings import LlmSettings
from tests.contract.llm.scenarios import PHOTO, PLAIN, QUESTION, REST, THINKING
from tests.contract.lmdeploy.conftest import Servers
from tests.contract.lmdeploy.script import Rule
from tests.contract.lmdeploy.server import MODEL, LmdeployServer

pytestmark = pytest.mark.lmdeploy

_FREED_S = 0.2  # the bar


@asynccontextmanager
async def a_client(server: LmdeployServer, **more: Any) -> AsyncGenerator[LlmClient, None]:
    client = LlmClient(LlmSettings(base_urls=(server.url,), **more))
    await client.start()
    try:
        yield client
    finally:
        await client.stop()


async def answer(client: LlmClient, text: str = "你好", affinity: str = "") -> Completed:
    request = ChatRequest([ChatMessage("user", text)], affinity=affinity)
    return [event async for event in client.stream(request)][-1]  # type: ignore[return-value]


async def post(server: LmdeployServer, **body: Any) -> httpx.Response:
    """Ask the server without our client."""
    async with httpx.AsyncClient(trust_env=False, timeout=20) as client:
        base = {"model": MODEL, "messages": [{"role": "user", "content": "你好"}]}
        return await client.post(f"{server.url}/v1/chat/completions", json=base | body)


class TestEngineSees:
    async def test_our_sampling_and_not_the_models(self, servers: Servers) -> None:
        server = servers.of(THINKING)
        servers.run(server.say(Rule(REST, tokens_per_step=9)))
        ours = {"temperature": 0.41, "top_p": 0.73, "top_k": 17, "repetition_penalty": 1.07}
        async with a_client(server, max_completion_tokens=77, **ours) as client:
            request = ChatRequest(QUESTION, temperature=0.41)
            async with aclosing(client.stream(request)) as events:
                assert isinstance([e async for e in events][-1], Completed)
        (call,) = servers.run(server.calls())
        assert {k: call["sampling"][k] for k in ours} == pytest.approx(ours)
        assert call["sampling"]["max_new_tokens"] == 77
        assert call["prompt"].endswith("<think>\n\n</think>\n\n"), "thoughts are switched off"

    async def test_the_models_sampling_when_a_field_is_left_out(self, servers: Servers) -> None:
        """Why every field is sent."""
        server = servers.of(THINKING)
        servers.run(server.say(Rule(REST, tokens_per_step=9)))
        assert (await post(server)).status_code == 200
        (call,) = servers.run(server.calls())
        sampling = call["sampling"]
        assert (sampling["temperature"], sampling["top_k"]) == (0.77, 11)
        assert sampling["max_new_tokens"] == 2048 - call["prompt_tokens"]

    async def test_a_stop_string_of_many_tokens_is_not_known_to_it(self, servers: Servers) -> None:
        """Why stop strings are enforced on our side."""
        server = servers.of(THINKING)
        servers.run(server.say(Rule("请休息。Observation: 一切正常", tokens_per_step=9)))
        said = await post(
            server, stop=["Observation:"], chat_template_kwargs={"enable_thinking": False}
        )
        assert "一切正常" in said.json()["choices"][0]["message"]["content"]

    async def test_thoughts_though_switched_off_cannot_be_told_from_words(
        self, servers: Servers
    ) -> None:
        """Why a model that always thinks needs ``llm.thinking: true``."""
        server = servers.of(THINKING)
        servers.run(server.say(Rule("<think>可能是干眼。</think>请休息。", tokens_per_step=9)))
        said = await post(server, chat_template_kwargs={"enable_thinking": False})
        message = said.json()["choices"][0]["message"]
        assert message["content"] == "可能是干眼。请休息。"
        async with a_client(server, thinking=True) as client:
            assert (await answer(client)).text == "请休息。"


class TestSessions:
    async def test_the_same_session_twice_is_a_crash_and_ours_never_name_one(
        self, servers: Servers
    ) -> None:
        server = servers.of(THINKING)
        servers.run(server.say(Rule(REST, step_s=0.01, tokens_per_step=3)))
        both = await asyncio.gather(*(post(server, session_id=7) for _ in range(2)))
        assert sorted(r.status_code for r in both) == [200, 500]
        assert next(r for r in both if r.status_code == 500).text == "Internal Server Error"
        async with a_client(server) as client:
            same_patient = (answer(client, affinity="p1") for _ in range(4))
            assert {done.text for done in await asyncio.gather(*same_patient)} == {REST}

    async def test_nothing_of_an_earlier_call_is_remembered(self, servers: Servers) -> None:
        server = servers.of(THINKING)
        servers.run(server.say(Rule(REST, tokens_per_step=9)))
        async with a_client(server) as client:
            await answer(client, "第一句", affinity="p1")
            await answer(client, "第二句", affinity="p1")
        first, second = servers.run(server.calls())
        assert "第一句" in first["prompt"]
        assert "第一句" not in second["prompt"]


class TestOverload:
    async def test_the_server_queues_for_ever_so_we_admit(self, servers: Servers) -> None:
        server = servers.of(PLAIN)  # two slots
        servers.run(server.say(Rule("请休息。", first_step_s=0.6, tokens_per_step=99)))
        async with a_client(server, api_key="sesame", max_in_flight=2) as client:
            await answer(client)
            servers.run(server.say(Rule("请休息。", first_step_s=0.6, tokens_per_step=99)))
            began = time.monotonic()
            results = await asyncio.gather(
                *(answer(client) for _ in range(7)), return_exceptions=True
            )
            took_s = time.monotonic() - began
        served = [r for r in results if isinstance(r, Completed)]
        told = [r for r in results if isinstance(r, ModelBusy)]
        assert (len(served), len(told)) == (4, 3), "two at once, two wait, the rest is told so"
        assert took_s < 2.5
        assert len(servers.run(server.calls())) == 4

    async def test_whoever_waited_too_long_is_told(self, servers: Servers) -> None:
        server = servers.of(PLAIN)
        servers.run(server.say(Rule("请休息。" * 20, step_s=0.05)))
        more = {"api_key": "sesame", "max_in_flight": 1, "first_token_timeout_s": 0.6}
        async with (
            a_client(server, **more) as client,
            aclosing(client.stream(ChatRequest(QUESTION))) as events,
        ):
            await anext(events)
            with pytest.raises(ModelBusy):
                await answer(client)

    async def test_more_calls_than_slots_are_all_answered(self, servers: Servers) -> None:
        server = servers.of(PLAIN)
        servers.run(server.say(Rule("请休息。", first_step_s=0.2, tokens_per_step=99)))
        async with a_client(server, api_key="sesame", max_in_flight=8) as client:
            done = await asyncio.gather(*(answer(client) for _ in range(8)))
        assert {d.text for d in done} == {"请休息。"}


class TestLettingGo:
    @pytest.mark.parametrize(
        "rule",
        [
            Rule(REST * 50, step_s=0.02),
            Rule(REST, fault="hang"),
            Rule(REST, fault="hang", fault_after_steps=9),
        ],
        ids=["while it speaks", "before its first word", "while it is silent"],
    )
    async def test_abort_frees_the_slot(self, rule: Rule, servers: Servers) -> None:
        server = servers.of(THINKING)
        servers.run(server.say(rule))
        async with a_client(server) as client:
            task = asyncio.create_task(answer(client))
            await _until_active(servers, server, 1)
            await asyncio.sleep(0.3)
            left_s = time.time()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await _until_active(servers, server, 0)
        (call,) = servers.run(server.calls())
        assert call["ended"] in {"cancelled", "closed"}
        assert call["ended_s"] - left_s <= _FREED_S

    async def test_closing_the_stream_frees_the_slot(self, servers: Servers) -> None:
        server = servers.of(THINKING)
        servers.run(server.say(Rule(REST * 50, step_s=0.02)))
        async with a_client(server) as client:
            async with aclosing(client.stream(ChatRequest(QUESTION))) as events:
                assert isinstance(await anext(events), TextDelta)
                left_s = time.time()
            await _until_active(servers, server, 0)
        (call,) = servers.run(server.calls())
        assert call["ended_s"] - left_s <= _FREED_S

    async def test_our_stop_string_frees_the_slot(self, servers: Servers) -> None:
        server = servers.of(THINKING)
        servers.run(server.say(Rule("好。STOP" + REST * 50, step_s=0.02)))
        async with a_client(server, stop=("STOP",)) as client:
            assert (await answer(client)).text == "好。"
            left_s = time.time()
            await _until_active(servers, server, 0)
        (call,) = servers.run(server.calls())
        assert call["ended_s"] - left_s <= _FREED_S

    async def test_a_silent_server_is_let_go_after_the_timeout(self, servers: Servers) -> None:
        server = servers.of(THINKING)
        servers.run(server.say(Rule(REST, fault="hang")))
        async with a_client(server, first_token_timeout_s=0.5) as client:
            with pytest.raises(ModelUnavailable):
                await answer(client)
            await _until_active(servers, server, 0)

    async def test_an_endless_answer_meets_the_total_timeout(self, servers: Servers) -> None:
        server = servers.of(THINKING)
        servers.run(server.say(Rule("又" * 600, step_s=0.02)))
        async with a_client(server, total_timeout_s=1.0) as client:
            began = time.monotonic()
            with pytest.raises(ModelUnavailable):
                await answer(client)
            assert time.monotonic() - began < 1.5
            await _until_active(servers, server, 0)


async def _until_active(servers: Servers, server: LmdeployServer, count: int) -> None:
    async with asyncio.timeout(5):
        while (await asyncio.to_thread(servers.run, server.state()))["active"] != count:  # noqa: ASYNC110 another process
            await asyncio.sleep(0.01)


class TestKnowing:
    async def test_the_models_name_comes_from_the_server(self, servers: Servers) -> None:
        server = servers.of(THINKING)
        async with a_client(server) as client:
            health = await client.probe()
        assert health.ok
        assert health.facts["models"] == MODEL

    async def test_a_wrong_key_is_seen_before_a_patient_asks(self, servers: Servers) -> None:
        server = servers.of(PLAIN)
        with structlog.testing.capture_logs() as logs:
            async with a_client(server, api_key="wrong-secret") as client:
                health = await client.probe()
        assert not health.ok
        assert "wrong-secret" not in repr((logs, health))

    async def test_asleep_it_refuses_and_awake_it_answers(self, servers: Servers) -> None:
        """Its `/health` says so up to 12 s later, so the first refusal has to be understood."""
        server = servers.of(THINKING)
        servers.run(server.say(Rule(REST, tokens_per_step=9)))
        async with httpx.AsyncClient(base_url=server.url, trust_env=False) as http:
            assert (await http.post("/sleep?level=1", json={})).status_code == 200
            try:
                async with a_client(server) as client:
                    began = time.monotonic()
                    with pytest.raises(ModelUnavailable):
                        await answer(client)
                    assert time.monotonic() - began < 1
            finally:
                assert (await http.post("/wakeup", json={})).status_code == 200
        async with a_client(server) as client:
            assert (await answer(client)).text == REST

    async def test_images_are_refused_by_a_text_model(self, servers: Servers) -> None:
        """Photos go to the fundus reader and never into the conversation."""
        server = servers.of(THINKING)
        pixel = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
        refused = await post(server, messages=[{"role": "user", "content": [pixel]}])
        assert refused.status_code == 400
        body = wire.encode(
            ChatRequest(QUESTION, (PHOTO,)), LlmSettings(), model="m", thinking=False
        )
        assert all(isinstance(m["content"], str) for m in json.loads(body)["messages"])


class TestCrash:
    """Last, because the server does not survive it."""

    @pytest.mark.parametrize("after", [0, 12])
    async def test_process_dies(self, after: int, servers: Servers) -> None:
        server = servers.of(THINKING)
        servers.run(server.say(Rule(REST, step_s=0.01, fault="crash", fault_after_steps=after)))
        async with a_client(server) as client:
            with pytest.raises(ModelUnavailable):
                await answer(client)
            with pytest.raises(ModelUnavailable):
                await answer(client)
            assert not (await client.probe()).ok
