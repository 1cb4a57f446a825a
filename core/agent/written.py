"""A model's output with its JSON masked, so that marks inside strings count for nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

from core.agent import literals

_MOST_MASKED = 64  # objects; more are no answer of a model
_MOST_SPANS = 64


@dataclass(frozen=True, slots=True)
class Written:
    """A text to read values from, and the same with JSON objects masked, to look for marks in.

    Attributes:
        text: as the model wrote it.
        mask: of the same length; ``{"a": "</x>"}`` stands as ``{aaaaaaaaaaa}``.
    """

    text: str
    mask: str

    @classmethod
    def of(cls, text: str) -> Written:
        """Mask every strict JSON object."""
        parts: list[str] = []
        done = 0
        start = text.find("{")
        for _ in range(_MOST_MASKED):
            if start < 0:
                break
            end = literals.strict_end(text, start)
            if end is not None and end - start > 2:
                parts += (text[done : start + 1], "a" * (end - start - 2), "}")
                done = end
            start = text.find("{", end or start + 1)
        return cls(text, "".join([*parts, text[done:]]))

    def part(self, start: int, end: int | None = None) -> Written:
        """Return a slice."""
        return Written(self.text[start:end], self.mask[start:end])

    def without(self, spans: Iterable[tuple[int, int]]) -> Written:
        """Return the rest, for spans in any order that may overlap."""
        text: list[str] = []
        mask: list[str] = []
        position = 0
        for start, end in sorted(spans):
            text.append(self.text[position:start])
            mask.append(self.mask[position:start])
            position = max(position, end)
        return Written(
            "".join([*text, self.text[position:]]), "".join([*mask, self.mask[position:]])
        )


_THINK = re.compile(r"<(/?)think>")
_FENCE = re.compile(r"```[^\n`]*\n(.*?)(?:```|\Z)", re.DOTALL)
_CODE = re.compile(r"(?<!`)`[^`\n]+`(?!`)(?=[^\n]{0,80}\w)")
# Words after which a call is shown, not made.
_EXAMPLE = re.compile(
    r"(?:例如|比如|譬如|示例|样例|例子|举例|形如|类似|(?:这样|这么|如下)(?:写|调用|使用)|(?<![按以用照])的?(?:格式|写法)(?:如下|是|为|说明)?"
    r"|for (?:example|instance)|e\.g\.|such as|example|format is|look(?:s|ing)? like)"
    r"[^\n。.!?！？]{0,60}$",
    re.IGNORECASE,
)


def thoughts(written: Written) -> list[tuple[int, int]]:
    """Return where the thoughts stand, tags included; an opened thought never ends."""
    spans: list[tuple[int, int]] = []
    opened: int | None = None
    for tag in _THINK.finditer(written.mask):
        if tag[1] and opened is None:
            # The template had opened the first one.
            spans.append((tag.start() if spans else 0, tag.end()))
        elif tag[1]:
            spans.append((opened or 0, tag.end()))
            opened = None
        elif opened is None:
            opened = tag.start()
    if opened is not None:
        spans.append((opened, len(written.mask)))
    return spans


def inner(written: Written) -> Written:
    """Return the thoughts alone, tags left out."""
    outside: list[tuple[int, int]] = []
    position = 0
    for start, end in thoughts(written):
        outside.append((position, start))
        position = end
    tags = [tag.span() for tag in _THINK.finditer(written.mask)]
    return written.without([*outside, (position, len(written.text)), *tags])


def is_example(written: Written, start: int) -> bool:
    """Tell whether the words right before `start` announce an example."""
    return bool(_EXAMPLE.search(written.text[max(0, start - 120) : start].rstrip(" \t\n*")))


def fences(written: Written) -> list[tuple[int, int]]:
    """Return where fenced code stands."""
    return [found.span() for found in islice(_FENCE.finditer(written.mask), _MOST_SPANS)]


def quoted(written: Written) -> list[tuple[int, int]]:
    """Return where a call is only talked about: fenced examples, code inside a sentence."""
    spans = [span for span in fences(written) if is_example(written, span[0])]
    code = islice(_CODE.finditer(written.mask), _MOST_SPANS)
    return spans + [found.span() for found in code]


def is_within(position: int, spans: Iterable[tuple[int, int]]) -> bool:
    """Tell whether `position` lies in one of the spans."""
    return any(start <= position < end for start, end in spans)
