"""Reads JSON and call syntax with the slips models make, in one pass over the text.

Mended: any kind of quotes, quotes and line breaks inside strings, full-width punctuation, unquoted
keys and words, Python's words, comments, invisible characters, missing and surplus commas, doubled
braces, forgotten brackets at the end. Never: a string that was cut, an expression, a lost quote.
"""

from __future__ import annotations

import json
import re
from typing import Any, Literal

# Longer arguments are no tool call of ours; beyond this only strict JSON is read.
RESCUE_LIMIT_CHARACTERS = 16 << 10
DEEPEST = 16  # brackets; no schema of ours is deep
MOST_CALL_ARGUMENTS = 64

_Inside = Literal["object", "array", "call"]


class Unreadable(ValueError):
    """The text holds no value, or only a guess would give one."""


class Refused(Unreadable):
    """What is written is no JSON value (an expression, a lost quote): no other reader may guess."""


# Line breaks, and what cannot be seen: byte order mark, zero-width and directional characters.
# A line break may also stand as it would inside a string: \\n.
_BLANK = r"(?:[\s\ufeff\u200b-\u200f\u2060]|\\[nrt](?![a-z]))"
_SKIP = re.compile(rf"(?:{_BLANK}++|//[^\n]*+|/\*.*?\*/|#[^\n]*+)*+", re.DOTALL)
_DOUBLE, _SINGLE = '"“”„＂', "'‘’`"
_QUOTES = _DOUBLE + _SINGLE
_OPEN = {"{": "object", "｛": "object", "[": "array", "［": "array", "【": "array"}
_CLOSE = {"object": "}｝", "array": "]］】", "call": ")）"}
_COMMAS = ",，、;；"
_BARE_KEY = r"[\w$.-]{1,100}"
_QUOTED_KEY = rf"[{_QUOTES}][^{_QUOTES}\\\n:：{{}}]{{0,100}}[{_QUOTES}]"
_NEXT_KEY = rf"(?:{_QUOTED_KEY}|{_BARE_KEY}){_BLANK}*[:：=]"
_KEY = re.compile(
    rf"(?:[{_QUOTES}](?P<quoted>[^{_QUOTES}\\\n:：{{}}]{{0,100}})[{_QUOTES}]|(?P<bare>{_BARE_KEY}))"
    rf"{_BLANK}*[:：=]"
)
_KEYWORD = re.compile(rf"(?P<bare>[A-Za-z_]\w{{0,99}}){_BLANK}*(?:[=＝](?!=)|[:：])")
_COMMENT = r"//|/\*|\#"
# What follows a quote that ends its string: a quote inside a string has words after it.
_AFTER: dict[_Inside, str] = {
    "object": rf"{_BLANK}*(?:[}}｝]|\Z|{_COMMENT}|[{_COMMAS}]{_BLANK}*"
    rf"(?:{_NEXT_KEY}|[}}｝]|\Z|{_COMMENT}))|{_BLANK}+{_QUOTED_KEY}{_BLANK}*[:：]",
    "array": rf"{_BLANK}*(?:[\]］】]|\Z|{_COMMENT}|[{_COMMAS}]{_BLANK}*"
    rf"(?:[{_QUOTES}\[{{\]］】\d-]|\Z|{_COMMENT}|true|false|null|True|False|None))",
    "call": rf"{_BLANK}*(?:[)）]|\Z|[{_COMMAS}]{_BLANK}*"
    rf"(?:[A-Za-z_]\w{{0,99}}{_BLANK}*[=＝:：]|[)）]))",
}


def _ending(family: str, inside: _Inside) -> re.Pattern[str]:
    """Return what finds the end of a string that was opened with a quote of `family`."""
    return re.compile(
        rf"((?:[^\\{family}]++|\\.|[{family}])*?)[{family}](?={_AFTER[inside]})", re.DOTALL
    )


# An ASCII quote is closed by its like; typographic ones in any pairing.
_STRING = {
    (quote, inside): _ending(
        quote if quote in "\"'`" else _DOUBLE if quote in _DOUBLE else _SINGLE, inside
    )
    for quote in _QUOTES
    for inside in _AFTER
}
_ESCAPE = re.compile(
    r'\\(?:u[0-9a-fA-F]{4}|x(?P<x>[0-9a-fA-F]{2})|U(?P<u>00[01][0-9a-fA-F]{5})|.)|"', re.DOTALL
)
# A key inside a "string" means that the string's own closing quote was lost, an operator that there
# are two strings.
_NO_STRING = re.compile(
    rf"[,，{{\n]{_BLANK}*[{_QUOTES}][\w-]{{1,60}}[{_QUOTES}]{_BLANK}*[:：]"
    rf"|[{_QUOTES}]{_BLANK}*[+*%]{_BLANK}*[{_QUOTES}]"
)
_BARE = re.compile(rf"[^{_COMMAS}{_QUOTES}\n{{}}｛｝\[\]［］【】)）]*+")
_CONSTANTS = {"true": True, "false": False, "null": None, "none": None}
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][-+]?\d+)?")
WORDS = re.compile(r"(?!0[xXoObB])(?=[\d_ ./-]*[^\W\d_])\w[\w ./-]*")


def read(text: str, start: int, *, may_close: int = 0) -> tuple[Any, int]:
    """Read the object or list whose bracket is at `start`.

    Args:
        text: may go on after the value.
        start: index of the opening bracket.
        may_close: how many forgotten brackets may be added at the end of `text`.

    Returns:
        The value and the index after it.

    Raises:
        Unreadable: there is no value that stands in the text as it is.
    """
    is_long = len(text) - start > RESCUE_LIMIT_CHARACTERS
    reader = _Reader(text[start : start + RESCUE_LIMIT_CHARACTERS], 0 if is_long else may_close)
    return reader.value("array", 0), start + reader.position


def read_call(text: str, start: int) -> tuple[list[Any], dict[str, Any], int]:
    """Read what stands between the parentheses of a call.

    Args:
        text: may go on after the call.
        start: index after the opening parenthesis.

    Returns:
        Values without and with a name, and the index after the closing parenthesis.

    Raises:
        Unreadable: an argument is no literal, or the call does not end.
    """
    reader = _Reader(text[start : start + RESCUE_LIMIT_CHARACTERS], 0)
    values, named = reader.call()
    return values, named, start + reader.position


class _Reader:
    def __init__(self, text: str, may_close: int) -> None:
        self._text = text
        self._may_close = may_close
        self.position = 0

    def value(self, inside: _Inside, depth: int) -> Any:
        """Read the value at the position."""
        mark = self._next()
        kind = _OPEN.get(mark)
        if kind and depth >= DEEPEST:
            raise Unreadable("too deep")
        if kind == "object":
            return self._object(depth)
        if kind == "array":
            return self._array(depth)
        if mark and mark in _QUOTES:
            return self._string(mark, inside)
        value = self._bare()
        if inside == "call" and isinstance(value, str) and value.isascii():
            raise Refused("a variable is no value")
        return value

    def call(self) -> tuple[list[Any], dict[str, Any]]:
        """Read arguments up to the closing parenthesis."""
        values: list[Any] = []
        named: dict[str, Any] = {}
        for _ in range(MOST_CALL_ARGUMENTS):
            self._commas()
            if (mark := self._next()) and mark in _CLOSE["call"]:
                self.position += 1
                return values, named
            if key := _KEYWORD.match(self._text, self.position):
                self.position = key.end()
                named[key["bare"]] = self.value("call", 0)
            else:
                values.append(self.value("call", 0))
        raise Unreadable("too many arguments")

    def _object(self, depth: int) -> dict[str, Any]:
        self.position += 1
        doubled = 0
        while self._next() in ("{", "｛"):
            self.position += 1
            doubled += 1
            if doubled > 1:
                raise Unreadable("a key is missing")
        found: dict[str, Any] = {}
        while True:
            had_comma = self._commas()
            if self._is_closed("object", is_whole=bool(found) and not had_comma):
                if doubled and self._next() in ("}", "｝"):
                    self.position += 1
                return found
            key = _KEY.match(self._text, self.position)
            if not key:
                raise Unreadable("a key is missing")
            self.position = key.end()
            name = key["bare"] if key["quoted"] is None else key["quoted"]
            found[name] = self.value("object", depth + 1)

    def _array(self, depth: int) -> list[Any]:
        self.position += 1
        found: list[Any] = []
        while True:
            had_comma = self._commas()
            if self._is_closed("array", is_whole=bool(found) and not had_comma):
                return found
            found.append(self.value("array", depth + 1))

    def _is_closed(self, kind: _Inside, *, is_whole: bool) -> bool:
        """Pass the closing bracket; at the end of the text it may have been forgotten."""
        mark = self._next()
        if mark and mark in _CLOSE[kind]:
            self.position += 1
            return True
        if mark:
            return False
        if not is_whole or self._may_close <= 0:
            raise Unreadable("cut")
        self._may_close -= 1
        return True

    def _string(self, quote: str, inside: _Inside) -> str:
        found = _STRING[quote, inside].match(self._text, self.position + 1)
        if not found:
            raise Unreadable("a string does not end")
        written = found[1]
        if any(c in written for c in _QUOTES) and _NO_STRING.search(written):
            raise Refused("not one string")
        self.position = found.end()
        # Strict JSON knows eight escapes; any other backslash meant itself.
        return json.loads(f'"{_ESCAPE.sub(_json_escape, written)}"', strict=False)

    def _bare(self) -> Any:
        found = _BARE.match(self._text, self.position)
        written = found[0] if found else ""
        written = re.split(rf"\s(?:{_COMMENT})", written, maxsplit=1)[0].rstrip()
        if not written:
            raise Unreadable("a value is missing")
        self.position += len(written)
        if written.casefold() in _CONSTANTS:
            return _CONSTANTS[written.casefold()]
        if _NUMBER.fullmatch(written):
            return json.loads(written)
        if not WORDS.fullmatch(written) or written.casefold() in ("nan", "infinity", "undefined"):
            raise Refused("an expression is no value")
        mark = self._text[self.position : self.position + 1]
        if mark and mark not in f"{_COMMAS}\n \t}}｝]］】)）":
            raise Refused("an expression is no value")
        return written

    def _next(self) -> str:
        """Go to the next character that counts, and return it; empty at the end."""
        found = _SKIP.match(self._text, self.position)
        self.position = found.end() if found else self.position
        return self._text[self.position : self.position + 1]

    def _commas(self) -> bool:
        start = self.position
        while (mark := self._next()) and mark in _COMMAS:
            self.position += 1
            start = -1
        return start < 0


def _json_escape(found: re.Match[str]) -> str:
    written = found[0]
    if written == '"':
        return '\\"'
    if written == "\\'":
        return "'"
    if code := found["x"] or found["u"]:  # Python's escapes
        return json.dumps(chr(min(int(code, 16), 0x10FFFF)))[1:-1]
    return written if written[1] in '"\\/bfnrt' or len(written) > 2 else f"\\{written}"
