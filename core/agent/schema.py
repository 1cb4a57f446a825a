"""Checks a tool's arguments against its JSON Schema before anything runs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, cast

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


def problem(arguments: Mapping[str, Any], tool: ToolSpec) -> str | None:
    """Return what is wrong with the arguments, in words for the model, or None.

    The words name keys and types but never repeat a value.
    """
    for key, value in arguments.items():
        if is_placeholder(value):
            return f"{key!r} is a placeholder: use a value from the conversation or ask the person"
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
