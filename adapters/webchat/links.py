"""Links by which a person opens their conversation in another browser.

The link holds the session's token, sealed with the service's keys; the database holds only which
link of a conversation is in force. So neither the database nor a link that was taken back opens
anything.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from sqlalchemy import Connection, delete, select, update

from adapters.webchat.session import Session, session_of
from core.clock import Clock
from core.errors import OculiChatError
from core.store.dialect import insert_ignore
from core.store.store import Store
from core.store.tables import chat_link

_SEALED = "chat_link.token"
_DAY_MS = 86_400_000
LONGEST_LINK = 400


class ChatLinks(Protocol):
    """The one link each conversation may have."""

    async def make(self, session: Session) -> str:
        """Return a new link's secret part; the one before ends."""
        ...

    async def made_at_ms(self, session: Session) -> int | None:
        """Return when the link in force was made, or None when there is none."""
        ...

    async def end(self, session: Session) -> None:
        """Take the link back; browsers that opened it keep the conversation. Repeatable."""
        ...

    async def open(self, secret: str) -> Session | None:
        """Return the session of a link in force, or None for every other text."""
        ...


@dataclass(frozen=True, slots=True)
class _Link:
    chat_id: str
    link_id: str
    created_at_ms: int


class StoredLinks:
    """Implements `ChatLinks` over the store.

    Args:
        store: where the links are, and the keys.
        clock: the present.
        days: how long a link opens the conversation.
    """

    def __init__(self, store: Store, clock: Clock, *, days: int) -> None:
        self._store = store
        self._clock = clock
        self._lasts_ms = days * _DAY_MS

    async def make(self, session: Session) -> str:
        """Return a new link's secret part; the one before ends."""
        link_id = secrets.token_hex(16)
        row = _Link(session.chat_id, _digest(link_id), self._clock.now_ms())
        await self._store.write(_replace, row)
        sealed = self._store.keys.seal(_SEALED, f"{link_id}{session.token}".encode())
        return base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()

    async def made_at_ms(self, session: Session) -> int | None:
        """Return when the link in force was made, or None when there is none."""
        link = await self._store.read(_find, session.chat_id)
        return link.created_at_ms if link and self._is_in_force(link) else None

    async def end(self, session: Session) -> None:
        """Take the link back."""
        await self._store.write(_end, session.chat_id)

    async def open(self, secret: str) -> Session | None:
        """Return the session of a link in force, or None for every other text."""
        if len(secret) > LONGEST_LINK or not secret.isascii():
            return None
        try:
            sealed = base64.urlsafe_b64decode(secret + "=" * (-len(secret) % 4))
            held = self._store.keys.open(_SEALED, sealed).decode()
        except (binascii.Error, ValueError, OculiChatError):  # typed by hand, or of another key
            return None
        session = session_of(held[32:])
        link = await self._store.read(_find, session.chat_id) if session else None
        if link is None or not self._is_in_force(link):
            return None
        return session if hmac.compare_digest(link.link_id, _digest(held[:32])) else None

    def _is_in_force(self, link: _Link) -> bool:
        return self._clock.now_ms() - link.created_at_ms < self._lasts_ms


def _digest(link_id: str) -> str:
    return hashlib.sha256(link_id.encode()).hexdigest()


def _replace(connection: Connection, links: Sequence[_Link]) -> list[None]:
    """Put links in force; of several for one conversation in a batch, the last."""
    for link in links:
        values = {"link_id": link.link_id, "created_at_ms": link.created_at_ms}
        connection.execute(
            insert_ignore(connection, chat_link), [{"chat_id": link.chat_id, **values}]
        )
        connection.execute(
            update(chat_link).where(chat_link.c.chat_id == link.chat_id).values(values)
        )
    return [None] * len(links)


def _end(connection: Connection, chat_ids: Sequence[str]) -> list[None]:
    connection.execute(delete(chat_link).where(chat_link.c.chat_id.in_(chat_ids)))
    return [None] * len(chat_ids)


def _find(connection: Connection, chat_id: str) -> _Link | None:
    row = connection.execute(select(chat_link).where(chat_link.c.chat_id == chat_id)).one_or_none()
    return _Link(row.chat_id, row.link_id, row.created_at_ms) if row else None
