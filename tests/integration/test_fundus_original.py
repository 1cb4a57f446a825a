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
    y, x = height // 2 - 224, width // 2 - 224
    bgr = scaled[y : y + 448, x : x + 448, ::-1].astype(np.float64) / 255
    out = np.empty((1, 3, 448, 448))
    for channel in range(3):  # of the BGR array
        statistics = channel if legacy else 2 - channel
        out[0, 2 - channel] = (bgr[..., channel] - MEAN[statistics]) / STD[statistics]
    return out


@pytest.mark.parametrize("mode", ["legacy", "corrected"])
@pytest.mark.parametrize("shape", [(900, 600), (600, 900), (500, 500), (448, 448), (300, 200)])
def test_preprocessing_is_oculichatdas(mode: Preprocessing, shape: tuple[int, int]) -> None:
    photo = a_photo(*shape)
    ours = preprocess(photo, mode)
    assert ours.shape == (1, 3, 448, 448)
    assert ours.dtype == np.float32
    reference = as_oculichatda_did(photo, legacy=mode == "legacy")
    np.testing.assert_allclose(ours, reference, atol=2e-6)


def test_the_two_modes_differ_in_red_and_blue_only() -> None:
    photo = a_photo(600, 500)
    legacy, corrected = preprocess(photo, "legacy"), preprocess(photo, "corrected")
    assert np.array_equal(legacy[:, 1], corrected[:, 1])
    assert not np.allclose(legacy[:, 0], corrected[:, 0])
    assert not np.allclose(legacy[:, 2], corrected[:, 2])


def test_short_edge_is_the_one_that_is_matched() -> None:
    assert resize_short_edge(a_photo(4288, 2848)).shape == (448, 674, 3)
    assert resize_short_edge(a_photo(2848, 4288)).shape == (674, 448, 3)


@pytest.mark.parametrize("shape", [(224, 224), (896, 896)])
def test_resize_is_bilinear_at_pixel_centres(shape: tuple[int, int]) -> None:
    ramp = np.tile(np.linspace(0, 255, shape[0]), (shape[1], 1)).astype(np.uint8)
    photo = np.repeat(ramp[..., None], 3, 2)
    ours = resize_short_edge(photo)[224, 8:-8, 0].astype(int)
    expected = np.asarray(
        Image.fromarray(photo).transform(
            (448, 448),
            Image.Transform.AFFINE,
            (shape[0] / 448, 0, 0, 0, shape[1] / 448, 0),
            Image.Resampling.BILINEAR,
        )
    )[224, 8:-8, 0].astype(int)
    assert np.abs(ours - expected).max() <= 1


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


async def test_original_fills_only_what_the_embedded_weights_lack() -> None:
    reader = OnnxFundusReader(
        FundusSettings(original_model=FIXTURES / "original_four_heads.onnx", threads=1)
    )
    try:
        data = (FIXTURES / "idrid_grade4.jpg").read_bytes()
        reading = await reader.read(data, language="en")
        models = {f.condition: f.model for f in reading.findings}
        assert "OculiChatDA" in (models["glaucoma"] or "")
        assert "OculiChatDA" in (models["amd"] or "")
        assert "oculichat-fundus" in (models["dr"] or "")
        assert "OculiChatDA" in reading.model_version
        assert "oculichat-fundus" in reading.model_version
        pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
        alone = a_network("original_four_heads.onnx").run(pixels)
        assert reading.finding("glaucoma").probability == pytest.approx(
            float(alone.glaucoma[1]), abs=1e-3
        )
    finally:
        await reader.close()
