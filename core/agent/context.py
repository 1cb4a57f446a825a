"""Fits a conversation into the model's context, by an offline estimate that is high on purpose."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from math import ceil

from core.ports import ChatMessage, ToolSpec

# One CJK character costs at most about one token in Qwen's and InternLM's vocabularies; other
# words about one token per 3.5 bytes; the chat template adds a handful per message.
_CJK = re.compile(r"[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef\u3000-\u303f]")
_BYTES_PER_TOKEN = 3.5
_TOKENS_PER_MESSAGE = 6
# Kept free for what the estimate may miss.
_RESERVE = 0.05
# A photo belongs in no history: neither a picture nor its bytes as text.
_DATA_URL = re.compile(r"data:[\w/+.-]{0,60};base64,[A-Za-z0-9+/=]*")


def text_tokens(text: str) -> int:
    """Return an upper bound of the tokens of a text."""
    n_cjk = len(_CJK.findall(text))
    # Each CJK character is three bytes of UTF-8.
    n_other_bytes = len(text.encode(errors="replace")) - 3 * n_cjk
    return n_cjk + ceil(max(n_other_bytes, 0) / _BYTES_PER_TOKEN)


def message_tokens(message: ChatMessage) -> int:
    """Return an upper bound of the tokens of a message."""
    calls = sum(text_tokens(c.name + c.arguments) + _TOKENS_PER_MESSAGE for c in message.tool_calls)
    return text_tokens(message.content) + calls + _TOKENS_PER_MESSAGE


def tool_tokens(tools: Sequence[ToolSpec]) -> int:
    """Return an upper bound of the tokens of the tools' descriptions."""
    return sum(
        text_tokens(t.name + t.description + json.dumps(dict(t.parameters), ensure_ascii=False))
        + 4 * _TOKENS_PER_MESSAGE
        for t in tools
    )


def prompt_budget(session_len: int, max_completion_tokens: int) -> int:
    """Return how many tokens the prompt may have."""
    return max(int(session_len * (1 - _RESERVE)) - max_completion_tokens, 0)


def without_photos(message: ChatMessage) -> ChatMessage:
    """Return the message without any picture pasted into it."""
    if ";base64," not in message.content:
        return message
    content = _DATA_URL.sub("[photo]", message.content)
    return ChatMessage(message.role, content, message.tool_calls, message.tool_call_id)


def fit(
    messages: Sequence[ChatMessage], *, budget: int, drop_pairs: int = 0
) -> list[ChatMessage] | None:
    """Drop the oldest exchanges until the rest fits.

    An exchange is a user message with all that answers it, so a tool's result never loses its
    call. System messages and the current exchange (from the last user message on) always stay.

    Args:
        messages: oldest first.
        budget: tokens the prompt may have, tools already subtracted.
        drop_pairs: exchanges to drop even if all fits, after the server found it too long.

    Returns:
        What to send, or None when even the part that must stay is too long.
    """
    messages = [without_photos(m) for m in messages]
    head = [m for m in messages if m.role == "system"]
    exchanges = _exchanges([m for m in messages if m.role != "system"])
    history, current = exchanges[:-1], exchanges[-1] if exchanges else []
    left = budget - sum(map(message_tokens, (*head, *current)))
    if left < 0:
        return None
    kept: list[list[ChatMessage]] = []
    for exchange in reversed(history[drop_pairs:]):
        left -= sum(map(message_tokens, exchange))
        if left < 0:
            break
        kept.append(exchange)
    return [*head, *(m for exchange in reversed(kept) for m in exchange), *current]


def _exchanges(messages: Sequence[ChatMessage]) -> list[list[ChatMessage]]:
    exchanges: list[list[ChatMessage]] = []
    for message in messages:
        if message.role == "user" or not exchanges:
            exchanges.append([])
        exchanges[-1].append(message)
    return exchanges
