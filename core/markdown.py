"""Reads the Markdown a model writes into the `core.reply` tree.

Only what our replies have: paragraphs, headings, bold, lists and http(s) links. Code becomes plain
text, a table plain lines; what is no markup stays as it is, so no text is ever lost.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from core.reply import Block, Bold, Bullets, Heading, Link, Paragraph, Span, Text

_HEADING = re.compile(r" {0,3}#{1,6}[ \t]+(?=\S)(.*?)(?:[ \t]+#+)?[ \t]*$")
_ITEM = re.compile(r"\s*(?:[-*+•]|(\d{1,3})[.)、])[ \t]+(?=\S)(.*)$|\s*(\d{1,3})、(?=\S)(.*)$")
_RULE = re.compile(r" {0,3}(?:(?:-[ \t]*){3,}|(?:\*[ \t]*){3,}|(?:_[ \t]*){3,})$")
_FENCE = re.compile(r"\s*(```+|~~~+)[ \t]*[\w+-]*[ \t]*$")
_TABLE_RULE = re.compile(r"\s*\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$")
_QUOTE = re.compile(r" {0,3}>[ \t]?")
# Each alternative is bounded, so that hostile text costs linear time.
_SPAN = re.compile(
    r"\*\*(?=\S)(?P<bold>[^*\n]{1,300}?)(?<=\S)\*\*"
    r"|(?<!\w)__(?=\S)(?P<bold2>[^_\n]{1,300}?)(?<=\S)__(?!\w)"
    r"|!?\[(?P<label>[^\[\]\n]{1,300})\]\((?P<url>https?://[^\s()<>]{1,500})\)"
    r"|`(?P<code>[^`\n]{1,500})`"
    r"|(?<![*\w])\*(?=[^\s*])(?P<slant>[^*\n]{1,300}?)(?<=[^\s*])\*(?![*\w])"
)


def parse(markdown: str) -> tuple[Block, ...]:
    """Return the blocks of a text; never fails, and keeps every character that is no markup."""
    reader = _Reader()
    for line in markdown.replace("\r\n", "\n").replace("\r", "\n").split("\n"):
        reader.read(line)
    reader.flush()
    return tuple(reader.blocks)


class _Reader:
    """Takes lines and gathers them into blocks."""

    def __init__(self) -> None:
        self.blocks: list[Block] = []
        self._lines: list[str] = []
        self._items: list[str] = []
        self._is_ordered = False
        self._has_gap = False  # a blank line came after the last item
        self._fence: str | None = None

    def read(self, line: str) -> None:
        """Take the next line in."""
        if self._fence is not None:
            self._code(line)
        elif opening := _FENCE.match(line):
            self.flush()
            self._fence = opening[1]
        elif not line.strip():
            self._has_gap = bool(self._items)
            if not self._items:
                self.flush()
        elif _RULE.match(line):
            self.flush()
        elif self._lines and "|" in line and "|" in self._lines[-1] and _TABLE_RULE.match(line):
            pass
        elif heading := _HEADING.match(line):
            self.flush()
            self.blocks.append(Heading(_plain(heading[1])))
        elif not self._item(line):
            self._text(line)

    def flush(self) -> None:
        """End the block that is being gathered."""
        if self._lines:
            text = "\n".join(self._lines)
            spans = (Text(text),) if self._fence else tuple(_spans(text))
            self.blocks.append(Paragraph(spans))
        if self._items:
            items = tuple(tuple(_spans(i)) for i in self._items)
            self.blocks.append(Bullets(items, self._is_ordered))
        self._lines, self._items, self._has_gap = [], [], False

    def _code(self, line: str) -> None:
        bare = line.strip()
        if self._fence and bare.startswith(self._fence) and not bare.strip(self._fence[0]):
            self.flush()
            self._fence = None
        elif bare or self._lines:
            self._lines.append(line)

    def _item(self, line: str) -> bool:
        """Take a list item in; tell whether it was one."""
        found = _ITEM.match(line)
        if not found:
            return False
        number = found[1] or found[3]
        text = found[2] if found[2] is not None else found[4]
        is_next = number is None or int(number) == len(self._items) + 1
        if self._items and self._is_ordered == (number is not None) and is_next:
            self._items.append(text)
        elif self._items and line.startswith(("  ", "\t")):  # a list inside an item
            mark = "•" if number is None else f"{number}."
            self._items[-1] += f"\n{mark} {text}"
        elif number is None or int(number) == 1:
            self.flush()
            self._is_ordered = number is not None
            self._items = [text]
        else:
            return False  # as a list it would be numbered from 1
        self._has_gap = False
        return True

    def _text(self, line: str) -> None:
        if self._items and not self._has_gap and line.startswith(("  ", "\t")):
            self._items[-1] += f"\n{line.strip()}"
            return
        if self._items:
            self.flush()
        self._lines.append(_table_row(_QUOTE.sub("", line, count=1).strip()))


def _table_row(line: str) -> str:
    """Return a table's row as plain words; other lines as they are."""
    if len(line) > 1 and line.startswith("|") and line.endswith("|"):
        cells = [c.strip() for c in line[1:-1].split("|")]
        return " | ".join(c for c in cells if c)
    return line


def _spans(text: str) -> Iterator[Span]:
    position = 0
    plain: list[str] = []
    for found in _SPAN.finditer(text):
        plain.append(text[position : found.start()])
        position = found.end()
        match found.lastgroup:
            case "bold" | "bold2":
                span: Span = Bold(_plain(found[found.lastgroup]))
            case "url":
                span = Link(found["label"], found["url"])
            case _:  # code and slanted words become plain
                plain.append(found[found.lastgroup or 0])
                continue
        if before := "".join(plain):
            yield Text(before)
        plain.clear()
        yield span
    plain.append(text[position:])
    if rest := "".join(plain):
        yield Text(rest)


def _plain(text: str) -> str:
    """Return a span's text without markup of its own."""
    parts: list[str] = []
    for span in _spans(text):
        parts.append(span.text)
        if isinstance(span, Link) and span.url != span.text:
            parts.append(f" {span.url}")
    return "".join(parts)
