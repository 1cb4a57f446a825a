"""Which files belong to a conversation: only those are shown, and only to who holds it."""

from __future__ import annotations

from collections import OrderedDict

from aiohttp import web

from adapters.webchat.session import find_session
from core.errors import PatientError
from core.message import Address
from core.ports import Blobs, History

_HISTORY_LIMIT = 10_000
_REMEMBERED_CHATS = 256


class OwnFiles:
    """Finds the files of a conversation by its history."""

    def __init__(self, *, account: str, history: History, blobs: Blobs) -> None:
        self._account = account
        self._history = history
        self._blobs = blobs
        self._known: OrderedDict[str, frozenset[str]] = OrderedDict()

    async def read(self, request: web.Request) -> bytes:
        """Return the file ``{blob}`` when it occurs in the viewer's own history; else 404."""
        session = find_session(request)
        blob = request.match_info["blob"]
        if session is None or not await self._is_in_history(session.chat_id, blob):
            raise web.HTTPNotFound
        try:
            return await self._blobs.get(blob)
        except PatientError as error:
            raise web.HTTPNotFound from error

    async def _is_in_history(self, chat_id: str, blob: str) -> bool:
        """Look in what is remembered, and once more in the history when it is not there."""
        if blob not in self._known.get(chat_id, ()):
            items = await self._history.history(
                Address("webchat", self._account, chat_id), limit=_HISTORY_LIMIT
            )
            own = {file for item in items for file in (*item.photos, *item.voices)}
            own |= {i.reply.image.blob for i in items if i.reply and i.reply.image}
            self._known[chat_id] = frozenset(own)
        self._known.move_to_end(chat_id)
        while len(self._known) > _REMEMBERED_CHATS:
            self._known.popitem(last=False)
        return blob in self._known.get(chat_id, ())
