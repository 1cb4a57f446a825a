"""Inbox and conversation leases: what came in, who may handle it, and that it was.

Every function is a batch function (see `core.store.writer`). Locks are taken in the order of
conversation ids, so that two replicas cannot wait for each other. Statements that each message
needs are made once: making one costs as much as running it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, TypeVarTuple

from sqlalchemy import (
    BindParameter,
    Connection,
    Select,
    Table,
    and_,
    bindparam,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from core.store.tables import channel_link, conversation, inbox, patient

_Columns = TypeVarTuple("_Columns")


@dataclass(frozen=True, slots=True)
class NewMessage:
    """A message to store.

    Attributes:
        channel, account, chat_id: its chat.
        message_id: unique within the chat for ever.
        sequence: the platform's order.
        body_sealed: the sealed `Inbound`.
        received_at_ms: when it reached us.
        zone: IANA zone for a patient we do not know yet.
        name_sealed: the person's sealed display name, or None.
        lease: token to take if nobody holds the conversation, or None not to try.
        lease_until_ms: how long to hold it.
    """

    channel: str
    account: str
    chat_id: str
    message_id: str
    sequence: int
    body_sealed: bytes
    received_at_ms: int
    zone: str
    name_sealed: bytes | None
    lease: str | None
    lease_until_ms: int


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to handle one conversation.

    Attributes:
        conversation_id: which.
        token: proves the right at completion.
        state_sealed: dialog state at the time of the claim, or None for a new conversation.
        backlog: messages that waited when the lease was taken, the new one included.
    """

    conversation_id: int
    token: str
    state_sealed: bytes | None
    backlog: int = 1


@dataclass(frozen=True, slots=True)
class Ingested:
    """What became of a message.

    Attributes:
        conversation_id: its conversation.
        inbox_id: its row; None when the message was known already.
        lease: the conversation's lease, when it was asked for and free.
    """

    conversation_id: int
    inbox_id: int | None
    lease: Lease | None


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


def insert_ignore(connection: Connection, table: Table, *returning: str) -> Any:
    """Return ``INSERT … ON CONFLICT DO NOTHING`` in the connection's dialect.

    Args:
        connection: says which dialect.
        table: where to.
        returning: columns of the rows that were really inserted.
    """
    return _insert_ignore(connection.dialect.name, table, returning)


@cache
def _insert_ignore(dialect: str, table: Table, returning: tuple[str, ...]) -> Any:
    module = sqlite if dialect == "sqlite" else postgresql
    insert: Any = module.insert(table).on_conflict_do_nothing()
    return insert.returning(*(table.c[name] for name in returning)) if returning else insert


def for_update(
    connection: Connection, statement: Select[*_Columns], *, skip_locked: bool = False
) -> Select[*_Columns]:
    """Lock the selected rows; SQLite has one writer and needs no row locks."""
    if connection.dialect.name == "sqlite":
        return statement
    return statement.with_for_update(skip_locked=skip_locked, of=conversation)


_IDS: BindParameter[Any] = bindparam("ids", expanding=True)
_FIND = select(conversation.c.chat_id, conversation.c.id).where(
    conversation.c.channel == bindparam("b_channel"),
    conversation.c.account == bindparam("b_account"),
    conversation.c.chat_id.in_(bindparam("chats", expanding=True)),
)
_NEW_PATIENT = patient.insert().returning(patient.c.id)
_NEW_LINK = channel_link.insert()
_SET_PATIENT = (
    update(conversation)
    .where(conversation.c.id == bindparam("b_id"))
    .values(patient_id=bindparam("b_patient"))
)
_TOUCH_LINK = (
    update(channel_link)
    .where(channel_link.c.conversation_id == bindparam("b_conversation"))
    .values(active=True, last_inbound_at_ms=bindparam("b_at_ms"))
)
_LEASES_OF = (
    select(conversation.c.id, conversation.c.state_sealed, conversation.c.lease_until_ms)
    .where(conversation.c.id.in_(_IDS))
    .order_by(conversation.c.id)
)
_BACKLOGS = (
    select(inbox.c.conversation_id, func.count())
    .where(inbox.c.conversation_id.in_(_IDS), inbox.c.state == "pending")
    .group_by(inbox.c.conversation_id)
)
_SET_LEASE = (
    update(conversation)
    .where(conversation.c.id == bindparam("b_id"))
    .values(lease_token=bindparam("b_token"), lease_until_ms=bindparam("b_until"))
)
_TOKENS_OF = (
    select(conversation.c.id, conversation.c.lease_token)
    .where(conversation.c.id.in_(_IDS))
    .order_by(conversation.c.id)
)


def _conversations(
    connection: Connection, messages: Sequence[NewMessage]
) -> dict[tuple[str, str, str], int]:
    """Find or create the conversations of these messages, with their patients."""
    wanted: dict[tuple[str, str], dict[str, NewMessage]] = {}
    for message in messages:
        chats = wanted.setdefault((message.channel, message.account), {})
        chats.setdefault(message.chat_id, message)
    found: dict[tuple[str, str, str], int] = {}
    for (channel, account), chats in wanted.items():
        place = {"b_channel": channel, "b_account": account}
        rows = connection.execute(_FIND, {**place, "chats": list(chats)}).all()
        found |= {(channel, account, chat): row_id for chat, row_id in rows}
        missing = sorted(set(chats) - {chat for chat, _ in rows})
        if not missing:
            continue
        created: Sequence[Any] = connection.execute(
            insert_ignore(connection, conversation, "chat_id", "id"),
            [{"channel": channel, "account": account, "chat_id": chat} for chat in missing],
        ).all()
        for chat, row_id in created:
            _welcome(connection, row_id, chats[chat])
        if len(created) < len(missing):  # a peer was faster; its rows are committed by now
            created = connection.execute(_FIND, {**place, "chats": missing}).all()
        found |= {(channel, account, chat): row_id for chat, row_id in created}
    return found


def _welcome(connection: Connection, conversation_id: int, message: NewMessage) -> None:
    patient_id = connection.execute(
        _NEW_PATIENT,
        {"zone": message.zone, "created_at_ms": message.received_at_ms},
    ).scalar_one()
    connection.execute(_SET_PATIENT, {"b_id": conversation_id, "b_patient": patient_id})
    connection.execute(
        _NEW_LINK,
        {
            "patient_id": patient_id,
            "conversation_id": conversation_id,
            "name_sealed": message.name_sealed,
            "active": True,
            "last_inbound_at_ms": message.received_at_ms,
        },
    )


def ingest(connection: Connection, messages: Sequence[NewMessage]) -> list[Ingested]:
    """Store messages; a (chat, message id) seen before is dropped and touches nothing."""
    ids = _conversations(connection, messages)
    keys = [ids[(m.channel, m.account, m.chat_id)] for m in messages]
    inserted: Sequence[Any] = connection.execute(
        insert_ignore(connection, inbox, "conversation_id", "message_id", "id"),
        [
            {
                "conversation_id": key,
                "message_id": message.message_id,
                "sequence": message.sequence,
                "received_at_ms": message.received_at_ms,
                "body_sealed": message.body_sealed,
            }
            for key, message in zip(keys, messages, strict=True)
        ],
    ).all()
    fresh = {(row[0], row[1]): row[2] for row in inserted}
    _touch_links(connection, dict(zip(keys, messages, strict=True)))
    wishes: dict[int, NewMessage] = {}
    for key, message in zip(keys, messages, strict=True):
        if message.lease and (key, message.message_id) in fresh:
            wishes.setdefault(key, message)  # the first opens the lane, the others follow into it
    leases = _take_free(connection, wishes) if wishes else {}
    results: list[Ingested] = []
    for key, message in zip(keys, messages, strict=True):
        # Two copies in one batch: the row belongs to the first, the second is a duplicate.
        row_id = fresh.pop((key, message.message_id), None)
        lease = leases.get(key)
        mine = lease if lease is not None and lease.token == message.lease else None
        results.append(Ingested(key, row_id, mine))
    return results


def _touch_links(connection: Connection, latest: dict[int, NewMessage]) -> None:
    connection.execute(
        _TOUCH_LINK,
        [
            {"b_conversation": key, "b_at_ms": message.received_at_ms}
            for key, message in sorted(latest.items())
        ],
    )


def _take_free(connection: Connection, wishes: dict[int, NewMessage]) -> dict[int, Lease]:
    ids = {"ids": sorted(wishes)}
    rows = connection.execute(for_update(connection, _LEASES_OF, skip_locked=True), ids).all()
    backlogs = dict(connection.execute(_BACKLOGS, ids).all())
    taken = {
        row_id: Lease(row_id, wishes[row_id].lease or "", state, backlogs[row_id])
        for row_id, state, until in rows
        if until <= wishes[row_id].received_at_ms
    }
    _set_leases(
        connection, [(lease, wishes[row_id].lease_until_ms) for row_id, lease in taken.items()]
    )
    return taken


def _set_leases(connection: Connection, leases: Iterable[tuple[Lease, int]]) -> None:
    values = [
        {"b_id": lease.conversation_id, "b_token": lease.token, "b_until": until}
        for lease, until in leases
    ]
    if values:
        connection.execute(_SET_LEASE, values)


def claim(connection: Connection, requests: Sequence[ClaimRequest]) -> list[list[Claimed]]:
    """Take conversations that have pending messages and no live lease."""
    return [_claim(connection, request) for request in requests]


def _claim(connection: Connection, request: ClaimRequest) -> list[Claimed]:
    waiting = (
        select(inbox.c.conversation_id)
        .where(inbox.c.state == "pending", inbox.c.not_before_ms <= request.now_ms)
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
        row["id"]: Lease(row["id"], token, row["state_sealed"])
        for row, token in zip(rows, request.tokens, strict=False)
    }
    _set_leases(connection, [(lease, request.lease_until_ms) for lease in leases.values()])
    # A token that was never given back: its holder may have died over these very messages.
    orphaned = [row["id"] for row in rows[: len(leases)] if row["lease_token"] is not None]
    if orphaned:
        connection.execute(
            update(inbox)
            .where(
                inbox.c.conversation_id.in_(bindparam("ids", expanding=True)),
                inbox.c.state == "pending",
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
            inbox.c.state == "pending",
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
    _set_leases(
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


@dataclass(frozen=True, slots=True)
class InboxCounts:
    """How the inbox stands: every message is in exactly one of these."""

    pending: int = 0
    dead: int = 0
    outcomes: dict[str, int] = field(default_factory=dict[str, int])
    oldest_pending_ms: int | None = None


def count_inbox(connection: Connection, _argument: None = None) -> InboxCounts:
    """Account for every message: pending, dead, or done with an outcome."""
    rows = connection.execute(
        select(inbox.c.state, inbox.c.outcome, func.count()).group_by(
            inbox.c.state, inbox.c.outcome
        )
    ).all()
    oldest = connection.execute(
        select(func.min(inbox.c.received_at_ms)).where(inbox.c.state == "pending")
    ).scalar()
    outcomes = {outcome: n for state, outcome, n in rows if state == "done" and outcome}
    return InboxCounts(
        pending=sum(n for state, _, n in rows if state == "pending"),
        dead=sum(n for state, _, n in rows if state == "dead"),
        outcomes=outcomes,
        oldest_pending_ms=oldest,
    )


def abandoned(connection: Connection, _argument: None = None) -> int:
    """Count done messages without an outcome; always 0 unless there is a bug."""
    rows = connection.execute(
        select(inbox.c.id).where(
            or_(
                and_(inbox.c.state == "done", inbox.c.outcome.is_(None)),
                and_(inbox.c.state == "dead", inbox.c.outcome.is_(None)),
            )
        )
    ).all()
    return len(rows)
