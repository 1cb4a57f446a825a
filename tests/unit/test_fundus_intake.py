from __future__ import annotations

import io
import struct
import tracemalloc
import zlib

import numpy as np
import pillow_heif
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from core.errors import PatientError
from core.message import LANGUAGES
from core.texts import text
from models.fundus import field, intake

LIMITS = {"max_bytes": 25 * 1024 * 1024, "max_pixels": 80_000_000}


def a_picture(width: int = 96, height: int = 64, mode: str = "RGB") -> Image.Image:
    """Left half red, right half blue, so that turns and channel swaps show."""
    image = Image.new("RGB", (width, height), (255, 0, 0))
    image.paste((0, 0, 255), (width // 2, 0, width, height))
    return image.convert(mode)


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG whose header promises `width` × `height` and whose body is one compressed row."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(b"\0" * 30_000, 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def refused(data: bytes, **limits: int) -> str:
    with pytest.raises(PatientError) as caught:
        intake.decode(data, **{**LIMITS, **limits})
    for language in LANGUAGES:  # every refusal has its words
        assert text(language, caught.value.text_key, **caught.value.fields)
    return caught.value.text_key


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF"])
def test_opens_every_format_by_its_bytes(kind: str) -> None:
    photo = intake.decode(saved(a_picture(), kind), **LIMITS)
    assert (photo.width_px, photo.height_px, photo.format) == (96, 64, kind)
    assert photo.pixels.dtype == np.uint8
    assert photo.pixels[32, 10, 0] > 180 > 80 > photo.pixels[32, 10, 2]
    assert photo.pixels[32, 86, 2] > 180 > 80 > photo.pixels[32, 86, 0]


def test_opens_heic_and_drops_its_metadata() -> None:
    exif = Image.Exif()
    exif[0x010F] = "PhoneMaker"
    out = io.BytesIO()
    pillow_heif.from_pillow(a_picture()).save(out, quality=90, exif=exif.tobytes())
    data = out.getvalue()
    assert b"PhoneMaker" in data
    photo = intake.decode(data, **LIMITS)
    assert (photo.width_px, photo.height_px, photo.format) == (96, 64, "HEIF")
    assert b"PhoneMaker" not in intake.clean_jpeg(data, **LIMITS)


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr", "LA", "RGBA"])
def test_every_colour_mode_becomes_rgb(mode: str) -> None:
    kind = {"CMYK": "JPEG", "YCbCr": "JPEG"}.get(mode, "PNG")
    photo = intake.decode(saved(a_picture(mode=mode), kind), **LIMITS)
    assert photo.pixels.shape == (64, 96, 3)
    if mode in {"P", "CMYK", "YCbCr", "RGBA"}:
        assert photo.pixels[32, 10, 0] > 150 > 100 > photo.pixels[32, 10, 2]


def test_transparent_becomes_black() -> None:
    image = a_picture(mode="RGBA")
    image.putalpha(Image.new("L", image.size, 0))
    assert intake.decode(saved(image, "PNG"), **LIMITS).pixels.max() == 0
    palette = a_picture(mode="P")
    data = saved(palette, "PNG", transparency=palette.getpixel((2, 2)))
    assert intake.decode(data, **LIMITS).pixels[32, 10].max() == 0


@pytest.mark.parametrize(
    ("array", "kind"),
    [
        (np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16), "PNG"),
        (np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.int32), "TIFF"),
        (np.linspace(0, 1, 64 * 64).reshape(64, 64).astype(np.float32), "TIFF"),
    ],
)
def test_deep_greys_keep_their_range(array: np.ndarray, kind: str) -> None:
    pixels = intake.decode(saved(Image.fromarray(array), kind), **LIMITS).pixels
    assert pixels[0, 0, 0] <= 1
    assert 126 <= pixels[32, 0, 1] <= 129
    assert pixels[-1, -1, 2] >= 254


def test_float_picture_of_nothing_but_nan_is_black() -> None:
    array = np.full((40, 40), np.nan, np.float32)
    assert intake.decode(saved(Image.fromarray(array), "TIFF"), **LIMITS).pixels.max() == 0


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_then_forgotten(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = "PhoneMaker"
    data = saved(a_picture(), "JPEG", exif=exif)
    photo = intake.decode(data, **LIMITS)
    turned = orientation >= 5
    assert (photo.width_px, photo.height_px) == ((64, 96) if turned else (96, 64))
    assert photo.pixels.shape[:2] == (photo.height_px, photo.width_px)
    red_first = {1: True, 2: False, 3: False, 4: True, 5: True, 6: True, 7: False, 8: False}
    first, last = (
        (photo.pixels[4, 30], photo.pixels[-4, 30])
        if turned
        else (
            photo.pixels[30, 4],
            photo.pixels[30, -4],
        )
    )
    red, blue = (first, last) if red_first[orientation] else (last, first)
    assert red[0] > red[2]
    assert blue[2] > blue[0]
    kept = Image.open(io.BytesIO(intake.clean_jpeg(data, **LIMITS)))
    assert dict(kept.getexif()) == {}
    assert kept.size == (photo.width_px, photo.height_px)


def test_gps_never_survives() -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8825)[1] = "N"
    exif[0x8825] = {1: "N", 2: (31.0, 14.0, 5.0)}
    exif[0x9286] = b"secret words"
    data = saved(a_picture(), "JPEG", exif=exif, comment=b"secret words")
    clean = intake.clean_jpeg(data, **LIMITS)
    assert b"secret" not in clean
    assert b"Exif" not in clean
    assert set(Image.open(io.BytesIO(clean)).info) <= {
        "jfif", "jfif_version", "jfif_unit", "jfif_density",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["bomb", "wide", "tile"])
def test_bomb_is_refused_by_its_header(name: str) -> None:
    data = {
        "bomb": png_header(50_000, 50_000),
        "wide": png_header(2_000_000, 41),
        "tile": _tiled(40_000, 40_000),
    }[name]
    tracemalloc.start()
    key = refused(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert key == "fundus.too_many_pixels"
    assert peak < 8 * 1024 * 1024


def _tiled(width: int, height: int) -> bytes:
    """A small TIFF that claims one huge tile."""
    entries = [
        (256, 3, 1, 64), (257, 3, 1, 64), (258, 3, 1, 8), (259, 3, 1, 5), (262, 3, 1, 1),
        (277, 3, 1, 1), (322, 4, 1, width), (323, 4, 1, height), (324, 4, 1, 8), (325, 4, 1, 64),
    ]  # fmt: skip
    body = struct.pack("<2sHI", b"II", 42, 72) + b"\0" * 64 + struct.pack("<H", len(entries))
    for tag, kind, count, value in entries:
        body += struct.pack("<HHI", tag, kind, count)
        body += struct.pack("<HH", value, 0) if kind == 3 else struct.pack("<I", value)
    return body + struct.pack("<I", 0)


def test_limits_are_the_settings_own() -> None:
    data = saved(a_picture(), "PNG")
    assert refused(data, max_pixels=96 * 64 - 1) == "fundus.too_many_pixels"
    assert intake.decode(data, max_bytes=len(data), max_pixels=96 * 64).width_px == 96
    assert refused(data, max_bytes=len(data) - 1) == "fundus.too_large"


@pytest.mark.parametrize(
    ("data", "key"),
    [
        (b"", "fundus.empty"),
        (b"\0" * 5000, "fundus.not_a_picture"),
        (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj", "fundus.not_a_picture"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "fundus.not_a_picture"),
        (b"\xff\xd8\xff", "fundus.damaged"),
        (b"\x89PNG\r\n\x1a\n", "fundus.damaged"),
        (b"\0\0\0\x18ftypheic" + b"\0" * 200, "fundus.damaged"),
        (b"BM" + b"\xff" * 60, "fundus.damaged"),
        (b"GIF89a" + b"\0" * 20, "fundus.damaged"),
        (b"II*\0\x08\0\0\0\0\0", "fundus.damaged"),
        (b"RIFF\x10\0\0\0WEBPVP8 " + b"\0" * 30, "fundus.damaged"),
    ],
)
def test_what_is_no_picture_is_refused_in_words(data: bytes, key: str) -> None:
    assert refused(data) in {key, "fundus.too_many_pixels", "fundus.too_small"}
    if not key.endswith("damaged"):
        assert refused(data) == key


def test_truncated_jpeg_and_oversized_file_are_refused() -> None:
    noise = np.random.default_rng(3).integers(0, 255, (300, 300, 3)).astype(np.uint8)
    data = saved(Image.fromarray(noise), "JPEG")
    assert refused(data[: len(data) // 2]) == "fundus.damaged"
    assert refused(data + b"\0" * (30 * 1024 * 1024)) == "fundus.too_large"
    assert refused(saved(a_picture(20, 20), "PNG")) == "fundus.too_small"


def test_working_size_shrinks_but_remembers_the_original() -> None:
    data = saved(a_picture(1600, 900), "JPEG")
    photo = intake.decode(data, **LIMITS, working_px=400)
    assert photo.pixels.shape == (225, 400, 3)
    assert (photo.width_px, photo.height_px) == (1600, 900)


def test_only_the_first_frame_counts() -> None:
    frames = [a_picture(), Image.new("RGB", (96, 64), (0, 255, 0))]
    data = saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert intake.decode(data, **LIMITS).pixels[32, 10, 0] > 150


SEEDS = [saved(a_picture(), kind) for kind in ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF")]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.sampled_from(SEEDS),
    edits=st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), max_size=12),
    cut=st.integers(0, 4000),
)
def test_damaged_files_never_raise_anything_else(
    seed: bytes, edits: list[tuple[int, int]], cut: int
) -> None:
    data = bytearray(seed)
    for at, value in edits:
        data[at % len(data)] = value
    try:
        photo = intake.decode(bytes(data[: max(1, len(data) - cut % 200)]), **LIMITS, working_px=64)
    except PatientError as error:
        text("zh-Hans", error.text_key, **error.fields)  # raises when there are no words for it
    else:
        assert photo.pixels.shape[2] == 3
        assert field.find(photo.pixels).width > 0


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=400))
def test_random_bytes_never_raise_anything_else(data: bytes) -> None:
    with pytest.raises(PatientError):
        intake.decode(data, **LIMITS)
