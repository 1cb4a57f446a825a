"""Reads a clinic's own books: Markdown and text, DOCX, PDF. Nothing in a file is believed.

Each reader returns the book's paragraphs in order, with the headings above them and, where the
format knows it, the page. A file that cannot be used is refused with its name and the remedy.
"""

from __future__ import annotations

import io
import logging
import re
import time
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from core.errors import ConfigError

MAX_BYTES = 64 << 20
MAX_PAGES = 3_000
MAX_CHARACTERS = 8_000_000
_MAX_UNPACKED_BYTES = 256 << 20  # of a whole DOCX, pictures included
_MAX_XML_BYTES = 48 << 20  # of its text; the tree in memory is ten times that
_LONGEST_PDF_S = 300.0
_MIN_CHARACTERS_PER_PAGE = 20  # fewer, and the pages are pictures
_BROKEN_SHARE = 0.1  # fewer wrong characters than this: UTF-8 with damage, not another encoding


@dataclass(frozen=True, slots=True)
class Piece:
    """One paragraph.

    Attributes:
        text: without markup, one line.
        headings: from the top down; () before the first.
        page: 1 = the first page of the file, or None when the format has no pages.
    """

    text: str
    headings: tuple[str, ...]
    page: int | None = None


@dataclass(frozen=True, slots=True)
class BookText:
    """What a file says; `pages` is None where the format has none."""

    title: str
    pieces: tuple[Piece, ...]
    pages: int | None = None


def read_book(path: Path) -> tuple[BookText, bytes]:
    """Read a file; returns its text and its bytes.

    Raises:
        ConfigError: the file cannot be used; names it and the remedy.
    """
    try:
        if not path.is_file():
            raise ConfigError(f"{path}: there is no such file; check the path")
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise ConfigError(
                f"{path}: {size >> 20} MiB, at most {MAX_BYTES >> 20} are read; split the book or "
                "take its pictures out"
            )
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); check it") from None
    if not data.strip():
        raise ConfigError(f"{path}: is empty; give a file with text")
    book = _reader(path, data)(path, data)
    n_characters = sum(len(p.text) for p in book.pieces)
    if not any(re.search(r"\w", p.text) for p in book.pieces):
        raise ConfigError(f"{path}: holds no text; give a file with text")
    if n_characters > MAX_CHARACTERS:
        raise ConfigError(
            f"{path}: {n_characters:,} characters, at most {MAX_CHARACTERS:,}; split the book"
        )
    return book, data


_Reader = Callable[[Path, bytes], BookText]


def _reader(path: Path, data: bytes) -> _Reader:
    """Choose by what the file is; its name must agree."""
    suffix = path.suffix.lower()
    kinds: dict[str, _Reader] = {".pdf": _read_pdf, ".docx": _read_docx}
    kinds |= dict.fromkeys((".md", ".markdown", ".txt"), _read_markdown)
    if data.startswith(b"\xd0\xcf\x11\xe0"):
        raise ConfigError(f"{path}: is an old Word file (.doc); save it as .docx or PDF")
    if suffix not in kinds:
        raise ConfigError(f"{path}: only .md, .txt, .docx and .pdf are read; convert the file")
    is_pdf, is_zip = b"%PDF-" in data[:1024], data.startswith(b"PK\x03\x04")
    if (suffix == ".pdf") != is_pdf or (suffix == ".docx") != is_zip:
        raise ConfigError(
            f"{path}: is not what its name says ({suffix}); give the original file or correct "
            "its ending"
        )
    return kinds[suffix]


# --- Markdown and plain text -------------------------------------------------------------------

_FRONT_MATTER = re.compile(r"\A---\s*\n.*?\n---\s*\n", re.DOTALL)
_HEADING = re.compile(r"(#{1,6})\s+(.*?)\s*#*\s*")
_UNDERLINE = re.compile(r"\s*(=+|-{3,})\s*")
_MARKUP = (
    (re.compile(r"<!--.*?-->|</?[A-Za-z][^<>]*>"), ""),
    (re.compile(r"!\[([^\]]*)\]\([^)]*\)"), r"\1"),
    (re.compile(r"\[([^\]]*)\]\([^)]*\)"), r"\1"),
    (re.compile(r"(\*{1,3}|_{2,3}|~~|`+)(?=\S)(.+?)(?<=\S)\1"), r"\2"),
    (re.compile(r"^\s*(?:>\s*)+"), ""),
    (re.compile(r"^\s*\|?[\s:|-]+\|[\s:|-]*$"), ""),  # the line under a table's head
)


def _read_markdown(path: Path, data: bytes) -> BookText:
    content = _FRONT_MATTER.sub("", decode(path, data).replace("\r\n", "\n").replace("\r", "\n"))
    pieces: list[Piece] = []
    headings: list[tuple[int, str]] = []
    lines: list[str] = []
    code = False

    def flush() -> None:
        text = " ".join(lines).strip()
        lines.clear()
        if text:
            pieces.append(Piece(text, tuple(h for _, h in headings)))

    def head(level: int, words: str) -> None:
        flush()
        while headings and headings[-1][0] >= level:
            headings.pop()
        if words:
            headings.append((level, words))

    for line in content.split("\n"):
        if re.match(r"\s*(?:```|~~~)", line):
            code = not code
        elif not code and (found := _HEADING.fullmatch(line)):
            head(len(found.group(1)), _unmarked(found.group(2)))
        elif not code and lines and (under := _UNDERLINE.fullmatch(line)):
            words = lines.pop()
            head(1 if under.group(1)[0] == "=" else 2, words)
        elif not line.strip():
            flush()
        else:
            if re.match(r"\s*(?:[-*+]|\d+[.)、])\s", line):
                flush()
            lines.append(_unmarked(line))
    flush()
    if not pieces and headings:
        pieces = [Piece(headings[-1][1], tuple(h for _, h in headings))]
    first = next((h for p in pieces for h in p.headings[:1]), "")
    return BookText(first or path.stem, tuple(pieces))


def _unmarked(line: str) -> str:
    for pattern, instead in _MARKUP:
        line = pattern.sub(instead, line)
    return line.strip()


def decode(path: Path, data: bytes) -> str:
    """Return text in UTF-8, UTF-16 with its mark, or GB18030.

    Raises:
        ConfigError: none of them; names the first wrong line.
    """
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        try:
            return data.decode("utf-16")
        except UnicodeDecodeError:
            raise ConfigError(f"{path}: broken UTF-16 text; save it as UTF-8") from None
    if b"\0" in data:
        raise ConfigError(f"{path}: is not a text file; convert it to .md, .docx or .pdf")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
    lenient = data.decode("utf-8", errors="replace")
    n_foreign = sum(not c.isascii() for c in lenient)
    if lenient.count("\ufffd") > _BROKEN_SHARE * n_foreign:
        try:
            found = data.decode("gb18030")
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
        else:
            if _is_chinese(found):
                return found
    raise ConfigError(
        f"{path}: line {line} is neither UTF-8 nor GB18030 text; open it in an editor, mend the "
        "line and save it as UTF-8"
    )


def _is_chinese(content: str) -> bool:
    """Tell text from what any bytes look like in GB18030: real text has its common characters."""
    n_han = sum("\u4e00" <= c <= "\u9fff" for c in content)
    n_common = sum(c in "的是在不了有一人和为中上这个大来要以时与及可眼" for c in content)
    return n_han > 0 and n_common >= 0.02 * n_han and "\ufffd" not in content


# --- DOCX ----------------------------------------------------------------------------------------


def _read_docx(path: Path, data: bytes) -> BookText:
    _check_zip(path, data)
    import docx  # noqa: PLC0415 a book is added once in a while
    from docx.opc.exceptions import OpcError  # noqa: PLC0415
    from docx.table import Table  # noqa: PLC0415

    pieces: list[Piece] = []
    headings: list[tuple[int, str]] = []
    title = ""
    try:
        document = docx.Document(io.BytesIO(data))
        title = (document.core_properties.title or "").strip()
        for block in document.iter_inner_content():
            if isinstance(block, Table):
                path_now = tuple(h for _, h in headings)
                pieces += (Piece(row, path_now) for row in _rows(block))
                continue
            text = " ".join(block.text.split())
            level = _level(cast("Any", block).style)
            if text and level is not None:
                if level == 0:
                    title = title or text
                while headings and headings[-1][0] >= level:
                    headings.pop()
                headings.append((level, text))
            elif text:
                pieces.append(Piece(text, tuple(h for _, h in headings)))
    except (
        OpcError,
        SyntaxError,  # of lxml, about XML
        LookupError,
        ValueError,
        AttributeError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise ConfigError(
            f"{path}: is a damaged Word file ({type(error).__name__}); open it in Word and save it "
            "again"
        ) from None
    first = next((h for p in pieces for h in p.headings[:1]), "")
    return BookText(title or first or path.stem, tuple(pieces))


def _check_zip(path: Path, data: bytes) -> None:
    """Refuse what declares too much to unpack; zipfile reads no more than is declared."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as packed:
            parts = packed.infolist()
    except (zipfile.BadZipFile, ValueError, EOFError) as error:
        raise ConfigError(
            f"{path}: is a damaged Word file ({type(error).__name__}); open it in Word and save it "
            "again"
        ) from None
    names = {part.filename for part in parts}
    if "word/document.xml" not in names:
        raise ConfigError(f"{path}: is no Word document; save it as .docx in Word")
    largest_xml = max(p.file_size for p in parts if p.filename.endswith((".xml", ".rels")))
    if sum(p.file_size for p in parts) > _MAX_UNPACKED_BYTES or largest_xml > _MAX_XML_BYTES:
        raise ConfigError(
            f"{path}: unpacks to more than {_MAX_UNPACKED_BYTES >> 20} MiB, or its text to more "
            f"than {_MAX_XML_BYTES >> 20} MiB; split the book"
        )
    if any(p.flag_bits & 1 for p in parts):
        raise ConfigError(f"{path}: is protected by a password; save a copy without")


def _level(style: Any) -> int | None:
    """Return a paragraph style's heading level, 0 for the title; by name or outline level."""
    name = str(getattr(style, "name", "") or "")
    if name in ("Title", "标题"):
        return 0
    found = re.fullmatch(r"(?:heading|标题)\s*(\d)", name, re.IGNORECASE)
    return int(found.group(1)) if found else None


def _rows(table: Any) -> Iterator[str]:
    for row in table.rows:
        cells = dict.fromkeys(" ".join(cell.text.split()) for cell in row.cells)
        if text := " | ".join(c for c in cells if c):
            yield text


# --- PDF -----------------------------------------------------------------------------------------

_JUNK_TITLE = re.compile(r"untitled|microsoft word|\.(?:docx?|pdf|indd|tex|qxd)\b|^\W*$", re.I)


def _read_pdf(path: Path, data: bytes) -> BookText:
    from pypdf import PdfReader  # noqa: PLC0415 a book is added once in a while
    from pypdf.errors import PyPdfError  # noqa: PLC0415

    logging.getLogger("pypdf").setLevel(logging.ERROR)  # every odd font would be a line
    # What pypdf raises on files that break the format, found by feeding it damaged ones.
    broken = (PyPdfError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError)
    try:
        reader = PdfReader(io.BytesIO(data))
        if reader.is_encrypted and not reader.decrypt(""):
            raise ConfigError(f"{path}: is protected by a password; save a copy without")
        n_pages = len(reader.pages)
        if n_pages > MAX_PAGES:
            raise ConfigError(f"{path}: {n_pages} pages, at most {MAX_PAGES}; split the book")
        chapters = _outline(reader, n_pages)
        title = str((reader.metadata and reader.metadata.title) or "").strip()
        pages = _page_texts(path, reader, n_pages)
    except (*broken, RecursionError, MemoryError) as error:
        raise ConfigError(
            f"{path}: is a damaged PDF ({type(error).__name__}); print it to a new PDF and add that"
        ) from None
    if sum(map(len, pages)) < _MIN_CHARACTERS_PER_PAGE * n_pages:
        raise ConfigError(
            f"{path}: its {n_pages} pages are pictures without text (scanned?); run text "
            "recognition (OCR) on it and add the result"
        )
    if _JUNK_TITLE.search(title):
        title = ""
    pieces: list[Piece] = []
    headings: tuple[str, ...] = ()
    for number, lines in enumerate(_without_running_heads(pages), start=1):
        headings = chapters.get(number, headings)
        pieces += (Piece(text, headings, number) for text in _paragraphs(lines))
    return BookText(title or path.stem, tuple(pieces), n_pages)


def _page_texts(path: Path, reader: Any, n_pages: int) -> list[str]:
    ends_at = time.monotonic() + _LONGEST_PDF_S
    texts: list[str] = []
    n_characters = 0
    for number in range(n_pages):
        if time.monotonic() > ends_at:
            raise ConfigError(
                f"{path}: page {number + 1} was not reached within {_LONGEST_PDF_S:.0f} s; split "
                "the book or print it to a new PDF"
            )
        texts.append(reader.pages[number].extract_text() or "")
        n_characters += len(texts[-1])
        if n_characters > MAX_CHARACTERS:
            raise ConfigError(
                f"{path}: more than {MAX_CHARACTERS:,} characters by page {number + 1}; split the "
                "book"
            )
    return texts


def _outline(reader: Any, n_pages: int) -> dict[int, tuple[str, ...]]:
    """Return the bookmarks by page: the headings in force from that page on."""
    found: dict[int, tuple[str, ...]] = {}

    def walk(entries: Iterable[Any], above: tuple[str, ...], depth: int) -> None:
        last = above
        for entry in entries:
            if len(found) >= n_pages:
                return
            if isinstance(entry, list):
                if depth < 4:
                    walk(cast("list[Any]", entry), last, depth + 1)
                continue
            words = " ".join(str(entry.title).split())
            page = reader.get_destination_page_number(entry)
            last = (*above, words) if words else above
            if page is not None and page >= 0:
                found[page + 1] = last

    walk(reader.outline, (), 0)
    return found


def _without_running_heads(pages: list[str]) -> list[list[str]]:
    """Return each page's lines without the title and number that every page repeats."""
    split = [[" ".join(line.split()) for line in page.split("\n")] for page in pages]
    split = [[line for line in lines if line] for lines in split]

    def shape(line: str) -> str:
        return re.sub(r"\d+", "#", line)

    edges = Counter(shape(line) for lines in split for line in {*lines[:2], *lines[-2:]})
    often = {s for s, n in edges.items() if n >= 3 and n > 0.4 * len(pages)}
    kept: list[list[str]] = []
    for lines in split:
        last = len(lines) - 2
        kept.append(
            [
                line
                for i, line in enumerate(lines)
                if not ((i < 2 or i >= last) and (shape(line) in often or shape(line) == "#"))
            ]
        )
    return kept


def _paragraphs(lines: list[str]) -> Iterator[str]:
    """Join the lines of a page into paragraphs, which a PDF does not mark.

    A line that ends a sentence and is clearly shorter than its neighbours ends a paragraph.
    """
    widest = max((len(line) for line in lines), default=0)
    text = ""
    for line in lines:
        if not text:
            text = line
        elif re.search(r"[a-z]-$", text) and line[:1].islower():
            text = text[:-1] + line
        else:
            gap = "" if _is_wide(text[-1]) or _is_wide(line[0]) else " "
            text += gap + line
        if re.search(r"[。.!?！？:：;；]$", line) and len(line) < 0.8 * widest:
            yield text
            text = ""
    if text:
        yield text


def _is_wide(character: str) -> bool:
    return "\u3000" <= character <= "\u9fff" or "\uff00" <= character <= "\uffef"
