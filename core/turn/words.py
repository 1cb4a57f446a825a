"""What plain words mean to the turn itself: language, commands, typed buttons, which eye."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from core.message import Language
from core.reading import Eye

_CJK = re.compile(r"[\u3400-\u9fff]")
_WORD = re.compile(r"[A-Za-z']{2,}|\bI\b")
_LETTER = re.compile(r"[A-Za-z]")
_COMMAND = re.compile(r"/([a-z_]+)(?:@\w+)?(?:\s+(.*))?", re.IGNORECASE | re.DOTALL)

_RIGHT = re.compile(r"右眼|右边|\bOD\b|\bright\b", re.IGNORECASE)
_LEFT = re.compile(r"左眼|左边|\bOS\b|\bleft\b", re.IGNORECASE)
_NUMBER = re.compile(r"[(（]?([1-9])[)）.。、]?")
# Some phones type these for the digits that we print before choices.
_ROUND_DIGITS = {c: str(n) for n, c in enumerate("①②③④⑤⑥⑦⑧⑨", start=1)}


@dataclass(frozen=True, slots=True)
class Command:
    """A command such as ``/start clinic12``; the name is lower case without the slash."""

    name: str
    argument: str


def command_of(text: str) -> Command | None:
    """Read a command, or return None."""
    match = _COMMAND.fullmatch(text.strip())
    return Command(match[1].lower(), (match[2] or "").strip()) if match else None


def language_of(text: str, hint: str | None, default: Language) -> Language | None:
    """Recognise the language of some words; None when they show none and there is no hint."""
    if _CJK.search(text):
        return "zh-Hans"
    if len(_LETTER.findall(text)) >= 2 and not text.startswith("/"):
        return "en"
    if hint:
        return "zh-Hans" if hint.lower().startswith("zh") else "en"
    return default if text.startswith("/") else None


def spoken_language(text: str) -> Language | None:
    """Return the language that some words leave no doubt about, or None.

    A name, a drug or "OK" in the other script is no change of language.
    """
    chinese, words = len(_CJK.findall(text)), _WORD.findall(text)
    if text.startswith("/"):
        return None
    if chinese >= 2 and len(words) <= chinese // 2:
        return "zh-Hans"
    return "en" if len(words) >= 3 and not chinese else None


def typed_button(text: str, offered: Sequence[tuple[str, str]], *, numbered: bool) -> str | None:
    """Return the action of an offered button that was typed by number or by label.

    Args:
        text: what was written.
        offered: label and action of the buttons last shown, in order.
        numbered: the channel shows buttons as numbered lines. Where it shows real buttons, a bare
            number answers an interview's question ("how bad, 0 to 10?") and is left to it.
    """
    written = text.strip()
    written = _ROUND_DIGITS.get(written, written)
    number = _NUMBER.fullmatch(written)
    if number and int(number[1]) <= len(offered):
        action = offered[int(number[1]) - 1][1]
        if numbered or not action.startswith("v1:ask:"):
            return action
    folded = _fold(written)
    return next((action for label, action in offered if folded and _fold(label) == folded), None)


def _fold(label: str) -> str:
    return "".join(c for c in label.casefold() if c.isalnum())


def eye_of(text: str) -> Eye | None:
    """Return which eye a caption names; None when it names none or both."""
    right, left = bool(_RIGHT.search(text)), bool(_LEFT.search(text))
    if right is left:
        return None
    return "OD" if right else "OS"
