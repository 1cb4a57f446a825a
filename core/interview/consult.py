"""The guided consult: what serves when no LLM does. Pure: state and text in, replies out.

The turn calls `advance` for every text that red-flag triage let pass, and `after_reading` for
every photo. One question at a time, nothing that is known, at most eight; it ends in an
`Assessment`. Between questions it answers small talk and questions to the knowledge base.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from core.followup.intervals import findings_of
from core.interview import wording
from core.interview.judge import MAX_QUESTIONS, complaint_named, complaint_of, judge, next_question
from core.interview.slots import SKIPPED, Complaint, ConsultData, load
from core.interview.state import Assessment, ConsultState
from core.interview.understand import direct_answer, normalise, settle, understand, with_implied
from core.knowledge.search import Hit, answer, article_hit, search
from core.message import Language
from core.reading import Reading
from core.reply import Button, Paragraph, Reply, paragraph
from core.texts import text as say
from core.urgency import Urgency

Kept = Mapping[str, Mapping[str, str]]

_RECAP_AFTER_MS = 6 * 3_600_000
_ENDED_FOR_MS = 24 * 3_600_000  # a later new symptom starts a consult of its own
_FORGET_AFTER_MS = 7 * 24 * 3_600_000
_ACTION = re.compile(r"v1:ask:(\w+):(\w+)")
# What stays true from one complaint to the next of the same person.
_LASTING = ("person", "diabetes", "blood_pressure", "glaucoma", "myopia", "retina_check")
# Patterns of `talk.yaml` that are parts of an answer, or read elsewhere.
NOT_INTENTS = frozenset(
    {"skip", "affirm", "deny", "education", "personal", "correct", "about_eyes"}
    | {"why", "going", "arrived", "seen", "distress", "calm"}
)
# Who and when alone make no complaint.
_CONTEXT = frozenset({"person", "age", "recent", "onset", "eye", "trend", "purpose"})


@dataclass(frozen=True, slots=True)
class Step:
    """What to say, the state to keep (None: none) and the assessment if the consult ended."""

    replies: tuple[Reply, ...]
    state: ConsultState | None
    assessment: Assessment | None = None


def advance(
    state: ConsultState | None,
    *,
    text: str,
    button: str | None,
    language: Language,
    now_ms: int,
    kept: Kept | None = None,
    floor: Urgency = Urgency.NONE,
) -> Step:
    """Take one message or button and return what to say.

    Args:
        state: what the last step returned for this chat.
        text: what the person wrote, "" for a button.
        button: the pressed button's action, or None.
        language: the person's language.
        now_ms: the present, UTC epoch milliseconds.
        kept: what is known about each person from before (`core.interview.known.facts`).
        floor: class of a red flag that is still open; no assessment is less urgent.
    """
    data = load()
    state = _still_valid(state, data, now_ms)
    turn = _Turn(data, language, now_ms, kept or {}, floor)
    if button is not None:
        return turn.on_button(state, button)
    return turn.on_text(state, text)


def after_reading(
    state: ConsultState | None,
    reading: Reading,
    *,
    language: Language,
    now_ms: int,
    kept: Kept | None = None,
    floor: Urgency = Urgency.NONE,
) -> Step:
    """Say and ask what follows from a photo; what the person feels goes before the picture.

    The reading itself is shown by the turn; this adds what it means for the consult.
    """
    data = load()
    state = _still_valid(state, data, now_ms)
    turn = _Turn(data, language, now_ms, kept or {}, floor)
    result = photo_result(reading)
    if result == "not_fundus":
        said = say(language, "interview.reading.not_fundus")
        if state and state.pending:
            return turn.repeat(state, said)
        return Step((Reply("notice", (paragraph(said),)),), state)
    line = "refer" if result.startswith("refer") or result == "borderline" else result
    said = say(language, f"interview.reading.{line}")
    before = state or ConsultState(now_ms, now_ms)
    slots = dict(before.slots)
    if reading.eye and "eye" not in slots:
        slots["eye"] = "right" if reading.eye == "OD" else "left"
    found = dict.fromkeys(filter(None, slots.get("findings", "").split(",")))
    found |= dict.fromkeys(findings_of(reading))
    if found:
        slots["findings"] = ",".join(found)
    if _PHOTO_RANK[result] >= _PHOTO_RANK.get(slots.get("photo", ""), 0):
        slots["photo"] = result  # the other eye's better photo does not undo this one's
    after = replace(before, slots=slots, ended=False, updated_at_ms=now_ms)
    return turn.repeat(after, said) if before.pending else turn.go_on(after, said=said)


def reask(state: ConsultState | None, language: Language, now_ms: int) -> Step:
    """Show the open question again, after something else was answered."""
    data = load()
    turn = _Turn(data, language, now_ms, {}, Urgency.NONE)
    return turn.repeat(_still_valid(state, data, now_ms), say(language, "interview.line.back_to"))


_PHOTO_RANK = {"normal": 0, "ungradable": 1, "borderline": 2, "refer": 3, "refer_soon": 4}


def _still_valid(state: ConsultState | None, data: ConsultData, now_ms: int) -> ConsultState | None:
    """Return the state, unless it is old or its question is gone from newer data."""
    if state is None or now_ms - state.updated_at_ms > _FORGET_AFTER_MS:
        return None
    return replace(state, pending=None) if state.pending not in (None, *data.slots) else state


def photo_result(reading: Reading) -> str:
    """Return the photo's slot value: the worst of its findings.

    `refer_soon` are DR grade ≥ 3, macular oedema and AMD, which specification §4 wants seen
    within about two weeks.
    """
    if reading.outcome != "assessed":
        return reading.outcome
    refer = {f.condition for f in reading.findings if f.decision == "refer"}
    if refer & {"dme", "amd"} or (reading.dr_grade or 0) >= 3:
        return "refer_soon"
    if refer or (reading.dr_grade or 0) == 2:
        return "refer"
    if any(f.decision == "borderline" for f in reading.findings) or reading.dr_grade == 1:
        return "borderline"
    if any(f.decision == "negative" for f in reading.findings):
        return "normal"
    return "ungradable"  # nothing was assessed: silence is not a normal result


@dataclass(frozen=True, slots=True)
class _Turn:
    """One call's circumstances."""

    data: ConsultData
    language: Language
    now_ms: int
    kept: Kept
    floor: Urgency

    # -- input ---------------------------------------------------------------------------

    def on_button(self, state: ConsultState | None, action: str) -> Step:
        match = _ACTION.fullmatch(action)
        name, value = match.groups() if match else ("", "")
        if name == "learn" and (hit := article_hit(value)):
            return self._aside(state, answer(hit, self.language))
        if name == "stop":
            return self._stop(state)
        if name == "start":
            return self._ask_complaint()
        slot = self.data.slots.get(name)
        valid = slot is not None and (value == SKIPPED or value in slot.values)
        running = state if state and not state.ended else None
        if not valid or (running is None and name != "complaint"):
            expired = say(self.language, "interview.line.expired")
            return self.repeat(running, expired) if running else self._ask_complaint(expired)
        current = running or ConsultState(self.now_ms, self.now_ms)
        found = settle(name, value, current.slots, self.data)
        return self._merge(current, found, first=running is None)

    def on_text(self, state: ConsultState | None, text: str) -> Step:
        plain = normalise(text)
        found = understand(text, self.data)
        if state and not state.ended and state.pending:
            return self._answered(state, text, plain, found)
        if self._is_education(plain, found) and (hit := self._hit(text)):
            return self._aside(state, self._teach(hit))
        if self._tells_of_eyes(found):
            return self._begin(state, found)
        intent = self._intent(plain)
        if intent == "stop":
            return self._stop(state)
        if intent == "refuse":
            return self._refuse(state)
        if intent and not (intent in ("greeting", "thanks") and self._hit(text)):
            return Step((wording.talk(intent, self.language),), state)
        if complaint_of(found, self.data):
            return self._begin(state, found)
        if state and self._corrected(state, plain, found):
            return self._begin(state, found)
        if self._is_own_eyes(plain, found):
            return self._unclear(state, found)
        if hit := self._hit(text):
            return self._aside(state, self._teach(hit))
        return Step((wording.talk("lost" if plain else "empty", self.language),), state)

    def _answered(self, state: ConsultState, text: str, plain: str, found: dict[str, str]) -> Step:
        """An answer is expected; it may also be an aside, a new symptom, or nothing clear."""
        pending = state.pending or ""
        intent = self._intent(plain)
        if intent in ("stop", "refuse"):
            return self._stop(state)
        slot = self.data.slots[pending]
        settles = slot.covers | {pending}
        if self._corrected(state, plain, found) and settles.isdisjoint(found):
            return self._correct(state, found)
        choices = wording.labels(pending, self.language, self.data, self._facts(state))
        value = direct_answer(text, slot, choices, self.data)
        if value is not None:
            settled = settle(pending, value, state.slots, self.data)
            return self._merge(state, settled if value == SKIPPED else {**settled, **found})
        if self._is_education(plain, found) and (hit := self._hit(text)):
            return self._aside(state, self._teach(hit))
        if found.keys() & slot.covers:
            return self._merge(state, found)
        if intent and not found:
            return self._aside(state, wording.talk(intent, self.language))
        if found.keys() - _CONTEXT or state.retried:
            facts = {**settle(pending, SKIPPED, state.slots, self.data), **found}
            before = replace(state, slots={**state.slots, **found})
            if state.retried or self._enough(before):
                return self._merge(state, found if self._enough(before) else facts)
        if any(state.slots.get(k) != v for k, v in found.items()):
            return self._correct(state, found)
        again = say(self.language, "interview.line.again")
        return self.repeat(replace(state, retried=True), again)

    # -- what was meant ------------------------------------------------------------------

    def _intent(self, plain: str) -> str | None:
        talk = self.data.talk
        names = (name for name in talk if name not in NOT_INTENTS)
        return next((name for name in names if talk[name].search(plain)), None)

    def _tells_of_eyes(self, found: Mapping[str, str]) -> bool:
        told = {k for k, v in found.items() if v not in ("no", "none")} - _CONTEXT
        return bool(told) and complaint_of(found, self.data) is not None

    def _is_education(self, plain: str, found: Mapping[str, str]) -> bool:
        talk = self.data.talk
        if not talk["education"].search(plain):
            return False
        personal = talk["personal"].search(plain) or "onset" in found or "person" in found
        return not (personal and self._tells_of_eyes(found))

    def _corrected(self, state: ConsultState, plain: str, found: Mapping[str, str]) -> bool:
        """Tell whether words take back something that was said ("no, the left one")."""
        changed = any(state.slots.get(k, v) != v for k, v in found.items())
        return changed and bool(self.data.talk["correct"].search(plain))

    def _is_own_eyes(self, plain: str, found: Mapping[str, str]) -> bool:
        """Tell whether somebody tells of eyes in words nobody here knows."""
        talk = self.data.talk
        if not talk["about_eyes"].search(plain) or talk["education"].search(plain):
            return False
        return bool(talk["personal"].search(plain)) or bool(found)

    def _hit(self, text: str) -> Hit | None:
        return next(iter(search(text, self.language, k=1)), None)

    def _teach(self, hit: Hit) -> Reply:
        reply = answer(hit, self.language)
        mine = Button(say(self.language, "interview.button.mine"), "v1:ask:start:now")
        return replace(reply, buttons=(*reply.buttons, (mine,)))

    # -- moving on -----------------------------------------------------------------------

    def _begin(self, state: ConsultState | None, found: dict[str, str]) -> Step:
        """A complaint outside a question: the first, or one more after an assessment."""
        if state is None:
            return self._merge(ConsultState(self.now_ms, self.now_ms), found, first=True)
        same = found.get("person", state.slots.get("person")) == state.slots.get("person")
        if not same or self.now_ms - state.updated_at_ms > _ENDED_FOR_MS:
            lasting = {k: v for k, v in state.slots.items() if k in _LASTING and same}
            fresh = ConsultState(self.now_ms, self.now_ms, slots=lasting)
            return self._merge(fresh, found, first=True)
        return self.go_on(replace(state, ended=False, slots={**state.slots, **found}))

    def _correct(self, state: ConsultState, found: Mapping[str, str]) -> Step:
        """Note what was put right, or added, and come back to the open question."""
        after = replace(
            state, slots=with_implied({**state.slots, **found}, self.data), retried=False
        )
        said = wording.about("put_right", found, self.language)
        if self._enough(after):
            return self.go_on(after, said=said)
        return self.repeat(after, said)

    def _unclear(self, state: ConsultState | None, found: dict[str, str]) -> Step:
        """Ask what it mainly is, and keep what was understood beside it."""
        person = found.get("person", "self")
        lasting: dict[str, str] = {}
        if state and state.slots.get("person", "self") == person:
            lasting = {k: v for k, v in state.slots.items() if k in _LASTING}
        fresh = ConsultState(self.now_ms, self.now_ms, slots={**lasting, **found})
        return self._ask_complaint(say(self.language, "interview.line.unclear"), fresh)

    def _merge(self, state: ConsultState, found: dict[str, str], *, first: bool = False) -> Step:
        if not first and self._is_about_another(state, found):
            state, first = ConsultState(self.now_ms, self.now_ms), True
        said: list[str] = []
        if first:
            said.append(wording.about("understood", found, self.language))
        else:
            said.append(self._recap(state))
        slots = with_implied({**state.slots, **found}, self.data)
        return self.go_on(replace(state, slots=slots), said="\n".join(s for s in said if s))

    def _is_about_another(self, state: ConsultState, found: Mapping[str, str]) -> bool:
        """Tell whether words bring another person with a complaint of their own."""
        person = state.slots.get("person")
        complaint = complaint_of(found, self.data)
        if complaint is None or found.get("person", person) == person:
            return False
        # Who was not said before may just be said now ("red eye" … "my son's eye is red").
        return person is not None or complaint.id != state.complaint

    def _facts(self, state: ConsultState) -> dict[str, str]:
        return {**self.kept.get(state.slots.get("person", "self"), {}), **state.slots}

    def _complaint(self, state: ConsultState) -> Complaint | None:
        return complaint_of(state.slots, self.data) or complaint_named(state.complaint, self.data)

    def go_on(self, state: ConsultState, *, said: str = "") -> Step:
        """Ask the next question that matters, or conclude."""
        complaint = self._complaint(state)
        state = replace(
            state,
            complaint=complaint.id if complaint else None,
            updated_at_ms=self.now_ms,
            retried=False,
        )
        if complaint is None:
            return self._ask_complaint(said, state)
        facts = self._facts(state)
        slot = next_question(facts, complaint, state.asked, self.data)
        if slot is None:
            return self._conclude(state, said=said)
        hint = ""
        if complaint.photo and not state.photo_suggested and "photo" not in facts:
            hint = say(self.language, "interview.line.photo")
        asked = replace(
            state,
            pending=slot,
            asked=(*state.asked, slot),
            photo_suggested=state.photo_suggested or bool(hint),
        )
        reply = wording.question(
            slot,
            self.language,
            self.data,
            facts,
            before=(said, hint),
            wording="interview.reading.ask" if complaint.id == "photo" and slot == "also" else None,
        )
        return Step((reply,), asked)

    def _ask_complaint(self, said: str = "", state: ConsultState | None = None) -> Step:
        state = state or ConsultState(self.now_ms, self.now_ms)
        if "complaint" in state.asked:  # still unclear: the questions that fit any complaint
            other = replace(state, slots={**state.slots, "complaint": "other"}, complaint="other")
            return self.go_on(other, said=said)
        asked = replace(state, pending="complaint", asked=(*state.asked, "complaint"))
        reply = wording.question("complaint", self.language, self.data, {}, before=(said,))
        return Step((reply,), asked)

    def _conclude(self, state: ConsultState, *, said: str = "", stopped: bool = False) -> Step:
        complaint = self._complaint(state)
        facts = self._facts(state)
        is_cut_short = stopped or len(state.asked) >= MAX_QUESTIONS
        judged = judge(facts, complaint, self.data, stopped=is_cut_short)
        judged = replace(judged, floor=self.floor)
        rule, urgency = judged.rule, judged.urgency
        ended = replace(state, pending=None, ended=True)
        if state.urgency and (
            state.urgency.rank < urgency.rank
            or (state.urgency is urgency and state.reason == rule.id)
        ):  # a class once given is not lowered by what is said after it
            return Step((self._unchanged(state.urgency, said),), ended)
        ended = replace(ended, urgency=urgency, reason=rule.id)
        reply = wording.assessment(judged, complaint, facts, self.language)
        if said and "photo" in facts:
            reply = replace(reply, blocks=(*_lines(said), *reply.blocks))
        compound = {n for n, s in self.data.slots.items() if s.covers} | {"complaint", "purpose"}
        slots = {k: v for k, v in facts.items() if k not in compound}
        counted = {k: slots[k] for k in rule.when if slots.get(k) in rule.when[k]}
        return Step(
            (reply,),
            ended,
            Assessment(
                urgency,
                rule.id,
                slots,
                counted,
                judged.raised_by,
                is_guess=judged.is_guess,
                is_floored=judged.is_floored,
                version=self.data.version,
            ),
        )

    def _enough(self, state: ConsultState) -> bool:
        complaint = self._complaint(state)
        asked = state.asked[:-1]  # the open question itself may be what is still needed
        facts = self._facts(state)
        return complaint is None or next_question(facts, complaint, asked, self.data) is None

    # -- asides --------------------------------------------------------------------------

    def repeat(self, state: ConsultState | None, said: str) -> Step:
        """Say something and show the open question again."""
        if state is None or state.pending is None:
            return Step((Reply("answer", _lines(said)),), state)
        reply = wording.question(
            state.pending,
            self.language,
            self.data,
            self._facts(state),
            before=(self._recap(state), said),
        )
        return Step((reply,), replace(state, updated_at_ms=self.now_ms))

    def _aside(self, state: ConsultState | None, reply: Reply) -> Step:
        """Answer something else, then come back to the open question."""
        if state is None or state.pending is None or state.ended:
            return Step((reply,), state)
        back = self._recap(state) or say(self.language, "interview.line.back_to")
        shown = wording.question(
            state.pending, self.language, self.data, self._facts(state), before=(back,)
        )
        kept = replace(state, updated_at_ms=self.now_ms)
        return Step((replace(reply, buttons=()), shown), kept)

    def _recap(self, state: ConsultState) -> str:
        """Return what was said before, when it is hours ago; else ""."""
        if self.now_ms - state.updated_at_ms <= _RECAP_AFTER_MS:
            return ""
        return wording.about("recap", state.slots, self.language)

    def _stop(self, state: ConsultState | None) -> Step:
        if state is None or (state.complaint is None and not state.ended):
            return self._ask_complaint(state=state)
        if state.ended and state.urgency:
            return Step((self._unchanged(state.urgency),), state)
        return self._conclude(replace(state, updated_at_ms=self.now_ms), stopped=True)

    def _unchanged(self, urgency: Urgency, said: str = "") -> Reply:
        head = say(self.language, f"interview.class.{urgency}.head")
        return Reply("answer", _lines(said, say(self.language, "interview.line.noted", head=head)))

    def _refuse(self, state: ConsultState | None) -> Step:
        """Say the class once more, never a lower one (specification §5)."""
        urgency = state.urgency if state else None
        if urgency is None or urgency.rank > Urgency.TWO_WEEKS.rank:
            return Step((wording.talk("refuse_plain", self.language),), state)
        head = say(self.language, f"interview.class.{urgency}.head")
        return Step((wording.talk("refuse", self.language, head=head),), state)


def _lines(*lines: str) -> tuple[Paragraph, ...]:
    return tuple(paragraph(line) for line in lines if line)
