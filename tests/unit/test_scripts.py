"""Our scripts run on the oldest WebView we promise: ES2020, Chrome 80.

No parser of JavaScript is a dependency here, so this looks for what came later by its shape.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted(ROOT.glob("adapters/*/static/*.js"))
_LATER = {
    "logical assignment (ES2021)": r"(\?\?|\|\||&&)=",
    "numeric separator (ES2021)": r"\b\d+_\d",
    "replaceAll (ES2021)": r"\.replaceAll\(",
    "Promise.any (ES2021)": r"\bPromise\.any\b",
    "at (ES2022)": r"\.at\(",
    "Object.hasOwn (ES2022)": r"\bObject\.hasOwn\b",
    "private member (ES2022)": r"(?<![\w\"'`#&/(\[=:.])#[a-zA-Z_]\w*\s*[=(;]",
    "static block (ES2022)": r"\bstatic\s*\{",
    "findLast, toSorted and friends (ES2023)": r"\.(findLast|toSorted|toReversed|with)\(",
    "structuredClone (Chrome 98)": r"\bstructuredClone\b",
    "replaceChildren (Chrome 86)": r"\.replaceChildren\(",
    "code from text, which the policy refuses": r"\b(eval|new Function)\b",
    "style attributes, which the policy refuses": r"setAttribute\(\s*[\"']style[\"']",
}


def _code(path: Path) -> str:
    """Return a script without its comments."""
    return re.sub(r"(?m)/\*.*?\*/|(?<!:)//.*$", "", path.read_text("utf-8"))


def test_there_are_scripts() -> None:
    assert len(SCRIPTS) >= 6


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda p: p.name)
@pytest.mark.parametrize("what", _LATER)
def test_nothing_newer_than_es2020(path: Path, what: str) -> None:
    assert re.findall(_LATER[what], _code(path)) == []


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("a ??= 1", "logical assignment (ES2021)"),
        ("x = 1_000", "numeric separator (ES2021)"),
        ("class A { #secret = 1 }", "private member (ES2022)"),
        ("list.at(-1)", "at (ES2022)"),
    ],
)
def test_the_shapes_are_found(line: str, what: str) -> None:
    assert re.search(_LATER[what], line)
