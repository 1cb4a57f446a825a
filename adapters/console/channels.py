"""How each part is, how full the queues are, login codes of channels, and dead letters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol
from zoneinfo import ZoneInfo

from aiohttp import web
from jinja2 import Environment

from adapters.console.account import qr_picture
from adapters.console.channel_login import ChannelLogins
from adapters.console.frame import frame, moment, number_in
from adapters.console.guard import note_subject, visit_of
from adapters.console.rights import RIGHTS, may
from adapters.console.settings import ConsoleSettings
from adapters.http.failures import Refusal
from adapters.http.forms import read_form
from adapters.http.language import language_of, texts_in
from adapters.http.pages import html
from core.clock import Clock
from core.ports import Health
from core.store.dead_letters import (
    Box,
    DeadLetter,
    Depths,
    Retry,
    dead_letters,
    queue_depths,
    retry_letters,
)
from core.store.store import Store

_PAGE = "/console/channels"
_RETRY = "POST /console/channels/retry"
_QR = "GET /console/channels/{channel}/{number}/qr.svg"
_LOGIN = "POST /console/channels/{channel}/login"
# How soon the page looks again while somebody is about to scan.
_LOOK_AGAIN_S = 4
_SHOWN = 50
# The code a channel waits to be scanned for; everything else in its facts is shown as it is.
QR = "qr"
_LONGEST_QR = 1_000


class Parts(Protocol):
    """The running service as this page sees it."""

    async def health(self) -> Sequence[Health]:
        """Return the state of each part; a channel that waits for a login has a fact `qr`."""
        ...


class Queues(Protocol):
    """What waits, and what went wrong."""

    async def depths(self) -> Mapping[str, Depths]:
        """Return how many messages of each channel wait."""
        ...

    async def letters(self, limit: int) -> Sequence[DeadLetter]:
        """Return the newest dead letters, newest first."""
        ...

    async def retry(self, box: Box, row_id: int, *, at_ms: int) -> bool:
        """Try one again; False when it is not there to be tried any more."""
        ...


class StoredQueues:
    """Implements `Queues` over the store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def depths(self) -> Mapping[str, Depths]:
        """Return how many messages of each channel wait."""
        return await self._store.read(queue_depths, None)

    async def letters(self, limit: int) -> Sequence[DeadLetter]:
        """Return the newest dead letters, newest first."""
        return await self._store.read(dead_letters, limit)

    async def retry(self, box: Box, row_id: int, *, at_ms: int) -> bool:
        """Try one again."""
        return await self._store.write(retry_letters, Retry(box, row_id, at_ms))


class ChannelsPage:
    """Serves ``/console/channels``."""

    def __init__(
        self,
        *,
        settings: ConsoleSettings,
        parts: Parts,
        queues: Queues,
        logins: ChannelLogins,
        templates: Environment,
        clock: Clock,
    ) -> None:
        self._parts = parts
        self._queues = queues
        self._logins = logins
        self._page = templates.get_template("channels.html")
        self._clock = clock
        self._zone = ZoneInfo(settings.timezone)

    async def get(self, request: web.Request) -> web.StreamResponse:
        """Show everything."""
        return await self._draw(request)

    async def picture(self, request: web.Request) -> web.StreamResponse:
        """Draw the login code a channel waits with."""
        name = f"{request.match_info['channel']}/{request.match_info['number']}"
        for number, part in enumerate(await self._parts.health()):
            content = part.facts.get(QR, "")
            if name == f"{part.name}/{number}" and content and len(content) <= _LONGEST_QR:
                note_subject(request, part.name)
                return qr_picture(content)
        raise web.HTTPNotFound

    async def retry(self, request: web.Request) -> web.StreamResponse:
        """Try a dead letter again."""
        fields = await read_form(request)
        box = _box(fields)
        row_id = number_in(fields, "id")
        note_subject(request, f"{box} {row_id}")
        if not await self._queues.retry(box, row_id, at_ms=self._clock.now_ms()):
            return await self._draw(request, "console.channels.gone", 409)
        raise web.HTTPSeeOther(f"{_PAGE}?done=1")

    async def _draw(
        self, request: web.Request, notice_key: str = "", status: int = 200
    ) -> web.Response:
        say = texts_in(language_of(request))
        role = visit_of(request).staff.role
        if not notice_key and request.query.get("done"):
            notice_key = "console.channels.again"
        may_log_in = may(role, RIGHTS[_LOGIN].least or role)
        depths = await self._queues.depths()
        parts = await self._parts.health()
        page = self._page.render(
            **frame(request, _PAGE),
            notice=say(notice_key) if notice_key else "",
            parts=[
                {
                    "part": part,
                    "number": number,
                    "word": _word(part),
                    "has_code": bool(part.facts.get(QR)) and may(role, RIGHTS[_QR].least or role),
                    "login": self._logins.view(part.name) if may_log_in else None,
                    "facts": [(k, v) for k, v in part.facts.items() if k != QR and v],
                }
                for number, part in enumerate(parts)
            ],
            depths=sorted(depths.items()),
            letters=[
                (letter, moment(letter.at_ms, self._zone))
                for letter in await self._queues.letters(_SHOWN)
            ],
            is_cut=_SHOWN,
            can_retry=may(role, RIGHTS[_RETRY].least or role),
        )
        response = html(page, status=status)
        if may_log_in and self._logins.is_under_way():
            response.headers["Refresh"] = f"{_LOOK_AGAIN_S}; url={_PAGE}#login"
        return response


def _word(part: Health) -> str:
    """Return the state in a word; a part that is switched off is neither well nor ill."""
    if part.ok:
        return "off" if part.detail.startswith("off:") else "good"
    return "bad" if part.required else "away"


def _box(fields: dict[str, str]) -> Box:
    match fields.get("box"):
        case "inbox":
            return "inbox"
        case "outbox":
            return "outbox"
        case _:
            raise Refusal(400)
