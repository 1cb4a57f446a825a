from __future__ import annotations

import io
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from core.message import LANGUAGES, Language
from core.reading import CONDITIONS, Condition, Decision, Eye, Finding
from models.fundus import areas, card, field, fonts

PHOTO = Path(__file__).parents[1] / "fixtures" / "fundus" / "idrid_grade2.jpg"
OURS, ORIGINAL = "oculichat-fundus 0.3.0", "OculiChatDA four-head"


def retina() -> np.ndarray:
    return np.asarray(Image.open(PHOTO).convert("RGB"))


def some_findings(**decisions: Decision) -> list[Finding]:
    return [
        Finding(c, d, 0.5, OURS) if (d := decisions.get(c)) else Finding(c, "not_assessed")
        for c in CONDITIONS
    ]


class Written:
    """What was drawn: words with their place and size, and rectangles."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.words: list[str] = []
        self.boxes: list[tuple[float, ...]] = []
        self.full_cells = 0
        real_text, real_rectangle = ImageDraw.ImageDraw.text, ImageDraw.ImageDraw.rectangle

        def text(pen: ImageDraw.ImageDraw, xy: tuple[float, float], words: str, fill: object, font: object, anchor: str | None = None) -> None:  # fmt: skip  # noqa: E501
            self.words.append(words)
            self.boxes.append(pen.textbbox(xy, words, font, anchor=anchor))
            assert getattr(font, "size", 30) >= 30  # 15 px on a 360 px screen
            real_text(pen, xy, words, fill, font, anchor=anchor)

        def rectangle(pen: ImageDraw.ImageDraw, box: object, **how: object) -> None:
            self.full_cells += how.get("width") == 3 and how.get("fill") is not None
            real_rectangle(pen, box, **how)  # type: ignore[arg-type]

        monkeypatch.setattr(ImageDraw.ImageDraw, "text", text)
        monkeypatch.setattr(ImageDraw.ImageDraw, "rectangle", rectangle)

    @property
    def all(self) -> str:
        return " | ".join(self.words)


def draw(
    findings: list[Finding],
    *,
    language: Language = "zh-Hans",
    eye: Eye | None = "OD",
    influenced: dict[Condition, tuple[np.ndarray, ...]] | None = None,
    pixels: np.ndarray | None = None,
    is_poor: bool = False,
    model_version: str = OURS,
) -> Image.Image:
    photo = retina() if pixels is None else pixels
    data = card.draw(
        photo,
        field.find(photo),
        findings=findings,
        influenced=influenced or {},
        eye=eye,
        model_version=model_version,
        language=language,
        day=date(2026, 11, 22),
        is_poor=is_poor,
    )
    assert len(data) <= card.MAX_BYTES
    return Image.open(io.BytesIO(data))


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("eye", ["OD", "OS", None])
def test_the_card_says_everything_it_must(
    monkeypatch: pytest.MonkeyPatch, language: Language, eye: Eye | None
) -> None:
    written = Written(monkeypatch)
    findings = some_findings(dr="refer", dme="borderline", pm="negative")
    image = draw(findings, language=language, eye=eye)
    shown = fonts.language_on_cards(language)
    said = written.all
    wanted = {
        "zh-Hans": ("可疑程度", "高", "不确定", "低", "AI 参考，不能替代医生诊断", "不等于没病"),
        "en": (
            "Degree of suspicion",
            "high",
            "borderline",
            "low",
            "AI reference, not a diagnosis",
            "does not rule out",
        ),
    }[shown]
    for words in wanted:
        assert words in said
    missing = {"zh-Hans": "没有评估：青光眼、老年黄斑变性", "en": "Not assessed: Glaucoma, Macular"}
    assert missing[shown] in said
    assert "2026-11-22" in said
    assert OURS in said
    assert ("OD" in said, "OS" in said) == (eye == "OD", eye == "OS")
    assert written.full_cells == 3 + 2 + 1  # shape says the band without colour
    for left, top, right, bottom in written.boxes:
        assert 0 <= left < right <= card.WIDTH_PX
        assert 0 <= top < bottom <= image.height


def test_words_do_not_run_over_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    for language in LANGUAGES:
        written = Written(monkeypatch)
        draw(
            [Finding(c, "borderline", 0.5, OURS) for c in CONDITIONS],
            language=language,
            is_poor=True,
        )
        boxes = written.boxes
        for n, a in enumerate(boxes):
            for b in boxes[n + 1 :]:
                apart = a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
                assert apart, (written.words[n], a, b)


def test_two_networks_are_named_with_what_each_said(monkeypatch: pytest.MonkeyPatch) -> None:
    written = Written(monkeypatch)
    findings = [
        Finding(c, "negative", 0.1, ORIGINAL if c in {"glaucoma", "amd"} else OURS)
        for c in CONDITIONS
    ]
    draw(findings, language="en", model_version=f"{OURS} + {ORIGINAL}")
    foot = " ".join(written.words)
    assert f"{ORIGINAL}: Glaucoma, Macular degeneration" in foot
    assert f"{OURS}: Diabetic retinopathy" in foot


def test_a_contour_where_a_score_is_raised_and_only_inside_the_retina() -> None:
    photo = np.zeros((400, 400, 3), np.uint8)
    rows, columns = np.mgrid[:400, :400]
    photo[(rows - 200) ** 2 + (columns - 200) ** 2 < 190**2] = (180, 90, 40)
    hot = np.zeros((14, 14), np.float32)
    hot[5:9, 5:9] = 1.0
    hot[0, 0] = 2.0  # in the black corner: not the retina's
    found = field.find(photo)
    lines = areas.around(hot, field.square(photo, found, 384), found)
    influenced: dict[Condition, tuple[np.ndarray, ...]] = {"dr": lines}
    plain, marked = (
        np.asarray(draw(some_findings(dr=d), influenced=influenced, pixels=photo), np.int16)
        for d in ("negative", "refer")
    )
    top = 2 * 18 + card._THUMB_PX[1]
    box = (slice(top, top + card._PHOTO_PX), slice(card._MARGIN, -card._MARGIN))
    changed = np.abs(marked[box] - plain[box]).max(axis=2) > 60
    ys, xs = np.nonzero(changed)
    assert ys.size > 200
    middle = (card._PHOTO_PX / 2, changed.shape[1] / 2)
    assert np.hypot(ys - middle[0], xs - middle[1]).max() < card._PHOTO_PX * 0.45


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet="ab，。低高 x“”Z9", min_size=1, max_size=60), st.integers(60, 400))
def test_lines_keep_every_word_and_fit(words: str, width_px: int) -> None:
    pen = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    broken = fonts.lines(pen, words, 26, width_px, "zh-Hans")
    assert "".join("".join(broken).split()) == "".join(words.split())
    face = fonts.font(26, "zh-Hans")
    for line in broken:
        one_piece = len(fonts._PIECE.findall(line)) <= 1
        assert one_piece or pen.textlength(line, face) <= width_px
