"""Links by which a person opens their conversation in another browser.

The link holds the chat's id, sealed with the service's keys; the database holds only which link
of a conversation is in force. A browser that comes in by it gets a token of its own. So neither
the database nor a link that was taken back opens anything, and taking it back logs out whoever
came in by it.
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

from sqlalchemy import Connection, delete, func, select, update

from adapters.webchat.session import Session, new_guest
from core.clock import Clock
from core.errors import OculiChatError
from core.store.dialect import insert_ignore
from core.store.store import Store
from core.store.tables import chat_guest, chat_link

_SEALED = "chat_link.chat"
_DAY_MS = 86_400_000
_LINK_ID = 32
LONGEST_LINK = 400


@dataclass(frozen=True, slots=True)
class LinkState:
    """What a person is told about their link.

    Attributes:
        made_at_ms: when the one in force was made, or None when there is none.
        guests: how many other browsers came in by a link and are not logged out.
    """

    made_at_ms: int | None
    guests: int


class Guests(Protocol):
    """Browsers that came in by a link."""

    async def guest(self, token: str) -> Session | None:
        """Return the session of a guest, or None when its link was taken back."""
        ...


class ChatLinks(Guests, Protocol):
    """The one link each conversation may have, and who came in by it."""

    async def make(self, session: Session) -> str:
        """Return a new link's secret part; the one before ends, its browsers stay."""
        ...

    async def state(self, session: Session) -> LinkState:
        """Return what is in force."""
        ...

    async def end(self, session: Session) -> int:
        """Take the link back and log out every guest but `session`; returns how many."""
        ...

    async def chat_of(self, secret: str) -> str | None:
        """Return the chat a link in force opens, or None for every other text."""
        ...

    async def enter(self, secret: str) -> Session | None:
        """Let one more browser in by a link in force; None for every other text."""
        ...


@dataclass(frozen=True, slots=True)
class _Link:
    chat_id: str
    link_id: str
    created_at_ms: int


@dataclass(frozen=True, slots=True)
class _Entry:
    """The wish to come in: by which link, made after when, as whom, and who is forgotten."""

    link: _Link
    token_hash: str
    at_ms: int
    unseen_since_ms: int


class StoredLinks:
    """Implements `ChatLinks` over the store.

    Args:
        store: where the links are, and the keys.
        clock: the present.
        days: how long a link opens the conversation, and a guest stays without coming back.
    """

    def __init__(self, store: Store, clock: Clock, *, days: int) -> None:
        self._store = store
        self._clock = clock
        self._lasts_ms = days * _DAY_MS

    async def make(self, session: Session) -> str:
        """Return a new link's secret part; the one before ends."""
        link_id = secrets.token_hex(_LINK_ID // 2)
        row = _Link(session.chat_id, _digest(link_id), self._clock.now_ms())
        await self._store.write(_replace, row)
        sealed = self._store.keys.seal(_SEALED, f"{link_id}{session.chat_id}".encode())
        return base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()

    async def state(self, session: Session) -> LinkState:
        """Return what is in force."""
        link = await self._store.read(_find, session.chat_id)
        guests = await self._store.read(_count_guests, (session.chat_id, session.token_hash))
        return LinkState(link.created_at_ms if link and self._is_in_force(link) else None, guests)

    async def end(self, session: Session) -> int:
        """Take the link back and log out every guest but `session`."""
        return await self._store.write(_end, (session.chat_id, session.token_hash))

    async def chat_of(self, secret: str) -> str | None:
        """Return the chat a link in force opens, or None for every other text."""
        asked = self._opened(secret)
        link = await self._store.read(_find, asked.chat_id) if asked else None
        if asked is None or link is None or not self._is_in_force(link):
            return None
        return link.chat_id if hmac.compare_digest(link.link_id, asked.link_id) else None

    async def enter(self, secret: str) -> Session | None:
        """Let one more browser in by a link in force."""
        asked = self._opened(secret)
        if asked is None:
            return None
        session, now = new_guest(asked.chat_id), self._clock.now_ms()
        entry = _Entry(asked, session.token_hash, now, now - self._lasts_ms)
        return session if await self._store.write(_enter, entry) else None

    async def guest(self, token: str) -> Session | None:
        """Return the session of a guest who was here within the lifetime of a link."""
        token_hash = hashlib.sha256(token.encode("ascii")).hexdigest()
        known = await self._store.read(_find_guest, token_hash)
        now = self._clock.now_ms()
        if known is None or known[1] <= now - self._lasts_ms:
            return None
        chat_id, seen_at_ms = known
        if now - seen_at_ms >= _DAY_MS:
            await self._store.write(_touch, (token_hash, now))
        return Session(token, chat_id, is_guest=True)

    def _opened(self, secret: str) -> _Link | None:
        """Return which link of which chat a text is, or None for what is none of ours."""
        if len(secret) > LONGEST_LINK or not secret.isascii():
            return None
        try:
            sealed = base64.urlsafe_b64decode(secret + "=" * (-len(secret) % 4))
            held = self._store.keys.open(_SEALED, sealed).decode()
        except (binascii.Error, ValueError, OculiChatError):  # typed by hand, or of another key
            return None
        return _Link(held[_LINK_ID:], _digest(held[:_LINK_ID]), 0)

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


def _end(connection: Connection, wishes: Sequence[tuple[str, str]]) -> list[int]:
    """Take links back and forget the guests, but for who asks; returns how many went."""
    gone: list[int] = []
    for chat_id, keep in wishes:
        connection.execute(delete(chat_link).where(chat_link.c.chat_id == chat_id))
        out = delete(chat_guest).where(
            chat_guest.c.chat_id == chat_id, chat_guest.c.token_hash != keep
        )
        gone.append(connection.execute(out).rowcount)
    return gone


def _enter(connection: Connection, entries: Sequence[_Entry]) -> list[bool]:
    """Let guests in whose link is in force at this moment; forget those long gone."""
    oldest_ms = min(entry.unseen_since_ms for entry in entries)
    connection.execute(delete(chat_guest).where(chat_guest.c.seen_at_ms <= oldest_ms))
    return [_enter_one(connection, entry) for entry in entries]


def _enter_one(connection: Connection, entry: _Entry) -> bool:
    # Locked: who takes the link back at this moment comes before or after, never in between.
    row = connection.execute(
        select(chat_link).where(chat_link.c.chat_id == entry.link.chat_id).with_for_update()
    ).one_or_none()
    if row is None or row.created_at_ms <= entry.unseen_since_ms:
        return False
    if not hmac.compare_digest(row.link_id, entry.link.link_id):
        return False
    known = {"token_hash": entry.token_hash, "chat_id": entry.link.chat_id}
    times = {"created_at_ms": entry.at_ms, "seen_at_ms": entry.at_ms}
    connection.execute(chat_guest.insert(), [{**known, **times}])
    return True


def _touch(connection: Connection, touches: Sequence[tuple[str, int]]) -> list[None]:
    for token_hash, at_ms in touches:
        seen = update(chat_guest).where(chat_guest.c.token_hash == token_hash)
        connection.execute(seen.values(seen_at_ms=at_ms))
    return [None] * len(touches)


def _find_guest(connection: Connection, token_hash: str) -> tuple[str, int] | None:
    row = connection.execute(
        select(chat_guest.c.chat_id, chat_guest.c.seen_at_ms).where(
            chat_guest.c.token_hash == token_hash
        )
    ).one_or_none()
    return (row.chat_id, row.seen_at_ms) if row else None


def _count_guests(connection: Connection, query: tuple[str, str]) -> int:
    chat_id, own = query
    count = select(func.count()).where(
        chat_guest.c.chat_id == chat_id, chat_guest.c.token_hash != own
    )
    return connection.execute(count).scalar_one()


def _find(connection: Connection, chat_id: str) -> _Link | None:
    row = connection.execute(select(chat_link).where(chat_link.c.chat_id == chat_id)).one_or_none()
    return _Link(row.chat_id, row.link_id, row.created_at_ms) if row else None
