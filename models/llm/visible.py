"""Keeps back what a patient must not see: thoughts, and what follows a stop string."""

from __future__ import annotations

import re
from collections.abc import Sequence

_OPEN, _CLOSE = "<think>", "</think>"


class VisibleText:
    """Takes the model's text piece by piece and gives out its visible part.

    Tags and stop strings may be cut anywhere between pieces.

    Args:
        stop: strings that end the answer.
        starts_hidden: the template may have opened the thought itself, so nothing is shown before
            a closing tag, or `release`.
    """

    def __init__(self, stop: Sequence[str] = (), *, starts_hidden: bool = False) -> None:
        self._markers = (_OPEN, _CLOSE, *(s for s in stop if s))
        self._pattern = re.compile("|".join(re.escape(m) for m in self._markers))
        self._starts_hidden = starts_hidden
        self._hidden = starts_hidden
        self._pending = ""
        self._shown: list[str] = []
        self._thoughts: list[str] = []
        self.is_stopped = False

    @property
    def text(self) -> str:
        """The visible text so far, without blank ends."""
        return "".join(self._shown).strip()

    @property
    def thoughts(self) -> str:
        """The hidden text so far."""
        return "".join(self._thoughts)

    def feed(self, piece: str) -> str:
        """Return what becomes visible with `piece`."""
        if self.is_stopped:
            return ""
        self._pending += piece
        shown: list[str] = []
        while found := self._pattern.search(self._pending):
            before, marker = self._pending[: found.start()], found[0]
            self._pending = self._pending[found.end() :]
            self._put(before, shown)
            if marker == _OPEN:
                self._hidden, self._starts_hidden = True, False
            elif marker == _CLOSE:
                self._end_thought(shown)
            elif not self._hidden:
                self.is_stopped = True
                self._pending = ""
        keep = _overlap(self._pending, self._markers)
        cut = len(self._pending) - keep
        self._put(self._pending[:cut], shown)
        self._pending = self._pending[cut:]
        return "".join(shown)

    def release(self) -> None:
        """Stop waiting for a closing tag: the server separates the thoughts itself."""
        if self._starts_hidden:
            self._hidden = self._starts_hidden = False

    def finish(self, *, is_cut: bool) -> str:
        """Return what was kept back only because a marker might have followed.

        Args:
            is_cut: the answer ended at the token limit, so an answer that never closed its thought
                is all thought; otherwise the model simply had none.
        """
        shown: list[str] = []
        if self._starts_hidden and not is_cut:
            thoughts, self._thoughts = self.thoughts, []
            self._hidden = False
            self._put(thoughts, shown)
        self._put(self._pending, shown)
        self._pending = ""
        return "".join(shown)

    def _end_thought(self, shown: list[str]) -> None:
        if not self._hidden:  # the template had opened the thought: all so far was one
            self._thoughts.extend(self._shown)
            self._shown.clear()
            shown.clear()
        self._hidden = self._starts_hidden = False

    def _put(self, text: str, shown: list[str]) -> None:
        if not text:
            return
        if self._hidden:
            self._thoughts.append(text)
            return
        if not self._shown:
            text = text.lstrip()
            if not text:
                return
        self._shown.append(text)
        shown.append(text)


def _overlap(text: str, markers: Sequence[str]) -> int:
    """Return the length of the longest end of `text` that may be the start of a marker."""
    longest = 0
    for marker in markers:
        for size in range(min(len(marker) - 1, len(text)), longest, -1):
            if text.endswith(marker[:size]):
                longest = size
                break
    return longest
