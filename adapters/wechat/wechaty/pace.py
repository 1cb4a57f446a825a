"""How fast a personal WeChat account may write without looking like a robot: a limit over all
chats and an uneven gap within each. WeChat publishes no numbers; the settings are cautious.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable

from core.errors import Throttled

_BURST = 6  # messages at once before the limit over all chats counts
_LONGEST_WAIT_S = 5.0
_MOST_CHATS = 10_000  # then chats that may be written to again are forgotten


class Pace:
    """Both limits of one account.

    Args:
        messages_per_min: over all chats, after a burst.
        chat_gap_s: between two messages to one chat, up to half longer at random.
        now_s: a steady clock.
        sleep: waits.
    """

    def __init__(
        self,
        *,
        messages_per_min: float,
        chat_gap_s: float,
        now_s: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._interval_s = 60 / messages_per_min
        self._gap_s = chat_gap_s
        self._now_s = now_s
        self._sleep = sleep
        self._full_at_s = 0.0
        self._next_at_s: dict[str, float] = {}

    async def turn(self, chat_id: str, *, urgent: bool) -> None:
        """Wait until a message may go to the chat, and count it. An urgent one never waits.

        Raises:
            Throttled: the wait would be long; nothing was counted.
        """
        now_s = self._now_s()
        account_s = self._full_at_s - now_s - self._interval_s * (_BURST - 1)
        chat_s = self._next_at_s.get(chat_id, 0.0) - now_s
        wait_s = 0.0 if urgent else max(account_s, chat_s, 0.0)
        if wait_s > _LONGEST_WAIT_S:
            scope = "account" if account_s >= chat_s else "chat"
            raise Throttled("our own pace for WeChat", retry_after_s=wait_s, scope=scope)
        self._full_at_s = max(self._full_at_s, now_s) + self._interval_s
        if len(self._next_at_s) >= _MOST_CHATS:
            self._next_at_s = {c: at for c, at in self._next_at_s.items() if at > now_s}
        gap_s = self._gap_s * random.uniform(1.0, 1.5)  # noqa: S311 looks human, guards nothing
        self._next_at_s[chat_id] = now_s + wait_s + gap_s
        if wait_s > 0:
            await self._sleep(wait_s)
