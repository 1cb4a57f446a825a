"""Counts events per key in a sliding window, in bounded memory."""

from __future__ import annotations

from collections import OrderedDict, deque

from core.clock import Clock


class RateLimit:
    """At most `limit` events per `window_ms` and key.

    Forgets the keys used least recently beyond `max_keys`, so a flood of new keys costs no memory.
    """

    def __init__(self, clock: Clock, *, limit: int, window_ms: int, max_keys: int = 10_000) -> None:
        self._clock = clock
        self._limit = limit
        self._window_ms = window_ms
        self._max_keys = max_keys
        self._seen: OrderedDict[str, deque[int]] = OrderedDict()

    def wait_ms(self, key: str) -> int:
        """Return how long `key` has to wait; 0 when it may go on. Counts nothing."""
        times = self._seen.get(key)
        if times is None:
            return 0
        now = self._clock.now_ms()
        while times and times[0] <= now - self._window_ms:
            times.popleft()
        return times[0] + self._window_ms - now if len(times) >= self._limit else 0

    def count(self, key: str) -> None:
        """Count one event of `key`."""
        times = self._seen.setdefault(key, deque(maxlen=self._limit))
        times.append(self._clock.now_ms())
        self._seen.move_to_end(key)
        while len(self._seen) > self._max_keys:
            self._seen.popitem(last=False)

    def forget(self, key: str) -> None:
        """Start `key` afresh."""
        self._seen.pop(key, None)
