"""A patient as the clinic sees them: chats, timeline, photos, and what doctors say about these.

Queries return rows still sealed; paging is by id from each source's own last one, never by offset.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, select, update

from core.store.dialect import insert_ignore
from core.store.tables import (
    channel_link,
    consent,
    conversation,
    follow_up,
    inbox,
    outbox,
    patient,
    photo,
    reading_review,
    staff,
    staff_task,
    transcript,
)

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Page:
    """A page of something that grows.

    Attributes:
        ids: of the conversations, or nothing for a list of everybody.
        before: show what is older than this id; None = the newest.
        limit: at most so many.
    """

    ids: tuple[int, ...]
    before: int | None
    limit: int


def patients(connection: Connection, page: Page) -> list[Row]:
    """Return people, the newest first; `page.ids` is not looked at."""
    query = select(patient).order_by(patient.c.id.desc()).limit(page.limit)
    if page.before is not None:
        query = query.where(patient.c.id < page.before)
    people = [dict(row) for row in connection.execute(query).mappings()]
    chats = _chats(connection, [row["id"] for row in people])
    for row in people:
        row["chats"] = [chat for chat in chats if chat["patient_id"] == row["id"]]
    return people


def patient_of(connection: Connection, patient_id: int) -> Row | None:
    """Return one person with their chats, or None."""
    found = connection.execute(select(patient).where(patient.c.id == patient_id)).mappings().first()
    return {**found, "chats": _chats(connection, [patient_id])} if found else None


def _chats(connection: Connection, patient_ids: Sequence[int]) -> list[Row]:
    rows = connection.execute(
        select(
            conversation.c.id,
            channel_link.c.patient_id,
            conversation.c.channel,
            conversation.c.account,
            conversation.c.chat_id,
            conversation.c.state_sealed,
            conversation.c.takeover_id,
            channel_link.c.name_sealed,
            channel_link.c.active,
            channel_link.c.last_inbound_at_ms,
        )
        .join(channel_link, channel_link.c.conversation_id == conversation.c.id)
        .where(channel_link.c.patient_id.in_(patient_ids))
        .order_by(conversation.c.id)
    ).mappings()
    return [dict(row) for row in rows]


def chat_of(connection: Connection, conversation_id: int) -> Row | None:
    """Return one chat of a patient, or None; a staff chat is none."""
    patient_id = connection.execute(
        select(conversation.c.patient_id).where(conversation.c.id == conversation_id)
    ).scalar()
    if patient_id is None:
        return None
    chats = _chats(connection, [patient_id])
    return next((chat for chat in chats if chat["id"] == conversation_id), None)


def messages(connection: Connection, page: Page) -> list[Row]:
    """Return what was said in some chats, the newest first, with how far ours have come."""
    query = (
        select(
            transcript.c.id,
            transcript.c.conversation_id,
            transcript.c.turn_id,
            transcript.c.message_id,
            transcript.c.author,
            transcript.c.kind,
            transcript.c.at_ms,
            transcript.c.body_sealed,
            transcript.c.verdict_sealed,
        )
        .where(transcript.c.conversation_id.in_(page.ids))
        .order_by(transcript.c.id.desc())
        .limit(page.limit)
    )
    if page.before is not None:
        query = query.where(transcript.c.id < page.before)
    rows = [dict(row) for row in connection.execute(query).mappings()]
    states = connection.execute(
        select(outbox.c.transcript_id, outbox.c.state).where(
            outbox.c.transcript_id.in_([row["id"] for row in rows])
        )
    ).all()
    worst: dict[int, str] = {}
    for transcript_id, state in states:
        if _HOW_FAR.index(state) >= _HOW_FAR.index(worst.get(transcript_id, "sent")):
            worst[transcript_id] = state
    for row in rows:
        row["sent"] = worst.get(row["id"], "")
    return rows


_HOW_FAR = ("sent", "sending", "pending", "unknown", "dead")


def newest_message(connection: Connection, conversation_id: int) -> int:
    """Return the id of the newest transcript row of a chat; 0 when there is none."""
    found = connection.execute(
        select(func.max(transcript.c.id)).where(transcript.c.conversation_id == conversation_id)
    ).scalar()
    return found or 0


_PHOTO = (
    *(photo.c.id, photo.c.conversation_id, photo.c.blob, photo.c.card_blob),
    *(photo.c.reading_sealed, photo.c.model_version, photo.c.received_at_ms),
)


def photos(connection: Connection, page: Page) -> list[Row]:
    """Return the photos of some chats, the newest first."""
    query = (
        select(*_PHOTO)
        .where(photo.c.conversation_id.in_(page.ids))
        .order_by(photo.c.id.desc())
        .limit(page.limit)
    )
    if page.before is not None:
        query = query.where(photo.c.id < page.before)
    return [dict(row) for row in connection.execute(query).mappings()]


def photo_of(connection: Connection, photo_id: int) -> Row | None:
    """Return one photo with whose it is and what doctors said, or None."""
    found = (
        connection.execute(
            select(*_PHOTO, conversation.c.patient_id)
            .join(conversation, conversation.c.id == photo.c.conversation_id)
            .where(photo.c.id == photo_id)
        )
        .mappings()
        .first()
    )
    return {**found, "reviews": reviews(connection, [photo_id])} if found else None


def reviews(connection: Connection, photo_ids: Sequence[int]) -> list[Row]:
    """Return what doctors said about some photos, the newest first."""
    rows = connection.execute(
        select(reading_review, staff.c.name)
        .join(staff, staff.c.id == reading_review.c.staff_id)
        .where(reading_review.c.photo_id.in_(photo_ids))
        .order_by(reading_review.c.id.desc())
    ).mappings()
    return [dict(row) for row in rows]


def add_reviews(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> list[bool]:
    """Keep reviews; False where the same form was kept before."""
    return [
        connection.execute(insert_ignore(connection, reading_review, "id"), dict(row)).first()
        is not None
        for row in rows
    ]


def plans(connection: Connection, page: Page) -> list[Row]:
    """Return the follow-ups of some chats, the newest first."""
    query = (
        select(
            follow_up.c.id,
            follow_up.c.reason,
            follow_up.c.urgency,
            follow_up.c.state,
            follow_up.c.due_at_ms,
            follow_up.c.due_day,
            follow_up.c.zone,
            follow_up.c.visit_day,
            follow_up.c.visit_time,
            follow_up.c.place_sealed,
            follow_up.c.outcome_day,
            follow_up.c.outcome_by,
            follow_up.c.outcome_sealed,
            follow_up.c.created_at_ms,
            follow_up.c.changed_at_ms,
        )
        .where(follow_up.c.conversation_id.in_(page.ids))
        .order_by(follow_up.c.id.desc())
        .limit(page.limit)
    )
    if page.before is not None:
        query = query.where(follow_up.c.id < page.before)
    return [dict(row) for row in connection.execute(query).mappings()]


def tasks(connection: Connection, page: Page) -> list[Row]:
    """Return the staff tasks of some chats, the newest first."""
    query = (
        select(
            staff_task.c.id,
            staff_task.c.kind,
            staff_task.c.urgency,
            staff_task.c.state,
            staff_task.c.detail_sealed,
            staff_task.c.note_sealed,
            staff_task.c.created_at_ms,
            staff.c.name,
        )
        .outerjoin(staff, staff.c.id == staff_task.c.claimed_by)
        .where(staff_task.c.conversation_id.in_(page.ids))
        .order_by(staff_task.c.id.desc())
        .limit(page.limit)
    )
    if page.before is not None:
        query = query.where(staff_task.c.id < page.before)
    return [dict(row) for row in connection.execute(query).mappings()]


def consents(connection: Connection, page: Page) -> dict[str, bool]:
    """Return the last decision about each consent, over all chats of `page.ids`."""
    rows = connection.execute(
        select(consent.c.kind, consent.c.granted)
        .where(consent.c.conversation_id.in_(page.ids))
        .order_by(consent.c.id)
    ).all()
    return {row.kind: row.granted for row in rows}


@dataclass(frozen=True, slots=True)
class ClinicVisit:
    """Somebody at the clinic whose photos are taken with a staff phone.

    Attributes:
        chat_id: made with the form, so that a form posted twice is one visit.
        patient_id: who, when we know them already; None = somebody new.
        name_sealed, phone_sealed: as they said, or None.
        language, zone: of the person.
        state_sealed: dialog state with their consents.
        consents: kind and version of the wording of each.
        now_ms: the present.
    """

    chat_id: str
    patient_id: int | None
    name_sealed: bytes | None
    phone_sealed: bytes | None
    language: str
    zone: str
    state_sealed: bytes
    consents: tuple[tuple[str, str], ...]
    now_ms: int


WALK_IN_CHANNEL, WALK_IN_ACCOUNT = "console", "clinic"


def begin_visits(connection: Connection, items: Sequence[ClinicVisit]) -> list[int | None]:
    """Open a chat for each and log the consents; a form posted again finds its own.

    Returns:
        The conversation of each; None when `patient_id` is nobody.
    """
    return [_begin_visit(connection, item) for item in items]


def _begin_visit(connection: Connection, item: ClinicVisit) -> int | None:
    place = {
        "channel": WALK_IN_CHANNEL,
        "account": WALK_IN_ACCOUNT,
        "chat_id": item.chat_id,
    }
    known = connection.execute(select(conversation.c.id).filter_by(**place)).scalar()
    if known is not None:
        return known
    patient_id = item.patient_id
    if patient_id is None:
        patient_id = connection.execute(
            patient.insert().returning(patient.c.id),
            {"language": item.language, "zone": item.zone, "created_at_ms": item.now_ms},
        ).scalar_one()
    elif connection.execute(select(patient.c.id).where(patient.c.id == patient_id)).first() is None:
        return None
    if item.phone_sealed is not None:
        connection.execute(
            update(patient).where(patient.c.id == patient_id).values(phone_sealed=item.phone_sealed)
        )
    conversation_id = connection.execute(
        conversation.insert().returning(conversation.c.id),
        {**place, "patient_id": patient_id, "state_sealed": item.state_sealed},
    ).scalar_one()
    connection.execute(
        channel_link.insert(),
        {
            "patient_id": patient_id,
            "conversation_id": conversation_id,
            "name_sealed": item.name_sealed,
            "active": True,
            "last_inbound_at_ms": item.now_ms,
        },
    )
    agreed = [
        {
            "conversation_id": conversation_id,
            "kind": kind,
            "granted": True,
            "text_version": version,
            "at_ms": item.now_ms,
        }
        for kind, version in item.consents
    ]
    if agreed:
        connection.execute(consent.insert(), agreed)
    return conversation_id


def waiting_in(connection: Connection, conversation_id: int) -> int:
    """Count messages of a chat that have not had their turn."""
    return connection.execute(
        select(func.count())
        .select_from(inbox)
        .where(inbox.c.conversation_id == conversation_id, inbox.c.state == "pending")
    ).scalar_one()
