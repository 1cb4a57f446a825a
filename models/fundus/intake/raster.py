"""Pictures as phones, cameras and scanners write them, through Pillow."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from core.errors import PatientError
from models.fundus.intake.photo import MIN_SIDE_PX, Format, fit

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
_BROKEN_EXIF = (OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, EOFError)


@dataclass(frozen=True, slots=True)
class Decoded:
    """An upright RGB picture, with the size of its original."""

    image: Image.Image
    width_px: int
    height_px: int


def guard(max_pixels: int) -> None:
    """Make Pillow's own bomb check an error at our limit, for every frame and thumbnail."""
    if max_pixels != Image.MAX_IMAGE_PIXELS:
        Image.MAX_IMAGE_PIXELS = max_pixels
        warnings.filterwarnings("error", category=Image.DecompressionBombWarning)


def check_size(width: int, height: int, *, max_pixels: int) -> None:
    """Refuse a picture by the size its header promises.

    Raises:
        PatientError: `fundus.too_many_pixels` or `fundus.too_small`.
    """
    if width * height > max_pixels:
        raise PatientError("fundus.too_many_pixels", limit_mp=max_pixels // 1_000_000)
    if min(width, height) < MIN_SIDE_PX:
        raise PatientError("fundus.too_small")


def decode(data: bytes, kind: Format, *, max_pixels: int, working_px: int | None) -> Decoded:
    """Decode the first frame with the decoder of `kind` only.

    Raises:
        PatientError: as `check_size`.
        Exception: whatever Pillow raises on a damaged file.
    """
    image = _open(data, kind)
    width, height = image.size
    check_size(width, height, max_pixels=max_pixels)
    if _tile_pixels(image) > max_pixels:
        raise PatientError("fundus.too_many_pixels", limit_mp=max_pixels // 1_000_000)
    turn = _orientation(image)
    target = fit(width, height, working_px)
    if kind == "JPEG":
        image.draft(None, target)  # decodes at 1/2, 1/4 or 1/8 where that is enough
    image.load()
    plain = shrink(plain_rgb(_coarse(image, target)), target)
    if turn is not None:
        plain = plain.transpose(turn)
        if turn in {_TURNS[5], _TURNS[6], _TURNS[7], _TURNS[8]}:
            width, height = height, width
    return Decoded(plain, width, height)


def shrink(image: Image.Image, target: tuple[int, int]) -> Image.Image:
    """Return the picture at `target` size."""
    if image.size == target:
        return image
    return image.resize(target, Image.Resampling.BILINEAR, reducing_gap=2.0)


def _open(data: bytes, kind: Format) -> Image.Image:
    if kind == "HEIF":
        import pillow_heif  # noqa: PLC0415  a large library few photos need

        pillow_heif.options.DECODE_THREADS = 1
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
    except _BROKEN_EXIF:  # broken EXIF spoils no picture
        return None


def _coarse(image: Image.Image, target: tuple[int, int]) -> Image.Image:
    """Shrink by a whole factor before converting, so that no second large copy is made."""
    factor = min(image.width // target[0], image.height // target[1])
    if factor < 2 or image.mode in {"1", "P", "PA"} or image.mode.startswith("I;"):
        return image
    small = image.reduce(factor)
    small.info = image.info
    return small


def plain_rgb(image: Image.Image) -> Image.Image:
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
