"""Reads JSON as models write it: strictly first, then with the known slips mended.

Strict JSON, then Python's literals, then our own mending, then json-repair under guard. Nothing is
made up: a string that was cut is never closed, arithmetic is never computed, and a number or word
that does not stand in the source as it is read makes the reading fail.
"""

from __future__ import annotations

import ast
import json
import math
import re
import warnings
from collections.abc import Iterator
from typing import Any, cast

from core.agent import mending
from core.agent.mending import DEEPEST, RESCUE_LIMIT_CHARACTERS, Refused, Unreadable

__all__ = ["RESCUE_LIMIT_CHARACTERS", "Refused", "Unreadable", "loads", "object_end", "read_at"]


def object_end(text: str, start: int) -> int | None:
    """Return the index after the brace that closes the one at `start`, or None.

    Braces inside double-quoted strings do not count; when the quotes are odd (a quote inside a
    string, an apostrophe style) every brace counts. Longer objects than can be mended have no end.
    """
    stop = start + RESCUE_LIMIT_CHARACTERS
    depth, in_string, position = 0, False, start
    for found in _MARKS.finditer(text, start, stop):
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
    for found in _BRACES.finditer(text, start, stop):
        depth += 1 if found[0] == "{" else -1
        if depth == 0:
            return found.end()
    return None


# An escaped character is one mark of its own, so that \" neither opens nor closes.
_MARKS = re.compile(r'\\.|["{}]', re.DOTALL)
_BRACES = re.compile(r"[{}]")
# Surplus brackets and separators after a value mean nothing.
_SURPLUS = re.compile(r"[\s}\]｝］;；,，`]*")
# Python's parser goes down one level for each of these.
_STEEP = re.compile(rf"(?:[-+~(\[{{]\s*){{{2 * DEEPEST},}}|(?:not\s+){{{DEEPEST},}}")


def _refuse_constant(name: str) -> Any:
    raise Refused(f"{name} is no JSON")


_STRICT = json.JSONDecoder(strict=False, parse_constant=_refuse_constant)


def strict_end(text: str, start: int) -> int | None:
    """Return where the strict JSON value at `start` ends, or None when there is none."""
    try:
        return _STRICT.raw_decode(text, start)[1]
    except (ValueError, RecursionError):
        return None


def read_at(text: str, start: int, *, may_close: int = 0) -> tuple[Any, int]:
    """Read the object or list whose bracket is at `start`.

    Args:
        text: may go on after the value.
        start: index of the bracket.
        may_close: how many forgotten brackets may be added at the end of `text`. An open string is
            never closed.

    Returns:
        The value and the index after it.

    Raises:
        Unreadable: there is no value that stands in the text as it is.
    """
    try:
        value, end = _STRICT.raw_decode(text, start)
        return _checked(value), end
    except Refused:
        raise
    except (ValueError, RecursionError):
        pass
    if found := _ESCAPED_QUOTES.match(text, start):
        if len(text) - start > RESCUE_LIMIT_CHARACTERS:
            raise Unreadable("too long to mend")
        return read_at(_unescaped(text[found.start() :]), 0, may_close=may_close)[0], len(text)
    whole = object_end(text, start)
    if whole is not None:
        try:
            return _checked(_literal(text[start:whole])), whole
        except Refused:
            raise
        except _LITERAL_ERRORS:
            pass
    try:
        value, end = mending.read(text, start, may_close=may_close)
        return _checked(value), end
    except Refused:
        raise
    except (ValueError, RecursionError):
        if whole is None:
            raise Unreadable("cut, or too long to mend") from None
    return _repair(text[start:whole]), whole


# The whole object stands as it would inside a JSON string: {\"name\": \"x\"}.
_ESCAPED_QUOTES = re.compile(r'[{\[]\s*\\"')
_LITERAL_ERRORS = (ValueError, RecursionError, MemoryError, SyntaxError, TypeError)


def _unescaped(text: str) -> str:
    return re.sub(r'\\(["\\])', r"\1", text)


def loads(text: str, *, may_close: int = 0) -> Any:
    """Read one value that is the whole of `text`; see `read_at`.

    Raises:
        Unreadable: there is no value that stands in the text as it is.
    """
    text = text.strip("\ufeff\u200b \t\r\n")
    if text.startswith(("{", "[", "｛", "［")):
        value, end = read_at(text, 0, may_close=may_close)
        if not _SURPLUS.fullmatch(text, end):
            raise Unreadable("more than one value")
        return value
    try:
        return _checked(json.loads(text, strict=False, parse_constant=_refuse_constant))
    except Refused:
        raise
    except (ValueError, RecursionError):
        pass
    if not text or len(text) > RESCUE_LIMIT_CHARACTERS:
        raise Unreadable("no strict JSON and too long to mend")
    if text.casefold() in ("true", "false", "none"):
        return {"true": True, "false": False}.get(text.casefold())
    try:
        return _checked(_literal(text))
    except Refused:
        raise
    except _LITERAL_ERRORS as error:
        raise Unreadable("no value") from error


def _literal(text: str) -> Any:
    if _STEEP.search(text):
        raise ValueError("too deep")
    with warnings.catch_warnings():  # odd escapes only warn
        warnings.simplefilter("ignore")
        return ast.literal_eval(text)


def _checked(value: Any) -> Any:
    """Refuse what JSON cannot hold: Python knows sets, bytes, tuples and complex numbers too."""
    match value:
        case dict():
            items = cast("dict[Any, Any]", value)
            if not all(isinstance(key, str) for key in items):
                raise Refused("a key is no string")
            return {_checked(key): _checked(item) for key, item in items.items()}
        case list():
            return [_checked(item) for item in cast("list[Any]", value)]
        case str():
            if not value.isascii() and any("\ud800" <= c <= "\udfff" for c in value):
                raise Refused("half a character")  # could not be sent or stored
            return value
        case bool() | int() | None:
            return value
        case float() if math.isfinite(value):
            return value
        case _:
            raise Refused(f"{type(value).__name__} is no JSON")


# json-repair takes seconds for some thousand stray quotes; arguments of ours have a dozen.
_MOST_QUOTES = 200


def _repair(text: str) -> Any:
    """Let json-repair guess, and keep its guess only if it stands in the text."""
    if not text.startswith("{") or not text.endswith("}") or _too_deep(text):
        raise Unreadable("not an object")
    if text.count('"') + text.count("'") > _MOST_QUOTES:
        raise Unreadable("too many quotes")
    if text.count("{") != text.count("}") or text.count("[") != text.count("]"):
        raise Unreadable("cut or unbalanced")
    from json_repair import repair_json  # noqa: PLC0415 85 ms, and hardly ever needed

    try:
        value = _checked(repair_json(text, return_objects=True, skip_json_loads=True))
    except (ValueError, RecursionError, TypeError) as error:
        raise Unreadable("beyond repair") from error
    if not isinstance(value, dict) or not value:
        raise Unreadable("not an object")
    if not all(
        _stands_in(leaf, text, is_key=is_key)
        for is_key, leaf in _leaves(cast("dict[str, Any]", value))
    ):
        raise Unreadable("the repair changed a value")
    return cast("dict[str, Any]", value)


def _too_deep(text: str) -> bool:
    # json-repair slows down with depth: 3000 open braces take 0.35 s.
    depth = deepest = 0
    for mark in re.findall(r"[{}\[\]]", text):
        depth += 1 if mark in "{[" else -1
        deepest = max(deepest, depth)
    return deepest > DEEPEST


def _leaves(value: Any) -> Iterator[tuple[bool, Any]]:
    """Yield keys and single values, and whether each is a key."""
    match value:
        case dict():
            for key, item in cast("dict[str, Any]", value).items():
                yield True, key
                yield from _leaves(item)
        case list():
            for item in cast("list[Any]", value):
                yield from _leaves(item)
        case _:
            yield False, value


def _stands_in(leaf: Any, text: str, *, is_key: bool) -> bool:
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
        case _:
            word = re.escape(str(leaf))
            before, after = (r"[{,]", r":") if is_key else (r"[\[,:]", r"[,}\]]")
            if re.search(rf"""(["']){word}\1\s*(?:{after}|["'])""", text):
                return True
            # What has no quotes may be an expression, which json-repair reads as a string.
            is_word = mending.WORDS.fullmatch(str(leaf)) is not None
            return is_word and bool(re.search(rf"{before}\s*{word}\s*{after}", text))
