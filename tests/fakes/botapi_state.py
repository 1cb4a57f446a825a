"""What the fake Bot API knows: one bot, its chats, its pending updates, what it has been told.

Here is also what people do (`user_…`), as tests and harnesses write it.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.fakes.waiting import until

TOKEN = "4242:test-token-of-the-fake-bot-api"
USERNAME = "oculi_test_bot"


@dataclass(slots=True)
class Fault:
    """What goes wrong with the next `times` calls of `method` (any when empty).

    `kind` is a key of `_FAULT_TEXTS`, or:

    - ``429`` with `retry_after`; ``429_bare`` without; ``502``
    - ``proxy_403``: refused by something in between, not by the Bot API
    - ``garbage``: 200, not JSON; ``strange``: 200, not a message
    - ``hang``: no answer; ``cut``: read, not done, connection closed
    - ``lost``: done, but the connection closed before the answer
    - ``slow``: done 0.1 s later
    """

    kind: str
    method: str = ""
    times: int = 1
    chat_id: int | None = None
    retry_after: int = 1


@dataclass(slots=True)
class State:
    """One bot and everything around it."""

    token: str = TOKEN
    log_path: str | None = None
    drafts: bool = True  # false: a server too old to know sendMessageDraft
    keep_calls: int = 200_000
    updates: list[dict[str, Any]] = field(default_factory=list)
    calls: deque[dict[str, Any]] = field(default_factory=deque)
    faults: list[Fault] = field(default_factory=list)
    chats: set[int] = field(default_factory=set)
    files: dict[str, tuple[bytes, int]] = field(default_factory=dict)  # id → bytes, claimed size
    messages: dict[tuple[int, int], dict[str, Any]] = field(default_factory=dict)
    queries: set[str] = field(default_factory=set)
    commands: dict[str, list[Any]] = field(default_factory=dict)
    webhook: dict[str, Any] = field(default_factory=dict)
    webhook_answers: list[int] = field(default_factory=list)
    requests: int = 0
    base: str = ""
    next_update: int = 1000
    next_id: int = 1
    call_number: int = 0
    news: asyncio.Event = field(default_factory=asyncio.Event)
    poller: int = 0
    confirmed: int = 0
    log: int | None = None
    stopping: asyncio.Event = field(default_factory=asyncio.Event)

    # ---- what people do ------------------------------------------------------------------

    def user_text(self, chat_id: int, text: str, **extra: Any) -> dict[str, Any]:
        """A person writes; positive ids are private chats, negative ones groups."""
        entities = [
            {"type": kind, "offset": utf16(text[: m.start()]), "length": utf16(m[0])}
            for kind, pattern in (("bot_command", r"(?<!\S)/\w+(@\w+)?"), ("mention", r"@\w+"))
            for m in re.finditer(pattern, text)
        ]
        return self.user_message(chat_id, text=text, entities=entities, **extra)

    def user_photo(
        self, chat_id: int, data: bytes, caption: str = "", *, size: int | None = None, **extra: Any
    ) -> dict[str, Any]:
        """A person sends a photo, in the two sizes Telegram makes."""
        small = {**self.file(data[:100]), "width": 90, "height": 67}
        large = {**self.file(data, size), "width": 1280, "height": 960}
        return self.user_message(chat_id, photo=[small, large], **a_caption(caption), **extra)

    def user_album(
        self, chat_id: int, pictures: list[bytes], caption: str = ""
    ) -> list[dict[str, Any]]:
        """A person sends several photos at once: one update each, the caption on the first."""
        group = f"album{self.new_id()}"
        return [
            self.user_photo(chat_id, data, caption if n == 0 else "", media_group_id=group)
            for n, data in enumerate(pictures)
        ]

    def user_document(
        self,
        chat_id: int,
        data: bytes,
        name: str = "eye.jpg",
        mime: str = "image/jpeg",
        caption: str = "",
        *,
        size: int | None = None,
    ) -> dict[str, Any]:
        """A person sends a file."""
        document = {**self.file(data, size), "file_name": name, "mime_type": mime}
        return self.user_message(chat_id, document=document, **a_caption(caption))

    def user_voice(self, chat_id: int, data: bytes = b"OggS") -> dict[str, Any]:
        """A person sends a voice message."""
        voice = {**self.file(data), "duration": 3, "mime_type": "audio/ogg"}
        return self.user_message(chat_id, voice=voice)

    def user_sticker(self, chat_id: int) -> dict[str, Any]:
        """A person sends a sticker."""
        kind = {"type": "regular", "is_animated": False, "is_video": False}
        sticker = {**self.file(b"RIFF"), "width": 512, "height": 512, "emoji": "👁", **kind}
        return self.user_message(chat_id, sticker=sticker)

    def user_location(self, chat_id: int) -> dict[str, Any]:
        """A person sends where they are."""
        return self.user_message(chat_id, location={"latitude": 31.2, "longitude": 121.5})

    def user_presses(self, chat_id: int, data: str, message_id: int = 1) -> dict[str, Any]:
        """A person presses a button under the bot's message `message_id`."""
        query_id = f"{7_000_000 + self.new_id()}"
        self.queries.add(query_id)
        self.chats.add(chat_id)
        message = self.messages.get((chat_id, message_id)) or {
            "message_id": message_id,
            "date": 0,  # InaccessibleMessage
            "chat": a_chat(chat_id),
        }
        query = {"id": query_id, "from": a_person(chat_id), "chat_instance": "1", "data": data}
        return self.push({"callback_query": {**query, "message": message}})

    def user_edits(self, chat_id: int, message_id: int, text: str) -> dict[str, Any]:
        """A person edits a message."""
        return self.push({"edited_message": self.message(chat_id, message_id, text=text)})

    def user_message(self, chat_id: int, **content: Any) -> dict[str, Any]:
        """A person sends a message of any content."""
        self.chats.add(chat_id)
        return self.push({"message": self.message(chat_id, self.new_id(), **content)})

    def redeliver(self, update: Mapping[str, Any]) -> dict[str, Any]:
        """Push the same message again under a new update id, as a lost offset looks."""
        return self.push({k: v for k, v in update.items() if k != "update_id"})

    def push(self, update: Mapping[str, Any]) -> dict[str, Any]:
        """Queue any update under the next update id."""
        self.next_update += 1
        queued = {"update_id": self.next_update, **update}
        self.updates.append(queued)
        self.wake()
        return queued

    def fault(self, kind: str, method: str = "", times: int = 1, **where: Any) -> None:
        """Let the next `times` calls of `method` fail; see `Fault`."""
        self.faults.append(Fault(kind, method, times, **where))

    def expire_query(self, query_id: str) -> None:
        """Let a pressed button be answered too late."""
        self.queries.discard(query_id)

    # ---- what the bot did ----------------------------------------------------------------

    def accepted(self, method: str = "", chat_id: int | None = None) -> list[dict[str, Any]]:
        """Return the accepted calls, oldest first."""
        return [
            call
            for call in self.calls
            if method in ("", call["method"]) and chat_id in (None, call["chat_id"])
        ]

    def texts(self, chat_id: int | None = None) -> list[str]:
        """Return what people can read in the chat now, oldest first, markup removed."""
        return [
            message["text"]
            for (chat, _), message in sorted(self.messages.items(), key=lambda m: m[0][1])
            if chat_id in (None, chat) and message["from"]["is_bot"]
        ]

    def documents(self, chat_id: int) -> list[bytes]:
        """Return the contents of the files that the bot sent to a chat, oldest first."""
        return [
            self.files[message["document"]["file_id"]][0]
            for (chat, _), message in sorted(self.messages.items(), key=lambda m: m[0][1])
            if chat == chat_id and message["from"]["is_bot"] and "document" in message
        ]

    async def until(self, condition: Callable[[], object], what: str = "the condition") -> None:
        """Wait for a condition on this state; see `tests.fakes.waiting`."""
        await until(condition, what)

    # ---- parts ---------------------------------------------------------------------------

    def note(self, method: str, p: Mapping[str, Any], **more: Any) -> None:
        self.call_number += 1
        chat = p.get("chat_id")
        call = {
            "n": self.call_number,
            "at_ms": time.time_ns() // 1_000_000,
            "method": method,
            "chat_id": int(chat) if chat is not None else None,
            "params": {k: f"<{len(v)} bytes>" if isinstance(v, bytes) else v for k, v in p.items()},
            **more,
        }
        self.calls.append(call)
        if self.log is not None:
            os.write(self.log, json.dumps(call, ensure_ascii=False).encode() + b"\n")

    def wake(self) -> None:
        self.news.set()

    def new_id(self) -> int:
        self.next_id += 1
        return self.next_id

    def bot(self) -> dict[str, Any]:
        bot_id = int(self.token.partition(":")[0])
        return {"id": bot_id, "is_bot": True, "first_name": "Oculi", "username": USERNAME}

    def file(self, data: bytes, size: int | None = None) -> dict[str, Any]:
        file_id = f"file{self.new_id():08d}"
        self.files[file_id] = (data, len(data) if size is None else size)
        size = self.files[file_id][1]
        return {"file_id": file_id, "file_unique_id": file_id[::-1], "file_size": size}

    def message(self, chat_id: int, message_id: int, **content: Any) -> dict[str, Any]:
        return {
            "message_id": message_id,
            "date": int(time.time()),
            "chat": a_chat(chat_id),
            "from": a_person(chat_id),
            **content,
        }


def utf16(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def a_caption(caption: str) -> dict[str, str]:
    return {"caption": caption} if caption else {}


def a_chat(chat_id: int) -> dict[str, Any]:
    if chat_id < 0:
        return {"id": chat_id, "type": "supergroup", "title": "Family"}
    return {"id": chat_id, "type": "private", "first_name": f"Person {chat_id}"}


def a_person(chat_id: int) -> dict[str, Any]:
    person_id = abs(chat_id)
    name = {"first_name": f"Person {person_id}", "language_code": "zh-hans"}
    return {"id": person_id, "is_bot": False, **name}
