"""Who is looking at which conversation, and what is going on in it right now.

Finished messages do not pass through here: a viewer is woken and reads them from the history,
which keeps their order and makes a lost connection harmless. Only what is never stored lives
here: "typing" and the half-written answer, each as its latest value.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

MAX_VIEWERS_PER_CHAT = 8


class Full(Exception):
    """Too many pages are listening."""


@dataclass(frozen=True, slots=True)
class Progress:
    """What the service is doing: `draft` is the whole answer so far, "" when there is none."""

    typing: bool = False
    draft: str = ""


@dataclass(slots=True)
class _Room:
    viewers: set[Callable[[], None]] = field(default_factory=set[Callable[[], None]])
    active: int = 0
    draft: str = ""


class Rooms:
    """The open pages of this process, by chat id."""

    def __init__(self, *, max_viewers: int) -> None:
        self._max_viewers = max_viewers
        self._viewers = 0
        self._rooms: dict[str, _Room] = {}

    @property
    def viewers(self) -> int:
        """How many pages listen now."""
        return self._viewers

    def has_viewers(self, chat_id: str) -> bool:
        """Tell whether a page shows this chat now."""
        room = self._rooms.get(chat_id)
        return room is not None and bool(room.viewers)

    def progress(self, chat_id: str) -> Progress:
        """Return what is going on in a chat."""
        room = self._rooms.get(chat_id)
        return Progress(room.active > 0, room.draft) if room else Progress()

    def wake(self, chat_id: str) -> None:
        """Make every page of a chat look for something new."""
        room = self._rooms.get(chat_id)
        for notify in list(room.viewers) if room else ():
            notify()

    @contextmanager
    def viewing(self, chat_id: str, notify: Callable[[], None]) -> Generator[None]:
        """Call `notify` on every change of a chat while the block runs.

        Raises:
            Full: this chat or this process has enough pages already.
        """
        room = self._rooms.get(chat_id)
        in_chat = len(room.viewers) if room else 0
        if self._viewers >= self._max_viewers or in_chat >= MAX_VIEWERS_PER_CHAT:
            raise Full
        with self._entered(chat_id) as room:
            room.viewers.add(notify)
            self._viewers += 1
            try:
                yield
            finally:
                room.viewers.discard(notify)
                self._viewers -= 1

    @contextmanager
    def busy(self, chat_id: str) -> Generator[None]:
        """Show "typing…" while the block runs."""
        with self._entered(chat_id) as room:
            room.active += 1
            self.wake(chat_id)
            try:
                yield
            finally:
                room.active -= 1
                self.wake(chat_id)

    def show_draft(self, chat_id: str, text: str) -> None:
        """Show the answer so far to whoever looks; "" takes it away."""
        room = self._rooms.get(chat_id)
        if room is not None and room.draft != text:
            room.draft = text
            self.wake(chat_id)

    @contextmanager
    def _entered(self, chat_id: str) -> Generator[_Room]:
        room = self._rooms.setdefault(chat_id, _Room())
        try:
            yield room
        finally:
            if not room.viewers and room.active == 0 and self._rooms.get(chat_id) is room:
                del self._rooms[chat_id]
