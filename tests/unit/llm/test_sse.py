"""Events come out the same however the bytes are cut."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.llm.sse import SseReader

payloads = st.lists(
    st.text(st.characters(exclude_characters="\r\n", exclude_categories=("Cs",))), max_size=8
)


def _cut(data: bytes, at: list[int]) -> list[bytes]:
    edges = [0, *sorted(min(a, len(data)) for a in at), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


def _read(chunks: list[bytes]) -> list[bytes]:
    reader = SseReader()
    found = [event for chunk in chunks for event in reader.feed(chunk)]
    return found + reader.close()


@given(payloads, st.sampled_from(["\n", "\r\n", "\r"]), st.lists(st.integers(0, 600)))
def test_events_survive_any_cut(texts: list[str], end: str, at: list[int]) -> None:
    stream = "".join(f": hi{end}event: x{end}data: {t}{end}id: 1{end}{end}" for t in texts)
    assert _read(_cut(stream.encode(), at)) == [t.encode() for t in texts]


def test_several_data_lines_are_one_event() -> None:
    assert _read([b"data: a\ndata:b\ndata\n\n"]) == [b"a\nb\n"]


def test_last_event_needs_no_blank_line() -> None:
    assert _read([b"data: a\n\ndata: b"]) == [b"a", b"b"]


@given(st.lists(st.binary()))
def test_any_bytes_are_survived(chunks: list[bytes]) -> None:
    _read(chunks)


@pytest.mark.parametrize("line", [b"data: " + b"x" * 99, b"x" * 99, b"data: xxxx\n" * 9])
def test_endless_events_are_refused(line: bytes) -> None:
    reader = SseReader(limit_bytes=40)
    with pytest.raises(ValueError):
        reader.feed(line)
