"""What a patient gets for everything the LLM and its server may do: one scenario each.

The same scenarios run against the real server (`tests/contract/lmdeploy`, which records them) and
against their recordings (`tests/contract/llm/test_replay.py`, without the server).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from core.agent.limits import Limits
from core.agent.loop import Tool, converse
from core.errors import ModelUnavailable
from core.ports import ChatMessage, ChatRequest, Completed, TextDelta, ToolCall, ToolSpec
from models.llm.client import LlmClient
from models.llm.settings import LlmSettings
from tests.contract.lmdeploy.script import Rule

PHOTO = ToolSpec(
    "read_fundus_photo",
    "Reads a fundus photo.",
    {
        "type": "object",
        "properties": {"photo_id": {"type": "string"}},
        "required": ["photo_id"],
        "additionalProperties": False,
    },
)
RESULT = "grade 2 of 4, refer"
ANSWER = "照片显示二级，建议两周内看眼科。"
REST = "请闭眼休息。\n\n如果今天加重，请尽快就诊。"

# Which server a scenario needs: tool-call format (a key of `families.FAMILIES`) and flags.
THINKING = ("qwen3", "--session-len", "2048", "--reasoning-parser", "default")
PLAIN = ("none", "--session-len", "2048", "--max-batch-size", "2", "--api-keys", "sesame")
KEY = {"api_key": "sesame"}


def family(name: str) -> tuple[str, ...]:
    """Return the server of another tool-call format."""
    return (name, "--session-len", "2048")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What our side made of it.

    Attributes:
        text: what the patient would see, whole.
        error: name of the error instead; then nothing shown may be kept.
        calls: tools the model called: of the client, as the server gave them; of the agent, those
            that ran.
        finish: finish reason.
        asked: calls of the server.
    """

    text: str = ""
    error: str | None = None
    calls: tuple[tuple[str, str], ...] = ()
    finish: str | None = None
    asked: int = 1


@dataclass(frozen=True, slots=True)
class Scenario:
    """One row of the contract.

    Attributes:
        name: also the recording's file name.
        expect: what must come out.
        rules: what the model says.
        server: see `THINKING`.
        by: whether the client alone or the agent above it is asked.
        tools: offered tools.
        settings: of the client, beyond the defaults.
        messages: the conversation; None = one question.
        request: fields of `ChatRequest`, beyond the defaults.
        cut: break the connection after so many events, and how.
        never: words that may be neither shown nor raised nor logged.
    """

    name: str
    expect: Outcome
    rules: tuple[Rule, ...] = ()
    server: tuple[str, ...] = THINKING
    by: Literal["client", "agent"] = "client"
    tools: tuple[ToolSpec, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    messages: tuple[ChatMessage, ...] | None = None
    request: Mapping[str, Any] = field(default_factory=dict[str, Any])
    cut: tuple[int, Literal["reset", "clean"]] | None = None
    never: tuple[str, ...] = ()


QUESTION = (ChatMessage("system", "简短回答。"), ChatMessage("user", "眼睛干，怎么办？"))


def settings_of(scenario: Scenario, url: str) -> LlmSettings:
    """Return the client's settings; a scenario about silence brings a short patience of its own."""
    patient = {"first_token_timeout_s": 60.0, "total_timeout_s": 90.0, "probe_timeout_s": 60.0}
    return LlmSettings(base_urls=(url,), **{"probe_interval_s": 60, **patient, **scenario.settings})


async def play(scenario: Scenario, url: str) -> tuple[Outcome, list[str]]:
    """Have the conversation; returns the outcome and every text that was shown meanwhile."""
    client = LlmClient(settings_of(scenario, url))
    await client.start()
    try:
        return await _play(scenario, client)
    finally:
        await client.stop()


async def _play(scenario: Scenario, client: LlmClient) -> tuple[Outcome, list[str]]:
    shown: list[str] = []
    messages: Sequence[ChatMessage] = scenario.messages or QUESTION
    ran: list[tuple[str, str]] = []

    async def read(arguments: Mapping[str, Any]) -> str:
        ran.append((PHOTO.name, str(arguments["photo_id"])))
        return RESULT

    async def show(text: str) -> None:
        shown.append(text)

    def asked() -> int:
        return sum(server.calls for server in client.servers.all)

    try:
        if scenario.by == "agent":
            answer = await converse(
                client,
                messages,
                {spec.name: Tool(spec, read) for spec in scenario.tools},
                on_text=show,
                affinity="p1",
                limits=Limits(session_len=2048, max_completion_tokens=256),
            )
            return Outcome(answer.text, None, tuple(ran), None, asked()), shown
        request = ChatRequest(messages, scenario.tools, "p1", **scenario.request)
        done: Completed | None = None
        async for event in client.stream(request):
            if isinstance(event, TextDelta):
                shown.append(event.text)
            else:
                done = event
        assert done is not None
        assert "".join(shown).strip() == done.text
        calls = tuple((call.name, call.arguments) for call in done.tool_calls)
        return Outcome(done.text, None, calls, done.finish_reason, asked()), shown
    except ModelUnavailable as error:
        return Outcome(error=type(error).__name__, asked=asked()), [*shown, repr(error)]


def _qwen(name: str, arguments: str) -> str:
    return f'<tool_call>\n{{"name": "{name}", "arguments": {arguments}}}\n</tool_call>'


_CALL = _qwen("read_fundus_photo", '{"photo_id": "p1"}')
_THEN = Rule(ANSWER, match=RESULT)
_RAN = Outcome(ANSWER, calls=(("read_fundus_photo", "p1"),), asked=2)
_FAILED = Outcome(error="ModelUnavailable")
_SECRET = "device-side"


def _agent(
    name: str, *rules: Rule, expect: Outcome = _RAN, server: tuple[str, ...] = THINKING, **more: Any
) -> Scenario:
    return Scenario(name, expect, rules, server, "agent", (PHOTO,), **more)


_ANSWERS = (
    Scenario("plain_answer", Outcome(REST, finish="stop"), (Rule(REST),)),
    Scenario(
        "several_tokens_at_once", Outcome(REST, finish="stop"), (Rule(REST, tokens_per_step=7),)
    ),
    Scenario(
        "long_answer", Outcome(REST * 8, finish="stop"), (Rule(REST * 8, tokens_per_step=16),)
    ),
    Scenario(
        "emoji_and_rare_characters",
        Outcome("👁️‍🗨️ 𠮷 ok", finish="stop"),
        (Rule("👁️‍🗨️ 𠮷 ok"),),
    ),
    Scenario(
        "stop_string_of_many_tokens",
        Outcome("请休息。", finish="stop"),
        (Rule("请休息。\nObservation: 一切正常\n" + REST, tokens_per_step=3),),
        settings={"stop": ("Observation:",)},
        never=("一切正常",),
    ),
    Scenario(
        "token_limit",
        Outcome("请闭眼", finish="length"),
        (Rule(REST),),
        request={"max_completion_tokens": 9},
    ),
    Scenario(
        "token_limit_inside_a_character",
        Outcome("请闭眼", finish="length"),
        (Rule(REST),),
        request={"max_completion_tokens": 11},
        never=("\ufffd",),
    ),
    _agent(
        "token_limit_in_the_agent",
        Rule("请闭眼休息。" + "看远处，" * 99),
        expect=Outcome("请闭眼休息。"),
    ),
)

_THOUGHTS = (
    Scenario(
        "thinking_off_by_the_template",
        Outcome("请休息。", finish="stop"),
        (Rule("请休息。", match="<think>\n\n</think>"), Rule("template ignored it")),
    ),
    Scenario(
        "thinking_on",
        Outcome("请休息。", finish="stop"),
        (Rule("<think>\n可能是干眼。\n</think>\n\n请休息。"),),
        settings={"thinking": True},
        never=("可能",),
    ),
    Scenario(
        "thought_opened_by_the_template",
        Outcome("请休息。", finish="stop"),
        (Rule("可能是干眼。\n</think>\n\n请休息。"),),
        settings={"thinking": True},
        never=("可能",),
    ),
    Scenario(
        "thought_on_a_server_that_does_not_know_thoughts",
        Outcome("请休息。", finish="stop"),
        (Rule("<think>可能是干眼。</think>请休息。"),),
        PLAIN,
        settings=KEY,
        never=("可能",),
    ),
    Scenario(
        "only_thoughts_then_asked_without",
        Outcome("请休息。", finish="stop", asked=2),
        (Rule("请休息。", match="<think>\n\n</think>"), Rule("<think>可能，也许" * 9)),
        settings={"thinking": True},
        never=("可能",),
    ),
    Scenario(
        "thought_cut_by_the_token_limit",
        Outcome("请休息。", finish="stop", asked=2),
        (Rule("请休息。", match="<think>\n\n</think>"), Rule("可能，" * 99)),
        settings={"thinking": True, "max_completion_tokens": 48},
        never=("可能",),
    ),
)

_TOOLS = (
    Scenario(
        "tool_call",
        Outcome(calls=(("read_fundus_photo", '{"photo_id": "p1"}'),), finish="tool_calls"),
        (Rule(_CALL),),
        tools=(PHOTO,),
    ),
    Scenario(
        "two_tool_calls",
        Outcome(
            "我看看。",
            calls=tuple(("read_fundus_photo", f'{{"photo_id": "p{n}"}}') for n in (1, 2)),
            finish="tool_calls",
        ),
        (Rule("我看看。\n" + _CALL + "\n" + _qwen(PHOTO.name, '{"photo_id": "p2"}')),),
        tools=(PHOTO,),
    ),
    _agent("tool_call_answered", _THEN, Rule(_CALL)),
    _agent(
        "tool_call_inside_a_thought",
        Rule(f"<think>二级</think>{ANSWER}", match=RESULT),
        Rule(f"<think>看图{_CALL}</think>"),
        settings={"thinking": True},
        never=("看图",),
    ),
    _agent("arguments_in_single_quotes", _THEN, Rule(_qwen(PHOTO.name, "{'photo_id': 'p1'}"))),
    _agent(
        "arguments_with_a_trailing_comma", _THEN, Rule(_qwen(PHOTO.name, '{"photo_id": "p1",}'))
    ),
    _agent(
        "call_leaks_into_the_text",
        _THEN,
        Rule('{"name": "read_fundus_photo", "arguments": {"photo_id": "p1"}}'),
    ),
    _agent(
        "call_of_an_unknown_name_vanishes",
        Rule("请把照片发给我。", match="not a valid call"),
        Rule(_qwen("ReadFundusPhoto", '{"photo_id": "p1"}')),
        expect=Outcome("请把照片发给我。", asked=2),
    ),
    _agent(
        "call_vanishes_twice",
        Rule(_qwen("ReadFundusPhoto", '{"photo_id": "p1"}')),
        expect=Outcome(error="ModelUnavailable", asked=2),
    ),
    _agent(
        "wrong_key_for_the_arguments",
        Rule("请再发一次照片。", match="error:"),
        Rule(
            '<tool_call>\n{"name": "read_fundus_photo", '
            '"parameters": {"photo_id": "p1"}}\n</tool_call>'
        ),
        expect=Outcome("请再发一次照片。", asked=2),
    ),
    _agent(
        "arguments_cut_by_the_end",
        Rule("请再发一次照片。", match="not a valid call"),
        Rule('<tool_call>\n{"name": "read_fundus_photo", "arguments": {"photo_id": "p'),
        expect=Outcome("请再发一次照片。", asked=2),
    ),
    _agent(
        "same_call_over_and_over",
        Rule(ANSWER, match="enough tools"),
        Rule(_CALL),
        expect=Outcome(ANSWER, calls=_RAN.calls, asked=3),
    ),
    Scenario(
        "internlm_call_without_offered_tools",
        Outcome('{"name": "read_fundus_photo", "parameters": {"photo_id": "p1"}}', finish="stop"),
        (
            Rule(
                "<|action_start|><|plugin|>"
                '{"name": "read_fundus_photo", "parameters": {"photo_id": "p1"}}<|action_end|>'
            ),
        ),
        family("internlm"),
    ),
    _agent(
        "server_without_a_tool_parser",
        _THEN,
        Rule(_CALL),
        server=PLAIN,
        settings=KEY,
        expect=Outcome(ANSWER, calls=_RAN.calls, asked=3),
    ),
    _agent("text_mode", _THEN, Rule(_CALL), server=PLAIN, settings={**KEY, "tool_mode": "text"}),
)

_DSML = (
    "我看看。\n\n<｜DSML｜{block}>\n"
    '<｜DSML｜invoke name="read_fundus_photo">\n'
    '<｜DSML｜parameter name="photo_id" string="true">p1</｜DSML｜parameter>\n'
    "</｜DSML｜invoke>\n</｜DSML｜{block}>"
)
_XML = (
    "<tool_call>\n<function=read_fundus_photo>\n<parameter=photo_id>\np1\n</parameter>\n"
    "</function>\n</tool_call>"
)
_BY_FAMILY = {
    "qwen3": _CALL,
    "qwen3coder": _XML,
    "interns2-preview": _XML,
    "internlm": (
        "我看看。<|action_start|><|plugin|>\n"
        '{"name": "read_fundus_photo", "parameters": {"photo_id": "p1"}}<|action_end|>'
    ),
    "llama3": '<|python_tag|>{"name": "read_fundus_photo", "parameters": {"photo_id": "p1"}}',
    "glm47": (
        "<tool_call>read_fundus_photo<arg_key>photo_id</arg_key>"
        "<arg_value>p1</arg_value></tool_call>"
    ),
    "deepseek-v32": _DSML.format(block="function_calls"),
    "deepseek-v4": _DSML.format(block="tool_calls"),
    "kimi_k2": (
        "<|tool_calls_section_begin|><|tool_call_begin|>functions.read_fundus_photo:0"
        '<|tool_call_argument_begin|>{"photo_id": "p1"}<|tool_call_end|><|tool_calls_section_end|>'
    ),
}
_FAMILIES = tuple(
    _agent(f"format_{name.replace('-', '_')}", _THEN, Rule(text), server=family(name))
    for name, text in _BY_FAMILY.items()
)

_LONG = (
    ChatMessage("system", "简短回答。"),
    *(
        ChatMessage("user" if n % 2 == 0 else "assistant", f"第{n}句：" + "眼睛干涩。" * 12)
        for n in range(10)
    ),
    ChatMessage("user", "怎么办？"),
)

_FAILURES = (
    Scenario(
        "context_overflow",
        Outcome(error="ContextOverflow"),
        messages=_LONG,
    ),
    _agent(
        "context_overflow_in_the_agent", Rule(REST), expect=Outcome(REST, asked=2), messages=_LONG
    ),
    *(
        Scenario(
            f"error_before_the_first_token_{fault.lower()}",
            _FAILED,
            (Rule(REST, fault=fault),),
            never=(_SECRET,),
        )
        for fault in ("INTERNAL_ENGINE_ERROR", "OUT_OF_MEMORY", "ENGINE_STOP_ERROR", "raise")
    ),
    *(
        Scenario(
            f"error_in_the_middle_{fault.lower()}",
            _FAILED,
            (Rule(REST, fault=fault, fault_after_steps=12),),
            never=(_SECRET,),
        )
        for fault in ("INTERNAL_ENGINE_ERROR", "OUT_OF_MEMORY", "raise")
    ),
    Scenario("aborted", _FAILED, (Rule(REST, fault="CANCEL", fault_after_steps=12),)),
    Scenario("cut_in_the_middle", _FAILED, (Rule(REST),), cut=(4, "reset")),
    Scenario("ends_without_finish_reason", _FAILED, (Rule(REST),), cut=(4, "clean")),
    Scenario("cut_before_the_first_event", _FAILED, (Rule(REST),), cut=(0, "reset")),
    Scenario("cut_inside_a_tool_call", _FAILED, (Rule(_CALL),), tools=(PHOTO,), cut=(2, "clean")),
    Scenario(
        "silence_before_the_first_token",
        _FAILED,
        (Rule(REST, fault="hang"),),
        settings={"first_token_timeout_s": 0.4},
    ),
    Scenario(
        "silence_in_the_middle",
        _FAILED,
        (Rule(REST, fault="hang", fault_after_steps=12),),
        settings={"first_token_timeout_s": 0.4},
    ),
    Scenario("wrong_model", _FAILED, settings={"model": "other"}),
    Scenario(
        "wrong_key", _FAILED, server=PLAIN, settings={"api_key": "wrong", "model": "tiny-eye"}
    ),
    Scenario("no_key", _FAILED, server=PLAIN, settings={"model": "tiny-eye"}),
    Scenario("right_key", Outcome(REST, finish="stop"), (Rule(REST),), PLAIN, settings=KEY),
    Scenario("refused_field", _FAILED, request={"temperature": 5.0}),
    Scenario(
        "broken_call_in_the_history",
        _FAILED,
        tools=(PHOTO,),
        messages=(
            *QUESTION,
            ChatMessage("assistant", "", (ToolCall("c1", PHOTO.name, "{'photo_id': 'p1'"),)),
            ChatMessage("tool", RESULT, tool_call_id="c1"),
        ),
    ),
    Scenario("nothing_said", _FAILED, (Rule(""),)),
)

SCENARIOS = {
    s.name: s for group in (_ANSWERS, _THOUGHTS, _TOOLS, _FAMILIES, _FAILURES) for s in group
}
