"""How people say it: lay words of a question, translated into the words of the articles."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from typing import Any, cast

import yaml

_WHOLE_WORD = 3  # shorter sayings must be whole words: "er" is not in "every"


@cache
def _sayings() -> tuple[tuple[tuple[str, str], ...], re.Pattern[str], dict[str, str]]:
    """Return Chinese sayings, a pattern of the English ones, and what those mean."""
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    content = (files("core.knowledge") / "lay.yaml").read_text("utf-8")
    entries = cast("dict[str, list[Any]]", yaml.load(content, Loader=loader))  # noqa: S506 safe loaders only
    chinese: list[tuple[str, str]] = []
    english: dict[str, str] = {}
    for meaning, sayings in entries.items():
        for saying in map(str, sayings):
            if saying[0].isascii():
                english[saying] = f"{english.get(saying, '')} {meaning}".strip()
            else:
                chinese.append((saying, meaning))
    longest_first = sorted(english, key=len, reverse=True)
    ends = (f"{re.escape(s)}\\b" if len(s) <= _WHOLE_WORD else re.escape(s) for s in longest_first)
    return tuple(chinese), re.compile(rf"(?<![a-z0-9])(?:{'|'.join(ends)})"), english


def meanings(question: str) -> str:
    """Return the words of the articles that a question's lay words stand for, or "".

    Args:
        question: as `core.knowledge.terms.plain` returns it.
    """
    chinese, pattern, english = _sayings()
    found = [meaning for saying, meaning in chinese if saying in question]
    found += (english[match] for match in pattern.findall(question))
    return " ".join(dict.fromkeys(found))
