"""Rules as data: which concepts together raise which red flag (`rules.yaml`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Literal

from core.errors import Bug
from core.triage.lexicon import lexicon, read_yaml
from core.triage.scope import Doubt, Mention
from core.urgency import Urgency

Near = Literal["message", "sentence", "clause"]
_SEARCH_LIMIT = 64


@dataclass(frozen=True, slots=True)
class FlagClass:
    """A red flag: its class, whether it is an event, whether "it passed" leaves it standing."""

    urgency: Urgency
    event: bool = False
    lasting: bool = False


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
        raise Bug(f"rules.yaml names concepts that lexicon.yaml does not have: {sorted(unknown)}")
    return Item(concepts, frozenset(n for n in names if not n.startswith("!")), background)


@cache
def rule_book() -> RuleBook:
    """Return the rules, read at first use."""
    data = read_yaml("rules.yaml")
    flags = {
        name: FlagClass(Urgency(f["urgency"]), f.get("event", False), f.get("lasting", False))
        for name, f in data["flags"].items()
    }
    rules: list[Rule] = []
    for r in data["rules"]:
        unless = frozenset[str](r.get("unless", ()))
        unknown = unless - set(lexicon().concepts)
        if unknown:
            raise Bug(
                f"rules.yaml names concepts that lexicon.yaml does not have: {sorted(unknown)}"
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
    """Return how `rule` is met by what was said, in the least doubtful way, or None.

    At least one mention must come from the current turn, so that an old complaint is not
    raised again by every later message.
    """
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
        if any(Doubt.NEGATED not in m.doubt for m in said.get(name, ())):
            return None
    return _best(rule, choices)


def _weight(doubt: Doubt) -> int:
    return doubt.value.bit_count()


def _best(rule: Rule, choices: list[list[Mention]]) -> Match | None:
    newest = max(m.turn for options in choices for m in options)
    best: Match | None = None
    sorted_choices = [sorted(c, key=lambda m: (_weight(m.doubt), -m.turn))[:4] for c in choices]
    for n, mentions in enumerate(product(*sorted_choices)):
        if n >= _SEARCH_LIMIT:
            break
        if not _close(rule.near, mentions):
            continue
        doubt = Doubt.NONE
        for item, mention in zip(rule.items, mentions, strict=True):
            doubt |= mention.doubt & ~_BACKGROUND if item.background else mention.doubt
        if best is None or _weight(doubt) < _weight(best.doubt):
            best = Match(rule, mentions, doubt)
        if not doubt and any(m.turn == newest for m in mentions):
            break
    return best


# A past operation or disease is exactly what a background item asks for.
_BACKGROUND = Doubt.PAST | Doubt.RESOLVED | Doubt.FAMILY_HISTORY


def _close(near: Near, mentions: Sequence[Mention]) -> bool:
    if near == "message":
        return True
    places = {(m.turn, m.clause if near == "clause" else m.sentence) for m in mentions}
    if near == "sentence":
        # A new sentence often only goes on: "在拌水泥。溅到眼睛里了".
        turns = {turn for turn, _ in places}
        numbers = [number for _, number in places]
        return len(turns) > 1 or max(numbers) - min(numbers) <= 1
    return len(places) == 1
