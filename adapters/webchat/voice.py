"""Voice notes of a conversation, only for who holds that conversation."""

from __future__ import annotations

from aiohttp import web

from adapters.http.recordings import recording_response
from adapters.webchat.own_files import OwnFiles


class Voices:
    """Serves ``GET /chat/voice/{blob}``."""

    def __init__(self, files: OwnFiles) -> None:
        self._files = files

    async def get(self, request: web.Request) -> web.StreamResponse:
        """Return a recording of the viewer's own history; 404 for every other."""
        data = await self._files.read(request)
        return recording_response(request, data, name="voice-note")
