"""Lanes: one per conversation, in the platform's order, at most one turn in flight.

A lane exists while this process holds the conversation's lease. Messages come to it straight from
intake after their commit; the claim query serves start-up, expired leases and other replicas. One
transaction ends a turn (`core.store.completion`); a turn whose lease was lost leaves nothing.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import structlog

from core.clock import Clock
from core.errors import TransientError
from core.gather import Event, Gathered, Waiting, from_json, gather
from core.message import Address, Attachment, Inbound
from core.store.completion import Completion, complete
from core.store.leases import (
    Claimed,
    ClaimRequest,
    Lease,
    PendingRow,
    Postponement,
    Renewal,
    claim,
    pending_of,
    postpone,
    release,
    renew,
)
from core.store.outbox import OutboxRow
from core.store.store import Store

log = structlog.get_logger(__name__)

INBOX_BODY = "inbox.body"
# A failing turn is tried again after 1, 4, 16 … s; then its messages go to staff.
_RETRY_BASE_S = 1.0
_MAX_ATTEMPTS = 6
_CLAIM_BATCH = 200


@dataclass(frozen=True, slots=True)
class TurnInput:
    """What a turn starts from.

    Attributes:
        conversation_id: whose turn it is.
        address: the chat.
        turn_id: names the turn in logs and rows.
        messages: at least one, in order.
        state_sealed: dialog state, or None for a new conversation.
        given_up: true when the messages failed too often and only an honest notice is wanted.
        takeover_id: staff answer this conversation since then, so the turn says nothing of its
            own (`core.turn.taken_over`); None = we answer.
    """

    conversation_id: int
    address: Address
    turn_id: str
    messages: tuple[Waiting, ...]
    state_sealed: bytes | None
    given_up: bool = False
    takeover_id: int | None = None


Discard = Callable[[Address, Sequence[Attachment]], Coroutine[Any, Any, None]]


class TurnHandler(Protocol):
    """Decides what to answer; touches the store only through the completion it returns."""

    async def __call__(self, turn: TurnInput, lease_token: str) -> Completion:
        """Return the turn's completion; `release` and the fence are set by the lane."""
        ...


@dataclass(slots=True)
class _Lane:
    lease: Lease
    address: Address
    waiting: list[Waiting] = field(default_factory=list["Waiting"])
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    # True when the inbox may hold messages of this conversation that memory does not.
    behind: bool = False
    # True when its lease is known to have ended: what it does next must leave nothing.
    abandoned: bool = False
    task: asyncio.Task[None] | None = None
    turn: asyncio.Task[Completion] | None = None

    def add(self, items: Sequence[Waiting]) -> None:
        known = {w.inbox_id for w in self.waiting}
        self.waiting.extend(w for w in items if w.inbox_id not in known)
        self.waiting.sort(key=lambda w: (w.sequence, w.inbox_id))
        self.wake.set()


@dataclass(frozen=True, slots=True)
class DispatchLimits:
    """How the lanes behave.

    Attributes:
        merge_window_ms: texts at most this far apart are answered together; 0 = never merge.
        lease_ms: how long a silent replica keeps its conversations.
        turns_at_once: turns in flight over all conversations.
        drain_s: how long a stop waits for turns in flight.
    """

    merge_window_ms: int = 1_000
    lease_ms: int = 30_000
    turns_at_once: int = 256
    drain_s: float = 20.0


@dataclass(slots=True)
class DispatchCounts:
    """What the lanes did, for metrics."""

    turns: int = 0
    re_executions: int = 0
    leases_lost: int = 0
    dead: int = 0


def event_of(message_id: str) -> Event:
    """Read the id of an event of our own: ``reminder:<id>:<due>`` or ``timer:<name>:<id>``."""
    kind, first, second = message_id.split(":")
    return Event("reminder", int(first)) if kind == "reminder" else Event(first, int(second))


class Dispatcher:
    """Owns the lanes.

    Args:
        store: where messages and leases are.
        clock: the present.
        handle: decides what to answer.
        deliver: gets the outbox rows of each finished turn.
        is_urgent: tells whether a message must not wait for anything (red flag); pure and fast.
        limits: see `DispatchLimits`.
        discard: forgets attachments a finished turn has no more use for.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        handle: TurnHandler,
        deliver: Callable[[Address, Sequence[OutboxRow]], None],
        is_urgent: Callable[[Inbound], bool],
        limits: DispatchLimits,
        discard: Discard | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._handle = handle
        self._deliver = deliver
        self._is_urgent = is_urgent
        self._limits = limits
        self._discard = discard
        self._lanes: dict[int, _Lane] = {}
        self._slots = asyncio.Semaphore(limits.turns_at_once)
        # Conversations with a committed message that no lane has heard of yet.
        self._unheard: set[int] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = False
        self.counts = DispatchCounts()

    @property
    def open_lanes(self) -> int:
        """How many conversations this process is busy with."""
        return len(self._lanes)

    def has_lane(self, conversation_id: int) -> bool:
        """Tell whether this process holds the conversation."""
        return conversation_id in self._lanes

    def lease_wish(self) -> tuple[str, int]:
        """Return a fresh lease token and its end (UTC ms), for intake to ask for."""
        return secrets.token_hex(16), self._clock.now_ms() + self._limits.lease_ms

    def offer(self, lease: Lease | None, conversation_id: int, item: Waiting) -> None:
        """Take a message that was just committed; `lease` when its commit took one."""
        inbound = item.what
        if self._cannot_wait(inbound):
            item = replace(item, urgent=True)
        lane = self._lanes.get(conversation_id)
        if lane is None:
            if lease is None or not isinstance(inbound, Inbound):
                # Our lane closed while this was being committed, or a peer holds the conversation
                # and reads it from the inbox; the claim tells them apart.
                self._unheard.add(conversation_id)
                self._spawn(self._claim_one(conversation_id))
                return
            lane = self._open(lease, inbound.address)
        lane.add([item])
        if item.urgent and lane.turn is not None:
            # The model's answer can wait, the red flag cannot: the turn starts again with it.
            lane.turn.cancel()

    def _open(self, lease: Lease, address: Address) -> _Lane:
        behind = lease.backlog > 1 or lease.conversation_id in self._unheard
        lane = _Lane(lease, address, behind=behind)
        self._lanes[lease.conversation_id] = lane
        lane.task = self._spawn(self._run(lane))
        return lane

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def claim_waiting(self, only: Sequence[int] | None = None) -> int:
        """Take over conversations (all, or `only` these) with work and no live lease."""
        if self._stopping:
            return 0
        claimed = await self._claim(only)
        for item in claimed:
            self._adopt(item)
        return len(claimed)

    def fence_moved(self, conversation_id: int, token: str | None) -> None:
        """Abandon the lane whose lease a commit outside the lanes has ended, and read anew.

        A turn in flight would leave nothing anyway; here its model is not asked to the end, and
        its messages get their next turn at once. Replicas notice at their own commit.

        Args:
            conversation_id: whose.
            token: the token that was ended, or None when nobody held the conversation.
        """
        lane = self._lanes.get(conversation_id)
        if lane is not None and lane.lease.token == token:
            lane.abandoned = True
            del self._lanes[conversation_id]
            lane.wake.set()
            if lane.turn is not None:
                lane.turn.cancel()
        self._unheard.add(conversation_id)
        self._spawn(self._claim_one(conversation_id))

    async def _claim(self, only: Sequence[int] | None) -> list[Claimed]:
        now_ms = self._clock.now_ms()
        size = _CLAIM_BATCH if only is None else len(only)
        tokens = tuple(secrets.token_hex(16) for _ in range(size))
        request = ClaimRequest(
            tokens,
            now_ms,
            now_ms + self._limits.lease_ms,
            tuple(only) if only is not None else None,
        )
        return await self._store.write(claim, request)

    def _adopt(self, claimed: Claimed) -> None:
        address = Address(claimed.channel, claimed.account, claimed.chat_id)
        lane = self._open(claimed.lease, address)
        lane.add([self._waiting(row, address) for row in claimed.rows])

    def _waiting(self, row: PendingRow, address: Address) -> Waiting:
        what: Inbound | Event
        if row.body_sealed is None:
            what = event_of(row.message_id)
        else:
            body = self._store.keys.open_json(INBOX_BODY, row.body_sealed)
            what = from_json(body, address, row.message_id)
        return Waiting(
            row.id,
            row.message_id,
            row.sequence,
            row.received_at_ms,
            what,
            row.attempts,
            row.not_before_ms,
            self._cannot_wait(what),
        )

    def _cannot_wait(self, what: Inbound | Event) -> bool:
        try:
            return isinstance(what, Inbound) and self._is_urgent(what)
        except Exception as error:
            # Here one text must not stop all the others; its own turn fails on it, and is counted.
            log.exception("urgency_unknown", error=type(error).__name__)
            return False

    async def _run(self, lane: _Lane) -> None:
        conversation_id = lane.lease.conversation_id
        try:
            while (lane.waiting or lane.behind) and not (self._stopping or lane.abandoned):
                await self._refresh(lane)
                ready = gather(
                    lane.waiting,
                    now_ms=self._clock.now_ms(),
                    merge_window_ms=self._limits.merge_window_ms,
                )
                if not ready.batch:
                    await self._wait(lane, ready)
                    continue
                async with self._slots:
                    if not await self._one_turn(lane, ready.batch):
                        return
        except TransientError:
            log.warning("lane_stopped", conversation=conversation_id, reason="store unavailable")
        finally:
            # `_one_turn` may have removed it already, and a newer lane may stand in its place.
            if self._lanes.get(conversation_id) is lane:
                del self._lanes[conversation_id]
                await self._give_back(lane)

    async def _refresh(self, lane: _Lane) -> None:
        """Read what a peer, or a moment without a lane, has put into the inbox."""
        if self._store.shared or lane.behind:
            lane.behind = False
            rows = await self._store.read(pending_of, lane.lease.conversation_id)
            lane.add([self._waiting(row, lane.address) for row in rows])

    async def _wait(self, lane: _Lane, ready: Gathered) -> None:
        lane.wake.clear()
        if ready.look_again_ms is None:
            return
        delay_s = max(0.0, (ready.look_again_ms - self._clock.now_ms()) / 1000)
        try:
            async with asyncio.timeout(delay_s):
                await lane.wake.wait()
        except TimeoutError:
            return

    async def _one_turn(self, lane: _Lane, batch: tuple[Waiting, ...]) -> bool:
        """Handle a batch; False when the lane is finished (released or lost)."""
        lease = lane.lease
        self.counts.turns += 1
        if batch[0].attempts:
            self.counts.re_executions += 1
        turn = TurnInput(
            lease.conversation_id,
            lane.address,
            f"{lease.conversation_id}-{batch[0].inbox_id}",
            batch,
            lease.state_sealed,
            given_up=batch[0].attempts >= _MAX_ATTEMPTS,
            takeover_id=lease.takeover_id,
        )
        completion = await self._attempt(lane, turn)
        if completion is None:
            return True
        handled = {w.inbox_id for w in batch}
        rest = [w for w in lane.waiting if w.inbox_id not in handled]
        completion = replace(
            completion,
            last_sequence=max(w.sequence for w in batch),
            release=not rest and not completion.follow_on,
        )
        ended = await self._store.write(complete, completion)
        if ended.how == "lost":
            self._lost(lane)
            return False
        lane.waiting = [w for w in lane.waiting if w.inbox_id not in handled]
        lane.behind = lane.behind or bool(completion.follow_on)
        if ended.how == "stale":
            lane.behind = True  # memory and inbox disagree: the inbox is right
            return True
        self._deliver(lane.address, ended.rows)
        if completion.discard and self._discard is not None:
            # After the commit: a crash before it still needs the files.
            self._spawn(self._discard(lane.address, completion.discard))
        lane.lease = replace(lease, state_sealed=completion.state_sealed)
        if lane.abandoned:
            return False  # what it said was committed before its lease ended
        return not completion.release or await self._reopen(lane)

    async def _reopen(self, lane: _Lane) -> bool:
        """After the lease was given back: take it again if something came in meanwhile."""
        conversation_id = lane.lease.conversation_id
        if not lane.waiting and not self._store.shared:
            self._close(lane)
            return False
        claimed = await self._claim([conversation_id])
        if not claimed:
            self._close(lane)
            return False
        lane.lease = claimed[0].lease
        lane.waiting = []
        lane.add([self._waiting(row, lane.address) for row in claimed[0].rows])
        return True

    async def _claim_one(self, conversation_id: int) -> None:
        try:
            await self.claim_waiting([conversation_id])
        except TransientError:
            return  # the sweep tries again
        finally:
            self._unheard.discard(conversation_id)
        lane = self._lanes.get(conversation_id)
        if lane is not None:
            lane.behind = True
            lane.wake.set()

    async def _attempt(self, lane: _Lane, turn: TurnInput) -> Completion | None:
        """Run the handler; None when the turn is to be tried again."""
        lane.turn = asyncio.create_task(self._handle(turn, lane.lease.token))
        try:
            return await lane.turn
        except asyncio.CancelledError:
            if lane.task is not None and lane.task.cancelling():
                lane.turn.cancel()
                raise
            return None  # an urgent message came in: gather again, it goes first
        except Exception as error:
            # The turn boundary: whatever went wrong, the patient's message stays.
            log.exception("turn_failed", turn=turn.turn_id, error=type(error).__name__)
            await self._postpone(lane, turn)
            return None
        finally:
            lane.turn = None

    async def _postpone(self, lane: _Lane, turn: TurnInput) -> None:
        attempts = turn.messages[0].attempts
        if turn.given_up:
            self.counts.dead += 1
        delay_ms = int(_RETRY_BASE_S * 1000 * 4 ** min(attempts, 4))
        not_before_ms = self._clock.now_ms() + delay_ms
        ids = tuple(w.inbox_id for w in turn.messages)
        await self._store.write(
            postpone, Postponement(turn.conversation_id, lane.lease.token, ids, not_before_ms)
        )
        lane.waiting = [
            replace(w, attempts=w.attempts + 1, not_before_ms=not_before_ms)
            if w.inbox_id in ids
            else w
            for w in lane.waiting
        ]

    def _lost(self, lane: _Lane) -> None:
        if not lane.abandoned:
            self.counts.leases_lost += 1
            log.warning("lease_lost", conversation=lane.lease.conversation_id)
        self._close(lane)

    def _close(self, lane: _Lane) -> None:
        """Forget a lane, unless a newer one already stands in its place."""
        if self._lanes.get(lane.lease.conversation_id) is lane:
            del self._lanes[lane.lease.conversation_id]

    async def _give_back(self, lane: _Lane) -> None:
        try:
            await self._store.write(release, (lane.lease.conversation_id, lane.lease.token))
        except TransientError:
            return  # the lease ends by itself

    async def renew_leases(self) -> None:
        """Prolong all leases held; a lane whose lease was lost stops at once."""
        lanes = list(self._lanes.values())
        until_ms = self._clock.now_ms() + self._limits.lease_ms
        kept = await self._store.write_all(
            renew,
            [Renewal(lane.lease.conversation_id, lane.lease.token, until_ms) for lane in lanes],
        )
        for lane, still_ours in zip(lanes, kept, strict=True):
            if not still_ours and self._lanes.get(lane.lease.conversation_id) is lane:
                self._lost(lane)
                if lane.task is not None:
                    lane.task.cancel()

    async def stop(self) -> None:
        """Let turns in flight finish (up to `drain_s`); the rest stays in the inbox."""
        self._stopping = True
        for lane in self._lanes.values():
            lane.wake.set()
        pending = set(self._tasks)
        if pending:
            _, late = await asyncio.wait(pending, timeout=self._limits.drain_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
