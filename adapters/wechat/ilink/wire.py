"""iLink's JSON as data: what a long poll brings, and the messages we send. Pure.

Ids are uint64 on the wire and strings here. Whatever is missing or of another type than the
protocol says is left out rather than believed.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

TEXT, IMAGE, VOICE, FILE, VIDEO = 1, 2, 3, 4, 5
FROM_USER = 1
_FROM_BOT, _FINISHED = 2, 2
_HEX_KEY = re.compile(r"[0-9a-fA-F]{32}")
_BODIES = {
    TEXT: "text_item",
    IMAGE: "image_item",
    VOICE: "voice_item",
    FILE: "file_item",
    VIDEO: "video_item",
}


@dataclass(frozen=True, slots=True)
class Media:
    """Where an encrypted file lies and what opens it.

    Attributes:
        key: 16 bytes.
        url: whole address, or "".
        param: what the CDN wants to know when there is no address, or "".
    """

    key: bytes
    url: str = ""
    param: str = ""


@dataclass(frozen=True, slots=True)
class Item:
    """One part of a message.

    Attributes:
        kind: `TEXT` … `VIDEO`, or a number we do not know.
        text: what was written, or WeChat's transcript of a voice message.
        media: the file; None when it cannot be fetched.
        name: of a file, as its sender calls it.
        size_bytes: as claimed.
    """

    kind: int
    text: str = ""
    media: Media | None = None
    name: str | None = None
    size_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class WireMessage:
    """One message of a long poll."""

    id: str
    user_id: str
    group_id: str
    sender: int
    sequence: int
    sent_at_ms: int | None
    context_token: str
    items: tuple[Item, ...]


@dataclass(frozen=True, slots=True)
class Updates:
    """The answer to a long poll.

    Attributes:
        messages: in WeChat's order.
        cursor: for the next call; None = keep the old one.
        unreadable: how many entries were no messages.
    """

    messages: tuple[WireMessage, ...]
    cursor: str | None
    unreadable: int = 0


def _object(value: Any) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, dict) else {}


def _list(value: Any) -> Sequence[Any]:
    return cast("Sequence[Any]", value) if isinstance(value, list) else ()


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def as_id(value: Any) -> str:
    """Return an id as a string; "" when there is none."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value) if value else ""
    return _text(value)


def _number(value: Any) -> int | None:
    """Return a count, which WeChat writes as a number or as digits."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    return int(value) if isinstance(value, str) and value.isdecimal() else None


def read_updates(answer: Mapping[str, Any]) -> Updates:
    """Read the answer to a long poll; entries that are no messages are counted and left out."""
    messages: list[WireMessage] = []
    unreadable = 0
    for entry in _list(answer.get("msgs")):
        message = _message(_object(entry))
        if message is None:
            unreadable += 1
        else:
            messages.append(message)
    return Updates(tuple(messages), _text(answer.get("get_updates_buf")) or None, unreadable)


def _message(data: Mapping[str, Any]) -> WireMessage | None:
    user_id = _text(data.get("from_user_id"))
    at_ms = _number(data.get("create_time_ms"))
    number = as_id(data.get("message_id")) or as_id(data.get("client_id"))
    sequence = _number(data.get("seq")) or 0
    if not user_id:
        return None
    return WireMessage(
        # WeChat has always given an id; should it not, time and place tell messages apart.
        id=number or f"{at_ms or 0}:{sequence}",
        user_id=user_id,
        group_id=_text(data.get("group_id")),
        sender=_number(data.get("message_type")) or 0,
        # Our order over a new login too, where WeChat's own numbers may begin again.
        sequence=at_ms or sequence,
        sent_at_ms=at_ms,
        context_token=_text(data.get("context_token")),
        items=tuple(_item(_object(i)) for i in _list(data.get("item_list"))),
    )


def _item(data: Mapping[str, Any]) -> Item:
    kind = _number(data.get("type")) or 0
    body = _object(data.get(_BODIES.get(kind, "")))
    media = _media(_object(body.get("media")), _text(body.get("aeskey")))
    size = _number(body.get("len")) or _number(body.get("hd_size") or body.get("mid_size"))
    return Item(kind, _text(body.get("text")), media, _text(body.get("file_name")) or None, size)


def _media(data: Mapping[str, Any], hex_key: str) -> Media | None:
    """Read a reference into the CDN.

    Pictures carry their key a second time, in hexadecimal: WeChat keeps that one right when it
    recognises a file sent before, and the other one not.
    """
    key = _key(hex_key) or _key_of_base64(_text(data.get("aes_key")))
    url, param = _text(data.get("full_url")), _text(data.get("encrypt_query_param"))
    return Media(key, url, param) if key and (url or param) else None


def _key(digits: str) -> bytes | None:
    return bytes.fromhex(digits) if _HEX_KEY.fullmatch(digits) else None


def _key_of_base64(text: str) -> bytes | None:
    """Read a key, which is base64 of the 16 bytes or of their 32 hexadecimal digits."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return raw if len(raw) == 16 else _key(raw.decode("ascii", "replace"))


def text_item(text: str) -> dict[str, Any]:
    """Return a text as WeChat takes it."""
    return {"type": TEXT, "text_item": {"text": text}}


def image_item(param: str, key: bytes, cipher_bytes: int) -> dict[str, Any]:
    """Return an uploaded picture as WeChat takes it."""
    # base64 of the hexadecimal digits: phones cannot open pictures with base64 of the bytes.
    shown_key = base64.b64encode(key.hex().encode()).decode()
    media = {"encrypt_query_param": param, "aes_key": shown_key, "encrypt_type": 1}
    return {"type": IMAGE, "image_item": {"media": media, "mid_size": cipher_bytes}}


def outgoing(
    to: str, item: Mapping[str, Any], *, client_id: str, context_token: str
) -> dict[str, Any]:
    """Return one finished message of ours; WeChat takes one item in each."""
    return {
        "msg": {
            "from_user_id": "",
            "to_user_id": to,
            "client_id": client_id,
            "message_type": _FROM_BOT,
            "message_state": _FINISHED,
            "item_list": [item],
            "context_token": context_token,
        }
    }
