"""Pictures of a conversation, only for who holds that conversation.

The conversation shows a small copy; a phone on mobile data fetches the whole picture only when
the person opens it. The copy is made on the way out, so nothing derived has to be kept or erased.
"""

from __future__ import annotations

from aiohttp import web

from adapters.webchat.own_files import OwnFiles
from core.errors import PatientError, TransientError
from core.ports import Shrink

_SMALL_PX = 800  # twice the width of a bubble on a phone
_SMALL_BYTES = 150_000  # below, the whole picture is as good as a copy
# By the first bytes; anything else is offered as a file to save, never shown.
_SIGNATURES = (
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"GIF8", "image/gif"),
)


def picture_type(data: bytes) -> str | None:
    """Return the type of a picture every browser shows, or None."""
    for start, kind in _SIGNATURES:
        if data.startswith(start):
            return kind
    return "image/webp" if data[:4] == b"RIFF" and data[8:12] == b"WEBP" else None


async def small_copy(data: bytes, shrink: Shrink | None) -> bytes | None:
    """Return a JPEG of at most `_SMALL_PX` a side without metadata, or None when there is none.

    HEIC too, which phones send and most browsers cannot show. What a stranger sent is never opened
    in this process: `shrink` does it elsewhere.
    """
    if shrink is None:
        return None
    try:
        return await shrink(data, _SMALL_PX)
    except (PatientError, TransientError):
        return None


class Photos:
    """Serves ``GET /chat/photo/{blob}``."""

    def __init__(self, files: OwnFiles, *, shrink: Shrink | None = None) -> None:
        self._files = files
        self._shrink = shrink

    async def get(self, request: web.Request) -> web.StreamResponse:
        """Return a picture that occurs in the viewer's own history; 404 for every other."""
        data = await self._files.read(request)
        kind = picture_type(data)
        if "small" in request.query and len(data) > _SMALL_BYTES:
            smaller = await small_copy(data, self._shrink)
            if smaller is not None:
                data, kind = smaller, "image/jpeg"
        headers = {
            "Content-Type": kind or "application/octet-stream",
            "Cache-Control": "private, max-age=86400, immutable",
            "Content-Security-Policy": "default-src 'none'; sandbox",
            "Content-Disposition": "inline" if kind else 'attachment; filename="photo"',
        }
        return web.Response(body=data, headers=headers)
