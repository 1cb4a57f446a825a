"""A photo sent with "right eye" as its caption was met with "is this happening now?" and dropped.

Naming an eye, a side or a person is no complaint; and whatever is asked about a caption, the
picture is read.
"""

from __future__ import annotations

import pytest

from core.triage.engine import assess


@pytest.mark.parametrize(
    "caption", ["右眼", "左眼", "这是我妈妈的右眼", "双眼", "right eye", "OD", "my left eye", "OS"]
)
def test_naming_an_eye_is_no_complaint(caption: str) -> None:
    assert assess(caption).action == "none"


@pytest.mark.parametrize("words", ["右眼突然看不见了", "my left eye suddenly went blind"])
def test_what_is_wrong_with_it_still_counts(words: str) -> None:
    assert assess(words).action == "trigger"
