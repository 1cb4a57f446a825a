"""Puts a tool's arguments into its terms, and checks them by its JSON Schema before it runs."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, cast

from core.agent import literals
from core.ports import ToolSpec

# What models write when they know no real value ("path/to/your/fundus/image"), seen in the
# dialogues of the original OculiChatDA and in ReAct prompts.
_PLACEHOLDER = re.compile(
    r"path[/_\\ ]+to[/_\\ ]|your[/_\\ -]*(?:image|photo|file|fundus|path|id)"
    r"|example\.(?:com|png|jpe?g)"
    r"|^<[^<>]*>$|^\{[^{}]*\}$|^\[[^\[\]]*\]$|placeholder|^(?:xxx+|\.\.\.|…|todo|none|null|n/?a)$"
    r"|image_path_here|图片路径|照片路径|(?:您|你)的(?:图片|照片)|占位",
    re.IGNORECASE,
)


def is_placeholder(value: object) -> bool:
    """Tell whether a value only stands where a real one belongs."""
    return isinstance(value, str) and bool(_PLACEHOLDER.search(value.strip()[:200]))


def given(arguments: Mapping[str, Any], tool: ToolSpec) -> dict[str, Any]:
    """Return the arguments without those that say with null that they are not given."""
    required = tool.parameters.get("required", ())
    properties = cast("Mapping[str, Mapping[str, Any]]", tool.parameters.get("properties", {}))
    return {
        key: value
        for key, value in arguments.items()
        if value is not None or key in required or "null" in str(properties.get(key, "null"))
    }


def problem(arguments: Mapping[str, Any], tool: ToolSpec) -> str | None:
    """Return what is wrong with the arguments, in words for the model, or None.

    The words name keys and types but never repeat a value.
    """
    for key, value in arguments.items():
        if is_placeholder(value):
            return f"{key!r} is a placeholder: use a value from the conversation or ask the person"
    return misfit(arguments, tool)


def misfit(arguments: Mapping[str, Any], tool: ToolSpec) -> str | None:
    """Return how the arguments break the tool's schema, in words for the model, or None."""
    import jsonschema  # noqa: PLC0415 45 ms, and only an answer with tools needs it

    validator = jsonschema.Draft202012Validator(dict(tool.parameters))
    # Any: jsonschema's own types do not say what a rule's value is.
    error: Any = next(cast("Any", validator).iter_errors(dict(arguments)), None)
    if error is None:
        return None
    where = ".".join(map(str, error.absolute_path)) or "arguments"
    match error.validator:
        case "required":
            missing = [repr(k) for k in error.validator_value if k not in error.instance]
            return f"{where}: missing {', '.join(missing)}"
        case "type":
            return f"{where}: must be of type {error.validator_value}"
        case "enum":
            return f"{where}: must be one of {error.validator_value}"
        case "additionalProperties":
            known = sorted(tool.parameters.get("properties", {}))
            return f"{where}: unknown argument; known are {known}"
        case rule:
            return f"{where}: breaks the rule {rule!r}"


_WRAPPERS = frozenset({"arguments", "parameters", "args", "params", "input", "kwargs", "inputs"})
_INTEGER = re.compile(r"[-+]?\d{1,18}(?:\.0+)?", re.ASCII)


def folded(name: str) -> str:
    """Return a name without case, blanks and marks, for comparing."""
    return "".join(c for c in name.casefold() if c.isalnum())


def fit(arguments: Mapping[str, Any], tool: ToolSpec) -> dict[str, Any]:
    """Return the arguments in the tool's own terms, where only one reading is possible.

    Drifted keys get their name, ``"3"`` becomes 3 where a number is asked for, a choice in another
    case becomes the choice, and keys the schema forbids are left out. Arguments that fit stay as
    they are; what still does not fit is told by `problem`.
    """
    properties = cast("Mapping[str, Mapping[str, Any]]", tool.parameters.get("properties", {}))
    arguments = _unwrapped(arguments, properties)
    by_fold = {folded(key): key for key in properties}
    is_closed = tool.parameters.get("additionalProperties") is False
    fitted: dict[str, Any] = {}
    for written, value in arguments.items():
        key = written
        if written not in properties:
            meant = by_fold.get(folded(written))
            if meant is not None and meant not in arguments:
                key = meant
            elif is_closed:
                continue
        fitted[key] = _fit_value(value, properties.get(key, {}))
    return fitted


def _unwrapped(arguments: Mapping[str, Any], properties: Mapping[str, object]) -> Mapping[str, Any]:
    """Take off a second layer: ``{"input": {...}}``."""
    if len(arguments) != 1:
        return arguments
    ((key, inside),) = arguments.items()
    if key in properties or key.casefold() not in _WRAPPERS:
        return arguments
    if isinstance(inside, str):
        inside = _loaded(inside)
    return cast("dict[str, Any]", inside) if isinstance(inside, dict) else arguments


def _fit_value(value: object, schema: Mapping[str, Any]) -> object:
    choices = cast("list[object]", schema.get("enum", []))
    if choices and value not in choices:
        meant = [c for c in choices if folded(str(c)) == folded(str(value))]
        return meant[0] if len(meant) == 1 else value
    written = schema.get("type")
    kinds: list[object] = cast("list[object]", written) if isinstance(written, list) else [written]
    if written is None or any(_is_kind(value, kind) for kind in kinds):
        return value
    for kind in kinds:
        converted = _converted(value, kind)
        if converted is not None:
            return converted
    return value


def _is_kind(value: object, kind: object) -> bool:
    match kind:
        case "string":
            return isinstance(value, str)
        case "boolean":
            return isinstance(value, bool)
        case "integer":
            is_whole = isinstance(value, float) and value.is_integer()
            return not isinstance(value, bool) and (isinstance(value, int) or is_whole)
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "array":
            return isinstance(value, list)
        case "object":
            return isinstance(value, dict)
        case _:
            return kind == "null" and value is None


def _converted(value: object, kind: object) -> object:
    """Return `value` as the kind asked for, or None when that would be a guess."""
    if kind == "string" and isinstance(value, int | float) and not isinstance(value, bool):
        return json.dumps(value)
    if kind == "array" and not isinstance(value, str | list | None):
        return [value]
    if not isinstance(value, str):
        return None
    if kind == "integer":
        text = value.strip()
        return int(text.partition(".")[0]) if _INTEGER.fullmatch(text) else None
    if kind == "array":
        loaded = _loaded(value) if value.lstrip().startswith(("[", "［")) else None
        return cast("list[object]", loaded) if isinstance(loaded, list) else [value]
    loaded = _loaded(value)
    return loaded if loaded is not None and _is_kind(loaded, kind) else None


def _loaded(text: str) -> object:
    try:
        return literals.loads(text)
    except literals.Unreadable:
        return None
