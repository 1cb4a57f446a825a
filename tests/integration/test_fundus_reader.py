from __future__ import annotations

import asyncio
import io
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from core.errors import Bug, ConfigError, PatientError, TransientError
from core.message import LANGUAGES, Language
from core.reading import CONDITIONS
from models.fundus import card, fonts
from models.fundus.reader import OnnxFundusReader
from models.fundus.settings import FundusSettings

FIXTURES = Path(__file__).parents[1] / "fixtures" / "fundus"
GRADES = (0, 2, 4)


def photo(name: str) -> bytes:
    return (FIXTURES / name).read_bytes()


def changed(name: str, kind: str, mode: str = "RGB", **options: object) -> bytes:
    out = io.BytesIO()
    Image.open(io.BytesIO(photo(name))).convert(mode).save(out, kind, **options)
    return out.getvalue()


@pytest.fixture
async def reader() -> AsyncIterator[OnnxFundusReader]:
    reader = OnnxFundusReader(FundusSettings(threads=1))
    yield reader
    await reader.close()


async def test_reads_fundus_photos_and_shows_a_card(reader: OnnxFundusReader) -> None:
    decisions = {}
    for grade in GRADES:
        reading = await reader.read(photo(f"idrid_grade{grade}.jpg"), language="zh-Hans", eye="OD")
        assert reading.outcome == "assessed"
        assert reading.fundus_probability > 0.9
        assert [f.condition for f in reading.findings] == list(CONDITIONS)
        assert reading.eye == "OD"
        assert reading.provider.endswith("ExecutionProvider")
        assert reading.model_version.startswith("oculichat-fundus")
        assert reading.card is not None
        assert len(reading.card) <= 200_000
        assert Image.open(io.BytesIO(reading.card)).width == card.WIDTH_PX
        decisions[grade] = reading.finding("dr").decision
        for condition in ("glaucoma", "amd"):
            finding = reading.finding(condition)
            assert finding.decision == "not_assessed"
            assert finding.probability is None
            assert finding.model is None
    assert decisions[0] != "refer"
    assert decisions[4] == "refer"


async def test_what_is_no_fundus_gets_no_result(reader: OnnxFundusReader) -> None:
    rng = np.random.default_rng(4)
    noise = Image.fromarray(rng.integers(0, 255, (400, 500, 3)).astype(np.uint8))
    plain = Image.new("RGB", (600, 400), (200, 90, 40))
    for picture in (photo("not_a_fundus.jpg"), _jpeg(noise), _jpeg(plain)):
        reading = await reader.read(picture, language="en")
        assert reading.outcome != "assessed"
        assert reading.card is None
        assert all(f.decision == "not_assessed" for f in reading.findings)


def _jpeg(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=90)
    return out.getvalue()


async def test_a_blurred_and_a_dark_photo_are_not_assessed(reader: OnnxFundusReader) -> None:
    image = Image.open(io.BytesIO(photo("idrid_grade2.jpg")))
    blurred = await reader.read(_jpeg(image.filter(ImageFilter.GaussianBlur(12))), language="en")
    assert blurred.outcome != "assessed"
    dark = await reader.read(_jpeg(image.point(lambda v: v // 12)), language="en")
    assert dark.outcome != "assessed"
    if dark.outcome == "ungradable":
        assert "dark" in dark.retake
    tiny = await reader.read(_jpeg(image.resize((120, 100))), language="en")
    assert tiny.outcome != "assessed"
    assert "too_small" in tiny.retake


@pytest.mark.parametrize(
    ("kind", "mode", "options"),
    [
        ("PNG", "RGB", {}),
        ("PNG", "RGBA", {}),
        ("WEBP", "RGB", {"quality": 90}),
        ("TIFF", "RGB", {}),
        ("JPEG", "CMYK", {"quality": 92}),
        ("HEIF", "RGB", {}),
    ],
)
async def test_the_format_does_not_change_the_answer(
    reader: OnnxFundusReader, kind: str, mode: str, options: dict[str, object]
) -> None:
    original = await reader.read(photo("idrid_grade4.jpg"), language="en")
    data = (
        photo("idrid_grade4.heic")
        if kind == "HEIF"
        else changed("idrid_grade4.jpg", kind, mode, **options)
    )
    other = await reader.read(data, language="en")
    assert other.outcome == "assessed"
    assert other.finding("dr").decision == original.finding("dr").decision
    before, after = original.finding("dr").probability, other.finding("dr").probability
    assert before is not None
    assert after == pytest.approx(before, abs=0.15)


async def test_files_that_are_no_pictures_are_said_so(reader: OnnxFundusReader) -> None:
    for data in (b"", b"%PDF-1.7 report", photo("idrid_grade0.jpg")[:9000], b"\0" * 999):
        with pytest.raises(PatientError):
            await reader.read(data, language="zh-Hans")


@pytest.mark.parametrize("language", LANGUAGES)
async def test_card_without_a_chinese_font_is_in_english(
    reader: OnnxFundusReader, monkeypatch: pytest.MonkeyPatch, language: Language
) -> None:
    monkeypatch.setattr(fonts, "_FOLDERS", ())
    fonts.forget()
    try:
        assert fonts.language_on_cards(language) == "en"
        reading = await reader.read(photo("idrid_grade2.jpg"), language=language)
        assert reading.card
    finally:
        fonts.forget()


async def test_many_at_once_are_bounded_and_all_answered() -> None:
    reader = OnnxFundusReader(FundusSettings(threads=1, queue=3))
    await reader.warm_up()
    data = photo("idrid_grade0.jpg")
    try:
        results = await asyncio.gather(
            *(reader.read(data, language="en") for _ in range(6)), return_exceptions=True
        )
        assert sum(isinstance(r, TransientError) for r in results) == 3
        assert sum(getattr(r, "outcome", "") == "assessed" for r in results) == 3
        assert (await reader.read(data, language="en")).outcome == "assessed"
        assert reader.health().facts["waiting"] == "0"
    finally:
        await reader.close()
    with pytest.raises(Bug):
        await reader.read(data, language="en")


async def test_too_slow_is_transient_and_the_next_photo_is_read() -> None:
    reader = OnnxFundusReader(FundusSettings(threads=1, timeout_s=0.0001))
    try:
        with pytest.raises(TransientError, match="timeout_s"):
            await reader.read(photo("idrid_grade0.jpg"), language="en")
    finally:
        await reader.close()


async def test_health_says_what_is_loaded_or_broken(tmp_path: Path) -> None:
    reader = OnnxFundusReader(FundusSettings(threads=1))
    assert reader.health().ok
    await reader.warm_up()
    facts = reader.health().facts
    assert facts["assesses"].split()[0] == "dr"
    await reader.close()
    broken = OnnxFundusReader(FundusSettings(weights=tmp_path))
    with pytest.raises(ConfigError, match=r"manifest\.json"):
        await broken.read(photo("idrid_grade0.jpg"), language="en")
    assert not broken.health().ok
    await broken.close()
    off = OnnxFundusReader(FundusSettings(enabled=False))
    with pytest.raises(PatientError):
        await off.read(b"x", language="en")
    assert not off.health().required
    await off.close()


async def test_clean_keeps_the_picture_only(reader: OnnxFundusReader) -> None:
    exif = Image.Exif()
    exif[0x010F] = "PhoneMaker"
    cleaned = await reader.clean(changed("idrid_grade0.jpg", "JPEG", exif=exif))
    image = Image.open(io.BytesIO(cleaned))
    assert image.size == (512, 426)
    assert b"PhoneMaker" not in cleaned


def test_nothing_heavy_is_imported_before_the_first_photo() -> None:
    code = (
        "import sys, models.fundus.reader, core.turn.reading_answer;"
        "print([m for m in ('onnxruntime', 'PIL', 'numpy', 'pillow_heif') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_a_bomb_costs_little_memory(tmp_path: Path) -> None:
    """The whole reader, in a process of its own that may not grow past its limit."""
    width = height = 8900  # just inside the pixel limit: the most a file may ask for
    Image.new("RGBA", (width, height), (180, 90, 40, 255)).save(
        tmp_path / "big.png", compress_level=1
    )
    code = f"""
import asyncio, re
from models.fundus.reader import OnnxFundusReader
from models.fundus.settings import FundusSettings
from pathlib import Path
async def main():
    reader = OnnxFundusReader(FundusSettings(threads=1))
    reading = await reader.read(Path({str(tmp_path / "big.png")!r}).read_bytes(), language="en")
    await reader.close()
    # Not ru_maxrss: it begins at what the test process had when it made this one.
    peak = re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())
    print(reading.outcome, int(peak[1]) // 1024)
asyncio.run(main())
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    outcome, peak_mib = out.stdout.split()
    assert outcome != "assessed"
    assert int(peak_mib) < 1024
