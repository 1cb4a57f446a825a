from __future__ import annotations

import io
import shutil
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from core.errors import ConfigError
from models.fundus.original import OriginalNetwork, preprocess, resize_short_edge
from models.fundus.reader import OnnxFundusReader
from models.fundus.settings import FundusSettings, Preprocessing

FIXTURES = Path(__file__).parents[1] / "fixtures" / "fundus"
MEAN = [0.48145466, 0.4578275, 0.40821073]
STD = [0.26862954, 0.26130258, 0.27577711]


def a_photo(width: int, height: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


def as_oculichatda_did(rgb: np.ndarray, *, legacy: bool) -> np.ndarray:
    """The same in plain loops over channels, from the description of the old code."""
    scaled = resize_short_edge(rgb)
    height, width = scaled.shape[:2]
    y, x = round((height - 448) / 2.0), round((width - 448) / 2.0)
    bgr = scaled[y : y + 448, x : x + 448, ::-1].astype(np.float64)
    out = np.empty((1, 3, 448, 448), np.float32)
    for channel in range(3):  # of the BGR array
        statistics = channel if legacy else 2 - channel
        mean, std = MEAN[statistics] * 255, STD[statistics] * 255
        out[0, 2 - channel] = (bgr[..., channel] - mean) / std
    return out


@pytest.mark.parametrize("mode", ["legacy", "corrected"])
@pytest.mark.parametrize("shape", [(900, 600), (600, 900), (500, 500), (448, 448), (300, 200)])
def test_preprocessing_is_oculichatdas(mode: Preprocessing, shape: tuple[int, int]) -> None:
    photo = a_photo(*shape)
    ours = preprocess(photo, mode)
    assert ours.shape == (1, 3, 448, 448)
    assert ours.dtype == np.float32
    assert np.array_equal(ours, as_oculichatda_did(photo, legacy=mode == "legacy"))


@pytest.mark.parametrize("mode", ["legacy", "corrected"])
@pytest.mark.parametrize(
    "shape", [(900, 600), (600, 900), (500, 500), (448, 448), (300, 200), (777, 333), (675, 448)]
)
def test_preprocessing_is_what_opencv_gave(mode: Preprocessing, shape: tuple[int, int]) -> None:
    """Against OpenCV itself; see `make_oculichatda_input.py` beside the fixture."""
    name = f"{shape[0]}x{shape[1]}_{mode}"
    with np.load(FIXTURES / "oculichatda_input.npz") as made:
        expected = made[name]
    ours = preprocess(a_photo(*shape), mode)[..., ::14, ::22]
    one_level = 1 / (min(STD) * 255)
    differ = ours != expected
    assert np.abs(ours - expected).max() < one_level * 1.001
    assert differ.sum() <= 2  # of 2,016: ties of Intel's library
    if shape == (448, 448):
        assert not differ.any()


def test_the_two_modes_differ_in_red_and_blue_only() -> None:
    photo = a_photo(600, 500)
    legacy, corrected = preprocess(photo, "legacy"), preprocess(photo, "corrected")
    assert np.array_equal(legacy[:, 1], corrected[:, 1])
    assert not np.allclose(legacy[:, 0], corrected[:, 0])
    assert not np.allclose(legacy[:, 2], corrected[:, 2])


def test_short_edge_is_the_one_that_is_matched() -> None:
    assert resize_short_edge(a_photo(4288, 2848)).shape == (448, 674, 3)
    assert resize_short_edge(a_photo(2848, 4288)).shape == (674, 448, 3)


def a_network(name: str, mode: Preprocessing = "legacy") -> OriginalNetwork:
    return OriginalNetwork(
        FIXTURES / name, preprocessing=mode, provider="CPUExecutionProvider", threads=1
    )


@pytest.mark.parametrize("name", ["original_four_heads.onnx", "original_unnamed.onnx"])
def test_heads_are_found_by_name_or_by_order(name: str) -> None:
    photo = a_photo(700, 500)
    scores = a_network(name).run(photo)
    session = onnxruntime.InferenceSession(str(FIXTURES / name))
    raw = session.run(None, {"input": as_oculichatda_did(photo, legacy=True).astype(np.float32)})
    for head, values in zip(("glaucoma", "dr_level", "amd", "pm"), raw, strict=True):
        ours = getattr(scores, head)
        exp = np.exp(values[0] - values[0].max())
        np.testing.assert_allclose(ours, exp / exp.sum(), atol=1e-4)
    assert scores.dr_grade == int(raw[1][0].argmax())
    assert scores.finding("dme") is None


def test_other_networks_are_refused_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"fundus\.original_model.*glaucoma"):
        a_network("original_three_heads.onnx")
    with pytest.raises(ConfigError, match=r"fundus\.original_model"):
        a_network("nowhere.onnx")
    wrong = tmp_path / "text.onnx"
    wrong.write_bytes(b"not a network")
    with pytest.raises(ConfigError, match="does not open"):
        OriginalNetwork(wrong, preprocessing="legacy", provider="auto", threads=1)
    embedded = FundusSettings().weights / "fundus.onnx"
    shutil.copy(embedded, tmp_path / "other.onnx")
    with pytest.raises(ConfigError, match="takes"):
        OriginalNetwork(tmp_path / "other.onnx", preprocessing="legacy", provider="auto", threads=1)


@pytest.mark.parametrize("mode", ["legacy", "corrected"])
async def test_original_fills_only_what_the_embedded_weights_lack(mode: Preprocessing) -> None:
    reader = OnnxFundusReader(
        FundusSettings(
            original_model=FIXTURES / "original_four_heads.onnx",
            original_preprocessing=mode,
            threads=1,
            provider="CPUExecutionProvider",
        )
    )
    try:
        data = (FIXTURES / "idrid_grade4.jpg").read_bytes()
        reading = await reader.read(data, language="en")
        facts = reader.health().facts
        assert facts["provider"] == reading.provider == "CPUExecutionProvider"
        assert facts["original"] == f"{mode} CPUExecutionProvider"
        assert "glaucoma" in facts["assesses"]
        models = {f.condition: f.model for f in reading.findings}
        assert "OculiChatDA" in (models["glaucoma"] or "")
        assert "OculiChatDA" in (models["amd"] or "")
        assert "oculichat-fundus" in (models["dr"] or "")
        assert "OculiChatDA" in reading.model_version
        assert "oculichat-fundus" in reading.model_version
        pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
        alone = a_network("original_four_heads.onnx", mode).run(pixels)
        other = a_network(
            "original_four_heads.onnx", "corrected" if mode == "legacy" else "legacy"
        ).run(pixels)
        assert abs(float(alone.glaucoma[1] - other.glaucoma[1])) > 1e-3
        assert reading.finding("glaucoma").probability == pytest.approx(
            float(alone.glaucoma[1]), abs=1e-3
        )
    finally:
        await reader.close()
