"""Telegram's updates as core's messages. Pure.

Edited messages, channel posts and service messages (joined, pinned …) come out as nothing. In
groups only what is addressed to the bot comes out: a command, a mention, an answer to it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from telegram import CallbackQuery, Message, Update

from core.message import Address, Attachment, AttachmentKind, Inbound
from core.split import clean_text

CHANNEL = "telegram"
# Asked of Telegram; anything else would only be thrown away here.
ALLOWED_UPDATES = ("message", "callback_query")

_COMMAND = re.compile(r"/(\w+)(?:@(\w+))?")
# Content we cannot read, but must not pass over in silence.
_OTHER_CONTENT = (
    "contact",
    "poll",
    "dice",
    "game",
    "story",
    "invoice",
    "paid_media",
    "checklist",
    "giveaway",
)


def to_inbound(update: Update, *, account: str, username: str | None) -> list[Inbound]:
    """Return what an update says: one message, or none.

    Args:
        update: as Telegram sent it.
        account: our bot's id.
        username: our bot's name without "@", or None while it is not known.
    """
    if update.message is not None:
        found = _message(update.message, update.update_id, account, username)
    elif update.callback_query is not None:
        found = _button(update.callback_query, update.update_id, account)
    else:
        found = None
    return [] if found is None else [found]


def _message(message: Message, sequence: int, account: str, username: str | None) -> Inbound | None:
    sender = message.from_user
    if sender is None or sender.is_bot:
        return None
    attachments = tuple(_attachments(message))
    text = clean_text(message.text or message.caption or "")
    if not text and not attachments:
        return None
    private = message.chat.type == "private"
    if not private and not _is_addressed(message, text, account, username):
        return None
    return Inbound(
        address=Address(CHANNEL, account, str(message.chat.id)),
        message_id=str(message.message_id),
        sequence=sequence,
        text=_without_bot_name(text, username),
        attachments=attachments,
        album_id=message.media_group_id,
        sender_id=str(sender.id),
        sender_name=clean_text(sender.full_name) or None,
        language_hint=sender.language_code,
        private=private,
        sent_at_ms=int(message.date.timestamp() * 1000),
    )


def _button(query: CallbackQuery, sequence: int, account: str) -> Inbound | None:
    message = query.message
    if message is None or not query.data:  # under an inline message, or a game's
        return None
    return Inbound(
        address=Address(CHANNEL, account, str(message.chat.id)),
        message_id=f"cb:{query.id}",
        sequence=sequence,
        button=clean_text(query.data),
        sender_id=str(query.from_user.id),
        sender_name=clean_text(query.from_user.full_name) or None,
        language_hint=query.from_user.language_code,
        private=message.chat.type == "private",
    )


def _attachments(message: Message) -> Iterator[Attachment]:
    kinds = AttachmentKind
    if message.photo:
        largest = max(message.photo, key=lambda size: size.width * size.height)
        # Telegram re-encodes photos to JPEG; the original exists only when sent as a file.
        yield Attachment(
            kinds.PHOTO, largest.file_id, "image/jpeg", largest.file_size, compressed=True
        )
    elif message.animation:  # Telegram sets `document` too, for old clients
        yield _file(kinds.VIDEO, message.animation)
    elif message.document:
        is_sound = (message.document.mime_type or "").startswith("audio/")
        yield _file(kinds.VOICE if is_sound else kinds.DOCUMENT, message.document)
    elif message.voice:
        yield _file(kinds.VOICE, message.voice)
    elif message.audio:
        yield _file(kinds.VOICE, message.audio)
    elif message.video:
        yield _file(kinds.VIDEO, message.video)
    elif message.video_note:
        yield _file(kinds.VIDEO, message.video_note)
    elif message.sticker:
        yield _file(kinds.STICKER, message.sticker)
    elif message.location:
        yield Attachment(kinds.LOCATION, "")  # where somebody is we neither need nor keep
    elif any(getattr(message, name, None) for name in _OTHER_CONTENT):
        yield Attachment(kinds.OTHER, "")


def _file(kind: AttachmentKind, file: object) -> Attachment:
    """Read what Telegram's file types share; each lacks some of it."""
    name: str | None = getattr(file, "file_name", None)
    return Attachment(
        kind,
        ref=getattr(file, "file_id", ""),
        mime=getattr(file, "mime_type", None),
        size_bytes=getattr(file, "file_size", None),
        name=clean_text(name) if name else None,
    )


def _is_addressed(message: Message, text: str, account: str, username: str | None) -> bool:
    answered = message.reply_to_message
    if answered and answered.from_user and str(answered.from_user.id) == account:
        return True
    if command := _COMMAND.match(text):
        return command[2] is None or _same_name(command[2], username)
    entities = message.parse_entities() if message.text else message.parse_caption_entities()
    return any(
        (entity.type == "mention" and _same_name(part.removeprefix("@"), username))
        or (entity.type == "text_mention" and entity.user and str(entity.user.id) == account)
        for entity, part in entities.items()
    )


def _without_bot_name(text: str, username: str | None) -> str:
    """Turn ``/help@our_bot x`` into ``/help x``."""
    command = _COMMAND.match(text)
    if command and command[2] and _same_name(command[2], username):
        return f"/{command[1]}{text[command.end() :]}"
    return text


def _same_name(name: str, username: str | None) -> bool:
    return username is not None and name.casefold() == username.casefold()
