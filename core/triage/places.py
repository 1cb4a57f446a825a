"""Finding many patterns in one short text.

A message holds few of the thousands of beginnings that the vocabulary knows. So each place of the
text is looked up once, and a pattern is tried only where it can begin.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator
from itertools import chain, groupby

# Its terms begin where a word does; Chinese ones at any character.
_SPACED = "en"


class Places:
    """Where each character and each pair of characters of a text begins.

    Attributes:
        text: the text.
        all: all places, by character and pair.
        words: the same, only where an English word begins.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.all: dict[str, list[int]] = {}
        self.words: dict[str, list[int]] = {}
        before = " "
        for at, char in enumerate(text):
            pair = text[at : at + 2]
            for key in (char, pair) if len(pair) == 2 else (char,):
                self.all.setdefault(key, []).append(at)
                if not (before.isascii() and before.isalnum()):
                    self.words.setdefault(key, []).append(at)
            before = char


class Pattern:
    """A regular expression compiled when a text first holds one of its beginnings.

    All of them take more than half a second, which the first message after a start would wait.

    Attributes:
        concept: name of the concept it expresses.
        language: ``zh`` or ``en``.
        source: the expression.
    """

    __slots__ = ("_compiled", "concept", "language", "source")

    def __init__(self, concept: str, language: str, source: str) -> None:
        self.concept = concept
        self.language = language
        self.source = source
        self._compiled: re.Pattern[str] | None = None

    def compiled(self) -> re.Pattern[str]:
        """Return the expression, compiled by now."""
        if self._compiled is None:
            self._compiled = re.compile(self.source)
        return self._compiled


class Finder(Collection[str]):
    """Concepts by name; finds all of them in a text at once.

    Args:
        patterns: each with what its matches begin with (`Expression.begins`).
    """

    def __init__(self, patterns: Iterable[tuple[Pattern, frozenset[str] | None]]) -> None:
        self.patterns: list[Pattern] = []
        self._numbers: dict[str, list[int]] = {}
        self._anywhere: list[int] = []
        # One index each for patterns that begin at any character and at words.
        entries = {False: array("Q"), True: array("Q")}
        for number, (pattern, begins) in enumerate(patterns):
            self.patterns.append(pattern)
            self._numbers.setdefault(pattern.concept, []).append(number)
            if begins is None:
                self._anywhere.append(number)
            entries[pattern.language == _SPACED].extend(
                (_code(beginning) << _NUMBER_BITS) + number for beginning in begins or ()
            )
        self._at_characters = _Index(entries[False])
        self._at_words = _Index(entries[True])

    def __contains__(self, name: object) -> bool:
        """Tell whether there is such a concept."""
        return name in self._numbers

    def __iter__(self) -> Iterator[str]:
        """Yield the names of the concepts."""
        return iter(self._numbers)

    def __len__(self) -> int:
        """Return how many concepts there are."""
        return len(self._numbers)

    def find(self, places: Places, *names: str) -> Iterator[tuple[str, int, int]]:
        """Yield concept, start and end of all that a text expresses, concept by concept.

        Args:
            places: of the text.
            names: look for these only.
        """
        wanted = sorted(n for name in names for n in self._numbers[name]) if names else None
        tried: dict[int, list[list[int]]] = {number: [] for number in self._anywhere}
        for index, held in (
            (self._at_characters, places.all),
            (self._at_words, places.words),
        ):
            for beginning, at in held.items():
                for number in index.patterns(beginning):
                    tried.setdefault(number, []).append(at)
        for number in sorted(tried) if wanted is None else wanted:
            if number in tried:
                concept = self.patterns[number].concept
                for start, end in self._spans(number, places.text, tried[number]):
                    yield concept, start, end

    def _spans(self, number: int, text: str, at: list[list[int]]) -> Iterator[tuple[int, int]]:
        pattern = self.patterns[number].compiled()
        if not at:  # may begin anywhere
            for match in pattern.finditer(text):
                yield match.span()
            return
        end, match_at = 0, pattern.match
        for start in at[0] if len(at) == 1 else sorted(chain.from_iterable(at)):
            if start >= end and (match := match_at(text, start)):
                end = match.end()
                yield start, end


# A beginning takes 43 bits, beside the number of a pattern.
_NUMBER_BITS = 20


def _code(beginning: str) -> int:
    """Return one number for a character or a pair."""
    if len(beginning) == 1:
        return ord(beginning)
    return (ord(beginning[0]) << 21) + (1 << 42) + ord(beginning[1])


class _Index:
    """Which patterns have a beginning. Packed: as sets of strings it took 4 MiB more."""

    def __init__(self, entries: array[int]) -> None:
        self._codes = array("Q")
        self._group = array("H")
        # The same patterns go with many beginnings: each such group is kept once.
        groups: dict[tuple[int, ...], int] = {}
        for code, some in groupby(sorted(entries), lambda entry: entry >> _NUMBER_BITS):
            numbers = tuple(entry & (1 << _NUMBER_BITS) - 1 for entry in some)
            self._codes.append(code)
            self._group.append(groups.setdefault(numbers, len(groups)))
        self._groups = list(groups)

    def patterns(self, beginning: str) -> tuple[int, ...]:
        """Return the numbers of the patterns with this beginning."""
        code = _code(beginning)
        at = bisect_left(self._codes, code)
        if at == len(self._codes) or self._codes[at] != code:
            return ()
        return self._groups[self._group[at]]
