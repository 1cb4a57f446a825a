"""Rules as data: which concepts together raise which red flag (`rules.yaml`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

from core.errors import Bug
from core.triage.lexicon import lexicon, read_yaml
from core.triage.scope import Doubt, Mention
from core.urgency import Urgency

Near = Literal["message", "sentence", "clause"]
_ANCHOR_LIMIT = 64


@dataclass(frozen=True, slots=True)
class FlagClass:
    """A red flag.

    Attributes:
        urgency: its class.
        event: a concrete event; told as a possibility or a memory it is asked about.
        lasting: "it passed" leaves it standing.
        supposed: "if …, I will …" leaves it standing, when a person says it of themselves.
    """

    urgency: Urgency
    event: bool = False
    lasting: bool = False
    supposed: bool = False


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that has to be said: any of `concepts`."""

    concepts: tuple[str, ...]
    mild_too: frozenset[str]
    background: bool


@dataclass(frozen=True, slots=True)
class Rule:
    """A conjunction that raises a flag."""

    flag: str
    urgency: Urgency
    items: tuple[Item, ...]
    unless: frozenset[str]
    near: Near


@dataclass(frozen=True, slots=True)
class RuleBook:
    """Everything in `rules.yaml`."""

    version: str
    flags: Mapping[str, FlagClass]
    rules: tuple[Rule, ...]
    escalators: tuple[str, ...]
    trauma_escalators: tuple[str, ...]
    trauma_flags: frozenset[str]
    slots: Mapping[str, Mapping[str, Sequence[str]]]


@dataclass(frozen=True, slots=True)
class Match:
    """A rule whose items were all said, by these mentions, with this doubt left."""

    rule: Rule
    mentions: tuple[Mention, ...]
    doubt: Doubt


def _item(source: str) -> Item:
    background = source.startswith("@")
    names = source.removeprefix("@").split("|")
    concepts = tuple(n.removeprefix("!") for n in names)
    unknown = set(concepts) - set(lexicon().concepts)
    if unknown:
        raise Bug(f"rules.yaml names concepts that the vocabulary does not have: {sorted(unknown)}")
    return Item(concepts, frozenset(n for n in names if not n.startswith("!")), background)


@cache
def rule_book() -> RuleBook:
    """Return the rules, read at first use."""
    data = read_yaml("rules.yaml")
    flags = {
        name: FlagClass(
            Urgency(f["urgency"]),
            event=f.get("event", False),
            lasting=f.get("lasting", False),
            supposed=f.get("supposed", False),
        )
        for name, f in data["flags"].items()
    }
    rules: list[Rule] = []
    for r in data["rules"]:
        unless = frozenset[str](r.get("unless", ()))
        unknown = unless - set(lexicon().concepts)
        if unknown:
            raise Bug(
                f"rules.yaml names concepts that the vocabulary does not have: {sorted(unknown)}"
            )
        urgency = Urgency(r.get("urgency", flags[r["flag"]].urgency))
        items = tuple(_item(i) for i in r["all"])
        rules.append(Rule(r["flag"], urgency, items, unless, r.get("near", "message")))
    return RuleBook(
        version=str(data["version"]),
        flags=flags,
        rules=tuple(rules),
        escalators=tuple(data["escalators"]),
        trauma_escalators=tuple(data["trauma_escalators"]),
        trauma_flags=frozenset(data["trauma_flags"]),
        slots=data["slots"],
    )


def match(rule: Rule, said: Mapping[str, Sequence[Mention]]) -> Match | None:
    """Return how `rule` is met by what was said, in the least doubtful way, or None."""
    choices: list[list[Mention]] = []
    for item in rule.items:
        options = [
            m
            for name in item.concepts
            for m in said.get(name, ())
            if Doubt.NEGATED not in m.doubt and (name in item.mild_too or not m.mild)
        ]
        if not options:
            return None
        choices.append(options)
    for name in rule.unless:
        # What is only known from before (turn -1) adds to a rule, and never cancels one.
        if any(Doubt.NEGATED not in m.doubt and m.turn >= 0 for m in said.get(name, ())):
            return None
    return _best(rule, choices)


def _best(rule: Rule, choices: list[list[Mention]]) -> Match | None:
    """Return the least doubtful combination whose mentions stand near enough to each other.

    The rarest item is the anchor, and every other item takes its least doubtful mention near it.
    """
    best: Match | None = None
    for anchor in sorted(min(choices, key=len), key=_weight)[:_ANCHOR_LIMIT]:
        near = [[m for m in options if _close(rule.near, anchor, m)] for options in choices]
        if not all(near):
            continue
        mentions = tuple(min(options, key=_weight) for options in near)
        doubt = Doubt.NONE
        for item, mention in zip(rule.items, mentions, strict=True):
            doubt |= mention.doubt & ~_BACKGROUND if item.background else mention.doubt
        if best is None or doubt.value.bit_count() < best.doubt.value.bit_count():
            best = Match(rule, mentions, doubt)
        if not doubt:
            break
    return best


def _weight(mention: Mention) -> tuple[int, int]:
    return mention.doubt.value.bit_count(), -mention.turn


# A past operation or disease is exactly what a background item asks for.
_BACKGROUND = Doubt.PAST | Doubt.RESOLVED | Doubt.FAMILY_HISTORY


def _close(near: Near, a: Mention, b: Mention) -> bool:
    if near == "message":
        return True
    if a.turn != b.turn:
        return near == "sentence"
    if near == "clause":
        return a.clause == b.clause
    # A new sentence often only goes on: "在拌水泥。溅到眼睛里了".
    return abs(a.sentence - b.sentence) <= 1
