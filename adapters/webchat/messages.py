"""Posted texts and pressed buttons; the same form works with and without JavaScript."""

from __future__ import annotations

import re
from uuid import UUID, uuid5

from aiohttp import web

from adapters.http.failures import Refusal
from adapters.http.forms import read_form
from adapters.http.pages import wants_json
from adapters.webchat.inbound import Door, message_id_from

# `core.reply.Button.action`: v1:<area>:<verb>[:<id>], at most 64 bytes.
_ACTION = re.compile(r"v1(:[A-Za-z0-9_.-]+){2,}")


class MessageForm:
    """Takes texts and buttons.

    Args:
        door: stores them.
        max_characters: longest text.
    """

    def __init__(self, door: Door, *, max_characters: int) -> None:
        self._door = door
        self._max_characters = max_characters

    async def post(self, request: web.Request) -> web.StreamResponse:
        """Store one text or button.

        Fields: ``id`` (UUID made by the page), and either ``text`` or ``button``.
        """
        session = self._door.admit(request)
        fields = await read_form(request)
        text = fields.get("text", "").strip()
        button = fields.get("button") or None
        message_id = message_id_from(fields.get("id", ""))
        if button and (len(button) > 64 or not _ACTION.fullmatch(button)):
            raise Refusal(400)
        if not text and not button:
            raise Refusal(400, "webchat.failure.empty")
        if len(text) > self._max_characters:
            raise Refusal(
                413,
                "webchat.failure.text_too_long",
                fields={"limit": self._max_characters, "length": len(text)},
            )
        if button:
            return await self._door.accept(request, session, message_id=message_id, button=button)
        if not wants_json(request):
            # A page reached by "back" posts another text under the id it was drawn with.
            message_id = str(uuid5(UUID(message_id), text))
        return await self._door.accept(request, session, message_id=message_id, text=text)
