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
    number = re.fullmatch(r"\(?(\d)[.)、]?", plain)
    if number and 1 <= int(number.group(1)) <= len(labels):
        return list(labels)[int(number.group(1)) - 1]
    if slot.name == "pain" and (score := re.fullmatch(r"(\d{1,2})(?: ?分| ?/ ?10)?", plain)):
        points = int(score.group(1))
        return "none" if points == 0 else "severe" if points >= 7 else "mild"
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
