"""Which eye a photo shows, and two eyes in one picture, through the whole reader."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageOps

from core.reading import Eye
from models.fundus import field
from models.fundus.reader import OnnxFundusReader
from models.fundus.settings import FundusSettings
from tests.unit.test_fundus_dicom import a_dicom

FIXTURES = Path(__file__).parents[1] / "fixtures" / "fundus"


def retina(grade: int) -> Image.Image:
    return Image.open(FIXTURES / f"idrid_grade{grade}.jpg").convert("RGB")


def jpeg(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=95)
    return out.getvalue()


def beside(one: Image.Image, other: Image.Image, *, gap: int = 12, stacked: bool = False) -> bytes:
    if stacked:
        both = Image.new("RGB", (one.width, one.height + other.height + gap))
        both.paste(other, (0, one.height + gap))
    else:
        both = Image.new("RGB", (one.width + other.width + gap, one.height))
        both.paste(other, (one.width + gap, 0))
    both.paste(one, (0, 0))
    return jpeg(both)


@pytest.fixture
async def reader() -> AsyncIterator[OnnxFundusReader]:
    reader = OnnxFundusReader(FundusSettings(threads=1))
    yield reader
    await reader.close()


async def test_the_picture_tells_the_eye_when_nobody_does(reader: OnnxFundusReader) -> None:
    seen = await reader.read(jpeg(retina(2)), language="en")
    assert seen.outcome == "assessed"
    assert seen.eye is not None
    assert seen.eye_from == "picture"
    mirrored = await reader.read(jpeg(ImageOps.mirror(retina(2))), language="en")
    assert {seen.eye, mirrored.eye} == {"OD", "OS"}


async def test_what_a_person_says_goes_first_and_a_contradiction_is_noted(
    reader: OnnxFundusReader,
) -> None:
    seen = await reader.read(jpeg(retina(2)), language="en")
    other: Eye = "OS" if seen.eye == "OD" else "OD"
    agreed = await reader.read(jpeg(retina(2)), language="en", eye=seen.eye)
    assert (agreed.eye, agreed.eye_from, agreed.eye_doubt) == (seen.eye, "caption", False)
    against = await reader.read(jpeg(retina(2)), language="en", eye=other)
    assert (against.eye, against.eye_from, against.eye_doubt) == (other, "caption", True)


async def test_what_the_camera_wrote_goes_before_all(reader: OnnxFundusReader) -> None:
    seen = await reader.read(jpeg(retina(2)), language="en")
    side = "R" if seen.eye == "OD" else "L"
    data = a_dicom(np.asarray(retina(2)), ImageLaterality=side)
    found = await reader.read(data, language="en")
    assert (found.outcome, found.eye, found.eye_from) == ("assessed", seen.eye, "file")
    assert not found.eye_doubt
    other: Eye = "OS" if seen.eye == "OD" else "OD"
    mistaken = await reader.read(data, language="en", eye=other)
    assert (mistaken.eye, mistaken.eye_from, mistaken.eye_doubt) == (seen.eye, "file", True)


@pytest.mark.parametrize("stacked", [False, True])
async def test_two_eyes_of_one_picture_are_read_one_by_one(
    reader: OnnxFundusReader, stacked: bool
) -> None:
    healthy, ill = retina(0), ImageOps.mirror(retina(4))
    both = await reader.read(beside(healthy, ill, stacked=stacked), language="en", eye="OD")
    assert both.other is not None
    assert [e.outcome for e in both.eyes()] == ["assessed", "assessed"]
    assert both.finding("dr").decision != "refer"
    assert both.other.finding("dr").decision == "refer"
    assert both.card
    assert both.other.card
    assert both.card != both.other.card
    assert "caption" not in {e.eye_from for e in both.eyes()}


async def test_a_round_thing_beside_a_retina_is_no_second_eye(reader: OnnxFundusReader) -> None:
    one = retina(2)
    clock = Image.new("RGB", one.size)
    ImageDraw.Draw(clock).ellipse((60, 40, 430, 410), fill=(90, 160, 200))
    found = await reader.read(beside(one, clock), language="en")
    assert found.outcome == "assessed"
    assert found.other is None


def test_a_name_in_the_picture_moves_nothing() -> None:
    one = retina(0)
    wide = Image.new("RGB", (one.width + 300, one.height + 160))
    wide.paste(one, (150, 80))
    before = field.find(np.asarray(wide))
    pen = ImageDraw.Draw(wide)
    pen.text((4, 4), "李四 LI SI 1961-03-02 R 45°", (255, 255, 255), font_size=40)
    pen.text((4, wide.height - 50), "EyeCam 3000", (0, 255, 0), font_size=40)
    after = field.find(np.asarray(wide))
    for side in ("left", "top", "right", "bottom"):
        assert abs(getattr(before, side) - getattr(after, side)) <= 6
    assert after.marks
    plain = field.square(np.asarray(wide), after, 448)
    assert np.abs(plain.astype(int) - field.square(np.asarray(wide), before, 448)).mean() < 3


def test_a_retina_on_light_paper_is_found() -> None:
    one = np.asarray(retina(0))
    paper = np.full((900, 1100, 3), 235, np.uint8)
    paper[180 : 220 + one.shape[0], 280 : 320 + one.shape[1]] = 0
    paper[200 : 200 + one.shape[0], 300 : 300 + one.shape[1]] = one
    found = field.find(paper)
    assert abs(found.left - 300) < 60
    assert abs(found.top - 200) < 60
    assert found.width < 600
    kept = field.only(paper, [found])
    assert kept[:150].max() == 0
