"""The decoding process: it may be hung, crashed or starved, and the service goes on."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from core.errors import PatientError, TransientError
from models.fundus import intake
from models.fundus.intake import process as decoder
from models.fundus.intake.process import DecoderProcess
from tests.fakes.waiting import PATIENCE_S

FIXTURES = Path(__file__).parents[1] / "fixtures" / "fundus"
LIMITS = {"max_bytes": 25 * 1024 * 1024, "max_pixels": 80_000_000}
PHOTO = (FIXTURES / "idrid_grade2.jpg").read_bytes()


def _ended(decoding: DecoderProcess) -> None:
    """Wait until its process is gone."""
    limit_s = time.monotonic() + PATIENCE_S
    while decoding.pid is not None:
        assert time.monotonic() < limit_s
        time.sleep(0.01)


@pytest.fixture
def decoding() -> Iterator[DecoderProcess]:
    found = DecoderProcess(timeout_s=90)
    yield found
    found.close()


def test_gives_what_decoding_here_gives(decoding: DecoderProcess) -> None:
    for name in ("idrid_grade0.jpg", "idrid_grade4.heic"):
        data = (FIXTURES / name).read_bytes()
        there = decoding.decode(data, **LIMITS, working_px=300)
        here = intake.decode(data, **LIMITS, working_px=300)
        assert (there.pixels == here.pixels).all()
        assert (there.width_px, there.height_px) == (here.width_px, here.height_px)
        assert there.format == here.format
        assert decoding.clean_jpeg(data, **LIMITS) == intake.clean_jpeg(data, **LIMITS)


def test_refusals_come_across(decoding: DecoderProcess) -> None:
    with pytest.raises(PatientError) as caught:
        decoding.decode(PHOTO, max_bytes=1 << 25, max_pixels=1000)
    assert caught.value.text_key == "fundus.too_many_pixels"
    assert caught.value.fields == {"limit_mp": 0}
    with pytest.raises(PatientError) as caught:
        decoding.decode(PHOTO[:6000], **LIMITS)
    assert caught.value.text_key == "fundus.damaged"


def test_what_needs_no_decoder_starts_no_process(decoding: DecoderProcess) -> None:
    for data in (b"", b"%PDF-1.7", b"\xff\xd8\xff" * 100):
        with pytest.raises(PatientError):
            decoding.decode(data, max_bytes=200, max_pixels=10_000)
    assert decoding.pid is None


def test_one_process_serves_many_photos_and_is_replaced_when_it_dies(
    decoding: DecoderProcess,
) -> None:
    decoding.decode(PHOTO, **LIMITS)
    first = decoding.pid
    decoding.decode(PHOTO, **LIMITS)
    assert decoding.pid == first
    assert first is not None
    os.kill(first, signal.SIGKILL)
    _ended(decoding)
    assert decoding.decode(PHOTO, **LIMITS).format == "JPEG"
    assert decoding.pid != first


def test_an_idle_process_ends_and_comes_back() -> None:
    decoding = DecoderProcess(timeout_s=90, idle_s=0.5)
    try:
        decoding.decode(PHOTO, **LIMITS)
        _ended(decoding)
        assert decoding.decode(PHOTO, **LIMITS).format == "JPEG"
    finally:
        decoding.close()


def a_slow_file() -> bytes:
    """A picture at the limit of pixels in a slow format: seconds of work."""
    rng = np.random.default_rng(5)
    noise = rng.integers(0, 255, (3000, 3000, 3)).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(noise).save(out, "JPEG", quality=98, progressive=True)
    return out.getvalue()


def test_a_file_that_takes_too_long_is_ended() -> None:
    decoding = DecoderProcess(timeout_s=90)
    try:
        decoding.decode(PHOTO, **LIMITS)
        slow = a_slow_file()
        decoding._timeout_s = 0.1
        with pytest.raises((PatientError, TransientError)) as caught:
            decoding.clean_jpeg(slow, **LIMITS)
        if isinstance(caught.value, PatientError):
            assert caught.value.text_key == "fundus.cannot_open"
        assert decoding.pid is None
        decoding._timeout_s = 90
        assert decoding.decode(PHOTO, **LIMITS).format == "JPEG"
    finally:
        decoding.close()


@pytest.mark.parametrize(
    ("behaviour", "expected"),
    [
        ("os.kill(os.getpid(), 11)", PatientError),  # the decoder crashed on it
        ("out.write(b'\\xff' * 4000); out.flush()", PatientError),  # it was taken over
        # It never ends: its own limit of CPU time does it, on a busy machine too.
        ("resource.setrlimit(resource.RLIMIT_CPU, (1, 1))\nwhile True: pass", PatientError),
        ("time.sleep(60)", TransientError),  # it gets no time: nobody blames the photo
    ],
)
def test_whatever_the_process_does_the_answer_is_one_of_ours(
    monkeypatch: pytest.MonkeyPatch, behaviour: str, expected: type[Exception]
) -> None:
    code = (
        "import os, resource, sys, time\n"
        "from models.fundus.intake.frames import read_frame, write_frame\n"
        "out = sys.stdout.buffer\n"
        "write_frame(out, {'kind': 'ready', 'cpu_s': time.process_time()}, b'')\n"
        f"read_frame(sys.stdin.buffer, most_bytes=1 << 30)\n{behaviour}\n"
    )
    real = subprocess.Popen

    def spawn(arguments: list[str], **options: object) -> subprocess.Popen[bytes]:
        return real([sys.executable, "-c", code], **options)  # type: ignore[call-overload]

    monkeypatch.setattr(decoder.subprocess, "Popen", spawn)
    decoding = DecoderProcess(timeout_s=2 if "sleep" in behaviour else 60)
    try:
        with pytest.raises(expected):
            decoding.decode(PHOTO, **LIMITS)
    finally:
        decoding.close()


def test_a_process_that_cannot_start_blames_no_photo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder.sys, "executable", "/nowhere/python")
    decoding = DecoderProcess(timeout_s=1)
    with pytest.raises(TransientError):
        decoding.decode(PHOTO, **LIMITS)
    monkeypatch.setattr(decoder.sys, "executable", "/bin/false")
    with pytest.raises(TransientError):
        decoding.decode(PHOTO, **LIMITS)
    decoding.close()


def test_memory_is_bounded_and_the_next_photo_is_read() -> None:
    decoding = DecoderProcess(timeout_s=90, memory_bytes=200 << 20)
    try:
        out = io.BytesIO()
        Image.new("RGBA", (8000, 8000), (180, 90, 40, 255)).save(out, "PNG", compress_level=1)
        with pytest.raises(PatientError) as caught:
            decoding.decode(out.getvalue(), **LIMITS)
        assert caught.value.text_key in {"fundus.too_many_pixels", "fundus.cannot_open"}
        assert decoding.decode(PHOTO, **LIMITS).format == "JPEG"
    finally:
        decoding.close()


def test_the_process_inherits_no_secret(
    decoding: DecoderProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OCULICHAT_SECRET", "s3cret-token")
    decoding.decode(PHOTO, **LIMITS)
    environment = Path(f"/proc/{decoding.pid}/environ").read_bytes()
    assert b"s3cret-token" not in environment
    assert b"PYTHONPATH" in environment


def test_burned_in_words_are_neither_kept_nor_read(decoding: DecoderProcess) -> None:
    photo = Image.open(io.BytesIO(PHOTO)).convert("RGB")
    wide = Image.new("RGB", (photo.width + 200, photo.height + 120))
    wide.paste(photo, (100, 60))
    clean = np.asarray(wide).copy()
    pen = ImageDraw.Draw(wide)
    pen.text((8, 6), "ZHANG SAN  1950-01-01  OD", (255, 255, 255), font_size=34)
    pen.text((8, wide.height - 46), "People's Hospital 2026", (200, 200, 60), font_size=34)
    out = io.BytesIO()
    wide.save(out, "PNG")
    kept = np.asarray(Image.open(io.BytesIO(decoding.clean_jpeg(out.getvalue(), **LIMITS))))
    assert kept.shape == clean.shape
    assert kept[:50].max() < 30
    assert kept[-50:].max() < 30
    # and the retina is all there
    retina = clean.max(axis=2) > 40
    assert np.abs(kept[retina].astype(int) - clean[retina]).mean() < 6
