"""A fast stand-in for LMDeploy's OpenAI-compatible server, scripted per test.

In process: `async with FakeLlm() as llm: ... llm.url`. As a process:
`python -m tests.fakes.llm --port 23333 [--log calls.jsonl]`, steered by `POST /_control` with the
fields of `Script` as JSON and read by `GET /_control`. Chunk shapes are those of LMDeploy 0.18:
every delta repeats the role, null fields are left out, `usage` is null until the last chunk.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.fakes.ports import free_port

FAILURES = (
    "http_400",  # context overflow, LMDeploy's own words
    "http_401",
    "http_404",
    "http_429",
    "http_500",
    "http_503",
    "plain_500",  # unhandled error: text, not JSON
    "error_200",  # `serve proxy`: HTTP 200 whose body is an error
    "proxy_dead",  # `serve proxy`, node gone: a bare JSON line instead of events
    "error_chunk",  # after `fail_after` chunks: an error event, then [DONE]
    "no_finish",  # stream ends cleanly without finish_reason
    "cut",  # the connection is closed in the middle of the body
    "hang",  # after `fail_after` chunks nothing comes any more
    "garbage",  # bytes that are no events
    "bad_json",  # events that are no JSON
    "empty",  # tokens were made, but neither text nor call is left
    "finish_error",  # finish_reason "error"
    "finish_abort",  # finish_reason "abort"
)


@dataclass(frozen=True, slots=True)
class Script:
    """What the server does with the next calls.

    Attributes:
        text: the answer. ``{last}`` becomes the last user message, ``{token}`` the first match of
            `token` in it.
        token: regular expression of the token to echo.
        reasoning: sent as reasoning_content before the answer.
        tool: ``{"name": ..., "arguments": {...}}`` to call while the last message is not a tool's.
        tool_form: how the call is sent: native, or leaked into the text as internlm or qwen.
        delay_s: pause before the first byte.
        chunk_delay_s: pause before each chunk.
        chunk_characters: size of one delta.
        fail: one of `FAILURES`, or None.
        fail_after: chunks sent before error_chunk, no_finish, cut and hang.
        fail_times: how many calls fail before the rest succeeds; None = all.
        finish: finish_reason of a normal end.
    """

    text: str = "好的。{token}"
    token: str = r"T\d{6}"
    reasoning: str = ""
    tool: dict[str, Any] | None = None
    tool_form: str = "native"
    delay_s: float = 0.0
    chunk_delay_s: float = 0.0
    chunk_characters: int = 8
    fail: str | None = None
    fail_after: int = 1
    fail_times: int | None = None
    finish: str = "stop"


Answer = Callable[[dict[str, Any]], Script]


def _error(status: int, message: str, kind: str) -> web.Response:
    body = {"message": message, "type": kind, "code": status, "param": None, "object": "error"}
    return web.json_response(body, status=status)


_HTTP_FAILURES: dict[str, tuple[int, str, str]] = {
    "http_400": (
        400,
        "Input length (5018) must be smaller than the model context length (4096).",
        "invalid_request_error",
    ),
    "http_401": (401, "Please request with valid api key!", "authentication_error"),
    "http_404": (404, "The model `x` does not exist.", "not_found_error"),
    "http_429": (429, "Too many requests SECRET-UPSTREAM", "rate_limit_error"),
    "http_500": (500, "INTERNAL_ENGINE_ERROR SECRET-UPSTREAM", "server_error"),
    "http_503": (503, "Engine stopped SECRET-UPSTREAM", "service_unavailable_error"),
}


def last_user(body: dict[str, Any]) -> str:
    """Return the last user message of a request."""
    for message in reversed(body["messages"]):
        if message["role"] == "user":
            return str(message["content"])
    return ""


class FakeLlm:
    """One server; `script` (or `answer`, a function of the request) may change at any time."""

    def __init__(
        self,
        script: Script | None = None,
        *,
        model: str = "internlm2-chat-7b",
        port: int = 0,
        log: Path | None = None,
        api_key: str | None = None,
    ) -> None:
        self.script = script or Script()
        self.answer: Answer | None = None
        self.model = model
        self.port = port
        self.api_key = api_key
        self.healthy = True
        self.has_health_route = True
        self.calls = 0
        self.finished = 0  # answered to the last byte
        self.dropped = 0  # the client went away first
        self.active = 0
        self.most_active = 0
        self.bodies: deque[dict[str, Any]] = deque(maxlen=10_000)
        self._failed = 0
        self._released = asyncio.Event()
        self._released.set()
        self._let: int | None = None
        self._more = asyncio.Event()
        self._log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600) if log else None
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """Base URL without ``/v1``."""
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> FakeLlm:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen on loopback; port 0 takes a free one and keeps it for later starts."""
        self.port = self.port or free_port()
        app = web.Application(client_max_size=16 << 20)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/health", self._health)
        app.router.add_get("/_control", self._state)
        app.router.add_post("/_control", self._control)
        self._runner = web.AppRunner(
            app, access_log=None, shutdown_timeout=0.05, handler_cancellation=True
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()

    def hold(self) -> None:
        """Take calls from now on, but answer none until `release`."""
        self._released.clear()

    def release(self) -> None:
        """Answer what is held, and everything after it."""
        self._released.set()

    def let(self, chunks: int | None) -> None:
        """Send so many chunks of each answer and keep the rest back; None sends all."""
        self._let = chunks
        self._more.set()
        self._more = asyncio.Event()

    async def stop(self) -> None:
        """Stop listening and drop what is open."""
        if self._runner:
            await self._runner.cleanup()
            self._runner = None

    def close_log(self) -> None:
        """Close the log file."""
        if self._log is not None:
            os.close(self._log)
            self._log = None

    async def _health(self, _: web.Request) -> web.Response:
        if not self.has_health_route:
            return web.Response(status=404)
        status = "healthy" if self.healthy else "unhealthy"
        return web.json_response({"status": status}, status=200 if self.healthy else 503)

    async def _models(self, request: web.Request) -> web.Response:
        if not self._is_allowed(request):
            return _error(401, "Please request with valid api key!", "authentication_error")
        data = [{"id": self.model, "object": "model", "owned_by": "lmdeploy", "root": self.model}]
        return web.json_response({"object": "list", "data": data})

    def _is_allowed(self, request: web.Request) -> bool:
        return not self.api_key or request.headers.get("Authorization") == f"Bearer {self.api_key}"

    async def _state(self, _: web.Request) -> web.Response:
        state = {
            "calls": self.calls,
            "finished": self.finished,
            "dropped": self.dropped,
            "active": self.active,
            "most_active": self.most_active,
            "script": asdict(self.script),
        }
        return web.json_response(state)

    async def _control(self, request: web.Request) -> web.Response:
        fields = await request.json()
        self.healthy = fields.pop("healthy", self.healthy)
        if fields.pop("reset", False):
            self.script, self.calls, self.finished, self.dropped = Script(), 0, 0, 0
        self.script = replace(self.script, **fields)
        self._failed = 0
        return await self._state(request)

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = json.loads(await request.read())
        self.calls += 1
        self.bodies.append(body)
        script = self.answer(body) if self.answer else self.script
        if self._log is not None:
            line = {
                "n": self.calls,
                "t": round(time.time(), 4),
                "last_user": last_user(body),
                "messages": len(body["messages"]),
                "tools": len(body.get("tools", ())),
            }
            os.write(self._log, (json.dumps(line, ensure_ascii=False) + "\n").encode())
        if not self._is_allowed(request):
            return _error(401, "Please request with valid api key!", "authentication_error")
        if body["model"] != self.model:
            return _error(404, f"The model `{body['model']}` does not exist.", "not_found_error")
        fail = script.fail
        if fail and script.fail_times is not None:
            fail = fail if self._failed < script.fail_times else None
        self._failed += fail is not None
        self.active += 1
        self.most_active = max(self.most_active, self.active)
        try:
            response = await self._respond(request, body, script, fail)
        except (ConnectionError, asyncio.CancelledError):
            self.dropped += 1
            raise
        else:
            self.finished += 1
            return response
        finally:
            self.active -= 1

    async def _respond(
        self, request: web.Request, body: dict[str, Any], script: Script, fail: str | None
    ) -> web.StreamResponse:
        await self._released.wait()
        if script.delay_s:
            await asyncio.sleep(script.delay_s)
        if fail in _HTTP_FAILURES:
            return _error(*_HTTP_FAILURES[fail])
        if fail == "plain_500":
            return web.Response(status=500, text="Internal Server Error")
        if fail == "error_200":
            return _error(200, "SECRET-UPSTREAM", "server_error")
        if fail == "proxy_dead":
            text = '{"error_code": 10402, "text": "SECRET-UPSTREAM"}\n'
            return web.Response(text=text, content_type="text/event-stream")
        deltas = list(_deltas(body, script, fail))
        finish = _finish(body, script, fail)
        used = {"prompt_tokens": 12 * len(body["messages"]), "completion_tokens": len(deltas) + 1}
        used["total_tokens"] = sum(used.values())
        if not body.get("stream"):
            return web.json_response(self._whole(deltas, finish, used))
        return await self._stream(request, script, fail, deltas, finish, used)

    def _whole(
        self, deltas: list[dict[str, Any]], finish: str, used: dict[str, int]
    ) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": None, "tool_calls": None}
        message["content"] = "".join(d.get("content", "") for d in deltas) or None
        calls = [d["tool_calls"][0]["function"] for d in deltas if "tool_calls" in d]
        if calls:
            arguments = "".join(c.get("arguments", "") for c in calls)
            function = {"name": calls[0]["name"], "arguments": arguments}
            message["tool_calls"] = [
                {"id": "chatcmpl-tool-1", "type": "function", "function": function}
            ]
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish}
        head = {"id": str(self.calls), "object": "chat.completion", "created": int(time.time())}
        return head | {"model": self.model, "choices": [choice], "usage": used}

    async def _stream(
        self,
        request: web.Request,
        script: Script,
        fail: str | None,
        deltas: list[dict[str, Any]],
        finish: str,
        used: dict[str, int],
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        if fail == "garbage":
            await response.write(b"\x00\xff\xfe<html>SECRET-UPSTREAM</html>\n\n" * 3)
            return response
        head = {
            "id": str(self.calls),
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": self.model,
        }
        for n, delta in enumerate([*deltas, None]):
            if fail in {"error_chunk", "no_finish", "cut", "hang"} and (
                n >= script.fail_after or delta is None
            ):
                return await self._break(request, response, fail)
            while self._let is not None and n >= self._let:
                await self._more.wait()
            if script.chunk_delay_s:
                await asyncio.sleep(script.chunk_delay_s)
            choice: dict[str, Any] = {"index": 0, "delta": {"role": "assistant"} | (delta or {})}
            if delta is None:
                choice["delta"]["content"] = ""
                choice["finish_reason"] = finish
            chunk = head | {"choices": [choice], "usage": None}
            payload = "{oops" if fail == "bad_json" else json.dumps(chunk, ensure_ascii=False)
            await response.write(b"data: " + payload.encode() + b"\n\n")
        last = head | {"choices": [], "usage": used}
        await response.write(b"data: " + json.dumps(last).encode() + b"\n\ndata: [DONE]\n\n")
        await response.write_eof()
        return response

    async def _break(
        self, request: web.Request, response: web.StreamResponse, fail: str
    ) -> web.StreamResponse:
        match fail:
            case "error_chunk":
                error = {"message": "SECRET-UPSTREAM", "type": "server_error", "code": 500}
                event = json.dumps({"error": error}).encode()
                await response.write(b"data: " + event + b"\n\ndata: [DONE]\n\n")
            case "no_finish":
                await response.write(b"data: [DONE]\n\n")
            case "hang":
                await asyncio.sleep(3600)  # cancelled when the client goes
            case _:
                if request.transport:
                    request.transport.abort()
        return response


def _finish(body: dict[str, Any], script: Script, fail: str | None) -> str:
    if fail in {"finish_error", "finish_abort"}:
        return fail.removeprefix("finish_")
    if script.tool and script.tool_form == "native" and body["messages"][-1]["role"] != "tool":
        return "tool_calls"
    return script.finish


def _deltas(body: dict[str, Any], script: Script, fail: str | None) -> Iterator[dict[str, Any]]:
    if fail == "empty":
        return
    size = script.chunk_characters
    for start in range(0, len(script.reasoning), size):
        yield {"reasoning_content": script.reasoning[start : start + size]}
    text = _text(body, script)
    if script.tool and body["messages"][-1]["role"] != "tool":
        name, arguments = script.tool["name"], script.tool["arguments"]
        match script.tool_form:
            case "native":
                yield from _native_call(name, json.dumps(arguments, ensure_ascii=False), size)
                return
            case "internlm":
                call = json.dumps({"name": name, "parameters": arguments}, ensure_ascii=False)
                text = f"我看一下。<|action_start|><|plugin|>\n{call}<|action_end|>\n"
            case _:
                call = json.dumps({"name": name, "arguments": arguments}, ensure_ascii=False)
                text = f"<tool_call>\n{call}\n</tool_call>"
    for start in range(0, len(text), size):
        yield {"content": text[start : start + size]}


def _native_call(name: str, arguments: str, size: int) -> Iterator[dict[str, Any]]:
    head = {"index": 0, "id": "chatcmpl-tool-1", "type": "function", "function": {"name": name}}
    yield {"tool_calls": [head]}
    for start in range(0, len(arguments), size):
        piece = {"arguments": arguments[start : start + size]}
        yield {"tool_calls": [{"index": 0, "function": piece}]}


def _text(body: dict[str, Any], script: Script) -> str:
    if "{" not in script.text:
        return script.text
    last = last_user(body)
    found = re.search(script.token, last)
    return script.text.replace("{last}", last).replace("{token}", found[0] if found else "")


async def _serve(port: int, log: Path | None, model: str) -> None:
    async with FakeLlm(port=port, log=log, model=model) as server:
        print(f"listening on {server.url}", flush=True)
        await asyncio.Event().wait()


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description="Fake OpenAI-compatible server")
    parser.add_argument("--port", type=int, default=23333, help="0 takes a free one")
    parser.add_argument("--log", type=Path, help="append one JSON line per call")
    parser.add_argument("--model", default="internlm2-chat-7b")
    args = parser.parse_args()
    with suppress(KeyboardInterrupt):
        asyncio.run(_serve(args.port, args.log, args.model))


if __name__ == "__main__":
    main()
