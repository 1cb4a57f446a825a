"""Tool calls as nested tags: Qwen3-Coder, DeepSeek V3.2's DSML, GLM-4.5."""

from __future__ import annotations

import re
import textwrap
from itertools import islice
from typing import Any

from core.agent import literals
from core.agent.callshapes import Found, as_arguments
from core.agent.schema import folded
from core.agent.written import Written

_DSML = r"(?:[|｜‖]{1,2}DSML[|｜‖]{1,2})?"
FUNCTION = (
    rf"<{_DSML}(?i:function\s*=|(?:invoke|function|tool_call|tool)\s+name\s*="
    r"|function\s(?=[\w.-]{1,100}>)|funcname>)"
)
_NAMED_END = r"(?:\s*=[^<>\n]{0,100})?>"
END = re.compile(rf"</{_DSML}(?:function|invoke){_NAMED_END}|</tool_call>", re.IGNORECASE)
_OPEN = re.compile(
    rf"""{FUNCTION}\s*["']?(?P<name>[^"'<>\n({{]{{1,200}})["']?"""
    r"""\s*(?:>|\n|(?=[<({])|(?:arg(?:ument)?s|parameters|input)\s*=\s*)"""
)
_PARAMETER = re.compile(rf"<{_DSML}parameter(?:\s*=|\s+name\s*=)", re.IGNORECASE)
_KEY = re.compile(
    r"""\s*(?P<key>"[^"\n]{1,100}"|'[^'\n]{1,100}'|[^\s<>"']{1,100})"""
    r"""(?:\s+string\s*=\s*["'](?P<is_text>true|false)["'])?"""
    r"""(?:\s+value\s*=\s*"(?P<value>[^"\n]{0,2000})"\s*/?)?[ \t]*(?:>|(?=\n))"""
)
_VALUE_END = re.compile(rf"</{_DSML}(?:parameter|function|invoke){_NAMED_END}", re.IGNORECASE)
_CDATA = re.compile(r"\s*<!\[CDATA\[(.*)\]\]>\s*", re.DOTALL)
_CHILD = re.compile(r"<(\w{1,60})>")
_MOST_CHILDREN = 16
_INDENTED_END = re.compile(r"\n[ \t]+\Z")
_GLM_TAG = re.compile(r"</?arg_key>|</?arg_value>|<tool_call>")


def read_xml(body: Written, found: Found, *, is_ended: bool) -> bool:
    """Add ``<function=NAME><parameter=KEY>value</parameter></function>``."""
    opening = _OPEN.match(body.text)
    name = found.names.find(opening["name"]) if opening else None
    if name is None or opening is None:
        return False
    return read_parameters(name, body.part(opening.end()), found, is_ended=is_ended)


def read_parameters(name: str, body: Written, found: Found, *, is_ended: bool) -> bool:
    """Add a call whose name was read, with ``<parameter=KEY>`` or another form of arguments."""
    starts = [m.span() for m in _PARAMETER.finditer(body.mask)]
    if not starts:
        return _read_inside(name, body, found, is_ended=is_ended)
    arguments: dict[str, Any] = {}
    ends = [start for start, _ in starts[1:]] + [len(body.mask)]
    for (_, start), end in zip(starts, ends, strict=True):
        key = _KEY.match(body.text, start, end)
        if not key:
            return False
        written = key["key"].strip("\"' ")
        if key["value"] is not None:
            arguments[written] = found.names.typed(name, written, key["value"])
            continue
        ending = _VALUE_END.search(body.mask, key.end(), end)
        if not ending and end == len(body.mask) and not is_ended:
            found.has_broken = True
            return True  # cut inside a value
        value = body.text[key.end() : ending.start() if ending else end]
        if value.rstrip().endswith(own_end := f"</{written}>"):
            value = value.rstrip().removesuffix(own_end)
        value = _laid_out(value)
        is_text = (key["is_text"] or "") == "true"
        arguments[written] = value if is_text else found.names.typed(name, written, value)
    found.add(name, arguments)
    return True


def _laid_out(value: str) -> str:
    """Take off the line breaks around a value, and the indentation when its tags are indented."""
    if data := _CDATA.fullmatch(value):
        return data[1]
    if _INDENTED_END.search(value):
        value = textwrap.dedent(value.removeprefix("\n").rstrip())
    return value.removeprefix("\n").removesuffix("\n")


def _read_inside(name: str, inside: Written, found: Found, *, is_ended: bool) -> bool:
    """Add a call whose arguments are JSON, or that has none."""
    if (given := _elements(name, inside, found)) is not None:
        found.add(name, given)
        return True
    if "<arg_key>" in inside.mask:
        glm = Written(f"{name}{inside.text}", f"{name}{inside.mask}")
        return read_glm(glm, found, is_ended=is_ended)
    brace = inside.mask.find("{")
    if brace < 0:
        if is_ended and not _VALUE_END.sub("", inside.mask).strip():
            found.add(name, {})
        return True
    try:
        value, _ = found.read(inside.text, brace, may_close=int(is_ended))
    except literals.Unreadable:
        return False
    if (given := as_arguments(value)) is not None:
        found.add(name, given)
    return True


def _elements(name: str, inside: Written, found: Found) -> dict[str, Any] | None:
    """Return arguments written as ``<key>value</key>``, if all are known to the tool."""
    given = _children(inside)
    known = {folded(key) for key in found.names.properties(name)}
    if not given or not {folded(tag) for tag, _ in given} <= known:
        return None
    return {tag: found.names.typed(name, tag, _laid_out(value)) for tag, value in given}


def read_children(body: Written, found: Found, *, is_ended: bool) -> bool:
    """Add ``<name>NAME</name><arguments>…</arguments>``, with JSON or tags as arguments."""
    children = {folded(tag): inside for tag, inside in _children(body)}
    written = next(
        (children[key] for key in ("name", "toolname", "action", "tool") if key in children), None
    )
    key = next((k for k in _ARGUMENTS if k in children), None)
    name = found.names.find(written)
    if name is None or key is None:
        return False
    inside = Written.of(children[key])
    if "{" in inside.mask:
        return _read_inside(name, inside, found, is_ended=is_ended)
    arguments = {
        tag: found.names.typed(name, tag, value.strip()) for tag, value in _children(inside)
    }
    if arguments or not inside.text.strip():
        found.add(name, arguments)
        return True
    return False


_ARGUMENTS = ("arguments", "parameters", "args", "input", "actioninput", "toolinput")


def read_declared(written: Written, found: Found) -> list[tuple[int, int]]:
    """Add calls in tags of the tools' own names, ``<NAME>arguments</NAME>``; return their spans."""
    taken: list[tuple[int, int]] = []
    for tag in islice(_CHILD.finditer(written.mask), 2 * _MOST_CHILDREN):
        end = written.mask.find(f"</{tag[1]}>", tag.end())
        if (
            tag[1] in found.names.specs
            and end >= 0
            and tag.start() >= max(taken, default=(0, 0))[1]
        ):
            inside = written.part(tag.end(), end)
            is_call = inside.mask.lstrip().startswith(("{", "<")) or not inside.mask.strip()
            if is_call and _read_inside(tag[1], inside, found, is_ended=True):
                taken.append((tag.start(), end + len(tag[1]) + 3))
    return taken


def _children(written: Written) -> list[tuple[str, str]]:
    """Return tag and inside of the elements at the top."""
    children: list[tuple[str, str]] = []
    position = 0
    while len(children) < _MOST_CHILDREN and (tag := _CHILD.search(written.mask, position)):
        end = written.mask.find(f"</{tag[1]}>", tag.end())
        if end < 0:
            break
        children.append((tag[1], written.text[tag.end() : end]))
        position = end
    return children


def read_glm(body: Written, found: Found, *, is_ended: bool) -> bool:
    """Add ``NAME<arg_key>k</arg_key><arg_value>v</arg_value>``; any one tag may be missing."""
    pieces, tags = _glm_pieces(body)
    if tags[0] == "</arg_key>" and (parts := found.names.split(pieces[0])):
        pieces, tags = [*parts, *pieces[1:]], ["<arg_key>", *tags]  # its opening tag is missing
    while len(tags) > 1 and tags[0] == "<tool_call>" and not pieces[0].strip():
        pieces, tags = pieces[1:], tags[1:]
    name = found.names.find(re.sub(r"</?\w{1,20}>", "", pieces[0]))
    if name is None:
        found.has_broken = True
        return True
    arguments: dict[str, Any] = {}
    key: str | None = None
    # tags[n] stands between pieces[n] and pieces[n + 1].
    for n, piece in enumerate(pieces[1:], 1):
        before, after = tags[n - 1], tags[n] if n < len(tags) else ""
        if not piece.strip():
            continue
        is_key = after == "<arg_value>" or before == "<arg_key>"
        if after == "</arg_key>" or (is_key and key is None):
            key = piece.strip()
        elif key is not None:
            if not after and not is_ended:
                found.has_broken = True
                return True  # cut inside a value
            is_tight = before == "<arg_value>" and after == "</arg_value>"
            arguments[key] = found.names.typed(name, key, piece if is_tight else piece.strip())
            key = None
    if key is not None:
        found.has_broken = True
    else:
        found.add(name, arguments)
    return True


def _glm_pieces(body: Written) -> tuple[list[str], list[str]]:
    pieces: list[str] = []
    tags: list[str] = []
    position = 0
    for tag in _GLM_TAG.finditer(body.mask):
        pieces.append(body.text[position : tag.start()])
        tags.append(tag[0])
        position = tag.end()
    return [*pieces, body.text[position:]], tags
