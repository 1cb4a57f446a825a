"""`eval tools`: how many tool calls are read rightly from what models wrote, per format."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.agent import schema, toolcalls
from core.errors import ConfigError
from core.ports import ToolSpec


@dataclass(frozen=True, slots=True)
class Case:
    """What a model wrote and which calls are meant.

    Attributes:
        id: of the row.
        format: family of the model or form, for the report.
        raw: the whole output.
        calls: ``{"name", "arguments"}`` in order; empty when nothing may run.
    """

    id: str
    format: str
    raw: str
    calls: tuple[Mapping[str, Any], ...]


def read_cases(lines: Sequence[str]) -> list[Case]:
    """Read rows with `id`, `format`, `raw`, `expect` and for several calls `expect_all`.

    Raises:
        ValueError: a line is no JSON.
        KeyError: a field is missing.
    """
    cases: list[Case] = []
    for line in lines:
        row: dict[str, Any] = json.loads(line)
        wanted = row.get("expect_all") or ([row["expect"]] if row["expect"] else [])
        calls = tuple({"name": c["name"], "arguments": c["arguments"]} for c in wanted)
        cases.append(Case(row["id"], row["format"], row["raw"], calls))
    return cases


def read_tools(described: str) -> list[ToolSpec]:
    """Read tools as OpenAI writes them: ``[{"type": "function", "function": {...}}]``.

    Raises:
        ValueError: it is no JSON.
        KeyError: a tool has no name.
    """
    tools: list[ToolSpec] = []
    for entry in json.loads(described):
        function: dict[str, Any] = entry.get("function", entry)
        schema: dict[str, Any] = function.get("parameters") or {}
        tools.append(ToolSpec(function["name"], function.get("description", ""), schema))
    return tools


def predict(case: Case, tools: Sequence[ToolSpec]) -> list[dict[str, Any]]:
    """Return the calls found in one output whose arguments fit their tool's schema."""
    specs = {tool.name: tool for tool in tools}
    return [
        {"name": call.name, "arguments": dict(call.arguments)}
        for call in toolcalls.parse(case.raw, (), tools).calls
        if not schema.misfit(schema.given(call.arguments, specs[call.name]), specs[call.name])
    ]


def evaluate_tools(
    dataset: Path, tools_file: Path, predictions: Path | None, *, as_json: bool
) -> None:
    """Print how many rows of `dataset` come back as they should."""
    try:
        tools = read_tools(_read(tools_file))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{tools_file}: no list of tools ({type(error).__name__})") from None
    try:
        cases = read_cases([line for line in _read(dataset).splitlines() if line.strip()])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{dataset}: no tools dataset ({type(error).__name__})") from None
    found = [predict(case, tools) for case in cases]
    if predictions is not None:
        lines = [
            json.dumps({"id": case.id, "calls": calls}, ensure_ascii=False)
            for case, calls in zip(cases, found, strict=True)
        ]
        predictions.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    sys.stdout.write(report(cases, found, as_json=as_json) + "\n")


def report(
    cases: Sequence[Case], found: Sequence[Sequence[Mapping[str, Any]]], *, as_json: bool
) -> str:
    """Return right/all in total and per format, and the ids that came back otherwise."""
    counts: dict[str, list[int]] = {"all": [0, 0]}
    wrong: list[str] = []
    for case, calls in zip(cases, found, strict=True):
        is_right = _same(calls, case.calls)
        for name in ("all", case.format):
            pair = counts.setdefault(name, [0, 0])
            pair[0] += is_right
            pair[1] += 1
        if not is_right:
            wrong.append(case.id)
    if as_json:
        return json.dumps({**counts, "wrong": wrong}, ensure_ascii=False)
    lines = [
        f"{name:14} {right}/{of}  {right / max(of, 1):.3f}" for name, (right, of) in counts.items()
    ]
    return "\n".join([*lines, *(f"wrong: {case_id}" for case_id in wrong)])


def _same(found: Sequence[Mapping[str, Any]], wanted: Sequence[Mapping[str, Any]]) -> bool:
    """Compare as JSON: Python would take True for 1."""
    return json.dumps(list(found), sort_keys=True) == json.dumps(list(wanted), sort_keys=True)


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({type(error).__name__}); check it") from None
