"""The conversation with the model ends, whatever the model says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from core.agent import context
from core.agent.loop import AgentAnswer, Limits, Tool, converse
from core.errors import ContextOverflow, ModelUnavailable, PatientError
from core.ports import ChatEvent, ChatMessage, ChatRequest, Completed, TextDelta, ToolCall, ToolSpec

SPEC = ToolSpec(
    "read_fundus_photo",
    "Reads a photo.",
    {
        "type": "object",
        "properties": {"photo_id": {"type": "string"}},
        "required": ["photo_id"],
        "additionalProperties": False,
    },
)
MESSAGES = [ChatMessage("system", "简短"), ChatMessage("user", "看看我的照片")]


class ScriptedModel:
    """Says what it is told to, one item per call, the last one for ever."""

    def __init__(self, *script: str | Completed | Exception) -> None:
        self.script = list(script)
        self.requests: list[ChatRequest] = []

    async def stream(self, request: ChatRequest) -> AsyncIterator[ChatEvent]:
        self.requests.append(request)
        step = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(step, Exception):
            raise step
        done = step if isinstance(step, Completed) else Completed(step, (), "stop", 10, 5)
        for start in range(0, len(done.text), 3):
            yield TextDelta(done.text[start : start + 3])
        yield done

    def is_healthy(self) -> bool:
        return True


def a_call(photo_id: str = "p1", call_id: str = "c1") -> Completed:
    arguments = json.dumps({"photo_id": photo_id})
    call = ToolCall(call_id, "read_fundus_photo", arguments)
    return Completed("", (call,), "tool_calls", 10, 5)


class Reader:
    def __init__(self, result: str | Exception = "DR 2") -> None:
        self.result = result
        self.runs: list[Mapping[str, Any]] = []

    async def run(self, arguments: Mapping[str, Any]) -> str:
        self.runs.append(arguments)
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


async def talk(model: ScriptedModel, reader: Reader | None = None, **kwargs: Any) -> AgentAnswer:
    tools = {"read_fundus_photo": Tool(SPEC, (reader or Reader()).run)}
    return await converse(model, MESSAGES, tools, **kwargs)


async def test_plain_answer() -> None:
    shown: list[str] = []

    async def show(text: str) -> None:
        shown.append(text)

    answer = await talk(ScriptedModel("请多休息，别担心。"), on_text=show)
    assert answer == AgentAnswer("请多休息，别担心。", (), 10, 5, 1)
    assert shown[-1] == "请多休息，别担心。"
    assert all("请多休息，别担心。".startswith(s) for s in shown)


async def test_tool_result_goes_back_in_its_role() -> None:
    model, reader = ScriptedModel(a_call(), "建议转诊。"), Reader()
    answer = await talk(model, reader)
    assert answer == AgentAnswer("建议转诊。", ("read_fundus_photo",), 20, 10, 2)
    assert reader.runs == [{"photo_id": "p1"}]
    call, result = model.requests[1].messages[-2:]
    assert call.role == "assistant"
    assert json.loads(call.tool_calls[0].arguments) == {"photo_id": "p1"}
    assert (result.role, result.content, result.tool_call_id) == ("tool", "DR 2", "c1")


async def test_leaked_call_runs_and_is_never_shown() -> None:
    call = '{"name": "read_fundus_photo", "parameters": {"photo_id": "p1"}}'
    leaked = f"我看看。<|action_start|><|plugin|>\n{call}"
    shown: list[str] = []

    async def show(text: str) -> None:
        shown.append(text)

    reader = Reader()
    answer = await talk(ScriptedModel(leaked, "建议转诊。"), reader, on_text=show)
    assert answer.text == "建议转诊。"
    assert len(reader.runs) == 1
    assert not any("<" in s or "{" in s for s in shown)


async def test_same_call_runs_once_per_message() -> None:
    model, reader = ScriptedModel(a_call(call_id="a"), a_call(call_id="b"), "好。"), Reader()
    answer = await talk(model, reader)
    assert (answer.text, len(reader.runs), answer.rounds) == ("好。", 1, 3)
    assert model.requests[2].messages[-1].content.startswith("DR 2")


async def test_endless_calling_ends() -> None:
    model, reader = ScriptedModel(*(a_call(f"p{n}") for n in range(20))), Reader()
    with pytest.raises(ModelUnavailable):
        await talk(model, reader)
    assert (len(model.requests), len(reader.runs)) == (4, 2)  # three rounds, the last asked again


async def test_text_beside_a_last_call_is_the_answer() -> None:
    last = Completed("请去看眼科。", a_call("p9").tool_calls, "tool_calls", 10, 5)
    answer = await talk(ScriptedModel(a_call("p1"), a_call("p2"), last))
    assert answer.text == "请去看眼科。"


async def test_silent_drop_is_asked_again_once() -> None:
    model = ScriptedModel(Completed("", (), "stop", 10, 5), "请去看眼科。")
    assert (await talk(model)).text == "请去看眼科。"
    first, again = (r.messages for r in model.requests)
    assert [m.role for m in again] == [m.role for m in first]
    assert len(again[-1].content) > len(first[-1].content)
    with pytest.raises(ModelUnavailable):
        await talk(ScriptedModel(Completed("", (), "stop", 10, 5)))


async def test_unknown_tool_is_asked_again_and_never_runs() -> None:
    call = Completed("", (ToolCall("c", "delete_everything", "{}"),), "tool_calls")
    reader = Reader()
    assert (await talk(ScriptedModel(call, "好。"), reader)).text == "好。"
    assert reader.runs == []


@pytest.mark.parametrize(
    "arguments",
    [{}, {"photo_id": 1}, {"photo_id": "path/to/your/fundus/image"}, {"photo_id": "p", "x": 1}],
)
async def test_wrong_arguments_never_reach_the_tool(arguments: dict[str, Any]) -> None:
    call = ToolCall("c", "read_fundus_photo", json.dumps(arguments))
    model, reader = ScriptedModel(Completed("", (call,), "tool_calls"), "请发照片。"), Reader()
    answer = await talk(model, reader)
    assert (answer.text, answer.used_tools, reader.runs) == ("请发照片。", (), [])
    assert model.requests[1].messages[-1].content.startswith("error: ")


@pytest.mark.parametrize("error", [PatientError("turn.photo_gone"), ModelUnavailable("x")])
async def test_failing_tool_is_told_to_the_model(error: Exception) -> None:
    model = ScriptedModel(a_call(), "现在读不了，请稍后再试。")
    assert (await talk(model, Reader(error))).text == "现在读不了，请稍后再试。"
    assert model.requests[1].messages[-1].content.startswith("error: ")


async def test_hanging_tool_is_cut_off() -> None:
    async def hang(_: Mapping[str, Any]) -> str:
        await asyncio.sleep(3600)
        return ""

    model = ScriptedModel(a_call(), "请稍后再试。")
    tools = {"read_fundus_photo": Tool(SPEC, hang, timeout_s=0.01)}
    assert (await converse(model, MESSAGES, tools)).text == "请稍后再试。"


async def test_whole_answer_has_a_deadline() -> None:
    async def hang(_: str) -> None:
        await asyncio.sleep(3600)

    with pytest.raises(ModelUnavailable):
        await talk(ScriptedModel("好。"), on_text=hang, limits=Limits(total_timeout_s=0.02))


async def test_answer_at_the_token_limit_ends_with_a_whole_sentence() -> None:
    answer = await talk(ScriptedModel(Completed("请去看眼科。如果没有", (), "length")))
    assert (answer.text, answer.is_cut) == ("请去看眼科。", True)
    with pytest.raises(ModelUnavailable):
        await talk(ScriptedModel(Completed("如果没有", (), "length")))


async def test_overflow_drops_two_more_exchanges_and_repeats_once() -> None:
    history = [
        ChatMessage(role, f"{role}{n}")  # type: ignore[arg-type]
        for n in range(5)
        for role in ("user", "assistant")
    ]
    messages = [MESSAGES[0], *history, MESSAGES[1]]
    model = ScriptedModel(ContextOverflow("x"), "好。")
    assert (await converse(model, messages, {})).text == "好。"
    assert [m.content for m in model.requests[1].messages] == [
        "简短", *(f"{r}{n}" for n in (2, 3, 4) for r in ("user", "assistant")), "看看我的照片",
    ]  # fmt: skip
    with pytest.raises(ContextOverflow):
        await converse(ScriptedModel(ContextOverflow("x")), messages, {})


async def test_too_long_current_message_is_refused_before_sending() -> None:
    model = ScriptedModel("好。")
    with pytest.raises(ContextOverflow):
        await converse(model, [ChatMessage("user", "眼" * 9000)], {})
    assert model.requests == []


async def test_long_tool_result_is_cut() -> None:
    model = ScriptedModel(a_call(), "好。")
    await talk(model, Reader("长" * 9999), limits=Limits(result_characters=100))
    assert len(model.requests[1].messages[-1].content) == 100


class TestContext:
    def test_oldest_exchanges_go_first_and_stay_whole(self) -> None:
        call = ToolCall("c", "t", "{}")
        old = [
            ChatMessage("user", "旧" * 100),
            ChatMessage("assistant", "", (call,)),
            ChatMessage("tool", "r", tool_call_id="c"),
            ChatMessage("assistant", "答"),
        ]
        new = [ChatMessage("user", "新"), ChatMessage("assistant", "答")]
        current = [ChatMessage("user", "问"), ChatMessage("assistant", "", (call,))]
        system = ChatMessage("system", "规则")
        everything = [system, *old, *new, *current]
        assert context.fit(everything, budget=10_000) == everything
        assert context.fit(everything, budget=100) == [system, *new, *current]
        assert context.fit(everything, budget=40) == [system, *current]
        assert context.fit(everything, budget=10) is None

    def test_photos_never_enter(self) -> None:
        message = ChatMessage("user", "看 data:image/jpeg;base64," + "A" * 9999 + " 图")
        assert context.without_photos(message).content == "看 [photo] 图"

    def test_estimate_is_high(self) -> None:
        chinese = "您好，我的左眼最近看东西有点模糊，需要马上去医院检查吗？"
        assert context.text_tokens(chinese) == len(chinese)
        english = "My left eye has been blurry for two days; should I see a doctor now?"
        assert context.text_tokens(english) >= len(english.split())
