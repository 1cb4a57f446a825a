"""Lets the model answer free text: prompt, tools, growing draft, and the check before sending.

Whatever goes wrong, the caller hears "no" within ten seconds and the guided consult takes over.
"""

from __future__ import annotations

import asyncio
import hashlib

import structlog

from core.agent.loop import Limits, Tool, converse
from core.agent.prompt import Passage, system_prompt
from core.agent.safety import check, showable
from core.agent.tools import findings_text, read_fundus_photo
from core.errors import ModelUnavailable, PatientError
from core.knowledge.search import Hit, search, title_of, words_of
from core.markdown import parse
from core.message import Address, Language
from core.ports import Channel, ChatMessage, ChatModel, Draft
from core.reading import Reading
from core.reply import Reply
from core.turn.answer import Answer
from core.turn.photos import reading_from_json
from core.urgency import Urgency

log = structlog.get_logger(__name__)

# The promise is an honest word within 10 s; the rest is left for the consult and a slow machine.
_FIRST_WORD_S = 7.5
_SILENCE_S = 15.0
_PASSAGES = 3


class ModelAssistant:
    """Implements `core.turn.turn.Assistant` over a `ChatModel`.

    Args:
        model: the LLM.
        limits: what one answer may cost.
    """

    def __init__(self, model: ChatModel, limits: Limits) -> None:
        self._model = model
        self._limits = limits

    def is_ready(self) -> bool:
        """Tell, without waiting, whether asking is worth a try."""
        return self._model.is_healthy()

    async def answer(
        self, answer: Answer, words: str, address: Address, channel: Channel | None
    ) -> bool:
        """Answer the words into `answer`; False when the model failed and nothing was said."""
        readings = {name: reading_from_json(data) for name, data in answer.state.readings}
        last = next(reversed(readings.values()), None)
        urgency = Urgency(answer.state.open_urgency or "none")
        messages = self._messages(answer, words, readings, urgency)
        draft = channel.draft(address) if channel else None
        shown = _Shown(draft, answer, urgency, last)
        try:
            async with asyncio.timeout(_FIRST_WORD_S) as deadline:
                shown.deadline = deadline
                said = await converse(
                    self._model,
                    messages,
                    self._tools(answer, readings),
                    on_text=shown,
                    affinity=_affinity(address),
                    limits=self._limits,
                )
        except (ModelUnavailable, TimeoutError) as error:
            log.warning("model_unavailable", error=type(error).__name__)
            return False
        finally:
            if draft is not None:
                await draft.close()
        checked = check(said.text, language=answer.language, open_urgency=urgency, reading=last)
        if checked.problems:
            log.warning("answer_corrected", problems=list(checked.problems))
        if not checked.text:
            return False
        answer.say(Reply("answer", parse(checked.text), ai_generated=True))
        return True

    def _messages(
        self, answer: Answer, words: str, readings: dict[str, Reading], urgency: Urgency
    ) -> list[ChatMessage]:
        found = search(words, answer.language, _PASSAGES)
        passages = [_passage(hit, answer.language) for hit in found]
        prompt = system_prompt(
            answer.language,
            findings=[
                f"{name}: {findings_text(reading, answer.language)}"
                for name, reading in readings.items()
            ],
            passages=passages,
            open_urgency=urgency,
        )
        history = [
            ChatMessage("user" if author == "patient" else "assistant", said)
            for author, said in answer.state.recent
        ]
        return [ChatMessage("system", prompt), *history, ChatMessage("user", words)]

    def _tools(self, answer: Answer, readings: dict[str, Reading]) -> dict[str, Tool]:
        async def read(photo_id: str) -> Reading:
            if photo_id not in readings:
                raise PatientError("turn.photo_gone")
            return readings[photo_id]

        tool = read_fundus_photo(list(readings), read, language=answer.language)
        return {tool.spec.name: tool} if tool else {}


class _Shown:
    """Shows the growing answer, as far as the safety check lets it be seen."""

    def __init__(
        self, draft: Draft | None, answer: Answer, urgency: Urgency, reading: Reading | None
    ) -> None:
        self._draft = draft
        self._answer = answer
        self._urgency = urgency
        self._reading = reading
        self.deadline: asyncio.Timeout | None = None

    async def __call__(self, so_far: str) -> None:
        if self.deadline is not None:
            self.deadline.reschedule(asyncio.get_running_loop().time() + _SILENCE_S)
        if self._draft is None:
            return
        safe = showable(
            so_far,
            language=self._answer.language,
            open_urgency=self._urgency,
            reading=self._reading,
        )
        if safe:
            await self._draft.show(safe)


def _passage(hit: Hit, language: Language) -> Passage:
    return Passage(f"{hit.id} {title_of(hit, language)}", words_of(hit, language))


def _affinity(address: Address) -> str:
    """Return a stable key of the chat that tells a server nothing about it."""
    whole = f"{address.channel}|{address.account}|{address.chat_id}"
    return hashlib.sha256(whole.encode()).hexdigest()[:16]
