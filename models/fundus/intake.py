"""Open a file that a stranger sent: first step of a reading.

Nothing is believed: not the name, not the claimed type, not the header. The size is checked before
a pixel is decoded, only the decoder of the sniffed format runs, only the first frame is read, and
what leaves is plain RGB without metadata.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from core.errors import PatientError

Format = Literal["JPEG", "PNG", "WEBP", "HEIF", "TIFF", "BMP", "GIF"]
Pixels = NDArray[np.uint8]

MIN_SIDE_PX = 32  # below this there is nothing to see, and resizing divides by it
_ORIENTATION = 0x0112
_TILE_SIZE = (322, 323)
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
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
    MemoryError,
    RuntimeError,
    struct.error,
    zlib.error,
    Warning,
)


@dataclass(frozen=True, slots=True)
class Photo:
    """A decoded photo.

    Attributes:
        pixels: uint8 RGB of shape (height, width, 3), upright, at most the asked size.
        width_px: width of the upright original.
        height_px: height of the upright original.
        format: what the file really is.
    """

    pixels: Pixels
    width_px: int
    height_px: int
    format: Format


def sniff(data: bytes) -> Format | None:
    """Return the format by the first bytes, or None when it is no picture we open."""
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


def decode(data: bytes, *, max_bytes: int, max_pixels: int, working_px: int | None = None) -> Photo:
    """Decode the first frame of a file, upright and without metadata.

    Args:
        data: the file; not trusted.
        max_bytes: larger files are refused unopened.
        max_pixels: larger pictures (width × height) are refused by their header.
        working_px: longest side wanted; None keeps every pixel.

    Raises:
        PatientError: `fundus.empty`, `fundus.too_large`, `fundus.not_a_picture`,
            `fundus.too_many_pixels`, `fundus.too_small` or `fundus.damaged`.
    """
    if not data:
        raise PatientError("fundus.empty")
    if len(data) > max_bytes:
        raise PatientError("fundus.too_large", limit_mb=max_bytes // (1024 * 1024))
    kind = sniff(data)
    if kind is None:
        raise PatientError("fundus.not_a_picture")
    _guard(max_pixels)
    try:
        image = _open(data, kind)
        width, height = image.size
        if width * height > max_pixels or _tile_pixels(image) > max_pixels:
            raise PatientError("fundus.too_many_pixels", limit_mp=max_pixels // 1_000_000)
        if min(width, height) < MIN_SIDE_PX:
            raise PatientError("fundus.too_small")
        turn = _orientation(image)
        target = _fit(width, height, working_px)
        if kind == "JPEG":
            image.draft(None, target)  # decodes at 1/2, 1/4 or 1/8 where that is enough
        image.load()
        plain = _plain_rgb(_coarse(image, target))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise PatientError("fundus.too_many_pixels", limit_mp=max_pixels // 1_000_000) from error
    except _DECODER_ERRORS as error:
        raise PatientError("fundus.damaged") from error
    if plain.size != target:
        plain = plain.resize(target, Image.Resampling.BILINEAR, reducing_gap=2.0)
    if turn is not None:
        plain = plain.transpose(turn)
        if turn in {_TURNS[5], _TURNS[6], _TURNS[7], _TURNS[8]}:
            width, height = height, width
    return Photo(np.asarray(plain), width, height, kind)


def clean_jpeg(data: bytes, *, max_bytes: int, max_pixels: int, longest_px: int = 4096) -> bytes:
    """Return the picture as a JPEG to keep: upright, first frame, no metadata of any kind.

    Raises:
        PatientError: as `decode`.
    """
    photo = decode(data, max_bytes=max_bytes, max_pixels=max_pixels, working_px=longest_px)
    out = io.BytesIO()
    Image.fromarray(photo.pixels).save(out, "JPEG", quality=92, optimize=False)
    return out.getvalue()


def _guard(max_pixels: int) -> None:
    """Make Pillow's own bomb check an error at our limit, for every frame and thumbnail."""
    if max_pixels != Image.MAX_IMAGE_PIXELS:
        Image.MAX_IMAGE_PIXELS = max_pixels
        warnings.filterwarnings("error", category=Image.DecompressionBombWarning)


def _open(data: bytes, kind: Format) -> Image.Image:
    if kind == "HEIF":
        import pillow_heif  # noqa: PLC0415  a large library few photos need

        pillow_heif.register_heif_opener(thumbnails=False)  # pyright: ignore[reportUnknownMemberType]
    return Image.open(io.BytesIO(data), formats=[kind])


def _tile_pixels(image: Image.Image) -> int:
    """Return the pixels of one TIFF tile: its buffer is as large as the header says."""
    tags = getattr(image, "tag_v2", None)
    if tags is None:
        return 0
    width, height = (int(tags.get(tag, 0)) for tag in _TILE_SIZE)
    return width * height


def _orientation(image: Image.Image) -> Image.Transpose | None:
    try:
        return _TURNS.get(image.getexif().get(_ORIENTATION, 1))
    except _DECODER_ERRORS:  # broken EXIF spoils no picture
        return None


def _fit(width: int, height: int, longest_px: int | None) -> tuple[int, int]:
    longest = max(width, height)
    if longest_px is None or longest <= longest_px:
        return width, height
    scale = longest_px / longest
    return max(1, round(width * scale)), max(1, round(height * scale))


def _coarse(image: Image.Image, target: tuple[int, int]) -> Image.Image:
    """Shrink by a whole factor before converting, so that no second large copy is made."""
    factor = min(image.width // target[0], image.height // target[1])
    if factor < 2 or image.mode in {"1", "P", "PA"} or image.mode.startswith("I;"):
        return image
    small = image.reduce(factor)
    small.info = image.info
    return small


def _plain_rgb(image: Image.Image) -> Image.Image:
    """Return 8-bit RGB; transparency becomes black, as around a retina; deep greys are scaled."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith(("I", "F")):
        return _from_deep(image)
    if image.mode in {"RGBA", "LA", "PA", "La", "RGBa"} or "transparency" in image.info:
        seen = image if image.mode == "RGBA" else image.convert("RGBA")
        ground = Image.new("RGB", seen.size)
        ground.paste(seen, mask=seen.getchannel("A"))
        return ground
    return image.convert("RGB")


def _from_deep(image: Image.Image) -> Image.Image:
    """Scale 16-bit, 32-bit and float greys to 8 bits by the range their mode promises."""
    # A band of rows at a time: float copies of a whole large picture would take gigabytes.
    width, height = image.size
    rows = max(1, 4_000_000 // width)
    boxes = [(0, y, width, min(y + rows, height)) for y in range(0, height, rows)]
    if image.mode.startswith("I;16"):
        top = 65535.0
    else:
        peak = max(float(_finite(image.crop(box)).max()) for box in boxes)
        ranges = (255.0, 65535.0) if image.mode == "I" else (1.0, 255.0, 65535.0)
        top = next((t for t in ranges if peak <= t), max(peak, 1.0))
    grey = np.empty((height, width), np.uint8)
    for box in boxes:
        grey[box[1] : box[3]] = (_finite(image.crop(box)) * (255.0 / top)).clip(0, 255)
    return Image.fromarray(grey).convert("RGB")


def _finite(image: Image.Image) -> NDArray[np.float32]:
    values = np.asarray(image).astype(np.float32)
    return np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
