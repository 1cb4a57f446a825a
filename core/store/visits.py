"""Reads the booked visit of a chat, for its page and its calendar file."""

from __future__ import annotations

from datetime import date, time
from typing import cast

from sqlalchemy import Connection, select

from core.followup.visit_file import Visit, visit_uid
from core.message import LANGUAGES, Language
from core.store.keyring import Keyring
from core.store.recall import PLACE
from core.store.tables import conversation, follow_up, patient


def booked_visit(connection: Connection, query: tuple[int, Keyring]) -> Visit | None:
    """Return the booked visit of a conversation's active plan, or None."""
    conversation_id, keys = query
    row = connection.execute(
        select(
            follow_up.c.visit_day,
            follow_up.c.visit_time,
            follow_up.c.zone,
            follow_up.c.place_sealed,
            follow_up.c.changed_at_ms,
            patient.c.language,
        )
        .join(conversation, conversation.c.id == follow_up.c.conversation_id)
        .outerjoin(patient, patient.c.id == conversation.c.patient_id)
        .where(
            follow_up.c.conversation_id == conversation_id,
            follow_up.c.state == "active",
            follow_up.c.visit_day.is_not(None),
        )
        .order_by(follow_up.c.id.desc())
        .limit(1)
    ).one_or_none()
    if row is None:
        return None
    place = keys.open_json(PLACE, row.place_sealed) if row.place_sealed else ""
    known = row.language in LANGUAGES
    return Visit(
        uid=visit_uid(keys, conversation_id),
        day=date.fromisoformat(row.visit_day),
        at=time.fromisoformat(row.visit_time) if row.visit_time else None,
        zone=row.zone,
        place=str(place),
        language=cast("Language", row.language) if known else "zh-Hans",
        changed_at_ms=row.changed_at_ms,
    )
