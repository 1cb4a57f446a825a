"""Inbox: what came in, stored once, and how each message ended.

Every function is a batch function (see `core.store.writer`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, and_, bindparam, func, or_, select, update

from core.store.dialect import IDS, for_update, insert_ignore
from core.store.leases import Lease, set_leases
from core.store.tables import IS_WAITING, channel_link, conversation, inbox, patient


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
    select(
        conversation.c.id,
        conversation.c.state_sealed,
        conversation.c.lease_until_ms,
        conversation.c.takeover_id,
    )
    .where(conversation.c.id.in_(IDS))
    .order_by(conversation.c.id)
)


_BACKLOGS = (
    select(inbox.c.conversation_id, func.count())
    .where(inbox.c.conversation_id.in_(IDS), IS_WAITING)
    .group_by(inbox.c.conversation_id)
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
        row_id: Lease(row_id, wishes[row_id].lease or "", state, backlogs[row_id], takeover_id)
        for row_id, state, until, takeover_id in rows
        if until <= wishes[row_id].received_at_ms
    }
    set_leases(
        connection, [(lease, wishes[row_id].lease_until_ms) for row_id, lease in taken.items()]
    )
    return taken


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
    oldest = connection.execute(select(func.min(inbox.c.received_at_ms)).where(IS_WAITING)).scalar()
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
