"""The methods of the fake Bot API, each with Telegram's documented limits and its own words."""

from __future__ import annotations

import asyncio
import contextlib
import html
import json
import re
import time
from collections.abc import Callable, Mapping
from typing import Any

from tests.fakes.botapi_state import State, a_chat, utf16

TEXT_LIMIT, CAPTION_LIMIT = 4096, 1024  # UTF-16 units after entities parsing
CALLBACK_DATA_LIMIT, DOWNLOAD_LIMIT = 64, 20 * 1024 * 1024  # bytes
_TAGS = {"b", "strong", "i", "em", "u", "s", "del", "code", "pre", "a", "blockquote", "tg-spoiler"}
_TAG = re.compile(r"<(/?)([a-z0-9-]*)([^<>]*)>?", re.IGNORECASE)


class Refused(Exception):
    """The answer ``ok: false``."""

    def __init__(self, status: int, description: str, **parameters: int) -> None:
        super().__init__(description)
        self.status, self.description, self.parameters = status, description, parameters


def _get_me(api: State, p: Mapping[str, Any]) -> dict[str, Any]:
    return {**api.bot(), "can_join_groups": True, "can_read_all_group_messages": False}


async def _get_updates(api: State, p: Mapping[str, Any]) -> list[dict[str, Any]]:
    if api.webhook.get("url"):
        raise Refused(
            409,
            "Conflict: can't use getUpdates method while webhook is active; "
            "use deleteWebhook to delete the webhook first",
        )
    offset, limit = int(p.get("offset") or 0), min(int(p.get("limit") or 100), 100)
    api.poller += 1
    mine = api.poller
    api.wake()  # the other poller learns that it is not alone
    deadline = time.monotonic() + min(float(p.get("timeout") or 0), 50)
    if offset > 0:
        confirmed = 0
        while confirmed < len(api.updates) and api.updates[confirmed]["update_id"] < offset:
            confirmed += 1
        del api.updates[:confirmed]
        api.confirmed += confirmed
    elif offset < 0:
        del api.updates[:offset]
    while True:
        if mine != api.poller:
            raise Refused(
                409,
                "Conflict: terminated by other getUpdates request; "
                "make sure that only one bot instance is running",
            )
        wait_s = deadline - time.monotonic()
        if api.updates or wait_s <= 0 or api.stopping.is_set():
            return api.updates[:limit]
        api.news.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(api.news.wait(), wait_s)


def _set_webhook(api: State, p: Mapping[str, Any]) -> bool:
    url = str(p.get("url") or "")
    if url and not url.startswith(("https://", "http://127.0.0.1:")):
        raise Refused(400, "Bad Request: bad webhook: An HTTPS URL must be provided for webhook")
    api.note("setWebhook", p)
    if p.get("drop_pending_updates"):
        api.updates.clear()
    api.webhook = dict(p)
    api.wake()
    return True


def _delete_webhook(api: State, p: Mapping[str, Any]) -> bool:
    api.note("deleteWebhook", p)
    if p.get("drop_pending_updates"):
        api.updates.clear()
    api.webhook = {}
    return True


def _get_webhook_info(api: State, p: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "url": api.webhook.get("url", ""),
        "has_custom_certificate": False,
        "pending_update_count": len(api.updates),
    }


def _send_message(api: State, p: Mapping[str, Any]) -> dict[str, Any]:
    chat_id = _chat_of(api, p)
    text = _parsed(p, "text")
    if not text.strip():
        raise Refused(400, "Bad Request: message text is empty")
    if utf16(text) > TEXT_LIMIT:
        raise Refused(400, "Bad Request: message is too long")
    return _sent(api, "sendMessage", chat_id, p, text=text)


def _send_photo(api: State, p: Mapping[str, Any]) -> dict[str, Any]:
    chat_id = _chat_of(api, p)
    caption = _parsed(p, "caption")
    photo = p.get("photo")
    if isinstance(photo, str) and photo.startswith("attach://"):
        photo = p.get(photo.removeprefix("attach://"))
    if not isinstance(photo, bytes):
        raise Refused(400, "Bad Request: there is no photo in the request")
    if not photo.startswith((b"\xff\xd8", b"\x89PNG")):
        raise Refused(400, "Bad Request: IMAGE_PROCESS_FAILED")
    if utf16(caption) > CAPTION_LIMIT:
        raise Refused(400, "Bad Request: message caption is too long")
    size = {**api.file(photo), "width": 800, "height": 600}
    return _sent(api, "sendPhoto", chat_id, p, text=caption, photo=[size])


def _send_document(api: State, p: Mapping[str, Any]) -> dict[str, Any]:
    chat_id = _chat_of(api, p)
    caption = _parsed(p, "caption")
    document = p.get("document")
    if isinstance(document, str) and document.startswith("attach://"):
        document = p.get(document.removeprefix("attach://"))
    if not isinstance(document, bytes) or not document:
        raise Refused(400, "Bad Request: there is no document in the request")
    if utf16(caption) > CAPTION_LIMIT:
        raise Refused(400, "Bad Request: message caption is too long")
    file = {**api.file(document), "mime_type": "text/calendar"}
    return _sent(api, "sendDocument", chat_id, p, text=caption, document=file)


def _send_media_group(api: State, p: Mapping[str, Any]) -> list[dict[str, Any]]:
    chat_id = _chat_of(api, p)
    media = json.loads(p["media"]) if isinstance(p.get("media"), str) else p.get("media", [])
    if not 2 <= len(media) <= 10:
        raise Refused(400, "Bad Request: there must be 2-10 items in a media group")
    return [
        _sent(api, "sendMediaGroup", chat_id, p, text=item.get("caption", "")) for item in media
    ]


def _send_chat_action(api: State, p: Mapping[str, Any]) -> bool:
    _chat_of(api, p)
    if p.get("action") not in ("typing", "upload_photo", "upload_document"):
        raise Refused(400, "Bad Request: wrong parameter action in request")
    api.note("sendChatAction", p)
    return True


def _send_message_draft(api: State, p: Mapping[str, Any]) -> bool:
    if _chat_of(api, p) < 0:
        raise Refused(400, "Bad Request: drafts can be sent to private chats only")
    if not int(p.get("draft_id") or 0):
        raise Refused(400, "Bad Request: RANDOM_ID_INVALID")
    if utf16(_parsed(p, "text")) > TEXT_LIMIT:
        raise Refused(400, "Bad Request: message is too long")
    api.note("sendMessageDraft", p)
    return True


def _edit_message_text(api: State, p: Mapping[str, Any]) -> dict[str, Any]:
    message = _own_message(api, p, "edit")
    text = _parsed(p, "text")
    if not text.strip():
        raise Refused(400, "Bad Request: message text is empty")
    if utf16(text) > TEXT_LIMIT:
        raise Refused(400, "Bad Request: message is too long")
    if text == message["text"] and not p.get("reply_markup"):
        raise Refused(
            400,
            "Bad Request: message is not modified: specified new message content and reply "
            "markup are exactly the same as a current content and reply markup of the message",
        )
    message["text"] = text
    api.note("editMessageText", p, message_id=message["message_id"], text=text)
    return message


def _delete_message(api: State, p: Mapping[str, Any]) -> bool:
    message = _own_message(api, p, "delete")
    del api.messages[message["chat"]["id"], message["message_id"]]
    api.note("deleteMessage", p)
    return True


def _answer_callback_query(api: State, p: Mapping[str, Any]) -> bool:
    if p.get("callback_query_id") not in api.queries:
        raise Refused(
            400,
            "Bad Request: query is too old and response timeout expired or query ID is invalid",
        )
    api.queries.discard(p["callback_query_id"])
    api.note("answerCallbackQuery", p)
    return True


def _set_my_commands(api: State, p: Mapping[str, Any]) -> bool:
    commands = p.get("commands")
    commands = json.loads(commands) if isinstance(commands, str) else commands
    for item in commands or ():
        if not re.fullmatch(r"[a-z0-9_]{1,32}", item["command"]):
            raise Refused(400, "Bad Request: BOT_COMMAND_INVALID")
        if not 1 <= len(item["description"]) <= 256:
            raise Refused(400, "Bad Request: BOT_COMMAND_DESCRIPTION_INVALID")
    api.note("setMyCommands", p)
    api.commands[str(p.get("language_code") or "")] = list(commands or ())
    return True


def _get_my_commands(api: State, p: Mapping[str, Any]) -> list[Any]:
    return api.commands.get(str(p.get("language_code") or ""), [])


def _get_file(api: State, p: Mapping[str, Any]) -> dict[str, Any]:
    file_id = str(p.get("file_id"))
    if file_id not in api.files:
        raise Refused(400, "Bad Request: wrong file_id or the file is temporarily unavailable")
    size = api.files[file_id][1]
    if size > DOWNLOAD_LIMIT:
        raise Refused(400, "Bad Request: file is too big")
    names = {"file_id": file_id, "file_unique_id": file_id[::-1]}
    return {**names, "file_size": size, "file_path": f"photos/{file_id}"}


def _chat_of(api: State, p: Mapping[str, Any]) -> int:
    try:
        chat_id = int(p["chat_id"])
    except (KeyError, ValueError):
        raise Refused(400, "Bad Request: chat_id is empty") from None
    if chat_id not in api.chats:
        raise Refused(400, "Bad Request: chat not found")
    return chat_id


def _own_message(api: State, p: Mapping[str, Any], verb: str) -> dict[str, Any]:
    message = api.messages.get((_chat_of(api, p), int(p.get("message_id") or 0)))
    if message is None:
        raise Refused(400, f"Bad Request: message to {verb} not found")
    return message


def _sent(
    api: State, method: str, chat_id: int, p: Mapping[str, Any], *, text: str, **content: Any
) -> dict[str, Any]:
    markup = p.get("reply_markup")
    markup = json.loads(markup) if isinstance(markup, str) else markup
    for row in (markup or {}).get("inline_keyboard", ()):
        for button in row:
            if not button.get("text"):
                raise Refused(400, "Bad Request: text buttons are unallowed in inline keyboard")
            data = button.get("callback_data", "")
            if not 1 <= len(data.encode()) <= CALLBACK_DATA_LIMIT:
                raise Refused(400, "Bad Request: BUTTON_DATA_INVALID")
    message_id = api.new_id()
    message = {
        "message_id": message_id,
        "date": int(time.time()),
        "chat": a_chat(chat_id),
        "from": api.bot(),
        **({"caption": text} if "photo" in content else {}),
        **content,
        "text": text,
    }
    api.messages[chat_id, message_id] = message
    if len(api.messages) > api.keep_calls:
        del api.messages[next(iter(api.messages))]
    api.note(method, p, message_id=message_id, text=text)
    if "photo" in content:
        return {k: v for k, v in message.items() if k != "text"}
    return message


METHODS: dict[str, Callable[[State, Mapping[str, Any]], Any]] = {
    "getme": _get_me,
    "getupdates": _get_updates,
    "setwebhook": _set_webhook,
    "deletewebhook": _delete_webhook,
    "getwebhookinfo": _get_webhook_info,
    "sendmessage": _send_message,
    "senddocument": _send_document,
    "sendphoto": _send_photo,
    "sendmediagroup": _send_media_group,
    "sendchataction": _send_chat_action,
    "sendmessagedraft": _send_message_draft,
    "editmessagetext": _edit_message_text,
    "deletemessage": _delete_message,
    "answercallbackquery": _answer_callback_query,
    "setmycommands": _set_my_commands,
    "getmycommands": _get_my_commands,
    "getfile": _get_file,
}


def _parsed(p: Mapping[str, Any], name: str) -> str:
    """Return the visible text of a parameter after entities parsing."""
    text = str(p.get(name) or "")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Refused(400, "Bad Request: strings must be encoded in UTF-8") from None
    text = text.replace("\x00", "")
    mode = p.get("parse_mode")
    if not mode:
        return text
    if str(mode).upper() != "HTML":
        raise Refused(400, "Bad Request: unsupported parse_mode")
    return visible_html(text) if "<" in text or "&" in text else text


def visible_html(text: str) -> str:
    """Return HTML without its tags, or refuse what Telegram's parser refuses."""

    def no(why: str, at: int) -> Refused:
        offset = len(text[:at].encode())
        return Refused(400, f"Bad Request: can't parse entities: {why} at byte offset {offset}")

    visible: list[str] = []
    opened: list[str] = []
    end = 0
    for tag in _TAG.finditer(text):
        visible.append(text[end : tag.start()])
        end = tag.end()
        closing, name = tag[1], tag[2].lower()
        if name not in _TAGS:
            raise no(f'Unsupported {"end" if closing else "start"} tag "{name}"', tag.start())
        if not tag[0].endswith(">"):
            raise no(f'Unclosed start tag "{name}"', tag.start())
        if not closing:
            opened.append(name)
        elif not opened or opened.pop() != name:
            raise no(f'Unmatched end tag "{name}"', tag.start())
    if opened:
        raise Refused(
            400,
            "Bad Request: can't parse entities: "
            f'Can\'t find end tag corresponding to start tag "{opened[-1]}"',
        )
    visible.append(text[end:])
    return html.unescape("".join(visible))
