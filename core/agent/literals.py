"""Reads JSON as models write it: strictly first, then with the known slips mended.

Nothing is made up: a string that was cut is never closed, arithmetic is never computed, and a
number or word that does not stand in the source as it is read makes the reading fail.
"""

from __future__ import annotations

import ast
import json
import math
import re
import warnings
from collections.abc import Iterator
from typing import Any, cast

# Longer arguments are no tool call of ours; beyond this only strict JSON is read.
RESCUE_LIMIT_CHARACTERS = 16 << 10
# json-repair slows down with depth (3000 open braces: 0.35 s), and no schema of ours is deep.
_DEEPEST = 16
_BAD_ESCAPE = re.compile(r'\\(?!["\\/bfnrt]|u[0-9a-fA-F]{4})')
_TRAILING_COMMA = re.compile(r",(\s*[}\]])")
_FULL_WIDTH = str.maketrans({"“": '"', "”": '"', "：": ":", "，": ",", "‘": "'", "’": "'"})
_CLOSERS = {"{": "}", "[": "]"}


class Unreadable(ValueError):
    """The text holds no value, or only a guess would give one."""


class _NotJson(Unreadable):
    """It was read, but is something JSON cannot hold: mending would change its meaning."""


def object_end(text: str, start: int) -> int | None:
    """Return the index after the brace that closes the one at `start`, or None.

    Braces inside double-quoted strings do not count; when the quotes are odd (a quote inside a
    string, an apostrophe style) every brace counts.
    """
    depth, in_string, position = 0, False, start
    for found in _MARKS.finditer(text, start):
        mark, position = found[0], found.start()
        if in_string:
            in_string = mark != '"'
        elif mark == '"':
            in_string = True
        elif mark == "{":
            depth += 1
        elif mark == "}":
            depth -= 1
            if depth == 0:
                return position + 1
    if not in_string:
        return None
    depth = 0
    for found in _BRACES.finditer(text, start):
        depth += 1 if found[0] == "{" else -1
        if depth == 0:
            return found.end()
    return None


# An escaped character is one mark of its own, so that \" neither opens nor closes.
_MARKS = re.compile(r'\\.|["{}]', re.DOTALL)
_BRACES = re.compile(r"[{}]")


def loads(text: str, *, may_close: int = 0) -> Any:
    """Read one value.

    Args:
        text: from its first to its last character, blanks around it allowed.
        may_close: how many forgotten brackets may be added at the end. An open string is never
            closed.

    Raises:
        Unreadable: there is no value that stands in the text as it is.
    """
    text = text.strip()
    try:
        return _checked(json.loads(text, strict=False, parse_constant=_refuse_constant))
    except _NotJson:
        raise
    except (ValueError, RecursionError):
        pass
    if not text or len(text) > RESCUE_LIMIT_CHARACTERS:
        raise Unreadable("no strict JSON and too long to mend")
    for candidate in _mended(text, may_close=may_close):
        for read in (_read_json, _read_literal):
            try:
                return _checked(read(candidate))
            except _NotJson:
                raise
            except (ValueError, RecursionError, MemoryError, SyntaxError, TypeError):
                continue
    return _repair(text, may_close=may_close)


def _refuse_constant(name: str) -> Any:
    raise _NotJson(f"{name} is no JSON")


def _read_json(text: str) -> Any:
    return json.loads(text, strict=False, parse_constant=_refuse_constant)


def _read_literal(text: str) -> Any:
    with warnings.catch_warnings():  # odd escapes only warn
        warnings.simplefilter("ignore")
        return ast.literal_eval(text)


def _checked(value: Any) -> Any:
    """Refuse what JSON cannot hold: Python knows sets, bytes, tuples and complex numbers too."""
    match value:
        case dict():
            items = cast("dict[Any, Any]", value)
            if not all(isinstance(key, str) for key in items):
                raise _NotJson("a key is no string")
            return {key: _checked(item) for key, item in items.items()}
        case list():
            return [_checked(item) for item in cast("list[Any]", value)]
        case str() | bool() | int() | None:
            return value
        case float() if math.isfinite(value):
            return value
        case _:
            raise _NotJson(f"{type(value).__name__} is no JSON")


def _mended(text: str, *, may_close: int) -> Iterator[str]:
    """Yield `text` with one kind of slip mended after the other."""
    if text.startswith("{{") and text.endswith("}}"):
        text = text.replace("{{", "{").replace("}}", "}")
        yield text
    text = _without_surplus(text)
    if closed := _closed(text, may_close):
        text = closed
    yield text
    escaped = _TRAILING_COMMA.sub(r"\1", _BAD_ESCAPE.sub(r"\\\\", text))
    if escaped != text:
        yield escaped
    ascii_text = text.translate(_FULL_WIDTH)
    if ascii_text != text:
        yield ascii_text


def _without_surplus(text: str) -> str:
    """Drop closing braces after the value has ended."""
    end = object_end(text, 0) if text.startswith("{") else None
    return text[:end] if end and not text[end:].strip("}] \n\t;,") else text


def _open_brackets(text: str) -> tuple[list[str], bool]:
    """Return the brackets still open at the end, and whether a string is."""
    stack: list[str] = []
    in_string = False
    for found in re.finditer(r'\\.|["{}\[\]]', text, re.DOTALL):
        mark = found[0]
        if in_string:
            in_string = mark != '"'
        elif mark == '"':
            in_string = True
        elif mark in "{[":
            stack.append(mark)
        elif not stack or _CLOSERS[stack.pop()] != mark:
            raise Unreadable("brackets do not match")
    return stack, in_string


def _closed(text: str, most: int) -> str | None:
    """Add up to `most` forgotten brackets, or return None when more than that is missing."""
    try:
        stack, in_string = _open_brackets(text)
    except Unreadable:
        return None
    if in_string or not 0 < len(stack) <= most or text.rstrip()[-1] in ",:{[":
        return None
    return text + "".join(_CLOSERS[b] for b in reversed(stack))


def _repair(text: str, *, may_close: int) -> Any:
    """Let json-repair guess, and keep its guess only if it stands in the text."""
    text = _without_surplus(text.translate(_FULL_WIDTH))
    if not text.startswith(("{", "[")) or _too_deep(text):
        raise Unreadable("not an object")
    if not text.rstrip().endswith(("}", "]")):
        closed = _closed(text, may_close)
        if closed is None:
            raise Unreadable("cut")
        text = closed
    if text.count("{") != text.count("}") or text.count("[") != text.count("]"):
        raise Unreadable("cut or unbalanced")
    if text.startswith("{{") and text.endswith("}}"):
        text = text.replace("{{", "{").replace("}}", "}")
    from json_repair import repair_json  # noqa: PLC0415 85 ms, and hardly ever needed

    try:
        value = _checked(repair_json(text, return_objects=True, skip_json_loads=True))
    except (ValueError, RecursionError, TypeError) as error:
        raise Unreadable("beyond repair") from error
    if not isinstance(value, dict) or not value:
        raise Unreadable("not an object")
    if not all(_stands_in(leaf, text) for leaf in _leaves(cast("dict[str, Any]", value))):
        raise Unreadable("the repair changed a value")
    return cast("dict[str, Any]", value)


def _too_deep(text: str) -> bool:
    depth = deepest = 0
    for mark in re.findall(r"[{}\[\]]", text):
        depth += 1 if mark in "{[" else -1
        deepest = max(deepest, depth)
    return deepest > _DEEPEST


def _leaves(value: Any) -> Iterator[Any]:
    match value:
        case dict():
            for key, item in cast("dict[str, Any]", value).items():
                yield key
                yield from _leaves(item)
        case list():
            for item in cast("list[Any]", value):
                yield from _leaves(item)
        case _:
            yield value


def _stands_in(leaf: Any, text: str) -> bool:
    match leaf:
        case bool() | None:
            words = {True: "true", False: "false", None: "null|none"}[leaf]
            return bool(re.search(rf"(?i)[:\[,]\s*(?:{words})\s*[,}}\]]", text))
        case int() | float():
            # A delimiter must follow, so that 60*60 is not read as 60.
            return any(
                leaf == float(n)
                for n in re.findall(r"[:\[,]\s*(-?\d[\d.]*(?:[eE][-+]?\d+)?)\s*[,}\]]", text)
                if n.count(".") <= 1
            )
        case str() if not _UNQUOTED_OPERATION.search(leaf):
            return _plain(leaf) in _plain(text)
        case _:
            return f'"{leaf}"' in text or f"'{leaf}'" in text


# json-repair reads 60*60*12 as a string or its first number, depending on what follows.
_UNQUOTED_OPERATION = re.compile(r"^[\d.\s]+[-+*/%][-+*/%\d.\s]+$")


def _plain(text: str) -> str:
    """Return `text` without what escaping and quoting may change."""
    return re.sub(r"""\\[nrt]|[\\"'\s]""", "", text)
