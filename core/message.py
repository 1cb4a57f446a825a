"""What a person sent, in our words: the form every adapter turns its wire types into.

`Inbound` is written to the inbox as JSON (encrypted), so each class here stays plain data.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

Language = Literal["zh-Hans", "en"]
LANGUAGES: tuple[Language, ...] = ("zh-Hans", "en")


class AttachmentKind(StrEnum):
    """What came with a message. Pictures are read; a `VOICE` is kept for staff to hear."""

    PHOTO = "photo"
    DOCUMENT = "document"
    VOICE = "voice"
    VIDEO = "video"
    STICKER = "sticker"
    LOCATION = "location"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Address:
    """One chat on one channel: where messages come from and replies go.

    Attributes:
        channel: adapter name, for example ``telegram`` or ``webchat``.
        account: our own account there (bot id, site name); one process may serve several.
        chat_id: the platform's id of the chat, as a string.
    """

    channel: str
    account: str
    chat_id: str


@dataclass(frozen=True, slots=True)
class Attachment:
    """Something that came with a message, not yet fetched.

    Attributes:
        kind: what it is.
        ref: what the channel needs to fetch the bytes (a file id, a stored upload's id).
        mime: type as claimed by the platform; never trusted.
        size_bytes: size as claimed by the platform, or None.
        name: file name as claimed by the sender, or None; never used as a path.
        compressed: true when the platform re-encoded the picture, so an original may exist.
        transcribed: the platform wrote down what was said; it stands in the message's text.
    """

    kind: AttachmentKind
    ref: str
    mime: str | None = None
    size_bytes: int | None = None
    name: str | None = None
    compressed: bool = False
    transcribed: bool = False


@dataclass(frozen=True, slots=True)
class Inbound:
    """One message from a person, as intake stores it.

    Attributes:
        address: the chat it came from.
        message_id: the platform's id; (address, message_id) identifies the message for ever,
            so a redelivery under another update id is recognised.
        sequence: the platform's own order inside this chat (Telegram: update id).
        text: what was written, or the caption; "" when nothing was.
        attachments: what came with it, in the platform's order.
        button: the action of a pressed button (see `core.reply.Button`), or None.
        album_id: equal for the parts of one album, or None.
        sender_id: the platform's id of the person.
        sender_name: how the person calls themselves there, or None; encrypted at rest.
        language_hint: BCP 47 tag from the platform, or None.
        private: false in a group chat, where nothing medical is said.
        sent_at_ms: UTC epoch milliseconds by the platform's clock, or None.
    """

    address: Address
    message_id: str
    sequence: int
    text: str = ""
    attachments: tuple[Attachment, ...] = ()
    button: str | None = None
    album_id: str | None = None
    sender_id: str = ""
    sender_name: str | None = None
    language_hint: str | None = None
    private: bool = True
    sent_at_ms: int | None = None
