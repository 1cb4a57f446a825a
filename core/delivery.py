"""Delivery: every outbox row reaches the patient, or staff see that it did not.

One queue per conversation, so replies stay in order. An attempt is committed before its call.
What may or may not have arrived is not sent again, unless the channel recognises repeats or the
message is one that must rather come twice than never (an emergency card, a reminder).
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import structlog

from core.clock import Clock
from core.errors import SendRefused, SendUnknown, Throttled, TransientError
from core.message import Address
from core.ports import Channel
from core.reply import from_json
from core.store.outbox import (
    Addressed,
    Attempt,
    OutboxRow,
    SendResult,
    UncertainPolicy,
    begin_sending,
    finish_sending,
    open_rows,
    settle_uncertain,
)
from core.store.plans import AboutToSend, hold_back
from core.store.store import Store

log = structlog.get_logger(__name__)

OUTBOX_BODY = "outbox.body"
TASK_DETAIL = "staff_task.detail"
REPEAT_RATHER_THAN_LOSE = ("emergency", "reminder")

_BACKOFF_BASE_S = 0.5
_BACKOFF_CAP_S = 60.0
# After a day the answer is no longer an answer; staff see it as undelivered.
_GIVE_UP_AFTER_MS = 24 * 3600 * 1000
_CALL_TIMEOUT_S = 60.0
_SENDING_LEASE_MS = 120_000
_START_BATCH = 1_000
_REPEATS_OF_UNKNOWN = 3


@dataclass(slots=True)
class DeliveryCounts:
    """What delivery did, for metrics."""

    sent: int = 0
    retried: int = 0
    throttled: int = 0
    unknown: int = 0
    dead: int = 0


@dataclass(slots=True)
class _Queue:
    address: Address
    rows: deque[OutboxRow] = field(default_factory=deque["OutboxRow"])
    task: asyncio.Task[None] | None = None
    # Ends the present pause early (`core.errors.Throttled`).
    sooner: asyncio.Event | None = None


class Delivery:
    """Sends outbox rows through their channels.

    Args:
        store: where the rows are.
        clock: the present.
        channels: by (name, account); rows of a channel that is off wait until it is on again.
    """

    def __init__(
        self, store: Store, clock: Clock, channels: Mapping[tuple[str, str], Channel]
    ) -> None:
        self._store = store
        self._clock = clock
        self._channels = channels
        self._queues: dict[int, _Queue] = {}
        self._stopping = asyncio.Event()
        self.counts = DeliveryCounts()

    @property
    def open_queues(self) -> int:
        """How many conversations have something to send."""
        return len(self._queues)

    def deliver(self, address: Address, rows: Sequence[OutboxRow]) -> None:
        """Queue rows that were just committed, in order."""
        if not rows or self._stopping.is_set():
            return
        if (address.channel, address.account) not in self._channels:
            return  # stays in the outbox until that channel is switched on again
        conversation_id = rows[0].conversation_id
        queue = self._queues.get(conversation_id)
        if queue is None:
            queue = self._queues[conversation_id] = _Queue(address)
        known = {r.id for r in queue.rows}
        queue.rows.extend(r for r in rows if r.id not in known)
        if queue.task is None:
            queue.task = asyncio.create_task(self._drain(conversation_id, queue))

    async def recover(self, *, only_user: bool) -> None:
        """Pick up what an earlier process left: uncertain rows by policy, pending rows to send.

        Args:
            only_user: no other process works on this database.
        """
        resend = tuple(
            name for (name, _), c in self._channels.items() if c.capabilities.on_unknown == "resend"
        )
        detail = self._store.keys.seal_json(TASK_DETAIL, {"why": "unknown_after_crash"})
        self.counts.unknown += await self._store.write(
            settle_uncertain,
            UncertainPolicy(
                self._clock.now_ms(), only_user, resend, REPEAT_RATHER_THAN_LOSE, detail
            ),
        )
        for item in await self._store.read(open_rows, _START_BATCH):
            self._queue_recovered(item)

    def _queue_recovered(self, item: Addressed) -> None:
        queue = self._queues.get(item.row.conversation_id)
        if queue is None or item.row.id > max((r.id for r in queue.rows), default=0):
            self.deliver(Address(item.channel, item.account, item.chat_id), [item.row])

    async def _drain(self, conversation_id: int, queue: _Queue) -> None:
        try:
            while queue.rows and not self._stopping.is_set():
                row = queue.rows[0]
                again = await self._send(queue, row)
                if again is None:
                    queue.rows.popleft()
                else:
                    queue.rows[0] = again
        except TransientError:
            # The store is away; rows are where they were and `recover` finds them.
            log.warning("delivery_paused", conversation=conversation_id)
        finally:
            queue.task = None
            self._queues.pop(conversation_id, None)

    async def _send(self, queue: _Queue, row: OutboxRow) -> OutboxRow | None:
        """Try one row; returns the row to try again, or None when it is settled."""
        address = queue.address
        channel = self._channels[(address.channel, address.account)]
        await self._pause_until(row.not_before_ms, queue.sooner)
        queue.sooner = None
        try:
            await channel.ready(address, urgent=row.kind == "emergency")
        except Throttled as error:
            queue.sooner = error.sooner
            wait_ms = int((error.retry_after_s or 1.0) * 1000)
            return replace(row, not_before_ms=self._clock.now_ms() + wait_ms)
        if self._stopping.is_set():
            return row
        now_ms = self._clock.now_ms()
        if row.kind == "reminder" and await self._held_back(row, now_ms):
            return None
        mine = await self._store.write(
            begin_sending,
            Attempt(row.id, row.conversation_id, now_ms, now_ms + _SENDING_LEASE_MS),
        )
        if not mine:
            return None  # a peer has it, or it was settled
        result = await self._call(channel, queue, row)
        await self._store.write(finish_sending, result)
        if result.state != "pending":
            return None
        return replace(row, not_before_ms=result.not_before_ms, attempts=row.attempts + 1)

    async def _held_back(self, row: OutboxRow, now_ms: int) -> bool:
        detail = self._store.keys.seal_json(TASK_DETAIL, {"why": "unreachable"})
        return await self._store.write(
            hold_back, AboutToSend(row.id, row.conversation_id, now_ms, detail)
        )

    async def _call(self, channel: Channel, queue: _Queue, row: OutboxRow) -> SendResult:
        """Make one call and say how it ended; never raises what a channel may raise."""
        body = self._store.keys.open_json(OUTBOX_BODY, row.body_sealed)
        try:
            async with asyncio.timeout(_CALL_TIMEOUT_S):
                sent = await channel.send(queue.address, from_json(body), key=reply_key(row))
        except Throttled as error:
            self.counts.throttled += 1
            queue.sooner = error.sooner
            return self._later(row, error.retry_after_s or 1.0, "throttled")
        except SendRefused as error:
            return self._settled(row, "dead", "refused", unlink=error.unlink)
        except (SendUnknown, TimeoutError):
            repeat = (
                channel.capabilities.on_unknown == "resend" or row.kind in REPEAT_RATHER_THAN_LOSE
            )
            if repeat and row.attempts < _REPEATS_OF_UNKNOWN:
                return self._later(row, self._backoff_s(row), "unknown")
            return self._settled(row, "unknown", "unknown")
        except TransientError as error:
            self.counts.retried += 1
            return self._later(row, error.retry_after_s or self._backoff_s(row), "unreachable")
        except Exception as error:
            # A channel broke its contract; whether the message left is not known.
            log.exception("send_failed", row=row.id, error=type(error).__name__)
            return self._settled(row, "unknown", "bug")
        self.counts.sent += 1
        return SendResult(row.id, "sent", self._clock.now_ms(), platform_id=sent)

    def _later(self, row: OutboxRow, delay_s: float, error: str) -> SendResult:
        now_ms = self._clock.now_ms()
        if now_ms - row.created_at_ms > _GIVE_UP_AFTER_MS:
            return self._settled(row, "dead", error)
        return SendResult(row.id, "pending", now_ms, now_ms + int(delay_s * 1000), error=error)

    def _settled(
        self, row: OutboxRow, state: Literal["unknown", "dead"], error: str, *, unlink: bool = False
    ) -> SendResult:
        if state == "dead":
            self.counts.dead += 1
        else:
            self.counts.unknown += 1
        log.warning("not_delivered", row=row.id, kind=row.kind, state=state, error=error)
        detail = self._store.keys.seal_json(TASK_DETAIL, {"why": error, "outbox": row.id})
        return SendResult(
            row.id, state, self._clock.now_ms(), error=error, unlink=unlink, task_sealed=detail
        )

    @staticmethod
    def _backoff_s(row: OutboxRow) -> float:
        """Return 0.5, 1, 2 … 60 s, each up to a quarter longer, so that retries spread."""
        exact = min(_BACKOFF_CAP_S, _BACKOFF_BASE_S * 2 ** min(row.attempts, 10))
        return exact * random.uniform(1.0, 1.25)  # noqa: S311 spreads load, keeps no secret

    async def _pause_until(self, at_ms: int, sooner: asyncio.Event | None) -> None:
        delay_s = (at_ms - self._clock.now_ms()) / 1000
        if delay_s > 0:
            ends = [self._stopping, *([sooner] if sooner else [])]
            waits = [asyncio.ensure_future(event.wait()) for event in ends]
            try:
                await asyncio.wait(waits, timeout=delay_s, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()

    async def stop(self, drain_s: float) -> None:
        """Finish calls in flight; what is queued stays in the outbox."""
        self._stopping.set()
        tasks = [q.task for q in self._queues.values() if q.task is not None]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=drain_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)


def reply_key(row: OutboxRow) -> str:
    """Return the stable id of a row for `Channel.send`."""
    return f"{row.transcript_id}.{row.part}"
