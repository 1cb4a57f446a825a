"""Index terms of a text: what questions, articles and a clinic's books are compared by.

Chinese is cut into character pairs, English into lightly stemmed words, so one index serves both
languages and no tokenizer has to be loaded.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache

from core.message import Language
from core.triage.normalise import traditional

_WORD = re.compile(r"[a-z0-9]+|[\u3400-\u9fff]+")
_HAN = re.compile(r"[\u3400-\u9fff]")
_LATIN_WORD = re.compile(r"[A-Za-z]{2,}")
# Words and pairs that every question has; they say nothing about its topic.
_STOP_WORDS = """
a an the and or of to in on at is are was be am i my me you your it its this that do does did can
could should would will what how why when which who if for with from about have has had get got
there any some so as by not no yes he she his her they them their we our please tell know need
want much many long often after before during into s t m re ve don
where here because been being were also just only very really still then than too now im
ive dont let lot got
怎么 么办 什么 为什 么样 么用 可以 以吗 能不 不能 是不 不是 多久 久能 久可 请问
想问 问一 一下 我想 知道 哪些 有哪 是什 么是 么回 回事 如何 需要 要不 会不 不会
有没 没有 应该 该怎 了吗 的吗 好吗 吗我 我的 我们 你们 的时 时候 么时 是怎 还能
能吗 哪里 在哪 几点 一个 这个 那个 有什 可不 不可 告诉 诉我 有点
"""
_STOP = frozenset(_STOP_WORDS.split())
_STOP_CHARACTERS = frozenset(
    "的了是不有在我你他她们这那一个么什怎吗呢吧啊能会要可以就都和也很还多没去到上下中看眼睛"
)


@cache
def _simplify() -> dict[int, str]:
    return {ord(old): new for old, new in traditional().items()}


def plain(content: str) -> str:
    """Return a text as it is compared: folded width, lower case, simplified characters."""
    return unicodedata.normalize("NFKC", content).lower().translate(_simplify())


def _stem(word: str) -> str:
    for ending in ("ies", "ing", "es", "ed", "s", "y"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word.removesuffix(ending)
    return word


def tokens(content: str) -> list[str]:
    """Return the index terms of a text: character pairs, characters and word stems."""
    found: list[str] = []
    for run in _WORD.findall(plain(content)):
        if run[0].isascii():
            if run not in _STOP:
                found.append(_stem(run))
        else:
            found += (p for i in range(len(run) - 1) if (p := run[i : i + 2]) not in _STOP)
            found += (c for c in run if c not in _STOP_CHARACTERS)
    return found


def language_of_text(content: str) -> Language:
    """Return the language most of a longer text is in."""
    n_han = len(_HAN.findall(content))
    return "zh-Hans" if n_han > len(_LATIN_WORD.findall(content)) else "en"
