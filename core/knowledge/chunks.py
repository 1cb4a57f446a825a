"""Cuts a book into passages short enough to be read on a phone and cited by page.

A passage never crosses a heading or a page, so that what is cited stands where it says.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from core.knowledge.book_files import Piece

# In widths of a Chinese character: about a screen of a small phone.
_LONGEST = 320.0
_LATIN_WIDTH = 0.35
_SENTENCE = re.compile(r".+?(?:[。！？!?；;]+[”’」』）)]*|\.(?=\s)|$)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Chunk:
    """One passage; `page` as in `Piece`."""

    text: str
    headings: tuple[str, ...]
    page: int | None


def _place(piece: Piece) -> tuple[tuple[str, ...], int | None]:
    return piece.headings, piece.page


def _width(text: str) -> float:
    return sum(_LATIN_WIDTH if c.isascii() else 1.0 for c in text)


def chunks(pieces: Iterable[Piece]) -> Iterator[Chunk]:
    """Yield the passages in the order of the book; nothing of its text is lost."""
    held: list[str] = []
    width = 0.0
    start: Piece | None = None
    for piece in pieces:
        for part in _parts(piece.text):
            full = width + _width(part) > _LONGEST
            moved = start is not None and _place(piece) != _place(start)
            if start is not None and (full or moved):
                yield Chunk("\n".join(held), start.headings, start.page)
                held, width, start = [], 0.0, None
            start = start or piece
            held.append(part)
            width += _width(part)
    if start is not None:
        yield Chunk("\n".join(held), start.headings, start.page)


def _parts(text: str) -> Iterator[str]:
    """Yield a paragraph in pieces of at most the longest passage, cut at sentence ends."""
    if _width(text) <= _LONGEST:
        if text.strip():
            yield text.strip()
        return
    held = ""
    for sentence in (s for found in _SENTENCE.findall(text) for s in _hard_cut(found)):
        if held and _width(held) + _width(sentence) > _LONGEST:
            yield held.strip()
            held = ""
        held += sentence
    if held.strip():
        yield held.strip()


def _hard_cut(sentence: str) -> Iterator[str]:
    """Yield a sentence, in pieces if it alone is too long (tables, lists without stops)."""
    while _width(sentence) > _LONGEST:
        at, width = 0, 0.0
        while width <= _LONGEST:
            width += _LATIN_WIDTH if sentence[at].isascii() else 1.0
            at += 1
        at -= 1
        space = sentence.rfind(" ", at // 2, at)
        at = space + 1 if space > 0 else at
        yield sentence[:at]
        sentence = sentence[at:]
    if sentence:
        yield sentence
