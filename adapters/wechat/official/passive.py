"""Answers inside WeChat's own request, for accounts that may not write by themselves.

WeChat waits five seconds, asks again, and once more: about fourteen seconds in all. An answer that
is ready goes out with the request that waits for it; otherwise the third one says that it will come
with the person's next message. Nothing is lost in between: it is in the database.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal
from weakref import WeakValueDictionary

from adapters.wechat.render import TEXT_LIMIT_BYTES
from core.clock import Clock
from core.store.store import Store
from core.store.wechat_answers import Addition, Asked, Waiting, add, answer_of, ask, close, offer
from core.store.wechat_official import Chat

_BODY = "wechat_answer.body"

# WeChat cuts after 5 s. An answer is sent before 4; a request that gets none is held until it is
# cut, for only then does WeChat ask again.
ANSWER_WITHIN_S, CUT_AFTER_S = 3.8, 5.6
_ATTEMPTS = 3
# A turn's replies come one by one: this long after the last of them there are no more.
_QUIET_S = 0.25
# The same when the turn ran in another process; longer than texts are gathered for.
_QUIET_ELSEWHERE_S = 1.7
_LOOK_AGAIN_S = 0.3
_MOST_CHATS = 5_000


@dataclass(frozen=True, slots=True)
class Body:
    """What one passive reply says: words or a picture."""

    text: str = ""
    media_id: str = ""

    def to_json(self) -> dict[str, str]:
        """Return it for the database."""
        return {"text": self.text, "media_id": self.media_id}

    def with_text(self, text: str) -> Body | None:
        """Return this answer and more words; None when they do not fit."""
        joined = f"{self.text}\n\n{text}" if self.text else text
        if self.media_id or len(joined.encode()) > TEXT_LIMIT_BYTES:
            return None
        return Body(joined)


# What to do with the request: answer it, hold it until WeChat cuts it, or say that it comes later.
Verdict = Body | Literal["hold", "later", "nothing"]


@dataclass(slots=True)
class _Turns:
    """What is known of turns in one chat: when something changed, and whether one is running."""

    running: int = 0
    ended_at_s: float = 0.0


@dataclass(slots=True, weakref_slot=True)
class _Watch:
    changed: asyncio.Event = field(default_factory=asyncio.Event)


class PassiveAnswers:
    """The waiting answers of one account."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._turns: OrderedDict[str, _Turns] = OrderedDict()
        self._watches: WeakValueDictionary[str, _Watch] = WeakValueDictionary()

    # -- the turn's side -----------------------------------------------------------------------

    def turn_begins(self, chat_id: str) -> None:
        """Note that an answer is being made."""
        turns = self._turns.setdefault(chat_id, _Turns())
        turns.running += 1
        self._turns.move_to_end(chat_id)
        while len(self._turns) > _MOST_CHATS:
            self._turns.popitem(last=False)

    def turn_ends(self, chat_id: str) -> None:
        """Note that it is made; its words come any moment."""
        turns = self._turns.setdefault(chat_id, _Turns())
        turns.running = max(0, turns.running - 1)
        turns.ended_at_s = time.monotonic()
        self._changed(chat_id)

    async def put(self, chat: Chat, addition: Body) -> bool:
        """Add to the open answer; False when none is open or it is full."""
        for _ in range(3):
            waiting = await self._store.read(answer_of, chat)
            now_ms = self._clock.now_ms()
            if waiting is None or waiting.is_offered or waiting.open_until_ms <= now_ms:
                return False
            before = self._open(waiting)
            after = addition if before is None else None
            if before is not None and addition.text and not addition.media_id:
                after = before.with_text(addition.text)
            if after is None:
                return False
            sealed = self._store.keys.seal_json(_BODY, after.to_json())
            change = Addition(chat, waiting.message_id, waiting.body_sealed, sealed, now_ms)
            if await self._store.write(add, change):
                self._changed(chat.chat_id)
                return True
        return False

    # -- the request's side --------------------------------------------------------------------

    async def open(self, chat: Chat, message_id: str) -> Waiting | None:
        """Note that WeChat waits for the answer; None when the chat is not known yet."""
        return await self._store.write(ask, Asked(chat, message_id, self._clock.now_ms()))

    async def verdict(
        self, chat: Chat, message_id: str, *, arrived_s: float, is_open: Callable[[], bool]
    ) -> Verdict:
        """Wait for the answer as long as this request may wait, and say what becomes of it.

        Args:
            chat: who asks.
            message_id: about which message.
            arrived_s: when the request came, by the monotonic clock.
            is_open: tells whether WeChat still waits: an answer nobody hears is kept.
        """
        watch = self._watches.setdefault(chat.chat_id, _Watch())
        until_s = arrived_s + ANSWER_WITHIN_S
        seen: bytes | None = None
        seen_at_s = arrived_s
        while True:
            watch.changed.clear()
            waiting = await self._store.read(answer_of, chat)
            if waiting is None or waiting.message_id != message_id:
                return "nothing"  # the person wrote again meanwhile; the answer goes with that
            if not is_open():
                return "nothing"
            now_s = time.monotonic()
            if waiting.body_sealed != seen:
                seen, seen_at_s = waiting.body_sealed, now_s
            is_last = waiting.attempts >= _ATTEMPTS
            late = now_s >= until_s
            settled = self._is_settled(chat.chat_id, arrived_s, now_s - seen_at_s)
            if seen is not None and (waiting.is_offered or settled or (late and is_last)):
                return await self._offer(chat, message_id) or "nothing"
            if late:
                if not is_last:
                    return "hold"
                question = Asked(chat, message_id, self._clock.now_ms())
                await self._store.write(close, question)
                return "later"
            # Words from this process wake us; those of others must be looked for.
            idle = seen is None and not self._store.shared
            pause_s = until_s - now_s if idle else min(_LOOK_AGAIN_S, until_s - now_s)
            try:
                async with asyncio.timeout(max(0.02, pause_s)):
                    await watch.changed.wait()
            except TimeoutError:
                continue

    async def waits(self, chat: Chat) -> bool:
        """Tell whether an answer waits that was never offered."""
        waiting = await self._store.read(answer_of, chat)
        return waiting is not None and waiting.body_sealed is not None and not waiting.is_offered

    def _is_settled(self, chat_id: str, arrived_s: float, quiet_s: float) -> bool:
        turns = self._turns.get(chat_id)
        if turns is None or (not turns.running and turns.ended_at_s < arrived_s - 15):
            return quiet_s >= _QUIET_ELSEWHERE_S
        if turns.running:
            return False
        return quiet_s >= _QUIET_S and time.monotonic() - turns.ended_at_s >= _QUIET_S

    async def _offer(self, chat: Chat, message_id: str) -> Body | None:
        sealed = await self._store.write(offer, Asked(chat, message_id, self._clock.now_ms()))
        return None if sealed is None else Body(**self._store.keys.open_json(_BODY, sealed))

    def _open(self, waiting: Waiting) -> Body | None:
        if waiting.body_sealed is None:
            return None
        return Body(**self._store.keys.open_json(_BODY, waiting.body_sealed))

    def _changed(self, chat_id: str) -> None:
        watch = self._watches.get(chat_id)
        if watch is not None:
            watch.changed.set()
