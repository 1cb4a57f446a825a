"""What counts as a tool call: the tool a drifted name means, and the JSON shapes of a call."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from core.agent import literals, schema
from core.agent.schema import folded as _folded
from core.ports import ToolCall, ToolSpec

MOST_CALLS = 8
_LONGEST_NAME = 200
# Of one answer; each value counts from its start to the end of the answer.
_MENDABLE_CHARACTERS = 64 << 10


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


class Names:
    """Finds the tool a drifted name means.

    Forgiven are case, CamelCase and hyphens, ``functions.`` and ``tool:`` before, ``_tool`` after,
    a plural for a singular and the other way round.
    """

    def __init__(self, tools: Sequence[ToolSpec]) -> None:
        self.specs = {t.name: t for t in tools}
        self._by_fold: dict[str, str | None] = {}
        for name in self.specs:
            fold = _folded(name)
            self._by_fold[fold] = None if fold in self._by_fold else name  # two alike: neither

    def find(self, written: object) -> str | None:
        """Return the tool's true name, or None."""
        if not isinstance(written, str) or len(written) > _LONGEST_NAME:
            return None
        name = written.strip()
        if name in self.specs:
            return name
        last = re.split(r"[.:：/]", re.sub(r":\d+$", "", name))[-1]  # Kimi numbers its calls
        for form in (name, last):
            fold = _folded(form)
            for word in ("tool", "function"):
                fold = fold.removesuffix(word).removeprefix(word) if fold != word else fold
            plural = fold.removesuffix("s") if fold.endswith("s") else f"{fold}s"
            for candidate in (_folded(form), fold, plural):
                if found := self._by_fold.get(candidate):
                    return found
        return None

    def mentioned(self, words: str) -> str | None:
        """Return the one tool whose exact name stands among a few words, or None."""
        found = {w for w in re.findall(r"[\w.-]+", words[:_LONGEST_NAME]) if w in self.specs}
        return found.pop() if len(found) == 1 else None

    def split(self, words: str) -> tuple[str, str] | None:
        """Return the one tool and argument whose names stand here one after the other, or None."""
        words = words.strip()[:_LONGEST_NAME]
        found = {
            (name, key)
            for name in self.specs
            if words.startswith(name) and (key := words.removeprefix(name).strip())
            if key in self.properties(name)
        }
        return found.pop() if len(found) == 1 else None

    def lone(self, name: str) -> str | None:
        """Return the argument that words without a key are meant for, or None.

        It is the tool's only one, or the only one it cannot do without.
        """
        properties = self.properties(name)
        required = cast("Sequence[str]", self.specs[name].parameters.get("required", ()))
        for keys in (list(properties), list(required)):
            if len(keys) == 1 and _may_be_text(properties.get(keys[0])):
                return keys[0]
        return None

    def properties(self, name: str) -> Mapping[str, Any]:
        """Return the schemas of a tool's arguments by name."""
        return cast("Mapping[str, Any]", self.specs[name].parameters.get("properties", {}))

    def typed(self, name: str, key: str, value: str) -> Any:
        """Return a value that was written without quotes, by the type its schema asks for."""
        if _may_be_text(self.properties(name).get(key)):
            return value
        try:
            return literals.loads(value)
        except literals.Unreadable:
            return value  # the schema will refuse it


def _may_be_text(described: object) -> bool:
    kinds = cast("dict[str, Any]", described or {}).get("type", "string")
    return "string" in ([kinds] if isinstance(kinds, str) else kinds)


@dataclass(slots=True)
class Found:
    """Calls found so far, each once."""

    names: Names
    calls: list[Call] = field(default_factory=list[Call])
    has_broken: bool = False
    _keys: set[str] = field(default_factory=set[str])
    _mendable_characters: int = _MENDABLE_CHARACTERS

    def add(self, name: str, arguments: Mapping[str, Any], call_id: str = "") -> None:
        """Note a call, in its tool's own terms, unless it was found before."""
        arguments = schema.fit(arguments, self.names.specs[name])
        call = Call(call_id or f"call-{len(self.calls) + 1}", name, arguments)
        if call.key not in self._keys:
            self._keys.add(call.key)
            self.calls.append(call)

    def read(self, text: str, start: int, *, may_close: int = 0) -> tuple[Any, int]:
        """Read a value as `literals.read_at` does; mends only so much per answer.

        Raises:
            Unreadable: there is none.
        """
        if literals.strict_end(text, start) is None:
            if self._mendable_characters <= 0:
                raise literals.Unreadable("too many values to mend")
            self._mendable_characters -= min(len(text) - start, literals.RESCUE_LIMIT_CHARACTERS)
        return literals.read_at(text, start, may_close=may_close)

    def add_all(self, other: Found) -> None:
        """Note what another pass has found."""
        for call in other.calls:
            self.add(call.name, call.arguments)
        self.has_broken |= other.has_broken


# Keys as `_folded` writes them.
_NAME_KEYS = (
    "name", "tool", "toolname", "function", "functionname", "action", "api", "apiname",
    "recipientname", "工具", "工具名", "工具名称", "函数", "函数名", "名称",
)  # fmt: skip
_ARGUMENT_KEYS = (
    "arguments", "parameters", "args", "params", "input", "actioninput", "toolinput", "kwargs",
    "argument", "parameter", "inputs", "functionargs", "toolargs", "actioninputs",
    "functionarguments", "toolarguments", "toolparameters", "参数", "输入",
)  # fmt: skip
# Where ReAct and LangChain put words for a tool with one argument.
_PLAIN_KEYS = ("input", "actioninput", "toolinput", "输入")
_WRAPPERS = ("function", "action", "toolcall", "functioncall", "tool", "call")
_LISTS = ("toolcalls", "calls", "functioncalls", "tools", "actions", "tooluses")
_BESIDES = frozenset({"type", "id", "thought", "thoughtprocess", "thoughts", "index", "reason"})


def as_arguments(value: object) -> dict[str, Any] | None:
    """Return the arguments as an object; they may be JSON inside JSON, even twice."""
    for _ in range(3):
        if isinstance(value, dict):
            return cast("dict[str, Any]", value)
        if isinstance(value, list) and len(value := cast("list[object]", value)) <= 1:
            value = value[0] if value else None
            continue
        if value is None or (isinstance(value, str) and not value.strip()):
            return {}
        if not isinstance(value, str):
            return None
        try:
            value = literals.loads(value)
        except literals.Unreadable:
            return None
    return None


def read_native(call: ToolCall, found: Found) -> None:
    """Take a call of the server's own parser, whose arguments may be broken JSON."""
    name = found.names.find(call.name)
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


def read_value(value: object, found: Found, *, is_tagged: bool) -> bool:
    """Take the calls out of a JSON value; tell whether it was meant as a call at all.

    When the model marked it as a call (`is_tagged`), one without arguments is one too.
    """
    if isinstance(value, list):
        items = cast("list[object]", value)[:MOST_CALLS]
        meant = [read_value(v, found, is_tagged=is_tagged) for v in items]
        return any(meant)
    if not isinstance(value, dict):
        return False
    written = cast("dict[str, Any]", value)
    data = {_folded(key): item for key, item in written.items()}
    for key in _LISTS:
        if isinstance(data.get(key), list):
            return read_value(data[key], found, is_tagged=is_tagged)
    for key in _WRAPPERS:
        if isinstance(data.get(key), dict):
            return read_value(data[key], found, is_tagged=is_tagged)
    name_key = next((k for k in _NAME_KEYS if isinstance(data.get(k), str)), None)
    if name_key is None:
        return _read_keyed(written, found) or _read_inner(data, found)
    key = next((k for k in _ARGUMENT_KEYS if k in data and k != name_key), None)
    name = found.names.find(data[name_key])
    beside = None if key or not name else _beside(written, name, name_key, found.names)
    if key is None and not is_tagged and not (name_key != "name" and beside):
        return False
    arguments = as_arguments(data[key]) if key else beside
    if name and arguments is None and key in _PLAIN_KEYS and isinstance(data[key], str):
        arguments = _plain(data[key], name, found.names)
    if arguments and arguments.get("type") == "object" and "properties" in arguments:
        return False  # it repeats how the tool was described
    if name is None or arguments is None:
        found.has_broken = True
    else:
        found.add(name, arguments)
    return True


def _plain(words: str, name: str, names: Names) -> dict[str, Any] | None:
    key = names.lone(name)
    return None if key is None or words.lstrip().startswith(("{", "[")) else {key: words}


def _read_keyed(data: Mapping[str, Any], found: Found) -> bool:
    """Take a call written as ``{"tool": {arguments}}``."""
    if len(data) != 1:
        return False
    ((written, inside),) = data.items()
    if written not in found.names.specs or not isinstance(inside, dict):
        return False
    arguments = cast("dict[str, Any]", inside)
    known = {_folded(key) for key in found.names.properties(written)}
    if not {_folded(key) for key in arguments} <= known:
        return False
    found.add(written, arguments)
    return True


def _read_inner(data: Mapping[str, Any], found: Found) -> bool:
    """Take a whole call that stands where only its arguments belong."""
    inside = next((data[k] for k in _ARGUMENT_KEYS if k in data), None)
    # One level only: the name must stand right there.
    if not isinstance(inside, dict) or not isinstance(cast("Any", inside).get("name"), str):
        return False
    return read_value(cast("object", inside), found, is_tagged=False)


def _beside(
    data: Mapping[str, Any], name: str, name_key: str, names: Names
) -> dict[str, Any] | None:
    """Return arguments written beside the name, if all of them are known to the schema."""
    known = {_folded(key) for key in names.properties(name)}
    rest = {k: v for k, v in data.items() if _folded(k) != name_key}
    rest = {k: v for k, v in rest.items() if _folded(k) in known or _folded(k) not in _BESIDES}
    return rest if {_folded(key) for key in rest} <= known else None
