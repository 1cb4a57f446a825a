"""One tool call as each family of models writes it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else _json(value)


def _coder(name: str, arguments: dict[str, Any]) -> str:
    inside = "".join(f"<parameter={k}>\n{_plain(v)}\n</parameter>\n" for k, v in arguments.items())
    return f"<tool_call>\n<function={name}>\n{inside}</function>\n</tool_call>"


def _dsml(name: str, arguments: dict[str, Any]) -> str:
    inside = "".join(
        f'<｜DSML｜parameter name="{k}" string="{"true" if isinstance(v, str) else "false"}">'
        f"{_plain(v)}</｜DSML｜parameter>\n"
        for k, v in arguments.items()
    )
    call = f'<｜DSML｜invoke name="{name}">\n{inside}</｜DSML｜invoke>'
    return f"<｜DSML｜function_calls>\n{call}\n</｜DSML｜function_calls>"


def _glm(name: str, arguments: dict[str, Any]) -> str:
    inside = "".join(
        f"<arg_key>{k}</arg_key>\n<arg_value>{_plain(v)}</arg_value>\n"
        for k, v in arguments.items()
    )
    return f"<tool_call>{name}\n{inside}</tool_call>"


def _deep(name: str, arguments: dict[str, Any]) -> str:
    return (
        f"<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>{name}\n```json\n"
        f"{_json(arguments)}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>"
    )


FORMS: dict[str, Callable[[str, dict[str, Any]], str]] = {
    "internlm": lambda n, a: (
        f"<|action_start|><|plugin|>\n{_json({'name': n, 'parameters': a})}<|action_end|>\n"
    ),
    "qwen": lambda n, a: f"<tool_call>\n{_json({'name': n, 'arguments': a})}\n</tool_call>",
    "qwen without end": lambda n, a: f"<tool_call>\n{_json({'name': n, 'arguments': a})}",
    "qwen3coder": _coder,
    "llama": lambda n, a: f"<|python_tag|>{_json({'name': n, 'parameters': a})}",
    "bare": lambda n, a: _json({"name": n, "parameters": a}),
    "fenced": lambda n, a: f"```json\n{_json({'name': n, 'arguments': a})}\n```",
    "openai": lambda n, a: _json(
        {"type": "function", "function": {"name": n, "arguments": _json(a)}}
    ),
    "deepseek v3": _deep,
    "deepseek v3.1": lambda n, a: (
        f"<｜tool▁call▁begin｜>{n}<｜tool▁sep｜>{_json(a)}<｜tool▁call▁end｜>"
    ),
    "deepseek v3.2": _dsml,
    "kimi": lambda n, a: (
        f"<|tool_call_begin|>functions.{n}:0<|tool_call_argument_begin|>{_json(a)}<|tool_call_end|>"
    ),
    "glm": _glm,
    "react": lambda n, a: f"\nThought: x\nAction: {n}\nAction Input: {_json(a)}\n",
    "react json": lambda n, a: _json(
        {"thought_process": "x", "action": {"name": n, "parameters": a}}
    ),
    "name in tags": lambda n, a: f"<tool_call>\n<function>{n}</function>\n{_json(a)}\n</tool_call>",
    "invoke": lambda n, a: (
        f'<function_calls>\n<invoke name="{n}">\n'
        + "".join(f'<parameter name="{k}">{_plain(v)}</parameter>\n' for k, v in a.items())
        + "</invoke>\n</function_calls>"
    ),
    "children": lambda n, a: (
        f"<tool_call>\n<name>{n}</name>\n<arguments>{_json(a)}</arguments>\n</tool_call>"
    ),
    "harmony": lambda n, a: (
        f"<|channel|>commentary to=functions.{n} <|constrain|>json<|message|>{_json(a)}<|call|>"
    ),
    "call": lambda n, a: f"[{n}({', '.join(f'{k}={v!r}' for k, v in a.items())})]",
    "tool code": lambda n, a: (
        f"```tool_code\n{n}({', '.join(f'{k}={_json(v)}' for k, v in a.items())})\n```"
    ),
    "python dict": lambda n, a: f"<tool_call>\n{ {'name': n, 'arguments': a}!r}\n</tool_call>",
    "flowers": lambda n, a: f"✿FUNCTION✿: {n}\n✿ARGS✿: {_json(a)}\n✿RESULT✿",
    "mistral v11": lambda n, a: f"[TOOL_CALLS]{n}[ARGS]{_json(a)}",
    "mistral": lambda n, a: f"[TOOL_CALLS][{_json({'name': n, 'arguments': a})}]",
}

# The arguments are JSON or Python: any string comes back, whatever marks it holds.
QUOTED = {
    "internlm", "qwen", "qwen without end", "llama", "bare", "fenced", "openai", "deepseek v3",
    "deepseek v3.1", "kimi", "react", "react json", "name in tags", "children", "harmony",
    "mistral v11", "flowers", "mistral",
}  # fmt: skip
# Nothing but blanks may follow: the form has no end of its own.
LAST = {"llama", "react", "qwen without end", "mistral v11"}
