"""The result card: one JPEG a person can read on a small phone and show to a doctor.

720 px wide: on a 360 px screen the smallest words are 15 px high, in a chat bubble still 12 px.
Top: what it is, whose eye, which day, and the photo as it came with the camera's field framed.
Middle: the field, with a contour of the areas that influenced the score where one is borderline or
high. Below: a row per assessed condition, its band said in words and in how many of three cells are
full (colour only repeats it), then what was not assessed, what a low band does not mean, and which
weights spoke.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from core.message import Language
from core.reading import Condition, Decision, Eye, Finding
from core.texts import text
from models.fundus import fonts
from models.fundus.areas import Line
from models.fundus.field import Field

WIDTH_PX = 720
MAX_BYTES = 200_000
_PHOTO_PX = 520
_THUMB_PX = (214, 156)
_ROW_PX = 68
_HEADING_PX = 40  # over the bands: a bare "high" beside a disease reads as how bad it is
_BANDS_PX = 300  # of a row, for its cells and its band
_MARGIN = 28
_WIDE = WIDTH_PX - 2 * _MARGIN
_GROUND, _INK, _SOFT, _RULE = (250, 250, 248), (28, 32, 36), (88, 94, 100), (210, 212, 214)
# Blue, amber and dark red keep apart for every common colour blindness (Okabe-Ito 2008); each is
# at least 4.5 : 1 against the ground (WCAG 2.2, 1.4.3).
_BAND: dict[Decision, tuple[int, tuple[int, int, int]]] = {
    "negative": (1, (0, 100, 164)),
    "borderline": (2, (146, 94, 0)),
    "refer": (3, (165, 45, 20)),
}


@dataclass(frozen=True, slots=True)
class _Line:
    """One line of words on the card, and how much room it takes."""

    words: str
    size_px: int
    colour: tuple[int, int, int]

    @property
    def height_px(self) -> int:
        return round(self.size_px * 1.35)


def load_fonts() -> None:
    """Look for fonts now rather than at the first photo."""
    fonts.load()


def draw(
    pixels: NDArray[np.uint8],
    field: Field,
    *,
    findings: Sequence[Finding],
    influenced: Mapping[Condition, Sequence[Line]],
    eye: Eye | None,
    model_version: str,
    language: Language,
    day: date | None = None,
    is_poor: bool = False,
) -> bytes:
    """Draw the card of an assessed photo.

    Args:
        pixels: uint8 RGB of shape (height, width, 3).
        field: where the retina is.
        findings: what was found.
        influenced: lines around what influenced each score, in pixels of the photo.
        eye: which eye, or None when unknown.
        model_version: shown at the foot.
        language: of the words; English where no Chinese font is installed.
        day: when it was read, or None to leave it out.
        is_poor: the photo could be read but is not quite clear.

    Returns:
        JPEG bytes, at most `MAX_BYTES`.
    """
    language = fonts.language_on_cards(language)
    shown = _outlined(findings, influenced)
    rows = [f for f in findings if f.decision != "not_assessed"]
    measure = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    legend = _legend(measure, shown, language)
    foot = _foot(measure, findings, model_version, language, is_poor=is_poor)
    top = 2 * 18 + _THUMB_PX[1]
    below = top + _PHOTO_PX + sum(line.height_px for line in legend) + 16
    height = (
        below + _HEADING_PX + _ROW_PX * len(rows) + 24 + sum(line.height_px for line in foot) + 20
    )

    image = Image.new("RGB", (WIDTH_PX, height), _GROUND)
    pen = ImageDraw.Draw(image)
    _head(pen, eye, day, language)
    thumb = _thumb(pixels, field)
    image.paste(thumb, (WIDTH_PX - _MARGIN - thumb.width, 18 + (_THUMB_PX[1] - thumb.height) // 2))
    photo, corner = _photo(pixels, field)
    if shown is not None:
        _contour(photo, influenced[shown.condition], field, _BAND[shown.decision][1])
    image.paste((0, 0, 0), (_MARGIN, top, WIDTH_PX - _MARGIN, top + _PHOTO_PX))
    image.paste(photo, (corner[0], top + corner[1]))
    _write(pen, top + _PHOTO_PX + 6, legend, language)

    heading = text(language, "fundus.card.bands")
    heading_face = _fitting(pen, heading, 32, _BANDS_PX, language)
    left = WIDTH_PX - _MARGIN - _BANDS_PX
    pen.text((left, below + _HEADING_PX // 2), heading, _SOFT, heading_face, anchor="lm")
    y = below + _HEADING_PX
    longest = max((_name(f.condition, language) for f in rows), key=pen.textlength, default="")
    face = _fitting(pen, longest, 38, _WIDE - _BANDS_PX - 14, language)
    for finding in rows:
        _row(pen, y, finding, face, language)
        y += _ROW_PX
    pen.line((_MARGIN, y + 8, WIDTH_PX - _MARGIN, y + 8), _RULE, 2)
    _write(pen, y + 20, foot, language)
    return _jpeg(image)


def _outlined(
    findings: Sequence[Finding], influenced: Mapping[Condition, Sequence[Line]]
) -> Finding | None:
    """Return the one finding to outline: the first high one, else the first borderline one."""
    for decision in ("refer", "borderline"):
        for finding in findings:
            if finding.decision == decision and finding.condition in influenced:
                return finding
    return None


def _name(condition: Condition, language: Language) -> str:
    return text(language, f"fundus.card.condition_{condition}")


def _head(pen: ImageDraw.ImageDraw, eye: Eye | None, day: date | None, language: Language) -> None:
    room = _WIDE - _THUMB_PX[0] - 16
    title = text(language, "fundus.card.title")
    pen.text((_MARGIN, 20), title, _INK, _fitting(pen, title, 46, room, language))
    side = text(language, f"fundus.card.eye_{eye or 'unknown'}")
    pen.text((_MARGIN, 82), side, _INK, _fitting(pen, side, 36, room, language))
    if day is not None:
        pen.text((_MARGIN, 134), day.isoformat(), _SOFT, fonts.font(32, language))


def _legend(pen: ImageDraw.ImageDraw, shown: Finding | None, language: Language) -> list[_Line]:
    said = [text(language, "fundus.card.thumb")]
    if shown is not None:
        name = _name(shown.condition, language)
        said.append(text(language, "fundus.card.contour", condition=name))
    return [
        _Line(line, 30, _SOFT)
        for words in said
        for line in fonts.lines(pen, words, 30, _WIDE, language)
    ]


def _foot(
    pen: ImageDraw.ImageDraw,
    findings: Sequence[Finding],
    model_version: str,
    language: Language,
    *,
    is_poor: bool,
) -> list[_Line]:
    """Return what is said under the rows."""
    mark = text(language, "fundus.result.list_mark")
    missing = [_name(f.condition, language) for f in findings if f.decision == "not_assessed"]
    found: list[_Line] = []

    def add(words: str, size_px: int, colour: tuple[int, int, int]) -> None:
        found.extend(
            _Line(line, size_px, colour)
            for line in fonts.lines(pen, words, size_px, _WIDE, language)
        )

    if missing:
        names = mark.join(missing)
        add(text(language, "fundus.card.not_assessed", conditions=names), 34, _INK)
    if is_poor:
        add(text(language, "fundus.card.poor"), 34, _INK)
    if any(f.decision == "negative" for f in findings):
        add(text(language, "fundus.card.low"), 34, _INK)
    add(text(language, "fundus.card.notice"), 36, _INK)
    spoke: dict[str, list[str]] = {}
    for finding in findings:
        if finding.model is not None:
            spoke.setdefault(finding.model, []).append(_name(finding.condition, language))
    if len(spoke) > 1:  # two networks: who said what
        for model, names in spoke.items():
            about = mark.join(names)
            words = text(language, "fundus.card.model_of", model=model, conditions=about)
            add(words, 30, _SOFT)
    else:
        add(model_version, 30, _SOFT)
    return found


def _write(pen: ImageDraw.ImageDraw, y: int, written: Sequence[_Line], language: Language) -> None:
    for line in written:
        pen.text((_MARGIN, y), line.words, line.colour, fonts.font(line.size_px, language))
        y += line.height_px


def _fitting(
    pen: ImageDraw.ImageDraw, words: str, size_px: int, width_px: int, language: Language
) -> fonts.Font:
    """Return the largest font up to `size_px` in which `words` fit on one line."""
    while size_px > 30 and pen.textlength(words, fonts.font(size_px, language)) > width_px:
        size_px -= 2
    return fonts.font(size_px, language)


def _thumb(pixels: NDArray[np.uint8], field: Field) -> Image.Image:
    """Return the whole photo, small, with the camera's field framed."""
    height, width = pixels.shape[:2]
    scale = min(_THUMB_PX[0] / width, _THUMB_PX[1] / height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)
    box = [round(v * scale) for v in (field.left, field.top, field.right, field.bottom)]
    box = [box[0], box[1], max(box[0], box[2] - 1), max(box[1], box[3] - 1)]
    pen = ImageDraw.Draw(small)
    for ink, width_px in (((0, 0, 0), 4), ((255, 255, 255), 2)):
        pen.rectangle(box, outline=ink, width=width_px)
    return small


def _photo(pixels: NDArray[np.uint8], field: Field) -> tuple[Image.Image, tuple[int, int]]:
    """Return the field as it fits the card, and where it goes in the photo's box."""
    scale = min(_WIDE / field.width, _PHOTO_PX / field.height)
    size = (max(1, round(field.width * scale)), max(1, round(field.height * scale)))
    inside = Image.fromarray(pixels[field.top : field.bottom, field.left : field.right])
    inside = inside.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)
    return inside, (_MARGIN + (_WIDE - size[0]) // 2, (_PHOTO_PX - size[1]) // 2)


def _contour(
    photo: Image.Image, lines: Sequence[Line], field: Field, colour: tuple[int, int, int]
) -> None:
    """Draw lines, each twice, so that they show on any ground."""
    pen = ImageDraw.Draw(photo)
    scale = photo.width / field.width
    for ink, width_px in (((255, 255, 255), 8), (colour, 4)):
        for line in lines:
            points = ((line - np.array([field.left, field.top])) * scale).tolist()
            corners = [(float(x), float(y)) for x, y in [*points, *points[:2]]]
            pen.line(corners, fill=ink, width=width_px, joint="curve")


def _row(
    pen: ImageDraw.ImageDraw, y: int, finding: Finding, face: fonts.Font, language: Language
) -> None:
    full, colour = _BAND[finding.decision]
    band = text(language, f"fundus.card.band_{finding.decision}")
    x = WIDTH_PX - _MARGIN
    cells_px = 3 * 38
    room = _BANDS_PX - cells_px - 14
    pen.text((x, y + 34), band, colour, _fitting(pen, band, 38, room, language), anchor="rm")
    x -= _BANDS_PX
    pen.text((_MARGIN, y + 34), _name(finding.condition, language), _INK, face, anchor="lm")
    for cell in range(3):
        box = (x + cell * 38, y + 18, x + cell * 38 + 32, y + 50)
        pen.rectangle(box, fill=colour if cell < full else None, outline=colour, width=3)


def _jpeg(image: Image.Image) -> bytes:
    for quality in (85, 75, 60, 40):
        out = io.BytesIO()
        image.save(out, "JPEG", quality=quality)
        if out.tell() <= MAX_BYTES:
            break
    return out.getvalue()
