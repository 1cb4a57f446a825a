"""The terminal: a person at a keyboard, or a script with JSON lines.

A script writes ``{"text": …}``, ``{"photo": "path", "text": …}`` or ``{"button": action}`` and
reads each reply as ``{"text", "buttons", "image", "kind"}``; ``image`` is the path of a file.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from core.errors import PatientError
from core.message import Address, Attachment, AttachmentKind, Inbound
from core.ports import Activity, Blobs, Capabilities, Draft
from core.reply import Reply, plain_text

CHANNEL = "terminal"
ACCOUNT = "local"
_MEBIBYTE = 1024 * 1024


class TerminalChannel:
    """Implements `core.ports.Channel` on standard output.

    Args:
        write: takes one finished line or block of text.
        blobs: pictures to hand out as files.
        folder: where those files go.
        as_json: one JSON line per reply instead of plain text.
    """

    name = CHANNEL
    account = ACCOUNT

    def __init__(
        self, write: Callable[[str], None], blobs: Blobs, folder: Path, *, as_json: bool
    ) -> None:
        self._write = write
        self._blobs = blobs
        self._folder = folder
        self._as_json = as_json
        self._capabilities = Capabilities(
            text_limit=100_000,
            caption_limit=100_000,
            text_unit="characters",
            buttons=as_json,
            drafts=False,
            documents=True,
            media_limit_bytes=25 * _MEBIBYTE,
        )

    @property
    def capabilities(self) -> Capabilities:
        """What a terminal can do; a person types the number of a choice."""
        return self._capabilities

    async def ready(self, to: Address, *, urgent: bool) -> None:
        """Return at once: a terminal has no pace."""

    async def send(self, to: Address, reply: Reply, *, key: str) -> str | None:
        """Write one reply."""
        image, document = await self._save(reply), await self._save_document(reply)
        if self._as_json:
            buttons = [{"label": b.label, "action": b.action} for row in reply.buttons for b in row]
            line = {
                "text": plain_text(reply),
                "buttons": buttons,
                "image": str(image) if image else None,
                "document": str(document) if document else None,
                "kind": reply.kind,
            }
            self._write(json.dumps(line, ensure_ascii=False))
        else:
            files = "".join(f"\n[{path}]" for path in (image, document) if path)
            self._write(f"{plain_text(reply)}{files}\n")
        return key

    async def _save(self, reply: Reply) -> Path | None:
        if reply.image is None:
            return None
        try:
            data = await self._blobs.get(reply.image.blob)
        except PatientError:
            return None  # erased meanwhile; its words are still said
        return await self._write_file(
            f"{reply.image.blob[:16]}.{reply.image.mime.rpartition('/')[2]}", data
        )

    async def _save_document(self, reply: Reply) -> Path | None:
        if reply.document is None:
            return None
        return await self._write_file(reply.document.name, reply.document.text.encode())

    async def _write_file(self, name: str, data: bytes) -> Path:
        path = self._folder / name

        def save() -> None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)

        await asyncio.to_thread(save)
        return path

    async def fetch(self, attachment: Attachment, *, limit_bytes: int) -> bytes:
        """Read the file that was named.

        Raises:
            PatientError: it is too large, or cannot be read.
        """

        def read() -> bytes:
            path = Path(attachment.ref)
            if path.stat().st_size > limit_bytes:
                raise PatientError("turn.file_too_large", limit_mb=limit_bytes // _MEBIBYTE)
            return path.read_bytes()

        try:
            return await asyncio.to_thread(read)
        except OSError:
            raise PatientError("turn.file_unreadable") from None

    async def discard(self, attachment: Attachment) -> None:
        """Do nothing: the file is the person's own."""

    @asynccontextmanager
    async def activity(self, to: Address, what: Activity) -> AsyncGenerator[None]:
        """Show nothing: the next line comes soon enough."""
        yield

    def draft(self, to: Address) -> Draft | None:
        """Return None: a line is written once."""
        return None


def inbound(line: str, sequence: int, *, as_json: bool, chat: str = "me") -> Inbound:
    """Read one line from the keyboard or the script.

    Args:
        line: as it came, without its end.
        sequence: grows with each line, also over restarts.
        as_json: the line is a JSON object.
        chat: whose conversation it is.

    Raises:
        ValueError: the line is not a JSON object of the form above.
    """
    data: dict[str, Any] = {"text": line}
    if as_json:
        found = json.loads(line)
        if not isinstance(found, dict):
            raise ValueError("a line must be a JSON object")
        data = found  # pyright: ignore[reportUnknownVariableType] checked field by field below
    photo = data.get("photo")
    attachments = (Attachment(AttachmentKind.PHOTO, str(photo)),) if photo else ()
    return Inbound(
        Address(CHANNEL, ACCOUNT, chat),
        str(sequence),
        sequence,
        str(data.get("text") or ""),
        attachments,
        button=str(data["button"]) if data.get("button") else None,
    )
