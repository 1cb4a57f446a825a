"""Decide for each thing said whether it is claimed: denied, past, hypothetical, a story.

The method is ConText's (Harkema 2009): trigger words open a scope that runs forwards or
backwards inside a sentence until a terminating word, extended here to Chinese lists.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Flag, auto

from core.triage.clauses import Clauses
from core.triage.lexicon import Concept, Lexicon

# How far a negator reaches: 不 denies the next word, 没有 the rest of its clause.
_SHORT_NEGATORS = {"不": 4, "非": 3, "免": 2, "未": 6, "并不": 6, "不会": 6, "不是": 8}
_LONG_REACH_ZH = 14
_LONG_REACH_EN = 45


class Doubt(Flag):
    """Why something said may not be a present complaint."""

    NONE = 0
    NEGATED = auto()
    PAST = auto()
    RESOLVED = auto()
    HYPOTHETICAL = auto()
    EDUCATION = auto()
    EDUCATION_WEAK = auto()
    REQUEST = auto()
    GOSSIP = auto()
    FAMILY_HISTORY = auto()


@dataclass(frozen=True, slots=True)
class Mention:
    """One concept found in a text.

    Attributes:
        concept: its name.
        start: in the normalised text.
        end: in the normalised text.
        turn: number of the message it was said in; the current one is the highest.
        clause: number of its clause.
        sentence: number of its sentence.
        doubt: why it may not be a present complaint.
        mild: softened by "a little".
    """

    concept: str
    start: int
    end: int
    turn: int
    clause: int
    sentence: int
    doubt: Doubt
    mild: bool


Spans = list[tuple[int, int]]


class Scopes:
    """The scope words of one text, ready to be asked about any span."""

    def __init__(self, text: str, clauses: Clauses, lexicon: Lexicon, said: Spans) -> None:
        """Find the scope words.

        Args:
            text: normalised and masked text.
            clauses: of that text.
            lexicon: where the scope words come from.
            said: spans of all concepts found; a negator inside one (看不见) is part of it.
        """
        self._text = text
        self._clauses = clauses
        characters = frozenset(text)
        self._found = _find(lexicon.scopes, text, characters)
        covered = bytearray(len(text))
        for start, end in (*said, *self._found["pseudo_negator"]):
            covered[start:end] = b"\x01" * (end - start)
        self._negators = [s for s in self._found["negator"] if not any(covered[s[0] : s[1]])]
        self._personal = bool(self._found["current"])
        self._closed = self._resolved()

    def doubt(self, start: int, end: int) -> Doubt:
        """Return every reason to doubt the span ``text[start:end]``."""
        doubt = Doubt.NONE
        if self._negated(start, end):
            doubt |= Doubt.NEGATED
        if self._past(start, end):
            doubt |= Doubt.PAST
        if self._closed and start < self._closed:
            doubt |= Doubt.RESOLVED
        if self._hypothetical(start, end):
            doubt |= Doubt.HYPOTHETICAL
        sentence = self._clauses.all[self._clauses.index(start)].sentence
        if self._in_sentence("education", sentence):
            doubt |= Doubt.EDUCATION
        elif self._in_sentence("education_weak", sentence):
            doubt |= Doubt.EDUCATION_WEAK
        if self._found["request"] or any(
            self._one_clause(s, start) for s, _ in self._found["request_here"]
        ):
            doubt |= Doubt.REQUEST
        if self._after("gossip", start, sentence):
            doubt |= Doubt.GOSSIP
        if self._after("family_history", start, sentence) and not self._current_between(start):
            doubt |= Doubt.FAMILY_HISTORY
        return doubt

    def mild(self, start: int) -> bool:
        """Tell whether "a little" stands right before `start`."""
        return any(
            e <= start <= e + 4 and self._one_clause(s, start) for s, e in self._found["mild"]
        )

    @property
    def just_asking(self) -> bool:
        """The person says that nothing is happening."""
        return bool(self._found["just_asking"])

    def _one_clause(self, a: int, b: int) -> bool:
        return self._clauses.index(a) == self._clauses.index(b)

    def _negated(self, start: int, end: int) -> bool:
        at = self._clauses.index(start)
        clause = self._clauses.all[at]
        for s, e in self._negators:
            if e > start:
                continue
            reach = self._reach(s, e)
            if start - e <= reach and self._uninterrupted(s, e, start):
                return True
        # "A、B、C 都没有": the denial after a list covers the list.
        last = at
        while last < len(self._clauses.all) - 1 and self._clauses.all[last].listed:
            last += 1
        tail = self._clauses.all[last]
        return any(
            e <= s
            and s < tail.end
            and (last == at or self._clauses.all[last].sentence == clause.sentence)
            for s, _ in self._found["negator_after"]
            for e in (end,)
            if self._clauses.index(s) == last
        )

    def _reach(self, start: int, end: int) -> int:
        word = self._text[start:end]
        if word in _SHORT_NEGATORS:
            return _SHORT_NEGATORS[word]
        return _LONG_REACH_EN if word[0] < "\x7f" else _LONG_REACH_ZH

    def _uninterrupted(self, start: int, end: int, target: int) -> bool:
        """Tell whether a negation at start..end still holds at `target`."""
        first, last = self._clauses.index(start), self._clauses.index(target)
        clauses = self._clauses.all
        if first != last:
            english = self._text[start] < "\x7f"
            commas = all(
                c.listed
                or (english and c.sentence == clauses[last].sentence and c.end - c.start < 24)
                for c in clauses[first:last]
            )
            if not commas or (english and not _listing(self._text[clauses[last].start : target])):
                return False
        return not any(end < s < target for s, _ in self._found["terminator"])

    def _past(self, start: int, end: int) -> bool:
        at = self._clauses.index(start)
        clauses = self._clauses.all
        sentence = clauses[at].sentence
        past = [self._clauses.index(s) for s, _ in self._found["past"]]
        current = {self._clauses.index(s) for s, _ in self._found["current"]}
        if at in current or not past:
            return False
        before = [c for c in past if c <= at and clauses[c].sentence == sentence]
        if before:
            return not any(max(before) < c <= at for c in current)
        # "…, 那是去年的事": a time given afterwards.
        after = [
            c for c in past if c == at + 1 and clauses[c].sentence == sentence and c not in current
        ]
        return bool(after) and not any(s >= end for s, _ in self._found["current"])

    def _resolved(self) -> int:
        """Return the end of the last "it is all healed", or 0 when a new complaint follows it."""
        if not self._found["resolved"]:
            return 0
        end = max(e for _, e in self._found["resolved"])
        again = any(s >= end and self._text[s] in "又再突今刚" for s, _ in self._found["current"])
        return 0 if again else end

    def _hypothetical(self, start: int, end: int) -> bool:
        at = self._clauses.index(start)
        clauses = self._clauses.all
        for s, _ in self._found["hypothetical"]:
            first = self._clauses.index(s)
            if s > start or clauses[first].sentence != clauses[at].sentence:
                continue
            if first == at or not any(
                first < self._clauses.index(c) <= at for c, _ in self._found["current"]
            ):
                return True
        return any(
            s >= end and self._clauses.index(s) == at for s, _ in self._found["hypothetical_after"]
        )

    def _current_between(self, start: int) -> bool:
        """Tell whether "now", "today" … stands between a relative's history and `start`."""
        history = [e for s, e in self._found["family_history"] if s <= start]
        last = max(history, default=0)
        return any(last <= s <= start for s, _ in self._found["current"])

    def _in_sentence(self, name: str, sentence: int) -> bool:
        return any(self._sentence(s) == sentence for s, _ in self._found[name])

    def _after(self, name: str, start: int, sentence: int) -> bool:
        return any(s <= start and self._sentence(s) == sentence for s, _ in self._found[name])

    def _sentence(self, position: int) -> int:
        return self._clauses.all[self._clauses.index(position)].sentence


def _listing(between: str) -> bool:
    """Tell whether the words before a target still look like a list ("or discharge")."""
    return len(between) < 16


def _find(scopes: Mapping[str, Concept], text: str, characters: frozenset[str]) -> dict[str, Spans]:
    return {name: list(scope.find(text, characters)) for name, scope in scopes.items()}
