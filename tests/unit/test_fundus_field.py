from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from models.fundus import field, laterality, outline, quality

FIXTURES = Path(__file__).parents[1] / "fixtures" / "fundus"


def a_disc(
    width: int, height: int, radius: int, centre: tuple[int, int], level: int = 150
) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    inside = (x - centre[0]) ** 2 + (y - centre[1]) ** 2 < radius**2
    return (inside[..., None] * np.array([level, level * 0.5, level * 0.2])).astype(np.uint8)


def test_finds_the_disc_inside_its_surround() -> None:
    found = field.find(a_disc(1000, 700, 300, (480, 350)))
    assert found.dark_surround
    assert abs(found.left - 180) <= 6
    assert abs(found.right - 780) <= 6
    assert abs(found.top - 50) <= 6
    assert abs(found.bottom - 650) <= 6
    assert 0.74 < found.fill < 0.84
    assert found.touches == 0


def test_a_photo_without_surround_is_its_own_field() -> None:
    pixels = np.full((200, 300, 3), 120, np.uint8)
    found = field.find(pixels)
    assert (found.width, found.height, found.dark_surround) == (300, 200, False)


def test_black_photo_is_its_own_field() -> None:
    found = field.find(np.zeros((200, 300, 3), np.uint8))
    assert (found.width, found.height, found.fill) == (300, 200, 0.0)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(32, 500), st.integers(32, 500), st.integers(0, 400), st.integers(0, 255),
    st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_any_picture_has_a_field_inside_it(
    width: int, height: int, radius: int, level: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    centre = (int(rng.integers(width)), int(rng.integers(height)))
    pixels = a_disc(width, height, radius, centre, level)
    found = field.find(pixels)
    assert 0 <= found.left < found.right <= width
    assert 0 <= found.top < found.bottom <= height
    square = field.square(pixels, found, 64)
    assert square.shape == (64, 64, 3)
    measures = quality.measure(square, found)
    assert all(np.isfinite([measures.sharpness, measures.level, measures.burnt, measures.glare]))
    quality.causes(measures, on_screen=False)


def test_square_keeps_the_shape() -> None:
    pixels = np.full((100, 200, 3), 90, np.uint8)
    square = field.square(pixels, field.find(pixels), 64)
    assert square[:15].max() == 0
    assert square[-15:].max() == 0
    assert square[17:47].min() == 90


def test_causes_name_what_is_wrong() -> None:
    rng = np.random.default_rng(1)
    texture = rng.integers(0, 60, (700, 700, 1)).astype(np.uint8)

    def causes_of(pixels: np.ndarray, shrunk: float = 1.0) -> tuple[str, ...]:
        found = field.find(pixels)
        measures = quality.measure(field.square(pixels, found, 448), found, shrunk=shrunk)
        return quality.causes(measures, on_screen=False)

    disc = a_disc(700, 700, 320, (350, 350))
    sharp = np.where(disc.max(2, keepdims=True) > 0, disc + texture, 0).astype(np.uint8)
    assert causes_of(sharp) == ()
    assert causes_of(disc) == ("blur",)
    assert causes_of(a_disc(700, 700, 320, (350, 350), 31))[0] == "dark"
    assert "too_small" in causes_of(sharp[::5, ::5])
    assert "too_small" not in causes_of(sharp[::5, ::5], shrunk=5.0)
    burnt = np.where(disc.max(2, keepdims=True) > 0, np.uint8(255), np.uint8(0)).repeat(3, 2)
    assert causes_of(burnt)[0] == "bright"


@pytest.mark.parametrize("stacked", [False, True])
@pytest.mark.parametrize("gap", [-12, 0, 40])
def test_two_discs_are_two_fields_even_where_they_touch(gap: int, stacked: bool) -> None:
    one, other = (a_disc(900, 500, 200, (x, 250)) for x in (210, 610 + gap))
    pixels = np.maximum(one, other)
    if stacked:
        pixels = np.ascontiguousarray(pixels.transpose(1, 0, 2))
    found = field.find_all(pixels)
    assert len(found) == 2
    starts = [(f.top if stacked else f.left) for f in found]
    assert abs(starts[0] - 10) <= 10
    assert abs(starts[1] - 410 - gap) <= 12
    around = field.find(pixels)
    length = around.height if stacked else around.width
    assert abs(length - 800 - gap) <= 12


def test_one_wide_field_and_two_unequal_things_are_not_two_eyes() -> None:
    clipped = a_disc(900, 500, 430, (450, 250))  # a disc cut off above and below
    assert len(field.find_all(clipped)) == 1
    small = np.maximum(a_disc(900, 500, 230, (240, 250)), a_disc(900, 500, 90, (700, 250)))
    assert len(field.find_all(small)) == 1
    square = np.zeros((500, 900, 3), np.uint8)
    square[100:400, 50:400] = square[100:400, 500:850] = 120
    assert len(field.find_all(square)) == 1


def test_only_what_is_inside_the_field_is_kept() -> None:
    pixels = a_disc(900, 700, 300, (450, 350))
    marked = pixels.copy()
    marked[5:40, 5:300:9] = 255
    found = field.find(marked)
    assert found.marks
    assert (field.only(marked, [found])[:45, :300] == 0).all()
    kept = field.only(marked, [found])
    assert (kept[pixels.max(2) > 0] == pixels[pixels.max(2) > 0]).mean() > 0.999
    photo = np.full((200, 300, 3), 90, np.uint8)
    assert field.only(photo, [field.find(photo)]) is photo


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 2**32 - 1), st.sampled_from([2, 60]))
def test_the_outline_is_the_convex_hull(height: int, width: int, seed: int, share: int) -> None:
    mask = np.random.default_rng(seed).integers(0, 100, (height, width)) < share
    mask[height // 2, width // 2] = True
    corners = outline._convex(mask)
    ys, xs = np.nonzero(mask)
    assert {tuple(c) for c in corners} <= set(zip(xs, ys, strict=True))
    if len(corners) < 3:  # all on one line: its ends
        assert corners.min(axis=0).tolist() == [xs.min(), ys.min()]
        assert corners.max(axis=0).tolist() == [xs.max(), ys.max()]
        return
    after = np.roll(corners, -1, axis=0)
    edge = after - corners
    for x, y in zip(xs, ys, strict=True):  # every point on the same side of every edge
        cross = edge[:, 0] * (y - corners[:, 1]) - edge[:, 1] * (x - corners[:, 0])
        assert (cross >= 0).all()
    turn = edge[:, 0] * np.roll(edge[:, 1], -1) - edge[:, 1] * np.roll(edge[:, 0], -1)
    assert (turn > 0).all()  # no corner on a straight line


@given(st.lists(st.integers(0, 255), min_size=1, max_size=50))
def test_the_median_by_counting_is_the_median(levels: list[int]) -> None:
    found = quality._median(np.array(levels, np.uint8))
    assert found == np.median(levels)


# Of the fixtures, as they were before the search was made faster: box, share lit, side, sharpness.
_BEFORE = {
    "idrid_grade0.jpg": ((0, 0, 510, 426), 0.871951, "OS", 0.9927, 0.01125, 182.0),
    "idrid_grade2.jpg": ((0, 0, 512, 427), 0.868885, "OS", 0.9974, 0.01111, 172.0),
    "idrid_grade4.jpg": ((4, 0, 510, 421), 0.868985, "OS", 0.9758, 0.01258, 186.0),
    "not_a_fundus.jpg": ((0, 0, 512, 512), 1.0, "OS", 0.5, 0.06561, 252.0),
}


@pytest.mark.parametrize("name", _BEFORE)
def test_photos_are_measured_as_before(name: str) -> None:
    pixels = np.asarray(Image.open(FIXTURES / name).convert("RGB"))
    found = field.find(pixels)
    square = field.square(pixels, found, 448)
    measures, side = quality.measure(square, found), laterality.side(square)
    box, fill, eye, confidence, sharpness, level = _BEFORE[name]
    assert (found.left, found.top, found.right, found.bottom) == box
    assert found.fill == pytest.approx(fill, abs=1e-6)
    assert side.eye == eye
    assert side.confidence == pytest.approx(confidence, abs=1e-3)
    assert measures.sharpness == pytest.approx(sharpness, rel=0.05)  # rounded to levels once more
    assert measures.level == pytest.approx(level, abs=1)
    # A network of another size asks for the same sharpness.
    smaller = quality.measure(field.square(pixels, found, 384), found)
    assert smaller.sharpness == pytest.approx(measures.sharpness, rel=0.05)
