"""Bring a message into the one spelling the lexicon knows, without losing where it came from.

Lower case, full-width → half-width, traditional → simplified, emoji → words, common typos and
English contractions mended. Every character of the result remembers its place in the original,
so that evidence can be shown as the person wrote it.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from core.errors import Bug
from core.triage.lexicon import Lexicon

# A person in need writes the point first or last; what lies between the ends of a very long
# text (a pasted page) is not looked at, which bounds the time of one assessment.
HEAD_CHARS = 3000
TAIL_CHARS = 3000

_SPACED_HAN = re.compile(
    r"(?<![\u4e00-\u9fff])(?:[\u4e00-\u9fff] ){2,}[\u4e00-\u9fff](?![\u4e00-\u9fff])"
)
_HAN_GAP = re.compile(r"(?<=[\u4e00-\u9fff]) +(?=[\u4e00-\u9fff])")
_PUNCTUATION = frozenset("，。！？；：")
_HYPHEN = re.compile(r"(?<=[a-z])-(?=[a-z])")
_SPACES = re.compile(r"[ \t\u3000\u00a0]{2,}")


@dataclass(frozen=True, slots=True)
class Normalised:
    """A normalised text.

    Attributes:
        text: what the lexicon is matched against.
        origin: for each character of `text`, its index in `source`.
        source: the text as it was written.
    """

    text: str
    origin: tuple[int, ...]
    source: str

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Return the span of `source` that became ``text[start:end]``."""
        if start >= end:
            return (0, 0)
        return self.origin[start], self.origin[end - 1] + 1


@cache
def traditional() -> dict[str, str]:
    """Return traditional → simplified characters, read from OpenCC's own table.

    The table is read as data because importing and running OpenCC takes 100 times as long.
    """
    spec = find_spec("opencc")
    if spec is None or spec.origin is None:
        raise Bug("opencc-python-reimplemented is not installed: reinstall the service")
    table = Path(spec.origin).parent / "dictionary" / "TSCharacters.txt"
    pairs = (line.split("\t", 1) for line in table.read_text("utf-8").splitlines() if "\t" in line)
    simplified = {old: new.split(" ")[0] for old, new in pairs if len(old) == 1}
    return {old: new for old, new in simplified.items() if len(new) == 1}


def _character(char: str, emoji: dict[str, str]) -> str:
    if char < "\x7f":
        return char.lower() if char >= " " or char == "\n" else " "
    if char in _PUNCTUATION:
        return char  # NFKC would make it ASCII, where it means less
    if char in emoji:
        return emoji[char]
    if "\u4e00" <= char <= "\u9fff":
        return traditional().get(char, char)
    if unicodedata.category(char) in ("Cs", "Cf", "Mn", "Cn", "Co"):
        return ""  # lone surrogates, zero-width joiners, variation selectors
    return unicodedata.normalize("NFKC", char).lower()


def _ends(text: str) -> tuple[str, list[int]]:
    if len(text) <= HEAD_CHARS + TAIL_CHARS:
        return text, list(range(len(text)))
    tail = len(text) - TAIL_CHARS
    kept = text[:HEAD_CHARS] + "\n" + text[tail:]
    return kept, [*range(HEAD_CHARS), HEAD_CHARS, *range(tail, len(text))]


def _replace(
    text: str, origin: list[int], pattern: re.Pattern[str], words: dict[str, str]
) -> tuple[str, list[int]]:
    """Replace each match by its entry in `words`; unknown matches lose their spaces."""
    pieces: list[str] = []
    places: list[int] = []
    at = 0
    for match in pattern.finditer(text):
        start, end = match.span()
        new = words.get(match.group(), match.group().replace(" ", ""))
        pieces += (text[at:start], new)
        places += origin[at:start]
        last = end - start - 1
        places += [origin[start + min(i, last)] for i in range(len(new))]
        at = end
    if not pieces:
        return text, origin
    pieces.append(text[at:])
    places += origin[at:]
    return "".join(pieces), places


def normalise(text: str, lexicon: Lexicon) -> Normalised:
    """Normalise one message; any string is accepted."""
    kept, places = _ends(text)
    chars: list[str] = []
    origin: list[int] = []
    for char, place in zip(kept, places, strict=True):
        new = _character(char, lexicon.emoji)
        chars.append(new)
        origin += [place] * len(new)
    result = "".join(chars)
    if "-" in result:
        result, origin = _replace(result, origin, _HYPHEN, {"-": " "})
    if " " in result:
        result, origin = _replace(result, origin, _SPACED_HAN, {})
        result, origin = _replace(result, origin, _HAN_GAP, {" ": " ", "  ": " "})
        result, origin = _replace(
            result, origin, _SPACES, dict.fromkeys(_SPACES.findall(result), " ")
        )
    result, origin = _replace(result, origin, lexicon.spelling_pattern, lexicon.spelling)
    return Normalised(result, tuple(origin), text)
