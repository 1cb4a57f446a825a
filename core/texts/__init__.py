"""Texts for people: one YAML file per area and language, looked up by ``area.name``.

Both languages hold the same keys and the same ``{fields}``; a test compares them.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any, cast

import yaml

from core.errors import Bug
from core.message import LANGUAGES, Language


def _flatten(prefix: str, node: object, into: dict[str, str]) -> None:
    if isinstance(node, dict):
        for key, value in cast("dict[str, Any]", node).items():
            _flatten(f"{prefix}.{key}", value, into)
    else:
        into[prefix] = str(node).rstrip("\n")


@cache
def catalogue(language: Language) -> dict[str, str]:
    """Return all texts of one language, keyed ``area.name``."""
    texts: dict[str, str] = {}
    for entry in (files("core.texts") / language).iterdir():
        if entry.name.endswith(".yaml"):
            content = yaml.load(entry.read_text("utf-8"), Loader=_Loader)  # noqa: S506 a safe loader, see below
            _flatten(entry.name.removesuffix(".yaml"), content, texts)
    return texts


# What a clinic says in its own words (`core.clinic`).
_overrides: dict[Language, dict[str, str]] = {language: {} for language in LANGUAGES}


def override(language: Language, wordings: dict[str, str]) -> None:
    """Use these wordings instead of the catalogue's, and of all earlier ones, in this process."""
    _overrides[language] = wordings


# The C loader is 10× faster and always in PyYAML's wheels; the fallback keeps odd builds working.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def text(language: Language, key: str, **fields: str | int | float) -> str:
    """Return one text with its fields filled in.

    Args:
        language: the person's language.
        key: ``area.name``.
        fields: values for the ``{fields}`` in the text.

    Raises:
        Bug: there is no such text.
    """
    found = _overrides[language].get(key) or catalogue(language).get(key)
    if found is None:
        raise Bug(f"no text {key!r} in catalogue {language!r}: add it to core/texts/{language}/")
    return found.format_map(fields) if fields else found
