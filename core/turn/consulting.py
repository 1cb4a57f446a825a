"""The guided consult in a turn: one step of the interview, and the follow-up it leads to."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from core.followup.plan import propose
from core.followup.risk import modifiers
from core.interview import known
from core.interview.consult import ConsultState, Step, advance, after_reading, reask
from core.interview.slots import load
from core.interview.state import Assessment
from core.interview.understand import understand
from core.reading import Reading
from core.turn import card, followups
from core.turn.answer import Answer
from core.turn.photos import reading_to_json, worst
from core.turn.state import DialogState
from core.urgency import Urgency

# Longer words than these are a new thought, which the model understands better.
_SHORT_ANSWER = 24


def person_of(state: DialogState, words: str) -> str:
    """Return whom words are about: who they name, else whom the interview is about."""
    named = understand(words, load()).get("person") if words else None
    consult = ConsultState.from_json(state.consult) if state.consult else None
    return named or (consult.slots.get("person", "self") if consult else "self")


def answers_interview(state: DialogState, words: str) -> bool:
    """Tell whether words look like the answer to the interview's open question."""
    pending = state.consult is not None and ConsultState.from_json(state.consult).pending
    return bool(pending) and len(words) <= _SHORT_ANSWER


def learn(answer: Answer, words: str) -> None:
    """Keep what words say about a person for as long as it holds; needs their consent."""
    people = known.learn(
        answer.state.known,
        words,
        load(),
        person=person_of(answer.state, words),
        now_ms=answer.now_ms,
    )
    answer.remember(known=dict(people))


def on_words(answer: Answer, words: str, button: str | None) -> None:
    """Take words, or the button of one of the interview's questions, as the next step."""
    floor = card.floor(answer.state, person_of(answer.state, words), answer.now_ms)
    _interview(
        answer,
        lambda state: advance(
            state,
            text=words,
            button=button,
            language=answer.language,
            now_ms=answer.now_ms,
            kept=_kept(answer),
            floor=floor,
        ),
    )


def on_readings(answer: Answer, readings: Sequence[Reading]) -> None:
    """Go on with the photo that matters most; photos without a result change nothing."""
    reading = worst(readings)
    if reading is None:
        return
    as_kept = reading_to_json(reading)
    answer.remember(
        deciding_photo=next(
            ((p["inbox_id"], p["position"]) for p in answer.photos if p["reading"] == as_kept),
            (),
        )
    )
    floor = card.floor(answer.state, person_of(answer.state, ""), answer.now_ms)
    _interview(
        answer,
        lambda state: after_reading(
            state,
            reading,
            language=answer.language,
            now_ms=answer.now_ms,
            kept=_kept(answer),
            floor=floor,
        ),
        reading=reading,
    )


def ask_again(answer: Answer) -> None:
    """Come back to the interview's open question, if there is one."""
    kept = answer.state.consult
    if kept and ConsultState.from_json(kept).pending:
        _interview(answer, lambda state: reask(state, answer.language, answer.now_ms))


def _kept(answer: Answer) -> dict[str, dict[str, str]]:
    people = answer.state.known
    return {p: known.facts(people, p, load(), answer.now_ms) for p in people}


def _interview(
    answer: Answer, step: Callable[[ConsultState | None], Step], *, reading: Reading | None = None
) -> None:
    """Take one step and propose the follow-up it leads to."""
    kept = answer.state.consult
    result = step(ConsultState.from_json(kept) if kept else None)
    answer.remember(consult=result.state.to_json() if result.state else None)
    answer.say(*result.replies)
    if result.state is not None:
        people = known.remember(
            answer.state.known, result.state.slots, load(), person="self", now_ms=answer.now_ms
        )
        answer.remember(known=dict(people))
    if result.assessment is not None:
        _assessed(answer, result.assessment)
    if result.state is not None and result.state.pending is not None:
        return
    risk = _risk(answer, result.assessment)
    proposal = propose(reading, result.assessment, modifiers=risk)
    if proposal is not None:
        followups.propose(answer, proposal)


def _risk(answer: Answer, assessment: Assessment | None) -> frozenset[str]:
    """Return what is known about the person and makes a visit due sooner."""
    person = assessment.slots.get("person", "self") if assessment else "self"
    slots = known.for_triage(answer.state.known, person, load(), answer.now_ms)
    said = [words for _, words in answer.state.facts] if person == "self" else []
    return modifiers(slots, said)


def _assessed(answer: Answer, assessment: Assessment) -> None:
    """Keep an assessment with the turn; an urgent one is open until a doctor was seen."""
    data = assessment.to_json()
    answer.remember(advice={"kind": "consult", "at_ms": answer.now_ms, "data": data})
    answer.verdict = {**(answer.verdict or {}), "assessment": data}
    if assessment.urgency.rank > Urgency.SAME_DAY.rank:
        return
    person = assessment.slots.get("person", "self")
    if card.floor(answer.state, person, answer.now_ms).rank <= assessment.urgency.rank:
        return  # staff know of it, and it is open already
    urgency = str(assessment.urgency)
    answer.remember(
        open_urgency=urgency, open_since_ms=answer.now_ms, open_person=person, refused=False
    )
    answer.tell_staff(
        "emergency", urgency, alert=(assessment.reason,), why="consult", assessment=data
    )
