"""iLink on loopback, strict: the calls, states and limits that are known of it, and its own CDN.

In a test::

    async with Ilink.running() as wechat:
        wechat.connect("alice")            # as if she had scanned our code before
        wechat.user_says("alice", "你好")
        wechat.texts("alice")              # what she sees

Known of the real one: ten messages after each of the person's, none on a context that is a day
old, one code (-2) for both and for a rate limit, -14 when another scan took the person away.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import itertools
import json
import os
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.algorithms import AES

_DAY_MS = 24 * 3600 * 1000
_ITEMS = {"text_item": 1, "image_item": 2, "voice_item": 3, "file_item": 4, "video_item": 5}


def aes_ecb(data: bytes, key: bytes) -> bytes:
    """Encrypt as the CDN stores: written apart from what is tested."""
    pad = 16 - len(data) % 16
    encryptor = Cipher(AES(key), modes.ECB()).encryptor()
    return encryptor.update(data + bytes([pad]) * pad) + encryptor.finalize()


def aes_ecb_open(data: bytes, key: bytes) -> bytes:
    """Decrypt what the CDN stores."""
    decryptor = Cipher(AES(key), modes.ECB()).decryptor()
    padded = decryptor.update(data) + decryptor.finalize()
    pad = padded[-1]
    assert padded[-pad:] == bytes([pad]) * pad, "not padded as PKCS#7"
    return padded[:-pad]


@dataclass
class Bot:
    """What one scan made: a person, their bot, and what waits for it."""

    user: str
    bot_id: str
    token: str
    messages: list[dict[str, Any]] = field(default_factory=list)
    stale: bool = False
    polls: int = 0
    started: int = 0
    stopped: int = 0


@dataclass
class Scan:
    """A QR code that is shown."""

    code: str
    status: str = "wait"
    bot: Bot | None = None
    digits: str = ""
    known: tuple[str, ...] = ()
    asked: int = 0


@dataclass
class Allowed:
    """What one message of a person allows."""

    user: str
    at_ms: int
    sent: int = 0


class Ilink:
    """The fake as an HTTP server on loopback.

    Attributes:
        sent: every message that was taken, oldest first: `user`, `text` or `picture`, `client_id`.
        calls: path and body of every call.
        now_ms: the fake's clock; `lambda` so that a test can move it.
        quota: messages after each of the person's.
        faults: ``(method, kind)`` to be used up in order; see `_fault`.
    """

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self.now_ms = now_ms
        self.quota = 10
        self.message_ids = True
        self.hold_s = 0.4
        self.bots: dict[str, Bot] = {}
        self.scans: list[Scan] = []
        self.sent: list[dict[str, Any]] = []
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.typing: list[tuple[str, int]] = []
        self.faults: deque[tuple[str, str]] = deque()
        self.files: dict[str, bytes] = {}
        self.uploads: dict[str, dict[str, Any]] = {}
        self.violations: list[str] = []
        self.base = ""
        self._contexts: dict[str, Allowed] = {}
        self._numbers = itertools.count(1)
        self._big = itertools.count(2**63 + 11)  # ids are uint64: beyond any signed column
        self._news = asyncio.Event()
        self._stopping = asyncio.Event()

    @classmethod
    @contextlib.asynccontextmanager
    async def running(
        cls, now_ms: Callable[[], int] = lambda: 1_800_000_000_000, port: int = 0
    ) -> AsyncIterator[Ilink]:
        """Serve on 127.0.0.1 until the block ends."""
        fake = cls(now_ms)
        app = web.Application(client_max_size=64 << 20, middlewares=[fake._strict])
        app.router.add_post("/ilink/bot/get_bot_qrcode", fake._qrcode)
        app.router.add_get("/ilink/bot/get_qrcode_status", fake._qrcode_status)
        app.router.add_post("/ilink/bot/{method:.+}", fake._handle)
        app.router.add_post("/c2c/upload", fake._upload)
        app.router.add_get("/c2c/download", fake._download)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port, reuse_address=True).start()
        fake.base = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield fake
        finally:
            fake._stopping.set()
            fake._wake()
            await runner.cleanup()
        assert fake.violations == [], "what the protocol does not allow"

    @web.middleware
    async def _strict(self, request: web.Request, handler: Any) -> web.StreamResponse:
        """Keep what the protocol does not allow, so that the test fails at its end."""
        try:
            return await handler(request)
        except (AssertionError, LookupError, ValueError) as error:
            self.violations.append(f"{request.path}: {error!r}")
            return web.Response(status=500)

    def settings(self, **more: Any) -> dict[str, Any]:
        """Return settings of the channel that lead here."""
        return {
            "enabled": True,
            "base_url": self.base,
            "cdn_url": f"{self.base}/c2c",
            "poll_timeout_s": 5,
            **more,
        }

    # ---- the person ----------------------------------------------------------------------

    def connect(self, user: str) -> Bot:
        """Bind a person to a new bot; the one they had is stale from now on."""
        for bot in self.bots.values():
            bot.stale |= bot.user == user
        number = next(self._numbers)
        bot = Bot(user, f"{number:012x}@im.bot", f"secret-bot-token-{number}")
        self.bots[bot.token] = bot
        self._wake()
        return bot

    def scan(self, user: str, *, digits: str = "") -> None:
        """Scan the newest code, and confirm it, with digits when WeChat asks for some."""
        code = self.scans[-1]
        code.digits = digits
        code.bot = self.connect(user)
        code.status = "need_verifycode" if digits else "confirmed"
        self._wake()

    def set_status(self, status: str) -> None:
        """Let the newest code go into a state."""
        self.scans[-1].status = status
        self._wake()

    def user_says(self, user: str, text: str, **fields: Any) -> dict[str, Any]:
        """A person writes."""
        return self.user_sends(user, {"text_item": {"text": text}}, **fields)

    def user_photo(
        self, user: str, data: bytes, *, caption: str = "", **media: Any
    ) -> dict[str, Any]:
        """A person sends a picture, with words beside it if there are any."""
        found, key = self._store(data)
        image = {"aeskey": key.hex(), "media": {**found, **media}, "mid_size": len(data)}
        words = [{"text_item": {"text": caption}}] if caption else []
        return self.user_sends(user, *words, {"image_item": image})

    def user_file(self, user: str, data: bytes, name: str, **media: Any) -> dict[str, Any]:
        """A person sends a file."""
        found, _ = self._store(data)
        item = {"media": {**found, **media}, "file_name": name, "len": str(len(data))}
        return self.user_sends(user, {"file_item": item})

    def user_voice(self, user: str, data: bytes, text: str = "") -> dict[str, Any]:
        """A person speaks; WeChat may have written it down."""
        found, _ = self._store(data)
        item = {"media": found, "encode_type": 6, "playtime": 1200, "text": text}
        return self.user_sends(user, {"voice_item": item})

    def user_sends(self, user: str, *bodies: dict[str, Any], **fields: Any) -> dict[str, Any]:
        """A person sends items, to the bot that is theirs now."""
        bot = next(b for b in reversed(self.bots.values()) if b.user == user)
        token = f"context-{next(self._numbers)}"
        self._contexts[token] = Allowed(user, self.now_ms())
        items = [{"type": _ITEMS.get(next(iter(b)), 9), **b} for b in bodies]
        message = {
            "seq": next(self._numbers),
            "message_id": next(self._big),
            "from_user_id": user,
            "to_user_id": bot.bot_id,
            "create_time_ms": self.now_ms() + len(bot.messages),
            "message_type": 1,
            "message_state": 2,
            "item_list": items,
            "context_token": token,
            **fields,
        }
        bot.messages.append(message)
        self._wake()
        return message

    def texts(self, user: str) -> list[str]:
        """Return what a person read, oldest first."""
        return [s["text"] for s in self.sent if s["user"] == user and "text" in s]

    def pictures(self, user: str) -> list[bytes]:
        """Return the pictures a person saw."""
        return [s["picture"] for s in self.sent if s["user"] == user and "picture" in s]

    def _store(self, data: bytes) -> tuple[dict[str, Any], bytes]:
        key = os.urandom(16)
        param = f"file/{next(self._numbers)}?&="
        self.files[param] = aes_ecb(data, key)
        hexadecimal = base64.b64encode(key.hex().encode()).decode()
        return {"encrypt_query_param": param, "aes_key": hexadecimal, "encrypt_type": 1}, key

    # ---- logging in ----------------------------------------------------------------------

    async def _qrcode(self, request: web.Request) -> web.Response:
        assert request.query["bot_type"] == "3"
        assert "Authorization" not in request.headers
        body = await request.json()
        if (fault := await self._fault("get_bot_qrcode", request)) is not None:
            return fault
        scan = Scan(f"qr/{next(self._numbers)}=&", known=tuple(body["local_token_list"]))
        assert len(scan.known) <= 10
        self.scans.append(scan)
        shown = f"https://liteapp.weixin.qq.com/q/{len(self.scans)}"
        return web.json_response({"ret": 0, "qrcode": scan.code, "qrcode_img_content": shown})

    async def _qrcode_status(self, request: web.Request) -> web.Response:
        scan = next((s for s in self.scans if s.code == request.query["qrcode"]), None)
        if scan is None:
            return web.json_response({"ret": 0, "status": "expired"})
        scan.asked += 1
        if (fault := await self._fault("get_qrcode_status", request)) is not None:
            return fault
        if scan.status == "wait":
            await self._wait()
        status = scan.status
        typed = request.query.get("verify_code", "")
        if status == "need_verifycode" and typed and typed == scan.digits:
            status = scan.status = "confirmed"
        answer: dict[str, Any] = {"ret": 0, "status": status}
        if status == "scaned_but_redirect":
            answer["redirect_host"] = self.base.partition("//")[2]
            scan.status = "scaned"  # codespell:ignore scaned
        if status == "confirmed" and scan.bot is not None:
            answer |= {
                "bot_token": scan.bot.token,
                "ilink_bot_id": scan.bot.bot_id,
                "baseurl": self.base,
                "ilink_user_id": scan.bot.user,
            }
        return web.json_response(answer)

    # ---- as a bot ------------------------------------------------------------------------

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        method = request.match_info["method"]
        body = await request.json()
        self.calls.append((method, body))
        headers = request.headers
        assert headers["AuthorizationType"] == "ilink_bot_token"
        assert headers["iLink-App-Id"] == "bot"
        assert headers["iLink-App-ClientVersion"].isdecimal()
        assert 0 <= int(base64.b64decode(headers["X-WECHAT-UIN"])) < 2**32
        assert body["base_info"]["channel_version"]
        bot = self.bots.get(headers.get("Authorization", "").removeprefix("Bearer "))
        if (fault := await self._fault(method, request)) is not None:
            return fault
        if bot is None or bot.stale:
            return web.json_response({"errcode": -14, "errmsg": "session timeout"})
        match method:
            case "getupdates":
                return await self._updates(bot, body)
            case "sendmessage":
                return web.json_response(self._message(body["msg"]))
            case "getuploadurl":
                return self._upload_url(bot, body)
            case "getconfig":
                return web.json_response({"ret": 0, "typing_ticket": f"ticket of {bot.user}"})
            case "sendtyping":
                assert body["typing_ticket"] == f"ticket of {body['ilink_user_id']}"
                self.typing.append((body["ilink_user_id"], body["status"]))
            case "msg/notifystart":
                bot.started += 1
            case "msg/notifystop":
                bot.stopped += 1
            case _:
                return web.Response(status=404)
        return web.json_response({"ret": 0})

    async def _updates(self, bot: Bot, body: dict[str, Any]) -> web.Response:
        bot.polls += 1
        cursor = body["get_updates_buf"]
        place = int(base64.b64decode(cursor)) if cursor else 0
        if place >= len(bot.messages):
            await self._wait()
        if bot.stale:
            return web.json_response({"errcode": -14, "errmsg": "session timeout"})
        messages = bot.messages[place:]
        buf = base64.b64encode(str(len(bot.messages)).encode()).decode()
        answer = {"ret": 0, "msgs": messages, "get_updates_buf": buf}
        return web.json_response(answer | {"longpolling_timeout_ms": 35000})

    def _message(self, message: dict[str, Any]) -> dict[str, Any]:
        assert message["message_type"] == 2
        assert message["message_state"] == 2
        assert message["client_id"]
        (item,) = message["item_list"]
        allowed = self._contexts.get(message["context_token"])
        if (
            allowed is None
            or allowed.user != message["to_user_id"]
            or self.now_ms() - allowed.at_ms > _DAY_MS
            or allowed.sent >= self.quota
        ):
            return {"ret": -2, "errmsg": "prepare failed"}
        allowed.sent += 1
        entry: dict[str, Any] = {"user": message["to_user_id"], "client_id": message["client_id"]}
        if item["type"] == 1:
            text = item["text_item"]["text"]
            assert text.strip(), "WeChat shows no empty message"
            assert len(text.encode()) <= 2048
            entry["text"] = text
        else:
            entry["picture"] = self._shown(item["image_item"])
        self.sent.append(entry)
        return {"ret": 0} | ({"message_id": next(self._big)} if self.message_ids else {})

    def _shown(self, image: dict[str, Any]) -> bytes:
        """Open a picture as a phone does: the key is base64 of hexadecimal digits."""
        media = image["media"]
        key = bytes.fromhex(base64.b64decode(media["aes_key"]).decode())
        cipher = self.files[media["encrypt_query_param"]]
        assert image["mid_size"] == len(cipher)
        assert media["encrypt_type"] == 1
        return aes_ecb_open(cipher, key)

    # ---- media ---------------------------------------------------------------------------

    def _upload_url(self, bot: Bot, body: dict[str, Any]) -> web.Response:
        assert body["media_type"] == 1
        assert body["no_need_thumb"] is True
        assert body["to_user_id"] == bot.user
        assert body["filesize"] == (body["rawsize"] // 16 + 1) * 16
        param = f"up/{next(self._numbers)}&="
        self.uploads[param] = body
        return web.json_response({"ret": 0, "upload_param": param})

    async def _upload(self, request: web.Request) -> web.Response:
        if (fault := await self._fault("upload", request)) is not None:
            return fault
        promised = self.uploads[request.query["encrypted_query_param"]]
        assert request.query["filekey"] == promised["filekey"]
        assert request.content_type == "application/octet-stream"
        data = await request.read()
        assert len(data) == promised["filesize"]
        plain = aes_ecb_open(data, bytes.fromhex(promised["aeskey"]))
        assert hashlib.md5(plain).hexdigest() == promised["rawfilemd5"]
        param = f"down/{next(self._numbers)}&="
        self.files[param] = data
        return web.Response(headers={"x-encrypted-param": param})

    async def _download(self, request: web.Request) -> web.Response:
        if (fault := await self._fault("download", request)) is not None:
            return fault
        if (place := request.query.get("moved_to")) is not None:
            raise web.HTTPFound(place)
        found = self.files.get(request.query["encrypted_query_param"])
        return web.Response(status=404) if found is None else web.Response(body=found)

    # ---- faults and waiting --------------------------------------------------------------

    async def _fault(self, method: str, request: web.Request) -> web.Response | None:
        """Use up the first fault of this method, if there is one."""
        kind = next((k for m, k in self.faults if m == method), None)
        if kind is None:
            return None
        self.faults.remove((method, kind))
        match kind:
            case "rate":
                return web.json_response({"ret": -2, "errmsg": "rate limited"})
            case "refuse":
                return web.json_response({"ret": -2})
            case "stale":
                return web.json_response({"ret": -14, "errmsg": "session timeout"})
            case "lost":  # taken, but nobody hears of it
                self._message((await request.json())["msg"])
                _cut(request)
            case "cut":
                _cut(request)
            case "garbage":
                return web.Response(text="<html>Welcome to the hotel</html>")
            case status:
                return web.Response(status=int(status), text="Bad Gateway")
        return web.Response()

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    async def _wait(self) -> None:
        if not self._stopping.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), self.hold_s)


def _cut(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()


def as_json(message: dict[str, Any]) -> Any:
    """Return a message as it comes over the wire."""
    return json.loads(json.dumps(message))
