"""The gateway's messages as core's. Pure.

What the account itself wrote, WeChat's own notices and other official accounts come out as
nothing. In groups only what is addressed to us comes out; where the one who asked is a contact,
it comes out once more as if they had written privately, so that the answer goes there.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from adapters.wechat.wechaty.protocol import MessageType
from core.message import Address, Attachment, AttachmentKind, Inbound
from core.split import clean_text

CHANNEL = "wechaty"

_KINDS: dict[int, AttachmentKind] = {
    MessageType.ATTACHMENT: AttachmentKind.DOCUMENT,
    MessageType.AUDIO: AttachmentKind.VOICE,
    MessageType.CONTACT: AttachmentKind.OTHER,
    MessageType.CHAT_HISTORY: AttachmentKind.OTHER,
    MessageType.EMOTICON: AttachmentKind.STICKER,
    MessageType.IMAGE: AttachmentKind.PHOTO,
    MessageType.LOCATION: AttachmentKind.LOCATION,
    MessageType.MINI_PROGRAM: AttachmentKind.OTHER,
    MessageType.TRANSFER: AttachmentKind.OTHER,
    MessageType.RED_ENVELOPE: AttachmentKind.OTHER,
    MessageType.URL: AttachmentKind.OTHER,
    MessageType.VIDEO: AttachmentKind.VIDEO,
    MessageType.POST: AttachmentKind.OTHER,
}
# Of these the file is asked for when it is needed; the others are only named.
_WITH_FILE = frozenset(
    {MessageType.ATTACHMENT, MessageType.AUDIO, MessageType.IMAGE, MessageType.VIDEO}
)

# WeChat's own: its team, the file helper, friend requests, news; gh_… are official accounts.
_NOT_PEOPLE = frozenset({"weixin", "filehelper", "fmessage", "newsapp", "medianote", "mphelper"})
_OFFICIAL = 2  # ContactType

# WeChat ends a mention with U+2005 (four-per-em space).
_MENTION = re.compile(r"@[^@\u2005\n]{1,64}\u2005")
_TO_ALL = re.compile(r"^@(所有人|all\b)", re.IGNORECASE)
# A quoted message, as WeChat for Windows and puppets write it into the text.
_QUOTE = re.compile(r"\A「.{1,4000}?」\n(?:- ?){5,}\n", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Message:
    """What the gateway says about one message; ids as it writes them.

    Attributes:
        id: the message's.
        type: as `MessageType` numbers it.
        text: its words; for other types than text an XML nobody reads.
        sender_id: who wrote it.
        room_id: the group, or "".
        mentions: ids of who is named in it.
        sent_at_ms: UTC epoch milliseconds; 0 = not told.
        file_name: of an attachment, or "".
    """

    id: str
    type: int
    text: str
    sender_id: str
    room_id: str = ""
    mentions: Sequence[str] = ()
    sent_at_ms: int = 0
    file_name: str = ""


@dataclass(frozen=True, slots=True)
class Person:
    """A WeChat account as the gateway knows it.

    Attributes:
        id: the gateway's id of it.
        name: how it calls itself; "" = not known.
        is_contact: it is in our contact list, so that we may write to it.
        type: as the protocol numbers them: 1 a person, 2 an official account.
    """

    id: str
    name: str = ""
    is_contact: bool = False
    type: int = 1


def to_inbound(
    message: Message, sender: Person, me: Person, *, account: str, sequence: int, move: bool
) -> list[Inbound]:
    """Return what a message says: nothing, one message, or one for the group and one for the chat.

    Args:
        message: as the gateway has it.
        sender: who wrote it.
        me: our own account.
        account: its name in our addresses.
        sequence: grows with each message.
        move: questions put in a group are answered in the private chat too.
    """
    if sender.id == me.id or not _is_person(sender):
        return []
    kind = _KINDS.get(message.type)
    if kind is None and message.type != MessageType.TEXT:
        return []  # a notice of WeChat itself, or a message that was recalled
    in_group = bool(message.room_id)
    if in_group and not _is_addressed(message, me):
        return []
    text = _words(message, me) if message.type == MessageType.TEXT else ""
    if not text and kind is None and not in_group:
        return []
    found = Inbound(
        address=Address(CHANNEL, account, message.room_id or sender.id),
        message_id=message.id,
        sequence=sequence,
        text=text,
        attachments=() if kind is None else (_attachment(message, kind),),
        sender_id=sender.id,
        sender_name=clean_text(sender.name) or None,
        private=not in_group,
        sent_at_ms=message.sent_at_ms or None,
    )
    if not in_group:
        return [found]
    if not (move and sender.is_contact and text):
        return [found]
    chat = Address(CHANNEL, account, sender.id)
    return [found, replace(found, address=chat, private=True)]


def _attachment(message: Message, kind: AttachmentKind) -> Attachment:
    photo = kind is AttachmentKind.PHOTO
    return Attachment(
        kind,
        ref=message.id if message.type in _WITH_FILE else "",
        mime="image/jpeg" if photo else None,
        name=clean_text(message.file_name) or None,
        # WeChat re-encodes unless "original" was chosen, and does not say which.
        compressed=photo,
    )


def _is_person(sender: Person) -> bool:
    official = sender.type == _OFFICIAL or sender.id.startswith("gh_")
    return bool(sender.id) and not official and sender.id not in _NOT_PEOPLE


def _is_addressed(message: Message, me: Person) -> bool:
    if message.type != MessageType.TEXT or _TO_ALL.match(message.text):
        return False
    # Some puppets do not say who is mentioned.
    return me.id in message.mentions or bool(me.name and _named(me).search(message.text))


def _named(me: Person) -> re.Pattern[str]:
    return re.compile(rf"@{re.escape(me.name)}(?:[\u2005\s,，:：]|$)")


def _words(message: Message, me: Person) -> str:
    """Return what the sender wrote themselves: without a quoted message and mentions."""
    text = _QUOTE.sub("", clean_text(message.text))
    if message.room_id:
        text = _MENTION.sub("", text)
        if me.name:
            text = _named(me).sub(" ", text)
    return text.strip()
