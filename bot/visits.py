"""Finds the booked visit that a signed link names."""

from __future__ import annotations

from datetime import UTC, datetime

from core.clock import Clock
from core.followup.visit_file import Visit, read_token
from core.store.store import Store
from core.store.visits import booked_visit


class VisitFinder:
    """Reads links and looks the visit up; a link outlives neither its week nor its plan.

    Args:
        store: where visits are, and the keys that signed the links.
        clock: tells which links are too old.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def __call__(self, token: str) -> Visit | None:
        """Return the visit, or None."""
        today = datetime.fromtimestamp(self._clock.now_ms() / 1000, UTC).date()
        conversation_id = read_token(self._store.keys, token, today)
        if conversation_id is None:
            return None
        return await self._store.read(booked_visit, (conversation_id, self._store.keys))
