"""Files by content: photos and result cards, each sealed in a file of its own.

The id is a keyed hash, so the same picture is stored once and nobody without the key can tell
whether a given picture is there. Writing is atomic: a crash leaves the old state or the new one.
"""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path

from core.errors import Bug, PatientError
from core.store.keyring import Keyring

_ID = re.compile(r"[0-9a-f]{64}")
_COLUMN = "blob.file"


class BlobStore:
    """Implements `core.ports.Blobs` on a folder."""

    def __init__(self, folder: Path, keys: Keyring) -> None:
        self._folder = folder
        self._keys = keys

    async def put(self, data: bytes, *, salt: bytes = b"") -> str:
        """Store bytes and return their id; the same bytes and salt give the same id."""
        return await asyncio.to_thread(self._put, data, salt)

    async def get(self, blob: str) -> bytes:
        """Return the bytes.

        Raises:
            PatientError: there is no such file any more.
        """
        return await asyncio.to_thread(self._get, blob)

    async def discard(self, blob: str) -> None:
        """Delete the file; deleting it again changes nothing."""
        await asyncio.to_thread(self._path(blob).unlink, missing_ok=True)

    def _path(self, blob: str) -> Path:
        if not _ID.fullmatch(blob):
            raise Bug("a blob id is 64 hex digits")
        return self._folder / blob[:2] / blob

    def _put(self, data: bytes, salt: bytes) -> str:
        blob = self._keys.fingerprint(salt + data)
        path = self._path(blob)
        if path.exists():
            return blob
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}.part")
        with partial.open("wb") as file:
            file.write(self._keys.seal(_COLUMN, data))
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        return blob

    def _get(self, blob: str) -> bytes:
        try:
            sealed = self._path(blob).read_bytes()
        except FileNotFoundError:
            raise PatientError("turn.photo_gone") from None
        return self._keys.open(_COLUMN, sealed)
