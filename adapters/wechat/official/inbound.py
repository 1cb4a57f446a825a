"""Pushes as core's messages. Pure.

A person's message, a tap on the menu and a follow become messages; everything else of WeChat's many
events is a `Note` for the channel itself, or nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from core.message import Address, Attachment, AttachmentKind, Inbound
from core.split import clean_text
from core.store.wechat_official import Heard

CHANNEL = "wechat"

_MOST_ID_CHARACTERS = 64
# Within one second WeChat does not say which message was first: the order of arrival does.
_PER_SECOND = 1_000_000


@dataclass(frozen=True, slots=True)
class Note:
    """Something WeChat tells the channel, not the service.

    Attributes:
        what: ``unfollowed``; ``template`` = what became of a template message.
        message_id: of the template message.
        status: WeChat's word for how it went.
    """

    what: Literal["unfollowed", "template"]
    message_id: str = ""
    status: str = ""


@dataclass(frozen=True, slots=True)
class Push:
    """One push, read.

    Attributes:
        open_id: who it is about.
        to: our account's own name, for passive replies.
        at_ms: when, by WeChat's clock.
        message: for the service, or None.
        heard: what it renews of what we may send, or None.
        note: for the channel, or None.
        message_id: the same for every repeat of this push.
    """

    open_id: str
    to: str
    at_ms: int
    message: Inbound | None = None
    heard: Heard | None = None
    note: Note | None = None
    message_id: str = ""


def to_push(fields: Mapping[str, str], *, account: str, now_ms: int) -> Push | None:
    """Read a push; None when a field that every push has is missing or absurd.

    Args:
        fields: of the push.
        account: AppID of the account.
        now_ms: the present, for the order of messages within one second.
    """
    open_id, to = fields.get("FromUserName", ""), fields.get("ToUserName", "")
    created = fields.get("CreateTime", "")
    kind = fields.get("MsgType", "")
    if not (_is_name(open_id) and _is_name(to) and kind and created.isdecimal()):
        return None
    at_s = int(created[:12])
    sequence = at_s * _PER_SECOND + min(max(now_ms - at_s * 1000, 0), _PER_SECOND - 1)
    address = Address(CHANNEL, account, open_id)
    bare = Push(open_id, to, at_s * 1000)
    if kind == "event":
        return _event(fields, bare, address, sequence)
    message_id = fields.get("MsgId", "")
    if not message_id.isdecimal() or len(message_id) > _MOST_ID_CHARACTERS:
        return None
    text, attachments = _content(fields, kind)
    message = Inbound(
        address,
        message_id,
        sequence,
        text=text,
        attachments=attachments,
        sender_id=open_id,
        sent_at_ms=bare.at_ms,
    )
    return Push(open_id, to, bare.at_ms, message, "message", None, message_id)


def _is_name(name: str) -> bool:
    return 0 < len(name) <= _MOST_ID_CHARACTERS and name.isascii() and name.isprintable()


def _content(fields: Mapping[str, str], kind: str) -> tuple[str, tuple[Attachment, ...]]:
    kinds = AttachmentKind
    media_id = fields.get("MediaId", "")
    match kind:
        case "text":
            return clean_text(fields.get("Content", "")), ()
        case "image":
            # WeChat re-encodes pictures. The address serves accounts that may not fetch media.
            ref = f"{media_id} {fields.get('PicUrl', '')}".strip()
            return "", (Attachment(kinds.PHOTO, ref, "image/jpeg", compressed=True),)
        case "voice":
            heard = clean_text(fields.get("Recognition", "")).strip()
            mime = f"audio/{fields.get('Format', '')}"
            # What WeChat wrote down is as good as typed; staff can still hear how it was said.
            return heard, (Attachment(kinds.VOICE, media_id, mime, transcribed=bool(heard)),)
        case "video" | "shortvideo":
            return "", (Attachment(kinds.VIDEO, media_id),)
        case "location":
            return "", (Attachment(kinds.LOCATION, ""),)  # where somebody is we do not keep
        case "link":
            return clean_text(f"{fields.get('Title', '')} {fields.get('Url', '')}").strip(), ()
        case _:
            return "", (Attachment(kinds.OTHER, ""),)


def _event(fields: Mapping[str, str], bare: Push, address: Address, sequence: int) -> Push:
    """Read an event: it has no id, so who, when and what make one."""
    name = fields.get("Event", "")
    key = fields.get("EventKey", "")
    digest = hashlib.sha256(f"{name}\n{key}\n{fields.get('MsgID', '')}".encode()).hexdigest()
    event_id = f"ev:{bare.at_ms // 1000}:{digest[:24]}"

    def says(text: str = "", button: str | None = None) -> Push:
        message = Inbound(
            address,
            event_id,
            sequence,
            text=text,
            button=button,
            sender_id=bare.open_id,
            sent_at_ms=bare.at_ms,
        )
        return Push(bare.open_id, bare.to, bare.at_ms, message, "event", None, event_id)

    def tells(note: Note) -> Push:
        return Push(bare.open_id, bare.to, bare.at_ms, None, None, note, event_id)

    match name:
        case "subscribe" | "SCAN":
            # A clinic's QR code carries an opaque code; WeChat puts a prefix before it at a follow.
            code = key.removeprefix("qrscene_")
            return says(f"/start {clean_text(code)}".strip())
        case "CLICK":
            # Our own menu's keys: an action of ours, or the name of a command.
            return says(button=key) if key.startswith("v1:") else says(f"/{clean_text(key)}")
        case "unsubscribe":
            return tells(Note("unfollowed"))
        case "TEMPLATESENDJOBFINISH":
            return tells(Note("template", fields.get("MsgID", ""), fields.get("Status", "")))
        case _:  # VIEW, LOCATION reports, and whatever WeChat thinks of next
            return Push(bare.open_id, bare.to, bare.at_ms, message_id=event_id)
