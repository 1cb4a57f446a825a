"""Tool calls are found in every form a model writes them, and nowhere else."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.agent import literals, toolcalls
from core.ports import ToolCall, ToolSpec
from tests.fakes.thorough import examples
from tests.fakes.toolcall_forms import FORMS, LAST

TOOLS = (
    ToolSpec(
        "read_fundus_photo",
        "",
        {
            "type": "object",
            "properties": {"photo_id": {"type": "string"}},
            "required": ["photo_id"],
        },
    ),
    ToolSpec(
        "search_knowledge",
        "",
        {
            "type": "object",
            "properties": {
                "query": {"type": "string"},
                "top_k": {"type": "integer"},
                "exact": {"type": "boolean"},
                "weight": {"type": "number"},
                "filter": {"type": "object"},
            },
            "required": ["query"],
        },
    ),
    ToolSpec("current_time", "", {"type": "object", "properties": {}}),
)


def calls(text: str, native: tuple[ToolCall, ...] = ()) -> list[tuple[str, dict[str, Any]]]:
    return [(c.name, dict(c.arguments)) for c in toolcalls.parse(text, native, TOOLS).calls]


# --- every form -------------------------------------------------------------------------------


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


# Forms without quotes cannot hold every string: their own tags, and blank ends.
XML_FORMS = {"qwen3coder", "deepseek v3.2", "glm", "invoke"}

words = st.text(
    # The models' own tags inside a value are the one thing that cannot come back.
    st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters="\u2028\u2029<"),
    max_size=40,
).filter(lambda s: "[TOOL" not in s)
safe_words = st.text(
    st.sampled_from("阿托品 eye_01.png-12’，。aZ9"), min_size=1, max_size=30
).filter(lambda s: s == s.strip())
around = st.text(st.sampled_from("我看一下，好的。 abcXYZ123!?()\n-*"), max_size=60)


def arguments(strings: st.SearchStrategy[str]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {"query": strings},
        optional={
            "top_k": st.integers(-(10**9), 10**9),
            "exact": st.booleans(),
            "weight": st.floats(allow_nan=False, allow_infinity=False, width=32),
            "filter": st.dictionaries(st.sampled_from("ab"), strings | st.integers(), max_size=2),
        },
    )


@pytest.mark.parametrize("form", FORMS)
@given(data=st.data(), before=around, after=around)
@settings(max_examples=examples(25, 300))
def test_a_valid_call_comes_back_equal_from_every_form(
    form: str, data: st.DataObject, before: str, after: str
) -> None:
    wanted = data.draw(arguments(safe_words if form in XML_FORMS else words))
    if form in LAST:
        after = ""
    text = f"{before}\n{FORMS[form]('search_knowledge', wanted)}\n{after}"
    assert calls(text) == [("search_knowledge", wanted)]


@given(wanted=arguments(words))
def test_native_arguments_come_back_equal(wanted: dict[str, Any]) -> None:
    assert calls("", (ToolCall("c1", "search_knowledge", _json(wanted)),)) == [
        ("search_knowledge", wanted)
    ]


@given(wanted=arguments(words), cut=st.integers(1, 400))
def test_a_cut_call_never_runs_with_other_arguments(wanted: dict[str, Any], cut: int) -> None:
    body = _json({"name": "search_knowledge", "parameters": wanted})
    for whole in (f"<|action_start|><|plugin|>\n{body}", f"<tool_call>\n{body}", body):
        for name, found in calls(whole[: -min(cut, len(whole))]):
            assert (name, found) == ("search_knowledge", wanted)


def test_cut_after_a_nested_object_is_still_cut() -> None:
    for text in (
        '<tool_call>{"name": "search_knowledge", "arguments": {"filter": {}',
        '{"name": "search_knowledge", "arguments": {"filter": {}',
        'Action: search_knowledge\nAction Input: {"filter": {}',
        '<｜tool▁call▁begin｜>search_knowledge<｜tool▁sep｜>{"filter": {}',
    ):
        assert calls(text) == [], text
    assert calls("", (ToolCall("c", "search_knowledge", '{"filter": {}'),)) == []


@given(st.text())
def test_any_text_is_survived(text: str) -> None:
    parsed = toolcalls.parse(text, (ToolCall("c", text, text),), TOOLS)
    assert len(parsed.text) <= len(text)


MARKUP = (
    "<tool_call>", "</tool_call>", "<|action_start|><|plugin|>", "<|action_end|>", "{", "}", '"',
    "'", '"name"', ":", "search_knowledge", '"arguments"', "<function=", "</function>", "Action:",
    "<parameter=", "</parameter>", ">", "\n", "<arg_key>", "</arg_key>", "<arg_value>", "```",
    "<think>", "</think>", "<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "Observation:", "Thought:",
    "[", "]", "\\", "1*2", ",", "<|python_tag|>", "current_time", "(", ")",
)  # fmt: skip


@given(st.lists(st.sampled_from(MARKUP), max_size=40).map("".join))
def test_any_mixture_of_markup_is_survived(text: str) -> None:
    parsed = toolcalls.parse(text, (), TOOLS)
    assert all(c.name in {t.name for t in TOOLS} for c in parsed.calls)
    toolcalls.showable(text)


@pytest.mark.parametrize(
    "unit", [*MARKUP, '{"a":', "<tool_call>{", '{"name":"current_time","arguments":{}}',
             "Action: x\n", "<function=a>\n", "Thought: ", "x", "**", "{'", "<|action_start|> "]
)  # fmt: skip
def test_a_megabyte_of_hostile_text_is_quick(unit: str) -> None:
    text = (unit * (1_000_000 // len(unit) + 1))[:1_000_000]
    best_s = 9.0
    for _ in range(3):
        began_s = time.thread_time()
        toolcalls.parse(text, (ToolCall("c", "current_time", text),), TOOLS)
        toolcalls.showable(text)
        best_s = min(best_s, time.thread_time() - began_s)
        if best_s < 0.05:
            break
    assert best_s < 0.1


# --- policies ---------------------------------------------------------------------------------

QUERY = '{"name": "search_knowledge", "arguments": {"query": "干眼"}}'
FOUND = [("search_knowledge", {"query": "干眼"})]


@pytest.mark.parametrize(
    "name",
    ["Search_Knowledge", "SearchKnowledge", "search-knowledge", "functions.search_knowledge",
     "tool:search_knowledge", "search_knowledge_tool", "SEARCH_KNOWLEDGE", "`search_knowledge`"],
)  # fmt: skip
def test_drifted_names_are_found(name: str) -> None:
    assert (
        calls(f"<tool_call>{_json({'name': name, 'arguments': {'query': '干眼'}})}</tool_call>")
        == FOUND
    )


@pytest.mark.parametrize("name", ["search", "knowledge", "rm", "", "search_knowledge2", "读片"])
def test_unknown_names_are_no_call(name: str) -> None:
    parsed = toolcalls.parse(
        f"<tool_call>{_json({'name': name, 'arguments': {'query': 'x'}})}</tool_call>", (), TOOLS
    )
    assert parsed.calls == ()
    assert parsed.has_broken
    assert parsed.text == ""


def test_two_tools_alike_are_neither() -> None:
    tools = (ToolSpec("get_time", "", {}), ToolSpec("getTime", "", {}))
    call = '<tool_call>{"name": "GetTime", "arguments": {}}</tool_call>'
    assert toolcalls.parse(call, (), tools).calls == ()


@pytest.mark.parametrize(
    "written",
    [
        "{'name': 'search_knowledge', 'arguments': {'query': '干眼'}}",
        '{"name": "search_knowledge", "arguments": {"query": "干眼",},}',
        '{name: "search_knowledge", arguments: {query: "干眼"}}',
        '{{"name": "search_knowledge", "arguments": {{"query": "干眼"}}}}',
        "{“name”：“search_knowledge”，“arguments”：{“query”：“干眼”}}",
        '{"name": "search_knowledge", "arguments": "{\\"query\\": \\"干眼\\"}"}',
        '{"name": "search_knowledge", "parameters": {"query": "干眼"}}}}',
        '{"name": "search_knowledge", "arguments": {"query": "干眼"}',
        '{"name": "search_knowledge", "arguments": {"query": "干眼"',
        '{"name": "search_knowledge", "query": "干眼"}',
        '```json\n{"name": "search_knowledge", "arguments": {"query": "干眼"}}\n```',
        'search_knowledge\n{"query": "干眼"}',
    ],
)
def test_slips_are_mended(written: str) -> None:
    assert calls(f"<tool_call>\n{written}\n</tool_call>") == FOUND


@pytest.mark.parametrize(
    "written",
    [
        '{"query": "x", "top_k": 60*60*12}',
        '{"query": "x", "top_k": 2+3}',
        '{"query": "x", "top_k": 10/2}',
        "{'query': 'x', 'top_k': 1+2j}",
        "{'query': {'x'}}",
        '{"query": NaN}',
    ],
)
def test_arithmetic_and_python_are_never_evaluated(written: str) -> None:
    for text in (
        f'<tool_call>{{"name": "search_knowledge", "arguments": {written}}}</tool_call>',
        f"Action: search_knowledge\nAction Input: {written}",
    ):
        assert calls(text) == []
    assert calls("", (ToolCall("c", "search_knowledge", written),)) == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "青光眼是一组视神经疾病。",
        '这是一个例子：{"iop": 21, "eye": "OD"}',
        "使用 `search_knowledge` 可以查资料。",
        '{"name": "current_time"}',
        "Action: 立即就医\n请马上去急诊。",
        "Final Answer: 建议复查。\nAction: current_time",
    ],
)
def test_plain_answers_are_no_call(text: str) -> None:
    assert calls(text) == []


def test_invented_results_are_dropped() -> None:
    text = (
        "Thought: x\nAction: current_time\nAction Input: {}\nObservation: 12:00\n"
        f"Action: search_knowledge\nAction Input: {_json({'query': 'x'})}\nFinal Answer: 现在12点"
    )
    parsed = toolcalls.parse(text, (), TOOLS)
    assert [c.name for c in parsed.calls] == ["current_time"]
    assert "12" not in parsed.text


def test_the_same_call_counts_once() -> None:
    text = f"<tool_call>{QUERY}</tool_call>" * 3
    assert calls(text) == FOUND


def test_final_answer_is_what_a_person_reads() -> None:
    parsed = toolcalls.parse("Thought: 不需要工具\nFinal Answer: 请多休息。", (), TOOLS)
    assert parsed.text == "请多休息。"


def test_text_around_a_call_stays() -> None:
    parsed = toolcalls.parse(f"我查一下。<tool_call>{QUERY}</tool_call>", (), TOOLS)
    assert (parsed.text, len(parsed.calls)) == ("我查一下。", 1)


def test_markers_never_reach_a_person() -> None:
    for text in (
        "<|action_start|><|plugin|>好的<|action_end|>",
        "好的<|im_end|>",
        "好的</tool_call>",
    ):
        assert toolcalls.parse(text, (), TOOLS).text == "好的"


def test_thoughts_are_read_only_when_nothing_else_was_said() -> None:
    thought = f"<think>也许 <tool_call>{QUERY}</tool_call></think>"
    assert calls(thought) == FOUND
    assert calls(f"{thought}请休息。") == []


@given(st.sampled_from(list(FORMS)), st.integers(0, 300))
def test_nothing_of_a_call_is_shown_while_it_grows(form: str, size: int) -> None:
    whole = f"我查一下。\n{FORMS[form]('search_knowledge', {'query': '干眼'})}"
    shown = toolcalls.showable(whole[:size])
    assert "我查一下。".startswith(shown.strip())


def test_history_always_holds_valid_json() -> None:
    native = (ToolCall("c9", "search_knowledge", "{'query': '干眼',}"),)
    (call,) = toolcalls.parse("", native, TOOLS).calls
    assert call.as_tool_call() == ToolCall("c9", "search_knowledge", '{"query": "干眼"}')


# --- literals ---------------------------------------------------------------------------------


@given(st.text())
def test_literals_read_or_refuse(text: str) -> None:
    for may_close in (0, 1, 4):
        try:
            value = literals.loads(text, may_close=may_close)
        except literals.Unreadable:
            continue
        json.dumps(value, allow_nan=False)


# --- shared measurements ----------------------------------------------------------------------


def _shared() -> Path:
    root = Path(__file__).parents[3]
    return Path(os.environ.get("OCULICHAT_SHARED", root.parent / "shared")) / "llm"


def test_the_public_corpus_is_read() -> None:
    corpus = _shared() / "toolcalls_public.jsonl"
    if not corpus.exists():
        pytest.skip(f"{corpus} is not here; set OCULICHAT_SHARED")
    described = json.loads((_shared() / "toolcalls_tools.json").read_text("utf-8"))
    tools = [ToolSpec(**t["function"]) for t in described]
    wrong: list[str] = []
    for line in corpus.read_text("utf-8").splitlines():
        sample = json.loads(line)
        expected = sample.get("expect_all") or ([sample["expect"]] if sample["expect"] else [])
        found = toolcalls.parse(sample["raw"], (), tools).calls
        if [{"name": c.name, "arguments": dict(c.arguments)} for c in found] != expected:
            wrong.append(sample["id"])
    assert wrong == []
