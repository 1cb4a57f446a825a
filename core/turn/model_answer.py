"""Lets the model answer free text: prompt, tools, growing draft, and the checks before sending.

Whatever goes wrong, the caller hears "no" within ten seconds and the guided consult takes over.
Nothing is written here: what the model's tools wish for becomes part of the turn's completion.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from zoneinfo import ZoneInfo

import structlog

from core.agent import context, tools
from core.agent.contradiction import Contradiction, Known, contradictions
from core.agent.limits import Limits
from core.agent.loop import AgentAnswer, Tool, ToolRole, converse
from core.agent.prompt import Passage, prompt_version, system_prompt, with_sources
from core.agent.safety import care_of, check, showable
from core.agent.summary import summary
from core.clinic import with_hours
from core.errors import ModelBusy, ModelUnavailable, PatientError, TransientError
from core.knowledge.search import Hit, search, title_of, words_of
from core.markdown import parse
from core.message import Address, Language
from core.ports import Channel, ChatMessage, ChatModel, Draft
from core.reading import Reading
from core.reply import Reply, paragraph, say
from core.store.record import Record, record_of
from core.store.store import Store
from core.texts import text
from core.turn import followups
from core.turn.answer import Answer
from core.turn.completion import READING
from core.turn.photos import reading_from_json, worst
from core.turn.reading_answer import explain
from core.urgency import Urgency

log = structlog.get_logger(__name__)

# The promise is an honest word within 10 s; the rest is left for the consult and a slow machine.
_FIRST_WORD_S = 7.5
_SILENCE_S = 15.0
_PASSAGES = 3
# Share of the prompt that passages may take at most.
_PASSAGE_SHARE = 0.3
_PASSAGE_TOKENS = 1500


@dataclass(slots=True)
class _Ground:
    """What one answer stands on.

    Attributes:
        known: what it must not contradict.
        photos: readings by the id the model knows, newest last; None = not read yet.
        wishes: what the tools want to happen.
        shown: passages the model was given, which it may cite.
        plan: what a follow-up has to respect.
    """

    known: Known
    photos: dict[str, Reading | None]
    plan: tools.PlanGround
    wishes: tools.Wishes = field(default_factory=tools.Wishes)
    shown: list[Passage] = field(default_factory=list[Passage])


class ModelAssistant:
    """Implements `core.turn.turn.Assistant` over a `ChatModel`.

    Args:
        model: the LLM.
        limits: what one answer may cost.
        store: read for the chat's photos and plan; never written.
        counter: the LLM server's own tokenizer, or None.
    """

    def __init__(
        self,
        model: ChatModel,
        limits: Limits,
        store: Store,
        counter: context.TokenCounter | None = None,
    ) -> None:
        self._model = model
        self._limits = limits
        self._store = store
        self._counter = counter
        self._meter = context.TokenMeter()
        self._tool_role: ToolRole = "tool"

    def is_ready(self) -> bool:
        """Tell, without waiting, whether asking is worth a try."""
        return self._model.is_healthy()

    async def answer(
        self, answer: Answer, words: str, address: Address, channel: Channel | None
    ) -> bool:
        """Answer the words into `answer`; False when the model failed and nothing was said.

        A wish for staff that the model passed on before it failed is kept all the same.
        """
        try:
            ground = self._ground(answer, await self._store.read(record_of, address))
        except TransientError as error:
            log.warning("record_unavailable", error=type(error).__name__)
            return False
        said = await self._converse(answer, words, address, channel, ground)
        is_said = said is not None and self._say(answer, said, ground)
        if ground.wishes.staff is not None:
            urgency = answer.state.open_urgency or "2_weeks"
            answer.tell_staff("human", urgency, why="asked", summary=ground.wishes.staff)
            answer.outcome = "handed"
            words = text(answer.language, "turn.human")
            answer.say(say("notice", with_hours(answer.language, words)))
        if is_said and ground.wishes.proposal is not None:
            followups.propose(answer, ground.wishes.proposal)
        return is_said

    async def _converse(
        self,
        answer: Answer,
        words: str,
        address: Address,
        channel: Channel | None,
        ground: _Ground,
    ) -> AgentAnswer | None:
        messages = self._messages(answer, words, ground)
        draft = channel.draft(address) if channel else None
        shown = _Shown(draft, answer.language, ground.known)
        try:
            async with asyncio.timeout(_FIRST_WORD_S) as deadline:
                shown.deadline = deadline
                said = await converse(
                    self._model,
                    messages,
                    _tools(ground, answer.language),
                    on_text=shown,
                    affinity=_affinity(address),
                    limits=self._limits,
                    object_to=_objections(ground.known, answer.language),
                    meter=self._meter,
                    counter=self._counter,
                    tool_role=self._tool_role,
                )
        except ModelBusy:
            answer.say(say("notice", text(answer.language, "agent.notice.busy")))
            return None
        except (ModelUnavailable, TimeoutError) as error:
            log.warning("model_unavailable", error=type(error).__name__)
            return None
        finally:
            if draft is not None:
                await draft.close()
        self._tool_role = said.tool_role
        return said

    def _say(self, answer: Answer, said: AgentAnswer, ground: _Ground) -> bool:
        """Say what may be said; False when nothing of it may."""
        language = answer.language
        if found := contradictions(said.text, ground.known):
            log.warning("answer_replaced", contradictions=list(found))
            answer.say(_instead(found, ground.known, language))
            return True
        checked = check(said.text, language=language, known=ground.known)
        if checked.problems:
            log.warning("answer_corrected", problems=list(checked.problems))
        worded, cited = with_sources(checked.text, ground.shown, language)
        if not worded:
            return False
        blocks = (*parse(worded), paragraph(text(language, "agent.label")))
        origin = ", ".join((f"prompt {prompt_version(language)}", *cited))
        answer.say(Reply("answer", blocks, ai_generated=True, origin=origin))
        if said.is_question_cut:
            answer.say(say("notice", text(language, "agent.notice.question_cut")))
        return True

    def _messages(self, answer: Answer, words: str, ground: _Ground) -> list[ChatMessage]:
        budget = context.prompt_budget(self._limits.session_len, self._limits.max_completion_tokens)
        room = min(_PASSAGE_TOKENS, int(budget * _PASSAGE_SHARE))
        found = _passages(words, answer.language)
        prompt = system_prompt(
            answer.language,
            summary=summary(answer.state.facts, answer.language),
            findings=[
                f"{name}: {_in_words(reading, answer.language)}"
                for name, reading in ground.photos.items()
            ],
            passages=found,
            open_urgency=ground.known.open_urgency,
            passage_tokens=room,
        )
        ground.shown += found
        past = [
            replace(m, content=context.neutral(m.content))
            for m in context.history(answer.state.recent)
        ]
        if past and past[-1].role == "user":  # an unanswered message and this one are one turn
            words = f"{past.pop().content}\n{words}"
        return [
            ChatMessage("system", prompt),
            *past,
            ChatMessage("user", context.neutral(words)),
        ]

    def _ground(self, answer: Answer, record: Record) -> _Ground:
        urgency = Urgency(answer.state.open_urgency or "none")
        photos: dict[str, Reading | None] = {}
        # Refused or withdrawn: what the photos showed is not used any more.
        if answer.state.consents.get("photos", True):
            for stored in record.photos:
                sealed = stored.reading_sealed
                photos[f"photo-{stored.id}"] = (
                    reading_from_json(self._store.keys.open_json(READING, sealed))
                    if sealed
                    else None
                )
        readings = tuple(r for r in photos.values() if r is not None)
        zone = ZoneInfo(answer.zone)
        plan = record.plan
        due = (
            datetime.fromtimestamp(plan.due_at_ms / 1000, ZoneInfo(plan.zone)).date()
            if plan
            else None
        )
        return _Ground(
            Known(urgency, readings),
            photos,
            tools.PlanGround(
                urgency,
                readings,
                datetime.fromtimestamp(answer.now_ms / 1000, zone).date(),
                due,
                Urgency(plan.urgency) if plan else None,
                followups.open_proposal(answer.state),
            ),
        )


def _tools(ground: _Ground, language: Language) -> dict[str, Tool]:
    async def read(photo_id: str) -> Reading:
        reading = ground.photos.get(photo_id)
        if reading is None:
            raise PatientError("turn.photo_gone")
        return reading

    def find(question: str) -> Sequence[Passage]:
        found = _passages(question, language)
        ground.shown += found
        return found

    made = [
        tools.read_fundus_photo(list(ground.photos), read, language=language),
        tools.search_knowledge(find, language=language),
        tools.drug_information(language=language),
        tools.plan_follow_up(ground.wishes, ground.plan, language=language),
        tools.ask_staff(ground.wishes, language=language),
    ]
    return {tool.spec.name: tool for tool in made if tool is not None}


class _Shown:
    """Shows the growing answer, as far as the safety check lets it be seen."""

    def __init__(self, draft: Draft | None, language: Language, known: Known) -> None:
        self._draft = draft
        self._language: Language = language
        self._known = known
        self.deadline: asyncio.Timeout | None = None

    async def __call__(self, so_far: str) -> None:
        if self.deadline is not None:
            self.deadline.reschedule(asyncio.get_running_loop().time() + _SILENCE_S)
        if self._draft is None:
            return
        safe = showable(so_far, language=self._language, known=self._known)
        if safe:
            await self._draft.show(safe)


def _objections(known: Known, language: Language) -> Callable[[str], str | None]:
    """Return what looks at a finished answer and says, for the model, what is wrong with it."""

    def object_to(said: str) -> str | None:
        found = contradictions(said, known)
        if found:
            return " ".join(text(language, f"agent.correct.{c}") for c in found)
        if not check(said, language=language, known=known).text:
            return text(language, "agent.correct.unsafe")
        return None

    return object_to


def _instead(found: Sequence[Contradiction], known: Known, language: Language) -> Reply:
    """Return the fixed words that stand in for an answer which contradicts what is known."""
    lead = paragraph(text(language, "agent.safety.replaced"))
    care = paragraph(text(language, f"agent.safety.care.{care_of(known.open_urgency)}"))
    about = worst(known.readings) or next(iter(known.readings[-1:]), None)
    if "urgency" in found or about is None:
        return Reply("answer", (lead, care))
    return Reply("answer", (lead, *explain(about, language).blocks))


def _in_words(reading: Reading | None, language: Language) -> str:
    if reading is None:
        return text(language, "agent.notice.photo_unread")
    return tools.findings_text(reading, language)


def _passages(question: str, language: Language) -> list[Passage]:
    return [_passage(hit, language) for hit in search(question, language, _PASSAGES)]


def _passage(hit: Hit, language: Language) -> Passage:
    return Passage(hit.id, title_of(hit, language), words_of(hit, language))


def _affinity(address: Address) -> str:
    """Return a stable key of the chat that tells a server nothing about it."""
    whole = f"{address.channel}|{address.account}|{address.chat_id}"
    return hashlib.sha256(whole.encode()).hexdigest()[:16]
