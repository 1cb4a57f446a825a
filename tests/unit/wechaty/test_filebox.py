"""Files as JSON, both ways."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.wechat.wechaty import filebox
from adapters.wechat.wechaty.filebox import Inline, Remote, Stored


@given(st.binary(max_size=2000), st.text(max_size=20))
def test_what_is_written_is_read(data: bytes, name: str) -> None:
    assert filebox.read(filebox.write_inline(data, name), limit_bytes=2000) == Inline(data)
    assert filebox.read(filebox.write_stored("u", name, 9), limit_bytes=1) == Stored("u")


@given(st.binary(min_size=1, max_size=200), st.integers(0, 200))
def test_an_inline_file_is_never_larger_than_agreed(data: bytes, limit: int) -> None:
    text = filebox.write_inline(data, "x")
    if len(data) > limit:
        with pytest.raises(OverflowError):
            filebox.read(text, limit_bytes=limit)
    else:
        assert filebox.read(text, limit_bytes=limit) == Inline(data)


def test_addresses_have_an_old_and_a_new_spelling() -> None:
    for key in ("url", "remoteUrl"):
        text = json.dumps({"type": 2, key: "https://x.test/a.jpg"})
        assert filebox.read(text, limit_bytes=1) == Remote("https://x.test/a.jpg")


@given(
    st.text()
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=8), inner),
    ).map(json.dumps)
    | st.builds(
        lambda kind, value: json.dumps(
            {"boxType": kind, "base64": value, "uuid": value, "url": value}
        ),
        st.integers(-1, 9) | st.none() | st.text(max_size=3),
        st.none() | st.integers() | st.text(max_size=30),
    )
)
def test_nonsense_is_no_file(text: str) -> None:
    found = filebox.read(text, limit_bytes=100)
    assert found is None or isinstance(found, Inline | Stored | Remote)
