"""Red flags in a turn: the engine's verdict becomes a card or a question, and is talked about."""

from __future__ import annotations

from core.interview import known
from core.interview.slots import load
from core.triage.cards import SELF_HARM
from core.triage.engine import UNCLEAR, ContextLine, assess
from core.triage.verdict import to_json as verdict_to_json
from core.turn import card, consent, consulting, why
from core.turn.answer import Answer
from core.turn.words import language_of


def look(answer: Answer, words: str, place: str | None) -> bool:
    """Run the engine over words; True when its answer is the turn's answer.

    Args:
        answer: the turn.
        words: of all its messages.
        place: nearest eye emergency department, or None.
    """
    if not words:
        return False
    # A day, a place or a number that we asked for says nothing about an earlier complaint.
    context = [
        ContextLine("patient" if author == "patient" else "service", said)
        for author, said in (() if answer.state.awaiting else answer.state.triage_context())
    ]
    person = consulting.person_of(answer.state, words)
    slots = known.for_triage(answer.state.known, person, load(), answer.now_ms)
    verdict = assess(words, context=context, slots=slots)
    answer.verdict = verdict_to_json(verdict)
    if verdict.flags == (UNCLEAR,) and consulting.answers_interview(answer.state, words):
        return False  # the open question is about just that, and knows what to make of it
    # Whoever is in distress writes in their own language, whatever was chosen before.
    language = language_of(words, None, answer.language) or answer.language
    if verdict.action == "trigger":
        card.emergency(answer, verdict, language, place)
        answer.remember(open_person=person)
        return True
    if verdict.action == "confirm":
        card.confirm(answer, verdict, language)
        return True
    return False


def about_the_card(answer: Answer, words: str, place: str | None) -> bool:
    """Answer what is said about a card or an assessment; consent is not needed for that."""
    if why.asks_why(words) and why.explain_advice(answer):
        consulting.ask_again(answer)
        return True
    if card.keep_company(answer, words):
        return True
    action = card.typed_answer(words, answer.state, answer.now_ms)
    if action is None:
        return False
    on_button(answer, action.rpartition(":")[2], place)
    return True


def on_button(answer: Answer, verb: str, place: str | None) -> None:
    """Handle a card's buttons, then come back to what the interview asked."""
    if verb == "why":
        if not why.explain_advice(answer):
            why.say_nothing_advised(answer)
    else:
        card.on_button(answer, verb, place)
    if not any(reply.kind == "emergency" for reply in answer.replies):
        consulting.ask_again(answer)


def ask_consent_after(answer: Answer) -> None:
    """Ask for consent behind a first emergency card."""
    flags: list[str] = (answer.verdict or {}).get("red_flags", [])
    never_asked = answer.state.asking is None and "health" not in answer.state.consents
    # A form is no answer to somebody in despair.
    if never_asked and answer.replies[0].kind == "emergency" and SELF_HARM not in flags:
        # The card's buttons must stay the ones that a typed number means.
        offered = answer.state.offered
        consent.ask_all(answer, welcome=False, kept=False)
        answer.remember(offered=offered)
