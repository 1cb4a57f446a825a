"""Alerts to staff chats: which tasks wait for one, and the rows that carry it.

A staff chat is a conversation like any other, so an alert is an outbox row like any other:
durable, in order, paced and repeated by `core.delivery`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, select, update

from core.message import Address
from core.store.dialect import insert_ignore
from core.store.outbox import OutboxRow
from core.store.tables import IS_TO_ALERT, conversation, outbox, staff_task, transcript

_BATCH = 100
_ALERT = "emergency"


@dataclass(frozen=True, slots=True)
class WaitingTask:
    """An open task whose next alert is due."""

    id: int
    urgency: str
    opened_at_ms: int
    alerts: int
    patient_id: int | None


@dataclass(frozen=True, slots=True)
class NewAlert:
    """One alert to send.

    Attributes:
        task_id: its task.
        alerts: how many alerts that task had when it was read: of two replicas one wins.
        to: the staff chat.
        turn_id: names the alert in the transcript.
        body_sealed: the reply for the transcript.
        parts: the same, cut and sealed for the outbox.
        now_ms: the present.
        next_due_ms: when to try the next chat if nobody takes the task; None = no more.
    """

    task_id: int
    alerts: int
    to: Address
    turn_id: str
    body_sealed: bytes
    parts: tuple[bytes, ...]
    now_ms: int
    next_due_ms: int | None


# Made once: it runs every second.
_DUE = (
    select(
        staff_task.c.id,
        staff_task.c.urgency,
        staff_task.c.created_at_ms,
        staff_task.c.alerts,
        conversation.c.patient_id,
    )
    .join(conversation, conversation.c.id == staff_task.c.conversation_id)
    .where(IS_TO_ALERT, staff_task.c.alert_due_ms <= bindparam("b_now"))
    .where(staff_task.c.state == "open")
    .order_by(staff_task.c.alert_due_ms)
    .limit(_BATCH)
)


def tasks_to_alert(connection: Connection, now_ms: int) -> list[WaitingTask]:
    """Return open tasks whose alert is due, longest due first."""
    return [WaitingTask(*row) for row in connection.execute(_DUE, {"b_now": now_ms})]


def send_alerts(connection: Connection, alerts: Sequence[NewAlert]) -> list[list[OutboxRow]]:
    """Put alerts into the outbox; nothing for a task that was taken or alerted meanwhile."""
    return [_send(connection, alert) for alert in alerts]


def _send(connection: Connection, alert: NewAlert) -> list[OutboxRow]:
    mine = connection.execute(
        update(staff_task)
        .where(
            staff_task.c.id == alert.task_id,
            staff_task.c.state == "open",
            staff_task.c.alerts == alert.alerts,
        )
        .values(alerts=alert.alerts + 1, alert_due_ms=alert.next_due_ms)
    )
    if mine.rowcount != 1:
        return []
    return put(
        connection, alert.to, alert.turn_id, _ALERT, alert.body_sealed, alert.parts, alert.now_ms
    )


def put(
    connection: Connection,
    to: Address,
    turn_id: str,
    kind: str,
    body_sealed: bytes,
    parts: Sequence[bytes],
    now_ms: int,
) -> list[OutboxRow]:
    """Put one message to a staff chat into transcript and outbox, in the caller's transaction."""
    conversation_id = _chat(connection, to)
    transcript_id = connection.execute(
        transcript.insert().returning(transcript.c.id),
        {
            "conversation_id": conversation_id,
            "turn_id": turn_id,
            "author": "service",
            "kind": kind,
            "at_ms": now_ms,
            "body_sealed": body_sealed,
        },
    ).scalar_one()
    rows: list[OutboxRow] = []
    for number, body in enumerate(parts):
        row_id = connection.execute(
            outbox.insert().returning(outbox.c.id),
            {
                "conversation_id": conversation_id,
                "transcript_id": transcript_id,
                "part": number,
                "kind": kind,
                "body_sealed": body,
                "created_at_ms": now_ms,
                "changed_at_ms": now_ms,
            },
        ).scalar_one()
        rows.append(
            OutboxRow(row_id, conversation_id, transcript_id, number, kind, body, now_ms, 0, 0)
        )
    return rows


def _chat(connection: Connection, to: Address) -> int:
    """Return the chat's conversation; one that never wrote to us gets a row without a patient."""
    place = {"channel": to.channel, "account": to.account, "chat_id": to.chat_id}
    created = connection.execute(insert_ignore(connection, conversation, "id"), place).scalar()
    if created is not None:
        return int(created)
    return connection.execute(
        select(conversation.c.id).where(
            conversation.c.channel == to.channel,
            conversation.c.account == to.account,
            conversation.c.chat_id == to.chat_id,
        )
    ).scalar_one()
