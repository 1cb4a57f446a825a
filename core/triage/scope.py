"""Decide for each thing said whether it is claimed: denied, past, hypothetical, a story.

The method is ConText's (Harkema 2009): trigger words open a scope that runs forwards or
backwards inside a sentence until a terminating word, extended here to Chinese lists.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from enum import Flag, auto

from core.triage.clauses import Clauses
from core.triage.lexicon import Lexicon
from core.triage.places import Places

# How far a negator reaches: 不 denies the next word, 没有 the rest of its clause.
_SHORT_NEGATORS = {"不": 4, "非": 3, "免": 2, "未": 6, "别": 4, "并不": 6, "不会": 6, "不是": 8}
_LONG_REACH_ZH = 14
_LONG_REACH_EN = 45
_LONGEST_REACH = 80  # reach and the longest negator together


_SENTENCE_WIDE = ("education", "education_weak", "gossip", "family_history")


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
    GENERIC = auto()


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

    def __init__(self, places: Places, clauses: Clauses, lexicon: Lexicon, said: Spans) -> None:
        """Find the scope words.

        Args:
            places: of the normalised and masked text.
            clauses: of that text.
            lexicon: where the scope words come from.
            said: spans of all concepts found; a negator inside one (看不见) is part of it.
        """
        text = self._text = places.text
        self._clauses = clauses
        self._found: dict[str, Spans] = {name: [] for name in lexicon.scopes}
        for name, start, end in lexicon.scopes.find(places):
            self._found[name].append((start, end))
        for spans in self._found.values():
            spans.sort()
        covered = bytearray(len(text))
        for start, end in (*said, *self._found["pseudo_negator"]):
            covered[start:end] = b"\x01" * (end - start)
        self._negators = [s for s in self._found["negator"] if not any(covered[s[0] : s[1]])]
        self._past_clauses = self._clause_numbers("past")
        self._current_clauses = self._clause_numbers("current")
        self._request_clauses = set(self._clause_numbers("request_here"))
        self._first_in_sentence = {name: self._firsts(name) for name in _SENTENCE_WIDE}
        self._about_person = self._clause_numbers("here_and_now")
        self._generic_clauses = self._generic()
        self._present_person = self._tells_of_today()
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
        at = self._clauses.index(start)
        if self._found["request"] or at in self._request_clauses:
            doubt |= Doubt.REQUEST
        return doubt if self._found["admits"] else doubt | self._supposed(start, end, at)

    def _supposed(self, start: int, end: int, at: int) -> Doubt:
        """Return the doubts of talk that is not, or not yet, about this person's present."""
        doubt = Doubt.NONE
        sentence = self._clauses.all[at].sentence
        if self._hypothetical(start, end):
            doubt |= Doubt.HYPOTHETICAL
        taught = self._holds("education", sentence, at)
        if taught and not self._present_person:
            doubt |= Doubt.EDUCATION
        elif taught or sentence in self._first_in_sentence["education_weak"]:
            doubt |= Doubt.EDUCATION_WEAK
        elif at in self._generic_clauses and not self._present_person:
            doubt |= Doubt.GENERIC
        if self._after("gossip", start, sentence) and self._holds("gossip", sentence, at):
            doubt |= Doubt.GOSSIP
        if self._after("family_history", start, sentence) and not self._current_between(start, at):
            doubt |= Doubt.FAMILY_HISTORY
        return doubt

    def _holds(self, name: str, sentence: int, at: int) -> bool:
        """Tell whether a sentence-wide scope still holds at clause `at`.

        It ends where the person turns to themselves: "网上说白瞳要查，我女儿的照片…".
        """
        first = self._first_in_sentence[name].get(sentence)
        if first is None:
            return False
        return not _between(self._about_person, self._clauses.index(first) + 1, at)

    def _generic(self) -> set[int]:
        """Return clauses that ask about people in general, without a person or a present."""
        at = self._clauses.index
        asking = {
            at(s)
            for s, _ in self._found["generic_question"]
            if self._text[s] > "\x7f" or self._opens(s)
        }
        if not asking:
            return asking
        personal = self._sentences("person") | self._sentences("current")
        return {c for c in asking if self._clauses.all[c].sentence not in personal}

    def _tells_of_today(self) -> bool:
        """Tell whether somewhere in the message a person is spoken of in the present.

        A question put in general words is then about them: "is it normal that my wife … since
        breakfast".
        """
        if not self._about_person:
            return False
        return not self._sentences("here_and_now").isdisjoint(self._sentences("current"))

    def _sentences(self, name: str) -> set[int]:
        return {self._clauses.all[self._clauses.index(s)].sentence for s, _ in self._found[name]}

    def _opens(self, position: int) -> bool:
        """Tell whether a clause begins here, as an English question does with its verb."""
        start = self._clauses.all[self._clauses.index(position)].start
        return not self._text[start:position].strip()

    @property
    def on_a_screen(self) -> bool:
        """A page or a phone is spoken of; without an eye beside it, that is what went dark."""
        return bool(self._found["device"])

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
        first = bisect_left(self._negators, (start - _LONGEST_REACH, 0))
        for s, e in self._negators[first : bisect_left(self._negators, (start, 0))]:
            if 0 <= start - e <= self._reach(s, e) and self._uninterrupted(s, e, start):
                return True
        # "A、B、C 都没有": the denial after a list covers the list.
        last = self._clauses.index(start)
        while last < len(self._clauses.all) - 1 and self._clauses.all[last].listed:
            last += 1
        return any(
            end <= s and self._clauses.index(s) == last for s, _ in self._found["negator_after"]
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
        ends = self._found["terminator"]
        at = bisect_left(ends, (end + 1, 0))
        return at == len(ends) or ends[at][0] >= target

    def _past(self, start: int, end: int) -> bool:
        at = self._clauses.index(start)
        if _between(self._current_clauses, at, at):
            return False
        clauses = self._clauses.all
        before = bisect_right(self._past_clauses, at) - 1
        if before >= 0 and clauses[self._past_clauses[before]].sentence == clauses[at].sentence:
            return not _between(self._current_clauses, self._past_clauses[before] + 1, at)
        # "…, 那是去年的事": a time given afterwards.
        after = _between(self._past_clauses, at + 1, at + 1)
        if not after or clauses[at + 1].sentence != clauses[at].sentence:
            return False
        return not _between(self._current_clauses, at + 1, at + 1)

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
        n = bisect_right(self._found["hypothetical"], (start, len(self._text)))
        if n:
            opened = self._clauses.index(self._found["hypothetical"][n - 1][0])
            if clauses[opened].sentence == clauses[at].sentence and (
                opened == at or not _between(self._current_clauses, opened + 1, at)
            ):
                return True
        likely = self._found["likelihood"]
        n = bisect_right(likely, (start, len(self._text)))
        if n and self._clauses.index(likely[n - 1][0]) == at:
            return True
        after = self._found["hypothetical_after"]
        n = bisect_left(after, (end, 0))
        return n < len(after) and self._clauses.index(after[n][0]) == at

    def _current_between(self, start: int, at: int) -> bool:
        """Tell whether "now", "today" … stands between a relative's history and `start`.

        In the mention's own clause it may also follow: "my dad lost his sight this morning".
        """
        if _between(self._current_clauses, at, at):
            return True
        history = self._found["family_history"]
        told = history[bisect_right(history, (start, len(self._text))) - 1][1]
        current = self._found["current"]
        n = bisect_left(current, (told, 0))
        return n < len(current) and current[n][0] <= start

    def _after(self, name: str, start: int, sentence: int) -> bool:
        return self._first_in_sentence[name].get(sentence, start + 1) <= start

    def _clause_numbers(self, name: str) -> list[int]:
        return sorted({self._clauses.index(s) for s, _ in self._found[name]})

    def _firsts(self, name: str) -> dict[int, int]:
        """Return where the first word of this kind stands, by sentence."""
        firsts: dict[int, int] = {}
        for start, _ in self._found[name]:
            sentence = self._clauses.all[self._clauses.index(start)].sentence
            firsts.setdefault(sentence, start)
        return firsts


def _between(numbers: list[int], low: int, high: int) -> bool:
    """Tell whether a sorted list has a number in low..high."""
    n = bisect_left(numbers, low)
    return n < len(numbers) and numbers[n] <= high


def _listing(between: str) -> bool:
    """Tell whether the words before a target still look like a list ("or discharge")."""
    return len(between) < 16
