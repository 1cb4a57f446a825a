"""The web chat as a `core.ports.Channel`.

Sending is only a wake-up: the reply is in the history before it is sent, pages read it from
there, and a page that is closed now reads it when it opens.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from aiohttp import web

from adapters.webchat.rooms import Rooms
from adapters.webchat.settings import WebChatSettings
from core.clock import Clock, SystemClock
from core.errors import PatientError
from core.message import Address, Attachment
from core.ports import Activity, Blobs, Capabilities, Draft, History, Intake, Shrink
from core.reply import Reply

if TYPE_CHECKING:
    from adapters.webchat.links import ChatLinks  # the store is not needed for what a page can do

DRAFT_PACE_MS = 200  # a phone page need not repaint more often than five times a second


class PageDraft:
    """A growing answer on open pages."""

    def __init__(self, rooms: Rooms, chat_id: str, clock: Clock) -> None:
        self._rooms = rooms
        self._chat_id = chat_id
        self._clock = clock
        self._shown_at_ms: int | None = None

    async def show(self, text: str) -> None:
        """Show the answer so far; skipped when the last one is younger than `DRAFT_PACE_MS`."""
        now = self._clock.now_ms()
        if self._shown_at_ms is None or now - self._shown_at_ms >= DRAFT_PACE_MS:
            self._shown_at_ms = now
            self._rooms.show_draft(self._chat_id, text)

    async def close(self) -> None:
        """Take the draft away."""
        self._rooms.show_draft(self._chat_id, "")


class WebChat:
    """The chat page of one site.

    Args:
        settings: see `WebChatSettings`.
        history: what was said; a reply must be readable there before `send` is called.
        blobs: photos, the patient's and ours.
        clock: where the present comes from.
        links: lets a person open their conversation in another browser; None shows no such link.
        shrink: makes small copies of photos; None shows the whole ones.
    """

    name = "webchat"

    def __init__(
        self,
        settings: WebChatSettings,
        *,
        history: History,
        blobs: Blobs,
        clock: Clock | None = None,
        shrink: Shrink | None = None,
        links: ChatLinks | None = None,
    ) -> None:
        self._settings = settings
        self._shrink = shrink
        self._links = links
        self._history = history
        self._blobs = blobs
        self._clock = clock or SystemClock()
        self._rooms = Rooms(max_viewers=settings.max_viewers)
        self._capabilities = Capabilities(
            text_limit=100_000,
            caption_limit=100_000,
            text_unit="characters",
            buttons=True,
            drafts=True,
            documents=True,
            media_limit_bytes=settings.max_upload_bytes,
            voice_limit_bytes=settings.max_voice_bytes,
            on_unknown="resend",
        )

    @property
    def account(self) -> str:
        """Our account, as in `Address.account`."""
        return self._settings.account

    @property
    def capabilities(self) -> Capabilities:
        """What the page can do."""
        return self._capabilities

    @property
    def viewers(self) -> int:
        """How many pages are open on this process."""
        return self._rooms.viewers

    async def ready(self, to: Address, *, urgent: bool) -> None:
        """Return at once: a page has no pace."""

    async def send(self, to: Address, reply: Reply, *, key: str) -> str | None:
        """Wake the pages that show this chat; nobody looking is fine."""
        self._rooms.wake(to.chat_id)
        return key

    async def fetch(self, attachment: Attachment, *, limit_bytes: int) -> bytes:
        """Return an uploaded photo or voice note.

        Raises:
            PatientError: larger than `limit_bytes`, or no longer there.
        """
        data = await self._blobs.get(attachment.ref)
        if len(data) > limit_bytes:
            raise PatientError("webchat.photo_too_large", limit_mb=limit_bytes // 1024 // 1024)
        return data

    async def discard(self, attachment: Attachment) -> None:
        """Delete an uploaded photo or voice note."""
        await self._blobs.discard(attachment.ref)

    @asynccontextmanager
    async def activity(self, to: Address, what: Activity) -> AsyncGenerator[None]:
        """Show "typing…" on open pages while the block runs."""
        with self._rooms.busy(to.chat_id):
            yield

    def draft(self, to: Address) -> Draft | None:
        """Start a growing answer, or None when no page of this process shows the chat."""
        if not self._rooms.has_viewers(to.chat_id):
            return None
        return PageDraft(self._rooms, to.chat_id, self._clock)

    def routes(self, intake: Intake) -> list[web.RouteDef]:
        """Return the page, its stream and its forms; messages go to `intake`."""
        # Pages need Jinja2; a process that only asks for capabilities does not load it.
        from adapters.webchat.site import site_routes  # noqa: PLC0415

        return site_routes(
            settings=self._settings,
            intake=intake,
            history=self._history,
            blobs=self._blobs,
            rooms=self._rooms,
            clock=self._clock,
            shrink=self._shrink,
            links=self._links,
        )
