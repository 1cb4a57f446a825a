"""From what a person writes to slots: clause by clause, with negation kept in its clause.

Not a red-flag detector: `core.triage` has run on the same text before. This only spares the
person questions they have answered already.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping

from core.interview.slots import SKIPPED, UNSURE, ConsultData, Slot

_CLAUSE = re.compile(r"[。！？；，!?;,\n]+|\.(?=\s|$)|但是?|可是|不过|\bbut\b")
# A negator reaches the words right after it and along a list ("没有红、肿和痛"), not further:
# "没睡好眼睛红" is a red eye.
_NEGATED_ZH = re.compile(
    r"(?:没有|没|不是|不|无|并非|未|从未)(?:[^，。]*[、和或跟及也])?[^、]{0,3}$"
)
_NEGATED_EN = re.compile(
    r"\b(?:no|not|without|never|none of|denies|\w+n't|(?:do|does|did|is|are|ca|has|have)nt)\s+"
    r"(?:[\w' -]*(?:\bor\b|\band\b|/)\s+)?(?:[\w'-]+\s+){0,3}$"
)
_LIST_EN = re.compile(r"\b(?:no|without) [\w ]+(?:, [\w ]+)*,? (?:or|and) ")
# "不…" inside these is part of the complaint, not a denial of what follows.
_NOT_A_NEGATOR = re.compile(
    r"不(?:舒服|太?好|对劲|清楚?|了|到|见|知道|行|时|停|断)|没(?:完|睡|精神)|can.?t see"
)
# A duration in such a clause belongs to the history, not to today's complaint.
_HISTORY = ("diabetes", "blood_pressure", "surgery", "glaucoma", "myopia", "retina_check", "lens")


def normalise(text: str) -> str:
    """Return the text in the one form every pattern is written for."""
    text = unicodedata.normalize("NFKC", text).lower().replace("’", "'").replace("眼晴", "眼睛")
    return " ".join(text.split())


def clauses(text: str) -> list[str]:
    """Split normalised text at punctuation and turning words; empty parts are left out."""
    joined = _LIST_EN.sub(lambda m: m.group().replace(", ", " or "), text)
    return [c.strip() for c in _CLAUSE.split(joined) if c.strip()]


def _is_negated(clause: str, start: int) -> bool:
    before = _NOT_A_NEGATOR.sub(lambda m: "…" * len(m.group()), clause[:start])
    return bool(_NEGATED_ZH.search(before) or _NEGATED_EN.search(before))


def _first_value(slot: Slot, parts: list[str]) -> str | None:
    """Return the first value, in the slot's own order, that some clause states."""
    denied: str | None = None
    for value, pattern in slot.values.items():
        if pattern is None:
            continue
        for clause in parts:
            found = pattern.search(clause)
            if found is None:
                continue
            if value == slot.negated or not _is_negated(clause, found.start()):
                return value
            denied = denied or slot.negated
    return denied


def understand(text: str, data: ConsultData) -> dict[str, str]:
    """Return the slots a free text settles, with what those values imply.

    Args:
        text: as written by the person.
        data: the consult's data.
    """
    parts = clauses(normalise(text))
    found = {
        name: value
        for name, slot in data.slots.items()
        if name != "onset" and (value := _first_value(slot, parts))
    }
    now = [c for c in parts if not any(_states(data.slots[h], c) for h in _HISTORY)]
    onset = _first_value(data.slots["onset"], now)
    sudden = data.slots["onset"].values["sudden"]
    if sudden is not None and any(
        (m := sudden.search(c)) and not _is_negated(c, m.start()) for c in parts
    ):
        onset = "sudden"
    if onset:
        found["onset"] = onset
    if (points := _pain_points(normalise(text))) is not None:
        found["pain"] = _pain_of(points)
    return with_implied(found, data)


def _states(slot: Slot, clause: str) -> bool:
    return any(p is not None and p.search(clause) for p in slot.values.values())


def with_implied(found: Mapping[str, str], data: ConsultData) -> dict[str, str]:
    """Return the slots plus what their values imply; what was said itself always wins."""
    full = dict(found)
    for name, value in found.items():
        if name in data.slots:
            for other, implied in data.slots[name].implies.get(value, {}).items():
                full.setdefault(other, implied)
    return full


def direct_answer(
    text: str, slot: Slot, labels: Mapping[str, str], data: ConsultData
) -> str | None:
    """Return the value a short text gives to the question just asked, or None.

    Understands the button's words, its number, words of the slot, a plain yes or no, and "I
    don't know" (as `SKIPPED`).

    Args:
        text: the person's answer.
        slot: the slot asked for.
        labels: button labels by value, in the order shown.
        data: the consult's data.
    """
    plain = normalise(text)
    first = (clauses(plain) or [plain])[0]
    for value, label in labels.items():
        if plain == normalise(label):
            return value
    if slot.name == "pain" and (points := _pain_points(plain)) is not None:
        return _pain_of(points)
    chosen = _chosen(plain)
    if chosen is not None and 1 <= chosen <= len(labels):
        return list(labels)[chosen - 1]
    for value, pattern in slot.answers.items():
        if pattern.search(plain):
            return value
    if said := _first_value(slot, clauses(plain)):
        return said
    if data.talk["skip"].search(plain):
        return SKIPPED
    if data.talk["deny"].search(first):
        return slot.deny
    if data.talk["affirm"].search(first):
        return slot.affirm
    return None


_COUNT = r"(\d{1,2}|[零一二两三四五六七八九十]|[a-z]+)"
_ABOUT = r"(?:大概|大约|差不多|可能|也就|有个?|就|maybe|about|around|like|it'?s|a|an| )*"
_POINTS = re.compile(
    rf"{_ABOUT}{_COUNT}(?: ?(?:到|至|、|-|~|or|to)? ?{_COUNT})? ?(?:分|/ ?10|out of (?:10|ten))"
    r"[的吧左右多啊样子,. ]*"
)
_CHOSEN = re.compile(
    r"\(?(\d)[.)、]?|(?:选|就|是)*第?([一二三四五六七八1-8])(?:个|项|种)"
    r"|(?:option|number|no\.?|choice) ?(\d|[a-z]+)|(?:the )?([a-z]+)(?: one| option)"
)
_ORDINALS = {"first": 1, "second": 2, "third": 3, "fourth": 4, "fifth": 5, "sixth": 6, "last": 0}


def _pain_points(plain: str) -> float | None:
    """Return points of pain from 0 to 10 ("七八分", "six out of ten"); the higher of two."""
    match = _POINTS.fullmatch(plain)
    if match is None:
        return None
    counts = [n for part in match.groups() if part and (n := number_in(part)) is not None]
    return max((n for n in counts if n <= 10), default=None)


def _pain_of(points: float) -> str:
    return "none" if points == 0 else "severe" if points >= 7 else "mild"


def _chosen(plain: str) -> int | None:
    """Return which of the shown answers was picked, from 1 ("2", "第二个", "the second one")."""
    match = _CHOSEN.fullmatch(plain)
    if match is None:
        return None
    word = next(part for part in match.groups() if part)
    if word in _ORDINALS:
        return _ORDINALS[word]
    number = number_in(word)
    return int(number) if number is not None else None


def settle(name: str, value: str, known: Mapping[str, str], data: ConsultData) -> dict[str, str]:
    """Return what an answer to a question settles.

    A skipped compound question leaves its parts `UNSURE`; its "none of these" does not take
    back what was said before.
    """
    if value == SKIPPED:
        unknown = data.slots[name].covers - known.keys()
        return {name: SKIPPED, **dict.fromkeys(unknown, UNSURE)}
    said = with_implied({name: value}, data)
    return {k: v for k, v in said.items() if k == name or v not in ("no", "none") or k not in known}


_DIGITS = {c: n for n, c in enumerate("零一二三四五六七八九")} | {"两": 2}
_UP_TO_TWENTY = """zero one two three four five six seven eight nine ten eleven twelve
thirteen fourteen fifteen sixteen seventeen eighteen nineteen"""
_ENGLISH = {word: float(n) for n, word in enumerate(_UP_TO_TWENTY.split())} | {
    "twenty": 20.0,
    "thirty": 30.0,
    "forty": 40.0,
    "fifty": 50.0,
    "sixty": 60.0,
    "seventy": 70.0,
    "eighty": 80.0,
    "ninety": 90.0,
    "a": 1.0,
    "an": 1.0,
    "half": 0.5,
}


def number_in(word: str) -> float | None:
    """Return the number that one word writes ("7", "十二", "两", "半", "six"), or None."""
    if word.isdigit():
        return float(word)
    if word in _ENGLISH:
        return _ENGLISH[word]
    if word == "半":
        return 0.5
    tens, ten, ones = word.partition("十")
    if not ten:
        return float(_DIGITS[word]) if word in _DIGITS else None
    if any(part and part not in _DIGITS for part in (tens, ones)):
        return None
    return 10.0 * _DIGITS.get(tens or "一", 1) + _DIGITS.get(ones or "零", 0)
