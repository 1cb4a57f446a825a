"""The term language of the lexicon, compiled to regular expressions.

突然 / 一下子            terms are separated by " / " or a line break
看(不|唔)(到|见)         ( | ) alternatives; ? makes the character or group before it optional
(?!…) (?<!…)           not followed by, not preceded by (as in regular expressions)
眼~疼  眼~~疼           ~ up to 4, ~~ up to 10 characters (18 and 40 in English); such a gap never
crosses punctuation or a negation
#天                    # a number, in digits or words
<eye>                  any term of another concept in the same language
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from core.errors import Bug

_NUMBER = {
    "zh": r"(?:\d+(?:\.\d+)?|[一二两俩三四五六七八九十几半数]{1,3})多?",
    "en": r"(?:\d+(?:\.\d+)?|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|"
    r"fifteen|twenty|thirty|forty|(?:a )?few|several|(?:a )?couple(?: of)?|an?|half an?|some)",
}
_NUMBER_HEADS = {
    "zh": frozenset(c + "\0" for c in "0123456789一二两俩三四五六七八九十几半数"),
    "en": frozenset(c + "\0" for c in "0123456789otfsneach"),
}
_STOP = r"，。！？、；：,.!?;:\n"
_GAP = {
    "zh": rf"[^{_STOP}不没无未]",
    "en": rf"(?:(?!\b(?:no|not|never|without)\b)[^{_STOP}])",
}
_WIDTH = {"zh": (4, 10), "en": (18, 40)}
_TIMES = re.compile(r"[?*+]|\{\d+,\d+\}")
# Repetition is bounded, so that no text can make a term slow.
_FEW = {"*": "{0,6}", "+": "{1,6}"}
_DIGITS = frozenset("0123456789")
_SEPARATOR = re.compile(r"\s+/\s+|\n|^/\s+|\s+/$")


# In a head: from here on anything may follow.
ANY = "\0"
_MOST_HEADS = 4000
_ANYTHING = frozenset([ANY])
_NOTHING = frozenset([""])


@dataclass(frozen=True, slots=True)
class Expression:
    """A compiled piece of the term language.

    Attributes:
        regex: source of a regular expression.
        heads: how its matches begin, at most two characters: ``""`` it also matches nothing,
            ``"看"`` one character and then whatever follows the expression, ``"看不"``;
            `ANY` as last character stands for any character.
        repeatable: a sign of repetition may follow.
    """

    regex: str
    heads: frozenset[str]
    repeatable: bool = True

    def begins(self) -> frozenset[str] | None:
        """Return what matches begin with; None = anything.

        Each is a pair of characters, or one character where any may follow it.
        """
        singles = {h[0] for h in self.heads if len(h) == 1 or h[1] == ANY}
        if ANY in singles:
            return None
        return frozenset(singles | {h for h in self.heads if h[0] not in singles})


def _followed(heads: frozenset[str], by: frozenset[str]) -> frozenset[str]:
    """Return the heads of one expression and then another."""
    done = {h for h in heads if len(h) == 2 or h == ANY}
    done |= {(h + n)[:2] for h in heads - done for n in by}
    if len(done) > _MOST_HEADS:
        done = {h if len(h) < 2 else h[0] + ANY for h in done}
    return frozenset(done)


def _repeated(heads: frozenset[str]) -> frozenset[str]:
    return heads | {h + ANY for h in heads if len(h) == 1 and h != ANY}


Lookup = Callable[[str], Expression]


def split_terms(block: str) -> list[str]:
    """Split a block of the YAML file into its terms."""
    return [t.strip() for t in _SEPARATOR.split(block) if t.strip()]


def compile_terms(block: str, language: str, lookup: Lookup) -> Expression:
    """Compile all terms of one concept in one language (``zh`` or ``en``).

    Args:
        block: terms as in the YAML file.
        language: decides the width of gaps, the numerals and whether words have boundaries.
        lookup: returns another concept's expression in the same language.

    Raises:
        Bug: a term is malformed or can match nothing at all.
    """
    # Longest first, so that a short alternative never hides a longer one.
    terms = sorted(split_terms(block), key=len, reverse=True)
    parts = [_Reader(term, language, lookup).whole() for term in terms]
    regex = "|".join(p.regex for p in parts)
    if language == "en":
        regex = rf"(?<![a-z0-9])(?:{regex})(?![a-z0-9])"
    return Expression(f"(?:{regex})", frozenset[str]().union(*(p.heads for p in parts)))


class _Reader:
    """Reads one term from left to right."""

    def __init__(self, term: str, language: str, lookup: Lookup) -> None:
        self._term = term
        self._language = language
        self._lookup = lookup
        self._at = 0

    def whole(self) -> Expression:
        result = self._alternatives()
        if self._at != len(self._term) or "" in result.heads:
            raise Bug(f"lexicon: term {self._term!r} is malformed or matches nothing")
        return result

    def _alternatives(self) -> Expression:
        parts = [self._sequence()]
        while self._peek() == "|":
            self._at += 1
            parts.append(self._sequence())
        regex = "|".join(p.regex for p in parts)
        return Expression(regex, frozenset[str]().union(*(p.heads for p in parts)))

    def _sequence(self) -> Expression:
        regex: list[str] = []
        heads = _NOTHING
        while self._peek() not in ("", "|", ")"):
            atom = self._atom()
            times = _TIMES.match(self._term, self._at)
            if times and atom.repeatable:
                self._at = times.end()
                few = _FEW.get(times.group(), times.group())
                begins = atom.heads if few == "?" else _repeated(atom.heads)
                if few[0] == "?" or few.startswith("{0"):
                    begins |= _NOTHING
                atom = Expression(f"(?:{atom.regex}){few}", begins)
            regex.append(atom.regex)
            heads = _followed(heads, atom.heads)
        return Expression("".join(regex), heads)

    def _atom(self) -> Expression:
        char = self._peek()
        self._at += 1
        match char:
            case "(":
                return self._group()
            case "<":
                end = self._term.index(">", self._at)
                name, self._at = self._term[self._at : end], end + 1
                return self._lookup(name)
            case "#":
                return Expression(_NUMBER[self._language], _NUMBER_HEADS[self._language])
            case "~":
                wide = self._peek() == "~"
                self._at += wide
                width = _WIDTH[self._language][wide]
                regex = f"{_GAP[self._language]}{{0,{width}}}?"
                return Expression(regex, _NOTHING | _ANYTHING, repeatable=False)
            case ".":
                return Expression(f"[^{_STOP}]", _ANYTHING)
            case "$":
                return Expression(r"(?=\s*(?:[^\w\s]|\n|$))", _NOTHING)
            case "[":
                return self._set()
            case "\\":
                char = self._peek()
                self._at += 1
                return (
                    Expression(r"\d", _DIGITS)
                    if char == "d"
                    else Expression(re.escape(char), frozenset(char))
                )
            case " ":
                return Expression(r"\s+", frozenset(" \n\t"))
            case _:
                return Expression(re.escape(char), frozenset(char))

    def _group(self) -> Expression:
        for mark in ("?!", "?=", "?<!", "?<="):
            if self._term.startswith(mark, self._at):
                self._at += len(mark)
                inner = self._alternatives()
                self._at += 1
                return Expression(f"({mark}{inner.regex})", _NOTHING)
        if self._term.startswith("?:", self._at):
            self._at += 2
        inner = self._alternatives()
        if self._peek() != ")":
            raise Bug(f"lexicon: term {self._term!r} has an open bracket")
        self._at += 1
        return Expression(f"(?:{inner.regex})", inner.heads)

    def _set(self) -> Expression:
        end = self._term.index("]", self._at)
        inside, self._at = self._term[self._at : end], end + 1
        members = re.sub(
            r"(.)-(.)", lambda m: "".join(map(chr, range(ord(m[1]), ord(m[2]) + 1))), inside
        )
        return Expression(f"[{re.escape(members)}]", frozenset(members))

    def _peek(self) -> str:
        return self._term[self._at : self._at + 1]
