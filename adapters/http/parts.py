"""Reads the parts of a form with files, none further than its limit."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import BodyPartReader

from adapters.http.failures import Refusal

_PIECE_BYTES = 64 * 1024


async def read_part(
    part: BodyPartReader, limit_bytes: int, *, too_large: Callable[[], Refusal]
) -> bytes:
    """Return a part's bytes.

    Args:
        part: of a multipart form.
        limit_bytes: of this part.
        too_large: what the person is told.

    Raises:
        Refusal: longer than its limit (413).
    """
    data = bytearray()
    while piece := await part.read_chunk(_PIECE_BYTES):
        data += piece
        if len(data) > limit_bytes:
            raise too_large()
    return bytes(data)


def photo_too_large(limit_bytes: int) -> Refusal:
    """Return the refusal (413) of a photo that is larger than we take."""
    limit_mb = limit_bytes // 1024 // 1024
    return Refusal(413, "webchat.photo_too_large", fields={"limit_mb": limit_mb})
