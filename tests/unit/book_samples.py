"""Makes small books in every format the library reads, good and bad ones."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence

import docx
from pypdf import PdfReader, PdfWriter


def a_pdf(
    pages: Sequence[Sequence[str]], *, title: str = "", outline: Sequence[tuple[str, int]] = ()
) -> bytes:
    """Return a PDF with these lines on its pages; any characters; bookmarks as (words, page)."""
    objects: dict[int, bytes] = {}
    used = sorted({c for page in pages for line in page for c in line})
    table = "\n".join(f"<{ord(c):04x}> <{ord(c):04x}>" for c in used)
    cmap = (
        "/CIDInit /ProcSet findresource begin 12 dict begin begincmap\n"
        "1 begincodespacerange <0000> <ffff> endcodespacerange\n"
        f"{len(used)} beginbfchar\n{table}\nendbfchar\nendcmap end end"
    )
    first = 10
    kids = [first + 2 * i for i in range(len(pages))]
    marks = [first + 2 * len(pages) + i for i in range(len(outline))]
    objects[1] = b"<< /Type /Catalog /Pages 2 0 R /Outlines 7 0 R >>"
    listed = " ".join(f"{k} 0 R" for k in kids)
    objects[2] = f"<< /Type /Pages /Count {len(kids)} /Kids [{listed}] >>".encode()
    objects[3] = (
        b"<< /Type /Font /Subtype /Type0 /BaseFont /A /Encoding /Identity-H "
        b"/DescendantFonts [4 0 R] /ToUnicode 5 0 R >>"
    )
    objects[4] = (
        b"<< /Type /Font /Subtype /CIDFontType2 /BaseFont /A /CIDSystemInfo "
        b"<< /Registry (Adobe) /Ordering (Identity) /Supplement 0 >> /DW 1000 >>"
    )
    objects[5] = _stream(cmap.encode())
    objects[6] = f"<< /Title ({title}) >>".encode()
    ends = f"/First {marks[0]} 0 R /Last {marks[-1]} 0 R" if marks else ""
    objects[7] = f"<< /Type /Outlines {ends} /Count {len(marks)} >>".encode()
    for kid, lines in zip(kids, pages, strict=True):
        shown = "".join(
            f"1 0 0 1 50 {800 - 14 * i} Tm <{line.encode('utf-16-be').hex()}> Tj\n"
            for i, line in enumerate(lines)
        )
        objects[kid] = (
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] "
            f"/Resources << /Font << /F 3 0 R >> >> /Contents {kid + 1} 0 R >>"
        ).encode()
        objects[kid + 1] = _stream(f"BT /F 11 Tf\n{shown}ET".encode())
    for i, (words, page) in enumerate(outline):
        near = f"/Next {marks[i + 1]} 0 R" if i + 1 < len(marks) else ""
        objects[marks[i]] = (
            f"<< /Title ({words}) /Parent 7 0 R {near} /Dest [{kids[page - 1]} 0 R /Fit] >>"
        ).encode()
    out = bytearray(b"%PDF-1.7\n")
    at: dict[int, int] = {}
    for number, body in sorted(objects.items()):
        at[number] = len(out)
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    start = len(out)
    out += b"xref\n0 1\n0000000000 65535 f \n"
    for number, offset in at.items():
        out += b"%d 1\n%010d 00000 n \n" % (number, offset)
    out += b"trailer << /Size %d /Root 1 0 R /Info 6 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (
        max(objects) + 1,
        start,
    )
    return bytes(out)


def _stream(body: bytes) -> bytes:
    return b"<< /Length %d >>\nstream\n%s\nendstream" % (len(body), body)


def an_encrypted_pdf(password: str) -> bytes:
    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(a_pdf([["secret words in here"]]))))
    writer.encrypt(password, owner_password="owner", algorithm="AES-256")
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def a_docx(paragraphs: Sequence[tuple[str, str]], *, table: Sequence[Sequence[str]] = ()) -> bytes:
    """Return a Word file of (style, words)."""
    document = docx.Document()
    document.core_properties.title = ""
    for style, words in paragraphs:
        document.add_paragraph(words, style=style)
    if table:
        made = document.add_table(len(table), len(table[0]))
        for row, cells in zip(made.rows, table, strict=True):
            for cell, words in zip(row.cells, cells, strict=True):
                cell.text = words
    out = io.BytesIO()
    document.save(out)
    return out.getvalue()


def a_zip_bomb(*, mib: int) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("word/document.xml", b"<w/>")
        with packed.open("word/media/image1.png", "w") as part:
            for _ in range(mib):
                part.write(bytes(1 << 20))
    return out.getvalue()
