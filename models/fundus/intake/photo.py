"""What a decoded photo is, and what kind of file its first bytes say it was."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from core.reading import Eye

Format = Literal["JPEG", "PNG", "WEBP", "HEIF", "TIFF", "BMP", "GIF", "DICOM"]
Pixels = NDArray[np.uint8]

MIN_SIDE_PX = 32  # below this there is nothing to see, and resizing divides by it
_DICOM_PREAMBLE = 128
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}


@dataclass(frozen=True, slots=True)
class Photo:
    """A decoded photo.

    Attributes:
        pixels: uint8 RGB of shape (height, width, 3), upright, at most the asked size.
        width_px: width of the upright original.
        height_px: height of the upright original.
        format: what the file really is.
        eye: which eye, where the file itself says so (DICOM).
    """

    pixels: Pixels
    width_px: int
    height_px: int
    format: Format
    eye: Eye | None = None


def sniff(data: bytes) -> Format | None:
    """Return the format by the first bytes, or None when it is no picture we open."""
    # First: the 128 bytes before DICOM's mark may be anything, the head of a TIFF for example.
    if data[_DICOM_PREAMBLE : _DICOM_PREAMBLE + 4] == b"DICM":
        return "DICOM"
    head = data[:16]
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS:
        return "HEIF"
    if head[:4] in {b"II*\0", b"MM\0*"}:
        return "TIFF"
    if head[:2] == b"BM":
        return "BMP"
    if head[:6] in {b"GIF87a", b"GIF89a"}:
        return "GIF"
    return None


def fit(width: int, height: int, longest_px: int | None) -> tuple[int, int]:
    """Return the size shrunk so that its longer side is at most `longest_px`."""
    longest = max(width, height)
    if longest_px is None or longest <= longest_px:
        return width, height
    scale = longest_px / longest
    return max(1, round(width * scale)), max(1, round(height * scale))
