"""A clinic's own books: one SQLite file with its full-text index, replaced as a whole.

`kb add` writes a copy and renames it over the file, so readers never wait for a writer, a crash
leaves the old file, and any file system that replicas share will do. A reader looks at the file's
stamp before each question (microseconds) and opens the new one by itself.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import sqlite3
import tempfile
import unicodedata
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

from core.errors import ConfigError
from core.knowledge.book_files import read_book
from core.knowledge.chunks import chunks
from core.knowledge.terms import language_of_text, tokens
from core.message import Language

log = structlog.get_logger(__name__)

# Raise it when `tokens` or the tables change: the index is then made anew from the passages.
_FORMAT = 1
_MAX_PASSAGES = 15_000  # of all books, about 3,000 pages: retrieval stays under its 15 ms
_TERMS_ASKED = 12
_LONGEST_NAME = 60
_HEADING_WEIGHT = 3.0
_TABLES = """
CREATE TABLE book (id TEXT PRIMARY KEY, hash TEXT NOT NULL UNIQUE, title TEXT NOT NULL,
  language TEXT NOT NULL, pages INTEGER, passages INTEGER NOT NULL, bytes INTEGER NOT NULL,
  added_at_ms INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE passage (id INTEGER PRIMARY KEY, book TEXT NOT NULL REFERENCES book(id),
  number INTEGER NOT NULL, headings TEXT NOT NULL, page INTEGER, text TEXT NOT NULL,
  UNIQUE (book, number));
CREATE VIRTUAL TABLE term USING fts5(headings, body, tokenize='unicode61');
"""


@dataclass(frozen=True, slots=True)
class Book:
    """One book as `kb list` shows it; `id` is made of its file's name."""

    id: str
    hash: str
    title: str
    language: Language
    pages: int | None
    passages: int
    bytes: int
    added_at_ms: int


@dataclass(frozen=True, slots=True)
class BookPassage:
    """A passage of a book; `id` is ``<book>#<number>``."""

    id: str
    title: str
    language: Language
    headings: tuple[str, ...]
    page: int | None
    text: str


@dataclass(frozen=True, slots=True)
class Added:
    """What `Library.add` did; `same_as` names the book that already holds this content."""

    book: Book
    replaced: bool = False
    same_as: str | None = None


class Library:
    """The books in one folder. Reading is safe from any thread; writers wait for each other.

    Args:
        folder: holds ``books.db``; made at the first `add`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = folder / "books.db"
        self._stamp: tuple[int, int, int] | None = None
        self._open: sqlite3.Connection | None = None

    # -- reading -------------------------------------------------------------------------

    def books(self) -> list[Book]:
        """Return all books by name."""
        with _quiet():
            if (db := self._connection()) is not None:
                return [Book(*row) for row in db.execute("SELECT * FROM book ORDER BY id")]
        return []

    def passages(self, book: str) -> list[BookPassage]:
        """Return a book's passages in its order."""
        with _quiet():
            if (db := self._connection()) is not None:
                return [
                    _passage(r)
                    for r in db.execute(f"{_SELECT} WHERE b.id = ? ORDER BY p.number", (book,))
                ]
        return []

    def passage(self, passage_id: str) -> BookPassage | None:
        """Return one passage, or None when its book is gone or shorter."""
        book, _, number = passage_id.rpartition("#")
        with _quiet():
            db = self._connection()
            if db is not None and number.isdecimal():
                where = f"{_SELECT} WHERE b.id = ? AND p.number = ?"
                row = db.execute(where, (book, int(number))).fetchone()
                return _passage(row) if row else None
        return None

    def find(self, terms: Sequence[str], limit: int) -> list[BookPassage]:
        """Return the passages that hold most of the terms (`tokens`, most telling first)."""
        asked = [t for t in terms if t.isascii() or len(t) > 1][:_TERMS_ASKED]
        if not asked:
            return []
        with _quiet():
            if (db := self._connection()) is not None:
                best = (
                    "SELECT rowid, bm25(term, ?, 1.0) AS score FROM term WHERE term MATCH ? "
                    "ORDER BY score LIMIT ?"
                )
                rows = db.execute(
                    f"{_SELECT} JOIN ({best}) found ON found.rowid = p.id ORDER BY found.score",
                    (_HEADING_WEIGHT, " OR ".join(f'"{t}"' for t in asked), limit),
                )
                return [_passage(row) for row in rows]
        return []

    def close(self) -> None:
        """Let go of the file."""
        if self._open is not None:
            self._open.close()
        self._open = self._stamp = None

    def _connection(self) -> sqlite3.Connection | None:
        """Return the current file's connection, or None when there are no books."""
        try:
            found = self._file.stat()
        except OSError:
            self.close()
            return None
        stamp = (found.st_ino, found.st_mtime_ns, found.st_size)
        if self._open is None or stamp != self._stamp:
            self.close()
            # Immutable: this file is only ever replaced, so no locks and no look for a journal.
            uri = f"{self._file.absolute().as_uri()}?mode=ro&immutable=1"
            db = sqlite3.connect(uri, uri=True, check_same_thread=False)
            if db.execute("PRAGMA user_version").fetchone() != (_FORMAT,):
                db.close()
                log.warning("books_outdated")
                return None
            self._open, self._stamp = db, stamp
        return self._open

    # -- writing -------------------------------------------------------------------------

    def add(self, path: Path, *, now_ms: int, title: str | None = None) -> Added:
        """Read a file and take it in; the same content twice changes nothing.

        A changed file of the same name takes the old one's place.

        Raises:
            ConfigError: the file cannot be used, or the library is full; says what to do.
        """
        name = book_name(path)
        content, data = read_book(path)
        digest = hashlib.sha256(data).hexdigest()
        known = next((b for b in self.books() if b.hash == digest), None)
        if known is not None and (known.id != name or title in (None, known.title)):
            return Added(known, same_as=known.id)
        cut = list(chunks(content.pieces))
        words = "\n".join(c.text for c in cut[:200])
        book = Book(
            name,
            digest,
            title or content.title[:200],
            language_of_text(words),
            content.pages,
            len(cut),
            len(data),
            now_ms,
        )
        with self._changing() as db:
            replaced = _forget(db, name)
            (held,) = db.execute("SELECT count(*) FROM passage").fetchone()
            if held + len(cut) > _MAX_PASSAGES:
                raise ConfigError(
                    f"{path}: with its {len(cut):,} passages the library would hold "
                    f"{held + len(cut):,}, at most {_MAX_PASSAGES:,}; remove a book first"
                )
            row = (book.id, book.hash, book.title, book.language, book.pages, book.passages)
            db.execute(
                "INSERT INTO book VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (*row, book.bytes, book.added_at_ms),
            )
            for number, chunk in enumerate(cut, start=1):
                headings = json.dumps(chunk.headings, ensure_ascii=False)
                rowid = db.execute(
                    "INSERT INTO passage (book, number, headings, page, text) "
                    "VALUES (?, ?, ?, ?, ?)",
                    (name, number, headings, chunk.page, chunk.text),
                ).lastrowid
                _index(db, rowid, chunk.headings, chunk.text)
        return Added(book, replaced=replaced)

    def remove(self, book: str) -> bool:
        """Take a book out; False when there is none of that name."""
        if all(b.id != book for b in self.books()):
            return False
        with self._changing() as db:
            return _forget(db, book)

    def refresh_index(self) -> bool:
        """Make the index anew if another version of the program made it; True when it did."""
        if not self._file.exists():
            return False
        with closing(sqlite3.connect(f"{self._file.absolute().as_uri()}?mode=ro", uri=True)) as db:
            if db.execute("PRAGMA user_version").fetchone() == (_FORMAT,):
                return False
        with self._changing() as db:
            db.execute("DELETE FROM term")
            rows = db.execute("SELECT id, headings, text FROM passage").fetchall()
            for rowid, headings, text in rows:
                _index(db, rowid, json.loads(headings), text)
        return True

    @contextmanager
    def _changing(self) -> Generator[sqlite3.Connection]:
        """Give a copy to change; it replaces the file when the block ends well."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            handle = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise ConfigError(
                f"data_dir: {self._folder} cannot be written ({error.strerror}); check owner and "
                "permissions"
            ) from None
        copy = Path()
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            number, name = tempfile.mkstemp(prefix=".books-", suffix=".db", dir=self._folder)
            os.close(number)
            copy = Path(name)
            if self._file.exists():
                shutil.copyfile(self._file, copy)
            with closing(sqlite3.connect(copy, isolation_level=None)) as db:
                # A copy that a crash leaves half-done is thrown away, so nothing is synced here.
                db.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF")
                if not db.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone():
                    db.executescript(_TABLES)
                db.execute("BEGIN")
                yield db
                db.execute("COMMIT")
                db.execute(f"PRAGMA user_version = {_FORMAT}")
            _sync(copy)
            copy.replace(self._file)
            _sync(self._folder)
        except (sqlite3.Error, OSError) as error:
            raise ConfigError(
                f"data_dir: the books in {self._folder} cannot be changed "
                f"({type(error).__name__}); check space and permissions, or remove books.db and "
                "add them again"
            ) from None
        finally:
            with suppress(OSError):
                copy.unlink()
            os.close(handle)
            self.close()


def book_name(path: Path) -> str:
    """Return what a file's book is called: its name, short and fit to be cited as ``[name#3]``."""
    name = re.sub(r"[^\w.-]+", "-", unicodedata.normalize("NFC", path.name))
    if len(name) > _LONGEST_NAME:
        digest = hashlib.sha256(name.encode()).hexdigest()[:8]
        name = f"{name[: _LONGEST_NAME - 20]}-{digest}{path.suffix}"
    return name


_SELECT = (
    "SELECT b.id, p.number, b.title, b.language, p.headings, p.page, p.text "
    "FROM passage p JOIN book b ON b.id = p.book"
)


def _passage(row: tuple[str, int, str, Language, str, int | None, str]) -> BookPassage:
    book, number, title, language, headings, page, text = row
    above = tuple(json.loads(headings))
    return BookPassage(f"{book}#{number}", title, language, above, page, text)


def _index(db: sqlite3.Connection, rowid: int | None, headings: Iterable[str], text: str) -> None:
    db.execute(
        "INSERT INTO term (rowid, headings, body) VALUES (?, ?, ?)",
        (rowid, _words(" ".join(headings)), _words(text)),
    )


def _words(content: str) -> str:
    """Return the terms as the index holds them; single characters would be in every passage."""
    return " ".join(t for t in tokens(content) if t.isascii() or len(t) > 1)


def _forget(db: sqlite3.Connection, book: str) -> bool:
    db.execute("DELETE FROM term WHERE rowid IN (SELECT id FROM passage WHERE book = ?)", (book,))
    db.execute("DELETE FROM passage WHERE book = ?", (book,))
    return db.execute("DELETE FROM book WHERE id = ?", (book,)).rowcount > 0


@contextmanager
def _quiet() -> Generator[None]:
    """Let a damaged library cost its books, never an answer."""
    try:
        yield
    except sqlite3.Error as error:
        log.warning("books_unreadable", error=type(error).__name__)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
