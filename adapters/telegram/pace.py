"""How fast we may write to Telegram: our own limiter, so that one chat's pause holds no other.

Each limit is a bucket that refills evenly, kept as one number: the time at which it is full
again (the "theoretical arrival time" of the generic cell rate algorithm).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

from core.errors import Throttled

_ROUNDING_S = 1e-6
_MOST_CHATS = 10_000  # then chats whose buckets are full again are forgotten


@dataclass(slots=True)
class Bucket:
    """Allows `burst` at once and one more every `interval_s`."""

    interval_s: float
    burst: int
    full_at_s: float = 0.0

    def wait_s(self, now_s: float) -> float:
        """Return how long until one more is allowed; 0 = now."""
        wait_s = self.full_at_s - now_s - self.interval_s * (self.burst - 1)
        return wait_s if wait_s > _ROUNDING_S else 0.0

    def take(self, now_s: float) -> None:
        """Use one up, also a future one."""
        self.full_at_s = max(self.full_at_s, now_s) + self.interval_s


class Pace:
    """Limits of one bot: all chats together, each private chat, each group, and asked pauses."""

    def __init__(
        self,
        *,
        messages_per_s: float,
        chat_messages_per_s: float,
        chat_burst: int,
        group_messages_per_min: int,
        longest_wait_s: float,
        now_s: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        # A second's worth at once would allow twice the limit in the first second.
        self._all = Bucket(1 / messages_per_s, burst=max(1, int(messages_per_s / 5)))
        self._chat_interval_s = 1 / chat_messages_per_s
        # burst + what refills in a minute = the limit of any minute
        self._group_interval_s = 60 / (group_messages_per_min - chat_burst)
        self._chat_burst = chat_burst
        self._longest_wait_s = longest_wait_s
        self._now_s = now_s
        self._sleep = sleep
        self._chats: dict[str, Bucket] = {}
        self._pauses: dict[str, float] = {}  # chat → when its asked pause ends

    async def turn(self, chat_id: str, *, urgent: bool = False) -> None:
        """Wait until a message may go to the chat, and count it.

        An urgent one waits only for a pause Telegram asked for: our limits are cautious, and
        the others can wait a little longer instead.

        Raises:
            Throttled: the wait would be longer than `longest_wait_s`; nothing was counted.
        """
        now_s = self._now_s()
        chat = self._chat(chat_id, now_s)
        waits: list[tuple[float, Literal["chat", "account"]]] = [(self.pause_s(chat_id), "chat")]
        if not urgent:
            waits.append((chat.wait_s(now_s), "chat"))
            waits.append((self._all.wait_s(now_s), "account"))
        wait_s, scope = max(waits, key=lambda wait: wait[0])
        if wait_s > self._longest_wait_s:
            raise Throttled("our own pace for Telegram", retry_after_s=wait_s, scope=scope)
        chat.take(now_s)
        self._all.take(now_s)
        if wait_s > 0:
            await self._sleep(wait_s)

    def spare(self, chat_id: str) -> bool:
        """Tell whether something unimportant may go now, and count it if so.

        It counts against all chats together but not against the chat's own bucket, so that a
        draft never delays the answer it announces.
        """
        now_s = self._now_s()
        if self.pause_s(chat_id) > 0 or self._all.wait_s(now_s) > 0:
            return False
        self._all.take(now_s)
        return True

    def pause(self, chat_id: str, seconds: float) -> None:
        """Send nothing to the chat for so long: Telegram asked for it."""
        until_s = self._now_s() + seconds
        self._pauses[chat_id] = max(until_s, self._pauses.get(chat_id, 0.0))

    def pause_s(self, chat_id: str) -> float:
        """Return how much of an asked pause is left."""
        until_s = self._pauses.get(chat_id)
        if until_s is None:
            return 0.0
        left_s = until_s - self._now_s()
        if left_s <= 0:
            del self._pauses[chat_id]
        return max(0.0, left_s)

    def _chat(self, chat_id: str, now_s: float) -> Bucket:
        bucket = self._chats.get(chat_id)
        if bucket is None:
            if len(self._chats) >= _MOST_CHATS:
                self._chats = {k: b for k, b in self._chats.items() if b.full_at_s > now_s}
            is_group = chat_id.startswith("-")
            interval_s = self._group_interval_s if is_group else self._chat_interval_s
            bucket = self._chats[chat_id] = Bucket(interval_s, self._chat_burst)
        return bucket
