"""A `ChatRequest` as the JSON body of LMDeploy's ``/v1/chat/completions``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from core.ports import ChatMessage, ChatRequest, ToolSpec
from models.llm.settings import LlmSettings

# What the oldest form of the interface does not have; strict servers (`transformers serve`) refuse
# to answer rather than ignore it.
EXTRAS = (
    "top_k",
    "repetition_penalty",
    "chat_template_kwargs",
    "skip_special_tokens",
    "max_completion_tokens",
    "stream_options",
    "tool_choice",
)
# For text mode only: words to the model, not to a person, so not in a catalogue.
_TEXT_TOOLS = """

# Tools
You may call these functions (name, purpose, JSON Schema of the arguments):
{tools}
To call one, write exactly this, and nothing after it:
<tool_call>
{{"name": "<function>", "arguments": {{<arguments as JSON>}}}}
</tool_call>
The result comes in the next message, between <tool_response> tags. Never invent a result."""


def encode(
    request: ChatRequest,
    settings: LlmSettings,
    *,
    model: str,
    thinking: bool,
    tools_as_text: bool = False,
    extras: bool = True,
) -> bytes:
    """Return the body of one streamed call.

    Stop strings are not sent: the server drops those of several tokens and stretches the others.

    Args:
        request: what to ask.
        settings: sampling and limits.
        model: name the server serves.
        thinking: whether the chat template shall let the model think.
        tools_as_text: this server reads no calls, whatever the settings hoped for.
        extras: this server takes the fields in `EXTRAS`.
    """
    is_text_mode = tools_as_text or settings.tool_mode == "text"
    limit = min(request.max_completion_tokens, settings.max_completion_tokens)
    body: dict[str, Any] = {
        "model": model,
        "messages": (_as_text if is_text_mode else _native)(request),
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": request.temperature,
        "top_p": settings.top_p,
        "top_k": settings.top_k,
        "repetition_penalty": settings.repetition_penalty,
        "max_completion_tokens": limit,
        "max_tokens": limit,  # the old name is the only one that llama.cpp's Python server knows
        "chat_template_kwargs": {"enable_thinking": thinking},
    }
    if request.tools and is_text_mode:
        body["skip_special_tokens"] = False  # the markers of a call would vanish
    elif request.tools:
        body["tools"] = [_tool(t) for t in request.tools]
        body["tool_choice"] = "auto"
    if not extras:
        body = {name: value for name, value in body.items() if name not in EXTRAS}
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def _tool(spec: ToolSpec) -> dict[str, Any]:
    function = {
        "name": spec.name,
        "description": spec.description,
        "parameters": dict(spec.parameters),
    }
    return {"type": "function", "function": function}


def _native(request: ChatRequest) -> list[dict[str, Any]]:
    return [_native_message(m) for m in request.messages]


def _native_message(message: ChatMessage) -> dict[str, Any]:
    wire: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        wire["tool_calls"] = [
            {"id": c.id, "type": "function", "function": {"name": c.name, "arguments": c.arguments}}
            for c in message.tool_calls
        ]
    if message.tool_call_id is not None:
        wire["tool_call_id"] = message.tool_call_id
    return wire


def _as_text(request: ChatRequest) -> list[dict[str, Any]]:
    """Write calls and results as text, because the chat template may know no tools at all."""
    wire: list[dict[str, Any]] = []
    for message in request.messages:
        role, content = message.role, message.content
        if message.role == "tool":
            role, content = "user", f"<tool_response>\n{content}\n</tool_response>"
        for call in message.tool_calls:
            name = json.dumps(call.name, ensure_ascii=False)
            body = f'{{"name": {name}, "arguments": {call.arguments}}}'
            content = f"{content}\n<tool_call>\n{body}\n</tool_call>".lstrip()
        if wire and wire[-1]["role"] == role == "user":  # many templates insist on alternation
            wire[-1]["content"] += f"\n{content}"
        else:
            wire.append({"role": role, "content": content})
    if request.tools:
        described = _TEXT_TOOLS.format(tools=_describe(request.tools))
        if wire and wire[0]["role"] == "system":
            wire[0]["content"] += described
        else:
            wire.insert(0, {"role": "system", "content": described.lstrip()})
    return wire


def _describe(tools: Sequence[ToolSpec]) -> str:
    return "\n".join(
        f"- {t.name}: {t.description} {json.dumps(dict(t.parameters), ensure_ascii=False)}"
        for t in tools
    )
