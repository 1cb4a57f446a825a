"""Reads a conversation back from its transcript, for channels that show it themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select

from core.message import Address
from core.ports import HistoryItem
from core.reply import from_json
from core.store.store import Store
from core.store.tables import conversation, inbox, photo, transcript

PATIENT_BODY = "transcript.patient"
SERVICE_BODY = "transcript.service"


@dataclass(frozen=True, slots=True)
class _Query:
    address: Address
    after: int
    limit: int


def _rows(connection: Connection, query: _Query) -> list[dict[str, Any]]:
    address = query.address
    rows = connection.execute(
        select(
            transcript.c.id,
            transcript.c.author,
            transcript.c.kind,
            transcript.c.message_id,
            transcript.c.at_ms,
            transcript.c.body_sealed,
        )
        .join(conversation, conversation.c.id == transcript.c.conversation_id)
        .where(
            conversation.c.channel == address.channel,
            conversation.c.account == address.account,
            conversation.c.chat_id == address.chat_id,
            transcript.c.id > query.after,
        )
        .order_by(transcript.c.id.desc())
        .limit(query.limit)
    ).mappings()
    return [dict(r) for r in reversed(rows.all())]


def _has_blob(connection: Connection, query: tuple[Address, str]) -> bool:
    address, blob = query
    found = connection.execute(
        select(photo.c.id)
        .join(conversation, conversation.c.id == photo.c.conversation_id)
        .where(
            conversation.c.channel == address.channel,
            conversation.c.account == address.account,
            conversation.c.chat_id == address.chat_id,
            (photo.c.blob == blob) | (photo.c.card_blob == blob),
        )
        .limit(1)
    ).first()
    return found is not None


def _is_pending(connection: Connection, address: Address) -> bool:
    found = connection.execute(
        select(inbox.c.id)
        .join(conversation, conversation.c.id == inbox.c.conversation_id)
        .where(
            conversation.c.channel == address.channel,
            conversation.c.account == address.account,
            conversation.c.chat_id == address.chat_id,
            inbox.c.state == "pending",
        )
        .limit(1)
    ).first()
    return found is not None


class TranscriptHistory:
    """Implements `core.ports.History` over the store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def history(
        self, address: Address, *, after: int = 0, limit: int = 100
    ) -> Sequence[HistoryItem]:
        """Return the newest `limit` entries with an id greater than `after`, oldest first."""
        rows = await self._store.read(_rows, _Query(address, after, limit))
        return [self._item(row) for row in rows]

    async def owns_blob(self, address: Address, blob: str) -> bool:
        """Tell whether a picture belongs to this chat."""
        return await self._store.read(_has_blob, (address, blob))

    async def is_waiting(self, address: Address) -> bool:
        """Tell whether a message of this chat is not answered yet."""
        return await self._store.read(_is_pending, address)

    def _item(self, row: dict[str, Any]) -> HistoryItem:
        keys = self._store.keys
        if row["author"] == "patient":
            body = keys.open_json(PATIENT_BODY, row["body_sealed"])
            return HistoryItem(
                row["id"],
                "patient",
                row["at_ms"],
                text=body["text"],
                photos=tuple(body["photos"]),
                voices=tuple(body.get("voices", ())),
                message_id=row["message_id"] or "",
            )
        reply = from_json(keys.open_json(SERVICE_BODY, row["body_sealed"]))
        return HistoryItem(row["id"], row["author"], row["at_ms"], reply=reply)
