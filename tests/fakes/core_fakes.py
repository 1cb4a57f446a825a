"""Core in memory, for tests of the adapters: what goes in is kept, what is said is readable."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from core.errors import PatientError, Unreachable
from core.message import Address, Inbound
from core.ports import HistoryItem
from core.reply import Reply


class FakeClock:
    def __init__(self, now_ms: int = 1_700_000_000_000) -> None:
        self.ms = now_ms

    def now_ms(self) -> int:
        return self.ms


class FakeBlobs:
    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    async def put(self, data: bytes, *, salt: bytes = b"") -> str:
        blob = hashlib.sha256(salt + data).hexdigest()
        self.files[blob] = data
        return blob

    async def discard(self, blob: str) -> None:
        self.files.pop(blob, None)

    async def get(self, blob: str) -> bytes:
        if blob not in self.files:
            raise PatientError("turn.photo_gone")
        return self.files[blob]


class FakeConversations:
    """`Intake` and `History` over one list.

    `down` makes intake refuse. `busy` keeps accepted messages out of the history until `answer`,
    as the service does until it has answered them.
    """

    def __init__(self, clock: FakeClock | None = None) -> None:
        self.clock = clock or FakeClock()
        self.accepted: list[Inbound] = []
        self.duplicates = 0
        self.down = False
        self.busy = False
        self._unanswered: list[Inbound] = []
        self._items: list[tuple[Address, HistoryItem]] = []

    async def accept(self, messages: Sequence[Inbound]) -> None:
        if self.down:
            raise Unreachable("the store is down")
        for message in messages:
            if any(
                (m.address, m.message_id) == (message.address, message.message_id)
                for m in self.accepted
            ):
                self.duplicates += 1
                continue
            self.accepted.append(message)
            self._unanswered.append(message)
        if not self.busy:
            self.answer()

    def answer(self) -> None:
        for message in self._unanswered:
            self.add(
                message.address,
                "patient",
                text=message.text,
                photos=tuple(a.ref for a in message.attachments if a.kind != "voice"),
                voices=tuple(a.ref for a in message.attachments if a.kind == "voice"),
                message_id=message.message_id,
            )
        self._unanswered.clear()

    def add(self, address: Address, author, **fields) -> HistoryItem:
        item = HistoryItem(len(self._items) + 1, author, self.clock.now_ms(), **fields)
        self._items.append((address, item))
        return item

    def say(self, address: Address, reply: Reply) -> HistoryItem:
        return self.add(address, "service", reply=reply)

    async def history(
        self, address: Address, *, after: int = 0, limit: int = 100
    ) -> Sequence[HistoryItem]:
        return [item for at, item in self._items if at == address and item.id > after][-limit:]
