"""One turn: messages in, one completion out.

The order is fixed: command → red-flag triage → consent → photos → plan → interview or model. Only
triage and consent may end a turn early; an emergency card waits for neither consent nor model.
Nothing is written here: effects go through ports, and everything to keep is in the completion.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from core.clock import Clock
from core.dispatch import INBOX_BODY, TurnInput
from core.drift import Tallies
from core.followup.cadence import arm_of
from core.followup.calendar import ALWAYS_OPEN, OpenDays
from core.gather import Event, from_json
from core.message import Address, Inbound, Language
from core.ports import Blobs, Channel, FundusReader
from core.reply import say
from core.store.completion import Completion
from core.store.due import DueReminder, Planned, planned, relayed_of, reminder_of
from core.store.hand_back import last_said
from core.store.plans import Plan, latest_plan, offered
from core.store.record import photo_at
from core.store.store import Store
from core.store.voices import message_of, open_tasks_of
from core.texts import text
from core.turn import (
    calendar_note,
    card,
    commands,
    consent,
    consulting,
    followups,
    red_flags,
    reminders,
    taken_over,
    voices,
    which_eye,
)
from core.turn.answer import Answer
from core.turn.completion import READING, STATE, to_completion
from core.turn.hearing import (
    Heard,
    Message,
    beside_the_words,
    hear,
    holding,
    not_allowed,
    settle_language,
    unheld,
)
from core.turn.photos import read_all
from core.turn.state import DialogState
from core.turn.state import from_json as state_from_json
from core.turn.words import Command, command_of, typed_button

MAX_TEXT = 20_000


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
        tallies: told every reading, for the metrics.
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
        tallies: Tallies | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._settings = settings
        self._channels = channels
        self._blobs = blobs
        self._reader = reader
        self._assistant = assistant
        self._foresee = foresee
        self._tallies = tallies

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
            answer.takes_files = channel.capabilities.documents
        if turn.takeover_id is not None:
            rows = await self._store.read(last_said, turn.conversation_id)
            answer.state = taken_over.remembering(answer.state, rows, self._store.keys)
        if turn.given_up:
            self._give_up(answer, turn)
        elif isinstance(turn.messages[0].what, Event):
            await self._on_event(answer, turn, turn.messages[0].what)
        elif turn.takeover_id is not None:
            await self._while_staff_answer(answer, turn, channel)
        elif channel is not None:
            async with channel.activity(turn.address, "typing"):
                await self._on_messages(answer, turn, channel)
        else:
            await self._on_messages(answer, turn, channel)
        if answer.wished is not None:
            followups.offer(answer, await self._plan(turn))
        if calendar_note.has_news(answer, was_asked=state.awaiting):
            await self._say_calendar(answer, turn)
        return to_completion(
            self._store.keys, answer, turn, lease_token, channel, dead=turn.given_up
        )

    async def _say_calendar(self, answer: Answer, turn: TurnInput) -> None:
        keys, chat = self._store.keys, turn.conversation_id
        visit = calendar_note.visit_of(answer, await self._plan(turn), keys, chat)
        if visit is None:
            return
        note = calendar_note.calendar_note(
            visit,
            keys,
            chat,
            public_url=self._settings.public_url,
            takes_files=answer.takes_files,
        )
        if note is not None:
            answer.say(note)

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
            if turn.takeover_id is None or not taken_over.put_off(answer, due):
                reminders.remind(answer, due)
        elif event.name == "relay":
            relayed = await self._store.read(relayed_of, (event.ref, turn.conversation_id))
            reminders.relayed(answer, relayed)
        elif (recording := voices.due_of(event.name)) is not None:
            await self._keep_voices(answer, turn, recording)
        else:
            card.on_timer(answer, event.name)

    async def _keep_voices(self, answer: Answer, turn: TurnInput, due: tuple[int, int]) -> None:
        found = await self._store.read(message_of, (turn.conversation_id, due[0]))
        answer.outcome = "ignored"
        if found is None or found[1] is None or self._needs_consent(answer):
            return  # erased, or consent was taken back meanwhile
        body = self._store.keys.open_json(INBOX_BODY, found[1])
        message = from_json(body, turn.address, found[0])
        channel = self._channels.get((turn.address.channel, turn.address.account))
        await voices.keep(answer, due, message, channel, self._blobs)

    # -- what a person sent ----------------------------------------------------------------

    async def _on_messages(self, answer: Answer, turn: TurnInput, channel: Channel | None) -> None:
        inbounds = [(w, w.what) for w in turn.messages if isinstance(w.what, Inbound)]
        heard = hear(inbounds)
        settle_language(answer, heard.words, inbounds[-1][1], self._settings.language)
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
        if command is not None or button is not None:
            answer.follow_on = beside_the_words(inbounds)
        if command is not None:
            await self._on_command(answer, turn, command)
            return
        if button is not None:
            await self._on_button(answer, turn, button, channel)
            return
        self._learn(answer, heard.words)
        place, needs_consent = self._settings.emergency_place, self._needs_consent(answer)
        if not needs_consent:
            voices.schedule(answer, [v for v in heard.voices if v.attachment.transcribed])
        if red_flags.look(answer, heard.words, place):
            if needs_consent:
                red_flags.ask_consent_after(answer)
            if answer.replies[0].kind == "emergency":
                # The card goes out now; what came with the words gets the next turn.
                answer.follow_on = beside_the_words(inbounds)
                return
            if not heard.attachments and not heard.unheard:
                return
            # A doubt about the caption is asked about; the picture is looked at all the same.
        elif not (heard.attachments or heard.unheard) and red_flags.about_the_card(
            answer, heard.words, place
        ):
            return
        if needs_consent:
            self._hold(answer, inbounds, heard)
            return
        await self._consult(answer, turn, inbounds, channel)

    async def _on_command(self, answer: Answer, turn: TurnInput, command: Command) -> None:
        match command.name:
            case "resume":
                reminders.resume(answer, await self._plan(turn))
            case "link":
                query = (reminders.code_hash(command.argument), answer.now_ms)
                kind = await self._store.read(offered, query) if command.argument else None
                reminders.on_link(answer, kind, command.argument)
            case name:
                plans: list[Planned] = []
                if name == "reminders":
                    plans = await self._store.read(planned, turn.conversation_id)
                required = self._settings.consent_required
                commands.run(answer, command, consent_required=required, plans=plans)

    async def _while_staff_answer(
        self, answer: Answer, turn: TurnInput, channel: Channel | None
    ) -> None:
        """Hear, but leave the answer to staff; see `core.turn.taken_over`."""
        inbounds = [(w, w.what) for w in turn.messages if isinstance(w.what, Inbound)]
        heard = hear(inbounds)
        settle_language(answer, heard.words, inbounds[-1][1], self._settings.language)
        command = None if heard.button else command_of(heard.words)
        button = (
            heard.button
            or card.typed_confirm(heard.words, answer.state)
            or reminders.typed_command(heard.words)
        )
        if command is not None and command.name not in ("reminders", "resume", "link"):
            answer.follow_on = beside_the_words(inbounds)
            commands.run(
                answer, command, consent_required=self._settings.consent_required, plans=[]
            )
            return
        if button is not None and button.split(":")[1] not in taken_over.FOR_STAFF:
            held = answer.state.held
            answer.follow_on = beside_the_words(inbounds)
            if button.split(":")[1] != "consent":
                await self._on_button(answer, turn, button, channel)
            elif consent.on_button(answer, button):
                answer.remember(held=())
                await self._show_staff(answer, unheld(held, turn.address, answer.now_ms), channel)
            return
        answer.outcome = "handed"
        self._learn(answer, heard.words)
        if red_flags.look(answer, heard.words, self._settings.emergency_place):
            answer.outcome = "answered"
            taken_over.say_a_person_is_there(answer)
        await self._show_staff(answer, inbounds, channel)

    async def _show_staff(
        self, answer: Answer, inbounds: Sequence[Message], channel: Channel | None
    ) -> None:
        """Read the photos and keep what the reader says for staff; the patient hears it of them."""
        heard = hear(inbounds)
        if heard.voices and self._needs_consent(answer):
            answer.state = holding(answer.state, inbounds)
            answer.outcome = "held"
            answer.say(consent.ask_again(answer.language))
            return
        voices.schedule(answer, heard.voices)
        if not heard.attachments:
            return
        if self._settings.consent_required and not answer.state.granted("photos"):
            answer.state = holding(answer.state, inbounds)
            if answer.outcome == "handed":
                answer.outcome = "held"
            needed = "consent.photos_needed"
            answer.say(consent.ask_one(answer.language, "photos", key=needed))
            return
        said, outcome = list(answer.replies), answer.outcome
        await read_all(
            answer,
            heard.attachments,
            caption=heard.words,
            channel=channel,
            blobs=self._blobs,
            reader=self._reader,
            tallies=self._tallies,
        )
        answer.replies, answer.outcome = said, outcome

    async def _on_button(
        self, answer: Answer, turn: TurnInput, action: str, channel: Channel | None
    ) -> None:
        answer.remember(offered=())
        area = action.split(":")[1] if action.count(":") >= 2 else ""
        match area:
            case "consent":
                await self._on_consent_button(answer, turn, action, channel)
            case "privacy":
                consent.withdraw(answer, action)
            case "lang":
                commands.set_language(answer, "zh-Hans" if action.endswith("zh") else "en")
            case "triage":
                verb = action.rpartition(":")[2]
                red_flags.on_button(answer, verb, self._settings.emergency_place)
            case "plan":
                followups.on_plan_button(answer, action)
            case "remind":
                reminders.on_button(answer, action, await self._plan(turn))
            case "link":
                reminders.on_link_button(answer, action.rpartition(":")[2])
            case "ask":
                consulting.on_words(answer, "", action)
            case "eye":
                await self._on_eye_button(answer, turn, action)
            case "staff":
                card.ask_staff(answer)
            case _:
                answer.say(say("notice", text(answer.language, "turn.button_old")))

    async def _on_consent_button(
        self, answer: Answer, turn: TurnInput, action: str, channel: Channel | None
    ) -> None:
        held = answer.state.held
        if consent.on_button(answer, action):
            await self._answer_held(answer, turn, channel)
        if not answer.state.held:
            answer.discard += not_allowed(held, turn.address, answer.state)

    async def _on_eye_button(self, answer: Answer, turn: TurnInput, action: str) -> None:
        place = which_eye.open_place(answer)
        found = None
        if place is not None:
            found = await self._store.read(photo_at, (turn.conversation_id, *place))
        reading = None
        if found is not None and found.reading_sealed is not None:
            reading = self._store.keys.open_json(READING, found.reading_sealed)
        which_eye.answered(answer, action, found.id if found else None, reading)

    def _learn(self, answer: Answer, words: str) -> None:
        if words and not self._needs_consent(answer):
            consulting.learn(answer, words)

    # -- consent -------------------------------------------------------------------------------

    def _needs_consent(self, answer: Answer) -> bool:
        return self._settings.consent_required and not answer.state.granted("health")

    def _hold(self, answer: Answer, inbounds: Sequence[Message], heard: Heard) -> None:
        first = answer.state.asking is None and "health" not in answer.state.consents
        answer.state = holding(answer.state, inbounds)
        answer.outcome = "held"
        if heard.unheard:
            voices.before_consent(answer)
        if first:
            consent.ask_all(answer, welcome=True, kept=True)
        else:
            answer.say(consent.ask_again(answer.language))

    async def _answer_held(self, answer: Answer, turn: TurnInput, channel: Channel | None) -> None:
        held = answer.state.held
        answer.remember(held=())
        await self._consult(answer, turn, unheld(held, turn.address, answer.now_ms), channel)

    # -- photos, plans, interview, model ---------------------------------------------------------

    async def _consult(
        self,
        answer: Answer,
        turn: TurnInput,
        inbounds: Sequence[Message],
        channel: Channel | None,
    ) -> None:
        heard = hear(inbounds)
        self._learn(answer, heard.words)
        voices.schedule(answer, heard.voices)
        if heard.unheard:
            await self._tell_of_voices(answer, turn, heard)
        if heard.attachments:
            if self._settings.consent_required and not answer.state.granted("photos"):
                answer.state = holding(answer.state, inbounds)
                answer.outcome = "held"
                needed = "consent.photos_needed"
                answer.say(consent.ask_one(answer.language, "photos", key=needed))
                return
            await self._photos(answer, heard, channel)
            return
        if not heard.words and heard.unheard:
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

    async def _tell_of_voices(self, answer: Answer, turn: TurnInput, heard: Heard) -> None:
        tasks = await self._store.read(open_tasks_of, turn.conversation_id)
        earlier = voices.open_task(self._store.keys, tasks)
        if heard.words or heard.attachments:
            voices.tell(answer, earlier)
        else:
            voices.tell_alone(answer, earlier)

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

    async def _photos(self, answer: Answer, heard: Heard, channel: Channel | None) -> None:
        readings = await read_all(
            answer,
            heard.attachments,
            caption=heard.words,
            channel=channel,
            blobs=self._blobs,
            reader=self._reader,
            tallies=self._tallies,
        )
        consulting.on_readings(answer, readings)

    async def _words(
        self, answer: Answer, turn: TurnInput, words: str, channel: Channel | None
    ) -> None:
        assistant = self._assistant
        if self._foresee is not None and not consulting.answers_interview(answer.state, words):
            await self._foresee(words)
        if assistant is not None and not consulting.answers_interview(answer.state, words):
            if assistant.is_ready() and await assistant.answer(
                answer, words, turn.address, channel
            ):
                return
            if answer.now_ms - answer.state.told_model_down_at_ms > 3_600_000:
                answer.remember(told_model_down_at_ms=answer.now_ms)
                answer.say(say("notice", text(answer.language, "turn.model_down")))
        consulting.on_words(answer, words, None)
