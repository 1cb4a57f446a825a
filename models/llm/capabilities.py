"""Asks an OpenAI-compatible server what it can do, by using it as the service would."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Literal

import httpx

from core.agent import toolcalls
from core.ports import ChatMessage, ChatRequest, ToolSpec
from models.llm import wire
from models.llm.settings import LlmSettings
from models.llm.sse import SseReader

_TIMEOUT_S = 60.0
_TOOL = ToolSpec(
    "get_clinic_hours",
    "Returns the opening hours of the clinic on a weekday.",
    {
        "type": "object",
        "properties": {"weekday": {"type": "string", "enum": ["Monday", "Tuesday"]}},
        "required": ["weekday"],
    },
)
_SCHEMA = {
    "type": "object",
    "properties": {"eye": {"type": "string", "enum": ["left", "right"]}},
    "required": ["eye"],
    "additionalProperties": False,
}
# LMDeploy, vLLM and llama.cpp each say it in words only.
_CONTEXT_WORDS = (
    r"context length \((\d+)\)",
    r"maximum context length (?:is|of) (\d+)",
    r"context size \((\d+)",
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found out.

    Attributes:
        name: of the thing.
        grade: fail = the service cannot use this server as it is; note = mind the advice.
        found: what was seen.
        advice: what it means for the settings.
    """

    name: str
    grade: Literal["ok", "note", "fail"]
    found: str
    advice: str = ""


@dataclass(slots=True)
class _Reply:
    """One streamed answer."""

    status: int = 0
    error: str = ""
    content: str = ""
    reasoning: str = ""
    calls: list[str] = field(default_factory=list[str])
    finish: str = ""
    usage: Mapping[str, Any] | None = None
    first_ms: float = 0.0


async def examine(url: str, *, settings: LlmSettings) -> list[Finding]:
    """Ask the server at `url` everything; it must have a few seconds to spare.

    Args:
        url: with or without ``/v1``.
        settings: what the service would send, its key among it; `session_len` bounds the
            longest prompt.
    """
    base = url.rstrip("/").removesuffix("/v1").rstrip("/")
    key = settings.api_key
    headers = {"Authorization": f"Bearer {key.get_secret_value()}"} if key else {}
    async with httpx.AsyncClient(
        base_url=base, headers=headers, timeout=_TIMEOUT_S, trust_env=False
    ) as client:
        return await _Examination(client, settings).run()


class _Examination:
    """The questions to one server, in order."""

    def __init__(self, client: httpx.AsyncClient, settings: LlmSettings) -> None:
        self._client = client
        self._settings = settings
        self._model = ""
        self._context: int | None = None
        self._has_encode = False

    async def run(self) -> list[Finding]:
        """Return what was found; stops at what makes the rest pointless."""
        findings: list[Finding] = []
        for ask in (self._reach, self._models, self._chat):
            finding = await self._guarded(ask.__name__.strip("_"), ask)
            findings.append(finding)
            if finding.grade == "fail":
                return findings
        rest = (
            self._tools,
            self._thinking,
            self._json_schema,
            self._context_length,
            self._abort,
            self._encode,
        )
        return [
            *findings,
            *[await self._guarded(ask.__name__.strip("_"), ask) for ask in rest],
        ]

    async def _guarded(self, name: str, ask: Callable[[], Awaitable[Finding]]) -> Finding:
        try:
            return await ask()
        except httpx.HTTPError as error:
            grade = "fail" if name in {"reach", "models", "chat"} else "note"
            return Finding(name, grade, f"no answer ({type(error).__name__})", _NO_ANSWER)

    async def _reach(self) -> Finding:
        answer = await self._client.get("/health")
        said = f"/health says {answer.status_code}"
        if answer.status_code == 503:
            return Finding("reach", "fail", said, "It is starting, or its engine has stopped.")
        if answer.status_code == 200 and b"sleeping" in answer.content:
            return Finding("reach", "fail", "it sleeps", "Wake it with POST /wakeup.")
        if answer.status_code == 200:
            return Finding("reach", "ok", said)
        advice = "No health route; the service asks /v1/models instead."
        return Finding("reach", "note", said, advice)

    async def _models(self) -> Finding:
        answer = await self._client.get("/v1/models")
        if answer.status_code in {401, 403}:
            advice = "Set llm.api_key (OCULICHAT_LLM__API_KEY) to one of the server's keys."
            return Finding("models", "fail", f"the key is refused ({answer.status_code})", advice)
        try:
            listed: list[dict[str, Any]] = answer.json()["data"]
            names = [str(entry["id"]) for entry in listed]
        except (ValueError, KeyError, TypeError):
            advice = "This is no OpenAI-compatible server, or not its address."
            return Finding("models", "fail", f"/v1/models says {answer.status_code}", advice)
        if not names:
            return Finding("models", "fail", "no model is loaded", "Load one.")
        wanted = self._settings.model
        if wanted and wanted not in names:
            advice = f"llm.model is {wanted}: set it to one of these, or to null."
            return Finding("models", "fail", ", ".join(names), advice)
        self._model = wanted or names[0]
        entry = listed[names.index(self._model)]
        meta: dict[str, Any] = entry.get("meta") or {}
        length = entry.get("max_model_len") or meta.get("n_ctx")
        self._context = length if isinstance(length, int) else None
        software = await self._software(str(entry.get("owned_by", "")))
        advice = "" if len(names) == 1 or wanted else "The first is used; llm.model names another."
        found = f"{', '.join(names[:8])} ({software})"
        return Finding("models", "note" if advice else "ok", found, advice)

    async def _software(self, owner: str) -> str:
        # LMDeploy 0.18 tells its version nowhere.
        if owner == "lmdeploy":
            return "LMDeploy"
        for path in ("/version", "/api/version"):
            answer = await self._client.get(path)
            if answer.status_code == 200 and (
                found := re.search(rb'"version"\s*:\s*"([^"]+)"', answer.content)
            ):
                name = "Ollama" if path.startswith("/api") else owner or "unknown"
                return f"{name} {found[1].decode(errors='replace')}"
        return owner or "unknown software"

    async def _chat(self) -> Finding:
        reply = await self._converse("Say: ready.")
        if reply.status != 200 or reply.error:
            return Finding("chat", "fail", f"{reply.status} {reply.error}", _NO_ANSWER)
        if not reply.finish:
            advice = "Streams that end so are taken for broken; update the server."
            return Finding("chat", "fail", "the stream has no finish_reason", advice)
        found = f"first token after {reply.first_ms:.0f} ms"
        slow = reply.first_ms > self._settings.first_token_timeout_s * 500
        advice = (
            ["Near llm.first_token_timeout_s; raise it, or see why it is slow."] if slow else []
        )
        if reply.usage is None:
            advice.append("No usage in streams: context is budgeted by estimate.")
        else:
            found += f", usage counted ({reply.usage.get('prompt_tokens')} prompt tokens)"
        return Finding("chat", "note" if advice else "ok", found, " ".join(advice))

    async def _tools(self) -> Finding:
        question = "When is the clinic open on Monday? Call get_clinic_hours to find out."
        reply = await self._converse(question, tools=(_TOOL,))
        if reply.status >= 400:
            return Finding(
                "tools", "note", f"refused ({reply.status}): {reply.error}",
                "Tools are described in words instead: set llm.tool_mode: text, or start the "
                "server with a tool-call parser (`oculichat lmdeploy serve` chooses it).",
            )  # fmt: skip
        if reply.calls:
            return Finding("tools", "ok", f"native call of {reply.calls[0]}")
        rescued = toolcalls.parse(f"{reply.content}{reply.reasoning}", (), (_TOOL,)).calls
        if rescued:
            advice = "It is read from there, but a parser that fits the model would be safer."
            return Finding("tools", "note", "the call came as text", advice)
        if not reply.content:
            advice = "The server's parser deletes calls it cannot read; try llm.tool_mode: text."
            return Finding("tools", "note", "nothing came at all", advice)
        advice = "Accepted, but the model called nothing in this one try."
        return Finding("tools", "note", "no call", advice)

    async def _thinking(self) -> Finding:
        question = "Which is the left eye in a photo of a face? One word."
        off, on = [await self._converse(question, thinking=t) for t in (False, True)]
        thinks_off, thinks_on = _thinks(off), _thinks(on)
        if thinks_off and thinks_on:
            advice = "Set llm.thinking: true; thoughts are kept from patients, but cost time."
            return Finding("thinking", "note", "it thinks even when told not to", advice)
        if thinks_on:
            where = "apart" if on.reasoning else "in the text (no reasoning parser); hidden by us"
            return Finding("thinking", "ok", f"can be switched; thoughts come {where}")
        if on.reasoning and not on.content:
            advice = "Set llm.thinking: false, or start the server without --reasoning-parser."
            return Finding("thinking", "note", "with it on, the answer comes as a thought", advice)
        return Finding("thinking", "ok", "none")

    async def _json_schema(self) -> Finding:
        extra = {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "eye", "schema": _SCHEMA, "strict": True},
            }
        }
        reply = await self._converse("Which eye? Answer as JSON: left.", extra=extra)
        if reply.status >= 400 or reply.error:
            return Finding("json_schema", "note", f"refused ({reply.status}): {reply.error}")
        try:
            kept = json.loads(reply.content).keys() == {"eye"}
        except (ValueError, AttributeError):
            kept = False
        if kept:
            return Finding("json_schema", "ok", "output follows a JSON schema")
        return Finding(
            "json_schema", "note", "accepted, but not kept", "OculiChat does not need it."
        )

    async def _context_length(self) -> Finding:
        wanted = self._settings.session_len
        length = self._context
        if length is None:
            # A digit and a blank are one token at least, so this is too long for `wanted`.
            prompt = " ".join(str(n % 10) for n in range(wanted + 64))
            reply = await self._converse(prompt)
            length = _told_context(reply.error)
            if length is None and reply.status == 200 and not reply.error:
                found = f"takes more than {wanted} tokens"
                return Finding("context_length", "ok", found, "llm.session_len could be larger.")
        if length is None:
            advice = "Set llm.session_len to the server's --session-len by hand."
            return Finding("context_length", "note", "it does not say", advice)
        if length < wanted:
            advice = (
                f"Set llm.session_len: {length}; it is {wanted}, and long talks would be refused."
            )
            return Finding("context_length", "note", f"{length} tokens", advice)
        return Finding("context_length", "ok", f"{length} tokens; llm.session_len is {wanted}")

    async def _abort(self) -> Finding:
        before = await self._running()
        if before is None:
            return Finding("abort", "ok", _UNSEEN)
        async with self._stream(self._body("Count from 1 to 500, one number per line.")) as answer:
            async for _ in answer.aiter_raw():
                break
            if (await self._running() or 0) <= before:
                return Finding("abort", "ok", _UNSEEN)
        for _ in range(20):
            if (await self._running() or 0) <= before:
                return Finding("abort", "ok", "a closed connection frees its place")
            await asyncio.sleep(0.1)
        advice = "Answers that nobody waits for go on costing time."
        return Finding("abort", "note", "still generating 2 s after the connection closed", advice)

    async def _running(self) -> float | None:
        answer = await self._client.get("/metrics/")
        found = re.findall(
            r"^\w+:num_requests_running(?:\{[^}]*\})? ([\d.e+]+)$", answer.text, re.MULTILINE
        )
        return sum(map(float, found)) if found else None

    async def _encode(self) -> Finding:
        answer = await self._client.post(
            "/v1/encode", json={"input": "眼睛干涩", "do_preprocess": False}
        )
        try:
            length = int(answer.json()["length"])
        except (ValueError, KeyError, TypeError):
            return Finding("encode", "ok", "no /v1/encode: tokens are estimated")
        return Finding("encode", "ok", f"/v1/encode counts tokens (4 characters: {length})")

    def _body(
        self,
        question: str,
        *,
        tools: tuple[ToolSpec, ...] = (),
        thinking: bool = False,
        extra: Mapping[str, Any] | None = None,
    ) -> bytes:
        native = self._settings.model_copy(update={"tool_mode": "native"})
        messages = [ChatMessage("system", "Answer briefly."), ChatMessage("user", question)]
        request = ChatRequest(messages, tools, max_completion_tokens=256)
        body = wire.encode(request, native, model=self._model, thinking=thinking)
        return json.dumps(json.loads(body) | dict(extra)).encode() if extra else body

    @asynccontextmanager
    async def _stream(self, body: bytes) -> AsyncGenerator[httpx.Response]:
        async with self._client.stream(
            "POST",
            "/v1/chat/completions",
            content=body,
            headers={"Content-Type": "application/json"},
        ) as answer:
            yield answer

    async def _converse(self, question: str, **kind: Any) -> _Reply:
        reply, reader = _Reply(), SseReader()
        now_s = asyncio.get_running_loop().time
        began_s = now_s()
        async with self._stream(self._body(question, **kind)) as answer:
            reply.status = answer.status_code
            if not answer.headers.get("content-type", "").startswith("text/event-stream"):
                reply.error = _message(await answer.aread())
                return reply
            async for chunk in answer.aiter_raw():
                for payload in reader.feed(chunk):
                    _read(reply, payload)
                if not reply.first_ms and (reply.content or reply.reasoning or reply.calls):
                    reply.first_ms = (now_s() - began_s) * 1000
        return reply


_UNSEEN = "cannot be seen: /metrics shows no running request"
_NO_ANSWER = "Look at the server's log; the service cannot use it like this."


# Any, and the loose guard: JSON of a server that may be anything.
def _read(reply: _Reply, payload: bytes) -> None:
    if payload == b"[DONE]":
        return
    try:
        event: Any = json.loads(payload)
        choices: Any = event["choices"]
        reply.usage = event.get("usage") or reply.usage
        for choice in choices[:1]:
            delta: Any = choice.get("delta") or {}
            reply.content += delta.get("content") or ""
            reply.reasoning += delta.get("reasoning_content") or delta.get("reasoning") or ""
            for call in delta.get("tool_calls") or ():
                function: Any = call.get("function") or {}
                if function.get("name"):
                    reply.calls.append(str(function["name"]))
            reply.finish = choice.get("finish_reason") or reply.finish
    except (ValueError, KeyError, TypeError, AttributeError):
        reply.error = reply.error or _message(payload)


def _message(body: bytes) -> str:
    """Return the first words of an error."""
    said: Any = body.decode(errors="replace")
    with suppress(ValueError, KeyError, TypeError, AttributeError):
        said = json.loads(body)
        said = said.get("error") or said
        said = said["message"]
    return re.sub(r"\s+", " ", str(said)).strip()[:200]


def _thinks(reply: _Reply) -> bool:
    return "</think>" in reply.content or bool(reply.reasoning and reply.content)


def _told_context(error: str) -> int | None:
    for words in _CONTEXT_WORDS:
        if found := re.search(words, error):
            return int(found[1])
    return None
