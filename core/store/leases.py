"""Conversation leases: who may handle which conversation, until when, and what waits in it.

Every function is a batch function (see `core.store.writer`). Locks are taken in the order of
conversation ids, so that two replicas cannot wait for each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, select, update

from core.store.dialect import IDS, for_update
from core.store.tables import IS_WAITING, conversation, inbox

_SET_LEASE = (
    update(conversation)
    .where(conversation.c.id == bindparam("b_id"))
    .values(lease_token=bindparam("b_token"), lease_until_ms=bindparam("b_until"))
)


_TOKENS_OF = (
    select(conversation.c.id, conversation.c.lease_token)
    .where(conversation.c.id.in_(IDS))
    .order_by(conversation.c.id)
)


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to handle one conversation.

    Attributes:
        conversation_id: which.
        token: proves the right at completion.
        state_sealed: dialog state at the time of the claim, or None for a new conversation.
        backlog: messages that waited when the lease was taken, the new one included.
        takeover_id: staff answer here, and this is since when (`core.store.takeover`); None = we
            do. It holds as long as the lease: taking over and handing back end every lease.
    """

    conversation_id: int
    token: str
    state_sealed: bytes | None
    backlog: int = 1
    takeover_id: int | None = None


@dataclass(frozen=True, slots=True)
class PendingRow:
    """A stored message that is not handled yet; an event of our own has no body."""

    id: int
    message_id: str
    sequence: int
    received_at_ms: int
    not_before_ms: int
    attempts: int
    body_sealed: bytes | None


@dataclass(frozen=True, slots=True)
class Claimed:
    """A conversation taken over, with everything that waits in it."""

    lease: Lease
    channel: str
    account: str
    chat_id: str
    rows: tuple[PendingRow, ...]


@dataclass(frozen=True, slots=True)
class ClaimRequest:
    """Take conversations that have work and no live lease.

    Attributes:
        tokens: one fresh token per conversation to take; their number is the limit.
        now_ms: the present.
        lease_until_ms: how long to hold them.
        only: restrict to these conversations, or None for any.
    """

    tokens: tuple[str, ...]
    now_ms: int
    lease_until_ms: int
    only: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class Renewal:
    """Prolong one lease."""

    conversation_id: int
    token: str
    lease_until_ms: int


@dataclass(frozen=True, slots=True)
class Postponement:
    """A turn failed: count it and try again later, or never."""

    conversation_id: int
    token: str
    inbox_ids: tuple[int, ...]
    not_before_ms: int


def claim(connection: Connection, requests: Sequence[ClaimRequest]) -> list[list[Claimed]]:
    """Take conversations that have pending messages and no live lease."""
    return [_claim(connection, request) for request in requests]


def _claim(connection: Connection, request: ClaimRequest) -> list[Claimed]:
    waiting = (
        select(inbox.c.conversation_id)
        .where(IS_WAITING, inbox.c.not_before_ms <= request.now_ms)
        .distinct()
    )
    if request.only is not None:
        waiting = waiting.where(inbox.c.conversation_id.in_(request.only))
    free = (
        select(conversation)
        .where(conversation.c.id.in_(waiting), conversation.c.lease_until_ms <= request.now_ms)
        .order_by(conversation.c.id)
        .limit(len(request.tokens))
    )
    rows = connection.execute(for_update(connection, free, skip_locked=True)).mappings().all()
    if not rows:
        return []
    leases = {
        row["id"]: Lease(row["id"], token, row["state_sealed"], takeover_id=row["takeover_id"])
        for row, token in zip(rows, request.tokens, strict=False)
    }
    set_leases(connection, [(lease, request.lease_until_ms) for lease in leases.values()])
    # A token that was never given back: its holder may have died over these very messages.
    orphaned = [row["id"] for row in rows[: len(leases)] if row["lease_token"] is not None]
    if orphaned:
        connection.execute(
            update(inbox)
            .where(
                inbox.c.conversation_id.in_(bindparam("ids", expanding=True)),
                IS_WAITING,
            )
            .values(attempts=inbox.c.attempts + 1),
            {"ids": orphaned},
        )
    pending = _pending(connection, list(leases))
    return [
        Claimed(
            leases[row["id"]],
            row["channel"],
            row["account"],
            row["chat_id"],
            tuple(pending.get(row["id"], ())),
        )
        for row in rows
    ]


def _pending(connection: Connection, ids: Sequence[int]) -> dict[int, list[PendingRow]]:
    rows = connection.execute(
        select(inbox)
        .where(
            inbox.c.conversation_id.in_(bindparam("ids", expanding=True)),
            IS_WAITING,
        )
        .order_by(inbox.c.conversation_id, inbox.c.sequence, inbox.c.id),
        {"ids": list(ids)},
    ).mappings()
    pending: dict[int, list[PendingRow]] = {}
    for row in rows:
        pending.setdefault(row["conversation_id"], []).append(
            PendingRow(
                row["id"],
                row["message_id"],
                row["sequence"],
                row["received_at_ms"],
                row["not_before_ms"],
                row["attempts"],
                row["body_sealed"],
            )
        )
    return pending


def pending_of(connection: Connection, conversation_id: int) -> list[PendingRow]:
    """Return what waits in one conversation, in the platform's order."""
    return _pending(connection, [conversation_id]).get(conversation_id, [])


def set_leases(connection: Connection, leases: Iterable[tuple[Lease, int]]) -> None:
    """Write leases and their ends (UTC ms) into their conversations."""
    values = [
        {"b_id": lease.conversation_id, "b_token": lease.token, "b_until": until}
        for lease, until in leases
    ]
    if values:
        connection.execute(_SET_LEASE, values)


def holders(connection: Connection, leases: Sequence[tuple[int, str]]) -> set[tuple[int, str]]:
    """Lock these conversations and return the (id, token) pairs that still hold."""
    rows = connection.execute(
        for_update(connection, _TOKENS_OF),
        {"ids": sorted({conversation_id for conversation_id, _ in leases})},
    ).all()
    held = {(row[0], row[1]) for row in rows}
    return held & set(leases)


def renew(connection: Connection, renewals: Sequence[Renewal]) -> list[bool]:
    """Prolong leases; False means that the lease was lost and the turn must be abandoned."""
    held = holders(connection, [(r.conversation_id, r.token) for r in renewals])
    kept = [(r.conversation_id, r.token) in held for r in renewals]
    set_leases(
        connection,
        [
            (Lease(r.conversation_id, r.token, None), r.lease_until_ms)
            for r, ok in zip(renewals, kept, strict=True)
            if ok
        ],
    )
    return kept


def release(connection: Connection, leases: Sequence[tuple[int, str]]) -> list[None]:
    """Give leases back early; a lease that is lost already is left alone."""
    held = holders(connection, leases)
    if held:
        connection.execute(
            update(conversation)
            .where(conversation.c.id == bindparam("b_id"))
            .values(lease_token=None, lease_until_ms=0),
            [{"b_id": conversation_id} for conversation_id, _ in sorted(held)],
        )
    return [None] * len(leases)


def postpone(connection: Connection, items: Sequence[Postponement]) -> list[bool]:
    """Count a failed attempt and keep the messages pending; False when the lease was lost."""
    held = holders(connection, [(i.conversation_id, i.token) for i in items])
    results: list[bool] = []
    for item in items:
        mine = (item.conversation_id, item.token) in held
        if mine:
            connection.execute(
                update(inbox)
                .where(inbox.c.id.in_(item.inbox_ids), inbox.c.state == "pending")
                .values(attempts=inbox.c.attempts + 1, not_before_ms=item.not_before_ms)
            )
        results.append(mine)
    return results


def free_all_leases(connection: Connection, _arguments: Sequence[None]) -> list[None]:
    """End every lease: only right when this process is the database's only user."""
    connection.execute(
        update(conversation)
        .where(conversation.c.lease_until_ms > 0)
        .values(lease_until_ms=0)  # the token stays: `claim` sees that its holder died
    )
    return [None] * len(_arguments)
