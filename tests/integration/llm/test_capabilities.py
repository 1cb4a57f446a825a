"""What a server can do, found out by asking it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiohttp import web

from models.llm.capabilities import Finding, examine
from models.llm.settings import LlmSettings
from tests.fakes.llm import FakeLlm, Script

CALL = {"name": "get_clinic_hours", "arguments": {"weekday": "Monday"}}


async def findings(url: str, **settings: Any) -> dict[str, Finding]:
    found = await examine(url, settings=LlmSettings(**settings))
    assert len({f.name for f in found}) == len(found)
    return {f.name: f for f in found}


def a_good_answer(body: dict[str, Any]) -> Script:
    if "tools" in body:
        return Script(tool=CALL)
    if "response_format" in body:
        return Script(text='{"eye": "left"}')
    thinks = body["chat_template_kwargs"]["enable_thinking"]
    return Script(text="left", reasoning="嗯" if thinks else "")


async def test_a_good_server() -> None:
    async with FakeLlm() as llm:
        llm.answer = a_good_answer
        found = await findings(llm.url + "/v1")
    assert [f.grade for f in found.values()] == ["ok"] * 9
    assert found["tools"].found == "native call of get_clinic_hours"
    assert found["thinking"].found == "can be switched; thoughts come apart"
    assert "usage counted" in found["chat"].found
    assert found["models"].found == "internlm2-chat-7b (LMDeploy)"


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (Script(tool=CALL, tool_form="internlm"), "the call came as text"),
        (Script(tool=CALL, tool_form="qwen"), "the call came as text"),
        (Script(text="We open at nine."), "no call"),
        (Script(fail="empty"), "nothing came at all"),
        (Script(fail="http_400"), "refused (400): Input length"),
    ],
)
async def test_tools_that_do_not_come_as_they_should(script: Script, said: str) -> None:
    async with FakeLlm() as llm:
        llm.answer = lambda body: script if "tools" in body else Script()
        found = await findings(llm.url)
    assert found["tools"].grade == "note"
    assert found["tools"].found.startswith(said)
    assert found["tools"].advice


async def test_a_model_that_cannot_stop_thinking() -> None:
    async with FakeLlm(Script(text="<think>嗯</think>left")) as llm:
        found = await findings(llm.url)
    assert "llm.thinking: true" in found["thinking"].advice


async def test_an_answer_that_becomes_a_thought() -> None:
    """LMDeploy with a reasoning parser before a model that does not think."""
    async with FakeLlm() as llm:
        llm.answer = lambda body: (
            Script(text="", reasoning="left")
            if body["chat_template_kwargs"]["enable_thinking"]
            else Script(text="left")
        )
        found = await findings(llm.url)
    assert "llm.thinking: false" in found["thinking"].advice


async def test_a_context_smaller_than_the_setting() -> None:
    async with FakeLlm() as llm:
        llm.answer = lambda body: (
            Script(fail="http_400") if len(str(body["messages"])) > 5000 else Script(text="left")
        )
        found = await findings(llm.url)
    assert found["context_length"].found == "4096 tokens"
    assert found["context_length"].advice.startswith("Set llm.session_len: 4096")


async def test_a_refused_key() -> None:
    async with FakeLlm(api_key="k1") as llm:
        found = await findings(llm.url, api_key="k2")
        assert found["models"].grade == "fail"
        assert "llm.api_key" in found["models"].advice
        assert [*found] == ["reach", "models"], "the rest would be pointless"
        assert (await findings(llm.url, api_key="k1"))["models"].grade == "ok"


async def test_a_model_it_does_not_serve() -> None:
    async with FakeLlm() as llm:
        found = await findings(llm.url, model="qwen3")
    assert found["models"].grade == "fail"
    assert "internlm2-chat-7b" in found["models"].found


@pytest.mark.parametrize(
    "fail", ["http_500", "plain_500", "error_chunk", "no_finish", "garbage", "cut", "error_200"]
)
async def test_a_broken_server_is_of_no_use(fail: str) -> None:
    async with FakeLlm(Script(fail=fail, fail_after=0)) as llm:
        found = await findings(llm.url)
    assert found["chat"].grade == "fail"


async def test_nobody_there(unused_tcp_port: int) -> None:
    found = await findings(f"http://127.0.0.1:{unused_tcp_port}")
    assert [(f.name, f.grade) for f in found.values()] == [("reach", "fail")]


async def test_another_kind_of_server(unused_tcp_port: int) -> None:
    """Like vLLM: it tells its version and its context, and has no /v1/encode."""

    async def models(_: web.Request) -> web.Response:
        data = [{"id": "m", "owned_by": "vllm", "max_model_len": 16384}]
        return web.json_response({"object": "list", "data": data})

    async def version(_: web.Request) -> web.Response:
        return web.json_response({"version": "0.12.0"})

    async def chat(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(
            b'data: {"choices":[{"index":0,"delta":{"content":"left"}}]}\n\n'
            b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
            b"data: [DONE]\n\n"
        )
        return response

    app = web.Application()
    app.router.add_get("/v1/models", models)
    app.router.add_get("/version", version)
    app.router.add_post("/v1/chat/completions", chat)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", unused_tcp_port).start()
    try:
        found = await findings(f"http://127.0.0.1:{unused_tcp_port}")
    finally:
        await runner.cleanup()
    assert found["reach"].found == "/health says 404"
    assert found["models"].found == "m (vllm 0.12.0)"
    assert "No usage in streams" in found["chat"].advice
    assert found["context_length"].found == "16384 tokens; llm.session_len is 8192"
    assert found["encode"].found.startswith("no /v1/encode")


@pytest.mark.parametrize(
    ("frees", "grade", "said"),
    [(True, "ok", "a closed connection frees its place"), (False, "note", "still generating")],
)
async def test_whether_a_closed_connection_frees_its_place(
    unused_tcp_port: int, frees: bool, grade: str, said: str
) -> None:
    running = 0

    async def chat(request: web.Request) -> web.StreamResponse:
        nonlocal running
        is_long = "Count from" in (await request.text())
        running += 1
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        try:
            await response.prepare(request)
            for n in range(2000 if is_long else 1):
                event = f'{{"choices":[{{"index":0,"delta":{{"content":"{n} "}}}}]}}'
                await response.write(f"data: {event}\n\n".encode())
                await asyncio.sleep(0.01 if is_long else 0)
            await response.write(
                b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
            )
            return response
        finally:
            running -= frees or not is_long

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(text=f'vllm:num_requests_running{{model_name="m"}} {running}.0\n')

    async def models(_: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": "m", "max_model_len": 8192}]})

    app = web.Application()
    app.router.add_get("/v1/models", models)
    app.router.add_get("/metrics/", metrics)
    app.router.add_post("/v1/chat/completions", chat)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", unused_tcp_port).start()
    try:
        found = await findings(f"http://127.0.0.1:{unused_tcp_port}")
    finally:
        await runner.cleanup()
    assert found["abort"].grade == grade
    assert found["abort"].found.startswith(said)
