"""Any valid call comes back equal from every form, also piece by piece; guards hold."""

from __future__ import annotations

import codecs
import json
import re
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.agent import literals, mending, schema, toolcalls
from core.ports import ToolCall, ToolSpec
from models.llm.visible import VisibleText
from tests.fakes.thorough import IS_THOROUGH, examples
from tests.fakes.toolcall_forms import FORMS, LAST, QUOTED

TOOLS = (
    ToolSpec(
        "plan_follow_up",
        "",
        {
            "type": "object",
            "properties": {
                "reason": {"type": "string"},
                "urgency": {"type": "string", "enum": ["routine", "soon", "urgent"]},
                "days": {"type": "integer"},
                "weight": {"type": "number"},
                "is_call": {"type": "boolean"},
                "sources": {"type": "array", "items": {"type": "string"}},
                "notes": {"type": "object"},
            },
            "required": ["reason", "urgency"],
            "additionalProperties": False,
        },
    ),
    ToolSpec("current_time", "", {"type": "object", "properties": {}}),
)

# Strings with everything that could be taken for the end of a string, a value or a call.
MARKS = (
    "</tool_call>", "<tool_call>", "<|action_end|>",
    "```", '"', '"}', "'", "\\", "\n", "{", "}", "[",
    "]", "Observation: ", "Action: x\n", "Final Answer:", "，", "“", "”", "：", "<arg_value>", "🙂",
    "</parameter>", "例如", "//", "/*", "#", "&quot;", "1*2",
    "干眼", "[TOOL_CALLS]", "\t", "plan_follow_up",
)  # fmt: skip
any_words = st.lists(
    st.sampled_from(MARKS) | st.text(st.characters(blacklist_categories=("Cs",)), max_size=8),
    max_size=8,
).map("".join)
plain_words = st.text(
    st.sampled_from("阿托品 eye_01.png-12’，。aZ9?!("), min_size=1, max_size=30
).filter(lambda s: s == s.strip())
# Words around a call: anything but marks of its own, an announced example, or a quoting fence.
around = (
    st.text(max_size=80)
    .map(lambda s: re.sub(r"[\[\]{}｛｝<>`✿&#*\"'“”\ud800-\udfff]", " ", s))
    .filter(
        lambda s: not re.search(r"例|示|样|格式|写法|形如|类似|such|exam|look|format|e\.g", s, re.I)
    )
)


def arguments(strings: st.SearchStrategy[str]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {"reason": strings, "urgency": st.sampled_from(["routine", "soon", "urgent"])},
        optional={
            "days": st.integers(-(10**9), 10**9),
            "weight": st.floats(allow_nan=False, allow_infinity=False),
            "is_call": st.booleans(),
            "sources": st.lists(strings, max_size=3),
            "notes": st.dictionaries(st.sampled_from("abc"), strings | st.none(), max_size=2),
        },
    )


def found(text: str) -> list[tuple[str, dict[str, Any]]]:
    return [(c.name, dict(c.arguments)) for c in toolcalls.parse(text, (), TOOLS).calls]


def same(calls: list[tuple[str, dict[str, Any]]], wanted: dict[str, Any]) -> bool:
    return json.dumps(calls, sort_keys=True) == json.dumps(
        [("plan_follow_up", wanted)], sort_keys=True
    )


@pytest.mark.parametrize("form", FORMS)
@given(data=st.data(), before=around, after=around)
@settings(
    deadline=None,
    max_examples=examples(25, 500),
    suppress_health_check=[HealthCheck.too_slow],
)
def test_any_call_in_any_text_comes_back_equal(
    form: str, data: st.DataObject, before: str, after: str
) -> None:
    wanted = data.draw(arguments(any_words if form in QUOTED else plain_words))
    if form in LAST:
        after = ""
    text = f"{before}\n{FORMS[form]('plan_follow_up', wanted)}\n{after}"
    assert same(found(text), wanted), text


@pytest.mark.parametrize("form", FORMS)
@given(data=st.data(), before=plain_words)
@settings(deadline=None, max_examples=examples(12, 200))
def test_a_stream_cut_at_any_byte_gives_the_call_and_shows_nothing_of_it(
    form: str, data: st.DataObject, before: str
) -> None:
    wanted = data.draw(arguments(plain_words))
    before = f"{before}。"
    whole = f"{before}\n{FORMS[form]('plan_follow_up', wanted)}".encode()
    cuts = sorted(data.draw(st.sets(st.integers(1, len(whole) - 1), max_size=12)))
    decoder = codecs.getincrementaldecoder("utf-8")()
    visible = VisibleText()
    so_far = ""
    for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True):
        so_far += visible.feed(decoder.decode(whole[start:end]))
        assert before.startswith(toolcalls.showable(so_far).strip()), so_far
    so_far += visible.finish(is_cut=False)
    assert same(found(so_far), wanted)
    assert toolcalls.parse(so_far, (), TOOLS).text == before.strip()


@pytest.mark.parametrize("form", FORMS)
def test_no_beginning_of_a_call_is_shown(form: str) -> None:
    whole = f"我查一下。\n{FORMS[form]('plan_follow_up', {'reason': 'x', 'urgency': 'soon'})}"
    for size in range(len(whole)):
        assert "我查一下。".startswith(toolcalls.showable(whole[:size]).strip())


def test_plain_answers_are_shown_while_they_grow() -> None:
    answer = "Dry eye is common. Use warm compresses twice a day (five minutes).\n青光眼要复查。"
    for size in range(len(answer)):
        shown = toolcalls.showable(answer[:size])
        assert len(answer[:size]) - len(shown) <= 12


@given(st.binary(max_size=400))
@settings(deadline=None)
def test_random_bytes_are_survived(raw: bytes) -> None:
    text = raw.decode("utf-8", "replace")
    assert toolcalls.parse(text, (ToolCall("c", "current_time", text),), TOOLS).text is not None
    toolcalls.showable(text)


@given(wanted=arguments(any_words))
@settings(deadline=None)
def test_arguments_that_fit_stay_as_they_are(wanted: dict[str, Any]) -> None:
    assert json.dumps(schema.fit(wanted, TOOLS[0])) == json.dumps(wanted)


@given(wanted=arguments(any_words), cut=st.integers(1, 400))
@settings(deadline=None)
def test_the_mending_reader_reads_json_and_never_closes_a_string(
    wanted: dict[str, Any], cut: int
) -> None:
    text = json.dumps(wanted, ensure_ascii=False)
    try:
        cut_value, _ = mending.read(text[: -min(cut, len(text) - 1)], 0, may_close=9)
    except (mending.Unreadable, RecursionError):
        return
    # What it read of a cut object is the beginning of the whole one, members and all.
    assert set(cut_value) <= set(wanted)


# --- guards -----------------------------------------------------------------------------------


def test_strict_json_is_read_as_it_is() -> None:
    assert literals.loads('{"a": "“x”，//y", "b": [1, null]}') == {"a": "“x”，//y", "b": [1, None]}


def test_python_literals_are_read_and_nothing_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("called")

    monkeypatch.setattr("os.system", never)
    assert literals.loads("{'a': True, 'b': None, 'c': 'it\\'s'}") == {
        "a": True,
        "b": None,
        "c": "it's",
    }
    assert literals.loads("{'a': [x for x in y]}") == {"a": ["x for x in y"]}  # but words
    for text in (
        "{'a': __import__('os').system('x')}",
        '{"a": __import__("os").system("x")}',
        "{'a': open('/etc/passwd').read()}",
        "{'a': {1, 2}}",
        "{'a': b'x'}",
        "{'a': (1, 2)}",
        "{1: 'a'}",
        "{'a': lambda: 1}",
        "{'a': f'{1}'}",
    ):
        with pytest.raises(literals.Unreadable):
            literals.loads(text)


@pytest.mark.parametrize(
    "written", ["1+1", "60*60*12", "10/2", "2**9", "7-3", "1 + 1", "(1)", "0x10", "007", "1e999",
                "NaN", "Infinity", "-Infinity", '"a" + "b"', '"a" * 3', "a*b", "...", "1_000"]
)  # fmt: skip
def test_nothing_is_computed(written: str) -> None:
    for text in (f'{{"a": {written}}}', f"{{'a': {written}}}", f'{{a: {written}, "b": 1}}'):
        try:
            value = literals.loads(text)
        except literals.Unreadable:
            continue
        # Python reads 0x10 and 1_000 as the numbers they are; that computes nothing.
        assert (written, value["a"]) in (("0x10", 16), ("1_000", 1000), ("(1)", 1))


@pytest.mark.parametrize(
    "text",
    ['{"a": "x', '{"a": "x\\"', "{'a': 'x", '{"a": "x}',
    '{"a": "他说"好', "{“a”：“x", '{"a": "x" + ',
     '{"a": "x", "b', '{"a": "x", ', '{"a":', "{", '{"a": ["x"', '{"a": {"b": "x'],
)  # fmt: skip
def test_a_cut_value_is_never_closed(text: str) -> None:
    with pytest.raises(literals.Unreadable):
        literals.loads(text)


def test_brackets_are_added_only_as_far_as_allowed() -> None:
    assert literals.loads('{"a": {"b": "x"', may_close=2) == {"a": {"b": "x"}}
    with pytest.raises(literals.Unreadable):
        literals.loads('{"a": {"b": "x"', may_close=1)


def test_mending_ends_at_16_kib() -> None:
    assert literals.RESCUE_LIMIT_CHARACTERS == 16 << 10
    assert literals.loads("{'a': '" + "x" * 16000 + "'}")["a"] == "x" * 16000
    with pytest.raises(literals.Unreadable):
        literals.loads("{'a': '" + "x" * 17000 + "'}")
    assert literals.loads('{"a": "' + "x" * 17000 + '"}')["a"] == "x" * 17000  # strict JSON


@pytest.mark.parametrize(
    ("guessed", "text"),
    [
        ({"a": 60}, '{"a": 60*60*12}'),
        ({"a": "60*60*12"}, '{"a": 60*60*12}'),
        ({"a": "f(1)"}, '{"a": f(1)}'),
        ({"a": "other"}, '{"a": "x"}'),
        ({"a": True}, '{"a": "x"}'),
        ({"z": "x"}, '{"a": "x"}'),
        ([1], '{"a": "x"}'),
        ("", '{"a": "x"}'),
        ({}, '{"a": "x"}'),
    ],
)
def test_a_guess_of_json_repair_must_stand_in_the_text(
    monkeypatch: pytest.MonkeyPatch, guessed: object, text: str
) -> None:
    monkeypatch.setattr("json_repair.repair_json", lambda *_, **__: guessed)
    with pytest.raises(literals.Unreadable):
        literals._repair(text)


def test_json_repair_is_never_asked_about_what_is_cut_deep_or_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("asked")

    monkeypatch.setattr("json_repair.repair_json", never)
    long = '{"a": ' + "x(" * 9000 + "}"
    for text in ('{"a": "x', '{"a": ["x"}', '{"a": ' * 20 + "," + "}" * 20, long, "[1 2]"):
        with pytest.raises(literals.Unreadable):
            literals.loads(text)


def test_json_repair_reads_what_nothing_else_does() -> None:
    assert literals._repair('{"a": "x", "b" "y"}') == {"a": "x", "b": "y"}


def test_half_a_character_is_no_value() -> None:
    with pytest.raises(literals.Unreadable):
        literals.loads('{"a": "\\ud83d"}')


# --- arguments in the tool's terms ------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "fitted"),
    [
        ({"Reason": "x", "URGENCY": "Soon"}, {"reason": "x", "urgency": "soon"}),
        ({"isCall": "true", "days": "30"}, {"is_call": True, "days": 30}),
        ({"days": "3.0", "weight": "0.5"}, {"days": 3, "weight": 0.5}),
        ({"reason": 5, "sources": "WHO"}, {"reason": "5", "sources": ["WHO"]}),
        (
            {"sources": '["a", "b"]', "notes": "{'a': 1}"},
            {"sources": ["a", "b"], "notes": {"a": 1}},
        ),
        ({"input": {"reason": "x"}}, {"reason": "x"}),
        ({"kwargs": '{"reason": "x"}'}, {"reason": "x"}),
        ({"reason": "x", "colour": "red"}, {"reason": "x"}),
        ({"days": "2*7"}, {"days": "2*7"}),
        ({"days": "soon", "is_call": "perhaps"}, {"days": "soon", "is_call": "perhaps"}),
        ({"urgency": "very soon"}, {"urgency": "very soon"}),
        ({"reason": "a", "Reason": "b"}, {"reason": "a"}),
    ],
)
def test_arguments_are_fitted(written: dict[str, Any], fitted: dict[str, Any]) -> None:
    assert json.dumps(schema.fit(written, TOOLS[0])) == json.dumps(fitted)


def test_unknown_keys_stay_where_the_schema_allows_them() -> None:
    assert schema.fit({"x": 1}, TOOLS[1]) == {"x": 1}


# --- hostile texts ----------------------------------------------------------------------------

UNITS = (
    "\\", '","', '“"',
    "{", '{"a":', "{'a':", '{"a":"x","a":', "{{", '{\\"a\\":',
    "｛“a”：", '"', "'", '"a" ', "f(", "[f(",
    "plan_follow_up(", 'plan_follow_up(reason="\n',
    "```\n", "```x\n{", "`x` ", "e.g.", "例如{", "/*",
    "{/*", "-", "-(", "not ", "9", " ", "\t", "\n", "<tool_call>",
    "<tool_call><name>x", "</tool_call>",
    "<a><b>", "<function=a><parameter=b>", "<|channel|>to=",
    "function<｜tool▁sep｜>", "[TOOL_CALLS]x",
    "<|action_start|><|plugin|>", "Thought: Action",
    "Thought: ", "Action: x\n", "思考", "Action Input:",
    "</think>", "<think>", "&lt;tool_call&gt;{&quot;", "✿FUNCTION✿: ",
    "Observation:\n", "{a:1,", "a_", "aB",
    '{"name": "plan_follow_up", "arguments": {"reason": "x", ',
    "<tool_call>plan_follow_up<arg_key>a</arg_key><arg_value>b",
    "### Action\n", "Action:\nplan_follow_up\n", "plan_follow_up<arg_key>", "<plan_follow_up>",
    "<parameter=a>", "<function plan_follow_up>", "Tool: x\n", "\\n", "plan_follow_up {", "a: {",
    "Action: plan_follow_up\nAction Input: reason: ",
)  # fmt: skip
FRAMES: dict[str, Callable[[str], str]] = {
    "alone": lambda s: s,
    "in a block": lambda s: f"<tool_call>{s[:32000]}}}}}</tool_call>" + s,
    "in a string": lambda s: (
        '{"name": "plan_follow_up", "arguments": {"reason": "' + s[:32000] + '"}}' + s
    ),
    "in quotes": lambda s: (
        "{'name': 'plan_follow_up', 'arguments': {'reason': '" + s[:16000] + "'}}" + s
    ),
}


# By default every unit stands alone and in one frame, the frames by turns.
_HOSTILE = [
    (frame, unit)
    for n, unit in enumerate(UNITS)
    for m, frame in enumerate(FRAMES)
    if IS_THOROUGH or m in (0, 1 + n % (len(FRAMES) - 1))
]


@pytest.mark.parametrize(("frame", "unit"), _HOSTILE)
def test_a_hostile_megabyte_is_quick_in_every_frame(frame: str, unit: str) -> None:
    text = FRAMES[frame]((unit * (1_000_000 // len(unit) + 1))[:1_000_000])
    best_s = 9.0
    for _ in range(4):
        started = time.thread_time()
        toolcalls.parse(text, (ToolCall("c", "current_time", text),), TOOLS)
        toolcalls.showable(text)
        best_s = min(best_s, time.thread_time() - started)
        if best_s < 0.05:
            break
    assert best_s < 0.1


@pytest.mark.parametrize(
    "unit",
    [
        '{"arguments":',
        '{"arguments":{"name":"x","function":',
        '{"function":',
        '{"tool_calls":[',
        "[",
    ],
)
@pytest.mark.parametrize("depth", [*range(20, 1000, 70), 3000])
def test_nesting_is_survived(unit: str, depth: int) -> None:
    ends = "".join("}" if c == "{" else "]" for c in reversed(unit) if c in "{[")
    text = f"<tool_call>{unit * depth}1{ends * depth}</tool_call>"
    assert toolcalls.parse(text, (ToolCall("c", "current_time", text),), TOOLS).calls == ()
