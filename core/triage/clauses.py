"""Cut a normalised text into clauses and sentences, the units in which scope is decided."""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass

# A clause ends at punctuation or at a word that turns the claim round ("but").
_END = re.compile(
    r"[，,；;。！!？?、：:\n…~～]+|\.(?=\s|$)|(?<=[\u4e00-\u9fff]) (?=[\u4e00-\u9fff])"
    r"|(?=但是|但(?!丁)|可是|不过(?!来|去|中)|然而|只是)"
    r"|(?<=[a-z0-9]) (?=(?:but|however|although|though)\s)"
)
_SENTENCE_END = frozenset("。！!？?\n.")
_LIST_END = frozenset("、 ")


@dataclass(frozen=True, slots=True)
class Clause:
    """One clause.

    Attributes:
        start: first character in the normalised text.
        end: one past the last character, without the punctuation.
        sentence: number of the sentence it belongs to, from 0.
        listed: it ends with 、 or a space, so the next clause continues a list.
        asked: it ends with a question mark.
    """

    start: int
    end: int
    sentence: int
    listed: bool
    asked: bool


class Clauses:
    """All clauses of one text, found by position."""

    def __init__(self, text: str) -> None:
        self.all: list[Clause] = []
        at = sentence = 0
        for match in _END.finditer(text):
            mark = match.group()
            if text[at : match.start()].strip():
                asked = "?" in mark or "？" in mark
                listed = bool(mark) and set(mark) <= _LIST_END
                self.all.append(Clause(at, match.start(), sentence, listed, asked))
                if not _SENTENCE_END.isdisjoint(mark):
                    sentence += 1
            at = match.end()
        if text[at:].strip() or not self.all:
            self.all.append(Clause(at, len(text), sentence, False, False))
        self._starts = [c.start for c in self.all]

    def index(self, position: int) -> int:
        """Return the number of the clause that holds `position`."""
        return max(0, bisect_right(self._starts, position) - 1)
