from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.fundus import laterality
from training.fundus.laterality import measure, wilson

SHARED = Path(os.environ.get("OCULICHAT_SHARED", Path(__file__).parents[3] / "shared")) / "fundus"


def a_retina(disc_x: float, disc_y: float = 0.0, *, atrophy: float = 0.0) -> np.ndarray:
    """A square of 448 px with a bright disc at (x, y) in radii, and vessels through it."""
    y, x = np.mgrid[:448, :448] / 223.5 - 1
    field = x**2 + y**2 < 0.97
    level = 110 - 30 * (x**2 + y**2)
    disc = np.hypot(x - disc_x, y - disc_y) < 0.14
    vessels = (np.abs(x - disc_x - 0.4 * y**2) < 0.012) | (np.abs(x - disc_x + 0.4 * y**2) < 0.012)
    level = np.where(disc, 215, np.where(vessels, 70, level))
    level = np.where(np.hypot(x + disc_x, y) < atrophy, 225, level)
    pixels = level[..., None] * np.array([1.0, 0.55, 0.3])
    return np.where(field[..., None], pixels, 0).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize(("x", "eye"), [(0.5, "OD"), (-0.5, "OS"), (0.65, "OD"), (-0.4, "OS")])
def test_the_disc_lies_on_the_side_of_the_nose(x: float, eye: str) -> None:
    found = laterality.side(a_retina(x))
    assert found.eye == eye
    assert found.is_sure


def test_a_mirrored_photo_looks_like_the_other_eye() -> None:
    retina = a_retina(0.5, 0.1)
    assert laterality.side(retina).eye == "OD"
    mirrored = laterality.side(np.ascontiguousarray(retina[:, ::-1]))
    assert mirrored.eye == "OS"
    assert mirrored.is_sure


def test_a_disc_in_the_middle_leaves_the_question_open() -> None:
    for x in (-0.1, 0.0, 0.1):
        assert not laterality.side(a_retina(x)).is_sure


def test_much_that_is_bright_leaves_the_question_open() -> None:
    assert not laterality.side(a_retina(0.5, atrophy=0.4)).is_sure


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0, 20, 128, 255]), st.integers(16, 400))
def test_any_square_gets_some_answer(seed: int, level: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    square = rng.integers(0, level + 1, (size, size, 3)).astype(np.uint8)
    assert 0.5 <= laterality.side(square).confidence <= 1


def test_wilson() -> None:
    low, high = wilson(9, 10)
    assert (round(low, 3), round(high, 3)) == (0.596, 0.982)
    assert wilson(0, 0) == (0.0, 1.0)


@pytest.mark.skipif(not (SHARED / "labels.csv").is_file(), reason=f"{SHARED} is not here")
def test_cameras_whose_file_names_tell_the_side() -> None:
    found = measure(SHARED, "srahim", limit=80)
    told = [right for sure, right in found if sure]
    assert len(told) >= 0.85 * len(found)
    assert sum(told) >= len(told) - 1
