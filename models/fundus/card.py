"""The result card: one JPEG a person can read on a small phone and show to a doctor.

720 px wide, so that on a 360 px screen the smallest words are still 13 px high. A band is said in
words and in how many of three cells are full; colour only repeats it. Where a score is borderline
or high, a contour shows which areas influenced it.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from core.message import Language
from core.reading import Condition, Decision, Eye, Finding
from core.texts import text
from models.fundus.field import Field

WIDTH_PX = 720
MAX_BYTES = 200_000
_PHOTO_PX = 520
_ROW_PX = 58
_MARGIN = 28
_GROUND, _INK, _SOFT = (250, 250, 248), (28, 32, 36), (96, 102, 108)
# Blue, amber and dark red keep apart for every common colour blindness (Okabe-Ito 2008).
_BAND: dict[Decision, tuple[int, tuple[int, int, int]]] = {
    "negative": (1, (0, 114, 178)),
    "borderline": (2, (200, 130, 0)),
    "refer": (3, (170, 50, 20)),
    "not_assessed": (0, (140, 146, 152)),
}
_CONTOUR_SHARE = 0.5  # of the map's peak
# (file name, index of its Simplified Chinese face)
_CJK_FONTS = (
    ("NotoSansCJK-Regular.ttc", 2),
    ("NotoSansCJKsc-Regular.otf", 0),
    ("NotoSansSC-Regular.otf", 0),
    ("NotoSansSC-Regular.ttf", 0),
    ("SourceHanSansCN-Regular.otf", 0),
    ("SourceHanSansSC-Regular.otf", 0),
    ("wqy-microhei.ttc", 0),
    ("wqy-zenhei.ttc", 0),
    ("DroidSansFallbackFull.ttf", 0),
    ("PingFang.ttc", 0),
    ("Hiragino Sans GB.ttc", 0),
    ("STHeiti Medium.ttc", 0),
    ("msyh.ttc", 0),
    ("simhei.ttf", 0),
    ("NotoSerifCJK-Regular.ttc", 2),
)
_FONT_FOLDERS = (
    "/usr/share/fonts",
    "/usr/local/share/fonts",
    "~/.local/share/fonts",
    "~/.fonts",
    "/System/Library/Fonts",
    "/Library/Fonts",
    "C:/Windows/Fonts",
)

_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@cache
def _cjk_font() -> tuple[str, int] | None:
    """Return an installed font with Chinese characters, or None."""
    names = {name for name, _ in _CJK_FONTS}
    found: dict[str, Path] = {}
    for folder in _FONT_FOLDERS:
        base = Path(folder).expanduser()
        if base.is_dir():
            for path in base.rglob("*"):
                if path.name in names:
                    found.setdefault(path.name, path)
    return next(((str(found[name]), index) for name, index in _CJK_FONTS if name in found), None)


@cache
def _font(size_px: int, language: Language) -> _Font:
    chinese = _cjk_font() if language == "zh-Hans" else None
    if chinese is not None:
        return ImageFont.truetype(chinese[0], size_px, index=chinese[1])
    return ImageFont.load_default(size_px)


def language_on_cards(language: Language) -> Language:
    """Return `language`, or English where this machine has no font for Chinese."""
    return "en" if language == "zh-Hans" and _cjk_font() is None else language


def load_fonts() -> None:
    """Look for fonts now rather than at the first photo."""
    _cjk_font()


def draw(
    pixels: NDArray[np.uint8],
    field: Field,
    *,
    findings: Sequence[Finding],
    maps: Mapping[Condition, NDArray[np.float32]],
    eye: Eye | None,
    model_version: str,
    language: Language,
) -> bytes:
    """Draw the card of an assessed photo.

    Args:
        pixels: uint8 RGB of shape (height, width, 3).
        field: where the retina is.
        findings: what was found.
        maps: class-activation maps by condition, on the square around `field`.
        eye: which eye, or None when unknown.
        model_version: shown at the foot.
        language: of the words; English where no Chinese font is installed.

    Returns:
        JPEG bytes, at most `MAX_BYTES`.
    """
    language = language_on_cards(language)
    head, foot = 84, 108
    height = head + _PHOTO_PX + 20 + _ROW_PX * len(findings) + foot
    image = Image.new("RGB", (WIDTH_PX, height), _GROUND)
    pen = ImageDraw.Draw(image)
    title = text(language, "fundus.card.title")
    pen.text((_MARGIN, 22), title, _INK, _font(38, language))
    side = text(language, f"fundus.card.eye_{eye or 'unknown'}")
    pen.text((WIDTH_PX - _MARGIN, 28), side, _SOFT, _font(30, language), anchor="ra")

    photo, corner = _photo(pixels, field)
    shown = _outlined(findings, maps)
    if shown is not None:
        _contour(photo, maps[shown.condition], field, _BAND[shown.decision][1])
    image.paste((0, 0, 0), (_MARGIN, head, WIDTH_PX - _MARGIN, head + _PHOTO_PX))
    image.paste(photo, (corner[0], head + corner[1]))

    y = head + _PHOTO_PX + 20
    for finding in findings:
        _row(pen, y, finding, language)
        y += _ROW_PX
    pen.line((_MARGIN, y + 6, WIDTH_PX - _MARGIN, y + 6), (210, 212, 214), 2)
    notice = text(language, "fundus.card.notice")
    pen.text((_MARGIN, y + 18), notice, _INK, _fitting(pen, notice, 32, language))
    legend = text(language, "fundus.card.contour") if shown else ""
    line = f"{model_version}   {legend}".strip()
    pen.text((_MARGIN, y + 62), line, _SOFT, _fitting(pen, line, 26, language))
    return _jpeg(image)


def _outlined(
    findings: Sequence[Finding], maps: Mapping[Condition, NDArray[np.float32]]
) -> Finding | None:
    """Return the one finding to outline: the first high one, else the first borderline one."""
    for decision in ("refer", "borderline"):
        for finding in findings:
            if finding.decision == decision and finding.condition in maps:
                return finding
    return None


def _fitting(pen: ImageDraw.ImageDraw, words: str, size_px: int, language: Language) -> _Font:
    """Return the largest font up to `size_px` in which `words` fit on one line."""
    while size_px > 16 and pen.textlength(words, _font(size_px, language)) > WIDTH_PX - 2 * _MARGIN:
        size_px -= 2
    return _font(size_px, language)


def _photo(pixels: NDArray[np.uint8], field: Field) -> tuple[Image.Image, tuple[int, int]]:
    """Return the field as it fits the card, and where it goes in the photo's box."""
    wide = WIDTH_PX - 2 * _MARGIN
    scale = min(wide / field.width, _PHOTO_PX / field.height)
    size = (max(1, round(field.width * scale)), max(1, round(field.height * scale)))
    inside = Image.fromarray(pixels[field.top : field.bottom, field.left : field.right])
    inside = inside.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)
    return inside, (_MARGIN + (wide - size[0]) // 2, (_PHOTO_PX - size[1]) // 2)


def _contour(
    photo: Image.Image, activation: NDArray[np.float32], field: Field, colour: tuple[int, int, int]
) -> None:
    """Outline where the map is above half its peak, twice, so that it shows on any ground."""
    longest = max(field.width, field.height)
    side = round(longest * photo.width / field.width)
    square = Image.fromarray(activation).resize((side, side), Image.Resampling.BICUBIC)
    left, top = (side - photo.width) // 2, (side - photo.height) // 2
    values = np.asarray(square.crop((left, top, left + photo.width, top + photo.height)))
    peak = float(values.max())
    if peak <= 0:
        return
    inside = values > peak * _CONTOUR_SHARE
    for reach, ink in ((4, (255, 255, 255)), (2, colour)):
        photo.paste(ink, mask=Image.fromarray(_edge(inside, reach)))


def _edge(inside: NDArray[np.bool_], reach: int) -> NDArray[np.bool_]:
    """Return the pixels within `reach` of the border of `inside`."""
    edge = np.zeros_like(inside)
    for shift in (reach, -reach):
        for axis in (0, 1):
            edge |= inside ^ np.roll(inside, shift, axis)
    edge[:reach] = edge[-reach:] = False
    edge[:, :reach] = edge[:, -reach:] = False
    return edge


def _row(pen: ImageDraw.ImageDraw, y: int, finding: Finding, language: Language) -> None:
    full, colour = _BAND[finding.decision]
    name = text(language, f"fundus.card.condition_{finding.condition}")
    pen.text((_MARGIN, y + 10), name, _INK, _font(32, language))
    words = text(language, f"fundus.card.band_{finding.decision}")
    pen.text((WIDTH_PX - _MARGIN, y + 10), words, colour, _font(32, language), anchor="ra")
    if finding.decision == "not_assessed":
        return
    x = 408
    for cell in range(3):
        box = (x + cell * 34, y + 16, x + cell * 34 + 28, y + 44)
        pen.rectangle(box, fill=colour if cell < full else None, outline=colour, width=3)


def _jpeg(image: Image.Image) -> bytes:
    for quality in (85, 75, 60, 40):
        out = io.BytesIO()
        image.save(out, "JPEG", quality=quality)
        if out.tell() <= MAX_BYTES:
            break
    return out.getvalue()
