"""Thoughts and what follows a stop string stay hidden, however the text is cut."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.llm.visible import VisibleText


def _feed(text: str, cuts: list[int], **kwargs: object) -> tuple[str, VisibleText]:
    visible = VisibleText(("STOP:", "<|im_end|>"), **kwargs)  # type: ignore[arg-type]
    edges = [0, *sorted(min(c, len(text)) for c in cuts), len(text)]
    shown = "".join(visible.feed(text[a:b]) for a, b in pairwise(edges))
    return shown + visible.finish(is_cut=False), visible


plain = st.text(st.sampled_from("眼睛 <thinkSTOP|/>:"), max_size=30).filter(
    lambda t: "think>" not in t and "STOP:" not in t
)
cuts = st.lists(st.integers(0, 200))


@given(plain, cuts)
def test_plain_text_is_shown_whole(text: str, at: list[int]) -> None:
    shown, visible = _feed(text, at)
    assert shown == text.lstrip()
    assert visible.text == text.strip()


@given(plain, plain, plain, cuts)
def test_thoughts_are_hidden(before: str, thought: str, after: str, at: list[int]) -> None:
    shown, visible = _feed(f"{before}<think>{thought}</think>{after}", at)
    expected = before if before.strip() else ""
    assert shown.strip() == (expected + (after if expected else after.lstrip())).strip()
    assert visible.thoughts.endswith(thought)


@given(plain, plain, cuts)
def test_stop_string_ends_the_text(before: str, after: str, at: list[int]) -> None:
    shown, visible = _feed(f"{before}STOP:{after}", at)
    assert shown == before.lstrip()
    assert visible.is_stopped


@given(plain, plain, cuts)
def test_thought_the_template_opened(thought: str, after: str, at: list[int]) -> None:
    shown, _ = _feed(f"{thought}</think>{after}", at, starts_hidden=True)
    assert shown == after.lstrip()


@pytest.mark.parametrize(("is_cut", "expected"), [(False, "请休息。"), (True, "")])
def test_no_thought_at_all(is_cut: bool, expected: str) -> None:
    visible = VisibleText(starts_hidden=True)
    assert visible.feed("请休息。") == ""
    assert visible.finish(is_cut=is_cut) == expected
    assert visible.text == expected


def test_stray_end_takes_back_what_was_a_thought() -> None:
    visible = VisibleText()
    visible.feed("病人可能……")
    visible.feed("</think>请休息。")
    assert visible.text == "请休息。"


def test_thought_that_never_ends_is_hidden() -> None:
    visible = VisibleText()
    assert visible.feed("好。<think>病人") == "好。"
    assert visible.finish(is_cut=True) == ""
    assert visible.text == "好。"
