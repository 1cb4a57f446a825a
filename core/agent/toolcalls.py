"""Finds the tool calls in what a model said, in whatever form it said them.

Native calls come first; what the server's parser left in the text is read here: InternLM, Qwen,
Qwen3-Coder, Llama 3, DeepSeek, GLM, Kimi and ReAct forms, fenced or bare JSON. Pure functions.

Policies: an unknown name is no call; a call cut off at the end is never run; the same call counts
once; a result the model invented ends the text; calls are read from thoughts only when nothing
else was said.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, cast

from core.agent import literals
from core.agent.callshapes import (
    MOST_CALLS,
    Call,
    Found,
    Names,
    as_arguments,
    read_native,
    read_value,
)
from core.ports import ToolCall, ToolSpec

# A whole answer has at most a few thousand tokens; what lies beyond was not written by our rules.
_LONGEST_TEXT = 32 << 10
_MOST_OBJECTS = 32
_MOST_FORGOTTEN = 4  # brackets


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a model said.

    Attributes:
        text: what a person may read, without calls, thoughts and markers.
        calls: what it wants to run, in its order.
        has_broken: it tried to call but the call could not be read or names no tool.
    """

    text: str
    calls: tuple[Call, ...] = ()
    has_broken: bool = False


def parse(text: str, native: Sequence[ToolCall], tools: Sequence[ToolSpec]) -> Parsed:
    """Read one answer.

    Args:
        text: the content, raw or without thoughts.
        native: what the server's own parser found; its arguments may be broken JSON.
        tools: what was offered; nothing else can be called.
    """
    is_overlong = len(text) > _LONGEST_TEXT
    answer, thoughts = _without_thoughts(text[:_LONGEST_TEXT])
    names = Names(tools)
    found = Found()
    for call in native:
        read_native(call, names, found)
    scan = _Scan(_until_invented_result(answer), names, is_cut=is_overlong)
    scan.run()
    visible = _tidy(scan.remaining())
    if not found.calls:
        found.add_all(scan.found)
    if not found.calls and not visible and thoughts:
        thought = _Scan(_until_invented_result(thoughts), names, is_cut=is_overlong)
        thought.run()
        found.add_all(thought.found)
    return Parsed(visible, tuple(found.calls[:MOST_CALLS]), found.has_broken and not found.calls)


def showable(text: str) -> str:
    """Return the part of a growing answer that surely is no call, to be shown meanwhile."""
    text = text[:_LONGEST_TEXT]
    found = _SUSPICION.search(text)
    text = text[: found.start()] if found else text
    before, _, line = text.rpartition("\n")
    start = line.strip(" \t*#").casefold()
    if start and any(word.startswith(start) for word in _FRAME_WORDS):
        return before.rstrip()
    return text.rstrip()


# ReAct's words at the start of a line; a growing line may still become one of them.
_FRAME_WORDS = ("thought", "action", "final answer", "思考", "行动", "动作")
_SUSPICION = re.compile(
    r"<(?:[|｜/a-zA-Z_]|$)|\{|```|`{1,2}$|\[(?:T|$)"
    rf"|^[ \t*#]*(?:{'|'.join(_FRAME_WORDS)})",
    re.MULTILINE | re.IGNORECASE,
)


# --- scanning --------------------------------------------------------------------------------

_BAR = r"[|｜]"
_GAP = r"[_▁ ]"
_TAG = re.compile(
    rf"(?P<plugin><\|action_start\|>\s*<\|plugin\|>)"
    rf"|(?P<interpreter><\|action_start\|>\s*<\|interpreter\|>)"
    rf"|(?P<block><tool_call>|<function_call>|<\|tool_call\|>|\[TOOL_CALLS?\])"
    rf"|(?P<python><\|python_tag\|>)"
    rf"|(?P<deep><{_BAR}tool{_GAP}call{_GAP}begin{_BAR}>)"
    rf"""|(?P<xml><(?:{_BAR}DSML{_BAR})?(?:function\s*=|invoke\s+name\s*=|function\s+name\s*=))"""
)
# What ends a block: its own end tag, or the start of the next one.
_BLOCK_END = re.compile(
    rf"<\|action_end\|>|</tool_call>|</function_call>|<{_BAR}tool{_GAP}call{_GAP}end{_BAR}>"
)
_MARKER = re.compile(
    rf"<\|[a-z_]+\|>|</?(?:tool_call|function_call|tool_response|function|parameter|think)>"
    rf"|</?{_BAR}[^<>\n]{{1,40}}{_BAR}[^<>\n]{{0,40}}>|</?arg_(?:key|value)>|\[/?TOOL_CALLS?\]"
)
_FENCE = re.compile(r"```[^\n`]*\n(.*?)(?:```|\Z)", re.DOTALL)
_ACTION = re.compile(
    r"^[ \t*#>-]*(?:Action|动作|行动)[ \t*]*[:：][ \t*]*(.*)$", re.MULTILINE | re.IGNORECASE
)
_ACTION_INPUT = re.compile(
    r"\s*[ \t*#>-]*(?:Action[ _]?Input|动作输入|行动输入|参数)[ \t*]*[:：][ \t*]*", re.IGNORECASE
)
_NEXT_LINE = re.compile(
    r"^[ \t*#>-]*(?:Thought|Action|Observation|Final Answer|思考|动作|行动)[ \t*]*[:：]",
    re.MULTILINE | re.IGNORECASE,
)
_FINAL = re.compile(r"^[ \t*#]*(?:Final Answer|最终答案|最终回答)[ \t*]*[:：]", re.MULTILINE | re.I)
_THOUGHT = re.compile(
    r"^[ \t*#]*(?:Thought|思考)[ \t*]*[:：].*?"
    r"(?=^[ \t*#]*(?:Action|动作|行动|Final Answer|最终答案)|\Z)",
    re.MULTILINE | re.IGNORECASE | re.DOTALL,
)
_INVENTED = re.compile(
    r"^[ \t*#]*(?:Observation|Response|Tool Response|观察|返回结果)[ \t*]*[:：]",
    re.MULTILINE | re.IGNORECASE,
)


def _without_thoughts(text: str) -> tuple[str, str]:
    """Split off what stands between think tags; an opened thought never ends."""
    answer: list[str] = []
    thoughts: list[str] = []
    first_close, first_open = text.find("</think>"), text.find("<think>")
    if first_close >= 0 and (first_open < 0 or first_close < first_open):
        thoughts.append(text[:first_close])  # the template had opened it
        text = text[first_close + 8 :]
    for n, part in enumerate(text.split("<think>")):
        if n == 0:
            answer.append(part)
            continue
        thought, tag, rest = part.partition("</think>")
        thoughts.append(thought)
        answer.append(rest if tag else "")
    return "".join(answer).replace("</think>", ""), "\n".join(thoughts)


def _until_invented_result(text: str) -> str:
    """Cut where the model starts to write a tool's result itself."""
    text = text.partition("<tool_response>")[0]
    call = re.search(rf"{_TAG.pattern}|{_ACTION.pattern}", text, re.MULTILINE | re.IGNORECASE)
    if call and (found := _INVENTED.search(text, call.end())):
        return text[: found.start()]
    return text


def _tidy(text: str) -> str:
    """Remove left-over markers and the ReAct frame around an answer."""
    if final := _FINAL.search(text):
        text = text[final.end() :]
        if action := _ACTION.search(text):
            text = text[: action.start()]
    elif _ACTION.search(text) or _THOUGHT.match(text):
        text = _THOUGHT.sub("", text)
    text = _MARKER.sub("", text)
    return re.sub(r"\n{3,}", "\n\n", re.sub(r"```[a-z]*\s*```", "", text)).strip()


class _Scan:
    """One pass over a text, tagged blocks first, then ReAct lines, then JSON on its own."""

    def __init__(self, text: str, names: Names, *, is_cut: bool) -> None:
        self._text = text
        self._names = names
        self._is_cut = is_cut
        self._taken: list[tuple[int, int]] = []
        self.found = Found()

    def run(self) -> None:
        """Fill `found`."""
        for step in (self._tagged, self._react, self._bare):
            step()
            if self.found.calls:
                break

    def remaining(self) -> str:
        """Return the text without what was taken as a call."""
        parts: list[str] = []
        position = 0
        for start, end in sorted(self._taken):
            parts.append(self._text[position:start])
            position = max(position, end)
        parts.append(self._text[position:])
        return "".join(parts)

    def _tagged(self) -> None:
        position = 0
        for _ in range(_MOST_OBJECTS):
            opening = _TAG.search(self._text, position)
            if not opening:
                return
            kind = opening.lastgroup or ""
            body_start = opening.start() if kind == "xml" else opening.end()
            body, end, is_ended = self._body(kind, body_start)
            readers: dict[str, Callable[[str, bool], bool]] = {
                "interpreter": _skip,
                "deep": self._read_deepseek,
                "xml": self._read_xml,
                "python": self._read_python,
            }
            read = readers.get(kind, self._read_block)
            n_before = len(self.found.calls)
            is_call = read(body, is_ended and not self._is_cut)
            if len(self.found.calls) > n_before or is_call:
                self._taken.append((opening.start(), end))
            elif "{" in body or "<" in body:
                self.found.has_broken = True
                self._taken.append((opening.start(), end))
            position = max(end, opening.end())

    def _body(self, kind: str, start: int) -> tuple[str, int, bool]:
        """Return a block's inside, where it ends, and whether the model ended it."""
        if kind == "xml":
            return self._xml_body(start)
        if kind == "python":
            return self._text[start:], len(self._text), False
        ending = _BLOCK_END.search(self._text, start)
        # A block that was not closed ends where the next begins; GLM sometimes repeats the
        # opening tag where <arg_key> belongs, and Qwen3-Coder nests, so those are no next block.
        for following in _TAG.finditer(self._text, start):
            if ending and following.start() > ending.start():
                break
            between = self._text[start : following.start()]
            if following.lastgroup == "xml" or not between.strip():
                continue
            if kind == "block" and not between.lstrip().startswith(("{", "[")):
                continue
            return between, following.start(), True
        if ending is None:
            return self._text[start:], len(self._text), False
        return self._text[start : ending.start()], ending.end(), True

    def _xml_body(self, start: int) -> tuple[str, int, bool]:
        ending = _XML_END.search(self._text, start)
        following = _TAG.search(self._text, start + 1)
        if following and (ending is None or following.start() < ending.start()):
            return self._text[start : following.start()], following.start(), True
        if ending is None:
            return self._text[start:], len(self._text), False
        return self._text[start : ending.start()], ending.end(), True

    # Each reader takes a block's inside and whether the model ended it, adds the calls it finds,
    # and tells whether the block was a call at all.

    def _read_block(self, body: str, is_ended: bool) -> bool:
        starts = [m.start() for m in _TAG.finditer(body) if m.lastgroup == "xml"]
        if starts:
            pieces = [body[a:b] for a, b in pairwise([*starts, len(body)])]
            meant = [self._read_xml(piece, is_ended) for piece in pieces]
            return any(meant)
        if "</arg_key>" in body or "<arg_value>" in body:
            return self._read_glm(body, is_ended)
        brace = _first(body, "{[")
        head = _NAME_TAG.sub(r" \2 ", body[: brace if brace >= 0 else len(body)])
        name = self._names.find(_MARKER.sub("", head).strip(" \n\t`:：(=>"))
        if brace < 0:
            if name and is_ended:
                self.found.add(name, {})
            return bool(name)
        if name is None:
            return self._read_objects(body[brace:], is_ended)
        for value in self._objects(body[brace:], is_ended):
            n_before = len(self.found.calls)
            if isinstance(value, dict) and not read_value(
                cast("object", value), self._names, self.found, is_tagged=False
            ):
                self.found.add(name, cast("dict[str, Any]", value))
            return len(self.found.calls) > n_before
        return False

    def _read_objects(self, body: str, is_ended: bool) -> bool:
        values = self._objects(body, is_ended, is_whole=True)
        meant = [read_value(v, self._names, self.found, is_tagged=True) for v in values]
        return any(meant)

    def _objects(self, body: str, is_ended: bool, *, is_whole: bool = False) -> Iterator[Any]:
        """Yield the JSON objects at the start of `body`, one after the other.

        Brackets the model forgot are added if it ended the block itself. In a block that is still
        open only the last brace of a whole call (`is_whole`: name and arguments) may be missing,
        because then its arguments are complete.
        """
        position = 0
        for _ in range(MOST_CALLS):
            start = body.find("{", position)
            if start < 0:
                return
            end = literals.object_end(body, start)
            if end is not None:
                rest, may_close = body[start:end], 0
            else:
                end, rest = len(body), _MARKER.sub("", body[start:]).strip().rstrip("`").strip()
                may_close = _MOST_FORGOTTEN if is_ended else int(is_whole and not self._is_cut)
                if not is_ended and not rest.endswith("}"):
                    return
            try:
                yield literals.loads(rest, may_close=may_close)
            except literals.Unreadable:
                return
            position = end

    def _read_python(self, body: str, is_ended: bool) -> bool:
        if body.lstrip().startswith(("{", "[{")):
            return self._read_objects(body, is_ended)
        return self._read_python_call(body.strip())

    def _read_deepseek(self, body: str, is_ended: bool) -> bool:
        parts = re.split(
            rf"<{_BAR}tool{_GAP}(?:sep|call{_GAP}argument{_GAP}begin){_BAR}>", body, maxsplit=1
        )
        if len(parts) < 2:
            return self._read_block(body, is_ended)
        left, right = parts[0].strip(), parts[1].lstrip()
        brace = right.find("{")
        named = right[: brace if brace >= 0 else len(right)].split("\n")[0]
        name = self._names.find(named if left == "function" else left)
        if name is None:
            self.found.has_broken = True
            return True
        for value in self._objects(right, is_ended):
            if (arguments := as_arguments(value)) is not None:
                self.found.add(name, arguments)
            return True
        if brace < 0 and is_ended:
            self.found.add(name, {})
        return True

    def _read_xml(self, body: str, is_ended: bool) -> bool:
        opening = _XML_OPEN.match(body)
        name = self._names.find(opening["name"]) if opening else None
        if name is None or opening is None:
            return False
        inside = body[opening.end() :]
        pieces = _XML_PARAMETER.split(inside)
        if len(pieces) == 1:
            if "{" in inside:
                for value in self._objects(inside, is_ended):
                    if (given := as_arguments(value)) is not None:
                        self.found.add(name, given)
                    return True
                return False
            if is_ended and not inside.strip():
                self.found.add(name, {})
            return True
        arguments: dict[str, Any] = {}
        for n, piece in enumerate(pieces[1:], 2):
            found = _XML_KEY.match(piece)
            if not found:
                return False
            ending = _XML_VALUE_END.search(piece, found.end())
            if not ending and n == len(pieces) and not is_ended:
                self.found.has_broken = True
                return True  # cut inside a value
            value = piece[found.end() : ending.start() if ending else None]
            value = value.removeprefix("\n").removesuffix("\n")
            is_text = (found["is_text"] or "") == "true"
            key = found["key"].strip("\"' ")
            arguments[key] = value if is_text else self._names.typed(name, key, value)
        self.found.add(name, arguments)
        return True

    def _read_glm(self, body: str, is_ended: bool) -> bool:
        pieces = _GLM_TAG.split(body)
        name = self._names.find(pieces[0])
        if name is None:
            self.found.has_broken = True
            return True
        arguments: dict[str, Any] = {}
        key: str | None = None
        for n, piece in enumerate(pieces[1:], 1):
            following = pieces[n + 1] if n + 1 < len(pieces) else ""
            if _GLM_TAG.fullmatch(piece) or not piece.strip():
                continue
            if following == "</arg_key>" or (following == "<arg_value>" and key is None):
                key = piece.strip()
            elif key is not None:
                if not following and not is_ended:
                    self.found.has_broken = True
                    return True  # cut inside a value
                is_tight = following == "</arg_value>" and pieces[n - 1] == "<arg_value>"
                value = piece if is_tight else piece.strip()
                arguments[key] = self._names.typed(name, key, value)
                key = None
        if key is not None:
            self.found.has_broken = True
        else:
            self.found.add(name, arguments)
        return True

    def _react(self) -> None:
        final = _FINAL.search(self._text)
        until = final.start() if final else len(self._text)
        fenced = [m.span() for m in _FENCE.finditer(self._text)]
        for action in _ACTION.finditer(self._text, 0, until):
            if any(start < action.start() < end for start, end in fenced):
                continue
            end = self._read_action(action)
            if end:
                self._taken.append((action.start(), end))

    def _read_action(self, action: re.Match[str]) -> int | None:
        """Read one ``Action:`` and return where it ends, or None when it names no tool."""
        line = action[1].strip().strip("*`").strip()
        following = _NEXT_LINE.search(self._text, action.end())
        section_end = following.start() if following else len(self._text)
        if line.startswith(("{", "```")) or not line:
            blob = self._text[action.start(1) : section_end]
            brace = blob.find("{")
            is_call = brace >= 0 and self._read_objects(blob[brace:], is_ended=False)
            return section_end if is_call else None
        name = self._names.find(line)
        if name is None:
            return action.end() if self._read_python_call(line) else None
        given = _ACTION_INPUT.match(self._text, action.end())
        if given is None:
            if not self._names.properties(name):
                self.found.add(name, {})
            return action.end()
        # "Action Input" starts with "Action" itself, so the next line is looked for behind it.
        following = _NEXT_LINE.search(self._text, given.end())
        section_end = following.start() if following else len(self._text)
        self._read_action_input(name, self._text[given.end() : section_end])
        return section_end

    def _read_action_input(self, name: str, written: str) -> None:
        brace = written.find("{")
        if brace >= 0:
            for value in self._objects(written[brace:], is_ended=False):
                if (arguments := as_arguments(value)) is not None:
                    self.found.add(name, arguments)
                return
            self.found.has_broken = True
            return
        plain = written.strip().strip("`\"'").strip()
        properties = self._names.properties(name)
        if not properties or not plain:
            self.found.add(name, {})
        elif len(properties) == 1:
            key = next(iter(properties))
            self.found.add(name, {key: self._names.typed(name, key, plain.split("\n")[0])})
        else:
            self.found.has_broken = True

    def _read_python_call(self, text: str) -> bool:
        """Read ``name({...})`` or ``name(key="value")``."""
        opening = re.match(r"\[?\s*([\w.:-]{1,100})\s*[(（]", text)
        name = self._names.find(opening[1]) if opening else None
        if name is None or opening is None:
            return False
        inside = text[opening.end() :]
        if inside.lstrip().startswith("{"):
            for value in self._objects(inside, is_ended=False):
                self.found.add(name, value)
                return True
            return False
        arguments = _keywords(inside)
        if arguments is not None:
            self.found.add(name, arguments)
        return arguments is not None

    def _bare(self) -> None:
        position = 0
        for _ in range(_MOST_OBJECTS):
            start = self._text.find("{", position)
            if start < 0:
                return
            end = literals.object_end(self._text, start)
            if end is None:
                # What lies inside an unfinished object is not a call of its own.
                rest = self._text[start:].strip().rstrip("`").strip()
                if not rest.endswith("}") or self._is_cut or not _CALL_LIKE.match(rest):
                    if _CALL_LIKE.match(rest):
                        self.found.has_broken = True
                        self._taken.append((start, len(self._text)))
                    return
                end = len(self._text)
            else:
                rest = self._text[start:end]
            position = end
            try:
                value = literals.loads(rest, may_close=1)
            except literals.Unreadable:
                continue
            if read_value(value, self._names, self.found, is_tagged=False):
                self._taken.append((start, end))


_NAME_TAG = re.compile(r"<(function|tool|tool_name|name)>([^<>]{1,100})</\1>")
_CALL_LIKE = re.compile(r"""\{+\s*["'“]?(?:name|tool|tool_name|function|type|action)\b""")
_XML_OPEN = re.compile(
    rf"""<(?:{_BAR}DSML{_BAR})?(?:function\s*=|invoke\s+name\s*=|function\s+name\s*=)"""
    r"""\s*["']?(?P<name>[^"'<>\n]{1,200})["']?\s*(?:>|\n|(?=<))"""
)
_XML_END = re.compile(rf"</(?:{_BAR}DSML{_BAR})?(?:function|invoke)>|</tool_call>")
_XML_PARAMETER = re.compile(rf"<(?:{_BAR}DSML{_BAR})?parameter(?:\s*=|\s+name\s*=)")
_XML_KEY = re.compile(
    r"""\s*(?P<key>"[^"\n]{1,100}"|'[^'\n]{1,100}'|[^\s<>"']{1,100})"""
    r"""(?:\s+string\s*=\s*["'](?P<is_text>true|false)["'])?[ \t]*(?:>|(?=\n))"""
)
_XML_VALUE_END = re.compile(rf"</(?:{_BAR}DSML{_BAR})?(?:parameter|function|invoke)>")
_GLM_TAG = re.compile(r"(</?arg_key>|</?arg_value>|<tool_call>)")


def _skip(body: str, is_ended: bool) -> bool:
    """Take code for an interpreter we do not have out of the text."""
    return True


def _first(text: str, characters: str) -> int:
    return min((n for c in characters if (n := text.find(c)) >= 0), default=-1)


def _keywords(inside: str) -> dict[str, Any] | None:
    """Return literal keyword arguments of a Python-like call, or None."""
    end = max(inside.rfind(")"), inside.rfind("）"))
    if end < 0 or end > 4096:
        return None
    try:
        tree = ast.parse(f"f({inside[:end]})", mode="eval").body
        if not isinstance(tree, ast.Call) or tree.args:
            return None
        return {k.arg: literals.loads(ast.unparse(k.value)) for k in tree.keywords if k.arg}
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
