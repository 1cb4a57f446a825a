"""What every posted message has in common: whose it is, its id, its order, and the answer to it."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID, uuid4

from aiohttp import web

from adapters.http.failures import Refusal
from adapters.http.language import language_of
from adapters.http.pages import wants_json
from adapters.http.rate import RateLimit
from adapters.webchat.rooms import Rooms
from adapters.webchat.session import Session, find_session
from adapters.webchat.settings import WebChatSettings
from core.clock import Clock
from core.message import Address, Attachment, Inbound
from core.ports import Intake


class Door:
    """Lets messages in: checks the session and the pace, stores, answers."""

    def __init__(
        self, settings: WebChatSettings, intake: Intake, rooms: Rooms, clock: Clock
    ) -> None:
        self._settings = settings
        self._intake = intake
        self._rooms = rooms
        self._clock = clock
        self._sequence = 0
        minute_ms = 60_000
        self._per_chat = RateLimit(clock, limit=settings.messages_per_minute, window_ms=minute_ms)
        # Many patients share one address behind a hospital's or a carrier's gateway.
        self._per_peer = RateLimit(
            clock, limit=20 * settings.messages_per_minute, window_ms=minute_ms
        )

    def admit(self, request: web.Request) -> Session:
        """Return the session and count the request.

        Raises:
            Refusal: no session, or too many messages.
        """
        session = find_session(request)
        if session is None:
            raise Refusal(401, "webchat.failure.no_session")
        peer = request.remote or ""
        wait_ms = max(self._per_chat.wait_ms(session.chat_id), self._per_peer.wait_ms(peer))
        if wait_ms > 0:
            raise Refusal(429, retry_after_s=wait_ms // 1000 + 1)
        self._per_chat.count(session.chat_id)
        self._per_peer.count(peer)
        return session

    async def accept(
        self,
        request: web.Request,
        session: Session,
        *,
        message_id: str,
        text: str = "",
        button: str | None = None,
        attachments: Sequence[Attachment] = (),
        album_id: str | None = None,
    ) -> web.Response:
        """Store one message and say so; the same id again is stored once.

        Raises:
            TransientError: nothing was stored; the page tries again by itself.
        """
        now = self._clock.now_ms()
        # Grows also when the clock goes back, and stays above earlier runs of this process.
        self._sequence = max(self._sequence + 1, now * 1000)
        address = Address("webchat", self._settings.account, session.chat_id)
        await self._intake.accept(
            [
                Inbound(
                    address=address,
                    message_id=message_id,
                    sequence=self._sequence,
                    text=text,
                    attachments=tuple(attachments),
                    button=button,
                    album_id=album_id,
                    sender_id=session.chat_id,
                    language_hint=language_of(request),
                    sent_at_ms=now,
                )
            ]
        )
        self._rooms.wake(session.chat_id)  # the person's other open pages
        if wants_json(request):
            return web.json_response({"ok": True, "id": message_id}, status=202)
        raise web.HTTPSeeOther("/chat#latest")


def message_id_from(value: str) -> str:
    """Return a client-made id in its one form, a new one for "".

    Raises:
        Refusal: anything else.
    """
    if not value:
        return str(uuid4())
    try:
        return str(UUID(value[:40]))
    except ValueError as error:
        raise Refusal(400) from error
