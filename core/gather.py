"""Which waiting messages make one turn (pure).

People split a thought over several messages, and an album arrives as one message per picture. So
consecutive texts that come close together are answered together, and an album waits for its last
picture. Commands, buttons and our own events always stand alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from core.message import Address, Attachment, AttachmentKind, Inbound

# Pictures of an album arrive within a second or two; a lost one must not hold the others for ever
# (the limits of AstrBot, the one peer that gathers albums well, are 2.5 s and 10 s).
ALBUM_SILENCE_MS = 1_500
ALBUM_CAP_MS = 10_000
# However fast somebody types, the first answer comes after this time.
MERGE_CAP_MS = 5_000


@dataclass(frozen=True, slots=True)
class Event:
    """Something of our own that happens in a conversation: a due reminder, a timer.

    Attributes:
        name: ``reminder`` or the timer's name.
        ref: id of the row that fired.
    """

    name: str
    ref: int


@dataclass(frozen=True, slots=True)
class Waiting:
    """A stored message or event that waits for its turn."""

    inbox_id: int
    message_id: str
    sequence: int
    received_at_ms: int
    what: Inbound | Event
    attempts: int = 0
    not_before_ms: int = 0
    urgent: bool = False


@dataclass(frozen=True, slots=True)
class Gathered:
    """The next turn's messages, or the time at which to look again.

    Attributes:
        batch: handle these together now; empty = wait.
        look_again_ms: UTC ms, when `batch` is empty and something waits.
    """

    batch: tuple[Waiting, ...] = ()
    look_again_ms: int | None = None


def _stands_alone(waiting: Waiting) -> bool:
    what = waiting.what
    return isinstance(what, Event) or what.button is not None or what.text.startswith("/")


def _album(waiting: Waiting) -> str | None:
    return waiting.what.album_id if isinstance(waiting.what, Inbound) else None


def gather(waiting: Sequence[Waiting], *, now_ms: int, merge_window_ms: int) -> Gathered:
    """Choose the next turn from what waits, which must be in the platform's order.

    An urgent message (red flag) takes everything before it along and waits for nothing.
    """
    if not waiting:
        return Gathered()
    for position, item in enumerate(waiting):
        if item.urgent:
            start = next(
                (i for i in range(position, -1, -1) if i and _stands_alone(waiting[i - 1])), 0
            )
            if start == 0:
                return Gathered(tuple(waiting[: position + 1]))
            break
    head = waiting[0]
    if head.not_before_ms > now_ms:
        return Gathered(look_again_ms=head.not_before_ms)
    if _stands_alone(head):
        return Gathered((head,))
    batch = [head]
    for item in waiting[1:]:
        last = batch[-1]
        together = _album(item) is not None and _album(item) == _album(last)
        close = merge_window_ms > 0 and item.received_at_ms - last.received_at_ms <= merge_window_ms
        capped = item.received_at_ms - head.received_at_ms > MERGE_CAP_MS and not together
        if _stands_alone(item) or capped or not (together or close):
            return Gathered(tuple(batch))
        batch.append(item)
    in_album = any(_album(item) for item in batch)
    silence_ms = ALBUM_SILENCE_MS if in_album else merge_window_ms
    cap_ms = ALBUM_CAP_MS if in_album else MERGE_CAP_MS
    ready_at = min(batch[-1].received_at_ms + silence_ms, head.received_at_ms + cap_ms)
    # A retry has waited already.
    if now_ms >= ready_at or head.attempts:
        return Gathered(tuple(batch))
    return Gathered(look_again_ms=ready_at)


def to_json(message: Inbound) -> dict[str, Any]:
    """Return an `Inbound` as JSON-ready data, without its address (the conversation has it)."""
    data: dict[str, Any] = {"text": message.text, "sequence": message.sequence}
    if message.attachments:
        data["attachments"] = [
            [a.kind.value, a.ref, a.mime, a.size_bytes, a.name, a.compressed, a.transcribed]
            for a in message.attachments
        ]
    for name in ("button", "album_id", "sender_id", "sender_name", "language_hint", "sent_at_ms"):
        value = getattr(message, name)
        if value:
            data[name] = value
    if not message.private:
        data["private"] = False
    return data


def from_json(data: dict[str, Any], address: Address, message_id: str) -> Inbound:
    """Read back what `to_json` wrote."""
    attachments = tuple(
        Attachment(AttachmentKind(a[0]), *a[1:]) for a in data.get("attachments", ())
    )
    return Inbound(
        address,
        message_id,
        data["sequence"],
        data["text"],
        attachments,
        data.get("button"),
        data.get("album_id"),
        data.get("sender_id", ""),
        data.get("sender_name"),
        data.get("language_hint"),
        data.get("private", True),
        data.get("sent_at_ms"),
    )
