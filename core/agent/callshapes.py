"""What counts as a tool call: the tool a drifted name means, and the JSON shapes of a call."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from core.agent import literals
from core.ports import ToolCall, ToolSpec

MOST_CALLS = 8


@dataclass(frozen=True, slots=True)
class Call:
    """A call whose tool exists; its arguments are an object, not yet checked by the schema."""

    id: str
    name: str
    arguments: Mapping[str, Any]

    def as_tool_call(self) -> ToolCall:
        """Return the call as it goes into the history: always valid JSON."""
        arguments = json.dumps(dict(self.arguments), ensure_ascii=False)
        return ToolCall(self.id, self.name, arguments)

    @property
    def key(self) -> str:
        """Equal for calls that do the same."""
        return f"{self.name} {json.dumps(dict(self.arguments), sort_keys=True)}"


def _folded(name: str) -> str:
    return "".join(c for c in name.casefold() if c.isalnum())


class Names:
    """Finds the tool a drifted name means: case, CamelCase, ``tool:`` before, ``_tool`` after."""

    def __init__(self, tools: Sequence[ToolSpec]) -> None:
        self.specs = {t.name: t for t in tools}
        self._by_fold: dict[str, str | None] = {}
        for name in self.specs:
            fold = _folded(name)
            self._by_fold[fold] = None if fold in self._by_fold else name  # two alike: neither

    def find(self, written: object) -> str | None:
        """Return the tool's true name, or None."""
        if not isinstance(written, str) or len(written) > 200:
            return None
        name = written.strip()
        if name in self.specs:
            return name
        last = re.split(r"[.:：/]", re.sub(r":\d+$", "", name))[-1]  # Kimi numbers its calls
        for form in (name, last):
            fold = _folded(form)
            for candidate in (fold, fold.removesuffix("tool"), fold.removesuffix("function")):
                if found := self._by_fold.get(candidate):
                    return found
        return None

    def properties(self, name: str) -> Mapping[str, Any]:
        """Return the schemas of a tool's arguments by name."""
        return cast("Mapping[str, Any]", self.specs[name].parameters.get("properties", {}))

    def typed(self, name: str, key: str, value: str) -> Any:
        """Return a value that was written without quotes, by the type its schema asks for."""
        schema = cast("Mapping[str, Any]", self.properties(name).get(key) or {})
        kinds = schema.get("type", "string")
        if "string" in ([kinds] if isinstance(kinds, str) else kinds):
            return value
        try:
            return literals.loads(value)
        except literals.Unreadable:
            return value  # the schema will refuse it


@dataclass(slots=True)
class Found:
    """Calls found so far, each once."""

    calls: list[Call] = field(default_factory=list[Call])
    has_broken: bool = False
    _keys: set[str] = field(default_factory=set[str])

    def add(self, name: str, arguments: Mapping[str, Any], call_id: str = "") -> None:
        """Note a call unless it was found before."""
        call = Call(call_id or f"call-{len(self.calls) + 1}", name, arguments)
        if call.key not in self._keys:
            self._keys.add(call.key)
            self.calls.append(call)

    def add_all(self, other: Found) -> None:
        """Note what another pass has found."""
        for call in other.calls:
            self.add(call.name, call.arguments)
        self.has_broken |= other.has_broken


_NAME_KEYS = ("name", "tool", "tool_name", "function", "function_name", "action")
_ARGUMENT_KEYS = (
    "arguments", "parameters", "args", "params", "input", "action_input", "tool_input", "kwargs",
)  # fmt: skip
_WRAPPERS = ("function", "action", "tool_call", "function_call", "tool")
_BESIDES = frozenset({"type", "id", "thought", "thought_process", "thoughts", "index"})


def as_arguments(value: object) -> dict[str, Any] | None:
    """Return the arguments as an object; they may be JSON inside JSON, even twice."""
    for _ in range(3):
        if isinstance(value, dict):
            return cast("dict[str, Any]", value)
        if value is None or (isinstance(value, str) and not value.strip()):
            return {}
        if not isinstance(value, str):
            return None
        try:
            value = literals.loads(value)
        except literals.Unreadable:
            return None
    return None


def read_native(call: ToolCall, names: Names, found: Found) -> None:
    """Take a call of the server's own parser, whose arguments may be broken JSON."""
    name = names.find(call.name)
    arguments: dict[str, Any] | None = None
    if name:
        try:
            text = call.arguments.strip()
            arguments = as_arguments(literals.loads(text)) if text else {}
        except literals.Unreadable:
            arguments = None
    if name is None or arguments is None:
        found.has_broken = True
    else:
        found.add(name, arguments, call.id)


def read_value(value: object, names: Names, found: Found, *, is_tagged: bool) -> bool:
    """Take the calls out of a JSON value; tell whether it was meant as a call at all.

    When the model marked it as a call (`is_tagged`), one without arguments is one too.
    """
    if isinstance(value, list):
        items = cast("list[object]", value)[:MOST_CALLS]
        meant = [read_value(v, names, found, is_tagged=is_tagged) for v in items]
        return any(meant)
    if not isinstance(value, dict):
        return False
    data = cast("dict[str, Any]", value)
    if isinstance(data.get("tool_calls"), list):
        return read_value(data["tool_calls"], names, found, is_tagged=is_tagged)
    for key in _WRAPPERS:
        if isinstance(data.get(key), dict):
            return read_value(data[key], names, found, is_tagged=is_tagged)
    written = next((data[k] for k in _NAME_KEYS if isinstance(data.get(k), str)), None)
    key = next((k for k in _ARGUMENT_KEYS if k in data), None)
    if written is None or (key is None and not is_tagged):
        return False
    name = names.find(written)
    if name is None:
        found.has_broken = True
        return True
    arguments = as_arguments(data[key]) if key else _beside(data, name, names)
    if arguments is None:
        found.has_broken = True
    else:
        found.add(name, arguments)
    return True


def _beside(data: Mapping[str, Any], name: str, names: Names) -> dict[str, Any] | None:
    """Return arguments written beside the name, if all of them are known to the schema."""
    name_key = next(k for k in _NAME_KEYS if k in data)
    rest = {k: v for k, v in data.items() if k != name_key and k not in _BESIDES}
    return rest if rest.keys() <= names.properties(name).keys() else None
