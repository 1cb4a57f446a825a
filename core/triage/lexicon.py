"""The vocabulary as data: concepts, scope words and spellings from `vocabulary/*.yaml`.

A clinician edits the YAML files; `terms` explains their small language.
"""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import chain
from typing import Any, cast

import yaml

from core.errors import Bug
from core.triage.terms import ANY, Expression, compile_terms, split_terms

LANGUAGES = ("zh", "en")
_REFERENCE = re.compile(r"<(\w+)>")
# Files of concepts; language.yaml beside them has scope words, emoji and spellings.
AREAS = ("people", "time", "sight", "surface", "injury", "nerves", "children")


class Places:
    """Where each character and each pair of characters of a text begins.

    A pattern is tried only where it can begin: a message holds few of the thousands of
    beginnings that the vocabulary knows.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.all: dict[str, list[int]] = {}
        # English patterns begin where a word does.
        self.words: dict[str, list[int]] = {}
        before = " "
        for at, char in enumerate(text):
            pair = text[at : at + 2]
            for key in (char, pair) if len(pair) == 2 else (char,):
                self.all.setdefault(key, []).append(at)
                if not (before.isascii() and before.isalnum()):
                    self.words.setdefault(key, []).append(at)
            before = char
        # Sets, because the keys of a dict would go through all beginnings of a pattern.
        self.beginnings = frozenset(self.all)
        self.word_beginnings = frozenset(self.words)


class Pattern:
    """A regular expression compiled when a text first holds one of its beginnings.

    All of them take more than half a second, which the first message after a start would wait.
    """

    __slots__ = ("_compiled", "source")

    def __init__(self, source: str) -> None:
        self.source = source
        self._compiled: re.Pattern[str] | None = None

    def compiled(self) -> re.Pattern[str]:
        """Return the expression, compiled by now."""
        if self._compiled is None:
            self._compiled = re.compile(self.source)
        return self._compiled


@dataclass(frozen=True, slots=True)
class Concept:
    """One class of expressions.

    Attributes:
        name: key in the YAML file.
        patterns: one per language it has terms in.
        begins: per language, the characters and pairs a match can begin with; None = any.
    """

    name: str
    patterns: Mapping[str, Pattern]
    begins: Mapping[str, frozenset[str] | None]

    def find(self, places: Places) -> Iterator[tuple[int, int]]:
        """Yield the spans of a text that express this concept, one language after the other."""
        for language, pattern in self.patterns.items():
            begins = self.begins[language]
            if begins is None:
                yield from (m.span() for m in pattern.compiled().finditer(places.text))
                continue
            if language == "en":
                found = [places.words[b] for b in places.word_beginnings & begins]
            else:
                found = [places.all[b] for b in places.beginnings & begins]
            if not found:
                continue
            end, match_at = 0, pattern.compiled().match
            for at in found[0] if len(found) == 1 else sorted(chain.from_iterable(found)):
                if at >= end and (match := match_at(places.text, at)):
                    end = match.end()
                    yield at, end


def _begins(expression: Expression) -> frozenset[str] | None:
    """Return what matches begin with: a pair, or one character where any may follow it."""
    singles = {h[0] for h in expression.heads if len(h) == 1 or h[1] == ANY}
    if ANY in singles:
        return None
    pairs = {h for h in expression.heads if h[0] not in singles}
    # The same beginnings come again in many concepts: one string each.
    return frozenset(map(sys.intern, singles | pairs))


@dataclass(frozen=True, slots=True)
class Lexicon:
    """The compiled vocabulary.

    Attributes:
        version: of language.yaml; part of every verdict.
        concepts: what people talk about, by name.
        scopes: words that change what is claimed (negators, past, hypothesis …), by name.
        emoji: emoji → words.
        spelling: typo or contraction → the spelling the terms use.
        spelling_pattern: matches any key of `spelling`.
    """

    version: str
    concepts: Mapping[str, Concept]
    scopes: Mapping[str, Concept]
    emoji: dict[str, str]
    spelling: dict[str, str]
    spelling_pattern: re.Pattern[str]


def read_yaml(name: str) -> dict[str, Any]:
    """Read one of this package's YAML files."""
    # The C loader is 10 times faster; both are safe loaders.
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    content = (files("core.triage") / name).read_text("utf-8")
    return cast("dict[str, Any]", yaml.load(content, Loader=loader))  # noqa: S506 a safe loader, see above


_reading = threading.Lock()


class _Compiler:
    """Compiles concepts on demand, so that one may refer to another."""

    def __init__(self, blocks: Mapping[str, Mapping[str, str]]) -> None:
        self._blocks = blocks
        # Only what others refer to is kept: all of it would double the memory of a start.
        self._referred = {
            name
            for block in blocks.values()
            for terms in block.values()
            for name in _REFERENCE.findall(terms)
        }
        self._done: dict[tuple[str, str], Expression] = {}
        self._open: list[str] = []

    def expression(self, name: str, language: str) -> Expression:
        key = (name, language)
        if key in self._done:
            return self._done[key]
        if name in self._open or language not in self._blocks.get(name, {}):
            raise Bug(f"lexicon: <{name}> has no {language} terms or refers to itself")
        self._open.append(name)
        expression = compile_terms(
            self._blocks[name][language], language, lambda other: self.expression(other, language)
        )
        self._open.pop()
        if name in self._referred:
            self._done[key] = expression
        return expression

    def concept(self, name: str) -> Concept:
        found = {
            lang: self.expression(name, lang) for lang in LANGUAGES if lang in self._blocks[name]
        }
        return Concept(
            name,
            {lang: Pattern(e.regex) for lang, e in found.items()},
            {lang: _begins(e) for lang, e in found.items()},
        )


def _pairs(block: str) -> dict[str, str]:
    pairs = (line.split("→") for line in split_terms(block))
    return {old.strip(): new.strip() for old, new in pairs}


def _spelling_pattern(spelling: Mapping[str, str]) -> re.Pattern[str]:
    words = sorted(spelling, key=len, reverse=True)
    latin = "|".join(re.escape(w) for w in words if w[0] < "\x7f")
    other = "|".join(re.escape(w) for w in words if w[0] >= "\x7f")
    return re.compile(rf"(?<![a-z0-9])(?:{latin})(?![a-z0-9'])|{other}")


@cache
def lexicon() -> Lexicon:
    """Return the vocabulary, read at first use; whoever comes meanwhile waits."""
    with _reading:
        return _lexicon()


@cache
def _lexicon() -> Lexicon:
    data = read_yaml("vocabulary/language.yaml")
    concepts: dict[str, dict[str, str]] = {}
    for area in AREAS:
        concepts |= read_yaml(f"vocabulary/{area}.yaml")["concepts"]
    scopes: dict[str, dict[str, str]] = data["scopes"]
    compiler = _Compiler({**concepts, **scopes})
    spelling = _pairs(data["spelling"])
    return Lexicon(
        version=str(data["version"]),
        concepts={name: compiler.concept(name) for name in concepts},
        scopes={name: compiler.concept(name) for name in scopes},
        emoji=_pairs(data["emoji"]),
        spelling=spelling,
        spelling_pattern=_spelling_pattern(spelling),
    )
