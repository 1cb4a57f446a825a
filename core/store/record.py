"""What the record holds about one chat, as far as an answer may need it: photos and the plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, select

from core.message import Address
from core.store.tables import conversation, follow_up, photo

_PHOTOS = 6


@dataclass(frozen=True, slots=True)
class StoredPhoto:
    """A photo of the upload table; `reading_sealed` is None when nobody could read it yet."""

    id: int
    reading_sealed: bytes | None


@dataclass(frozen=True, slots=True)
class ActivePlan:
    """The follow-up that is running."""

    due_at_ms: int
    urgency: str
    zone: str


@dataclass(frozen=True, slots=True)
class Record:
    """The newest photos of one chat, oldest first, and its plan."""

    photos: Sequence[StoredPhoto]
    plan: ActivePlan | None


def photo_at(connection: Connection, place: tuple[int, int, int]) -> StoredPhoto | None:
    """Return the photo of a conversation that came with a message, at a position in it.

    Args:
        connection: to read with.
        place: conversation id, inbox id, position.
    """
    conversation_id, inbox_id, position = place
    found = connection.execute(
        select(photo.c.id, photo.c.reading_sealed).where(
            photo.c.conversation_id == conversation_id,
            photo.c.inbox_id == inbox_id,
            photo.c.position == position,
        )
    ).one_or_none()
    return StoredPhoto(found.id, found.reading_sealed) if found else None


def record_of(connection: Connection, address: Address) -> Record:
    """Return what is stored about a chat; bounded, whatever its age."""
    conversation_id = connection.execute(
        select(conversation.c.id).where(
            conversation.c.channel == address.channel,
            conversation.c.account == address.account,
            conversation.c.chat_id == address.chat_id,
        )
    ).scalar()
    if conversation_id is None:
        return Record((), None)
    photos = connection.execute(
        select(photo.c.id, photo.c.reading_sealed)
        .where(photo.c.conversation_id == conversation_id)
        .order_by(photo.c.id.desc())
        .limit(_PHOTOS)
    ).all()
    plan = connection.execute(
        select(follow_up.c.due_at_ms, follow_up.c.urgency, follow_up.c.zone)
        .where(follow_up.c.conversation_id == conversation_id, follow_up.c.state == "active")
        .order_by(follow_up.c.id.desc())
        .limit(1)
    ).one_or_none()
    stored = tuple(StoredPhoto(p.id, p.reading_sealed) for p in reversed(photos))
    return Record(stored, ActivePlan(*plan) if plan else None)
