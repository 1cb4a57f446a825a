"""The emergency card in conversation: what its buttons promise, and what follows without one.

Every button may also be said in words. What the patient says is kept with the staff's task, so
that whoever looks at the worklist knows whether somebody is on the way. Nothing here asks a model.
"""

from __future__ import annotations

import re
from typing import Any

from core.clinic import clinic, with_hours
from core.followup.ladder import out_of_quiet_hours
from core.interview.slots import load
from core.interview.understand import normalise, understand
from core.message import Language
from core.reply import Button, Paragraph, Reply, paragraph, say
from core.texts import text
from core.triage.cards import (
    SELF_HARM,
    ConfirmAnswer,
    after_confirm,
    card,
    confirm_question,
    first_aid_line,
)
from core.triage.verdict import Verdict, from_json, to_json
from core.turn.answer import Answer
from core.turn.state import DialogState
from core.urgency import Urgency

FIRST_AID = "first_aid"
ARRIVAL = "arrival"
NO_ARRIVAL = "no_arrival"
UNANSWERED = "unanswered"
TIMERS = (FIRST_AID, ARRIVAL, NO_ARRIVAL, UNANSWERED)

_FIRST_AID_AFTER_MS = 5 * 60_000  # specification §2.2
_ARRIVAL_AFTER_MS = 2 * 3_600_000
_STAFF_AFTER_MS = 2 * 3_600_000
# Nobody pressed anything: a person calls (specification §4).
_UNANSWERED_AFTER_MS = {Urgency.IMMEDIATE: 2 * 3_600_000, Urgency.SAME_DAY: 24 * 3_600_000}
# A card is talked about for so long; afterwards "I will go later" means something else.
_OPEN_FOR_MS = 48 * 3_600_000
_DISTRESS_FOR_MS = 24 * 3_600_000
_URGENT = (Urgency.IMMEDIATE, Urgency.SAME_DAY)
_CONFIRM_ANSWERS: tuple[ConfirmAnswer, ...] = ("now_me", "now_other", "just_asking")

_OTHERS = re.compile(
    r"身边的人|家里人|家人|妈|爸|老婆|老公|爱人|孩子|儿子|女儿|奶奶|爷爷|外婆|外公|朋友|同事|邻居"
    r"|别人|someone|somebody"
    r"|my (?:mum|mom|mother|dad|father|wife|husband|son|daughter|child|friend)"
)
_DENIED = re.compile(
    r"^(?:不是|没有|没|不|只是|就是)?(?:只是|就是)?(?:随便)?(?:问问|了解|好奇|想知道|看看|咨询)"
    r"|^(?:不是|没有|没|不|否)(?:的|了|啊|发生|现在)*$"
    r"|^(?:no+|nope|not now|not happening)?[ ,]*(?:i.?m |i am |i was )?just (?:asking|curious)"
    r"|^(?:no|nope|nah|not now|not happening|not really)$"
)
_AFFIRMED = re.compile(
    r"^(?:是的?|对的?|嗯+|有|有的|正在|现在|没错|就是)(?:现在|正在|刚刚|刚才|发生|的|了|啊|呀|我|本人|自己)*$"
    r"|^(?:yes|yeah|yep|y|correct|right now|it is|now|happening)"
    r"(?:[ ,]+(?:now|it is|me|to me|right now|happening))*$"
)


# -- sending ---------------------------------------------------------------------------------


def emergency(answer: Answer, verdict: Verdict, language: Language, place: str | None) -> None:
    """Send the card, tell staff, and remember what is open.

    Args:
        answer: the turn.
        verdict: with at least one flag.
        language: of whoever wrote the words.
        place: nearest eye emergency department, or None.
    """
    answer.timers += [(name, None) for name in TIMERS]
    answer.remember(confirming=None, consult=None, advice=_advice(answer, verdict))
    if SELF_HARM in verdict.flags:
        answer.remember(distress_at_ms=answer.now_ms)
    if verdict.flags != (SELF_HARM,):
        answer.remember(
            open_urgency=str(verdict.urgency),
            open_since_ms=answer.now_ms,
            open_person=_person(answer),
            refused=False,
        )
        if verdict.urgency in _UNANSWERED_AFTER_MS:
            due_ms = answer.now_ms + _UNANSWERED_AFTER_MS[verdict.urgency]
            answer.timers.append((UNANSWERED, due_ms))
    answer.tell_staff(
        "emergency",
        str(verdict.urgency),
        alert=verdict.flags,
        flags=list(verdict.flags),
        verdict=to_json(verdict),
    )
    answer.say(card(verdict, language, emergency_place=clinic().emergency_place or place))


def confirm(answer: Answer, verdict: Verdict, language: Language) -> None:
    """Ask whether it is happening now; without an answer, first aid follows."""
    answer.remember(confirming=to_json(verdict), advice=_advice(answer, verdict))
    answer.timers.append((FIRST_AID, answer.now_ms + _FIRST_AID_AFTER_MS))
    answer.say(confirm_question(verdict, language))


def _advice(answer: Answer, verdict: Verdict) -> dict[str, object]:
    return {"kind": "triage", "at_ms": answer.now_ms, "data": to_json(verdict)}


def _rests_on(state: DialogState) -> dict[str, Any]:
    """Return what the open card or assessment rests on, for whoever calls the patient."""
    if state.advice is None:
        return {}
    kind = "verdict" if state.advice["kind"] == "triage" else "assessment"
    return {kind: state.advice["data"]}


def _person(answer: Answer) -> str:
    consult = answer.state.consult or {}
    slots: dict[str, str] = consult.get("slots", {})
    return slots.get("person", "self")


# -- what comes by itself --------------------------------------------------------------------


def on_timer(answer: Answer, name: str) -> None:
    """Say what was promised for when nobody answered."""
    state = answer.state
    if name == FIRST_AID and state.confirming is not None:
        asked = from_json(state.confirming)
        answer.say(first_aid_line(asked.flags, answer.language))
        if asked.urgency is Urgency.IMMEDIATE:
            # It may be happening to somebody who cannot answer. A person looks at it today.
            answer.tell_staff(
                "human", str(Urgency.SAME_DAY), why="confirm_unanswered", verdict=to_json(asked)
            )
    elif name == ARRIVAL and state.open_urgency:
        answer.timers.append((NO_ARRIVAL, answer.now_ms + _STAFF_AFTER_MS))
        buttons = (_buttons(answer.language, "seen", "not_seen", "staff"),)
        answer.say(say("question", text(answer.language, "turn.arrival"), buttons=buttons))
    elif name in (NO_ARRIVAL, UNANSWERED) and state.open_urgency:
        answer.outcome = "handed"
        answer.tell_staff(
            "emergency",
            state.open_urgency,
            alert=(name,),
            why=name,
            **_rests_on(state),
        )
    else:
        answer.outcome = "ignored"


# -- what a person answers -------------------------------------------------------------------


def typed_answer(words: str, state: DialogState, now_ms: int) -> str | None:
    """Return the action of a button that was said in words; red-flag triage has run before.

    Args:
        words: what was written.
        state: the dialog so far.
        now_ms: the present.
    """
    if not is_open(state, now_ms):
        return None
    talk, plain = load().talk, normalise(words)
    for name, action in (
        ("seen", "seen"),
        ("arrived", "arrived"),
        ("refuse", "not_now"),
        ("going", "going"),
    ):
        if talk[name].search(plain):
            return f"v1:triage:{action}"
    return None


def typed_confirm(words: str, state: DialogState) -> str | None:
    """Return the action that plain words give to the open question "is this happening now?"."""
    if state.confirming is None or not any(a.startswith("v1:triage:") for _, a in state.offered):
        return None
    plain = normalise(words).strip("。.!！?？,， ")
    if len(plain) > 40:
        return None
    if plain.startswith(("不是我", "not me")) and _OTHERS.search(plain):
        return "v1:triage:now_other"
    bare = re.sub(r"[，,。.!！ ]+", "" if re.search(r"[㐀-鿿]", plain) else " ", plain)
    if _DENIED.search(bare):
        return "v1:triage:just_asking"
    if _AFFIRMED.fullmatch(bare):
        return "v1:triage:now_me"
    if re.match(r"是|对|嗯|yes|yeah|it'?s", plain) and _OTHERS.search(plain):
        return "v1:triage:now_other"
    return None


def is_open(state: DialogState, now_ms: int) -> bool:
    """Tell whether a card was sent lately and its matter is not settled."""
    return bool(state.open_urgency) and now_ms - state.open_since_ms <= _OPEN_FOR_MS


def floor(state: DialogState, person: str, now_ms: int) -> Urgency:
    """Return the class below which nothing may be said of this person."""
    if not is_open(state, now_ms) or state.open_person != person:
        return Urgency.NONE
    return Urgency(state.open_urgency)


def on_button(answer: Answer, verb: str, place: str | None) -> None:
    """Handle the buttons of card, confirm question and arrival question."""
    state, language = answer.state, answer.language
    confirmed: ConfirmAnswer | None = next((c for c in _CONFIRM_ANSWERS if c == verb), None)
    if confirmed is not None and state.confirming is not None:
        _settle(answer, confirmed, place)
    elif verb == "staff":
        ask_staff(answer)
    elif verb == "safe" and is_in_distress(state, answer.now_ms):
        answer.patient_said = "safe"
        answer.say(say("answer", text(language, "turn.distress.safe"), buttons=_staff(language)))
    elif verb in ("going", "arrived", "seen", "not_now", "not_seen") and state.open_urgency:
        _on_open_card(answer, verb, place)
    elif verb in ("going", "not_now"):
        answer.say(say("notice", text(language, "turn.card_settled")))
    else:
        answer.say(say("notice", text(language, "turn.button_old")))


def _settle(answer: Answer, how: ConfirmAnswer, place: str | None) -> None:
    asked = from_json(answer.state.confirming or {})
    verdict, reply = after_confirm(asked, how, answer.language)
    answer.remember(confirming=None)
    answer.timers.append((FIRST_AID, None))
    answer.verdict = to_json(verdict)
    if verdict.action == "trigger":
        if how == "now_other" and answer.state.open_person == "self":
            answer.remember(open_person="other")
        emergency(answer, verdict, answer.language, place)
    else:
        answer.remember(advice=None)
        answer.say(reply)


def _on_open_card(answer: Answer, verb: str, place: str | None) -> None:
    answer.patient_said = verb
    answer.timers += [(ARRIVAL, None), (NO_ARRIVAL, None), (UNANSWERED, None)]
    if verb in ("going", "arrived"):
        due_ms = answer.now_ms + _ARRIVAL_AFTER_MS
        awake_ms = out_of_quiet_hours(due_ms, answer.zone, spread=answer.now_ms // 60_000)
        answer.timers.append((ARRIVAL, awake_ms))
        answer.say(say("notice", text(answer.language, f"turn.{verb}")))
    elif verb == "seen":
        answer.remember(open_urgency="", refused=False)
        answer.say(say("notice", text(answer.language, "turn.seen")))
    else:
        _refuse(answer, place)


def _refuse(answer: Answer, place: str | None) -> None:
    """State the risk once, offer the nearest way, and let staff know; never argue."""
    language, state = answer.language, answer.state
    place = clinic().emergency_place or place
    nearest = (
        text(language, "turn.nearest", place=place) if place else text(language, "turn.nearest_any")
    )
    if state.refused:
        lines = [text(language, "turn.not_now_again"), nearest]
    else:
        answer.remember(refused=True)
        answer.tell_staff(
            "emergency",
            state.open_urgency,
            alert=("refused",),
            why="refused_to_go",
            **_rests_on(state),
        )
        risk = "immediate" if state.open_urgency == Urgency.IMMEDIATE else "same_day"
        lines = [text(language, f"turn.not_now.{risk}"), nearest, text(language, "turn.still_go")]
    answer.say(
        Reply(
            "notice",
            tuple(paragraph(line) for line in lines),
            (_buttons(language, "going", "staff"),),
        )
    )


def ask_staff(answer: Answer) -> None:
    """Hand the conversation to a person and say so."""
    urgency = answer.state.open_urgency or "2_weeks"
    if is_in_distress(answer.state, answer.now_ms):
        urgency = str(Urgency.IMMEDIATE)
    alert = ("asked",) if Urgency(urgency) in _URGENT else ()
    answer.tell_staff("human", urgency, alert=alert, why="asked")
    answer.outcome = "handed"
    answer.say(say("notice", with_hours(answer.language, text(answer.language, "turn.human"))))


# -- somebody who may harm themselves ----------------------------------------------------------


def is_in_distress(state: DialogState, now_ms: int) -> bool:
    """Tell whether somebody spoke of harming themselves within a day."""
    return bool(state.distress_at_ms) and now_ms - state.distress_at_ms <= _DISTRESS_FOR_MS


def keep_company(answer: Answer, words: str) -> bool:
    """Answer somebody in distress as a person in distress; False when they ask about eyes.

    Nothing here leads back to questions about eyes by itself.
    """
    if not is_in_distress(answer.state, answer.now_ms):
        return False
    data = load()
    plain, found = normalise(words), understand(words, data)
    is_low = bool(data.talk["distress"].search(plain))
    said = {k for k, v in found.items() if v not in ("no", "none")} - {"person", "age", "recent"}
    if not is_low and (
        said - {"onset", "trend", "purpose"} or data.talk["education"].search(plain)
    ):
        return False
    language = answer.language
    key = "calm" if data.talk["calm"].search(plain) and not is_low else "here"
    answer.say(
        Reply(
            "answer",
            (
                paragraph(text(language, f"turn.distress.{key}")),
                Paragraph((*paragraph(text(language, "turn.distress.lines")).spans,)),
            ),
            _staff(language),
        )
    )
    return True


def _staff(language: Language) -> tuple[tuple[Button, ...], ...]:
    return ((Button(text(language, "triage.button.staff"), "v1:triage:staff"),),)


def _buttons(language: Language, *names: str) -> tuple[Button, ...]:
    return tuple(Button(text(language, f"triage.button.{n}"), f"v1:triage:{n}") for n in names)
