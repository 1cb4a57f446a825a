"""The wire form of pushes and passive replies: flat XML or JSON.

Pure. A document type, an entity, nesting beyond need or too many fields make a body unreadable:
nothing of that is in a push, and parsers have been broken by each.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal, NoReturn, cast
from xml.parsers import expat

Form = Literal["xml", "json"]

_MOST_FIELDS = 200
_MOST_DEPTH = 6
_MOST_FIELD_CHARACTERS = 300_000  # an encrypted body is one field


class Unreadable(Exception):
    """The body is not a push."""


def read(body: bytes) -> tuple[dict[str, str], Form]:
    """Return a push's fields as text, and in which form it came.

    Of what is nested only the top level is kept as fields; no push we use nests.

    Raises:
        Unreadable: neither form, or with what no push has.
    """
    start = body.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    if start == b"{":
        return _read_json(body), "json"
    if start == b"<":
        return _Xml().read(body), "xml"
    raise Unreadable("neither XML nor JSON")


def _read_json(body: bytes) -> dict[str, str]:
    try:
        found: Any = json.loads(body.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        raise Unreadable("not JSON") from None
    if not isinstance(found, dict):
        raise Unreadable("not an object")
    values = cast("dict[str, Any]", found)
    if len(values) > _MOST_FIELDS:
        raise Unreadable("too many fields")
    return {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in values.items()
        if isinstance(value, str | int | float) and not isinstance(value, bool)
    }


class _Xml:
    """Reads ``<xml><Name>text</Name>…</xml>``."""

    def __init__(self) -> None:
        self._parser = expat.ParserCreate()
        self._parser.buffer_text = True
        self._parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._text
        self._parser.StartDoctypeDeclHandler = _refuse
        self._parser.EntityDeclHandler = _refuse
        self._parser.UnparsedEntityDeclHandler = _refuse
        self._parser.NotationDeclHandler = _refuse
        self._parser.ExternalEntityRefHandler = _refuse
        self._parser.SkippedEntityHandler = _refuse
        self._path: list[str] = []
        self._fields: dict[str, str] = {}
        self._pieces: list[str] = []
        self._size = 0

    def read(self, body: bytes) -> dict[str, str]:
        """Return the fields below the root."""
        try:
            self._parser.Parse(body, True)
        except (expat.ExpatError, ValueError, LookupError, UnicodeError):
            raise Unreadable("not XML") from None
        return self._fields

    def _start(self, name: str, _attributes: object) -> None:
        self._path.append(name)
        if len(self._path) > _MOST_DEPTH:
            raise Unreadable("nested too deep")
        if len(self._path) == 2:
            self._pieces = []

    def _end(self, _name: str) -> None:
        name = self._path.pop()
        if len(self._path) == 1:
            # The first wins: a second field of the same name is somebody's trick.
            self._fields.setdefault(name, "".join(self._pieces).strip())
            if len(self._fields) > _MOST_FIELDS:
                raise Unreadable("too many fields")

    def _text(self, text: str) -> None:
        if len(self._path) == 2:
            self._size += len(text)
            if self._size > _MOST_FIELD_CHARACTERS:
                raise Unreadable("too long")
            self._pieces.append(text)


def _refuse(*_what: object) -> NoReturn:
    raise Unreadable("document types and entities are refused")


def write(fields: Mapping[str, str | int | Mapping[str, str]], form: Form) -> bytes:
    """Return fields as a body in the wanted form."""
    if form == "json":
        return json.dumps(fields, ensure_ascii=False).encode()
    return f"<xml>{_elements(fields)}</xml>".encode()


def _elements(fields: Mapping[str, Any]) -> str:
    parts: list[str] = []
    for name, value in fields.items():
        if isinstance(value, Mapping):
            inner = _elements(cast("Mapping[str, Any]", value))
        elif isinstance(value, int):
            inner = str(value)
        else:
            # The end mark of a CDATA section cannot be inside one: it is split over two.
            inner = "<![CDATA[" + str(value).replace("]]>", "]]]]><![CDATA[>") + "]]>"
        parts.append(f"<{name}>{inner}</{name}>")
    return "".join(parts)
