"""What a drug is for and what to watch: a small data file, never a dose.

`reviewed_by: none` until a clinician or pharmacist has signed `drugs.yaml`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, cast

import yaml

from core.errors import Bug
from core.message import LANGUAGES, Language

# A name of two Latin letters is too often part of another word.
_SHORTEST = 2


@dataclass(frozen=True, slots=True)
class DrugClass:
    """What all drugs of a class have in common; sources are keys of the data file."""

    name: Mapping[Language, str]
    purpose: Mapping[Language, str]
    cautions: Mapping[Language, str]
    tell: Mapping[Language, str]
    sources: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Drug:
    """One drug with its names: international first, then brands."""

    id: str
    names: Mapping[Language, tuple[str, ...]]
    drug_class: DrugClass


@dataclass(frozen=True, slots=True)
class Formulary:
    """The whole file."""

    version: str
    reviewed_by: str
    drugs: tuple[Drug, ...]


def parse(raw: Mapping[str, Any]) -> Formulary:
    """Check and return the file.

    Raises:
        Bug: a drug names an unknown class or source, or lacks a language.
    """
    classes: dict[str, DrugClass] = {}
    for name, row in raw["classes"].items():
        named, purpose = row["name"], row["for"]
        cautions, tell = row["cautions"], row["tell"]
        if any(set(t) != set(LANGUAGES) for t in (named, purpose, cautions, tell)):
            raise Bug(f"drugs.yaml, {name!r}: a text lacks a language")
        if unknown := set(row["sources"]) - set(raw["sources"]):
            raise Bug(f"drugs.yaml, {name!r}: unknown sources {sorted(unknown)}")
        classes[name] = DrugClass(named, purpose, cautions, tell, tuple(row["sources"]))
    drugs: list[Drug] = []
    for drug_id, row in raw["drugs"].items():
        if row["class"] not in classes:
            raise Bug(f"drugs.yaml, {drug_id!r}: unknown class {row['class']!r}")
        names: dict[Language, tuple[str, ...]] = {
            tag: tuple(map(str, row[tag])) for tag in LANGUAGES
        }
        drugs.append(Drug(drug_id, names, classes[row["class"]]))
    return Formulary(str(raw["version"]), raw["reviewed_by"], tuple(drugs))


@cache
def formulary() -> Formulary:
    """Return the shipped file, read once."""
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    content = (files("core.agent") / "drugs.yaml").read_text("utf-8")
    return parse(cast("dict[str, Any]", yaml.load(content, Loader=loader)))  # noqa: S506 safe loaders only


def _fold(name: str) -> str:
    return re.sub(r"[\s®™.-]+", "", unicodedata.normalize("NFKC", name).casefold())


@cache
def _by_name() -> tuple[tuple[str, Drug], ...]:
    """Return folded names, longest first, so that the most exact one is found."""
    named = [
        (_fold(name), drug)
        for drug in formulary().drugs
        for names in drug.names.values()
        for name in names
    ]
    return tuple(sorted(named, key=lambda pair: -len(pair[0])))


def find(name: str) -> Drug | None:
    """Return the drug of this name; a name within a longer one ("… eye drops") counts."""
    asked = _fold(name[:200])
    if len(asked) < _SHORTEST:
        return None
    return next((drug for known, drug in _by_name() if known in asked), None)


@cache
def latin_names() -> frozenset[str]:
    """Return all names in Latin letters, folded: words that count as a drug for the checks."""
    return frozenset(name for name, _ in _by_name() if name.isascii() and len(name) > 3)


@cache
def chinese_names() -> frozenset[str]:
    """Return all names in Chinese, folded."""
    return frozenset(name for name, _ in _by_name() if not name.isascii())
