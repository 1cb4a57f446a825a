"""Posted photos: read in pieces up to the limit, stored by content, passed on as a message.

Whether the bytes are a picture is for the fundus reader to say; here only their number counts.
"""

from __future__ import annotations

import asyncio

from aiohttp import BodyPartReader, web
from aiohttp.http_exceptions import HttpProcessingError

from adapters.http.failures import Refusal
from adapters.http.parts import photo_too_large, read_part
from adapters.webchat.inbound import Door, message_id_from
from core.message import Attachment, AttachmentKind
from core.ports import Blobs
from core.split import clean_text

_FORM_BYTES = 64 * 1024  # everything in the form that is not the photo
_UPLOADS_AT_ONCE = 4  # each may hold a whole photo in memory
_UPLOAD_TIMEOUT_S = 300.0  # 25 MiB at 85 kB/s, a slow mobile link
# What aiohttp raises for malformed multipart; the last is a sender who left.
BROKEN_FORM = (
    HttpProcessingError,
    ValueError,
    AssertionError,
    RuntimeError,
    LookupError,
    EOFError,
    ConnectionError,
)


class PhotoForm:
    """Takes photos.

    Args:
        door: stores the message.
        blobs: stores the bytes.
        max_bytes: largest photo.
    """

    def __init__(self, door: Door, blobs: Blobs, *, max_bytes: int) -> None:
        self._door = door
        self._blobs = blobs
        self._max_bytes = max_bytes
        self._slots = asyncio.Semaphore(_UPLOADS_AT_ONCE)

    async def post(self, request: web.Request) -> web.StreamResponse:
        """Store one photo.

        Parts: ``id`` (UUID made by the page), ``album`` (UUID, equal for photos chosen together),
        then ``photo``. Repeating the request with the same id is harmless.
        """
        session = self._door.admit(request)
        if not request.content_type.startswith("multipart/form-data"):
            raise web.HTTPUnsupportedMediaType
        if (request.content_length or 0) > self._max_bytes + _FORM_BYTES:
            raise photo_too_large(self._max_bytes)
        try:
            async with asyncio.timeout(_UPLOAD_TIMEOUT_S), self._slots:
                fields, attachment = await self._read(request)
        except TimeoutError as error:
            raise Refusal(408) from error
        except BROKEN_FORM as error:
            raise Refusal(400) from error
        if attachment is None:
            raise Refusal(400, "webchat.failure.no_photo")
        message_id = message_id_from(fields.get("id", ""))
        album_id = message_id_from(fields["album"]) if fields.get("album") else None
        return await self._door.accept(
            request, session, message_id=message_id, attachments=[attachment], album_id=album_id
        )

    async def _read(self, request: web.Request) -> tuple[dict[str, str], Attachment | None]:
        fields: dict[str, str] = {}
        attachment: Attachment | None = None
        async for part in await request.multipart():
            if not isinstance(part, BodyPartReader):  # multipart inside multipart
                raise Refusal(400)
            if part.name == "photo" and attachment is None:
                data = await read_part(part, self._max_bytes, photo_bytes=self._max_bytes)
                if data:
                    attachment = Attachment(
                        AttachmentKind.PHOTO,
                        # A file of its own even if the same photo comes twice, because each
                        # is discarded by itself.
                        ref=await self._blobs.put(data, salt=fields.get("id", "").encode()),
                        mime=clean_text(part.headers.get("Content-Type", ""))[:100] or None,
                        size_bytes=len(data),
                        name=clean_text(part.filename or "")[:120] or None,
                    )
            elif len(fields) < 10:
                value = await read_part(part, _FORM_BYTES, photo_bytes=self._max_bytes)
                fields.setdefault(part.name or "", clean_text(value.decode("utf-8", "replace")))
            else:
                raise Refusal(400)
        return fields, attachment
