"""Posted files: read in pieces up to the limit, stored by content, passed on as a message.

Photos and voice notes go the same way. Whether the bytes are a picture is for the fundus reader
to say; that they are a recording, and how long it lasts, is seen here, before it is kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from aiohttp import BodyPartReader, web
from aiohttp.http_exceptions import HttpProcessingError

from adapters.http.failures import Refusal
from adapters.http.parts import photo_too_large, read_part
from adapters.webchat.inbound import Door, message_id_from
from core.message import Attachment, AttachmentKind
from core.ports import Blobs
from core.recording import duration_ms, kind_of
from core.split import clean_text

_FORM_BYTES = 64 * 1024  # everything in the form that is not the file
_UPLOADS_AT_ONCE = 4  # each may hold a whole file in memory
_UPLOAD_TIMEOUT_S = 300.0  # 25 MiB at 85 kB/s, a slow mobile link
# A recorder stops a moment after it was told to.
_SPARE_MS = 2_000
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


@dataclass(frozen=True, slots=True)
class Accepted:
    """What a form takes.

    Attributes:
        part: name of the form's part with the file.
        kind: what the file is for the rest of the service.
        max_bytes: largest file.
        missing_key: text for a form without a file.
        too_large: makes the refusal of a larger one.
        check: raises the refusal of a file that is not what it should be.
    """

    part: str
    kind: AttachmentKind
    max_bytes: int
    missing_key: str
    too_large: Callable[[], Refusal]
    check: Callable[[bytes], None] | None = None


def photos(max_bytes: int) -> Accepted:
    """Return what is said of photos."""
    return Accepted(
        "photo",
        AttachmentKind.PHOTO,
        max_bytes,
        "webchat.failure.no_photo",
        partial(photo_too_large, max_bytes),
    )


def voices(max_bytes: int, max_s: int) -> Accepted:
    """Return what is said of voice notes of at most so many bytes and seconds."""
    fields = {"limit_mb": max_bytes // 1024 // 1024, "limit_s": max_s}

    def check(data: bytes) -> None:
        if kind_of(data) is None:
            raise Refusal(415, "webchat.failure.no_recording")
        if (duration_ms(data) or 0) > max_s * 1000 + _SPARE_MS:
            raise Refusal(413, "webchat.voice_too_large", fields=fields)

    return Accepted(
        "voice",
        AttachmentKind.VOICE,
        max_bytes,
        "webchat.failure.no_voice",
        partial(Refusal, 413, "webchat.voice_too_large", fields=fields),
        check,
    )


class UploadForm:
    """Takes files of one kind.

    Args:
        door: stores the message.
        blobs: stores the bytes.
        accepted: which files.
    """

    def __init__(self, door: Door, blobs: Blobs, accepted: Accepted) -> None:
        self._door = door
        self._blobs = blobs
        self._accepted = accepted
        self._slots = asyncio.Semaphore(_UPLOADS_AT_ONCE)

    async def post(self, request: web.Request) -> web.StreamResponse:
        """Store one file.

        Parts: ``id`` (UUID made by the page), ``album`` (UUID, equal for photos chosen together),
        then the file. Repeating the request with the same id is harmless.
        """
        session = self._door.admit(request)
        if not request.content_type.startswith("multipart/form-data"):
            raise web.HTTPUnsupportedMediaType
        if (request.content_length or 0) > self._accepted.max_bytes + _FORM_BYTES:
            raise self._accepted.too_large()
        try:
            async with asyncio.timeout(_UPLOAD_TIMEOUT_S), self._slots:
                fields, attachment = await self._read(request)
        except TimeoutError as error:
            raise Refusal(408) from error
        except BROKEN_FORM as error:
            raise Refusal(400) from error
        if attachment is None:
            raise Refusal(400, self._accepted.missing_key)
        album_id = message_id_from(fields["album"]) if fields.get("album") else None
        return await self._door.accept(
            request,
            session,
            message_id=fields["id"],
            attachments=[attachment],
            album_id=album_id,
        )

    async def _read(self, request: web.Request) -> tuple[dict[str, str], Attachment | None]:
        too_large = self._accepted.too_large
        fields: dict[str, str] = {}
        attachment: Attachment | None = None
        async for part in await request.multipart():
            if not isinstance(part, BodyPartReader):  # multipart inside multipart
                raise Refusal(400)
            if part.name == self._accepted.part and attachment is None:
                fields["id"] = message_id_from(fields.get("id", ""))
                data = await read_part(part, self._accepted.max_bytes, too_large=too_large)
                if data:
                    attachment = await self._keep(part, data, fields["id"])
            elif len(fields) < 10:
                value = await read_part(part, _FORM_BYTES, too_large=too_large)
                fields.setdefault(part.name or "", clean_text(value.decode("utf-8", "replace")))
            else:
                raise Refusal(400)
        return fields, attachment

    async def _keep(self, part: BodyPartReader, data: bytes, message_id: str) -> Attachment:
        if self._accepted.check is not None:
            self._accepted.check(data)
        return Attachment(
            self._accepted.kind,
            # A file of its own even if the same one comes twice, because each is discarded by
            # itself; `core.turn.voices` keeps a recording under the same name.
            ref=await self._blobs.put(data, salt=message_id.encode()),
            mime=clean_text(part.headers.get("Content-Type", ""))[:100] or None,
            size_bytes=len(data),
            name=clean_text(part.filename or "")[:120] or None,
        )
