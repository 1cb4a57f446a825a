"""The knowledge base: bilingual Markdown articles, each fact with the source it must agree with.

A fact ends in its source keys, ``[CO4]`` when the source's own text was read, ``[AAO-DR?]`` when
the fact still has to be checked against it. `reviewed_by: none` until a clinician has signed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, cast

import yaml

from core.errors import Bug
from core.message import LANGUAGES, Language

_FRONT = re.compile(r"\A---\n(.*?)\n---\n(.*)\Z", re.DOTALL)
_FACT = re.compile(r"- (.+?) ((?:\[[A-Z0-9-]+\??\])+)")
_SOURCE = re.compile(r"\[([A-Z0-9-]+)(\??)\]")
_GO = {"zh-Hans": "**何时马上就医**：", "en": "**When to go now**: "}


@dataclass(frozen=True, slots=True)
class Fact:
    """One statement; `sources` are (key, was its text read)."""

    text: str
    sources: tuple[tuple[str, bool], ...]


@dataclass(frozen=True, slots=True)
class Article:
    """One topic in both languages."""

    id: str
    slug: str
    title: Mapping[Language, str]
    aliases: Mapping[Language, tuple[str, ...]]
    facts: Mapping[Language, tuple[Fact, ...]]
    when_to_go: Mapping[Language, str]
    sources: tuple[str, ...]
    reviewed_by: str
    version: int


def parse(name: str, content: str) -> Article:
    """Read one article.

    Raises:
        Bug: the file does not have the form of an article; the message names file and line.
    """
    match = _FRONT.match(content)
    if match is None:
        raise Bug(f"{name}: front matter between '---' lines is missing")
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    front = cast("dict[str, Any]", yaml.load(match.group(1), Loader=loader))  # noqa: S506 safe loaders only
    facts: dict[Language, tuple[Fact, ...]] = {}
    when_to_go: dict[Language, str] = {}
    for section in re.split(r"^## ", match.group(2), flags=re.MULTILINE)[1:]:
        heading, *lines = [line for line in section.splitlines() if line.strip()]
        language: Language | None = next((t for t in LANGUAGES if t == heading.strip()), None)
        if language is None:
            raise Bug(f"{name}: section {heading!r} is none of {LANGUAGES}")
        if not lines or not lines[-1].startswith(_GO[language]):
            raise Bug(f"{name}, {language}: the last line must start with {_GO[language]!r}")
        when_to_go[language] = lines[-1].removeprefix(_GO[language])
        found: list[Fact] = []
        for line in lines[:-1]:
            fact = _FACT.fullmatch(line)
            if fact is None:
                raise Bug(f"{name}, {language}: not '- fact [SOURCE]': {line!r}")
            keys = tuple((k, mark == "") for k, mark in _SOURCE.findall(fact.group(2)))
            found.append(Fact(fact.group(1), keys))
        facts[language] = tuple(found)
    return Article(
        id=front["id"],
        slug=front["slug"],
        title=front["title"],
        aliases={tag: tuple(map(str, front["aliases"][tag])) for tag in LANGUAGES},
        facts=facts,
        when_to_go=when_to_go,
        sources=tuple(front["sources"]),
        reviewed_by=front["reviewed_by"],
        version=front["version"],
    )


@cache
def articles() -> Mapping[str, Article]:
    """Return all articles by id, in the order of their ids; read once."""
    folder = files("core.knowledge") / "articles"
    entries = sorted((e for e in folder.iterdir() if e.name.endswith(".md")), key=lambda e: e.name)
    found = (parse(e.name, e.read_text("utf-8")) for e in entries)
    return {article.id: article for article in found}
