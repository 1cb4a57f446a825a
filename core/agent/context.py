"""Fits a conversation into the model's context.

Counting goes from cheap to exact: an estimate that is high on purpose, corrected by what the
server's `usage` said about earlier prompts (`TokenMeter`), and the server's own tokenizer
(`TokenCounter`) only when the estimate says that something must go.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Literal, Protocol

from core.ports import ChatMessage, ToolSpec

# A CJK character costs at most about one token in Qwen's and InternLM's vocabularies. A run of
# letters costs one per three letters at worst (names of drugs), a digit or sign one each, anything
# else (emoji, rare scripts) up to one per byte of a byte-level vocabulary.
_PIECES = re.compile(
    r"(?P<cjk>[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef\u3000-\u303f\u2010-\u203b]+)"
    r"|(?P<letters>[A-Za-z]+)|(?P<space>[ ]+)|(?P<ascii>[\x00-\x7f])|(?P<other>.)",
    re.DOTALL,
)
_LETTERS_PER_TOKEN = 3
_TOKENS_PER_MESSAGE = 6
# Kept free for what the estimate may miss.
_RESERVE = 0.05
# A photo belongs in no history: neither a picture nor its bytes as text.
_DATA_URL = re.compile(r"data:[\w/+.-]{0,60};base64,[A-Za-z0-9+/=]*")
_BYTES_AS_TEXT = re.compile(r"[A-Za-z0-9+/]{200,}={0,2}")
# Never believe an estimate to be worse than this, nor better: one odd prompt must not decide.
_LOWEST_SCALE, _HIGHEST_SCALE = 0.5, 2.0


class TokenCounter(Protocol):
    """Counts tokens as the server does."""

    async def count(self, texts: Sequence[str]) -> Sequence[int] | None:
        """Return the tokens of each text, or None when the server cannot tell."""
        ...


def text_tokens(text: str) -> int:
    """Return an upper bound of the tokens of a text."""
    total = 0
    for piece in _PIECES.finditer(text):
        match piece.lastgroup:
            case "cjk":
                total += len(piece[0])
            case "letters":
                total += ceil(len(piece[0]) / _LETTERS_PER_TOKEN)
            case "space":
                total += len(piece[0]) - 1  # the first one belongs to the word behind it
            case "ascii":
                total += 1
            case _:
                total += len(piece[0].encode(errors="replace"))
    return total


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


class TokenMeter:
    """Learns from `usage` how far the estimate is off for the model in use.

    One per model, shared by all conversations; forgets nothing but the difference: the scale is
    the highest ratio of the last prompts, so that it stays an upper bound.
    """

    def __init__(self, *, remembered: int = 32) -> None:
        self._ratios: list[float] = []
        self._remembered = remembered

    def note(self, estimated: int, exact: int | None) -> None:
        """Take in what one prompt really cost; None when the server did not say."""
        if exact and estimated > 0:
            self._ratios = [*self._ratios, exact / estimated][-self._remembered :]

    @property
    def scale(self) -> float:
        """What to multiply an estimate with; 1 until something is known."""
        if not self._ratios:
            return 1.0
        return min(max(*self._ratios, _LOWEST_SCALE), _HIGHEST_SCALE)


def without_photos(message: ChatMessage) -> ChatMessage:
    """Return the message without any picture pasted into it."""
    if len(message.content) < _LONG_ENOUGH_FOR_BYTES and ";base64," not in message.content:
        return message
    content = _BYTES_AS_TEXT.sub("[file]", _DATA_URL.sub("[photo]", message.content))
    return message if content == message.content else replace(message, content=content)


_LONG_ENOUGH_FOR_BYTES = 200


@dataclass(frozen=True, slots=True)
class Fitted:
    """What to send.

    Attributes:
        messages: oldest first.
        tokens: estimate of them, scaled, without the tools.
        dropped: exchanges left out.
        is_cut: the current user message was cut in the middle; say so to the person.
    """

    messages: tuple[ChatMessage, ...]
    tokens: int
    dropped: int = 0
    is_cut: bool = False


async def fit(
    messages: Sequence[ChatMessage],
    *,
    budget: int,
    drop_pairs: int = 0,
    current_from: int | None = None,
    scale: float = 1.0,
    counter: TokenCounter | None = None,
) -> Fitted | None:
    """Drop the oldest exchanges until the rest fits.

    An exchange is a user message with all that answers it, so a tool's result never loses its
    call. System messages always stay whole, and the current exchange (from the last user message
    on) stays; a user message too long for all the room left is cut in its middle, with a mark.

    Args:
        messages: oldest first.
        budget: tokens the prompt may have, tools already subtracted.
        drop_pairs: exchanges to drop even if all fits, after the server found it too long.
        current_from: index of the message the current exchange begins with; None = the last user
            message. What follows it may be user messages too (a correction, a tool's result).
        scale: of the estimate, see `TokenMeter`.
        counter: asked when not everything fits by the estimate.

    Returns:
        What to send, or None when even the system messages leave no room.
    """
    messages = [without_photos(m) for m in messages]
    costs = [ceil(message_tokens(m) * scale) for m in messages]
    if counter is not None and sum(costs) > budget:
        exact = await counter.count([m.content for m in messages])
        if exact is not None and len(exact) == len(messages):
            calls = [
                sum(text_tokens(c.name + c.arguments) + _TOKENS_PER_MESSAGE for c in m.tool_calls)
                for m in messages
            ]
            costs = [n + extra + _TOKENS_PER_MESSAGE for n, extra in zip(exact, calls, strict=True)]
    priced = list(zip(messages, costs, strict=True))
    if current_from is None:
        users = [n for n, m in enumerate(messages) if m.role == "user"]
        current_from = users[-1] if users else len(messages)
    head = [p for p in priced if p[0].role == "system"]
    past = _exchanges([p for p in priced[:current_from] if p[0].role != "system"])
    current = [p for p in priced[current_from:] if p[0].role != "system"]
    must = sum(cost for _, cost in (*head, *current))
    if must > budget:
        cut = _cut_current(current, over=must - budget)
        if cut is None:
            return None
        sent = (*(m for m, _ in head), *cut)
        return Fitted(sent, budget, len(past), is_cut=True)
    left = budget - must
    kept: list[list[tuple[ChatMessage, int]]] = []
    for exchange in reversed(past[drop_pairs:]):
        cost = sum(c for _, c in exchange)
        if cost > left:
            break
        left -= cost
        kept.append(exchange)
    chosen = [*head, *(p for exchange in reversed(kept) for p in exchange), *current]
    return Fitted(tuple(m for m, _ in chosen), budget - left, len(past) - len(kept))


# Words to the model; the person is told by a notice in their language.
_CUT_MARK = "\n[… {n} characters left out …]\n"
# Beginning and end of a long message say most of it: what it is about, and what is asked.
_KEPT_IN_FRONT = 0.6
_SHORTEST_CUT = 200


def _cut_current(
    current: Sequence[tuple[ChatMessage, int]], *, over: int
) -> list[ChatMessage] | None:
    """Shorten the current user message by `over` tokens, or return None when it is too short."""
    if not current:
        return None
    message, cost = current[0]
    room = cost - over - _TOKENS_PER_MESSAGE - text_tokens(_CUT_MARK) - 6
    share = room / max(cost - _TOKENS_PER_MESSAGE, 1)
    n_kept = int(len(message.content) * share)
    if message.role != "user" or n_kept < _SHORTEST_CUT:
        return None
    content = cut_middle(message.content, n_kept)
    return [replace(message, content=content), *(m for m, _ in current[1:])]


def cut_middle(text: str, n_kept: int) -> str:
    """Return a text of about `n_kept` characters and a mark where the middle was."""
    front = int(n_kept * _KEPT_IN_FRONT)
    back = n_kept - front
    mark = _CUT_MARK.format(n=len(text) - n_kept)
    return text[:front] + mark + (text[-back:] if back else "")


def _exchanges(
    priced: Sequence[tuple[ChatMessage, int]],
) -> list[list[tuple[ChatMessage, int]]]:
    exchanges: list[list[tuple[ChatMessage, int]]] = []
    for message, cost in priced:
        if message.role == "user" or not exchanges:
            exchanges.append([])
        exchanges[-1].append((message, cost))
    return exchanges


def history(recent: Sequence[tuple[str, str]]) -> list[ChatMessage]:
    """Return remembered (author, text) pairs as whole exchanges in alternating roles.

    An answer whose question is not remembered any more is left out; several messages in a row of
    the same side become one, because many chat templates insist on turns.
    """
    messages: list[ChatMessage] = []
    for author, said in recent:
        role: Literal["user", "assistant"] = "user" if author == "patient" else "assistant"
        if not messages and role == "assistant":
            continue
        if messages and messages[-1].role == role:
            messages[-1] = replace(messages[-1], content=f"{messages[-1].content}\n{said}")
        else:
            messages.append(ChatMessage(role, said))
    return messages


# Markers of chat templates and tool calls. In somebody's words they are only words, and must not
# end a turn, begin a system message or make a call where the template reads them as markup.
_MARKUP = re.compile(
    r"<\|[^|<>\n]{1,40}\|>|<｜[^｜<>\n]{1,40}｜>|\[/?INST\]|<</?SYS>>|</?s>"
    r"|</?(?:tool_call|tool_response|tool_result|function|parameter|think|system|material|"
    r"arg_key|arg_value)\b[^<>\n]{0,80}>",
    re.IGNORECASE,
)


def neutral(text: str) -> str:
    """Return somebody's words without anything a chat template would take for markup."""
    return _MARKUP.sub(" ", text) if "<" in text or "[" in text else text
