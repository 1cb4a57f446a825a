from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.recording import duration_ms, kind_named, kind_of
from tests.fakes.recordings import ALL


@pytest.mark.parametrize("mime", ALL)
@pytest.mark.parametrize("ms", [1_000, 23_400, 119_980])
def test_kind_and_length_come_from_the_bytes(mime, ms):
    data = ALL[mime](ms)
    kind = kind_of(data)
    assert kind is not None
    assert kind.mime == mime
    assert kind_named(mime) is kind
    assert duration_ms(data) == pytest.approx(ms, abs=100)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xd8\xff\xe0 a photo",
        b"<script>alert(1)</script>",
        b"RIFF\x00\x00\x00\x00WEBPVP8 ",
        b"%PDF-1.7",
        b"MZ\x90\x00 a program",
    ],
)
def test_anything_else_is_no_recording(data):
    assert kind_of(data) is None
    assert duration_ms(data) is None


def test_only_what_browsers_play_is_shown_as_playable():
    assert {mime for mime in ALL if not kind_of(ALL[mime]()).plays} == {"audio/amr", "audio/silk"}


@given(st.sampled_from(sorted(ALL)), st.integers(0, 3_000), st.integers(0, 3_000), st.binary())
def test_damaged_files_have_a_length_or_none_and_nothing_worse(mime, at, end, junk):
    data = ALL[mime]()
    broken = data[: max(at, 12)] + junk + data[end:]
    length = duration_ms(broken)
    assert length is None or length >= 0
