"""Time as a port: UTC epoch milliseconds everywhere, so that tests can move it."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Where the present comes from."""

    def now_ms(self) -> int:
        """Return the present as UTC epoch milliseconds."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now_ms(self) -> int:
        """Return the present as UTC epoch milliseconds."""
        return time.time_ns() // 1_000_000
