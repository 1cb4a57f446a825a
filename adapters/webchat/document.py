"""Small files that came with an answer, only for who holds that conversation."""

from __future__ import annotations

from aiohttp import web

from adapters.webchat.session import find_session
from core.message import Address
from core.ports import History

_HISTORY_LIMIT = 10_000


class Documents:
    """Serves ``GET /chat/document/{id}``: the file of one entry of the viewer's own history."""

    def __init__(self, *, account: str, history: History) -> None:
        self._account = account
        self._history = history

    async def get(self, request: web.Request) -> web.StreamResponse:
        """Return the file to be saved or opened; 404 for every other entry."""
        session = find_session(request)
        if session is None:
            raise web.HTTPNotFound
        address = Address("webchat", self._account, session.chat_id)
        wanted = int(request.match_info["id"])
        items = await self._history.history(address, after=wanted - 1, limit=_HISTORY_LIMIT)
        reply = items[0].reply if items and items[0].id == wanted else None
        if reply is None or reply.document is None:
            raise web.HTTPNotFound
        return web.Response(
            text=reply.document.text,
            content_type=reply.document.mime,
            charset="utf-8",
            headers={
                "Cache-Control": "private, no-store",
                "Content-Security-Policy": "default-src 'none'; sandbox",
                "Content-Disposition": f'attachment; filename="{reply.document.name}"',
            },
        )
