"""Tool calls between tags: InternLM, Qwen, Hermes, Llama 3, DeepSeek, Kimi, Mistral."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from core.agent import calllines, callxml, literals
from core.agent.callshapes import MOST_CALLS, Found, as_arguments, read_value
from core.agent.written import Written, is_within, quoted

_MOST_BLOCKS = 32
_MOST_FORGOTTEN = 4  # brackets

_BAR = r"[|｜‖]"
_GAP = r"[_▁ ]"
_WORD = r"(?:tool_?calls?|function_?calls?|tool_use)"
TAG = re.compile(
    rf"(?P<plugin><\|action_start\|>\s*<\|plugin\|>)"
    rf"|(?P<interpreter><\|action_start\|>\s*<\|interpreter\|>)"
    rf"|(?P<block><(?i:{_WORD})>|<\|tool_call\|>)"
    rf"|(?P<mistral>\[TOOL_CALLS?\])"
    rf"|(?P<python><\|(?:python_(?:tag|start)|tool_call_start)\|>)"
    rf"|(?P<deep><{_BAR}tool{_GAP}call{_GAP}begin{_BAR}>|(?=\bfunction<{_BAR}tool{_GAP}sep))"
    rf"|(?P<harmony><\|channel\|>[^\n{{}}]{{0,100}}?\bto=)"
    rf"|(?P<glm>(?<![\w.-])(?=(?a:[A-Za-z][\w.-]{{0,99}})\s{{0,8}}<arg_key>))"
    rf"|(?P<xml>{callxml.FUNCTION})"
)
# What ends a block: its own end tag, or the start of the next one.
_BLOCK_END = re.compile(
    rf"<\|(?:action_end|call)\|>|</(?i:{_WORD})>|<{_BAR}tool{_GAP}call{_GAP}end{_BAR}>"
)
_DEEP_SEPARATOR = re.compile(rf"<{_BAR}tool{_GAP}(?:sep|call{_GAP}argument{_GAP}begin){_BAR}>")
MARKER = re.compile(
    rf"<\|[a-z_]+\|>|(?i:<\s?/?\s?{_WORD}\b\s?>?)|</s>"
    r"|</?(?:tool_response|function|invoke|parameter|think)>"
    rf"|</?{_BAR}[^<>\n]{{1,40}}{_BAR}[^<>\n]{{0,40}}>|</?arg_(?:key|value)>|\[/?TOOL_CALLS?\]"
)
_MISTRAL_MARKS = re.compile(r"\[(?:ARGS|CALL_ID)\][\w-]*")
_NAME_TAG = re.compile(r"<(function|tool|tool_name|name)>([^<>]{1,100})</\1>")


def read_blocks(written: Written, found: Found, *, is_cut: bool) -> list[tuple[int, int]]:
    """Add the calls of all tagged blocks.

    Args:
        written: a whole answer.
        found: gets the calls.
        is_cut: the answer was longer than what is read of it.

    Returns:
        The spans that are no text for a person.
    """
    taken: list[tuple[int, int]] = []
    examples = quoted(written)
    position = 0
    for _ in range(_MOST_BLOCKS):
        opening = TAG.search(written.mask, position)
        if not opening:
            break
        if is_within(opening.start(), examples):
            position = opening.end()
            continue
        kind = opening.lastgroup or ""
        start = opening.start() if kind == "xml" else opening.end()
        body, end, is_ended = _body(written, kind, start)
        n_before = len(found.calls)
        is_call = _read(kind, body, found, is_ended=is_ended and not is_cut, is_cut=is_cut)
        if is_call or len(found.calls) > n_before:
            taken.append((opening.start(), end))
        elif "{" in body.mask or "<" in body.mask:
            found.has_broken = True
            taken.append((opening.start(), end))
        position = max(end, opening.end())
    return taken


def _body(written: Written, kind: str, start: int) -> tuple[Written, int, bool]:
    """Return a block's inside, where it ends, and whether the model ended it."""
    ending = callxml.END.search(written.mask, start) if kind == "xml" else None
    if kind not in ("xml", "python", "mistral"):
        ending = _BLOCK_END.search(written.mask, start)
    # A block that was not closed ends where the next begins; GLM sometimes repeats the opening tag
    # where <arg_key> belongs, and Qwen3-Coder nests, so those are no next block.
    for following in TAG.finditer(written.mask, start + (kind == "xml")):
        if ending and following.start() > ending.start():
            break
        if kind not in ("xml", "python", "mistral"):
            between = written.mask[start : following.start()].lstrip()
            if following.lastgroup == "xml" or not between:
                continue
            if kind in ("block", "glm") and not between.startswith(("{", "[")):
                continue
        return written.part(start, following.start()), following.start(), True
    if ending is None:
        return written.part(start), len(written.text), False
    return written.part(start, ending.start()), ending.end(), True


def _read(kind: str, body: Written, found: Found, *, is_ended: bool, is_cut: bool) -> bool:
    """Add the calls of one block; tell whether it was a call at all."""
    match kind:
        case "interpreter":
            return True  # code for an interpreter we do not have
        case "deep":
            return _read_deepseek(body, found, is_ended=is_ended)
        case "xml":
            return callxml.read_xml(body, found, is_ended=is_ended)
        case "python":
            if body.text.lstrip().startswith(("{", "[{")):
                return read_objects(body, found, is_ended=False, is_cut=is_cut)
            return calllines.read_call(body.text.strip(), found) is not None
        case _:
            return _read_block(body, found, is_ended=is_ended, is_cut=is_cut)


def _read_block(body: Written, found: Found, *, is_ended: bool, is_cut: bool) -> bool:
    starts = [m.start() for m in TAG.finditer(body.mask) if m.lastgroup == "xml"]
    if starts:
        pieces = [body.part(a, b) for a, b in pairwise([*starts, len(body.mask)])]
        meant = [callxml.read_xml(piece, found, is_ended=is_ended) for piece in pieces]
        return any(meant)
    if "</arg_key>" in body.mask or "<arg_value>" in body.mask:
        return callxml.read_glm(body, found, is_ended=is_ended)
    if callxml.read_children(body, found, is_ended=is_ended) or callxml.read_declared(body, found):
        return True
    if is_ended and (parameters := re.search(r"<parameter\b", body.mask)):
        name = found.names.find(body.text[: parameters.start()])
        rest = body.part(parameters.start())
        return bool(name) and callxml.read_parameters(name, rest, found, is_ended=is_ended)
    brace = next(iter(re.finditer(r"[{\[｛](?!ARGS\]|CALL_ID\])", body.mask)), None)
    start = brace.start() if brace else len(body.mask)
    head = _MISTRAL_MARKS.sub("", _NAME_TAG.sub(r" \2 ", body.mask[:start]))
    head = MARKER.sub("", head).strip(" \n\t`:：(=>")
    # gpt-oss writes "functions.NAME <|constrain|>json<|message|>".
    name = found.names.find(head) or found.names.find(head.split(" ")[0])
    if not brace:
        if name and is_ended:
            calllines.read_input(name, head.partition(" ")[2], found)
        return bool(name) or calllines.read_call(body.text.strip(), found) is not None
    if name is None:
        if calllines.read_call(body.text.strip(), found) is not None:
            return True
        return read_objects(body.part(start), found, is_ended=is_ended, is_cut=is_cut)
    for value in objects(body.part(start), found, is_ended=is_ended):
        n_before = len(found.calls)
        _take(name, value, found)
        return len(found.calls) > n_before
    return False


def _take(name: str, value: object, found: Found) -> None:
    """Add a named call's arguments; sometimes the whole call stands in their place."""
    if read_value(value, found, is_tagged=False):
        return
    if (arguments := as_arguments(value)) is not None:
        found.add(name, arguments)


def read_objects(body: Written, found: Found, *, is_ended: bool, is_cut: bool) -> bool:
    """Add the calls written as JSON objects; tell whether any was meant as a call."""
    values = objects(body, found, is_ended=is_ended, is_whole=not is_cut)
    meant = [read_value(v, found, is_tagged=True) for v in values]
    return any(meant)


def objects(
    body: Written, found: Found, *, is_ended: bool, is_whole: bool = False
) -> Iterator[Any]:
    """Yield the JSON objects of `body`, one after the other.

    Brackets the model forgot are added if it ended the block itself. In a block that is still
    open only the last brace of a whole call (`is_whole`: name and arguments) may be missing,
    because then its arguments are complete.
    """
    position = 0
    for _ in range(MOST_CALLS):
        brace = re.compile(r"[{｛]").search(body.mask, position)
        if not brace:
            return
        try:
            value, position = found.read(body.text, brace.start())
        except literals.Refused:
            return
        except literals.Unreadable:
            rest = MARKER.sub("", body.text[brace.start() :]).strip().rstrip("`").strip()
            may_close = _MOST_FORGOTTEN if is_ended else int(is_whole)
            if not is_ended and not rest.endswith(("}", "｝")):
                return
            try:
                value, position = found.read(rest, 0, may_close=may_close)[0], len(body.text)
            except literals.Unreadable:
                return
        yield value


def _read_deepseek(body: Written, found: Found, *, is_ended: bool) -> bool:
    separator = _DEEP_SEPARATOR.search(body.mask)
    if not separator:
        return _read_block(body, found, is_ended=is_ended, is_cut=False)
    left = body.text[: separator.start()].strip()
    right = body.part(separator.end())
    brace = right.mask.find("{")
    named = right.mask[: brace if brace >= 0 else None].strip().split("\n")[0]
    name = found.names.find(named if left == "function" else left)
    if name is None:
        found.has_broken = True
        return True
    for value in objects(right, found, is_ended=is_ended):
        _take(name, value, found)
        return True
    if brace < 0 and is_ended:
        found.add(name, {})
    return True
