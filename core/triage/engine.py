"""The deterministic red-flag engine: one message in, one verdict out.

Runs on every inbound text before any model and also when no model is there. Pure Python, no
network, no clock. The path: `normalise` → mask sayings → find concepts → `scope` → `frames`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

from core.triage.clauses import Clauses
from core.triage.frames import Match, RuleBook, match, rule_book
from core.triage.lexicon import Lexicon, lexicon
from core.triage.net import has_substance, net, probability
from core.triage.normalise import Normalised, normalise
from core.triage.places import Places
from core.triage.scope import Doubt, Mention, Scopes
from core.triage.verdict import Action, Evidence, Verdict
from core.urgency import Urgency, most_urgent

# Conjunctions may be filled across this many earlier lines of the conversation (3 turns).
CONTEXT_LINES = 6
SHORT_ANSWER_CHARS = 16
PHRASE_GAP_CHARS = 4
_IS_NOW = re.compile(r"现在(正在)?(发生|出现)|正在发生|happening now|right now")
_QUESTION_WORDS = re.compile(r"[？?。！!，,\s]+|是?多少|有没有|吗|呢|什么|高不高")
_ALTERNATIVES = re.compile(r"还是|\bor\b")
# What the net found is asked about without a name for it.
UNCLEAR = "unclear"
_HARMLESS = frozenset(
    {"chronic", "gradual", "clears_on_blink", "mild_course", "far_objects", "lid_lump", "itch"}
)
_EYES = frozenset({"eye", "one_eye", "eyeball", "eyelid"})
_PERSONAL = frozenset({"myself", "recent", "one_eye", "days"})
# The turn of what was not said in these lines but is known from before.
_KNOWN = -1
_ESCALATED = (Urgency.IMMEDIATE, Urgency.SAME_DAY, Urgency.WITHIN_48_H, Urgency.TWO_WEEKS)


@dataclass(frozen=True, slots=True)
class ContextLine:
    """One earlier line of the conversation."""

    author: Literal["patient", "service"]
    text: str


@dataclass(frozen=True, slots=True)
class _Reading:
    """One text with everything found in it."""

    normal: Normalised
    mentions: tuple[Mention, ...]
    just_asking: bool


def warm_up() -> None:
    """Compile lexicon and rules (a second and a half), so that the first patient does not wait."""
    rule_book()
    net()
    assess("左眼突然看不见了 sudden")
    words = lexicon()
    for pattern in (*words.scopes.patterns, *words.concepts.patterns):
        pattern.compiled()


def assess(
    text: str, *, context: Sequence[ContextLine] = (), slots: Mapping[str, str] = {}
) -> Verdict:
    """Look for red flags in one message.

    Args:
        text: the message as it was written; any string, of any length (only the first and last
            3,000 characters are looked at).
        context: earlier lines, oldest first; the last six are used.
        slots: answers of a running interview, by slot name.

    Returns:
        The verdict. It never depends on anything but the arguments and the two data files.
    """
    words, book = lexicon(), rule_book()
    lines = list(context)[-CONTEXT_LINES:]
    current = _read(text, turn=len(lines))
    before = {n: _read(ln.text, turn=n) for n, ln in enumerate(lines) if ln.author == "patient"}
    earlier = [
        m for n, told in before.items() for m in (*told.mentions, *_answered(lines, n, told))
    ]
    asked = _asked(lines)
    answer = _answer(current, words) if asked else None
    mentions = list(current.mentions)
    confirmed = False
    if asked:
        topic = "".join(line.text for line in lines[-3:] if line.author == "service")
        mentions += _completed(topic, current, turn=len(lines))
    if asked and answer == "yes":
        confirmed = bool(_IS_NOW.search(asked))
        mentions += _asserted(asked, turn=len(lines))
    if asked and answer == "no" and _IS_NOW.search(asked):
        return _nothing(words, book)
    if confirmed:
        earlier = [replace(m, doubt=m.doubt & Doubt.NEGATED) for m in earlier]
    carries = bool(mentions) or (bool(asked) and answer is not None)
    if carries:
        # What is known about the person adds to what they say; it says nothing by itself.
        mentions += [*earlier, *_from_slots(slots, book)]
    found = _matches(_without_disease_years(mentions), book)
    if not found and _looks_dangerous(current):
        reasons = ("net", f"net_version:{net().version}")
        return Verdict("confirm", Urgency.SAME_DAY, (UNCLEAR,), (), _version(words, book), reasons)
    return _verdict(found, before | {len(lines): current}, mentions, words, book)


def _answered(lines: Sequence[ContextLine], n: int, told: _Reading) -> list[Mention]:
    """Return what an earlier line said only together with the question before it."""
    if n == 0 or lines[n - 1].author == "patient":
        return []
    return _completed(lines[n - 1].text, told, turn=n)


def _looks_dangerous(current: _Reading) -> bool:
    """Ask the second net, but only about a plain present complaint no rule knows."""
    said = current.mentions
    if all(m.doubt for m in said) or any(m.doubt & ~Doubt.NEGATED for m in said):
        return False
    if any(m.concept in _HARMLESS for m in said):
        return False
    said = current.normal.text
    return has_substance(said) and probability(said) >= net().threshold


def _read(text: str, turn: int) -> _Reading:
    reading = _read_once(text)
    if turn == 0 or not reading.mentions:
        return reading
    return replace(reading, mentions=tuple(replace(m, turn=turn) for m in reading.mentions))


# Each text is looked at several times: when it arrives, in its turn, and as context of the next.
@lru_cache(maxsize=256)
def _read_once(text: str) -> _Reading:
    words = lexicon()
    normal = normalise(text, words)
    places = Places(normal.text)
    masked = normal.text
    for _, start, end in words.scopes.find(places, "masked"):
        masked = f"{masked[:start]}{'□' * (end - start)}{masked[end:]}"
    if masked != normal.text:
        places = Places(masked)
    spans = list(words.concepts.find(places))
    if not spans:
        return _Reading(normal, (), False)
    errands = list(words.scopes.find(places, "errand"))
    if all(
        name == "myself" or any(s <= start and end <= e for _, s, e in errands)
        for name, start, end in spans
    ):
        # "Friday" in "I go on Friday" is no onset, and says nothing about an earlier complaint.
        return _Reading(normal, (), False)
    clauses = Clauses(masked)
    scopes = Scopes(places, clauses, words, [(s, e) for _, s, e in spans])
    mentions: list[Mention] = []
    for name, start, end in spans:
        at = clauses.index(start)
        doubt = scopes.doubt(start, end)
        sentence = clauses.all[at].sentence
        mentions.append(Mention(name, start, end, 0, at, sentence, doubt, scopes.mild(start)))
    asking = scopes.just_asking or (
        scopes.on_a_screen and not any(m.concept in _EYES and not m.doubt for m in mentions)
    )
    return _Reading(normal, tuple(mentions), asking)


def _asked(lines: Sequence[ContextLine]) -> str:
    """Return the service's last line when it is what the message answers, else ""."""
    return lines[-1].text if lines and lines[-1].author == "service" else ""


def _answer(current: _Reading, words: Lexicon) -> Literal["yes", "no"] | None:
    """Tell how an answer begins: the first clause that opens with a yes or a no decides."""
    text = current.normal.text
    begins: dict[str, set[int]] = {"affirm": set(), "deny": set()}
    for name, start, _ in words.scopes.find(Places(text), *begins):
        begins[name].add(start)
    for clause in Clauses(text).all:
        start = (
            clause.start
            + len(text[clause.start : clause.end])
            - len(text[clause.start : clause.end].lstrip())
        )
        if start in begins["deny"]:
            return "no"
        if start in begins["affirm"]:
            return "yes"
    return None


def _completed(question: str, current: _Reading, turn: int) -> list[Mention]:
    """Return what only question and answer together say ("血压多少？" — "210")."""
    answer = current.normal.source
    if len(answer) > SHORT_ANSWER_CHARS or _ALTERNATIVES.search(question):
        return []
    topic = _QUESTION_WORDS.sub("", question)
    return [
        replace(m, start=-1, end=-1, clause=0, sentence=0)
        for m in _read(topic + answer, turn).mentions
        if m.start < len(topic) < m.end
    ]


def _asserted(question: str, turn: int) -> list[Mention]:
    """Return what a "yes" to `question` claims; nothing when it offers alternatives."""
    if _ALTERNATIVES.search(question):
        return []
    reading = _read(question, turn)
    return [
        replace(m, doubt=Doubt.NONE, mild=False, clause=0, sentence=0, start=-1, end=-1)
        for m in reading.mentions
    ]


def _from_slots(slots: Mapping[str, str], book: RuleBook) -> list[Mention]:
    names = [
        concept
        for slot, value in slots.items()
        for concept in book.slots.get(slot, {}).get(value.strip().lower(), ())
    ]
    return [Mention(n, -1, -1, _KNOWN, 0, 0, Doubt.NONE, False) for n in names]


def _without_disease_years(mentions: Sequence[Mention]) -> list[Mention]:
    """Drop "for ten years" where it belongs to a disease ("糖尿病十年"), not to the complaint."""
    diseases = {(m.turn, m.clause) for m in mentions if m.concept == "disease"}
    return [m for m in mentions if m.concept != "chronic" or (m.turn, m.clause) not in diseases]


def _matches(mentions: Sequence[Mention], book: RuleBook) -> list[Match]:
    said: dict[str, list[Mention]] = {}
    for mention in mentions:
        said.setdefault(mention.concept, []).append(mention)
    found = (match(rule, said) for rule in book.rules)
    return [m for m in found if m is not None]


def _action(found: Match, book: RuleBook, personal: bool) -> Action:
    """Weigh the doubt that is left (specification §2.1)."""
    flag = book.flags[found.rule.flag]
    doubt = found.doubt
    if flag.lasting:
        doubt &= ~Doubt.RESOLVED
    if flag.supposed:
        doubt &= ~(Doubt.GENERIC | Doubt.HYPOTHETICAL) if personal else ~Doubt.GENERIC
    if not doubt:
        return "trigger"
    if doubt & (Doubt.REQUEST | Doubt.EDUCATION):
        return "none"
    if doubt & (Doubt.FAMILY_HISTORY | Doubt.GOSSIP):
        return "none"
    if doubt & Doubt.RESOLVED:
        return "none"
    if doubt & (Doubt.HYPOTHETICAL | Doubt.PAST | Doubt.GENERIC):
        return "confirm" if flag.event else "none"
    # Only a question about causes is left ("…是什么原因"): people ask so about themselves.
    if personal:
        return "trigger"
    return "confirm" if found.rule.urgency is Urgency.IMMEDIATE else "none"


def _nothing(words: Lexicon, book: RuleBook) -> Verdict:
    return Verdict("none", Urgency.NONE, (), (), _version(words, book), ())


def _version(words: Lexicon, book: RuleBook) -> str:
    return f"{words.version}/{book.version}"


def _verdict(
    found: Sequence[Match],
    readings: Mapping[int, _Reading],
    mentions: Sequence[Mention],
    words: Lexicon,
    book: RuleBook,
) -> Verdict:
    current = readings[max(readings)]
    personal = any(m.concept in _PERSONAL for m in mentions)
    weighed = [(m, _action(m, book, personal)) for m in found]
    action: Action = "none"
    if any(a == "trigger" for _, a in weighed):
        action = "confirm" if current.just_asking else "trigger"
    elif any(a == "confirm" for _, a in weighed):
        action = "confirm"
    if action == "none":
        return _nothing(words, book)
    wanted: Action = "trigger" if any(a == "trigger" for _, a in weighed) else "confirm"
    chosen = [m for m, a in weighed if a == wanted]
    order = list(book.flags)
    ranked = sorted(chosen, key=lambda m: (m.rule.urgency.rank, order.index(m.rule.flag)))
    flags = tuple(dict.fromkeys(m.rule.flag for m in ranked))
    urgency = most_urgent(*(m.rule.urgency for m in chosen))
    reasons = [f"rule:{f}" for f in flags]
    raised = _escalators(flags, mentions, book)
    if urgency not in _ESCALATED[1:]:
        raised = []  # nothing is more urgent than the first class
    if raised:
        urgency = _ESCALATED[_ESCALATED.index(urgency) - 1]
        reasons += [f"escalated:{name}" for name in raised]
    said = {m.concept for m in mentions if m.turn != _KNOWN}
    counted = [m.concept for r in ranked for m in r.mentions] + raised
    reasons += [f"known:{name}" for name in dict.fromkeys(counted) if name not in said]
    if action == "confirm":
        doubts = {d.name or "" for m in chosen for d in Doubt if d & m.doubt}
        reasons += [f"doubt:{name.lower()}" for name in sorted(doubts)] or ["doubt:just_asking"]
    return Verdict(
        action, urgency, flags, _evidence(ranked, readings), _version(words, book), tuple(reasons)
    )


def _escalators(flags: Sequence[str], mentions: Sequence[Mention], book: RuleBook) -> list[str]:
    names = list(book.escalators)
    if not book.trauma_flags.isdisjoint(flags):
        names += book.trauma_escalators
    clear = {m.concept for m in mentions if Doubt.NEGATED not in m.doubt}
    return [n for n in names if n in clear]


def _evidence(ranked: Sequence[Match], readings: Mapping[int, _Reading]) -> tuple[Evidence, ...]:
    """Return what each flag rests on; words that nearly touch become one phrase."""
    now = max(readings)
    found: list[Evidence] = []
    for flag in dict.fromkeys(r.rule.flag for r in ranked):
        counted = [m for r in ranked if r.rule.flag == flag for m in r.mentions if m.start >= 0]
        for turn in sorted({m.turn for m in counted}, reverse=True):
            normal = readings[turn].normal
            phrases: list[tuple[int, int]] = []
            for start, end in sorted(
                {normal.span(m.start, m.end) for m in counted if m.turn == turn}
            ):
                if phrases and start <= phrases[-1][1] + PHRASE_GAP_CHARS:
                    phrases[-1] = (phrases[-1][0], max(end, phrases[-1][1]))
                else:
                    phrases.append((start, end))
            found += [
                Evidence(flag, normal.source[s:e], *((s, e) if turn == now else (-1, -1)))
                for s, e in phrases
            ]
    return tuple(found)
