from __future__ import annotations

from typing import Any

import pytest
from telegram import Update

from adapters.telegram.inbound import to_inbound
from core.message import Address, Attachment, AttachmentKind, Inbound

PATIENT = {"id": 77, "is_bot": False, "first_name": "王", "last_name": "芳", "language_code": "zh"}
BOT = {"id": 4242, "is_bot": True, "first_name": "Oculi", "username": "oculi_bot"}
PRIVATE = {"id": 1001, "type": "private", "first_name": "王"}
GROUP = {"id": -1009, "type": "supergroup", "title": "家"}


def read(update: dict[str, Any], username: str | None = "oculi_bot") -> list[Inbound]:
    parsed = Update.de_json({"update_id": 9, **update}, None)
    return to_inbound(parsed, account="4242", username=username)


def a_message(chat: dict[str, Any] = PRIVATE, **content: Any) -> dict[str, Any]:
    base = {"message_id": 5, "date": 1_700_000_000, "chat": chat, "from": PATIENT}
    return {"message": base | content}


def a_file(**more: Any) -> dict[str, Any]:
    return {"file_id": "F", "file_unique_id": "u", **more}


def an_entity(kind: str, text: str, part: str, **more: Any) -> dict[str, Any]:
    def units(s: str) -> int:
        return len(s.encode("utf-16-le")) // 2

    return {"type": kind, "offset": units(text[: text.index(part)]), "length": units(part), **more}


def test_a_text():
    assert read(a_message(text="左眼红\x00😀")) == [
        Inbound(
            Address("telegram", "4242", "1001"),
            "5",
            9,
            "左眼红😀",
            sender_id="77",
            sender_name="王 芳",
            language_hint="zh",
            sent_at_ms=1_700_000_000_000,
        )
    ]


def test_the_largest_photo_is_taken_whatever_the_order():
    sizes = [
        a_file(file_id="L", width=1280, height=960, file_size=90_000),
        a_file(file_id="S", width=90, height=60, file_size=900),
    ]
    [message] = read(a_message(photo=sizes, caption="右眼", media_group_id="g1"))
    photo = Attachment(AttachmentKind.PHOTO, "L", "image/jpeg", 90_000, compressed=True)
    assert message.attachments == (photo,)
    assert (message.text, message.album_id) == ("右眼", "g1")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (
            {"document": a_file(mime_type="image/heic", file_size=7, file_name="a\x00.heic")},
            Attachment(AttachmentKind.DOCUMENT, "F", "image/heic", 7, "a.heic"),
        ),
        ({"document": a_file()}, Attachment(AttachmentKind.DOCUMENT, "F")),
        (
            {"voice": a_file(duration=3, mime_type="audio/ogg", file_size=8)},
            Attachment(AttachmentKind.VOICE, "F", "audio/ogg", 8),
        ),
        ({"audio": a_file(duration=3)}, Attachment(AttachmentKind.VOICE, "F")),
        (
            {"document": a_file(mime_type="audio/amr")},
            Attachment(AttachmentKind.VOICE, "F", "audio/amr"),
        ),
        (
            {"video": a_file(duration=3, width=1, height=1)},
            Attachment(AttachmentKind.VIDEO, "F"),
        ),
        ({"video_note": a_file(duration=3, length=1)}, Attachment(AttachmentKind.VIDEO, "F")),
        (
            {
                "animation": a_file(duration=3, width=1, height=1),
                "document": a_file(file_id="same"),
            },
            Attachment(AttachmentKind.VIDEO, "F"),
        ),
        (
            {
                "sticker": a_file(
                    type="regular", width=1, height=1, is_animated=False, is_video=False
                )
            },
            Attachment(AttachmentKind.STICKER, "F"),
        ),
        (
            {"location": {"latitude": 31.2, "longitude": 121.5}},
            Attachment(AttachmentKind.LOCATION, ""),
        ),
        (
            {"contact": {"phone_number": "1", "first_name": "x"}},
            Attachment(AttachmentKind.OTHER, ""),
        ),
        ({"dice": {"emoji": "🎲", "value": 1}}, Attachment(AttachmentKind.OTHER, "")),
    ],
)
def test_what_comes_with_a_message(content: dict[str, Any], expected: Attachment):
    [message] = read(a_message(**content))
    assert message.attachments == (expected,)


@pytest.mark.parametrize(
    "update",
    [
        {"edited_message": a_message(text="x", edit_date=1_700_000_001)["message"]},
        {
            "channel_post": a_message({"id": -1, "type": "channel", "title": "x"}, text="x")[
                "message"
            ]
        },
        a_message(text="x", **{"from": BOT}),
        a_message(pinned_message=a_message(text="x")["message"]),
        a_message(GROUP, new_chat_members=[BOT]),
        a_message(),
        a_message(text="\x00"),
        {"callback_query": {"id": "1", "from": PATIENT, "chat_instance": "1", "data": "x"}},
        {"inline_query": {"id": "1", "from": PATIENT, "query": "x", "offset": ""}},
        {"something_new": {"a": 1}},
        {},
    ],
)
def test_what_says_nothing_to_us(update: dict[str, Any]):
    assert read(update) == []


@pytest.mark.parametrize("date", [0, 1_700_000_000])
def test_a_pressed_button_also_under_a_message_we_can_no_longer_see(date: int):
    message = a_message()["message"] | {"date": date, "from": BOT}
    query = {"id": "88", "from": PATIENT, "chat_instance": "1", "data": "v1:ask:yes"}
    [pressed] = read({"callback_query": query | {"message": message}})
    assert (pressed.button, pressed.message_id, pressed.sequence) == ("v1:ask:yes", "cb:88", 9)
    assert (pressed.text, pressed.private) == ("", True)
    assert pressed.address.chat_id == "1001"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/start ref_clinic12", "/start ref_clinic12"),
        ("/start@oculi_bot ref_clinic12", "/start ref_clinic12"),
        ("/start@OCULI_BOT", "/start"),
        ("/start@other_bot", "/start@other_bot"),
        ("see /start@oculi_bot", "see /start@oculi_bot"),
    ],
)
def test_commands_lose_our_name(text: str, expected: str):
    assert read(a_message(text=text))[0].text == expected


@pytest.mark.parametrize(
    ("content", "addressed"),
    [
        ({"text": "你好"}, False),
        ({"text": "/help"}, True),
        ({"text": "/help@oculi_bot"}, True),
        ({"text": "/help@other_bot"}, False),
        ({"text": "😀 @Oculi_Bot 你好"}, True),
        ({"text": "@other_bot 你好"}, False),
        ({"text": "Oculi 你好", "named": True}, True),
        ({"text": "你好", "reply_to_message": a_message(**{"from": BOT})["message"]}, True),
        ({"text": "你好", "reply_to_message": a_message()["message"]}, False),
        ({"caption": "@oculi_bot 看看", "photo": [a_file(width=1, height=1)]}, True),
        ({"photo": [a_file(width=1, height=1)]}, False),
    ],
)
def test_in_a_group_only_what_is_said_to_us(content: dict[str, Any], addressed: bool):
    content = dict(content)
    said = content.get("text") or content.get("caption") or ""
    entities = [an_entity("mention", said, w) for w in said.split() if w.startswith("@")]
    if content.pop("named", False):
        entities.append(an_entity("text_mention", said, "Oculi", user=BOT))
    content["caption_entities" if "caption" in content else "entities"] = entities
    messages = read(a_message(GROUP, **content))
    assert len(messages) == addressed
    assert all(not m.private for m in messages)


def test_before_our_name_is_known_nobody_can_mention_us():
    entity = an_entity("mention", "@oculi_bot hi", "@oculi_bot")
    assert read(a_message(GROUP, text="@oculi_bot hi", entities=[entity]), username=None) == []
