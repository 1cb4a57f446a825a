"""Reads stored readings, and what doctors say about them, for the reports on the fundus reader."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from core.store.tables import conversation, photo, reading_review

_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Period:
    """From `since_ms` up to, not including, `until_ms`; UTC epoch milliseconds."""

    since_ms: int
    until_ms: int


@dataclass(frozen=True, slots=True)
class StoredReading:
    """A photo of a channel; `reading_sealed` is None when nobody could read it."""

    channel: str
    received_at_ms: int
    reading_sealed: bytes | None


@dataclass(frozen=True, slots=True)
class StoredReview:
    """The newest review of one photo by one doctor, and the reading it is about."""

    patient: int
    reading_sealed: bytes
    agrees: bool | None
    gradable: bool | None
    dr_grade: int | None
    dme: bool | None
    glaucoma: bool | None
    amd: bool | None
    pm: bool | None


def readings_of(connection: Connection, period: Period) -> Iterator[StoredReading]:
    """Yield the photos received in the period, in no order."""
    query = (
        select(conversation.c.channel, photo.c.received_at_ms, photo.c.reading_sealed)
        .join(conversation, conversation.c.id == photo.c.conversation_id)
        .where(photo.c.received_at_ms >= period.since_ms)
        .where(photo.c.received_at_ms < period.until_ms)
    )
    for row in connection.execution_options(yield_per=_AT_ONCE).execute(query):
        yield StoredReading(*row)


def reviews_of(connection: Connection, period: Period) -> Iterator[StoredReview]:
    """Yield what each doctor last said about each photo received in the period."""
    newest = (
        select(func.max(reading_review.c.id).label("id"))
        .group_by(reading_review.c.photo_id, reading_review.c.staff_id)
        .subquery()
    )
    query = (
        select(
            func.coalesce(conversation.c.patient_id, -conversation.c.id),
            photo.c.reading_sealed,
            reading_review.c.agrees,
            reading_review.c.gradable,
            reading_review.c.dr_grade,
            reading_review.c.dme,
            reading_review.c.glaucoma,
            reading_review.c.amd,
            reading_review.c.pm,
        )
        .join(newest, newest.c.id == reading_review.c.id)
        .join(photo, photo.c.id == reading_review.c.photo_id)
        .join(conversation, conversation.c.id == photo.c.conversation_id)
        .where(photo.c.reading_sealed.is_not(None))
        .where(photo.c.received_at_ms >= period.since_ms)
        .where(photo.c.received_at_ms < period.until_ms)
        .order_by(reading_review.c.id)
    )
    for row in connection.execution_options(yield_per=_AT_ONCE).execute(query):
        yield StoredReview(*row)
