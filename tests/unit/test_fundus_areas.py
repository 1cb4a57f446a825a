from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from core.turn.photos import reading_from_json, reading_to_json
from models.fundus import areas, field
from models.fundus.assess import Assessor
from models.fundus.settings import FundusSettings

FIXTURES = Path(__file__).parents[1] / "fixtures" / "fundus"


def crossings(lines: Sequence[np.ndarray], x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Count how often a ray to the right from each point crosses the lines."""
    crossed = np.zeros(x.shape, int)
    for line in lines:
        for (ax, ay), (bx, by) in zip(line, np.roll(line, -1, axis=0), strict=True):
            spans = (ay > y) != (by > y)
            at = ax + (bx - ax) * (y - ay) / ((by - ay) or 1.0)
            crossed += spans & (x < at)
    return crossed


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_the_lines_have_exactly_what_is_above_the_cut_inside(side: int, seed: int) -> None:
    values = np.random.default_rng(seed).normal(size=(side, side))
    at = (np.arange(side) + 0.5) / side
    inside = crossings(areas._followed(values, 0.3), *np.meshgrid(at, at)) % 2 == 1
    assert (inside == (values > 0.3)).all()


def test_lines_are_where_the_map_is_hot_in_pixels_of_the_photo() -> None:
    rows, columns = np.mgrid[:300, :500]
    photo = np.zeros((300, 500, 3), np.uint8)
    photo[(rows - 150) ** 2 + (columns - 200) ** 2 < 140**2] = (180, 90, 40)
    found = field.find(photo)
    hot = np.zeros((12, 12), np.float32)
    hot[5:7, 8:10] = 1.0  # right of the middle of the disc, which spans x 60-340
    hot[0, 0] = 5.0  # outside the disc
    lines = areas.around(hot, field.square(photo, found, 384), found)
    assert len(lines) == 1
    middle = (lines[0].min(axis=0) + lines[0].max(axis=0)) / 2
    assert middle == pytest.approx([60 + 280 * 9 / 12, 10 + 280 * 6 / 12], abs=6)
    assert np.hypot(*(lines[0] - (200, 150)).T).max() <= 148
    assert areas.around(-1 - hot, field.square(photo, found, 384), found) == ()


@pytest.fixture(scope="module")
def assessor() -> Assessor:
    return Assessor(FundusSettings(threads=1))


def test_a_reading_keeps_its_areas_in_pixels_of_the_photo_as_sent(assessor: Assessor) -> None:
    sent = Image.open(FIXTURES / "idrid_grade4.jpg").resize((1536, 1263))
    path = FIXTURES / "idrid_grade4.jpg"
    reading = assessor.assess(path.read_bytes(), language="en", eye=None, with_card=False)
    kept = reading_from_json(json.loads(json.dumps(reading_to_json(reading))))
    assert kept == reading
    small = kept.areas
    assert small is not None
    raised = {f.condition for f in reading.findings if f.decision in {"borderline", "refer"}}
    assert {a.condition for a in small.influenced} == raised
    assert raised

    out = io.BytesIO()
    sent.save(out, "JPEG", quality=95)
    large = assessor.assess(out.getvalue(), language="en", eye=None, with_card=False).areas
    assert large is not None
    assert (large.width_px, large.height_px) == (1536, 1263)
    ends = [np.array(a.field).reshape(-1, 2) for a in (small, large)]
    assert ends[1].max(axis=0) == pytest.approx(3 * ends[0].max(axis=0), abs=12)
    assert ends[1].min(axis=0) == pytest.approx(3 * ends[0].min(axis=0), abs=12)
    points = np.array([p for a in large.influenced for line in a.lines for p in line])
    assert (points >= ends[1].min(axis=0) - 12).all()
    assert (points <= ends[1].max(axis=0) + 12).all()
    assert np.ptp(points, axis=0).min() > 150  # not in pixels of the smaller decoded photo


def test_two_eyes_in_one_picture_have_their_areas_in_it(assessor: Assessor) -> None:
    one = np.asarray(Image.open(FIXTURES / "idrid_grade4.jpg").convert("RGB"))
    pair = Image.fromarray(np.concatenate([one, np.zeros((one.shape[0], 30, 3), np.uint8), one], 1))
    out = io.BytesIO()
    pair.save(out, "PNG")
    reading = assessor.assess(out.getvalue(), language="en", eye=None, with_card=False)
    left, right = reading.eyes()
    assert left.areas is not None
    assert right.areas is not None
    assert right.areas.width_px == left.areas.width_px == pair.width
    middle = pair.width / 2
    assert max(x for x, _ in left.areas.field) < middle + 20
    assert min(x for x, _ in right.areas.field) > middle - 20
    assert all(x > middle - 20 for a in right.areas.influenced for line in a.lines for x, _ in line)


def test_what_is_no_retina_has_no_areas(assessor: Assessor) -> None:
    data = (FIXTURES / "not_a_fundus.jpg").read_bytes()
    reading = assessor.assess(data, language="en", eye=None)
    assert reading.areas is None
    old = {k: v for k, v in reading_to_json(reading).items() if k != "areas"}
    assert reading_from_json(old) == reading  # kept before there were any
