from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import ConfigError
from models.fundus.manifest import Calibration, Grades, Head, load


def a_manifest(network: bytes, **changes: Any) -> dict[str, Any]:
    heads = [
        {"name": n, "channel": c, "rule_out": 0.3, "refer": 0.6}
        for c, n in enumerate(("gate", "quality", "dr"))
    ]
    return {
        "name": "w", "version": "1", "file": "n.onnx", "size_px": 64,
        "sha256": hashlib.sha256(network).hexdigest(),
        "channels": ["gate", "quality", "dr"], "heads": heads, **changes,
    }  # fmt: skip


def write(folder: Path, data: Any, network: bytes = b"net") -> Path:
    (folder / "n.onnx").write_bytes(network)
    (folder / "manifest.json").write_text(json.dumps(data))
    return folder


def test_absent_or_switched_off_head_is_not_assessed(tmp_path: Path) -> None:
    data = a_manifest(b"net")
    manifest, path = load(write(tmp_path, data))
    assert path.name == "n.onnx"
    assert manifest.assesses("dr")
    assert not manifest.assesses("glaucoma")
    for status in ("off", "experimental"):
        data["heads"][2]["status"] = status
        assert not load(write(tmp_path, data))[0].assesses("dr")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sha256": "0" * 64}, "sha256"),
        ({"file": "other.onnx"}, "other.onnx"),
        ({"file": "../n.onnx"}, "not there"),
        ({"heads": []}, "gate"),
        ({"channels": ["gate"]}, "channel"),
        ({"size_px": 0}, "size_px"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_broken_manifest_names_the_file_and_the_remedy(
    tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=r"fundus\.weights") as caught:
        load(write(tmp_path, a_manifest(b"net", **change)))
    assert words in str(caught.value)
    assert "install the package again" in str(caught.value)


def test_missing_folder_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"manifest\.json"):
        load(tmp_path / "nowhere")


@given(st.floats(-80, 80), st.floats(0.05, 3), st.floats(-5, 5))
def test_probability_is_monotone_and_bounded(logit: float, scale: float, bias: float) -> None:
    calibration = Calibration(scale=scale, bias=bias)
    assert 0 <= calibration.probability(logit) <= calibration.probability(logit + 1) <= 1


def test_two_thresholds_make_three_answers() -> None:
    head = Head(name="dr", channel=0, rule_out=0.3, refer=0.7)
    answers = [head.decide(p) for p in (0.0, 0.29, 0.3, 0.69, 0.7, 1.0)]
    assert answers == ["negative", "negative", "borderline", "borderline", "refer", "refer"]
    with pytest.raises(ValueError, match="rule_out"):
        Head(name="dr", channel=0, rule_out=0.8, refer=0.7)


def test_grade_never_skips_one() -> None:
    grades = Grades(channels=(0, 1, 2, 3), calibration=(Calibration(),) * 4)
    assert grades.grade([-1, -1, -1, -1]) == 0
    assert grades.grade([2, 1, -1, 5]) == 2
    assert grades.grade([9, 9, 9, 9]) == 4
