"""Our own outputs with slips seen in practice, and `eval tools`, which scores such files.

Rows `a.` were written before the readers; rows `b.` to `e.` after them, each set before any
change for it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from bot import evaluate_tools
from bot.__main__ import app
from core.agent import schema, toolcalls
from core.errors import ConfigError
from core.ports import ToolSpec

HERE = Path(__file__).parent
CORPUS, TOOLS_FILE = HERE / "toolcalls_own.jsonl", HERE / "toolcalls_own_tools.json"
TOOLS = evaluate_tools.read_tools(TOOLS_FILE.read_text("utf-8"))
CASES = evaluate_tools.read_cases(CORPUS.read_text("utf-8").splitlines())
# No reader for YAML and for <arg_key=KEY>value: nothing runs, and the model is not asked again.
UNREAD = {"b.json.yaml", "e.glm45.key_eq"}


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.id)
def test_each_row_is_read(case: evaluate_tools.Case) -> None:
    found = evaluate_tools.predict(case, TOOLS)
    assert found == ([] if case.id in UNREAD else list(case.calls))


@pytest.mark.parametrize("case", [c for c in CASES if c.calls], ids=lambda c: c.id)
def test_nothing_of_a_call_is_left_in_the_text(case: evaluate_tools.Case) -> None:
    if case.id in UNREAD:
        return
    parsed = toolcalls.parse(case.raw, (), TOOLS)
    for mark in ("<tool_call", "<|", "<｜", "[TOOL", "Action", "行动", '"name"', "<arg_", "✿", "{"):
        assert mark not in parsed.text
    for name in (t.name for t in TOOLS):
        assert name not in parsed.text


def _rows(policy: str) -> Iterator[dict[str, Any]]:
    for line in CORPUS.read_text("utf-8").splitlines():
        row: dict[str, Any] = json.loads(line)
        if row.get("policy") == policy:
            yield row


def test_placeholders_are_read_and_then_refused() -> None:
    by_name = {t.name: t for t in TOOLS}
    rows = list(_rows("reject_placeholder"))
    assert len(rows) > 3
    for row in rows:
        (call,) = toolcalls.parse(row["raw"], (), TOOLS).calls
        assert "placeholder" in (schema.problem(call.arguments, by_name[call.name]) or "")


def test_what_breaks_the_schema_is_read_and_then_refused() -> None:
    by_name = {t.name: t for t in TOOLS}
    rows = list(_rows("schema"))
    assert len(rows) > 5
    for row in rows:
        (call,) = toolcalls.parse(row["raw"], (), TOOLS).calls
        tool = by_name[call.name]
        assert schema.misfit(schema.given(call.arguments, tool), tool)


def test_null_means_that_an_optional_argument_is_not_given() -> None:
    drug = next(t for t in TOOLS if t.name == "search_drug")
    written = {"name": "x", "top_k": None}
    assert schema.given(written, drug) == {"name": "x"}
    assert schema.given({"name": None}, drug) == {"name": None}
    assert "type" in (schema.misfit({"name": None}, drug) or "")
    nullable = {"type": "object", "properties": {"a": {"type": ["string", "null"]}}}
    assert schema.given({"a": None}, ToolSpec("t", "", nullable)) == {"a": None}


def test_cut_rows_expect_no_call() -> None:
    rows = list(_rows("truncated"))
    assert len(rows) > 10
    assert all(row["expect"] is None for row in rows)


def test_the_command_scores_and_writes_predictions(tmp_path: Path) -> None:
    out = tmp_path / "calls.jsonl"
    arguments = ["eval", "tools", str(CORPUS), "--tools", str(TOOLS_FILE), "--json"]
    result = CliRunner().invoke(app, [*arguments, "--predictions", str(out)])
    assert result.exit_code == 0
    scores = json.loads(result.stdout)
    assert scores["all"] == [len(CASES) - len(UNREAD), len(CASES)]
    assert set(scores.pop("wrong")) == UNREAD
    formats = [of for name, (_, of) in scores.items() if name != "all"]
    assert sum(formats) == len(CASES)
    lines = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    assert [line["id"] for line in lines] == [case.id for case in CASES]
    assert lines[0] == {"id": CASES[0].id, "calls": list(CASES[0].calls)}


def test_true_is_not_one(tmp_path: Path) -> None:
    case = evaluate_tools.Case("x", "f", "", ({"name": "n", "arguments": {"a": 1}},))
    said = evaluate_tools.report([case], [[{"name": "n", "arguments": {"a": True}}]], as_json=False)
    assert "wrong: x" in said


@pytest.mark.parametrize("text", ["", "{", '{"id": 1}', "[]", "1"])
def test_a_wrong_file_is_named(tmp_path: Path, text: str) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text(text, "utf-8")
    for dataset, tools in ((CORPUS, wrong), (wrong, TOOLS_FILE), (tmp_path / "no", TOOLS_FILE)):
        if (text == "" and dataset == wrong) or (text == "[]" and tools == wrong):
            continue  # an empty list is one
        with pytest.raises(ConfigError, match=r"wrong|no"):
            evaluate_tools.evaluate_tools(dataset, tools, None, as_json=False)
