"""Open a file that a stranger sent: first step of a reading.

Nothing is believed: not the name, not the claimed type, not the header. The size is checked before
a pixel is decoded, only the decoder of the sniffed format runs, only the first frame is read, and
what leaves is plain RGB and, from a DICOM file, the side of the eye.

The service never runs this on a stranger's bytes in its own process: `process` does it in one that
may crash, hang or run out of memory. Training and evaluation, which know their files, call it
directly.
"""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image

from core.errors import PatientError
from core.reading import Eye
from models.fundus import field
from models.fundus.intake import raster
from models.fundus.intake.photo import Format, Photo, sniff

REFUSALS = frozenset(
    f"fundus.{why}"
    for why in (
        "empty", "too_large", "not_a_picture", "too_many_pixels", "too_small", "damaged",
        "cannot_open", "dicom_packed",
    )
)  # fmt: skip
STORED_PX = 4096  # what a camera gives; larger is a scan of paper
_STORED_QUALITY, _SHOWN_QUALITY = 92, 82
# What decoders raise on damaged or hostile files; they promise nothing narrower.
_DECODER_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    AttributeError,
    AssertionError,
    LookupError,
    ArithmeticError,
    EOFError,
    RuntimeError,
    struct.error,
    zlib.error,
    Warning,
)


def refuse_unopened(data: bytes, *, max_bytes: int) -> Format:
    """Return the format, or refuse what needs no decoder to be refused.

    Raises:
        PatientError: `fundus.empty`, `fundus.too_large` or `fundus.not_a_picture`.
    """
    if not data:
        raise PatientError("fundus.empty")
    if len(data) > max_bytes:
        raise PatientError("fundus.too_large", limit_mb=max_bytes // (1024 * 1024))
    kind = sniff(data)
    if kind is None:
        raise PatientError("fundus.not_a_picture")
    return kind


def decode(data: bytes, *, max_bytes: int, max_pixels: int, working_px: int | None = None) -> Photo:
    """Decode the first frame of a file, upright and without metadata.

    Args:
        data: the file; not trusted.
        max_bytes: larger files are refused unopened.
        max_pixels: larger pictures (width × height) are refused by their header.
        working_px: longest side wanted; None keeps every pixel.

    Raises:
        PatientError: `fundus.empty`, `fundus.too_large`, `fundus.not_a_picture`,
            `fundus.too_many_pixels`, `fundus.too_small`, `fundus.damaged`,
            `fundus.dicom_packed` or `fundus.cannot_open`.
    """
    kind = refuse_unopened(data, max_bytes=max_bytes)
    raster.guard(max_pixels)
    eye: Eye | None = None
    try:
        if kind == "DICOM":
            from models.fundus.intake import dicom  # noqa: PLC0415  50 ms that few photos need

            decoded, eye = dicom.decode(data, max_pixels=max_pixels, working_px=working_px)
        else:
            decoded = raster.decode(data, kind, max_pixels=max_pixels, working_px=working_px)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning, MemoryError) as error:
        raise PatientError("fundus.too_many_pixels", limit_mp=max_pixels // 1_000_000) from error
    except _DECODER_ERRORS as error:
        raise PatientError("fundus.damaged") from error
    return Photo(np.asarray(decoded.image), decoded.width_px, decoded.height_px, kind, eye)


def clean_jpeg(
    data: bytes, *, max_bytes: int, max_pixels: int, longest_px: int = STORED_PX
) -> bytes:
    """Return the picture as a JPEG to keep.

    Upright, first frame, no metadata of any kind; where a camera left its field of view in a dark
    surround, everything outside the field is black: names and dates are burned in there.

    Raises:
        PatientError: as `decode`.
    """
    photo = decode(data, max_bytes=max_bytes, max_pixels=max_pixels, working_px=longest_px)
    quality = _STORED_QUALITY if longest_px >= STORED_PX else _SHOWN_QUALITY
    out = io.BytesIO()
    kept = Image.fromarray(field.only(photo.pixels, field.find_all(photo.pixels)))
    kept.save(out, "JPEG", quality=quality, optimize=False)
    return out.getvalue()
