"""Cuts an answer into the sentences and clauses that the checks look at. Pure."""

from __future__ import annotations

import re
import unicodedata

SENTENCE_END = re.compile(r"[。！？!?；;\n]+|\.(?=\s)")
_CLAUSE_END = re.compile(
    r"[,，:：]|\s[-–—]\s|(?:但是?|可是|不过|而且?|所以)|\b(?:but|however|so)\b"
)
_LONGEST = 300
# What may stand between the characters of a forbidden word without anybody seeing it.
_UNSEEN = re.compile(r"[*_`#\u00ad\u200b-\u200f\u2060\ufeff]")


def sentences(answer: str) -> list[str]:
    """Return the sentences with their ends; joined they are the answer again.

    What never ends is cut into pieces: the checks' patterns take time with the square of it.
    """
    ends = [m.end() for m in SENTENCE_END.finditer(answer)]
    return [
        answer[start : min(start + _LONGEST, b)]
        for a, b in zip([0, *ends], [*ends, len(answer)], strict=True)
        for start in range(a, b, _LONGEST)
    ]


def plain(sentence: str) -> str:
    """Return a sentence as it is matched: full-width forms folded, emphasis removed.

    A question keeps its mark, because it claims nothing.
    """
    folded = unicodedata.normalize("NFKC", sentence).lower().replace("’", "'")
    return _UNSEEN.sub("", folded).rstrip(" .。!…\n;")


def clauses(plain_sentence: str) -> list[str]:
    """Return the clauses of a plain sentence, empty ones left out."""
    return [c for part in _CLAUSE_END.split(plain_sentence) if (c := part.strip())]
