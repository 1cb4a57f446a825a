"""Who is waited for: replies that WeChat does not take now, until their person writes again."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict

from core.errors import Throttled

# Another replica may hear the person, so it is tried now and then without being told.
_LOOK_AGAIN_S = 300.0
# The push that opens the way may be a moment behind the turn it began.
_JUST_NOW_S, _SOON_S = 5.0, 0.5
_MOST_CHATS = 10_000


class Doorbell:
    """Wakes sends when the person they are for is heard."""

    def __init__(self) -> None:
        self._events: dict[str, asyncio.Event] = {}
        self._heard_at_s: OrderedDict[str, float] = OrderedDict()

    def ring(self, chat_id: str) -> None:
        """Note that the person wrote and what they wrote is stored."""
        self._heard_at_s[chat_id] = time.monotonic()
        self._heard_at_s.move_to_end(chat_id)
        while len(self._heard_at_s) > _MOST_CHATS:
            self._heard_at_s.popitem(last=False)
        event = self._events.pop(chat_id, None)
        if event is not None:
            event.set()

    def wait_for(self, chat_id: str) -> Throttled:
        """Return the error that makes a reply wait until the person is heard."""
        event = self._events.setdefault(chat_id, asyncio.Event())
        if len(self._events) > _MOST_CHATS:
            self._events.pop(next(iter(self._events))).set()
        quiet_s = time.monotonic() - self._heard_at_s.get(chat_id, -1e9)
        pause_s = _SOON_S if quiet_s < _JUST_NOW_S else _LOOK_AGAIN_S
        return Throttled("WeChat waits for the person", retry_after_s=pause_s, sooner=event)
