"""Fonts for the card (Chinese from the machine, the rest from Pillow), and words into lines."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from PIL import ImageDraw, ImageFont

from core.message import Language

# (file name, index of its Simplified Chinese face)
_CJK_FONTS = (
    ("NotoSansCJK-Regular.ttc", 2),
    ("NotoSansCJKsc-Regular.otf", 0),
    ("NotoSansSC-Regular.otf", 0),
    ("NotoSansSC-Regular.ttf", 0),
    ("SourceHanSansCN-Regular.otf", 0),
    ("SourceHanSansSC-Regular.otf", 0),
    ("wqy-microhei.ttc", 0),
    ("wqy-zenhei.ttc", 0),
    ("DroidSansFallbackFull.ttf", 0),
    ("PingFang.ttc", 0),
    ("Hiragino Sans GB.ttc", 0),
    ("STHeiti Medium.ttc", 0),
    ("msyh.ttc", 0),
    ("simhei.ttf", 0),
    ("NotoSerifCJK-Regular.ttc", 2),
)
_FOLDERS = (
    "/usr/share/fonts",
    "/usr/local/share/fonts",
    "~/.local/share/fonts",
    "~/.fonts",
    "/System/Library/Fonts",
    "/Library/Fonts",
    "C:/Windows/Fonts",
)
# A Latin word, or one Chinese character; closing marks stay with what they close.
_PIECE = re.compile(r"(?:[!-~]+|[^!-~\s])[，。、；：！？）”]*\s*")

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@cache
def _cjk() -> tuple[str, int] | None:
    """Return an installed font with Chinese characters, or None."""
    names = {name for name, _ in _CJK_FONTS}
    found: dict[str, Path] = {}
    for folder in _FOLDERS:
        base = Path(folder).expanduser()
        if base.is_dir():
            for path in base.rglob("*"):
                if path.name in names:
                    found.setdefault(path.name, path)
    return next(((str(found[name]), index) for name, index in _CJK_FONTS if name in found), None)


@cache
def font(size_px: int, language: Language) -> Font:
    """Return a font for a language."""
    chinese = _cjk() if language == "zh-Hans" else None
    if chinese is not None:
        return ImageFont.truetype(chinese[0], size_px, index=chinese[1])
    return ImageFont.load_default(size_px)


def language_on_cards(language: Language) -> Language:
    """Return `language`, or English where this machine has no font for Chinese."""
    return "en" if language == "zh-Hans" and _cjk() is None else language


def load() -> None:
    """Look for fonts now rather than at the first photo."""
    _cjk()


def lines(
    pen: ImageDraw.ImageDraw, words: str, size_px: int, width_px: int, language: Language
) -> list[str]:
    """Break words into lines that are at most `width_px` wide."""
    face = font(size_px, language)
    if pen.textlength(words, face) <= width_px:  # nearly always, and measuring is dear
        return [words.strip()]
    found = [""]
    for piece in _PIECE.findall(words):
        if found[-1] and pen.textlength((found[-1] + piece).rstrip(), face) > width_px:
            found.append("")
        found[-1] += piece
    return [line.rstrip() for line in found]


def forget() -> None:
    """Look for fonts again the next time."""
    _cjk.cache_clear()
    font.cache_clear()
