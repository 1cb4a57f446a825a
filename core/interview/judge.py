"""What is known → how urgent, and which question could still change that.

The stop rule (clinical specification §3): enough is known when no rule that could still come to
hold is more urgent than the one that holds already.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from core.interview.slots import SKIPPED, UNSURE, Complaint, ConsultData, Rule
from core.urgency import Urgency, most_urgent

MAX_QUESTIONS = 8  # specification §3
# Complaints that are about lasting facts: somebody comes for a check.
_ABOUT_BACKGROUND = frozenset({"check", "photo", "pregnancy_diabetes", "preterm"})
# How far an unanswered question may raise the class: never to `immediate` on a guess.
# Classes that an escalator raises to the one before; `immediate` is the most urgent already.
_RAISED = (Urgency.IMMEDIATE, Urgency.SAME_DAY, Urgency.WITHIN_48_H, Urgency.TWO_WEEKS)
_UNKNOWN_UP_TO = {SKIPPED: Urgency.SAME_DAY, UNSURE: Urgency.WITHIN_48_H}


@dataclass(frozen=True, slots=True)
class Judgement:
    """The rule that decides now.

    Attributes:
        rule: the rule, or a complaint's default.
        is_default: no rule holds; every question may still matter.
        is_guess: the rule rests on a question that was skipped.
        raised_by: slots of the person that made the class one more urgent than the rule's.
        floor: class of a red flag that is still open; nothing less urgent is said.
    """

    rule: Rule
    is_default: bool
    is_guess: bool
    raised_by: tuple[str, ...] = ()
    floor: Urgency = Urgency.NONE

    @property
    def urgency(self) -> Urgency:
        """The class to say."""
        own = self.rule.urgency
        if self.raised_by:
            own = _RAISED[_RAISED.index(own) - 1]
        return most_urgent(own, self.floor)

    @property
    def is_floored(self) -> bool:
        """Whether the open red flag is more urgent than what this complaint gives."""
        return self.floor.rank < replace(self, floor=Urgency.NONE).urgency.rank


def complaint_of(slots: Mapping[str, str], data: ConsultData) -> Complaint | None:
    """Return the first complaint that the slots make, or None."""
    return next(
        (
            c
            for c in data.complaints
            if all(slots.get(slot) in values for slot, values in c.conditions.items())
        ),
        None,
    )


def complaint_named(name: str | None, data: ConsultData) -> Complaint | None:
    """Return a complaint by its id; None for an unknown one (a state of an older version)."""
    return next((c for c in data.complaints if c.id == name), None)


def _holds(
    rule: Rule, slots: Mapping[str, str], unasked: frozenset[str] = frozenset()
) -> tuple[bool, bool]:
    """Return whether the rule holds, and whether only by counting an unknown as its worst."""
    guess = False
    for slot, values in rule.when.items():
        known = slots.get(slot)
        if known is None and slot in unasked:
            if rule.urgency.rank < Urgency.TWO_WEEKS.rank:
                return False, False
            guess = True
            continue
        if known in _UNKNOWN_UP_TO:
            if rule.urgency.rank < _UNKNOWN_UP_TO[known].rank:
                return False, False
            guess = True
        elif known not in values:
            return False, False
    return True, guess


def judge(
    slots: Mapping[str, str],
    complaint: Complaint | None,
    data: ConsultData,
    *,
    stopped: bool = False,
) -> Judgement:
    """Return the most urgent rule that holds; what was said goes before what was skipped.

    Args:
        slots: what is known.
        complaint: what the person came with.
        data: the consult's data.
        stopped: the person wants the result now: questions that were not asked count as their
            worst, as far as "within two weeks" (specification §3, stop rule c and d).
    """
    found = _judge(slots, complaint, data, stopped=stopped)
    raised = _raised_by(found, slots, data)
    return replace(found, raised_by=raised) if raised else found


def _raised_by(found: Judgement, slots: Mapping[str, str], data: ConsultData) -> tuple[str, ...]:
    """Return the escalators of specification §2 that hold; a guess never becomes `immediate`."""
    up_to = Urgency.WITHIN_48_H if found.is_guess else Urgency.SAME_DAY
    if found.rule.urgency not in _RAISED or found.rule.urgency.rank < up_to.rank:
        return ()
    asks = found.rule.when.keys()
    return tuple(
        e.slot
        for e in data.escalators
        if slots.get(e.slot) in e.values
        and e.slot not in asks
        and (not e.only_if or not e.only_if.isdisjoint(asks))
    )


def _judge(
    slots: Mapping[str, str],
    complaint: Complaint | None,
    data: ConsultData,
    *,
    stopped: bool,
) -> Judgement:
    unasked: frozenset[str] = frozenset()
    if stopped and complaint:
        unasked = frozenset(_questions(complaint, slots, data, up_to=Urgency.NONE))
    rules = _rules_for(complaint, data)
    own = _most_urgent([r for r in rules if not _is_background(r, data)], slots, unasked)
    default = Judgement(_default(slots, complaint, data), is_default=True, is_guess=False)
    # What was not asked yet may raise the complaint's own class, never lower it.
    if own is None or (
        unasked - slots.keys() and own.rule.urgency.rank > default.rule.urgency.rank
    ):
        own = default
    other = _most_urgent([r for r in rules if _is_background(r, data)], slots, unasked)
    if other is None:
        return own
    settled = complaint is not None and complaint.id not in _ABOUT_BACKGROUND
    is_lower = other.rule.urgency.rank >= own.rule.urgency.rank
    return own if is_lower and (settled or not own.is_default) else other


def _most_urgent(
    rules: Sequence[Rule], slots: Mapping[str, str], unasked: frozenset[str]
) -> Judgement | None:
    best: tuple[tuple[int, bool], Judgement] | None = None
    for rule in rules:
        holds, guess = _holds(rule, slots, unasked)
        key = (rule.urgency.rank, guess)
        # A guess must touch today's complaint: at least one condition was really said.
        if guess and not any(slots.get(s) in values for s, values in rule.when.items()):
            continue
        if holds and (best is None or key < best[0]):
            best = key, Judgement(rule, is_default=False, is_guess=guess)
    return best[1] if best else None


def _is_background(rule: Rule, data: ConsultData) -> bool:
    """Tell whether a rule rests on lasting facts alone: it may raise a class, never lower it."""
    return all(data.slots[name].keep_days for name in rule.when)


def _rules_for(complaint: Complaint | None, data: ConsultData) -> list[Rule]:
    return [r for r in data.rules if not (r.only_for and complaint) or complaint.id in r.only_for]


def _present(slots: Mapping[str, str], data: ConsultData) -> list[Complaint]:
    """Return everything the person came with, not only the complaint that leads."""
    return [
        c
        for c in data.complaints
        if all(slots.get(slot) in values for slot, values in c.conditions.items())
    ]


def _default(slots: Mapping[str, str], complaint: Complaint | None, data: ConsultData) -> Rule:
    """Return the most urgent default of everything the person came with."""
    present = [*([complaint] if complaint else []), *_present(slots, data)]
    unnamed = data.defaults["any"]
    found = [data.defaults.get(c.id, unnamed) for c in present]
    return min(found, key=lambda rule: rule.urgency.rank, default=unnamed)


def _questions(
    complaint: Complaint, slots: Mapping[str, str], data: ConsultData, *, up_to: Urgency
) -> tuple[str, ...]:
    """Return the questions of the leading complaint, then of others at least as urgent as that."""
    asked = dict.fromkeys(complaint.ask)
    for other in _present(slots, data):
        default = data.defaults.get(other.id)
        if default and default.urgency.rank <= up_to.rank:
            asked |= dict.fromkeys(other.ask)
    return tuple(asked)


def _open(questions: Sequence[str], slots: Mapping[str, str], data: ConsultData) -> frozenset[str]:
    """Return the unknown slots that the remaining questions can settle."""
    found: set[str] = set()
    for name in questions:
        if name not in slots and _makes_sense(name, slots, data):
            found.update({name} | data.slots[name].covers)
    return frozenset(found - slots.keys())


def _makes_sense(name: str, slots: Mapping[str, str], data: ConsultData) -> bool:
    conditions = data.slots[name].only_if
    return all(slots.get(slot) in values for slot, values in conditions.items())


def next_question(
    slots: Mapping[str, str], complaint: Complaint, asked: tuple[str, ...], data: ConsultData
) -> str | None:
    """Return the next slot to ask for, or None when enough is known.

    Args:
        slots: what is known.
        complaint: what the person came with.
        asked: what was asked so far; nothing is asked twice.
        data: the consult's data.
    """
    if len(asked) >= MAX_QUESTIONS:
        return None
    now = judge(slots, complaint, data)
    bar = Urgency.NONE.rank if now.is_default else now.rule.urgency.rank
    known = dict(slots) | {name: slots.get(name, UNSURE) for name in asked}
    is_urgent = now.rule.urgency.rank <= Urgency.SAME_DAY.rank and not now.is_default
    up_to = Urgency.IMMEDIATE if is_urgent else Urgency.WITHIN_48_H
    questions = _questions(complaint, slots, data, up_to=up_to)
    open_slots = _open(questions, known, data)
    # Once it is urgent, only a question that decides by itself is worth the delay.
    steps = 1 if is_urgent else 9
    useful: set[str] = set()
    for rule in _rules_for(complaint, data):
        if rule.urgency.rank >= bar:
            continue
        missing = {s for s, values in rule.when.items() if slots.get(s) not in values}
        if 0 < len(missing) <= steps and missing <= open_slots:
            useful |= missing
    for name in questions:
        settles = {name} | data.slots[name].covers
        if name not in known and useful & settles and _makes_sense(name, slots, data):
            return name
    if now.rule.urgency.rank > Urgency.WITHIN_48_H.rank:
        return next((name for name in complaint.inform if name not in known), None)
    return None
