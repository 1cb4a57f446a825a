"""Voice notes as rows: what is still to be fetched, and what staff heard in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select

from core.store.dialect import insert_ignore
from core.store.patients import Page, Row
from core.store.tables import (
    IS_OPEN_TASK,
    conversation,
    inbox,
    staff,
    staff_task,
    voice_hearing,
    voice_note,
)
from core.store.takeover import open_task

# Open tasks of one conversation; more than a handful would be a fault elsewhere.
_TASKS = 50


@dataclass(frozen=True, slots=True)
class OpenTask:
    """A task of a conversation that nobody has closed."""

    id: int
    urgency: str
    detail_sealed: bytes


def open_tasks_of(connection: Connection, conversation_id: int) -> list[OpenTask]:
    """Return the open tasks "a person is wanted" of a conversation, the newest first."""
    rows = connection.execute(
        select(staff_task.c.id, staff_task.c.urgency, staff_task.c.detail_sealed)
        .where(
            staff_task.c.conversation_id == conversation_id,
            staff_task.c.kind == "human",
            IS_OPEN_TASK,
        )
        .order_by(staff_task.c.id.desc())
        .limit(_TASKS)
    ).all()
    return [OpenTask(*row) for row in rows]


def message_of(connection: Connection, query: tuple[int, int]) -> tuple[str, bytes | None] | None:
    """Return id and sealed body of a message.

    Args:
        connection: to the database.
        query: conversation and inbox id.
    """
    conversation_id, inbox_id = query
    found = connection.execute(
        select(inbox.c.message_id, inbox.c.body_sealed).where(
            inbox.c.id == inbox_id, inbox.c.conversation_id == conversation_id
        )
    ).first()
    return (found.message_id, found.body_sealed) if found else None


# -- for the console -------------------------------------------------------------------------

_NOTE = (
    *(voice_note.c.id, voice_note.c.conversation_id, voice_note.c.blob, voice_note.c.mime),
    *(voice_note.c.duration_ms, voice_note.c.transcribed, voice_note.c.received_at_ms),
)
_OF_MESSAGE = (
    select(*_NOTE, inbox.c.message_id, conversation.c.patient_id)
    .join(inbox, inbox.c.id == voice_note.c.inbox_id)
    .join(conversation, conversation.c.id == voice_note.c.conversation_id)
)


def voices(connection: Connection, page: Page) -> list[Row]:
    """Return the voice notes of some chats with what staff heard, the newest first."""
    query = (
        _OF_MESSAGE.where(voice_note.c.conversation_id.in_(page.ids))
        .order_by(voice_note.c.id.desc())
        .limit(page.limit)
    )
    if page.before is not None:
        query = query.where(voice_note.c.id < page.before)
    return _with_hearings(connection, query)


def voices_of_messages(connection: Connection, query: tuple[int, Sequence[str]]) -> list[Row]:
    """Return the voice notes of some messages of one chat.

    Args:
        connection: to the database.
        query: the conversation, and the messages' ids as their platform names them.
    """
    conversation_id, message_ids = query
    return _with_hearings(
        connection,
        _OF_MESSAGE.where(
            inbox.c.conversation_id == conversation_id, inbox.c.message_id.in_(message_ids)
        ).order_by(voice_note.c.id),
    )


def voice_of(connection: Connection, voice_id: int) -> Row | None:
    """Return one voice note with whose it is and what staff heard, or None."""
    found = _with_hearings(connection, _OF_MESSAGE.where(voice_note.c.id == voice_id))
    return found[0] if found else None


def _with_hearings(connection: Connection, query: Any) -> list[Row]:
    rows = [dict(row) for row in connection.execute(query).mappings()]
    if not rows:
        return []
    heard = connection.execute(
        select(voice_hearing, staff.c.name)
        .join(staff, staff.c.id == voice_hearing.c.staff_id)
        .where(voice_hearing.c.voice_id.in_([row["id"] for row in rows]))
        .order_by(voice_hearing.c.id)
    ).mappings()
    notes = [dict(row) for row in heard]
    for row in rows:
        row["hearings"] = [note for note in notes if note["voice_id"] == row["id"]]
    return rows


@dataclass(frozen=True, slots=True)
class NewHearing:
    """What somebody on the staff heard.

    Attributes:
        row: of `voice_hearing`.
        conversation_id: whose note it is.
        task_sealed: detail of the task that a red flag in these words opens, or None.
        urgency: of that task.
        deadline_ms: when somebody must have acted on it.
    """

    row: Mapping[str, Any]
    conversation_id: int
    task_sealed: bytes | None = None
    urgency: str = "same_day"
    deadline_ms: int = 0


def add_hearings(connection: Connection, items: Sequence[NewHearing]) -> list[bool]:
    """Keep what staff heard; False where the same form was kept before."""
    return [_add(connection, item) for item in items]


def _add(connection: Connection, item: NewHearing) -> bool:
    kept = connection.execute(insert_ignore(connection, voice_hearing, "id"), dict(item.row))
    if kept.first() is None:
        return False
    if item.task_sealed is not None:
        open_task(
            connection,
            item.conversation_id,
            None,
            item.task_sealed,
            item.row["at_ms"],
            kind="emergency",
            urgency=item.urgency,
            deadline_ms=item.deadline_ms,
        )
    return True
