"""The consult's data, loaded once: slots, complaints, rules and the shapes of small talk.

`slots.yaml`, `rules.yaml` and `talk.yaml` are what a clinician edits; `load` refuses data that
contradicts itself, so a slip is found at start-up and not in front of a patient.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, cast

import yaml

from core.errors import Bug
from core.urgency import Urgency

# What a skipped question leaves behind: SKIPPED after a question of its own, UNSURE after a
# compound one, which says less about each of its parts.
SKIPPED = "skip"
UNSURE = "unsure"


@dataclass(frozen=True, slots=True)
class Slot:
    """One thing the consult can know; the fields are described in `slots.yaml`."""

    name: str
    values: Mapping[str, re.Pattern[str] | None]
    answers: Mapping[str, re.Pattern[str]]
    buttons: tuple[str, ...]
    affirm: str | None
    deny: str | None
    negated: str | None
    implies: Mapping[str, Mapping[str, str]]
    covers: frozenset[str]
    only_if: Mapping[str, frozenset[str]]
    keep_days: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Complaint:
    """One way a person can present, and the questions that split it."""

    id: str
    conditions: Mapping[str, frozenset[str]]
    ask: tuple[str, ...]
    inform: tuple[str, ...]
    photo: bool


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of `rules.yaml`; `say` names the result text, `article` a knowledge article.

    A rule with complaints in `only_for` says nothing about any other complaint.
    """

    id: str
    urgency: Urgency
    when: Mapping[str, frozenset[str]]
    say: str
    article: str | None
    only_for: frozenset[str]


@dataclass(frozen=True, slots=True)
class Escalator:
    """What makes a class one more urgent, when `values` of `slot` hold (specification §2).

    `only_if` names slots one of which the deciding rule must ask for; empty = any rule.
    """

    slot: str
    values: frozenset[str]
    only_if: frozenset[str]


@dataclass(frozen=True, slots=True)
class ConsultData:
    """Everything the guided consult knows."""

    slots: Mapping[str, Slot]
    complaints: tuple[Complaint, ...]
    rules: tuple[Rule, ...]
    defaults: Mapping[str, Rule]
    talk: Mapping[str, re.Pattern[str]]
    escalators: tuple[Escalator, ...]
    version: str


def _pattern(terms: Iterable[str]) -> re.Pattern[str] | None:
    """Join terms; one that starts with an ASCII letter matches at a word's beginning only."""
    parts = [rf"\b(?:{t})" if re.match(r"[a-z]", t) else f"(?:{t})" for t in terms]
    return re.compile("|".join(parts)) if parts else None


def _slot(name: str, raw: dict[str, Any]) -> Slot:
    return Slot(
        name=name,
        values={v: _pattern(terms) for v, terms in raw["values"].items()},
        answers={v: p for v, t in raw.get("answers", {}).items() if (p := _pattern(t))},
        buttons=tuple(raw.get("buttons", ())),
        affirm=raw.get("affirm"),
        deny=raw.get("deny"),
        negated=raw.get("negated"),
        implies=raw.get("implies", {}),
        covers=frozenset(raw.get("covers", ())),
        only_if=_conditions(raw.get("only_if", {})),
        keep_days=raw.get("keep_days", {}),
    )


def _conditions(raw: Mapping[str, list[str]]) -> dict[str, frozenset[str]]:
    return {slot: frozenset(values) for slot, values in raw.items()}


def _rule(raw: Mapping[str, Any]) -> Rule:
    return Rule(
        id=raw["id"],
        urgency=Urgency(raw["urgency"]),
        when=_conditions(raw.get("when", {})),
        say=raw.get("say", raw["id"]),
        article=raw.get("kb"),
        only_for=frozenset(raw.get("only_for", ())),
    )


def _check(data: ConsultData) -> ConsultData:
    """Raise `Bug` when the files name a slot or value that does not exist."""
    for slot in data.slots.values():
        _check_slot(slot, data)
    for complaint in data.complaints:
        where = f"slots.yaml, complaint {complaint.id!r}"
        _check_conditions(where, complaint.conditions, data)
        for slot_name in (*complaint.ask, *complaint.inform):
            _check_known(where, slot_name, (), data)
            if not data.slots[slot_name].buttons:
                raise Bug(f"{where} asks {slot_name!r}, which has no buttons")
    for rule in data.rules:
        _check_conditions(f"rules.yaml, rule {rule.id!r}", rule.when, data)
        if unknown := rule.only_for - {c.id for c in data.complaints}:
            raise Bug(f"rules.yaml, rule {rule.id!r}: there is no complaint {min(unknown)!r}")
    for escalator in data.escalators:
        _check_known("rules.yaml, escalators", escalator.slot, escalator.values, data)
        _check_conditions(
            "rules.yaml, escalators", dict.fromkeys(escalator.only_if, frozenset()), data
        )
    if "any" not in data.defaults:
        raise Bug("rules.yaml: defaults need an entry 'any'")
    return data


def _check_slot(slot: Slot, data: ConsultData) -> None:
    where = f"slots.yaml, slot {slot.name!r}"
    named = (slot.affirm, slot.deny, slot.negated, *slot.buttons, *slot.implies, *slot.answers)
    _check_known(where, slot.name, (v for v in (*named, *slot.keep_days) if v), data)
    for effect in slot.implies.values():
        for other, value in effect.items():
            _check_known(where, other, (value,), data)
    for other in slot.covers:
        _check_known(where, other, (), data)
    _check_conditions(where, slot.only_if, data)


def _check_conditions(
    where: str, conditions: Mapping[str, frozenset[str]], data: ConsultData
) -> None:
    for slot_name, values in conditions.items():
        _check_known(where, slot_name, values, data)


def _check_known(where: str, slot: str, values: Iterable[str], data: ConsultData) -> None:
    if slot not in data.slots:
        raise Bug(f"{where}: there is no slot {slot!r} in slots.yaml")
    for value in values:
        if value not in data.slots[slot].values:
            raise Bug(f"{where}: slot {slot!r} has no value {value!r}")


@cache
def load() -> ConsultData:
    """Return the consult's data, read once.

    Raises:
        Bug: the data files contradict each other; the message names the entry.
    """
    here = files("core.interview")

    def read(name: str) -> dict[str, Any]:
        loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        return cast("dict[str, Any]", yaml.load((here / name).read_text("utf-8"), Loader=loader))  # noqa: S506 safe loaders only

    slots, rules, talk = read("slots.yaml"), read("rules.yaml"), read("talk.yaml")
    return _check(
        ConsultData(
            slots={name: _slot(name, raw) for name, raw in slots["slots"].items()},
            complaints=tuple(
                Complaint(
                    id=raw["id"],
                    conditions=_conditions(raw["from"]),
                    ask=tuple(raw["ask"]),
                    inform=tuple(raw.get("inform", ())),
                    photo=raw.get("photo", False),
                )
                for raw in slots["complaints"]
            ),
            rules=tuple(_rule(raw) for raw in rules["rules"]),
            defaults={name: _rule(raw) for name, raw in rules["defaults"].items()},
            talk={
                name: cast("re.Pattern[str]", _pattern(terms))
                for name, terms in talk.items()
                if name != "version"
            },
            escalators=tuple(
                Escalator(e["slot"], frozenset(e["values"]), frozenset(e.get("only_if", ())))
                for e in rules["escalators"]
            ),
            version=f"{slots['version']}.{rules['version']}",
        )
    )
