"""Takeover: a member of staff answers a conversation, and nobody is left waiting.

From the commit that takes over to the commit that hands back, our turns stay silent
(`core.turn.taken_over`). Staff's words go through the outbox to the patient's own channel. While
the patient waits, staff are reminded; when nobody answers for long, we answer again and say so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import structlog

from core.clock import Clock
from core.delivery import OUTBOX_BODY, TASK_DETAIL
from core.dispatch import INBOX_BODY
from core.gather import from_json as message_from_json
from core.message import Address, AttachmentKind, Language
from core.ports import Capabilities, Channel
from core.reply import Heading, Image, Reply, ReplyKind, paragraph, say, to_json
from core.split import clean_text, split
from core.store.hand_back import HandBack, HandedBack, SaidRow, hand_back
from core.store.history import SERVICE_BODY
from core.store.outbox import OutboxRow
from core.store.store import Store
from core.store.takeover import (
    Message,
    Replied,
    StaffReply,
    Taken,
    Taking,
    reply,
    take,
    tell,
)
from core.store.takeover_watch import (
    GoingOn,
    Nudge,
    going_on,
    language_of_patient,
    nudge,
    stay,
)
from core.texts import text
from core.turn.completion import READING, STATE
from core.turn.photos import reading_from_json
from core.turn.reading_answer import card_alt, explain
from core.turn.state import DialogState
from core.turn.state import from_json as state_from_json
from core.turn.state import to_json as state_to_json
from core.turn.taken_over import remembering

log = structlog.get_logger(__name__)

# As for a turn on a channel that is switched off: it must fit the narrowest one.
_NARROWEST = Capabilities(1_800, 0, "utf8", buttons=False, drafts=False, media_limit_bytes=0)
LONGEST_REPLY = 4_000


@dataclass(frozen=True, slots=True)
class TakeoverSettings:
    """How long a patient may wait in a conversation that staff took over.

    Attributes:
        nudge_ms: staff are reminded after so long without an answer, and after as long again.
        idle_ms: we answer again after so long without a sign of whoever has taken over.
        alert_staff: reminders go to staff chats too (`core.alerts`).
        language: for patients whose language nothing shows.
    """

    nudge_ms: int = 3 * 60_000
    idle_ms: int = 30 * 60_000
    alert_staff: bool = False
    language: Language = "zh-Hans"


@dataclass(frozen=True, slots=True)
class Chat:
    """A conversation staff may answer.

    Attributes:
        conversation_id: which.
        address: where it is.
        language: the patient's.
    """

    conversation_id: int
    address: Address
    language: Language


@dataclass(slots=True)
class TakeoverCounts:
    """What happened, for metrics."""

    taken: int = 0
    replies: int = 0
    nudges: int = 0
    handed_back_idle: int = 0


class Takeovers:
    """Takes over, replies and hands back; beaten by the ticker, watches that nobody waits.

    Args:
        store: where conversations are.
        clock: the present.
        channels: by (name, account), for the limits of each chat's channel.
        deliver: takes the committed rows to their channel.
        fence_moved: `core.dispatch.Dispatcher.fence_moved`.
        settings: see `TakeoverSettings`.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        channels: Mapping[tuple[str, str], Channel],
        deliver: Callable[[Address, Sequence[OutboxRow]], None],
        fence_moved: Callable[[int, str | None], None],
        settings: TakeoverSettings,
    ) -> None:
        self._store = store
        self._clock = clock
        self._channels = channels
        self._deliver = deliver
        self._fence_moved = fence_moved
        self.settings = settings
        self.counts = TakeoverCounts()

    async def take(
        self, chat: Chat, *, staff_id: int, name: str, instead_of: int | None = None
    ) -> Taken:
        """Take a conversation over; taking it again changes nothing.

        Args:
            chat: which.
            staff_id: who.
            name: theirs, told to the patient.
            instead_of: the colleague to replace, or None to leave it with whoever has it.
        """
        now_ms = self._clock.now_ms()
        key = "handoff.joined" if instead_of is None else "handoff.instead"
        notice = say("notice", text(chat.language, key, name=name))
        taking = Taking(
            chat.conversation_id,
            staff_id,
            instead_of,
            now_ms,
            self._message(chat, f"taken-{staff_id}-{now_ms}", "service", notice),
        )
        taken: Taken = await self._store.write(take, taking)
        if taken.is_new:
            self.counts.taken += 1
            log.info("conversation_taken", conversation=chat.conversation_id, staff_id=staff_id)
            self._fence_moved(chat.conversation_id, taken.ended_token)
            self._deliver(chat.address, taken.rows)
        return taken

    async def reply(
        self,
        chat: Chat,
        *,
        staff_id: int,
        name: str,
        words: str,
        form_id: str,
        image: Image | None = None,
        kind: ReplyKind = "answer",
    ) -> Literal["said", "again", "not_yours"]:
        """Say what staff wrote, under their name; the same form is said once.

        Args:
            chat: where to.
            staff_id: who; the conversation must be theirs.
            name: theirs, shown above the words.
            words: at most `LONGEST_REPLY` characters.
            form_id: 32 hexadecimal digits made with the form.
            image: a result card to show with it, or None.
            kind: what it is for the patient's channel.
        """
        lines = [line for line in clean_text(words)[:LONGEST_REPLY].split("\n\n") if line.strip()]
        heading = Heading(text(chat.language, "handoff.author", name=name))
        said = Reply(kind, (heading, *(paragraph(line) for line in lines)), image=image)
        message = self._message(chat, f"staff-{form_id}", "staff", said)
        replied: Replied = await self._store.write(
            reply, StaffReply(chat.conversation_id, staff_id, self._clock.now_ms(), message)
        )
        if replied.how == "said":
            self.counts.replies += 1
            self._deliver(chat.address, replied.rows)
        return replied.how

    async def stay(self, takeover_id: int, *, staff_id: int) -> bool:
        """Note that whoever has taken over is still here; False when it is not theirs."""
        return await self._store.write(stay, (takeover_id, staff_id, self._clock.now_ms()))

    async def hand_back(self, chat: Chat, takeover_id: int, *, name: str) -> HandedBack:
        """Let us answer again, beginning with what nobody answered; harmless when it has ended."""
        return await self._hand_back(chat, takeover_id, name, "staff")

    async def _hand_back(
        self, chat: Chat, takeover_id: int, name: str, ending: Literal["staff", "idle"]
    ) -> HandedBack:
        key = "handoff.left" if ending == "staff" else "handoff.left_waiting"
        notice = say("notice", text(chat.language, key, name=name))
        item = HandBack(
            chat.conversation_id,
            takeover_id,
            ending,
            self._clock.now_ms(),
            self._message(chat, f"handed-back-{takeover_id}", "service", notice),
            self._remember,
            self._again,
            partial(self._result, chat),
            self._detail("takeover_ended") if ending == "idle" else None,
        )
        done: HandedBack = await self._store.write(hand_back, item)
        if done.done:
            log.info("conversation_handed_back", conversation=chat.conversation_id, ending=ending)
            self._deliver(chat.address, done.rows)
            self._fence_moved(chat.conversation_id, done.ended_token)
        return done

    async def of(self, conversation_id: int) -> GoingOn | None:
        """Return the takeover that goes on in a conversation, or None."""
        found: list[GoingOn] = await self._store.read(going_on, conversation_id)
        return found[0] if found else None

    async def tick(self) -> None:
        """Remind staff of patients who wait, and hand back what staff have left."""
        now_ms = self._clock.now_ms()
        for item in await self._store.read(going_on, None):
            if now_ms - item.active_at_ms >= self.settings.idle_ms:
                await self._leave(item)
            elif item.waiting_since_ms is not None:
                waited_ms = now_ms - max(item.waiting_since_ms, item.active_at_ms)
                if waited_ms >= self.settings.nudge_ms * (item.nudges + 1):
                    await self._nudge(item)

    async def _leave(self, item: GoingOn) -> None:
        chat = Chat(
            item.conversation_id,
            Address(item.channel, item.account, item.chat_id),
            await self.language_of(item.conversation_id),
        )
        ending = "idle" if item.waiting_since_ms is not None else "staff"
        done = await self._hand_back(chat, item.id, item.staff_name, ending)
        self.counts.handed_back_idle += done.done

    async def _nudge(self, item: GoingOn) -> None:
        now_ms = self._clock.now_ms()
        mine = await self._store.write(
            nudge,
            Nudge(
                item.id,
                item.nudges,
                now_ms,
                now_ms + self.settings.nudge_ms,
                self._detail("takeover_waits"),
                self.settings.alert_staff,
            ),
        )
        self.counts.nudges += mine

    def window_ms(self, chat: Chat) -> int | None:
        """Return how long after a message the platform takes an answer; None = always."""
        return self._capabilities(chat).proactive_window_ms

    async def tell(
        self, chat: Chat, *, name: str, words: Reply, form_id: str
    ) -> Literal["said", "again"]:
        """Send something under staff's name without taking over, for example a result.

        Args:
            chat: where to.
            name: who sends it.
            words: what; their name goes above it.
            form_id: 32 hexadecimal digits made with the form; the same form is said once.
        """
        heading = Heading(text(chat.language, "handoff.author", name=name))
        said = replace(words, blocks=(heading, *words.blocks))
        message = self._message(chat, f"staff-{form_id}", "staff", said)
        told: Replied = await self._store.write(
            tell, StaffReply(chat.conversation_id, 0, self._clock.now_ms(), message)
        )
        self._deliver(chat.address, told.rows)
        return "said" if told.how == "said" else "again"

    async def language_of(self, conversation_id: int) -> Language:
        """Return the language the patient is spoken to in."""
        found: str | None = await self._store.read(language_of_patient, conversation_id)
        if found == "en":
            return "en"
        return "zh-Hans" if found == "zh-Hans" else self.settings.language

    def _detail(self, why: str) -> bytes:
        return self._store.keys.seal_json(TASK_DETAIL, {"why": why})

    def _message(
        self, chat: Chat, turn_id: str, author: Literal["staff", "service"], said: Reply
    ) -> Message:
        keys, capabilities = self._store.keys, self._capabilities(chat)
        return Message(
            turn_id,
            author,
            said.kind,
            keys.seal_json(SERVICE_BODY, to_json(said)),
            tuple(keys.seal_json(OUTBOX_BODY, to_json(part)) for part in split(said, capabilities)),
        )

    def _capabilities(self, chat: Chat) -> Capabilities:
        channel = self._channels.get((chat.address.channel, chat.address.account))
        return channel.capabilities if channel else _NARROWEST

    def _remember(self, state_sealed: bytes | None, rows: Sequence[SaidRow]) -> bytes:
        keys = self._store.keys
        state = (
            state_from_json(keys.open_json(STATE, state_sealed)) if state_sealed else DialogState()
        )
        return keys.seal_json(STATE, state_to_json(remembering(state, rows, keys)))

    def _again(self, body_sealed: bytes) -> bytes | None:
        """Return a message as we answer it now; photos were read, and a button asks nothing new."""
        body = self._store.keys.open_json(INBOX_BODY, body_sealed)
        message = message_from_json(body, Address("", "", ""), "")
        others = [a for a in message.attachments if a.kind is not AttachmentKind.VOICE]
        is_said = message.text.strip() or message.attachments
        return body_sealed if is_said and not others and message.button is None else None

    def _result(
        self, chat: Chat, photo_id: int, reading_sealed: bytes, card_blob: str | None
    ) -> Message:
        """Return what the patient is told of a photo that was read while staff answered."""
        reading = reading_from_json(self._store.keys.open_json(READING, reading_sealed))
        image = None
        if card_blob is not None:
            image = Image(card_blob, "image/jpeg", card_alt(reading, chat.language))
        said = explain(reading, chat.language, image=image)
        return self._message(chat, f"result-{photo_id}", "service", said)
