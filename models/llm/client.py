"""Client of one or several LMDeploy servers over their OpenAI-compatible HTTP.

Whatever goes wrong becomes `ModelUnavailable`; the server's own words are neither raised nor
logged, because they may repeat the conversation.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress
from typing import Any

import httpx
import structlog

from core.agent import toolcalls
from core.errors import ContextOverflow, ModelBusy, ModelUnavailable
from core.ports import ChatEvent, ChatRequest, Completed, Health, TextDelta, ToolCall
from models.llm import wire
from models.llm.health import ProbeFailed, Prober
from models.llm.http import BROKEN, FAILURES, NOT_CONNECTED, Http
from models.llm.servers import Server, Servers
from models.llm.settings import LlmSettings
from models.llm.sse import SseReader
from models.llm.tokens import ServerTokens
from models.llm.visible import VisibleText

_log = structlog.get_logger(__name__)

_BODY_LIMIT_BYTES = 8 << 10
# After [DONE] only the end of the body is missing; reading it lets the connection be used again.
_DRAIN_TIMEOUT_S = 0.5
# A long answer is read in sips: waking for every token costs more than reading it. The first
# chunks are read at once, and so is what has already arrived: a read that did not have to wait.
_CHUNKS_READ_AT_ONCE = 8
_SIP_S = 0.04
_WAITED_S = 0.002
# Finish reasons of an answer that can be used; "error", "abort" and "parse_error" cannot.
_GOOD_ENDS = frozenset({"stop", "length", "tool_calls"})
# No server has a code for these, only words: LMDeploy and vLLM, llama.cpp, llama-cpp-python.
_OVERFLOW = (b"context length", b"context size", b"context window", b"context_length_exceeded")
# LMDeploy and vLLM, Ollama, llama.cpp.
_NO_TOOLS = (b"tool-call-parser", b"does not support tools", b"requires --jinja")


class _CallFailed(Exception):
    """One call on one server failed.

    Attributes:
        cause: short word for the log.
        status: HTTP status, if there was one.
        elsewhere: another server may do better.
        blames_server: counts against the server's health.
        unreachable: there was no connection at all.
        stale: a kept connection broke before the answer began; the same server may be well.
        overflow: the conversation is longer than the context.
        no_tools: it reads no tool calls, so they have to be described in words.
        no_extras: it refuses the newer fields of the interface.
        thoughts_only: everything was a thought.
    """

    def __init__(
        self,
        cause: str,
        *,
        status: int | None = None,
        elsewhere: bool = True,
        blames_server: bool = True,
        unreachable: bool = False,
        stale: bool = False,
        overflow: bool = False,
        no_tools: bool = False,
        no_extras: bool = False,
        thoughts_only: bool = False,
    ) -> None:
        super().__init__(cause)
        self.cause = cause
        self.status = status
        self.elsewhere = elsewhere
        self.blames_server = blames_server
        self.unreachable = unreachable
        self.stale = stale
        self.overflow = overflow
        self.no_tools = no_tools
        self.no_extras = no_extras
        self.thoughts_only = thoughts_only


class _Answer:
    """What one stream has said so far."""

    def __init__(self, settings: LlmSettings, *, thinking: bool) -> None:
        self.visible = VisibleText(settings.stop, starts_hidden=thinking)
        self.finish_reason: str | None = None
        self.prompt_tokens: int | None = None
        self.completion_tokens: int | None = None
        self.has_reasoning = False
        self.is_done = False
        self._calls: dict[int, tuple[dict[str, str], list[str]]] = {}

    def read(self, payload: bytes) -> str:
        """Take one event in and return the text it makes visible."""
        if payload == b"[DONE]":
            self.is_done = True
            return ""
        try:
            return self._chunk(json.loads(payload))
        except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
            raise _CallFailed("malformed_chunk") from error

    # Any: JSON from the wire; a wrong shape raises one of the errors caught in `read`.
    def _chunk(self, chunk: Any) -> str:
        if "choices" not in chunk:
            raise _CallFailed("error_chunk" if _is_error(chunk) else "malformed_chunk")
        if usage := chunk.get("usage"):
            self.prompt_tokens = int(usage["prompt_tokens"])
            self.completion_tokens = int(usage["completion_tokens"])
        if not chunk["choices"]:
            return ""
        choice = chunk["choices"][0]
        delta: Any = choice.get("delta") or {}
        if delta.get("reasoning_content"):
            self.has_reasoning = True
            self.visible.release()
        for fragment in delta.get("tool_calls") or ():
            self._call(fragment)
        if reason := choice.get("finish_reason"):
            self.finish_reason = str(reason)
        content = delta.get("content")
        return self.visible.feed(content) if content else ""

    def _call(self, fragment: Any) -> None:
        head, arguments = self._calls.setdefault(int(fragment["index"]), ({}, []))
        if fragment.get("id"):
            head["id"] = str(fragment["id"])
        function: Any = fragment.get("function") or {}
        if function.get("name"):
            head["name"] = str(function["name"])
        if function.get("arguments"):
            arguments.append(str(function["arguments"]))

    def finish(self) -> str:
        """Check that the stream ended well and return the text kept back until now."""
        if self.visible.is_stopped:
            self.finish_reason = self.finish_reason or "stop"
        if self.finish_reason is None:
            raise _CallFailed("no_finish_reason")
        if self.finish_reason not in _GOOD_ENDS:
            raise _CallFailed(f"finish_{self.finish_reason[:16]}")
        return self.visible.finish(is_cut=self.finish_reason == "length")

    def completed(self, request: ChatRequest) -> Completed:
        """Return the whole answer.

        With tools offered, an answer without text and calls is still an answer: the server's
        parser deletes calls it does not know, and the caller may ask again.
        """
        calls = tuple(
            ToolCall(head.get("id", f"call-{n}"), head.get("name", ""), "".join(arguments))
            for n, (head, arguments) in sorted(self._calls.items())
        )
        text = self.visible.text
        if not text and not calls and request.tools and self.visible.thoughts:
            rescued = toolcalls.parse(self.visible.thoughts, (), request.tools).calls
            calls = tuple(c.as_tool_call() for c in rescued)
        if not text and not calls:
            if self.has_reasoning or self.visible.thoughts:
                raise _CallFailed("thoughts_only", blames_server=False, thoughts_only=True)
            if not (request.tools and self.completion_tokens):
                raise _CallFailed("empty_answer")
        return Completed(
            text,
            calls,
            self.finish_reason or "stop",
            self.prompt_tokens,
            self.completion_tokens,
        )


class LlmClient:
    """`core.ports.ChatModel` over LMDeploy; `start` before the first call, `stop` at the end."""

    def __init__(self, settings: LlmSettings) -> None:
        self._settings = settings
        self._servers = Servers(
            settings.base_urls, model=settings.model, draining=settings.draining
        )
        self._slots = asyncio.Semaphore(settings.max_in_flight)
        self._waiting = 0
        self._http: Http | None = None
        self.tokens = ServerTokens(self._servers, lambda: self._http)
        self._prober: Prober | None = None
        key = settings.api_key
        self._headers = {"Content-Type": "application/json"}
        if key:
            self._headers["Authorization"] = f"Bearer {key.get_secret_value()}"

    async def start(self) -> None:
        """Open the pool and begin to probe; does not wait for any server."""
        connections = self._settings.max_in_flight + len(self._servers.all)
        self._http = Http(
            self._headers,
            connect_timeout_s=self._settings.connect_timeout_s,
            connections=connections,
        )
        self._prober = Prober(
            self._servers,
            self._http,
            interval_s=self._settings.probe_interval_s,
            timeout_s=self._settings.probe_timeout_s,
        )
        self._prober.start()

    async def stop(self) -> None:
        """Close everything; calls in flight fail. May be called twice."""
        if self._prober:
            await self._prober.stop()
            self._prober = None
        if self._http:
            http, self._http = self._http, None
            await http.aclose()

    def is_healthy(self) -> bool:
        """Tell, without waiting, whether a call is worth trying now."""
        return self._http is not None and not self._is_full() and bool(self._servers.usable())

    def health(self) -> Health:
        """Return the state for `/readyz`; the service works without an LLM, so never required."""
        return self._servers.health()

    @property
    def servers(self) -> Servers:
        """What is known about each server, for `/metrics`."""
        return self._servers

    async def stream(self, request: ChatRequest) -> AsyncGenerator[ChatEvent, None]:
        """Yield the visible text as it grows, then one `Completed`.

        A server that fails before its first visible word is replaced by another one. Closing the
        iterator closes the connection, which makes the server stop generating.

        Raises:
            ContextOverflow: the conversation is longer than the model's context.
            ModelBusy: too many calls wait, or this one waited too long.
            ModelUnavailable: no usable answer; forget what was yielded.
        """
        now_s = asyncio.get_running_loop().time()
        first_by_s = now_s + min(
            self._settings.first_token_timeout_s, self._settings.total_timeout_s
        )
        end_by_s = now_s + self._settings.total_timeout_s
        await self._take_slot(first_by_s)
        try:
            tried: list[Server] = []
            thinking, has_retried_stale, failure = self._settings.thinking, False, None
            while server := self._servers.choose(request.affinity, tried):
                is_shown = False
                call = self._call(server, request, thinking, first_by_s, end_by_s)
                try:
                    async for event in call:
                        is_shown = True
                        yield event
                except _CallFailed as error:
                    failure = error
                    self._note(server, error)
                    if _has_learned(server, error):
                        continue
                    if is_shown or not (error.elsewhere or error.overflow):
                        break
                    if error.overflow:
                        raise ContextOverflow("the conversation is too long for the LLM") from None
                    if error.thoughts_only and thinking:
                        thinking = False
                    elif error.stale and not has_retried_stale:
                        has_retried_stale = True
                    else:
                        tried.append(server)
                else:
                    return
                finally:
                    await call.aclose()
            cause = failure.cause if failure else "no_usable_server"
            raise ModelUnavailable(f"no usable answer from the LLM: {cause}") from None
        finally:
            self._slots.release()

    def _is_full(self) -> bool:
        return self._slots.locked() and self._waiting >= self._settings.max_in_flight

    async def _take_slot(self, first_by_s: float) -> None:
        if self._http is None:
            raise ModelUnavailable("the LLM client is not started")
        if self._is_full():
            raise ModelBusy("too many calls wait for the LLM")
        self._waiting += 1
        try:
            async with asyncio.timeout_at(first_by_s):
                await self._slots.acquire()
        except TimeoutError:
            raise ModelBusy("the LLM was busy for too long") from None
        finally:
            self._waiting -= 1

    def _note(self, server: Server, failure: _CallFailed) -> None:
        _log.warning(
            "llm_call_failed", cause=failure.cause, status=failure.status, server=server.number
        )
        if failure.status == 404:
            server.model = server.configured_model  # renamed at a restart: ask again
        if failure.status == 503:
            self._servers.refused(server)
        elif failure.blames_server and not failure.stale:
            self._servers.failed(server, cause=failure.cause, unreachable=failure.unreachable)

    async def _call(
        self,
        server: Server,
        request: ChatRequest,
        thinking: bool,
        first_by_s: float,
        end_by_s: float,
    ) -> AsyncGenerator[ChatEvent, None]:
        """Call one server once.

        Raises:
            _CallFailed: for every reason.
        """
        prober = self._prober
        if prober is None:
            raise _CallFailed("stopped", elsewhere=False, blames_server=False)
        server.in_flight += 1
        server.calls += 1
        response: httpx.Response | None = None
        try:
            try:
                async with asyncio.timeout_at(first_by_s) as deadline:
                    with prober.waiting(server, deadline):
                        model = server.model or await prober.learn_model(server)
                        body = wire.encode(
                            request,
                            self._settings,
                            model=model,
                            thinking=thinking,
                            tools_as_text=server.takes_tools is False,
                            extras=server.takes_extras,
                        )
                        response = await self._send(server, "POST", "/v1/chat/completions", body)
                        await self._check(response)
                        chunks = response.aiter_raw()
                        first = await _next(chunks, None)  # the deadline is around it
            except TimeoutError:
                # Gone, by its probe: another one may answer. Else the patient has waited enough.
                is_lost = server.is_reachable is False
                cause = "server_lost" if is_lost else "first_token_timeout"
                raise _CallFailed(cause, elsewhere=is_lost, unreachable=is_lost) from None
            except ProbeFailed as error:
                raise _CallFailed(
                    error.cause, status=error.status, unreachable=error.status is None
                ) from None
            answer = _Answer(self._settings, thinking=thinking)
            async for text in self._texts(first, chunks, answer, first_by_s, end_by_s):
                yield TextDelta(text)
            if text := answer.finish():
                yield TextDelta(text)
            completed = answer.completed(request)
            self._servers.succeeded(server)
            yield completed
        finally:
            server.in_flight -= 1
            if response is not None:
                await response.aclose()

    async def _send(
        self, server: Server, method: str, path: str, body: bytes = b""
    ) -> httpx.Response:
        if self._http is None:
            raise _CallFailed("stopped", elsewhere=False, blames_server=False)
        try:
            return await self._http.send(method, server.url + path, body)
        except NOT_CONNECTED as error:
            raise _CallFailed(type(error).__name__, unreachable=True) from None
        except BROKEN as error:
            raise _CallFailed(type(error).__name__, stale=True) from None
        except (*FAILURES, RuntimeError) as error:  # RuntimeError: the pool was closed meanwhile
            raise _CallFailed(type(error).__name__) from None

    async def _check(self, response: httpx.Response) -> None:
        """Raise unless `response` is the start of an event stream."""
        status = response.status_code
        if status == 200 and _content_type(response).startswith(b"text/event-stream"):
            return
        body = (await _body(response)).lower()
        kind, overflow, no_tools, no_extras = "refused", False, False, False
        if status in {200, 400, 413, 500} and any(words in body for words in _OVERFLOW):
            kind, overflow = "context_overflow", True
        elif status in {400, 500} and any(words in body for words in _NO_TOOLS):
            kind, no_tools = "no_tool_parser", True
        elif status in {400, 422} and any(name.encode() in body for name in wire.EXTRAS):
            kind, no_extras = "strict_server", True
        elif status == 200:
            kind = "error_body"
        # 400 is about our request: every server would say the same.
        ours = overflow or status in {400, 422} or no_tools
        raise _CallFailed(
            kind,
            status=status,
            elsewhere=not ours,
            blames_server=not ours,
            overflow=overflow,
            no_tools=no_tools,
            no_extras=no_extras,
        )

    async def _texts(
        self,
        first: bytes | None,
        chunks: AsyncIterator[bytes],
        answer: _Answer,
        first_by_s: float,
        end_by_s: float,
    ) -> AsyncIterator[str]:
        """Yield visible text until the answer ends."""
        now_s = asyncio.get_running_loop().time
        reader = SseReader()
        deadline_s, n_chunks, chunk = first_by_s, 0, first
        while True:
            asked_s = now_s()
            try:
                if n_chunks:
                    chunk = await _next(chunks, deadline_s)
                payloads = reader.feed(chunk) if chunk is not None else reader.close()
            except _CallFailed:
                if answer.is_done:  # only the end of the body was missing
                    return
                raise
            except ValueError:
                raise _CallFailed("event_too_large") from None
            if text := "".join(map(answer.read, payloads)):
                yield text
            if chunk is None or answer.visible.is_stopped:
                return
            n_chunks += 1
            if answer.is_done:
                deadline_s = now_s() + _DRAIN_TIMEOUT_S
            elif n_chunks > _CHUNKS_READ_AT_ONCE and now_s() - asked_s > _WAITED_S:
                await asyncio.sleep(_SIP_S)
            if payloads and not answer.is_done:
                deadline_s = min(now_s() + self._settings.first_token_timeout_s, end_by_s)

    async def probe(self) -> Health:
        """Ask every server once, now, and tell how they are (for `oculichat doctor`)."""
        if self._prober:
            await self._prober.probe_all()
        return self.health()


def _has_learned(server: Server, failure: _CallFailed) -> bool:
    """Note what `server` cannot do, and tell whether this is news: then it is asked again."""
    if failure.no_tools and server.takes_tools is not False:
        server.takes_tools = False
        return True
    if failure.no_extras and server.takes_extras:
        server.takes_extras = False
        return True
    return False


async def _next(chunks: AsyncIterator[bytes], deadline_s: float | None) -> bytes | None:
    """Return the next bytes of a body, or None at its end."""
    try:
        async with asyncio.timeout_at(deadline_s):
            return await anext(chunks, None)
    except TimeoutError:
        # The patient has waited enough: no other server gets a turn.
        raise _CallFailed("token_timeout", elsewhere=False) from None
    except FAILURES as error:
        raise _CallFailed(type(error).__name__) from None


async def _body(response: httpx.Response) -> bytes:
    """Return a small body, or its beginning if it is not small or breaks off."""
    body = bytearray()
    with suppress(*FAILURES):
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > _BODY_LIMIT_BYTES:
                break
    return bytes(body)


def _content_type(response: httpx.Response) -> bytes:
    return response.headers.get("content-type", "").encode()


def _is_error(chunk: dict[str, Any]) -> bool:
    return "error" in chunk or "error_code" in chunk or chunk.get("object") == "error"
