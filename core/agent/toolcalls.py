"""Finds the tool calls in what a model said, in whatever form it said them.

Native calls come first; what the server's parser left in the text is read here: blocks between
tags (`callblocks`, `callxml`), ReAct lines and call syntax (`calllines`), JSON on its own. Pure
functions.

Policies: an unknown name is no call; a call cut off at the end is never run; the same call counts
once; a result the model invented ends the text; calls are read from thoughts only when nothing
else was said; a call that is only quoted as an example is none.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass

from core.agent import callblocks, calllines, callxml, literals
from core.agent.callshapes import MOST_CALLS, Call, Found, Names, read_native, read_value
from core.agent.written import Written, inner, is_example, is_within, quoted, thoughts
from core.ports import ToolCall, ToolSpec

__all__ = ["Call", "Parsed", "parse", "showable"]

# A whole answer has at most a few thousand tokens; what lies beyond was not written by our rules.
_LONGEST_TEXT = 32 << 10
_MOST_OBJECTS = 32


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
    is_cut = len(text) > _LONGEST_TEXT
    names = Names(tools)
    found = Found(names)
    for call in native:
        read_native(call, found)
    written = Written.of(text[:_LONGEST_TEXT])
    rest, scanned = _scan(written, names, is_cut=is_cut)
    if not scanned.calls and _ESCAPED.search(written.text):
        plain = Written.of(html.unescape(written.text))
        unescaped, again = _scan(plain, names, is_cut=is_cut)
        if again.calls:
            rest, scanned = unescaped, again
    visible = _tidy(rest)
    if not found.calls:
        found.add_all(scanned)
    if not found.calls and not visible:
        found.add_all(_scan(inner(written), names, is_cut=is_cut)[1])
    return Parsed(visible, tuple(found.calls[:MOST_CALLS]), found.has_broken and not found.calls)


# Markup that went through HTML: {&quot;name&quot;: …}, &lt;tool_call&gt;
_ESCAPED = re.compile(r"[{\[]\s*&(?:quot|apos|#0?3[49]|#x2[27]);|&lt;(?:tool_call|function|\|)")


def _scan(written: Written, names: Names, *, is_cut: bool) -> tuple[str, Found]:
    """Return the text without calls and thoughts, and what was found.

    Blocks between tags come first, then ReAct lines, then JSON and call syntax on their own.
    """
    found = Found(names)
    written = _until_invented_result(written.without(thoughts(written)))

    def read_objects(body: Written, found: Found) -> bool:
        return callblocks.read_objects(body, found, is_ended=False, is_cut=is_cut)

    taken = callblocks.read_blocks(written, found, is_cut=is_cut)
    if not found.calls and not quoted(written):
        taken += callxml.read_declared(written, found)
        if not found.calls and callxml.read_children(written, found, is_ended=True):
            taken.append((written.mask.find("<"), written.mask.rfind(">") + 1))
    if not found.calls:
        taken += calllines.read_react(written, found, read_objects)
    if not found.calls:
        taken += _read_bare(written, found, is_cut=is_cut)
    if not found.calls:
        taken += calllines.read_calls(written, found)
    return written.without(taken).text, found


def _until_invented_result(written: Written) -> Written:
    """Cut where the model starts to write a tool's result itself."""
    calls = (callblocks.TAG.search(written.mask), calllines.ACTION.search(written.mask))
    starts = [call.end() for call in calls if call]
    brace = _BRACE.search(written.mask)
    if brace:
        starts.append(brace.end())
    if starts and (invented := calllines.INVENTED.search(written.mask, min(starts))):
        return written.part(0, invented.start())
    return written


_BRACE = re.compile(r"[{｛]")
_CALL_LIKE = re.compile(
    r"""[{｛]+\s*["'“‘\\]*(?:name|tool|tool_name|function|function_call|type|action)\b""", re.I
)


def _read_bare(written: Written, found: Found, *, is_cut: bool) -> list[tuple[int, int]]:
    """Add calls written as JSON that stands on its own; return their spans."""
    taken: list[tuple[int, int]] = []
    examples = quoted(written)
    position = 0
    for _ in range(_MOST_OBJECTS):
        brace = _BRACE.search(written.mask, position)
        if not brace:
            break
        start = brace.start()
        try:
            value, position = found.read(written.text, start)
        except literals.Unreadable:
            end = literals.object_end(written.text, start)
            if end is None:
                # What lies inside an unfinished object is not a call of its own.
                rest = written.text[start:].strip().rstrip("`").strip()
                if _CALL_LIKE.match(rest):
                    taken.append((start, len(written.text)))
                    if is_cut or not _read_open(rest, found):
                        found.has_broken = True
                break
            position = end
            continue
        if is_within(start, examples) or is_example(written, start):
            continue
        if read_value(value, found, is_tagged=False):
            taken.append((start, position))
        elif (named := calllines.read_headed(value, written, start, found)) is not None:
            taken.append((named, position))
    return taken


def _read_open(rest: str, found: Found) -> bool:
    """Read a whole call whose last brace was forgotten."""
    if not rest.endswith(("}", "｝")):
        return False
    try:
        value, _ = found.read(rest, 0, may_close=1)
    except literals.Unreadable:
        return False
    return read_value(value, found, is_tagged=False)


def _tidy(text: str) -> str:
    """Remove left-over markers and the ReAct frame around an answer."""
    if final := calllines.FINAL.search(text):
        text = text[final.end() :]
        if action := calllines.ACTION.search(text):
            text = text[: action.start()]
    elif calllines.ACTION.search(text) or calllines.THOUGHT.match(text):
        text = calllines.THOUGHT.sub("", text)
    text = callblocks.MARKER.sub("", text)
    return re.sub(r"\n{3,}", "\n\n", re.sub(r"```[a-z_]*\s*```", "", text)).strip()


def showable(text: str) -> str:
    """Return the part of a growing answer that surely is no call, to be shown meanwhile.

    A word that still grows is held back, since it may become a tool's name.
    """
    text = text[:_LONGEST_TEXT]
    found = _SUSPICION.search(text)
    text = text[: found.start()] if found else text
    before, _, line = text.rpartition("\n")
    start = line.strip(" \t*#>-\ufeff\u200b").casefold()
    if start and any(word.startswith(start) for word in _FRAME_WORDS):
        return before.rstrip()
    return text.rstrip()


# ReAct's words at the start of a line; a growing line may still become one of them.
_FRAME_WORDS = ("thought", "action", "final answer", "tool:", "思考", "行动", "动作")
_SUSPICION = re.compile(
    # the markup itself, also where it may just begin
    r"<(?:[|｜/a-zA-Z_]|\Z)|[{｛✿]|```|`{1,2}\Z|\[(?:T|\s{0,8}\Z)|&(?:l|q|#|\Z)"
    # a name: with a tag or parenthesis behind it, snake_case, camelCase, or a word still growing
    r"|(?:\[[ \t]{0,8})?(?<![A-Za-z0-9_.])"
    r"(?:[A-Za-z][\w.]{0,80}(?:<|[(（][\"'{\w)]|[(（]?\Z)|[A-Za-z][A-Za-z0-9]{0,80}_|[a-z]{1,80}[A-Z])"
    rf"|(?i:^[ \t*#>\-\ufeff\u200b]*(?:{'|'.join(_FRAME_WORDS)}))",
    re.MULTILINE,
)
