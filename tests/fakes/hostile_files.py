"""Files that a stranger may send to a photo reader to hang, crash, fill or fool it, by a seed."""

from __future__ import annotations

import gzip
import io
import itertools
import random
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pillow_heif
import pydicom
from PIL import Image
from pydicom import uid
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate

READING = "reading"
ANY = frozenset(
    {
        READING, "fundus.damaged", "fundus.cannot_open", "fundus.too_many_pixels",
        "fundus.too_small", "fundus.not_a_picture", "fundus.empty", "fundus.dicom_packed",
    }
)  # fmt: skip
_BROKEN = ANY - {READING, "fundus.empty"}
_TOO_MANY = frozenset({"fundus.too_many_pixels"})
_NO_PICTURE = frozenset({"fundus.not_a_picture"})


@dataclass(frozen=True, slots=True)
class Hostile:
    """One file.

    Attributes:
        name: kind and number.
        data: its bytes.
        right: the answers that are right: keys of refusals, or ``reading``.
    """

    name: str
    data: bytes
    right: frozenset[str]


def files(seed: int, count: int) -> Iterator[Hostile]:
    """Yield `count` files, each kind in turn; the same for the same seed."""
    kinds = (_fuzzed, _truncated, _bomb, _fuzzed, _polyglot, _wrong_type, _fuzzed, _odd, _spliced)
    seeds = _pictures()
    for n, kind in zip(range(count), itertools.cycle(kinds), strict=False):
        rng = random.Random(seed * 1_000_003 + n)
        name, data, right = kind(rng, seeds)
        yield Hostile(f"{n:04} {name}", data, right)


_Made = tuple[str, bytes, frozenset[str]]


def _retina(size: int = 220) -> Image.Image:
    y, x = np.mgrid[:size, :size]
    off = np.hypot(x - size / 2, y - size / 2) / (size * 0.47)
    shade = (1 - 0.4 * off)[..., None] * (off < 1)[..., None]
    pixels = shade * np.array([205, 105, 45]) + np.random.default_rng(1).normal(
        0, 4, (size, size, 3)
    )
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def _saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def _pictures() -> dict[str, bytes]:
    """Return one honest file of every format and of its variants."""
    retina = _retina()
    heic = io.BytesIO()
    pillow_heif.from_pillow(retina).save(heic, quality=80)
    deep = Image.fromarray((np.asarray(retina.convert("L")).astype(np.uint16)) << 8)
    pixels = np.asarray(retina)
    return {
        "jpeg": _saved(retina, "JPEG"),
        "jpeg-progressive": _saved(retina, "JPEG", progressive=True),
        "jpeg-cmyk": _saved(retina.convert("CMYK"), "JPEG"),
        "png": _saved(retina, "PNG"),
        "png-alpha": _saved(retina.convert("RGBA"), "PNG"),
        "png-palette": _saved(retina.convert("P"), "PNG"),
        "png-16": _saved(deep, "PNG"),
        "webp": _saved(retina, "WEBP"),
        "webp-lossless": _saved(retina.convert("RGBA"), "WEBP", lossless=True),
        "tiff": _saved(retina, "TIFF"),
        "tiff-deflate": _saved(retina, "TIFF", compression="tiff_deflate"),
        "tiff-lzw": _saved(retina, "TIFF", compression="tiff_lzw"),
        "tiff-jpeg": _saved(retina, "TIFF", compression="jpeg"),
        "tiff-16": _saved(deep, "TIFF"),
        "bmp": _saved(retina, "BMP"),
        "gif": _saved(retina.convert("P"), "GIF"),
        "heic": heic.getvalue(),
        "dicom": _dicom(pixels),
        "dicom-jpeg": _dicom(
            pixels, uid.JPEGBaseline8Bit, encapsulate([_saved(retina, "JPEG")]), "YBR_FULL_422"
        ),
        "dicom-grey": _dicom(np.asarray(retina.convert("L")), kind="MONOCHROME2"),
        "dicom-rle": _run_length(_dicom(pixels)),
    }


def _dicom(
    pixels: np.ndarray,
    syntax: uid.UID = uid.ExplicitVRLittleEndian,
    body: bytes | None = None,
    kind: str = "RGB",
    **tags: Any,
) -> bytes:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = syntax
    meta.MediaStorageSOPClassUID = uid.OphthalmicPhotography8BitImageStorage
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    found = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)  # type: ignore[arg-type]
    found.Rows, found.Columns = pixels.shape[:2]
    found.SamplesPerPixel = 3 if pixels.ndim == 3 else 1
    if found.SamplesPerPixel == 3:
        found.PlanarConfiguration = 0
    found.PhotometricInterpretation = kind
    found.BitsAllocated = found.BitsStored = 8
    found.HighBit, found.PixelRepresentation = 7, 0
    found.PixelData = pixels.tobytes() if body is None else body
    for name, value in tags.items():
        setattr(found, name, value)
    out = io.BytesIO()
    pydicom.dcmwrite(out, found, enforce_file_format=True)
    return out.getvalue()


def _run_length(data: bytes) -> bytes:
    found = pydicom.dcmread(io.BytesIO(data))
    found.compress(uid.RLELossless, generate_instance_uid=False)
    out = io.BytesIO()
    found.save_as(out, enforce_file_format=True)
    return out.getvalue()


def _fuzzed(rng: random.Random, seeds: dict[str, bytes]) -> _Made:
    """Bytes of the header changed; sizes, counts and offsets are there."""
    name, seed = rng.choice(sorted(seeds.items()))
    data = bytearray(seed)
    start = 128 if name.startswith("dicom") else 0
    reach = min(len(data), start + rng.choice((32, 128, 600)))
    for _ in range(rng.randint(1, 12)):
        at = rng.randrange(start, reach)
        data[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
    return f"fuzzed {name}", bytes(data), ANY


def _truncated(rng: random.Random, seeds: dict[str, bytes]) -> _Made:
    name, seed = rng.choice(sorted(seeds.items()))
    cut = rng.randrange(1, len(seed))
    # A picture of which a part is missing is no picture; what is missing last may be no part of it.
    right = ANY if cut > len(seed) * 0.95 else ANY - {READING}
    return f"truncated {name} at {cut}", seed[:cut], right


def _spliced(rng: random.Random, seeds: dict[str, bytes]) -> _Made:
    """The head of one file on the body of another, or a piece repeated or taken out."""
    (one, head), (two, body) = rng.sample(sorted(seeds.items()), 2)
    at = rng.randrange(8, min(len(head), len(body)))
    return f"spliced {one} on {two}", head[:at] + body[at:], ANY


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _png(width: int, height: int, body: bytes, extra: bytes = b"", depth: int = 8) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, depth, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", head)
        + extra
        + _chunk(b"IDAT", body)
        + _chunk(b"IEND", b"")
    )


def _zeros(mib: int) -> bytes:
    deflate = zlib.compressobj(9)
    block = b"\0" * (1 << 20)
    return b"".join(deflate.compress(block) for _ in range(mib)) + deflate.flush()


def _patched(data: bytes, what: bytes, new: bytes) -> bytes:
    at = data.index(what)
    return data[:at] + new + data[at + len(new) :]


def _bomb(rng: random.Random, seeds: dict[str, bytes]) -> _Made:
    """Small files that promise, or really hold, far more than they look like."""
    side = rng.choice((20_000, 40_000, 65_000))
    retina = np.asarray(_retina())

    def jpeg() -> _Made:
        at = seeds["jpeg"].index(b"\xff\xc0") + 5
        size = struct.pack(">HH", side, side)
        return "jpeg size", seeds["jpeg"][:at] + size + seeds["jpeg"][at + 4 :], _TOO_MANY

    def png() -> _Made:
        return "png size", _png(side, side, _zeros(1)), _TOO_MANY

    def png_inflates() -> _Made:
        # 220 × 220 promised, 200 MiB in the data
        return "png data", _png(220, 220, _zeros(200)), ANY

    def png_text() -> _Made:
        text = b"comment\0\0" + _zeros(80)
        return "png text", _png(220, 220, _zeros(1), _chunk(b"zTXt", text) * 3), ANY

    def png_profile() -> _Made:
        return (
            "png profile",
            _png(220, 220, _zeros(1), _chunk(b"iCCP", b"p\0\0" + _zeros(200))),
            ANY,
        )

    def gif() -> _Made:
        size = struct.pack("<HH", side, side)
        return "gif size", seeds["gif"][:6] + size + seeds["gif"][10:], _TOO_MANY

    def bmp() -> _Made:
        size = struct.pack("<ii", side, side)
        return "bmp size", seeds["bmp"][:18] + size + seeds["bmp"][26:], _TOO_MANY

    def webp() -> _Made:
        size = (16_383).to_bytes(3, "little") * 2
        body = b"VP8X" + struct.pack("<I", 10) + b"\0\0\0\0" + size + b"VP8 " + b"\0" * 40
        head = b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP"
        return "webp size", head + body, _BROKEN

    def heic() -> _Made:
        at = seeds["heic"].index(b"ispe") + 8
        size = struct.pack(">II", side, side)
        return "heic size", seeds["heic"][:at] + size + seeds["heic"][at + 8 :], _BROKEN | {READING}

    def dicom() -> _Made:
        big = min(side, 65_535)
        return "dicom size", _dicom(retina, Rows=big, Columns=big), _TOO_MANY

    def dicom_deflated() -> _Made:
        plain = _dicom(retina)
        data = plain.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.1.99")
        return "dicom deflated", data + _zeros(64), frozenset({"fundus.dicom_packed"})

    def dicom_frames() -> _Made:
        return "dicom frames", _dicom(retina, NumberOfFrames="2147483647"), ANY

    def dicom_inner() -> _Made:
        at = seeds["jpeg"].index(b"\xff\xc0") + 5
        inner = seeds["jpeg"][:at] + struct.pack(">HH", side, side) + seeds["jpeg"][at + 4 :]
        body = encapsulate([inner])
        data = _dicom(retina, uid.JPEGBaseline8Bit, body, "YBR_FULL_422")
        return "dicom inner size", data, _BROKEN

    def tiff() -> _Made:
        size = struct.pack("<II", side, side)
        entries = [
            (256, 4, 1, size[:4]), (257, 4, 1, size[4:]), (258, 3, 1, b"\x08\0\0\0"),
            (259, 3, 1, b"\x08\0\0\0"), (262, 3, 1, b"\x01\0\0\0"), (273, 4, 1, b"\x08\0\0\0"),
            (277, 3, 1, b"\x01\0\0\0"), (278, 4, 1, size[4:]), (279, 4, 1, b"\0\x10\0\0"),
        ]  # fmt: skip
        body = _zeros(4)
        data = b"II*\0" + struct.pack("<I", 8 + len(body)) + body
        data += struct.pack("<H", len(entries))
        data += b"".join(struct.pack("<HHI", t, k, n) + v for t, k, n, v in entries)
        return "tiff size", data + b"\0\0\0\0", _TOO_MANY

    def scans() -> _Made:
        # A progressive picture whose last scan comes again and again.
        data = _saved(_retina(1200), "JPEG", progressive=True)
        last = data.rindex(b"\xff\xda")
        return "jpeg scans", data[:last] + data[last:-2] * 400 + b"\xff\xd9", ANY

    def frames() -> _Made:
        one = Image.new("P", (220, 220))
        data = _saved(one, "GIF", save_all=True, append_images=[one.copy()] * 5)
        body = data[data.index(b",") : -1]
        return "gif frames", data[:-1] + body * 3000 + b";", ANY

    def thin() -> _Made:
        # Within the limit of pixels, and a million wide.
        return "png thin", _png(1_000_000, 1, _zeros(3)), frozenset({"fundus.too_small"})

    def wide() -> _Made:
        data = _png(1_000_000, 60, _zeros(172))
        return "png wide", data, ANY

    kinds: list[Callable[[], _Made]] = [
        jpeg, png, png_inflates, png_text, png_profile, gif, bmp, webp, heic, dicom, dicom_deflated,
        dicom_frames, dicom_inner, tiff, scans, frames, thin, wide,
    ]  # fmt: skip
    name, data, right = rng.choice(kinds)()
    return f"bomb {name}", data, right


def _zip() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        entry = zipfile.ZipInfo("word/document.xml", (2026, 11, 22, 0, 0, 0))  # no clock inside
        entry.compress_type = zipfile.ZIP_DEFLATED
        archive.writestr(entry, "<w:document/>" * 400)
    return out.getvalue()


def _polyglot(rng: random.Random, seeds: dict[str, bytes]) -> _Made:
    """Two kinds of file in one."""
    other = rng.choice((_zip(), b"%PDF-1.7\n%%EOF", b"<script>alert(1)</script>", b"MZ\x90\0" * 50))
    name, seed = rng.choice(sorted(seeds.items()))
    if rng.random() < 0.5:
        # What follows a picture is not looked at.
        return f"polyglot {name} + more", seed + other, ANY
    if name.startswith("dicom"):
        preamble = rng.choice((b"II*\0\x08\0\0\0", b"\xff\xd8\xff\xe0", b"MZ\x90\0", b"%PDF-1.7"))
        return (
            f"polyglot {name} preamble",
            preamble.ljust(128, b"\0") + seed[128:],
            ANY - _NO_PICTURE,
        )
    return f"polyglot more + {name}", other + seed, _NO_PICTURE


def _wrong_type(rng: random.Random, _seeds: dict[str, bytes]) -> _Made:
    kinds: dict[str, bytes] = {
        "pdf": b"%PDF-1.7\n" + rng.randbytes(300),
        "zip": _zip(),
        "gzip": gzip.compress(b"a" * 5000, mtime=0),
        "svg": b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
        "html": b"<!doctype html><script>1</script>",
        "mp4": b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41" + rng.randbytes(500),
        "text": "右眼看不清".encode() * 40,
        "program": b"\x7fELF\2\1\1" + rng.randbytes(400),
        "script": b"#!/bin/sh\nrm -rf ~\n",
        "sound": b"OggS\0\2" + rng.randbytes(400),
        "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n(%pipe%id) (r) file\n",
        "image magick": b"push graphic-context\nviewbox 0 0 1 1\nimage over 0,0 0,0 'https:x'\n",
        "icon": b"\0\0\1\0\1\0\x10\x10" + rng.randbytes(200),
        "psd": b"8BPS\0\1" + rng.randbytes(200),
        "noise": b"\1" + rng.randbytes(rng.randrange(1, 4000)),
        "zeros": b"\0" * rng.randrange(1, 9000),
    }
    if rng.random() < 0.05:
        return "wrong type: nothing", b"", frozenset({"fundus.empty"})
    name = rng.choice(sorted(kinds))
    return f"wrong type: {name}", kinds[name], _NO_PICTURE


def _odd(rng: random.Random, seeds: dict[str, bytes]) -> _Made:
    """Valid or nearly valid pictures with something unusual."""
    retina = _retina()

    def exif_value() -> _Made:
        exif = Image.Exif()
        exif[0x0112] = rng.choice((0, 9, 255, 65_535))
        return "orientation", _saved(retina, "JPEG", exif=exif), frozenset({READING})

    def exif_loop() -> _Made:
        # A directory that names itself as the next one.
        tiff = b"II*\0\x08\0\0\0" + struct.pack("<H", 1)
        tiff += struct.pack("<HHII", 0x8769, 4, 1, 8) + struct.pack("<I", 8)
        body = b"Exif\0\0" + tiff
        part = b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body
        return "exif loop", seeds["jpeg"][:2] + part + seeds["jpeg"][2:], frozenset({READING})

    def segments() -> _Made:
        part = b"\xff\xe2" + struct.pack(">H", 65_000) + b"\0" * 64_998
        return "segments", seeds["jpeg"][:2] + part * 60 + seeds["jpeg"][2:], frozenset({READING})

    def tiny() -> _Made:
        kind = rng.choice(("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF"))
        return "tiny", _saved(retina.resize((9, 9)), kind), frozenset({"fundus.too_small"})

    def tiff_loop() -> _Made:
        data = bytearray(seeds["tiff"])
        order = "<" if data[:2] == b"II" else ">"
        (at,) = struct.unpack_from(order + "I", data, 4)
        (count,) = struct.unpack_from(order + "H", data, at)
        struct.pack_into(order + "I", data, at + 2 + 12 * count, at)  # the next page is this one
        return "tiff loop", bytes(data), frozenset({READING})

    def nested() -> _Made:
        # Sequences inside sequences, far deeper than anybody writes.
        depth = rng.choice((500, 20_000))
        item = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
        opened = struct.pack("<HH", 0x5200, 0x9229) + b"SQ\0\0\xff\xff\xff\xff" + item
        plain = seeds["dicom"]
        at = plain.index(struct.pack("<HH", 0x7FE0, 0x0010))
        return "dicom nested", plain[:at] + opened * depth + plain[at:], ANY

    def transparent() -> _Made:
        clear = retina.convert("RGBA")
        clear.putalpha(0)
        return "transparent", _saved(clear, "PNG"), frozenset({READING})

    name, data, right = rng.choice(
        [exif_value, exif_loop, segments, tiny, tiff_loop, nested, transparent]
    )()
    return f"odd {name}", data, right
