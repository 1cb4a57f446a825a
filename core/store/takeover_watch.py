"""Watching takeovers: who answers what, who waits for how long, and telling staff."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, select, update

from core.store.hand_back import unanswered
from core.store.tables import (
    IS_GOING_ON,
    IS_OPEN_TASK,
    conversation,
    patient,
    staff,
    staff_task,
    takeover,
)
from core.store.takeover import open_task, task_turn


@dataclass(frozen=True, slots=True)
class GoingOn:
    """A takeover that has not ended.

    Attributes:
        id, conversation_id, staff_id: which, where and whose.
        staff_name: as colleagues and the patient see them.
        channel, account, chat_id: the chat.
        patient_id: whose.
        began_at_ms: since when.
        active_at_ms: when its holder last did something.
        nudges: reminders to staff since then.
        waiting_since_ms: the patient's first message without an answer came then; None = none.
    """

    id: int
    conversation_id: int
    staff_id: int
    staff_name: str
    channel: str
    account: str
    chat_id: str
    patient_id: int | None
    began_at_ms: int
    active_at_ms: int
    nudges: int
    waiting_since_ms: int | None


@dataclass(frozen=True, slots=True)
class Nudge:
    """Tell staff that a patient waits in a takeover.

    Attributes:
        takeover_id: which.
        nudges: how many there were when it was read; of two replicas one wins.
        now_ms: the present.
        deadline_ms: when somebody must have answered.
        task_sealed: what the task says.
        alert: staff chats are told too.
    """

    takeover_id: int
    nudges: int
    now_ms: int
    deadline_ms: int
    task_sealed: bytes
    alert: bool


_ALL_GOING_ON = (
    select(
        takeover.c.id,
        takeover.c.conversation_id,
        takeover.c.staff_id,
        staff.c.name,
        conversation.c.channel,
        conversation.c.account,
        conversation.c.chat_id,
        conversation.c.patient_id,
        takeover.c.began_at_ms,
        takeover.c.active_at_ms,
        takeover.c.nudges,
    )
    .join(staff, staff.c.id == takeover.c.staff_id)
    .join(conversation, conversation.c.id == takeover.c.conversation_id)
    .where(IS_GOING_ON)
    .order_by(takeover.c.began_at_ms)
)


def going_on(connection: Connection, conversation_id: int | None = None) -> list[GoingOn]:
    """Return the takeovers that have not ended, of one conversation or of all."""
    query = _ALL_GOING_ON
    if conversation_id is not None:
        query = query.where(takeover.c.conversation_id == conversation_id)
    found: list[GoingOn] = []
    for row in connection.execute(query).all():
        waiting = unanswered(connection, row.conversation_id, row.began_at_ms)
        since = min((message.received_at_ms for message in waiting), default=None)
        found.append(GoingOn(*tuple(row), waiting_since_ms=since))
    return found


def nudge(connection: Connection, nudges: Sequence[Nudge]) -> list[bool]:
    """Put "the patient waits" on the worklist; False when somebody else did, or it has ended."""
    return [_nudge(connection, item) for item in nudges]


def _nudge(connection: Connection, item: Nudge) -> bool:
    mine = connection.execute(
        update(takeover)
        .where(takeover.c.id == item.takeover_id, takeover.c.nudges == item.nudges, IS_GOING_ON)
        .values(nudges=item.nudges + 1)
    )
    if mine.rowcount != 1:
        return False
    turn_id = task_turn(item.takeover_id)
    again = connection.execute(
        update(staff_task)
        .where(staff_task.c.turn_id == turn_id, IS_OPEN_TASK)
        .values(alert_due_ms=item.now_ms if item.alert else None, changed_at_ms=item.now_ms)
    )
    if not again.rowcount:
        conversation_id = connection.execute(
            select(takeover.c.conversation_id).where(takeover.c.id == item.takeover_id)
        ).scalar_one()
        open_task(
            connection,
            conversation_id,
            turn_id,
            item.task_sealed,
            item.now_ms,
            deadline_ms=item.deadline_ms,
            alert=item.alert,
        )
    return True


def stay(connection: Connection, items: Sequence[tuple[int, int, int]]) -> list[bool]:
    """Note who is still here (takeover id, staff id, now); False when it is not theirs."""
    return [
        connection.execute(
            update(takeover)
            .where(takeover.c.id == takeover_id, takeover.c.staff_id == staff_id, IS_GOING_ON)
            .values(active_at_ms=now_ms)
        ).rowcount
        == 1
        for takeover_id, staff_id, now_ms in items
    ]


def language_of_patient(connection: Connection, conversation_id: int) -> str | None:
    """Return the language that a conversation's patient is spoken to in, or None."""
    return connection.execute(
        select(patient.c.language)
        .join(conversation, conversation.c.patient_id == patient.c.id)
        .where(conversation.c.id == conversation_id)
    ).scalar()
