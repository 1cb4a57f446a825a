"""A strict Bot API on loopback: what Telegram documents, it enforces, with Telegram's words.

In a test::

    async with BotApi.running() as api:
        api.user_text(1001, "你好")

As a process of its own, for harnesses that kill and restart the service::

    python -m tests.fakes.botapi --port 9000 --log calls.jsonl

Then ``POST /control/<name>`` with a JSON object calls the method of that name (see `CONTROLS`),
``GET /control/log?since=N`` returns the accepted calls from number N on, and ``GET /control/state``
says what is pending. The log file has one JSON object per accepted call, appended in one write.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import html
import json
import os
import re
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web

TOKEN = "4242:test-token-of-the-fake-bot-api"
USERNAME = "oculi_test_bot"

TEXT_LIMIT, CAPTION_LIMIT = 4096, 1024  # UTF-16 units after entities parsing
CALLBACK_DATA_LIMIT, DOWNLOAD_LIMIT = 64, 20 * 1024 * 1024  # bytes
_TAGS = {"b", "strong", "i", "em", "u", "s", "del", "code", "pre", "a", "blockquote", "tg-spoiler"}
_TAG = re.compile(r"<(/?)([a-z0-9-]*)([^<>]*)>?", re.IGNORECASE)
_FAULT_TEXTS = {
    "entities": (400, 'Bad Request: can\'t parse entities: Unsupported start tag "" at offset 4'),
    "chat_not_found": (400, "Bad Request: chat not found"),
    "blocked": (403, "Forbidden: bot was blocked by the user"),
    "bad_request": (400, "Bad Request: something Telegram does not like"),
    "unauthorized": (401, "Unauthorized"),
    "not_found": (404, "Not Found"),
    "conflict": (409, "Conflict: terminated by other getUpdates request; make sure that only one"),
    "413": (413, "Request Entity Too Large"),
    "internal": (500, "Internal Server Error"),
}


class Refused(Exception):
    """The answer ``ok: false``."""

    def __init__(self, status: int, description: str, **parameters: int) -> None:
        super().__init__(description)
        self.status, self.description, self.parameters = status, description, parameters


@dataclass(slots=True)
class Fault:
    """What goes wrong with the next `times` calls of `method` (any when empty).

    `kind` is a key of `_FAULT_TEXTS`, or:

    - ``429`` with `retry_after`; ``429_bare`` without; ``502``
    - ``proxy_403``: refused by something in between, not by the Bot API
    - ``garbage``: 200, not JSON; ``strange``: 200, not a message
    - ``hang``: no answer; ``cut``: read, not done, connection closed
    - ``lost``: done, but the connection closed before the answer
    """

    kind: str
    method: str = ""
    times: int = 1
    chat_id: int | None = None
    retry_after: int = 1


@dataclass(slots=True)
class BotApi:
    """State of the fake: one bot, its chats, its pending updates and what it has been told."""

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
    _next_update: int = 1000
    _next_id: int = 1
    _call_number: int = 0
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    _poller: int = 0
    _confirmed: int = 0
    _log: int | None = None
    _delivery: asyncio.Task[None] | None = None
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)

    # ---- running -------------------------------------------------------------------------

    @classmethod
    @contextlib.asynccontextmanager
    async def running(cls, port: int = 0, **state: Any) -> AsyncIterator[BotApi]:
        """Serve on 127.0.0.1 until the block ends; a new port when `port` is 0."""
        api = cls(**state)
        api.calls = deque(maxlen=api.keep_calls)
        if api.log_path:
            api._log = os.open(api.log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        runner = web.AppRunner(api.application(), access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", port, reuse_address=True)
        await site.start()
        api.base = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield api
        finally:
            api._stopping.set()
            api._wake()
            if api._delivery:
                api._delivery.cancel()
                await asyncio.gather(api._delivery, return_exceptions=True)
            await runner.cleanup()
            if api._log is not None:
                os.close(api._log)

    @property
    def base_url(self) -> str:
        """What `telegram.Bot` calls base_url."""
        return f"{self.base}/bot"

    @property
    def base_file_url(self) -> str:
        """What `telegram.Bot` calls base_file_url."""
        return f"{self.base}/file/bot"

    def application(self) -> web.Application:
        """Return the aiohttp application."""
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_route("*", "/bot{token}/{method}", self._handle)
        app.router.add_get("/file/bot{token}/{path:.+}", self._download)
        app.router.add_get("/control/log", self._control_log)
        app.router.add_get("/control/state", self._control_state)
        app.router.add_post("/control/{name}", self._control)
        return app

    # ---- what people do ------------------------------------------------------------------

    def user_text(self, chat_id: int, text: str, **extra: Any) -> dict[str, Any]:
        """A person writes; positive ids are private chats, negative ones groups."""
        entities = [
            {"type": kind, "offset": _utf16(text[: m.start()]), "length": _utf16(m[0])}
            for kind, pattern in (("bot_command", r"(?<!\S)/\w+(@\w+)?"), ("mention", r"@\w+"))
            for m in re.finditer(pattern, text)
        ]
        return self.user_message(chat_id, text=text, entities=entities, **extra)

    def user_photo(
        self, chat_id: int, data: bytes, caption: str = "", *, size: int | None = None, **extra: Any
    ) -> dict[str, Any]:
        """A person sends a photo, in the two sizes Telegram makes."""
        small = {**self._file(data[:100]), "width": 90, "height": 67}
        large = {**self._file(data, size), "width": 1280, "height": 960}
        return self.user_message(chat_id, photo=[small, large], **_caption(caption), **extra)

    def user_album(
        self, chat_id: int, pictures: list[bytes], caption: str = ""
    ) -> list[dict[str, Any]]:
        """A person sends several photos at once: one update each, the caption on the first."""
        group = f"album{self._new_id()}"
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
        document = {**self._file(data, size), "file_name": name, "mime_type": mime}
        return self.user_message(chat_id, document=document, **_caption(caption))

    def user_voice(self, chat_id: int, data: bytes = b"OggS") -> dict[str, Any]:
        """A person sends a voice message."""
        voice = {**self._file(data), "duration": 3, "mime_type": "audio/ogg"}
        return self.user_message(chat_id, voice=voice)

    def user_sticker(self, chat_id: int) -> dict[str, Any]:
        """A person sends a sticker."""
        kind = {"type": "regular", "is_animated": False, "is_video": False}
        sticker = {**self._file(b"RIFF"), "width": 512, "height": 512, "emoji": "👁", **kind}
        return self.user_message(chat_id, sticker=sticker)

    def user_location(self, chat_id: int) -> dict[str, Any]:
        """A person sends where they are."""
        return self.user_message(chat_id, location={"latitude": 31.2, "longitude": 121.5})

    def user_presses(self, chat_id: int, data: str, message_id: int = 1) -> dict[str, Any]:
        """A person presses a button under the bot's message `message_id`."""
        query_id = f"{7_000_000 + self._new_id()}"
        self.queries.add(query_id)
        self.chats.add(chat_id)
        message = self.messages.get((chat_id, message_id)) or {
            "message_id": message_id,
            "date": 0,  # InaccessibleMessage
            "chat": _chat(chat_id),
        }
        query = {"id": query_id, "from": _person(chat_id), "chat_instance": "1", "data": data}
        return self.push({"callback_query": {**query, "message": message}})

    def user_edits(self, chat_id: int, message_id: int, text: str) -> dict[str, Any]:
        """A person edits a message."""
        return self.push({"edited_message": self._message(chat_id, message_id, text=text)})

    def user_message(self, chat_id: int, **content: Any) -> dict[str, Any]:
        """A person sends a message of any content."""
        self.chats.add(chat_id)
        return self.push({"message": self._message(chat_id, self._new_id(), **content)})

    def redeliver(self, update: Mapping[str, Any]) -> dict[str, Any]:
        """Push the same message again under a new update id, as a lost offset looks."""
        return self.push({k: v for k, v in update.items() if k != "update_id"})

    def push(self, update: Mapping[str, Any]) -> dict[str, Any]:
        """Queue any update under the next update id."""
        self._next_update += 1
        queued = {"update_id": self._next_update, **update}
        self.updates.append(queued)
        self._wake()
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

    async def until(self, condition: Callable[[], object], timeout_s: float = 5.0) -> None:
        """Wait for a condition on this state; raise TimeoutError when it never holds."""
        async with asyncio.timeout(timeout_s):
            while not condition():  # noqa: ASYNC110 any condition, also one that no event tells
                await asyncio.sleep(0.002)

    # ---- the wire ------------------------------------------------------------------------

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.requests += 1
        name = request.match_info["method"]
        try:
            method = self._method(request.match_info["token"], name)
            parameters = await _parameters(request)
            fault = self._fault(name, parameters)
            if fault is None:
                result = method(self, parameters)
                if asyncio.iscoroutine(result):
                    result = await result
            elif fault.kind == "lost":
                method(self, parameters)
                _cut(request)
                return web.Response()
            else:
                return await self._fail(fault, request)
        except Refused as no:
            body: dict[str, Any] = {
                "ok": False,
                "error_code": no.status,
                "description": no.description,
            }
            if no.parameters:
                body["parameters"] = no.parameters
            return web.json_response(body, status=no.status)
        return web.Response(
            body=json.dumps({"ok": True, "result": result}).encode(),
            content_type="application/json",
        )

    def _method(self, token: str, name: str) -> Callable[[BotApi, Mapping[str, Any]], Any]:
        if token != self.token:
            raise Refused(401, "Unauthorized")
        method = _METHODS.get(name.lower())
        if method is None or (name == "sendMessageDraft" and not self.drafts):
            raise Refused(404, "Not Found")
        return method

    def _fault(self, name: str, parameters: Mapping[str, Any]) -> Fault | None:
        for fault in self.faults:
            chat = parameters.get("chat_id")
            if fault.method in ("", name) and fault.chat_id in (None, chat and int(chat)):
                fault.times -= 1
                if fault.times <= 0:
                    self.faults.remove(fault)
                return fault
        return None

    async def _fail(self, fault: Fault, request: web.Request) -> web.Response:
        match fault.kind:
            case "429":
                seconds = fault.retry_after
                text = f"Too Many Requests: retry after {seconds}"
                raise Refused(429, text, retry_after=seconds)
            case "502":
                return web.Response(status=502, text="<html>Bad Gateway</html>")
            case "proxy_403":
                return web.Response(status=403, text="<html>Forbidden by policy</html>")
            case "429_bare":
                raise Refused(429, "Too Many Requests")
            case "strange":
                return web.json_response({"ok": True, "result": {"message_id": 1, "date": "soon"}})
            case "garbage":
                return web.Response(text="<html>Welcome to the hotel</html>")
            case "hang":
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), 60)
                return web.Response(status=504)
            case "cut":
                _cut(request)
                return web.Response()
            case kind:
                raise Refused(*_FAULT_TEXTS[kind])

    def _note(self, method: str, p: Mapping[str, Any], **more: Any) -> None:
        self._call_number += 1
        chat = p.get("chat_id")
        call = {
            "n": self._call_number,
            "at_ms": time.time_ns() // 1_000_000,
            "method": method,
            "chat_id": int(chat) if chat is not None else None,
            "params": {k: f"<{len(v)} bytes>" if isinstance(v, bytes) else v for k, v in p.items()},
            **more,
        }
        self.calls.append(call)
        if self._log is not None:
            os.write(self._log, json.dumps(call, ensure_ascii=False).encode() + b"\n")

    async def _download(self, request: web.Request) -> web.Response:
        found = self.files.get(request.match_info["path"].rpartition("/")[2])
        if request.match_info["token"] != self.token or found is None:
            return web.Response(status=404)
        if self._fault("download", {}):
            return web.Response(status=502)
        return web.Response(body=found[0])

    # ---- methods -------------------------------------------------------------------------

    def _get_me(self, p: Mapping[str, Any]) -> dict[str, Any]:
        return {**self._bot(), "can_join_groups": True, "can_read_all_group_messages": False}

    async def _get_updates(self, p: Mapping[str, Any]) -> list[dict[str, Any]]:
        if self.webhook.get("url"):
            raise Refused(
                409,
                "Conflict: can't use getUpdates method while webhook is active; "
                "use deleteWebhook to delete the webhook first",
            )
        offset, limit = int(p.get("offset") or 0), min(int(p.get("limit") or 100), 100)
        self._poller += 1
        mine = self._poller
        self._wake()  # the other poller learns that it is not alone
        deadline = time.monotonic() + min(float(p.get("timeout") or 0), 50)
        if offset > 0:
            confirmed = 0
            while confirmed < len(self.updates) and self.updates[confirmed]["update_id"] < offset:
                confirmed += 1
            del self.updates[:confirmed]
            self._confirmed += confirmed
        elif offset < 0:
            del self.updates[:offset]
        while True:
            if mine != self._poller:
                raise Refused(
                    409,
                    "Conflict: terminated by other getUpdates request; "
                    "make sure that only one bot instance is running",
                )
            wait_s = deadline - time.monotonic()
            if self.updates or wait_s <= 0 or self._stopping.is_set():
                return self.updates[:limit]
            self._news.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), wait_s)

    def _set_webhook(self, p: Mapping[str, Any]) -> bool:
        url = str(p.get("url") or "")
        if url and not url.startswith(("https://", "http://127.0.0.1:")):
            raise Refused(
                400, "Bad Request: bad webhook: An HTTPS URL must be provided for webhook"
            )
        self._note("setWebhook", p)
        if p.get("drop_pending_updates"):
            self.updates.clear()
        self.webhook = dict(p)
        if self._delivery is None:
            self._delivery = asyncio.create_task(self._deliver(), name="botapi-webhook")
        self._wake()
        return True

    def _delete_webhook(self, p: Mapping[str, Any]) -> bool:
        self._note("deleteWebhook", p)
        if p.get("drop_pending_updates"):
            self.updates.clear()
        self.webhook = {}
        return True

    def _get_webhook_info(self, p: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "url": self.webhook.get("url", ""),
            "has_custom_certificate": False,
            "pending_update_count": len(self.updates),
        }

    async def _deliver(self) -> None:
        """Post pending updates one after the other; repeat each until it is answered 2xx."""
        timeout = aiohttp.ClientTimeout(total=10)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            pause_s = 0.02
            while True:
                if not (self.updates and self.webhook.get("url")):
                    self._news.clear()
                    await self._news.wait()
                    continue
                update = self.updates[0]
                headers = {}
                if secret := self.webhook.get("secret_token"):
                    headers["X-Telegram-Bot-Api-Secret-Token"] = str(secret)
                try:
                    async with session.post(
                        self.webhook["url"], json=update, headers=headers
                    ) as answer:
                        status = answer.status
                except (aiohttp.ClientError, TimeoutError):
                    status = 0
                self.webhook_answers.append(status)
                if 200 <= status < 300:
                    pause_s = 0.02
                    if update in self.updates:
                        self.updates.remove(update)
                    self._confirmed += 1
                else:
                    await asyncio.sleep(pause_s)
                    pause_s = min(2 * pause_s, 2.0)

    def _send_message(self, p: Mapping[str, Any]) -> dict[str, Any]:
        chat_id = self._chat_of(p)
        text = _parsed(p, "text")
        if not text.strip():
            raise Refused(400, "Bad Request: message text is empty")
        if _utf16(text) > TEXT_LIMIT:
            raise Refused(400, "Bad Request: message is too long")
        return self._sent("sendMessage", chat_id, p, text=text)

    def _send_photo(self, p: Mapping[str, Any]) -> dict[str, Any]:
        chat_id = self._chat_of(p)
        caption = _parsed(p, "caption")
        photo = p.get("photo")
        if isinstance(photo, str) and photo.startswith("attach://"):
            photo = p.get(photo.removeprefix("attach://"))
        if not isinstance(photo, bytes):
            raise Refused(400, "Bad Request: there is no photo in the request")
        if not photo.startswith((b"\xff\xd8", b"\x89PNG")):
            raise Refused(400, "Bad Request: IMAGE_PROCESS_FAILED")
        if _utf16(caption) > CAPTION_LIMIT:
            raise Refused(400, "Bad Request: message caption is too long")
        size = {**self._file(photo), "width": 800, "height": 600}
        return self._sent("sendPhoto", chat_id, p, text=caption, photo=[size])

    def _send_media_group(self, p: Mapping[str, Any]) -> list[dict[str, Any]]:
        chat_id = self._chat_of(p)
        media = json.loads(p["media"]) if isinstance(p.get("media"), str) else p.get("media", [])
        if not 2 <= len(media) <= 10:
            raise Refused(400, "Bad Request: there must be 2-10 items in a media group")
        return [
            self._sent("sendMediaGroup", chat_id, p, text=item.get("caption", "")) for item in media
        ]

    def _send_chat_action(self, p: Mapping[str, Any]) -> bool:
        self._chat_of(p)
        if p.get("action") not in ("typing", "upload_photo", "upload_document"):
            raise Refused(400, "Bad Request: wrong parameter action in request")
        self._note("sendChatAction", p)
        return True

    def _send_message_draft(self, p: Mapping[str, Any]) -> bool:
        if self._chat_of(p) < 0:
            raise Refused(400, "Bad Request: drafts can be sent to private chats only")
        if not int(p.get("draft_id") or 0):
            raise Refused(400, "Bad Request: RANDOM_ID_INVALID")
        if _utf16(_parsed(p, "text")) > TEXT_LIMIT:
            raise Refused(400, "Bad Request: message is too long")
        self._note("sendMessageDraft", p)
        return True

    def _edit_message_text(self, p: Mapping[str, Any]) -> dict[str, Any]:
        message = self._own_message(p, "edit")
        text = _parsed(p, "text")
        if not text.strip():
            raise Refused(400, "Bad Request: message text is empty")
        if _utf16(text) > TEXT_LIMIT:
            raise Refused(400, "Bad Request: message is too long")
        if text == message["text"] and not p.get("reply_markup"):
            raise Refused(
                400,
                "Bad Request: message is not modified: specified new message content and reply "
                "markup are exactly the same as a current content and reply markup of the message",
            )
        message["text"] = text
        self._note("editMessageText", p, message_id=message["message_id"], text=text)
        return message

    def _delete_message(self, p: Mapping[str, Any]) -> bool:
        message = self._own_message(p, "delete")
        del self.messages[message["chat"]["id"], message["message_id"]]
        self._note("deleteMessage", p)
        return True

    def _answer_callback_query(self, p: Mapping[str, Any]) -> bool:
        if p.get("callback_query_id") not in self.queries:
            raise Refused(
                400,
                "Bad Request: query is too old and response timeout expired or query ID is invalid",
            )
        self.queries.discard(p["callback_query_id"])
        self._note("answerCallbackQuery", p)
        return True

    def _set_my_commands(self, p: Mapping[str, Any]) -> bool:
        commands = p.get("commands")
        commands = json.loads(commands) if isinstance(commands, str) else commands
        for item in commands or ():
            if not re.fullmatch(r"[a-z0-9_]{1,32}", item["command"]):
                raise Refused(400, "Bad Request: BOT_COMMAND_INVALID")
            if not 1 <= len(item["description"]) <= 256:
                raise Refused(400, "Bad Request: BOT_COMMAND_DESCRIPTION_INVALID")
        self._note("setMyCommands", p)
        self.commands[str(p.get("language_code") or "")] = list(commands or ())
        return True

    def _get_my_commands(self, p: Mapping[str, Any]) -> list[Any]:
        return self.commands.get(str(p.get("language_code") or ""), [])

    def _get_file(self, p: Mapping[str, Any]) -> dict[str, Any]:
        file_id = str(p.get("file_id"))
        if file_id not in self.files:
            raise Refused(400, "Bad Request: wrong file_id or the file is temporarily unavailable")
        size = self.files[file_id][1]
        if size > DOWNLOAD_LIMIT:
            raise Refused(400, "Bad Request: file is too big")
        names = {"file_id": file_id, "file_unique_id": file_id[::-1]}
        return {**names, "file_size": size, "file_path": f"photos/{file_id}"}

    # ---- control over HTTP ---------------------------------------------------------------

    async def _control(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name not in CONTROLS:
            return web.json_response({"error": f"unknown {name}; one of {CONTROLS}"}, status=404)
        arguments = await request.json() if request.can_read_body else {}
        for key in ("data", "pictures"):  # bytes travel as base64
            if key in arguments and name != "user_presses":
                value = arguments[key]
                one = isinstance(value, str)
                arguments[key] = base64.b64decode(value) if one else [*map(base64.b64decode, value)]
        return web.json_response({"result": getattr(self, name)(**arguments)})

    async def _control_log(self, request: web.Request) -> web.Response:
        since = int(request.query.get("since", 0))
        return web.json_response([call for call in self.calls if call["n"] >= since])

    async def _control_state(self, request: web.Request) -> web.Response:
        return web.json_response(
            {
                "pending": len(self.updates),
                "confirmed": self._confirmed,
                "requests": self.requests,
                "accepted": self._call_number,
                "polls": self._poller,
                "webhook": self.webhook.get("url", ""),
            }
        )

    # ---- parts ---------------------------------------------------------------------------

    def _wake(self) -> None:
        self._news.set()

    def _new_id(self) -> int:
        self._next_id += 1
        return self._next_id

    def _bot(self) -> dict[str, Any]:
        bot_id = int(self.token.partition(":")[0])
        return {"id": bot_id, "is_bot": True, "first_name": "Oculi", "username": USERNAME}

    def _file(self, data: bytes, size: int | None = None) -> dict[str, Any]:
        file_id = f"file{self._new_id():08d}"
        self.files[file_id] = (data, len(data) if size is None else size)
        size = self.files[file_id][1]
        return {"file_id": file_id, "file_unique_id": file_id[::-1], "file_size": size}

    def _message(self, chat_id: int, message_id: int, **content: Any) -> dict[str, Any]:
        return {
            "message_id": message_id,
            "date": int(time.time()),
            "chat": _chat(chat_id),
            "from": _person(chat_id),
            **content,
        }

    def _chat_of(self, p: Mapping[str, Any]) -> int:
        try:
            chat_id = int(p["chat_id"])
        except (KeyError, ValueError):
            raise Refused(400, "Bad Request: chat_id is empty") from None
        if chat_id not in self.chats:
            raise Refused(400, "Bad Request: chat not found")
        return chat_id

    def _own_message(self, p: Mapping[str, Any], verb: str) -> dict[str, Any]:
        message = self.messages.get((self._chat_of(p), int(p.get("message_id") or 0)))
        if message is None:
            raise Refused(400, f"Bad Request: message to {verb} not found")
        return message

    def _sent(
        self, method: str, chat_id: int, p: Mapping[str, Any], *, text: str, **content: Any
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
        message_id = self._new_id()
        message = {
            "message_id": message_id,
            "date": int(time.time()),
            "chat": _chat(chat_id),
            "from": self._bot(),
            **({"caption": text} if "photo" in content else {}),
            **content,
            "text": text,
        }
        self.messages[chat_id, message_id] = message
        if len(self.messages) > self.keep_calls:
            del self.messages[next(iter(self.messages))]
        self._note(method, p, message_id=message_id, text=text)
        if "photo" in content:
            return {k: v for k, v in message.items() if k != "text"}
        return message


_METHODS: dict[str, Callable[[BotApi, Mapping[str, Any]], Any]] = {
    "getme": BotApi._get_me,
    "getupdates": BotApi._get_updates,
    "setwebhook": BotApi._set_webhook,
    "deletewebhook": BotApi._delete_webhook,
    "getwebhookinfo": BotApi._get_webhook_info,
    "sendmessage": BotApi._send_message,
    "sendphoto": BotApi._send_photo,
    "sendmediagroup": BotApi._send_media_group,
    "sendchataction": BotApi._send_chat_action,
    "sendmessagedraft": BotApi._send_message_draft,
    "editmessagetext": BotApi._edit_message_text,
    "deletemessage": BotApi._delete_message,
    "answercallbackquery": BotApi._answer_callback_query,
    "setmycommands": BotApi._set_my_commands,
    "getmycommands": BotApi._get_my_commands,
    "getfile": BotApi._get_file,
}

CONTROLS = (
    "user_text",
    "user_photo",
    "user_album",
    "user_document",
    "user_voice",
    "user_sticker",
    "user_location",
    "user_presses",
    "user_edits",
    "user_message",
    "redeliver",
    "push",
    "fault",
    "expire_query",
    "texts",
)


async def _parameters(request: web.Request) -> dict[str, Any]:
    """Return a call's parameters, wherever the Bot API lets them be."""
    parameters: dict[str, Any] = dict(request.query)
    kind = request.content_type
    try:
        if kind == "application/json":
            body = await request.read()
            parameters |= json.loads(body) if body else {}
        elif kind in ("application/x-www-form-urlencoded", "multipart/form-data"):
            for name, value in (await request.post()).items():
                upload = isinstance(value, web.FileField)
                parameters[name] = value.file.read() if upload else value
    except ValueError:
        raise Refused(400, "Bad Request: can't parse JSON object") from None
    return parameters


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
    return _visible_html(text) if "<" in text or "&" in text else text


def _visible_html(text: str) -> str:
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


def _utf16(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def _caption(caption: str) -> dict[str, str]:
    return {"caption": caption} if caption else {}


def _chat(chat_id: int) -> dict[str, Any]:
    if chat_id < 0:
        return {"id": chat_id, "type": "supergroup", "title": "Family"}
    return {"id": chat_id, "type": "private", "first_name": f"Person {chat_id}"}


def _person(chat_id: int) -> dict[str, Any]:
    person_id = abs(chat_id)
    name = {"first_name": f"Person {person_id}", "language_code": "zh-hans"}
    return {"id": person_id, "is_bot": False, **name}


def _cut(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()


async def _serve(port: int, log_path: str | None, token: str) -> None:
    async with BotApi.running(port, log_path=log_path, token=token) as api:
        print(json.dumps({"base": api.base}), flush=True)
        await asyncio.Event().wait()


def main() -> None:
    """Serve until interrupted; the first line printed says where."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--log", default=None, help="append accepted calls here, one JSON a line")
    parser.add_argument("--token", default=TOKEN)
    options = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(options.port, options.log, options.token))


if __name__ == "__main__":
    main()
