"""Tool calls as lines: ReAct, Qwen-Agent's flowers, and call syntax like ``tool(key="value")``."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import islice
from typing import cast

from core.agent import literals, mending
from core.agent.callshapes import Found, as_arguments
from core.agent.schema import folded
from core.agent.written import Written, fences, is_within, quoted

_EDGE = r"[ \t*#>\-\ufeff\u200b]*"
_COLON = r"[ \t*]{0,8}[:：][ \t*]{0,8}"
_NUMBER = r"(?:[ ]?\d{1,2})?"
_THOUGHT = rf"(?:Thought{_NUMBER}|思考)"
_ACTION = rf"(?:Action{_NUMBER}|Tool(?:[ _]Name)?|动作|行动|工具|✿FUNCTION✿)"
_FINAL = r"(?:Final Answer|最终答案|最终回答)"
_INPUT = (
    rf"(?:(?:Action[ _]?|Tool[ _]?)?Inputs?{_NUMBER}|Arg(?:ument)?s|Parameters"
    r"|动作输入|行动输入|参数|✿ARGS✿)"
)
# In the middle of a line an action counts only with its input in the same line.
_INLINE = (
    r"(?<=[ \t。.；;])"
    r"(?=(?:Action|行动)[^\n]{1,100}?(?:Action[ _]?|行动)(?:Input|输入))"
)
_FLAGS = re.MULTILINE | re.IGNORECASE
ACTION = re.compile(
    rf"(?:^{_EDGE}|{_INLINE}){_ACTION}{_COLON}"
    rf"(?P<line>[^\n]*?)(?=[ \t]{{0,4}}{_INPUT}{_COLON}|$)",
    _FLAGS,
)
_ACTION_INPUT = re.compile(rf"\s*{_EDGE}{_INPUT}{_COLON}", re.IGNORECASE)
_NEXT_LINE = re.compile(
    rf"^{_EDGE}(?:{_THOUGHT}|{_ACTION}|Observation{_NUMBER}|{_FINAL}|✿\w+✿)(?:{_COLON}|$)", _FLAGS
)
FINAL = re.compile(rf"^{_EDGE}{_FINAL}{_COLON}", _FLAGS)
THOUGHT = re.compile(
    rf"^{_EDGE}{_THOUGHT}{_COLON}.*?(?=^{_EDGE}(?:{_ACTION}|{_FINAL})|\Z)", _FLAGS | re.DOTALL
)
INVENTED = re.compile(
    rf"^{_EDGE}(?:Observation{_NUMBER}|Response|Tool Response|观察|返回结果){_COLON}"
    r"|<tool_response>|<\|im_start\|>|<[|｜]tool[_▁]outputs?[_▁]begin[|｜]>|✿(?:RESULT|RETURN)✿",
    _FLAGS,
)
# A call that stands alone: at the start of a line, in brackets, printed or assigned.
_CALL = re.compile(
    r"\s*(?:\[\s*)?(?:(?:await|return)\s+)?(?:[A-Za-z_]\w{0,40}\s*=\s*)?(?:print\s*\(\s*)?"
    r"(?P<name>[\w.:-]{1,100})\s*[(（]"
)
# search_knowledge[dry eye], as in the first paper on ReAct
_BRACKETED = re.compile(r"([\w.-]{1,100})\s*\[([^\[\]]*)\]")
_TOOL_LABEL = re.compile(rf"{_EDGE}(?:Tool|工具)", re.IGNORECASE)
_NAME_AND_OBJECT = re.compile(r"([\w.:-]{1,100}?)[ \t]*[:：]?[ \t]*(?=[{｛])")
_CALL_LINE = re.compile(r"^(?=[ \t\[]*[A-Za-z_])(?=[^\n]{0,200}[(（])", re.MULTILINE)
_MORE_CALLS = re.compile(r"[\s)）]*[,;，；\n]?\s*")
_MOST_LINES = 32

ReadObjects = Callable[[Written, Found], bool]


def read_react(written: Written, found: Found, read_objects: ReadObjects) -> list[tuple[int, int]]:
    """Add the calls of ``Action:`` lines before the final answer; return their spans."""
    taken: list[tuple[int, int]] = []
    written = _joined(written)
    final = FINAL.search(written.mask)
    until = final.start() if final else len(written.mask)
    examples = quoted(written)
    # A fence with words after it explains the form; one that ends the answer is the answer.
    examples += [(a, b) for a, b in fences(written) if written.mask[b:].strip()]
    thoughts = [m.span() for m in islice(THOUGHT.finditer(written.mask), _MOST_LINES)]
    for n, action in enumerate(ACTION.finditer(written.mask, 0, until)):
        if n >= _MOST_LINES:
            break
        if is_within(action.start("line") - 1, examples):
            continue
        end = _read_action(written, action, found, read_objects)
        if end:
            # The thought that led to the call goes with it.
            start = max((a for a, b in thoughts if a < action.start() <= b), default=None)
            taken.append((action.start() if start is None else start, end))
    return taken


# "### Action", "**Action**" or "Action:" on a line of its own, before what it announces
_TITLE = re.compile(
    rf"^(?P<edge>[ \t*#>]*)(?P<word>{_THOUGHT}|{_ACTION}|{_FINAL}|{_INPUT}|Observation{_NUMBER})"
    r"(?P<colon>[ \t*]*[:：]?[ \t*]*)\n\s*+(?=[\w{\"'])",
    _FLAGS,
)


def _joined(written: Written) -> Written:
    """Put what follows a title on its line, without a change of length."""
    text, mask = written.text, written.mask
    for title in islice(_TITLE.finditer(mask), _MOST_LINES):
        if "#" in title["edge"] or "*" in title["edge"] or title["colon"].strip(" \t*"):
            line = f"{title['word']}:".ljust(len(title[0]))
            text = text[: title.start()] + line + text[title.end() :]
            mask = mask[: title.start()] + line + mask[title.end() :]
    return Written(text, mask)


def _read_action(
    written: Written, action: re.Match[str], found: Found, read_objects: ReadObjects
) -> int | None:
    """Read one ``Action:`` and return where it ends, or None when it names no tool."""
    line = written.text[action.start("line") : action.end("line")].strip()
    following = _NEXT_LINE.search(written.mask, action.end())
    section_end = following.start() if following else len(written.mask)
    is_blob = line.startswith(("{", "[{", "```"))
    line = line.strip("*`").strip()
    if is_blob or not line:
        blob = written.part(action.start("line"), section_end)
        return section_end if "{" in blob.mask and read_objects(blob, found) else None
    form = None if found.names.find(line) else _BRACKETED.fullmatch(line)
    if form and (name := found.names.find(form[1])):
        read_input(name, form[2], found)
        return action.end()
    if (form := _NAME_AND_OBJECT.match(line)) and (name := found.names.find(form[1])):
        begin = written.text.find(line, action.start("line")) + form.end()
        read_input(name, written.text[begin:section_end], found)
        return section_end
    given = _ACTION_INPUT.match(written.mask, action.end())
    if given is None and _TOOL_LABEL.match(written.mask, action.start()):
        return None  # a tool is described
    is_words = "(" not in line or given is not None
    name = found.names.find(line) or (found.names.mentioned(line) if is_words else None)
    if name is None:
        call = written.text[action.start("line") : section_end].lstrip(" *`")
        return section_end if read_call(call, found) is not None else None
    if given is None:
        if not found.names.properties(name):
            found.add(name, {})
        return action.end()
    # "Action Input" starts with "Action" itself, so the next line is looked for behind it.
    following = _NEXT_LINE.search(written.mask, given.end())
    section_end = following.start() if following else len(written.mask)
    read_input(name, written.text[given.end() : section_end], found)
    return section_end


def read_input(name: str, written: str, found: Found) -> None:
    """Add a call whose arguments are an object, pairs, or words for the tool's one argument."""
    brace = re.search(r"[{｛]", written)
    if brace and not written[: brace.start()].strip(" \t\n`\"'json\ufeff\u200b"):
        try:
            arguments = as_arguments(found.read(written, brace.start())[0])
        except literals.Unreadable:
            arguments = None
        if arguments is None:
            found.has_broken = True
        else:
            found.add(name, arguments)
        return
    plain = _unquoted(written)
    properties = found.names.properties(name)
    if not properties or not plain:
        found.add(name, {})
    elif found.names.lone(name) or not brace:
        keyed = _keyed_words(name, plain, found)
        if keyed is None:
            found.has_broken = True
        else:
            found.add(name, keyed)
    else:
        found.has_broken = True


def _keyed_words(name: str, plain: str, found: Found) -> dict[str, object] | None:
    """Return ``key="value"`` or ``key: value`` pairs, or the words as the tool's one argument."""
    known = {folded(key) for key in found.names.properties(name)}
    lone = found.names.lone(name)
    if (key := _PLAIN_KEY.match(plain)) and folded(key[1]) in known:
        try:
            return as_arguments(mending.read(f"{{{plain}}}", 0)[0])
        except literals.Unreadable:
            if lone is None or folded(key[1]) != folded(lone):
                return None
            plain = plain[key.end() :]
    elif re.match(r"\w{1,60}\s*=", plain):
        return None
    if lone is None:
        return None
    return {lone: found.names.typed(name, lone, _unquoted(plain.strip().partition("\n")[0]))}


_PLAIN_KEY = re.compile(r"[`\"']?(\w{1,60})[`\"']?\s*[=:：]")


def _unquoted(words: str) -> str:
    """Take quotes or backticks off that stand around all the words."""
    words = words.strip()
    if words.startswith("```"):
        words = words.strip("`").strip()
    while len(words) > 1 and words[0] == words[-1] and words[0] in "`\"'":
        words = words[1:-1].strip()
    return words


# The tool's name alone on the line, or the lines, before its arguments.
_HEADING = re.compile(
    r"(?:(?:^|\n)[ \t*#>`]{0,8}|[。！？：.!?:]\s{0,4})"
    r"(?P<name>[\w.:-]{1,100}?)[`*]{0,3}[ \t]*[:：]?\s*(?:```(?:json)?\s*)?$"
)


def read_headed(value: object, written: Written, start: int, found: Found) -> int | None:
    """Add the call whose arguments `value` at `start` are, if only its name stands before.

    Returns:
        Where the name begins, or None.
    """
    before = written.mask[max(0, start - 160) : start]
    heading = _HEADING.search(before)
    name = found.names.find(heading["name"]) if heading else None
    if heading is None or name is None or not isinstance(value, dict):
        return None
    arguments = cast("dict[str, object]", value)
    known = {folded(key) for key in found.names.properties(name)}
    if not {folded(key) for key in arguments} <= known:
        return None
    found.add(name, arguments)
    return start - len(before) + heading.start("name")


def read_calls(written: Written, found: Found) -> list[tuple[int, int]]:
    """Add calls in call syntax that stand on lines of their own; return their spans."""
    taken: list[tuple[int, int]] = []
    examples = quoted(written)
    position = 0
    for n, line in enumerate(_CALL_LINE.finditer(written.mask)):
        if n >= _MOST_LINES:
            break
        if line.start() < position or is_within(line.start(), examples):
            continue
        rest = written.text[line.start() :]
        end = read_call(rest, found)
        if end is not None:
            position = line.start() + end
            taken.append((line.start(), position))
    return taken


def read_call(text: str, found: Found) -> int | None:
    """Read ``name(key="value")``, one or several, at the start of `text`.

    Returns:
        The index after the calls, or None when there is none to be run.
    """
    position: int | None = None
    for _ in range(8):
        opening = _CALL.match(text, position or 0)
        name = _called(opening["name"], found) if opening else None
        if name is None or opening is None:
            break
        try:
            values, named, end = mending.read_call(text, opening.end())
        except literals.Unreadable:
            found.has_broken = True
            break
        positional = _positional(name, values, found) if values else {}
        if positional is None:
            found.has_broken = True
            break
        found.add(name, {**positional, **named})
        more = _MORE_CALLS.match(text, end)
        position = more.end() if more else end
        if text[position : position + 1] == "]":
            position += 1
            break
    return position


def _called(written: str, found: Found) -> str | None:
    for ending in (".call", ".run", ".invoke"):
        written = written.removesuffix(ending)
    return found.names.find(written)


def _positional(name: str, values: list[object], found: Found) -> dict[str, object] | None:
    """Return values without a name as arguments: an object, or one for the only property."""
    if len(values) != 1:
        return None
    value = values[0]
    if isinstance(value, dict):
        return cast("dict[str, object]", value)
    key = found.names.lone(name)
    return None if key is None else {key: value}
