"""The vocabulary as data: concepts, scope words and spellings from `vocabulary/*.yaml`.

A clinician edits the YAML files; `terms` explains their small language.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, cast

import yaml

from core.errors import Bug
from core.triage.terms import Expression, compile_terms, split_terms

LANGUAGES = ("zh", "en")
# Files of concepts; language.yaml beside them has scope words, emoji and spellings.
AREAS = ("people", "time", "sight", "surface", "injury", "nerves", "children")


@dataclass(frozen=True, slots=True)
class Concept:
    """One class of expressions.

    Attributes:
        name: key in the YAML file.
        patterns: one per language it has terms in.
        first: per language, the characters a match can begin with; a cheap way to skip.
    """

    name: str
    patterns: Mapping[str, re.Pattern[str]]
    first: Mapping[str, frozenset[str]]

    def find(self, text: str, characters: frozenset[str]) -> Iterator[tuple[int, int]]:
        """Yield the spans of `text` that express this concept; `characters` is ``set(text)``."""
        for language, pattern in self.patterns.items():
            if not characters.isdisjoint(self.first[language]):
                for match in pattern.finditer(text):
                    yield match.span()


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


class _Compiler:
    """Compiles concepts on demand, so that one may refer to another."""

    def __init__(self, blocks: Mapping[str, Mapping[str, str]]) -> None:
        self._blocks = blocks
        self._done: dict[tuple[str, str], Expression] = {}
        self._open: list[str] = []

    def expression(self, name: str, language: str) -> Expression:
        key = (name, language)
        if key not in self._done:
            if name in self._open or language not in self._blocks.get(name, {}):
                raise Bug(f"lexicon: <{name}> has no {language} terms or refers to itself")
            self._open.append(name)
            self._done[key] = compile_terms(
                self._blocks[name][language],
                language,
                lambda other: self.expression(other, language),
            )
            self._open.pop()
        return self._done[key]

    def concept(self, name: str) -> Concept:
        found = {
            lang: self.expression(name, lang) for lang in LANGUAGES if lang in self._blocks[name]
        }
        return Concept(
            name,
            {lang: re.compile(e.regex) for lang, e in found.items()},
            {lang: e.first for lang, e in found.items()},
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
    """Return the vocabulary, compiled at first use."""
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
