"""What is known about the people a chat is about, kept from one conversation to the next.

Plain data in the dialog state: person → slot → [value, since when it holds]. How long a value
holds is data too (`keep_days` in `slots.yaml`): a pregnancy ends, an operation grows old, a baby
grows up. It spares questions, and it reaches red-flag triage with every message.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from core.interview.slots import ConsultData
from core.interview.understand import clauses, normalise, number_in, understand

Known = Mapping[str, Mapping[str, list[Any]]]

_DAY_MS = 24 * 3_600_000
_MONTH_DAYS = 30.44
_MOST_PEOPLE = 8
_AGE = "age_months"
# Two months: how long an operation counts as recent (specification §2, postop_infection).
_RECENT_SURGERY_DAYS = 60
_NEWBORN_MONTHS = 28 / _MONTH_DAYS

_N = r"(\d{1,3}|[零一二两三四五六七八九十半]+|[a-z]+)"
_YOUNG = re.compile(
    rf"{_N} ?(?:个)?(多)?(天|周|星期|礼拜|月)(?:大|的?(?:宝宝|婴儿|娃|孩子))"
    rf"|出生(?:才|刚|了)?{_N} ?个?(天|周|星期|礼拜|月)"
    rf"|(?:宝宝|孩子|娃|婴儿|小孩)(?:才|刚|现在|今年)?{_N} ?个(月)(?!前|没)"
    rf"|\b{_N}[ -](day|week|month)s?[ -]old"
)
_YEARS = re.compile(rf"{_N} ?岁(半)?|\b{_N}[ -](?:years?[ -]old|yo\b)")
_SURGERY_AGO = re.compile(
    rf"{_N} ?个?(天|周|星期|礼拜|月)(?:以?前|之前)"
    rf"|(?:术|手术|打针|换晶体)后第?{_N} ?个?(天|周|星期|礼拜|月)"
    rf"|\b{_N} (day|week|month)s? (?:ago|after|since)"
)
_PREGNANT_FOR = re.compile(
    rf"孕(?:了|期|有)?(?:已经)?{_N} ?(?:个)?(?:多)?(周|月)|\b{_N} (week|month)s? pregnant"
)
_SURGERY_WORD = {
    r"昨天|yesterday": 1,
    r"前天": 2,
    r"上个?(?:周|星期|礼拜)|last week": 7,
    r"上个?月|last month": 30,
}
_UNIT_DAYS = {"天": 1, "周": 7, "星期": 7, "礼拜": 7, "月": _MONTH_DAYS} | {
    "day": 1,
    "week": 7,
    "month": _MONTH_DAYS,
}
# What is only imagined or asked about says nothing about the person.
_NOT_SAID_OF_ANYONE = re.compile(
    r"如果|假如|要是|万一|会不会|能不能|可不可以|[吗么嘛呢?？]$|\b(?:if|suppose|what|should|could)\b"
    r"|^(?:is|are|can|does|do) |以前|小时候|怕(?:是)?得|担心"
)


def learn(known: Known, text: str, data: ConsultData, *, person: str, now_ms: int) -> Known:
    """Return `known` with what a message says about a person.

    Args:
        known: as it was.
        text: the message.
        data: the consult's data.
        person: whom the chat is about when the text does not say.
        now_ms: the present.
    """
    said = [c for c in _sentences(text) if not _NOT_SAID_OF_ANYONE.search(c)]
    if not said:
        return known
    words = "，".join(said)
    found = understand(words, data)
    if (
        "我" in words
        and "person" not in found
        and re.search(r"我(?:怀孕|有|是|戴|做|吃|今年)", words)
    ):
        person = "self"
    return remember(known, found, data, person=person, now_ms=now_ms, words=words)


def remember(
    known: Known,
    slots: Mapping[str, str],
    data: ConsultData,
    *,
    person: str,
    now_ms: int,
    words: str = "",
) -> Known:
    """Return `known` with the lasting ones of some slots; what is newer wins.

    Args:
        known: as it was.
        slots: what was understood, or what an interview settled.
        data: says which slots last.
        person: whom they are about, unless ``person`` is among them.
        now_ms: the present.
        words: where to look for an age in months and the day of an operation.
    """
    about = slots.get("person", person)
    fresh: dict[str, list[Any]] = {}
    for name, value in slots.items():
        slot = data.slots.get(name)
        if slot is not None and value in slot.keep_days:
            fresh[name] = [value, now_ms]
    months = _age_months(words)
    if months is not None:
        fresh[_AGE] = [months, now_ms]
    if fresh.get("surgery", [""])[0] in ("recent", "past"):
        days = _days_since_surgery(words)
        if days is not None:
            recent = days <= _RECENT_SURGERY_DAYS
            fresh["surgery"] = ["recent" if recent else "past", now_ms - int(days * _DAY_MS)]
        elif not words and "surgery" in known.get(about, {}):
            del fresh["surgery"]  # the interview repeats what it knew; the first date stands
    if "pregnant" in fresh and (match := _PREGNANT_FOR.search(normalise(words))):
        count, unit = (p for p in match.groups() if p)
        if (number := number_in(count)) is not None:
            fresh["pregnant"][1] -= int(number * _UNIT_DAYS[unit] * _DAY_MS)
    if not fresh:
        return known
    people = {**known, about: {**known.get(about, {}), **fresh}}
    return dict(list(people.items())[-_MOST_PEOPLE:])


def facts(known: Known, person: str, data: ConsultData, now_ms: int) -> dict[str, str]:
    """Return the slots about a person that still hold."""
    found: dict[str, str] = {}
    for name, (value, since_ms) in known.get(person, {}).items():
        days = (now_ms - since_ms) / _DAY_MS
        if name == _AGE:
            found["age"] = _age(float(value) + days / _MONTH_DAYS)
        elif name == "surgery" and value == "recent" and days > _RECENT_SURGERY_DAYS:
            found[name] = "past"
        elif name in data.slots and days <= data.slots[name].keep_days.get(value, 0):
            found.setdefault(name, value)
    return found


def for_triage(known: Known, person: str, data: ConsultData, now_ms: int) -> dict[str, str]:
    """Return the same as triage reads it, with an age that knows three months."""
    found = facts(known, person, data, now_ms)
    if found.get("age") == "infant" and (age := known.get(person, {}).get(_AGE)):
        months = float(age[0]) + (now_ms - age[1]) / _DAY_MS / _MONTH_DAYS
        if months < 3:  # escalator of specification §2
            found["age"] = "under_3_months"
    if found.get("lens") == "overnight":
        found["lens"] = "yes"  # that was one night, the lenses are what lasts
    return found


def _sentences(text: str) -> list[str]:
    parts = re.split(r"(?<=[?？])|[。！!\n；;，,]", normalise(text))
    return [p.strip() for p in parts if p.strip()]


def _age(months: float) -> str:
    for name, limit in (("newborn", _NEWBORN_MONTHS), ("infant", 12), ("child", 216)):
        if months <= limit:
            return name
    return "adult" if months < 600 else "over50"


def _age_months(words: str) -> float | None:
    """Return an age in months; None when the words tell none."""
    for clause in clauses(normalise(words)):
        if match := _YOUNG.search(clause):
            parts = [p for p in match.groups() if p and p != "多"]
            if (count := number_in(parts[0])) is not None:
                return count * _UNIT_DAYS[parts[1]] / _MONTH_DAYS
        if match := _YEARS.search(clause):
            years = number_in(match[1] or match[3])
            if years is not None and years < 120:
                return 12 * (years + (0.5 if match[2] else 0))
    return None


def _days_since_surgery(words: str) -> float | None:
    plain = normalise(words)
    if match := _SURGERY_AGO.search(plain):
        parts = [p for p in match.groups() if p]
        if (count := number_in(parts[0])) is not None:
            return count * _UNIT_DAYS[parts[1]]
    return next((days for term, days in _SURGERY_WORD.items() if re.search(term, plain)), None)
