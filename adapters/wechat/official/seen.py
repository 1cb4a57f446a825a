"""Pushes this process has stored: WeChat's repeats need not ask the database again.

Only a shortcut. The inbox decides what is new; what another process stored it finds there.
"""

from __future__ import annotations

from collections import OrderedDict

_MOST = 20_000  # three minutes at 100 a second; WeChat repeats within 15 s


class Seen:
    """Remembers ids of pushes that are in the database."""

    def __init__(self) -> None:
        self._ids: OrderedDict[tuple[str, str], None] = OrderedDict()

    def has(self, open_id: str, message_id: str) -> bool:
        """Tell whether this push was stored by this process."""
        return (open_id, message_id) in self._ids

    def add(self, open_id: str, message_id: str) -> None:
        """Note that it is stored now."""
        self._ids[open_id, message_id] = None
        while len(self._ids) > _MOST:
            self._ids.popitem(last=False)
