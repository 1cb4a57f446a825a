"""iLink's messages as core's. Pure.

A person is the same chat whichever bot they write to: WeChat gives a new bot at every scan, and
what was said before belongs to the same conversation.
"""

from __future__ import annotations

from collections.abc import Iterator
from mimetypes import guess_type

from adapters.wechat.ilink.media import to_ref
from adapters.wechat.ilink.wire import FILE, FROM_USER, IMAGE, TEXT, VIDEO, VOICE, Item, WireMessage
from core.message import Address, Attachment, AttachmentKind, Inbound
from core.split import clean_text

CHANNEL = "ilink"
ACCOUNT = "wechat"
_KINDS = {
    IMAGE: AttachmentKind.PHOTO,
    VOICE: AttachmentKind.VOICE,
    FILE: AttachmentKind.DOCUMENT,
    VIDEO: AttachmentKind.VIDEO,
}


def address_of(user_id: str) -> Address:
    """Return a person's chat."""
    return Address(CHANNEL, ACCOUNT, user_id)


def to_inbound(message: WireMessage) -> Inbound | None:
    """Return what a person said; None for our own messages, groups and empty ones."""
    if message.sender != FROM_USER or message.group_id:
        return None
    text = clean_text(
        "\n".join(i.text for i in message.items if i.kind in (TEXT, VOICE) and i.text)
    )
    attachments = tuple(_attachments(message))
    if not text and not attachments:
        return None
    return Inbound(
        address=address_of(message.user_id),
        message_id=message.id,
        sequence=message.sequence,
        text=text,
        attachments=attachments,
        sender_id=message.user_id,
        sent_at_ms=message.sent_at_ms,
    )


def _attachments(message: WireMessage) -> Iterator[Attachment]:
    for item in message.items:
        if item.kind == TEXT or (item.kind == VOICE and item.text and item.media is None):
            continue  # WeChat has written down what was said, and gives nothing more
        yield _attachment(item)


def _attachment(item: Item) -> Attachment:
    kind = _KINDS.get(item.kind, AttachmentKind.OTHER)
    name = clean_text(item.name) if item.name else None
    mime = "image/jpeg" if kind is AttachmentKind.PHOTO else guess_type(name or "")[0]
    if kind is AttachmentKind.DOCUMENT and (mime or "").startswith("audio/"):
        kind = AttachmentKind.VOICE  # a recording sent as a file
    return Attachment(
        kind,
        # Without a key nobody can open it; "" makes `fetch` say so.
        ref="" if item.media is None else to_ref(item.media),
        mime=mime,
        size_bytes=item.size_bytes,
        name=name,
        compressed=kind is AttachmentKind.PHOTO,
        transcribed=kind is AttachmentKind.VOICE and bool(item.text),
    )
