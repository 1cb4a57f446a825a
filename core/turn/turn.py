"""One turn: messages in, one completion out.

The order is fixed: command → red-flag triage → consent → photos → plan → interview or model. Only
triage and consent may end a turn early; an emergency card waits for neither consent nor model.
Nothing is written here: effects go through ports, and everything to keep is in the completion.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from core.clock import Clock
from core.dispatch import TurnInput
from core.followup.cadence import arm_of
from core.followup.calendar import ALWAYS_OPEN, OpenDays
from core.followup.plan import propose
from core.followup.risk import modifiers
from core.gather import Event, Waiting, from_json, to_json
from core.interview import known
from core.interview.consult import ConsultState, Step, advance, after_reading, reask
from core.interview.slots import load
from core.interview.state import Assessment
from core.interview.understand import understand
from core.message import Address, Attachment, Inbound, Language
from core.ports import Blobs, Channel, FundusReader
from core.reading import Reading
from core.reply import say
from core.store.completion import Completion
from core.store.due import DueReminder, Planned, planned, relayed_of, reminder_of
from core.store.plans import Plan, latest_plan, offered
from core.store.store import Store
from core.texts import text
from core.triage.cards import SELF_HARM
from core.triage.engine import UNCLEAR, ContextLine, assess
from core.triage.verdict import to_json as verdict_to_json
from core.turn import card, commands, consent, followups, reminders, why
from core.turn.answer import Answer
from core.turn.completion import STATE, to_completion
from core.turn.photos import Sent, is_picture, read_all, worst
from core.turn.state import DialogState
from core.turn.state import from_json as state_from_json
from core.turn.visit_link import visit_link
from core.turn.words import command_of, language_of, spoken_language, typed_button
from core.urgency import Urgency

MAX_TEXT = 20_000
# Longer words than these are a new thought, which the model understands better.
_SHORT_ANSWER = 24


class Assistant(Protocol):
    """Answers free text with a model."""

    def is_ready(self) -> bool:
        """Tell, without waiting, whether asking is worth a try."""
        ...

    async def answer(
        self, answer: Answer, words: str, address: Address, channel: Channel | None
    ) -> bool:
        """Answer the words into `answer`; False when the model failed and nothing was said."""
        ...


@dataclass(frozen=True, slots=True)
class TurnSettings:
    """What an operator decides about turns.

    Attributes:
        language: for people whose language nothing shows.
        zone: IANA zone of the clinic.
        consent_required: ask before anything medical; off only for trials without real patients.
        emergency_place: nearest eye emergency department, shown on the cards, or None.
        alert_staff: emergencies are announced in staff chats too (`core.alerts`).
        open_days: when the clinic is open.
        arms: cadences of reminders to compare (`core.followup.cadence`); fewer than two = none.
        arms_seed: of this comparison.
        public_url: where patients reach our pages, for the link to a booked visit; None = no link.
    """

    language: Language = "zh-Hans"
    zone: str = "Asia/Shanghai"
    consent_required: bool = True
    emergency_place: str | None = None
    alert_staff: bool = False
    open_days: OpenDays = ALWAYS_OPEN
    arms: tuple[str, ...] = ()
    arms_seed: str = ""
    public_url: str | None = None


_Message = tuple[Waiting, Inbound]


@dataclass(frozen=True, slots=True)
class _Heard:
    """What the messages of this turn say together."""

    words: str
    button: str | None
    attachments: tuple[Sent, ...]
    other_attachments: bool


class TurnHandler:
    """Implements `core.dispatch.TurnHandler`.

    Args:
        store: read for plans and reminders only.
        clock: the present.
        settings: see `TurnSettings`.
        channels: by (name, account), to fetch photos and show that we are busy.
        blobs: where photos and cards go.
        reader: the fundus reader, or None when there is none.
        assistant: the model, or None when no LLM is configured.
        foresee: told the words before anything looks them up; returns soon and never fails.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        settings: TurnSettings,
        channels: Mapping[tuple[str, str], Channel],
        blobs: Blobs,
        reader: FundusReader | None,
        assistant: Assistant | None,
        foresee: Callable[[str], Awaitable[None]] | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._settings = settings
        self._channels = channels
        self._blobs = blobs
        self._reader = reader
        self._assistant = assistant
        self._foresee = foresee

    async def __call__(self, turn: TurnInput, lease_token: str) -> Completion:
        """Decide about a turn; see `core.dispatch`."""
        state = self._state(turn)
        answer = Answer(
            state,
            state.language or self._settings.language,
            self._clock.now_ms(),
            state.zone or self._settings.zone,
            state.offered,
            self._settings.alert_staff,
            arm=arm_of(turn.conversation_id, self._settings.arms, self._settings.arms_seed),
            open_days=self._settings.open_days,
        )
        channel = self._channels.get((turn.address.channel, turn.address.account))
        if channel is not None:
            answer.window_ms = channel.capabilities.proactive_window_ms
        if turn.given_up:
            self._give_up(answer, turn)
        elif isinstance(turn.messages[0].what, Event):
            await self._on_event(answer, turn, turn.messages[0].what)
        elif channel is not None:
            async with channel.activity(turn.address, "typing"):
                await self._on_messages(answer, turn, channel)
        else:
            await self._on_messages(answer, turn, channel)
        if answer.wished is not None:
            followups.offer(answer, await self._plan(turn))
        day = followups.booked_day(answer)
        if day is not None and self._settings.public_url:
            link = visit_link(
                self._store.keys,
                turn.conversation_id,
                day,
                public_url=self._settings.public_url,
                language=answer.language,
            )
            answer.say(link)
        return to_completion(
            self._store.keys, answer, turn, lease_token, channel, dead=turn.given_up
        )

    async def _plan(self, turn: TurnInput) -> Plan | None:
        return await self._store.read(latest_plan, turn.conversation_id)

    def _state(self, turn: TurnInput) -> DialogState:
        if turn.state_sealed is None:
            return DialogState()
        return state_from_json(self._store.keys.open_json(STATE, turn.state_sealed))

    def _give_up(self, answer: Answer, turn: TurnInput) -> None:
        answer.outcome = "dead"
        answer.tell_staff("dead_letter", "same_day", why="turn_failed", turn=turn.turn_id)
        if any(isinstance(m.what, Inbound) for m in turn.messages):
            answer.say(say("notice", text(answer.language, "turn.given_up")))

    # -- our own events ------------------------------------------------------------------

    async def _on_event(self, answer: Answer, turn: TurnInput, event: Event) -> None:
        if event.name == "reminder":
            due: DueReminder | None = await self._store.read(reminder_of, event.ref)
            reminders.remind(answer, due)
        elif event.name == "relay":
            relayed = await self._store.read(relayed_of, (event.ref, turn.conversation_id))
            reminders.relayed(answer, relayed)
        else:
            card.on_timer(answer, event.name)

    # -- what a person sent ----------------------------------------------------------------

    async def _on_messages(self, answer: Answer, turn: TurnInput, channel: Channel | None) -> None:
        inbounds = [(w, w.what) for w in turn.messages if isinstance(w.what, Inbound)]
        heard = _hear(inbounds)
        _settle_language(answer, heard.words, inbounds[-1][1], self._settings.language)
        if not inbounds[0][1].private:
            answer.outcome = "refused"
            answer.say(say("notice", text(answer.language, "turn.group")))
            return
        numbered = channel is None or not channel.capabilities.buttons
        button = (
            heard.button
            or typed_button(heard.words, answer.state.offered, numbered=numbered)
            or consent.typed_answer(heard.words, answer.state)
            or card.typed_confirm(heard.words, answer.state)
            or followups.typed_answer(heard.words, answer.state)
            or reminders.typed_command(heard.words)
        )
        command = None if button else command_of(heard.words)
        if command is not None:
            plans: list[Planned] = []
            if command.name == "reminders":
                plans = await self._store.read(planned, turn.conversation_id)
            if command.name == "resume":
                reminders.resume(answer, await self._plan(turn))
            elif command.name == "link":
                query = (reminders.code_hash(command.argument), answer.now_ms)
                kind = await self._store.read(offered, query) if command.argument else None
                reminders.on_link(answer, kind, command.argument)
            else:
                commands.run(
                    answer, command, consent_required=self._settings.consent_required, plans=plans
                )
            return
        if button is not None:
            await self._on_button(answer, turn, button, channel)
            return
        self._learn(answer, heard.words)
        if self._triage(answer, heard.words):
            self._ask_consent_after_emergency(answer)
            if answer.replies[0].kind == "emergency":
                # The card goes out now; pictures that came with the words get the next turn.
                answer.follow_on = [_pictures_alone(m) for _, m in inbounds if m.attachments]
                return
            if not heard.attachments:
                return
            # A doubt about the caption is asked about; the picture is looked at all the same.
        elif not heard.attachments and self._about_the_card(answer, heard.words):
            return
        if self._settings.consent_required and not answer.state.granted("health"):
            self._hold(answer, inbounds)
            return
        await self._consult(answer, turn, inbounds, channel)

    async def _on_button(
        self, answer: Answer, turn: TurnInput, action: str, channel: Channel | None
    ) -> None:
        answer.remember(offered=())
        area = action.split(":")[1] if action.count(":") >= 2 else ""
        match area:
            case "consent":
                held = answer.state.held
                if consent.on_button(answer, action):
                    await self._answer_held(answer, turn, channel)
                if not answer.state.granted("photos") and not answer.state.held:
                    answer.discard += _pictures(held, turn.address)
            case "privacy":
                consent.withdraw(answer, action)
            case "lang":
                commands.set_language(answer, "zh-Hans" if action.endswith("zh") else "en")
            case "triage":
                self._on_triage_button(answer, action.rpartition(":")[2])
            case "plan":
                followups.on_plan_button(answer, action)
            case "remind":
                reminders.on_button(answer, action, await self._plan(turn))
            case "link":
                reminders.on_link_button(answer, action.rpartition(":")[2])
            case "ask":
                self._advance(answer, "", action)
            case "staff":
                card.ask_staff(answer)
            case _:
                answer.say(say("notice", text(answer.language, "turn.button_old")))

    # -- red flags ---------------------------------------------------------------------------

    def _triage(self, answer: Answer, words: str) -> bool:
        """Run the red-flag engine; True when its answer is the turn's answer."""
        if not words:
            return False
        context = [
            ContextLine("patient" if author == "patient" else "service", said)
            for author, said in answer.state.triage_context()
        ]
        person = _person(answer.state, words)
        slots = known.for_triage(answer.state.known, person, load(), answer.now_ms)
        verdict = assess(words, context=context, slots=slots)
        answer.verdict = verdict_to_json(verdict)
        if verdict.flags == (UNCLEAR,) and _answers_interview(answer.state, words):
            return False  # the open question is about just that, and knows what to make of it
        # Whoever is in distress writes in their own language, whatever was chosen before.
        language = language_of(words, None, answer.language) or answer.language
        if verdict.action == "trigger":
            card.emergency(answer, verdict, language, self._settings.emergency_place)
            answer.remember(open_person=person)
            return True
        if verdict.action == "confirm":
            card.confirm(answer, verdict, language)
            return True
        return False

    def _learn(self, answer: Answer, words: str) -> None:
        """Keep what words say about a person for as long as it holds, with their consent."""
        if words and (answer.state.granted("health") or not self._settings.consent_required):
            people = known.learn(
                answer.state.known,
                words,
                load(),
                person=_person(answer.state, words),
                now_ms=answer.now_ms,
            )
            answer.remember(known=dict(people))

    def _about_the_card(self, answer: Answer, words: str) -> bool:
        """Answer what is said about a card or an assessment; consent is not needed for that."""
        if why.asks_why(words) and why.explain_advice(answer):
            self._ask_again(answer)
            return True
        if card.keep_company(answer, words):
            return True
        action = card.typed_answer(words, answer.state, answer.now_ms)
        if action is None:
            return False
        self._on_triage_button(answer, action.rpartition(":")[2])
        return True

    def _on_triage_button(self, answer: Answer, verb: str) -> None:
        if verb == "why":
            if not why.explain_advice(answer):
                why.say_nothing_advised(answer)
        else:
            card.on_button(answer, verb, self._settings.emergency_place)
        if not any(reply.kind == "emergency" for reply in answer.replies):
            self._ask_again(answer)

    def _ask_again(self, answer: Answer) -> None:
        """Come back to the interview's open question."""
        kept = answer.state.consult
        if kept and ConsultState.from_json(kept).pending:
            self._interview(answer, lambda state: reask(state, answer.language, answer.now_ms))

    def _ask_consent_after_emergency(self, answer: Answer) -> None:
        if not self._settings.consent_required or answer.state.granted("health"):
            return
        flags: list[str] = (answer.verdict or {}).get("red_flags", [])
        never_asked = answer.state.asking is None and "health" not in answer.state.consents
        # A form is no answer to somebody in despair.
        if never_asked and answer.replies[0].kind == "emergency" and SELF_HARM not in flags:
            # The card's buttons must stay the ones that a typed number means.
            offered = answer.state.offered
            consent.ask_all(answer, welcome=False, kept=False)
            answer.remember(offered=offered)

    # -- consent -------------------------------------------------------------------------------

    def _hold(self, answer: Answer, inbounds: Sequence[_Message]) -> None:
        first = answer.state.asking is None and "health" not in answer.state.consents
        answer.state = _holding(answer.state, inbounds)
        answer.outcome = "held"
        if first:
            consent.ask_all(answer, welcome=True, kept=True)
        else:
            answer.say(consent.ask_again(answer.language))

    async def _answer_held(self, answer: Answer, turn: TurnInput, channel: Channel | None) -> None:
        held = answer.state.held
        answer.remember(held=())
        inbounds = [
            (Waiting(inbox_id, message_id, data["sequence"], answer.now_ms, message), message)
            for message_id, inbox_id, data in held
            for message in (from_json(data, turn.address, message_id),)
        ]
        await self._consult(answer, turn, inbounds, channel)

    # -- photos, plans, interview, model ---------------------------------------------------------

    async def _consult(
        self,
        answer: Answer,
        turn: TurnInput,
        inbounds: Sequence[_Message],
        channel: Channel | None,
    ) -> None:
        heard = _hear(inbounds)
        self._learn(answer, heard.words)
        if heard.attachments:
            if self._settings.consent_required and not answer.state.granted("photos"):
                answer.state = _holding(answer.state, inbounds)
                answer.outcome = "held"
                needed = "consent.photos_needed"
                answer.say(consent.ask_one(answer.language, "photos", key=needed))
                return
            await self._photos(answer, heard, channel)
            return
        if not heard.words:
            answer.outcome = "refused"
            answer.say(say("notice", text(answer.language, "turn.only_text_and_photos")))
            return
        if len(heard.words) > MAX_TEXT:
            answer.outcome = "refused"
            answer.say(say("notice", text(answer.language, "turn.too_long")))
            return
        if await self._about_a_visit(answer, turn, heard.words):
            return
        await self._words(answer, turn, heard.words, channel)
        if heard.other_attachments:
            answer.say(say("notice", text(answer.language, "turn.only_text_and_photos")))

    async def _about_a_visit(self, answer: Answer, turn: TurnInput, words: str) -> bool:
        """Take words about a planned visit; False when they are about something else."""
        action = reminders.spoken_answer(words, answer.state)
        is_visit = followups.is_about_a_visit(answer, words)
        if action is None and not is_visit:
            return False
        plan = await self._plan(turn)
        if is_visit and followups.on_words(answer, words, plan):
            return True
        if action is not None:
            reminders.on_button(answer, action, plan)
        return action is not None

    async def _photos(self, answer: Answer, heard: _Heard, channel: Channel | None) -> None:
        readings = await read_all(
            answer,
            heard.attachments,
            caption=heard.words,
            channel=channel,
            blobs=self._blobs,
            reader=self._reader,
        )
        reading = worst(readings)
        if reading is None:
            return
        self._interview(
            answer,
            lambda state: after_reading(
                state,
                reading,
                language=answer.language,
                now_ms=answer.now_ms,
                kept=self._kept(answer),
                floor=_floor(answer),
            ),
            reading=reading,
        )

    async def _words(
        self, answer: Answer, turn: TurnInput, words: str, channel: Channel | None
    ) -> None:
        assistant = self._assistant
        if self._foresee is not None and not _answers_interview(answer.state, words):
            await self._foresee(words)
        if assistant is not None and not _answers_interview(answer.state, words):
            if assistant.is_ready() and await assistant.answer(
                answer, words, turn.address, channel
            ):
                return
            if answer.now_ms - answer.state.told_model_down_at_ms > 3_600_000:
                answer.remember(told_model_down_at_ms=answer.now_ms)
                answer.say(say("notice", text(answer.language, "turn.model_down")))
        self._advance(answer, words, None)

    def _advance(self, answer: Answer, words: str, button: str | None) -> None:
        self._interview(
            answer,
            lambda state: advance(
                state,
                text=words,
                button=button,
                language=answer.language,
                now_ms=answer.now_ms,
                kept=self._kept(answer),
                floor=_floor(answer, words),
            ),
        )

    def _kept(self, answer: Answer) -> dict[str, dict[str, str]]:
        people = answer.state.known
        return {p: known.facts(people, p, load(), answer.now_ms) for p in people}

    def _interview(
        self,
        answer: Answer,
        step: Callable[[ConsultState | None], Step],
        *,
        reading: Reading | None = None,
    ) -> None:
        """Take one step of the guided consult and propose the follow-up it leads to."""
        kept = answer.state.consult
        result = step(ConsultState.from_json(kept) if kept else None)
        answer.remember(consult=result.state.to_json() if result.state else None)
        answer.say(*result.replies)
        if result.state is not None:
            people = known.remember(
                answer.state.known,
                result.state.slots,
                load(),
                person="self",
                now_ms=answer.now_ms,
            )
            answer.remember(known=dict(people))
        if result.assessment is not None:
            self._assessed(answer, result.assessment)
        is_asking = result.state is not None and result.state.pending is not None
        proposal = (
            None
            if is_asking
            else propose(
                reading, result.assessment, modifiers=self._risk(answer, result.assessment)
            )
        )
        if proposal is not None:
            followups.propose(answer, proposal)

    def _risk(self, answer: Answer, assessment: Assessment | None) -> frozenset[str]:
        """Return what is known about the person and makes a visit due sooner."""
        person = assessment.slots.get("person", "self") if assessment else "self"
        slots = known.for_triage(answer.state.known, person, load(), answer.now_ms)
        said = [words for _, words in answer.state.facts] if person == "self" else []
        return modifiers(slots, said)

    def _assessed(self, answer: Answer, assessment: Assessment) -> None:
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


def _person(state: DialogState, words: str) -> str:
    """Return whom words are about: who they name, else whom the interview is about."""
    named = understand(words, load()).get("person") if words else None
    consult = ConsultState.from_json(state.consult) if state.consult else None
    return named or (consult.slots.get("person", "self") if consult else "self")


def _floor(answer: Answer, words: str = "") -> Urgency:
    return card.floor(answer.state, _person(answer.state, words), answer.now_ms)


def _answers_interview(state: DialogState, words: str) -> bool:
    """Tell whether words look like the answer to the interview's open question."""
    pending = state.consult is not None and ConsultState.from_json(state.consult).pending
    return bool(pending) and len(words) <= _SHORT_ANSWER


def _pictures_alone(message: Inbound) -> Inbound:
    return replace(message, text="", message_id=f"{message.message_id}:pictures")


def _pictures(
    held: Sequence[tuple[str, int, dict[str, Any]]], address: Address
) -> list[Attachment]:
    """Return the attachments of held messages."""
    return [
        attachment
        for message_id, _, data in held
        for attachment in from_json(data, address, message_id).attachments
    ]


def _holding(state: DialogState, inbounds: Sequence[_Message]) -> DialogState:
    for waiting, message in inbounds:
        state = state.holding(waiting.message_id, waiting.inbox_id, to_json(message))
    return state


def _hear(inbounds: Sequence[_Message]) -> _Heard:
    """Put the messages of a turn together."""
    pictures: list[Sent] = []
    others = False
    for waiting, inbound in inbounds:
        for position, attachment in enumerate(inbound.attachments):
            if is_picture(attachment):
                pictures.append(Sent(waiting.inbox_id, position, attachment))
            else:
                others = True
    words = "\n".join(i.text for _, i in inbounds if i.text.strip())
    return _Heard(words, inbounds[0][1].button, tuple(pictures), others)


def _settle_language(answer: Answer, words: str, message: Inbound, default: Language) -> None:
    """Answer in the language of the words; a language that was chosen stays."""
    if answer.state.language is None:
        found = language_of(words, message.language_hint, default)
    elif answer.state.language_chosen:
        found = None
    else:
        found = spoken_language(words)
    if found is not None and found != answer.state.language:
        answer.remember(language=found)
        answer.language = found
