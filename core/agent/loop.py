"""Lets the model answer, with tools, in a bounded number of rounds.

Whatever the model or the server does, the loop ends: with an answer, or with `ModelUnavailable`,
after which the guided consult takes over.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

import structlog

from core.agent import context, schema, toolcalls
from core.agent.limits import USUAL, Limits
from core.errors import ContextOverflow, ModelBusy, ModelUnavailable, PatientError, TransientError
from core.ports import (
    ChatEvent,
    ChatMessage,
    ChatModel,
    ChatRequest,
    Completed,
    ToolSpec,
)

_log = structlog.get_logger(__name__)

# Words to the model, not to a person, so not in a catalogue.
_ASK_AGAIN = (
    "Your last message was empty or not a valid call. Answer the person in plain words, or call "
    "one of the offered tools with exactly its name and JSON arguments."
)
_CORRECT = "Do not send that answer: {why} Write the whole answer again, in the person's language."
_NO_MORE_TOOLS = "You have called enough tools. Answer the person now, in plain words."
# Share of the budget left when the server found the prompt too long after all.
_SHORTENED = 0.8
_SENTENCE_ENDS = "。！？!?…\n"


@dataclass(frozen=True, slots=True)
class Tool:
    """Something the model may call.

    Attributes:
        spec: as the model sees it.
        run: takes arguments that fit the schema and returns the result as text for the model.
        timeout_s: longest run.
    """

    spec: ToolSpec
    run: Callable[[Mapping[str, Any]], Awaitable[str]]
    timeout_s: float = 20.0


# A chat template without a tool role fails on one, so results then go into a user message.
ToolRole = Literal["tool", "user"]


@dataclass(frozen=True, slots=True)
class AgentAnswer:
    """What the model says at last.

    Attributes:
        text: Markdown, not yet checked (`core.agent.safety`), never empty.
        used_tools: names of the tools that ran, in order.
        prompt_tokens: of all rounds, as far as the server told.
        completion_tokens: likewise.
        rounds: calls of the model.
        is_cut: the answer met the token limit and was shortened to its last whole sentence.
        was_corrected: the first answer was objected to, and this is the second.
        is_question_cut: the person's message was too long for the model, which read its beginning
            and its end; say so.
        tool_role: in which role results were understood; pass it on to the next call.
    """

    text: str
    used_tools: tuple[str, ...] = ()
    prompt_tokens: int = 0
    completion_tokens: int = 0
    rounds: int = 1
    is_cut: bool = False
    was_corrected: bool = False
    is_question_cut: bool = False
    tool_role: ToolRole = "tool"


ShowText = Callable[[str], Awaitable[None]]
# Looks at a finished answer and returns what is wrong with it, in words for the model, or None.
Object = Callable[[str], str | None]


async def converse(
    model: ChatModel,
    messages: Sequence[ChatMessage],
    tools: Mapping[str, Tool],
    *,
    on_text: ShowText | None = None,
    affinity: str = "",
    limits: Limits = USUAL,
    object_to: Object | None = None,
    meter: context.TokenMeter | None = None,
    counter: context.TokenCounter | None = None,
    tool_role: ToolRole = "tool",
) -> AgentAnswer:
    """Answer the last user message.

    Args:
        model: the LLM.
        messages: system prompt, history and the current user message, oldest first; shortened
            here to fit the context.
        tools: by name; the name is the one in the tool's spec.
        on_text: gets the whole answer so far, unchecked, whenever it grew; tool calls left out.
        affinity: stable opaque key of the patient.
        limits: what it may cost.
        object_to: asked about a finished answer; the model is told once and answers again. The
            second answer is returned whatever it says: the caller decides.
        meter: what is known about the model's tokens; learns from this call.
        counter: the server's own tokenizer.
        tool_role: role of tool results; when a server fails on results in role ``tool``, the
            same is tried once in role ``user``.

    Raises:
        ModelUnavailable: no usable answer; forget what `on_text` got.
    """
    talk = _Talk(model, list(messages), tools, on_text, affinity, limits)
    talk.object_to, talk.counter, talk.tool_role = object_to, counter, tool_role
    talk.meter = meter or talk.meter
    try:
        async with asyncio.timeout(limits.total_timeout_s):
            return await talk.run()
    except TimeoutError:
        raise ModelUnavailable("the answer took too long") from None


class _Talk:
    """One call of `converse`."""

    def __init__(
        self,
        model: ChatModel,
        messages: list[ChatMessage],
        tools: Mapping[str, Tool],
        on_text: ShowText | None,
        affinity: str,
        limits: Limits,
    ) -> None:
        self._model = model
        self._messages = messages
        self._tools = tools
        self._on_text = on_text
        self._affinity = affinity
        self._limits = limits
        self._results: dict[str, str] = {}  # by call key: the same call runs once per message
        self._used: list[str] = []
        self._prompt_tokens = 0
        self._completion_tokens = 0
        self._rounds = 0
        self._drop_pairs = 0
        users = [n for n, m in enumerate(messages) if m.role == "user"]
        self._current_from = users[-1] if users else len(messages)
        self._was_corrected = False
        self._is_question_cut = False
        self.object_to: Object | None = None
        self.meter = context.TokenMeter()
        self.counter: context.TokenCounter | None = None
        self.tool_role: ToolRole = "tool"

    async def run(self) -> AgentAnswer:
        """Return the first usable answer."""
        offered = tuple(t.spec for t in self._tools.values())
        has_asked_again = False
        tool_rounds = 0
        while True:
            done = await self._ask(offered)
            said = toolcalls.parse(done.text, done.tool_calls, offered)
            if said.calls and tool_rounds < self._limits.rounds - 1:
                tool_rounds += 1
                await self._run_calls(said)
                if tool_rounds == self._limits.rounds - 1:
                    self._add_to_last(_NO_MORE_TOOLS)
                continue
            is_usable = said.text and not said.has_broken and not said.calls
            if is_usable or (said.text and has_asked_again):
                answer = self._answer(said.text, is_cut=done.finish_reason == "length")
                if not self._must_answer_again(answer.text):
                    return answer
                continue
            # The server deletes calls it does not know, silently; asking once more often helps.
            _log.info("agent_no_answer", has_broken=said.has_broken, again=not has_asked_again)
            if has_asked_again:
                raise ModelUnavailable("the LLM said nothing, twice")
            has_asked_again = True
            self._add_to_last(_NO_MORE_TOOLS if said.calls else _ASK_AGAIN)

    def _must_answer_again(self, text: str) -> bool:
        """Tell the model once what is wrong with its answer; what is said then is returned."""
        if self._was_corrected or self.object_to is None:
            return False
        why = self.object_to(text)
        if why is None:
            return False
        _log.info("agent_corrected")
        self._was_corrected = True
        self._messages.append(ChatMessage("assistant", text))
        self._messages.append(ChatMessage("user", f"[{_CORRECT.format(why=why)}]"))
        return True

    def _add_to_last(self, words: str) -> None:
        """Tell the model something inside the last message, so that roles still alternate."""
        last = self._messages[-1]
        self._messages[-1] = replace(last, content=f"{last.content}\n\n[{words}]")

    async def _ask(self, offered: Sequence[ToolSpec]) -> Completed:
        budget = context.prompt_budget(
            self._limits.session_len, self._limits.max_completion_tokens
        ) - context.tool_tokens(offered)
        has_shortened = has_changed_role = False
        while True:
            fitting = await context.fit(
                self._sendable(),
                budget=budget,
                drop_pairs=self._drop_pairs,
                current_from=self._current_from,
                scale=self.meter.scale,
                counter=self.counter,
            )
            if fitting is None:
                raise ContextOverflow("the current message does not fit the LLM's context")
            self._is_question_cut = self._is_question_cut or fitting.is_cut
            try:
                done = await self._stream(fitting.messages, offered)
            except ContextOverflow:
                if has_shortened:
                    raise
                has_shortened = True
                self._drop_pairs = 2 + fitting.dropped
                # The server knows better than the estimate: what must stay is shortened too.
                budget = int(budget * _SHORTENED)
            except ModelBusy:
                raise
            except ModelUnavailable:
                has_results = any(m.role == "tool" for m in fitting.messages)
                if has_changed_role or not has_results:
                    raise
                has_changed_role = True
                self.tool_role = "user"
                _log.info("agent_tool_role_changed")
            else:
                estimated = sum(map(context.message_tokens, fitting.messages))
                self.meter.note(estimated + context.tool_tokens(offered), done.prompt_tokens)
                return done

    def _sendable(self) -> list[ChatMessage]:
        """Return the messages in roles the model's chat template has."""
        if self.tool_role == "tool":
            return self._messages
        plain: list[ChatMessage] = []
        for message in self._messages:
            if message.role == "tool":
                content = f"[result of the tool]\n{message.content}"
                if plain and plain[-1].role == "user":
                    plain[-1] = replace(plain[-1], content=f"{plain[-1].content}\n{content}")
                else:
                    plain.append(ChatMessage("user", content))
            elif message.tool_calls:
                names = ", ".join(c.name for c in message.tool_calls)
                content = f"{message.content}\n[tool called: {names}]".lstrip()
                plain.append(ChatMessage("assistant", content))
            else:
                plain.append(message)
        return plain

    async def _stream(
        self, messages: Sequence[ChatMessage], offered: Sequence[ToolSpec]
    ) -> Completed:
        self._rounds += 1
        request = ChatRequest(
            messages,
            offered,
            self._affinity,
            self._limits.max_completion_tokens,
            self._limits.temperature,
        )
        so_far, shown = "", ""
        # Closing the stream at once makes the server stop when we are cancelled.
        events = cast("AsyncGenerator[ChatEvent, None]", self._model.stream(request))
        async with aclosing(events):
            async for event in events:
                if isinstance(event, Completed):
                    self._prompt_tokens += event.prompt_tokens or 0
                    self._completion_tokens += event.completion_tokens or 0
                    return event
                if self._on_text is not None:
                    so_far += event.text
                    if (now := toolcalls.showable(so_far)) and now != shown:
                        shown = now
                        await self._on_text(now)
        raise ModelUnavailable("the LLM's stream ended without an end")

    async def _run_calls(self, said: toolcalls.Parsed) -> None:
        calls = said.calls[: self._limits.calls_per_round]
        self._messages.append(
            ChatMessage("assistant", said.text, tuple(c.as_tool_call() for c in calls))
        )
        for call in calls:
            if call.key not in self._results:
                self._results[call.key] = await self._run(call)
            result = self._results[call.key]
            self._messages.append(ChatMessage("tool", result, tool_call_id=call.id))

    async def _run(self, call: toolcalls.Call) -> str:
        """Run one tool and return its result, or in words why there is none."""
        tool = self._tools.get(call.name)
        if tool is None:
            return "error: there is no such tool"
        arguments = schema.given(call.arguments, tool.spec)
        if wrong := schema.problem(arguments, tool.spec):
            return f"error: {wrong}"
        self._used.append(call.name)
        try:
            async with asyncio.timeout(tool.timeout_s):
                result = await tool.run(arguments)
        except TimeoutError:
            _log.warning("tool_timed_out", tool=call.name, timeout_s=tool.timeout_s)
            return "error: the tool took too long; answer without it"
        except (PatientError, TransientError) as error:
            _log.warning("tool_failed", tool=call.name, error=type(error).__name__)
            return "error: the tool has no result; answer without it"
        except Exception as error:  # a defect of one tool must not cost the person the answer
            _log.exception("tool_broke", tool=call.name, error=type(error).__name__)
            return "error: the tool has no result; answer without it"
        return context.neutral(result)[: self._limits.result_characters]

    def _answer(self, text: str, *, is_cut: bool) -> AgentAnswer:
        if is_cut:
            # Half a sentence about somebody's eyes can say the opposite of the whole one.
            text = text[: max(text.rfind(e) for e in _SENTENCE_ENDS) + 1].strip()
            if not text:
                raise ModelUnavailable("the answer was cut before its first sentence ended")
        return AgentAnswer(
            text,
            tuple(self._used),
            self._prompt_tokens,
            self._completion_tokens,
            self._rounds,
            is_cut,
            self._was_corrected,
            self._is_question_cut,
            self.tool_role,
        )
