"""Keeps what matters for somebody's eyes when the conversation is trimmed.

Deterministic: a clause that speaks of an allergy, a medicine, an operation, an eye, a pregnancy or
a disease the person told of is kept as they wrote it. Nothing is concluded, and a denial ("no
allergies") is kept too, for it is as important. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Literal

from core.agent.context import neutral
from core.message import Language
from core.texts import text

Kind = Literal["allergy", "medication", "surgery", "pregnancy", "condition", "eye"]
Fact = tuple[str, str]  # kind, words

_PATTERNS: dict[Kind, re.Pattern[str]] = {
    "allergy": re.compile(r"过敏|\ballerg\w*", re.IGNORECASE),
    "pregnancy": re.compile(
        r"怀孕|孕妇|孕期|怀了|\d+\s*周(?:孕|了?的?身孕)|备孕|哺乳|喂奶|产后|\bpregnan\w*|"
        r"\bbreast-?feed\w*|\bnursing\b"
        r"|\bpost-?partum\b|\bexpecting\b",
        re.IGNORECASE,
    ),
    "surgery": re.compile(
        r"手术|开刀|做过激光|打过针|眼内注射|玻切|移植|换过?(?:人工)?晶体|人工晶体|飞秒|"
        r"近视激光|术后|"
        r"\b(?:surgery|operation|operated|laser(?:ed)?|injections? in(?:to)? (?:my|the|her|"
        r"his) eye|transplant|"
        r"implant|lasik|vitrectomy|graft)\b",
        re.IGNORECASE,
    ),
    "medication": re.compile(
        r"(?:在|正在|一直|每天|天天|长期|现在|刚|停了?)[^,，。;；]{0,4}(?:吃|用|滴|打|服|"
        r"点)[^,，。;；]{0,10}"
        r"|胰岛素|降糖药|降压药|阿司匹林|华法林|激素|抗凝|眼药水|眼药膏|滴眼液|二甲双胍|羟氯喹"
        r"|\b(?:taking|takes?|on (?:insulin|metformin|warfarin|aspirin|steroids?|drops?|"
        r"blood thinners?)|using|"
        r"insulin|metformin|warfarin|aspirin|steroids?|prescribed|eye ?drops|hydroxychloroquine)\b",
        re.IGNORECASE,
    ),
    "condition": re.compile(
        r"糖尿病|血糖高|高血压|血压高|甲亢|甲状腺|肾病|肾不好|透析|心脏病|中风|脑梗|类风湿|狼疮|"
        r"免疫|化疗|"
        r"青光眼|白内障|黄斑|糖网|高度近视|近视\s*\d+|\d{3,4}\s*度|弱视|视网膜|葡萄膜炎|虹膜炎|"
        r"独眼|只有一只眼|家族史|遗传|"
        r"\b(?:diabet\w*|hypertension|(?:high )?blood pressure|thyroid|kidney|dialysis|"
        r"heart (?:disease|attack)|stroke|"
        r"lupus|rheumatoid|chemo\w*|glaucoma|cataracts?|macula\w*|retin\w+|very short-sighted|"
        r"myopi\w+|only (?:one|good) eye|"
        r"uveitis|family history)\b",
        re.IGNORECASE,
    ),
    "eye": re.compile(
        r"(?:左|右)(?:边(?:那只)?)?眼|双眼|两只眼|\b(?:left|right|both) eyes?\b", re.IGNORECASE
    ),
}
_CLAUSE = re.compile(r"(?:[^,，。;；!！\n.]|\.(?!\s|$))+")
_QUESTION = re.compile(
    r"[?？]|吗$|呢$|是不是|会不会|能不能|可以.{0,12}吗|怎么办|什么是|^(?:what|how|can|should|is|"
    r"does|will|could)\b",
    re.IGNORECASE,
)
_LONGEST = 80
_PER_KIND = 5


def facts(words: str) -> list[Fact]:
    """Return the clauses worth keeping, each under the first kind it belongs to.

    Questions are left out: "is it glaucoma?" is no history.
    """
    found: list[Fact] = []
    for clause in _CLAUSE.findall(words[:20_000]):
        said = " ".join(clause.split())
        if len(said) < 2 or _QUESTION.search(said):
            continue
        for kind, pattern in _PATTERNS.items():
            if match := pattern.search(said):
                found.append((kind, _around(said, match.start())))
                break
    return found


def _around(said: str, at: int) -> str:
    """Return at most `_LONGEST` characters of a clause, with what was found inside."""
    if len(said) <= _LONGEST:
        return said
    start = max(0, min(at - _LONGEST // 2, len(said) - _LONGEST))
    return said[start : start + _LONGEST]


def merged(known: Sequence[Fact], new: Iterable[Fact]) -> tuple[Fact, ...]:
    """Return old and new facts: no words twice, the newest of each kind kept."""
    together: dict[Fact, None] = {}
    for fact in (*known, *new):
        together.pop(fact, None)
        together[fact] = None
    kept: list[Fact] = []
    counts: dict[str, int] = {}
    for fact in reversed(together):
        counts[fact[0]] = counts.get(fact[0], 0) + 1
        if counts[fact[0]] <= _PER_KIND:
            kept.append(fact)
    return tuple(reversed(kept))


def summary(known: Sequence[Fact], language: Language) -> str:
    """Return the facts as lines for the prompt, grouped, in the person's own words."""
    quote = "“{}”" if language == "zh-Hans" else '"{}"'
    join = "；" if language == "zh-Hans" else "; "
    colon = "：" if language == "zh-Hans" else ": "
    lines: list[str] = []
    for kind in _PATTERNS:
        said = [quote.format(neutral(words)) for k, words in known if k == kind]
        if said:
            lines.append(f"- {text(language, f'agent.fact.{kind}')}{colon}{join.join(said)}")
    return "\n".join(lines)
