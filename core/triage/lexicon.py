"""The vocabulary as data: concepts, scope words and spellings from `vocabulary/*.yaml`.

A clinician edits the YAML files; `terms` explains their small language, and `places` finds what
they name in a text.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, cast

import yaml

from core.errors import Bug
from core.triage.places import Finder, Pattern
from core.triage.terms import Expression, compile_terms, split_terms

LANGUAGES = ("zh", "en")
_REFERENCE = re.compile(r"<(\w+)>")
# Files of concepts; language.yaml beside them has scope words, emoji and spellings.
AREAS = ("people", "time", "sight", "surface", "injury", "nerves", "children")


@dataclass(frozen=True, slots=True)
class Lexicon:
    """The compiled vocabulary.

    Attributes:
        version: of language.yaml; part of every verdict.
        concepts: what people talk about.
        scopes: words that change what is claimed (negators, past, hypothesis …).
        emoji: emoji → words.
        spelling: typo or contraction → the spelling the terms use.
        spelling_pattern: matches any key of `spelling`.
    """

    version: str
    concepts: Finder
    scopes: Finder
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

    def patterns(self, names: Iterable[str]) -> Iterator[tuple[Pattern, frozenset[str] | None]]:
        """Yield the patterns of concepts and their beginnings, each concept's together."""
        for name in names:
            for language in LANGUAGES:
                if language in self._blocks[name]:
                    expression = self.expression(name, language)
                    yield Pattern(name, language, expression.regex), expression.begins()


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
        concepts=Finder(compiler.patterns(concepts)),
        scopes=Finder(compiler.patterns(scopes)),
        emoji=_pairs(data["emoji"]),
        spelling=spelling,
        spelling_pattern=_spelling_pattern(spelling),
    )
