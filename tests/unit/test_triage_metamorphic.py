"""What must not change a verdict does not: on every flag of our own cases, not on a few."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import opencc
import pytest
import yaml

from core.triage.engine import assess
from core.triage.verdict import Verdict
from core.urgency import Urgency

CASES: dict[str, Any] = yaml.safe_load(
    (Path(__file__).parent / "triage_cases.yaml").read_text("utf-8")
)
# Every third case: all of them under every wrapper would take half a minute.
FLAGGED = [text for _, text in CASES["red_flags"]][::3]
CHINESE = [t for t in FLAGGED if any("\u4e00" <= c <= "\u9fff" for c in t)]
ENGLISH = [t for t in FLAGGED if t.isascii()]
TYPOS = (
    ("眼睛", "眼晴"),
    ("突然", "突燃"),
    ("隐形", "隐型"),
    ("模糊", "模胡"),
    ("看不见", "看不贱"),
)
WRAPPERS = {
    "polite before": ("医生您好，打扰一下，{}", CHINESE),
    "polite after": ("{}，麻烦您了，谢谢", CHINESE),
    "polite in English": ("Hello doctor, {}. Thank you so much", ENGLISH),
    "emoji": ("{}😭😭🙏", FLAGGED),
    "marks": ("{}！！！", CHINESE),
    "a time before": ("今天上午，{}", CHINESE),
    "a time before in English": ("This morning, {}", ENGLISH),
    "an unrelated sentence": ("我家住在三楼。{}", CHINESE),
    "an unrelated sentence after": ("{}。今天下雨。", CHINESE),
    "an unrelated sentence in English": ("We live in the village. {}", ENGLISH),
    "spaces and lines": ("\n  {}  \n", FLAGGED),
    "capitals": ("{}", [t.upper() for t in ENGLISH]),
}


def rank(verdict: Verdict) -> int:
    """0 = most urgent; what is not triggered ranks last."""
    return verdict.urgency.rank if verdict.action == "trigger" else Urgency.NONE.rank


def lowered(pairs: list[tuple[str, str]]) -> list[str]:
    return [new for old, new in pairs if rank(assess(new)) > rank(assess(old))]


@pytest.mark.parametrize("name", WRAPPERS)
def test_what_stands_around_it_never_lowers_a_red_flag(name: str) -> None:
    frame, texts = WRAPPERS[name]
    assert not lowered([(t, frame.format(t)) for t in texts])


def test_traditional_characters_never_lower_a_red_flag() -> None:
    convert = opencc.OpenCC("s2t").convert
    assert not lowered([(t, convert(t)) for t in CHINESE])


@pytest.mark.parametrize("typo", TYPOS)
def test_a_typo_never_lowers_a_red_flag(typo: tuple[str, str]) -> None:
    assert not lowered([(t, t.replace(*typo)) for t in CHINESE if typo[0] in t])


def test_full_width_letters_and_digits_never_lower_a_red_flag() -> None:
    wide = {ord(c): ord(c) + 0xFEE0 for c in "0123456789"}
    assert not lowered([(t, t.translate(wide)) for t in FLAGGED])
