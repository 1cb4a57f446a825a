"""What arrives while the page is open, as server-sent events.

The event id is the transcript id, so a browser that lost the connection says itself where to go
on. After each wake-up the viewer reads the history from its cursor; a look every ping finds what
another replica wrote.
"""

from __future__ import annotations

import json

from aiohttp import web

from adapters.http.failures import Refusal
from adapters.http.language import language_of
from adapters.http.sse import EventStream
from adapters.webchat.links import Guests
from adapters.webchat.render import Renderer
from adapters.webchat.rooms import Full, Progress, Rooms
from adapters.webchat.session import Session, find_session, guest_token
from core.clock import Clock
from core.errors import TransientError
from core.message import Address, Language
from core.ports import History

PING_S = 15.0
_RETRY_MS = 2_000
_REPLAY_LIMIT = 1_000


class LiveStream:
    """Serves ``GET /chat/stream?after=<transcript id>``."""

    def __init__(
        self,
        *,
        account: str,
        history: History,
        rooms: Rooms,
        renderer: Renderer,
        clock: Clock,
        guests: Guests | None = None,
        ping_s: float = PING_S,
    ) -> None:
        self._account = account
        self._history = history
        self._rooms = rooms
        self._renderer = renderer
        self._clock = clock
        self._guests = guests
        self._ping_s = ping_s

    async def get(self, request: web.Request) -> web.StreamResponse:
        """Send everything after the viewer's cursor, then what follows, until it leaves."""
        session = find_session(request)
        if session is None:
            if guest_token(request):
                return await self._over(request)
            raise Refusal(401, "webchat.failure.no_session")
        cursor = max(
            _transcript_id(request.headers.get("Last-Event-ID")),
            _transcript_id(request.query.get("after")),
        )
        stream = EventStream(request)
        try:
            with self._rooms.viewing(session.chat_id, stream.wake):
                async with stream:
                    await self._serve(stream, session, cursor, language_of(request))
        except Full as error:
            raise Refusal(503, retry_after_s=10) from error
        return stream.response

    async def _over(self, request: web.Request) -> web.StreamResponse:
        """Tell a page whose link was taken back that it shows nothing any more."""
        stream = EventStream(request)
        async with stream:
            await stream.send("{}", event="over")
        return stream.response

    async def _may_stay(self, session: Session) -> bool:
        if self._guests is None or not session.is_guest:
            return True
        return await self._guests.guest(session.token) is not None

    async def _serve(
        self, stream: EventStream, session: Session, cursor: int, language: Language
    ) -> None:
        address = Address("webchat", self._account, session.chat_id)
        await stream.retry(_RETRY_MS)
        shown = Progress()
        while not stream.closing:
            try:
                if not await self._may_stay(session):
                    await stream.send("{}", event="over")
                    return
                items = await self._history.history(address, after=cursor, limit=_REPLAY_LIMIT)
            except TransientError:
                return  # the browser connects again by itself, from its cursor
            for item in items:
                article = self._renderer.item(
                    item,
                    chat_id=address.chat_id,
                    language=language,
                    now_ms=self._clock.now_ms(),
                )
                data = {"html": article, "author": item.author, "message_id": item.message_id}
                await stream.send(json.dumps(data), event="item", id=item.id)
                cursor = item.id
            progress = self._rooms.progress(address.chat_id)
            if progress != shown:
                data = {"typing": progress.typing, "draft": progress.draft}
                await stream.send(json.dumps(data), event="progress")
                shown = progress
            if not await stream.wait(self._ping_s):
                await stream.ping()


def _transcript_id(value: str | None) -> int:
    """Return a cursor the browser sent back, 0 for anything that is none."""
    return int(value) if value and value.isascii() and value.isdigit() and len(value) < 19 else 0
