"""What plain words mean to the turn itself."""

from __future__ import annotations

import pytest

from core.turn.words import Command, command_of, eye_of, language_of, typed_button

OFFERED = (("同意", "v1:consent:all"), ("不同意", "v1:consent:none"), ("突然", "v1:ask:onset:x"))


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ("/start", Command("start", "")),
        ("/start clinic_12", Command("start", "clinic_12")),
        ("/Help@oculichat_bot", Command("help", "")),
        (" /lang en ", Command("lang", "en")),
        ("help", None),
        ("1/2", None),
        ("/", None),
    ],
)
def test_commands(text: str, command: Command | None) -> None:
    assert command_of(text) == command


@pytest.mark.parametrize(
    ("text", "hint", "language"),
    [
        ("我眼睛疼", "en", "zh-Hans"),
        ("my eye hurts", "zh", "en"),
        ("OK 了", None, "zh-Hans"),
        ("👁", "zh-TW", "zh-Hans"),
        ("👁", "de", "en"),
        ("👁", None, None),
        ("/start", None, "zh-Hans"),
        ("/start", "en-GB", "en"),
    ],
)
def test_the_language_of_words_goes_before_the_platforms_hint(
    text: str, hint: str | None, language: str | None
) -> None:
    assert language_of(text, hint, "zh-Hans") == language


@pytest.mark.parametrize(
    ("text", "numbered", "action"),
    [
        ("同意", False, "v1:consent:all"),
        (" 不同意。", False, "v1:consent:none"),
        ("1", False, "v1:consent:all"),
        ("②", True, "v1:consent:none"),
        ("3", True, "v1:ask:onset:x"),
        ("3", False, None),
        ("突然", False, "v1:ask:onset:x"),
        ("9", True, None),
        ("我同意你的看法", True, None),
        ("", True, None),
    ],
)
def test_typed_buttons(text: str, numbered: bool, action: str | None) -> None:
    assert typed_button(text, OFFERED, numbered=numbered) == action


@pytest.mark.parametrize(
    ("caption", "eye"),
    [
        ("右眼", "OD"),
        ("这是左边的", "OS"),
        ("OD today", "OD"),
        ("left eye", "OS"),
        ("左眼和右眼", None),
        ("我的眼睛", None),
        ("bright photo", None),
    ],
)
def test_which_eye_a_caption_names(caption: str, eye: str | None) -> None:
    assert eye_of(caption) == eye
