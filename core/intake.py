"""Intake: a message is in the inbox before its platform hears that we have it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from core.clock import Clock
from core.dispatch import INBOX_BODY, Dispatcher
from core.errors import TransientError
from core.gather import Waiting, to_json
from core.message import Address, Inbound
from core.split import clean_text
from core.store.inbox import Ingested, NewMessage, ingest
from core.store.store import Store

NAME = "channel_link.name"
# Ids longer than the column would be cut; no platform comes near.
_MESSAGE_ID_LIMIT = 190


@dataclass(slots=True)
class IntakeCounts:
    """What came in, for metrics."""

    accepted: int = 0
    duplicates: int = 0


class StoreIntake:
    """Implements `core.ports.Intake`.

    Args:
        store: where messages go.
        clock: the present.
        dispatcher: gets each new message after its commit.
        zone: IANA zone of patients who have not told us theirs.
    """

    def __init__(self, store: Store, clock: Clock, dispatcher: Dispatcher, zone: str) -> None:
        self._store = store
        self._clock = clock
        self._dispatcher = dispatcher
        self._zone = zone
        self._known: dict[Address, int] = {}
        self._open = True
        self.counts = IntakeCounts()

    async def accept(self, messages: Sequence[Inbound]) -> None:
        """Persist messages in order; a message seen before is dropped and counted.

        Raises:
            TransientError: nothing was stored; the platform must deliver again.
        """
        if not self._open:
            raise TransientError("the service is stopping", retry_after_s=5)
        now_ms = self._clock.now_ms()
        cleaned = [replace(m, text=clean_text(m.text)) for m in messages]
        stored = await self._store.write_all(ingest, [self._new(m, now_ms) for m in cleaned])
        for message, result in zip(cleaned, stored, strict=True):
            self._hand_over(message, result, now_ms)

    def close(self) -> None:
        """Refuse further messages, so that their platforms keep them."""
        self._open = False

    def _new(self, message: Inbound, now_ms: int) -> NewMessage:
        keys = self._store.keys
        address = message.address
        known = self._known.get(address)
        wish, until_ms = self._dispatcher.lease_wish()
        name = message.sender_name
        return NewMessage(
            address.channel,
            address.account,
            address.chat_id,
            message.message_id[:_MESSAGE_ID_LIMIT],
            message.sequence,
            keys.seal_json(INBOX_BODY, to_json(message)),
            now_ms,
            self._zone,
            keys.seal(NAME, name.encode("utf-8", "replace")) if name and known is None else None,
            None if known is not None and self._dispatcher.has_lane(known) else wish,
            until_ms,
        )

    def _hand_over(self, message: Inbound, result: Ingested, now_ms: int) -> None:
        if len(self._known) > 10_000:
            self._known.clear()
        self._known[message.address] = result.conversation_id
        if result.inbox_id is None:
            self.counts.duplicates += 1
            return
        self.counts.accepted += 1
        waiting = Waiting(result.inbox_id, message.message_id, message.sequence, now_ms, message)
        self._dispatcher.offer(result.lease, result.conversation_id, waiting)
