"""`kb`: a clinic's own books in the knowledge base."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from bot.settings import Settings
from core.clock import SystemClock
from core.errors import ConfigError
from core.knowledge.library import Added, Book, Library
from core.knowledge.search import place
from core.turn.words import language_of


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")


def _library(settings: Settings) -> Library:
    library = Library(settings.library_dir)
    if library.refresh_index():
        _say("the index was of another version and was made anew")
    return library


def add_books(settings: Settings, files: Sequence[Path], *, title: str | None) -> int:
    """Add files; a bad one is named and does not stop the others. Returns the exit status."""
    if title and len(files) > 1:
        raise ConfigError("--title: names one book; add the files one by one")
    library = _library(settings)
    status = 0
    for path in files:
        try:
            _say(_told(path, library.add(path, now_ms=SystemClock().now_ms(), title=title)))
        except ConfigError as error:
            sys.stderr.write(f"oculichat: {error}\n")
            status = 1
    return status


def _told(path: Path, added: Added) -> str:
    if added.same_as is not None:
        return f"{path}: is already there as {added.same_as}, nothing to do"
    return f"{path}: {'replaced' if added.replaced else 'added'}: {_line(added.book)}"


def list_books(settings: Settings, *, as_json: bool) -> int:
    """Print every book; returns the exit status."""
    books = _library(settings).books()
    if as_json:
        _say(json.dumps([asdict(book) for book in books], ensure_ascii=False))
        return 0
    if not books:
        _say("no books: add some with `oculichat kb add FILE`")
    for book in books:
        _say(_line(book))
    return 0


def show_book(settings: Settings, book: str) -> int:
    """Print a book's passages as they are searched; status 1 when there is none of that name."""
    passages = _library(settings).passages(book)
    if not passages:
        return _unknown(book)
    for passage in passages:
        language = language_of(passage.text, None, "en") or "en"
        _say(f"--- {passage.id}  {place(passage, language)}\n{passage.text}\n")
    return 0


def remove_book(settings: Settings, book: str) -> int:
    """Take a book out; status 1 when there is none of that name."""
    if not _library(settings).remove(book):
        return _unknown(book)
    _say(f"removed: {book}")
    return 0


def _unknown(book: str) -> int:
    sys.stderr.write(
        f"oculichat: there is no book {book!r}; `oculichat kb list` shows their names\n"
    )
    return 1


def _line(book: Book) -> str:
    pages = f"{book.pages} pages" if book.pages is not None else "-"
    added = datetime.fromtimestamp(book.added_at_ms / 1000, UTC)
    return (
        f"{book.id}  {book.title!r}  {book.language}  {pages}  {book.passages} passages  "
        f"{added:%Y-%m-%d}"
    )
