"""The page that makes a link to one's own conversation, and the one that opens it elsewhere."""

from __future__ import annotations

import io
from datetime import datetime
from zoneinfo import ZoneInfo

import structlog
from aiohttp import web
from jinja2 import Environment
from markupsafe import Markup

from adapters.http.failures import Refusal
from adapters.http.forms import read_form
from adapters.http.language import is_large, language_of, texts_in
from adapters.http.pages import html
from adapters.http.rate import RateLimit
from adapters.webchat.links import ChatLinks
from adapters.webchat.rooms import Rooms
from adapters.webchat.session import Session, find_session, keep_session
from adapters.webchat.settings import WebChatSettings
from core.clock import Clock

log = structlog.get_logger(__name__)

_HOUR_MS = 3_600_000
_PER_HOUR = 60


class ResumePages:
    """Serves ``/chat/link`` and ``/chat/continue/{secret}``; plain forms, no script."""

    def __init__(
        self,
        settings: WebChatSettings,
        links: ChatLinks,
        rooms: Rooms,
        templates: Environment,
        clock: Clock,
    ) -> None:
        self._links = links
        self._rooms = rooms
        self._days = settings.session_lifetime_days
        self._zone = ZoneInfo(settings.timezone)
        self._page = templates.get_template("link.html")
        self._rate = RateLimit(clock, limit=_PER_HOUR, window_ms=_HOUR_MS)

    async def get(self, request: web.Request) -> web.StreamResponse:
        """Say what a link is for, and whether there is one."""
        return await self._own(request, self._session(request))

    async def make(self, request: web.Request) -> web.StreamResponse:
        """Make a link and show it this once; the one before ends."""
        session = self._session(request)
        secret = await self._links.make(session)
        log.info("chat_link_made")
        link = f"{request.scheme}://{request.host}/chat/continue/{secret}"
        return await self._own(request, session, link=link)

    async def end(self, request: web.Request) -> web.StreamResponse:
        """Take the link back, and log out the browsers that came in by it."""
        session = self._session(request)
        gone = await self._links.end(session)
        self._rooms.wake(session.chat_id)  # pages that are open there look whether they may stay
        log.info("chat_link_ended", browsers=gone)
        raise web.HTTPSeeOther("/chat/link")

    async def confirm(self, request: web.Request) -> web.StreamResponse:
        """Ask first: a preview of a messenger opens links too."""
        self._count(request.remote or "")
        chat_id = await self._links.chat_of(request.match_info["secret"])
        if chat_id is None:
            raise Refusal(404, "webchat.link.over")
        own = find_session(request)
        if own is not None and own.chat_id == chat_id:
            raise web.HTTPSeeOther("/chat")
        return self._draw(request, "confirm", has_own=own is not None)

    async def open(self, request: web.Request) -> web.StreamResponse:
        """Continue the conversation in this browser."""
        self._count(request.remote or "")
        await read_form(request)
        session = await self._links.enter(request.match_info["secret"])
        if session is None:
            raise Refusal(404, "webchat.link.over")
        redirect = web.HTTPSeeOther("/chat#latest")
        keep_session(redirect, session, secure=request.secure, days=self._days)
        log.info("chat_link_opened")
        raise redirect

    def _session(self, request: web.Request) -> Session:
        session = find_session(request)
        if session is None:
            raise Refusal(401, "webchat.failure.no_session")
        self._count(session.chat_id)
        return session

    def _count(self, key: str) -> None:
        if wait_ms := self._rate.wait_ms(key):
            raise Refusal(429, retry_after_s=wait_ms // 1000 + 1)
        self._rate.count(key)

    async def _own(
        self, request: web.Request, session: Session, *, link: str = ""
    ) -> web.StreamResponse:
        state = await self._links.state(session)
        made = f"{self._time(state.made_at_ms):%Y-%m-%d %H:%M}" if state.made_at_ms else ""
        return self._draw(request, "own", link=link, made=made, guests=state.guests)

    def _time(self, at_ms: int) -> datetime:
        return datetime.fromtimestamp(at_ms / 1000, self._zone)

    def _draw(
        self,
        request: web.Request,
        what: str,
        *,
        link: str = "",
        made: str = "",
        guests: int = 0,
        has_own: bool = False,
    ) -> web.Response:
        language = language_of(request)
        page = self._page.render(
            t=texts_in(language),
            language=language,
            large=is_large(request),
            what=what,
            link=link,
            picture=_picture(link) if link else "",
            made=made,
            guests=guests,
            days=self._days,
            has_own=has_own,
            action=request.path,
        )
        return html(page)


def _picture(link: str) -> Markup:
    """Return the link as a QR code that stands in the page: it is nowhere to be fetched from."""
    import segno  # noqa: PLC0415 only who shows a code needs it

    drawn = io.BytesIO()
    segno.make(link, error="l").save(
        drawn, kind="svg", scale=4, border=4, dark="#000", light="#fff", xmldecl=False, nl=False
    )
    return Markup(drawn.getvalue().decode())  # noqa: S704 drawn here, of a link made here
