"""WeChat's two sides on loopback: its API, which refuses what it refuses, and its pushes.

In a test::

    async with WechatApi.running() as api:
        settings = api.settings()
        phone = Phone(api, push_url, settings)
        await phone.text("你好")
        assert api.texts(phone.open_id) == [...]
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import itertools
import json
import os
import struct
import time
from collections import Counter, defaultdict, deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import aiohttp
from aiohttp import web
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

APP_ID, SECRET, TOKEN = "wx5823bf96d3bd56c7", "app-secret-0001", "QDG6eK"
AES_KEY = "jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C"
ACCOUNT_NAME = "gh_0123456789ab"

Mode = Literal["plain", "compatible", "secure"]
Form = Literal["xml", "json"]
_WINDOW_S, _EVENT_WINDOW_S = 48 * 3600, 60


@dataclass
class Fan:
    """One person as WeChat knows them."""

    follows: bool = True
    message_at_s: float = -1e12
    message_left: int = 0
    event_at_s: float = -1e12
    event_left: int = 0
    subscriptions: int = 0


@dataclass
class WechatApi:
    """The API as an HTTP server.

    Attributes:
        faults: per path, codes to answer next instead; an int is an errcode, ``"hang"`` answers
            never, ``"500"`` and ``"cut"`` what they say.
        permitted: the account may use customer-service messages.
        now_s: the time of its windows.
        sent: accepted messages, in order.
        calls: how often each path was asked.
    """

    permitted: bool = True
    token_life_s: int = 7200
    now_s: Callable[[], float] = time.time
    faults: dict[str, deque[int | str]] = field(default_factory=lambda: defaultdict(deque))
    sent: list[dict[str, Any]] = field(default_factory=list)
    calls: Counter[str] = field(default_factory=Counter)
    fans: dict[str, Fan] = field(default_factory=lambda: defaultdict(Fan))
    media: dict[str, bytes] = field(default_factory=dict)
    uploads: dict[str, bytes] = field(default_factory=dict)
    pictures: dict[str, bytes] = field(default_factory=dict)
    menu: dict[str, Any] | None = None
    forced: int = 0
    delay_s: float = 0.0
    base: str = ""

    def __post_init__(self) -> None:
        self._numbers = itertools.count(1)
        self._token = self._new_token()

    # ---- running -------------------------------------------------------------------------

    @classmethod
    @contextlib.asynccontextmanager
    async def running(cls, **state: Any) -> AsyncIterator[WechatApi]:
        """Serve on 127.0.0.1 until the block ends."""
        api = cls(**state)
        runner = web.AppRunner(api.application(), access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        api.base = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield api
        finally:
            await runner.cleanup()

    def application(self) -> web.Application:
        """Return the server's routes."""
        app = web.Application(client_max_size=16 * 1024 * 1024)
        app.add_routes(
            [
                web.post("/cgi-bin/stable_token", self._stable_token),
                web.post("/cgi-bin/message/custom/send", self._with_token(self._send)),
                web.post("/cgi-bin/message/custom/typing", self._with_token(self._typing)),
                web.post("/cgi-bin/message/template/send", self._with_token(self._template)),
                web.post("/cgi-bin/message/template/subscribe", self._with_token(self._subscribe)),
                web.post("/cgi-bin/media/upload", self._with_token(self._upload)),
                web.get("/cgi-bin/media/get", self._with_token(self._media)),
                web.post("/cgi-bin/menu/create", self._with_token(self._menu_create)),
                web.get("/cgi-bin/menu/get", self._with_token(self._menu_get)),
                web.get("/cgi-bin/menu/delete", self._with_token(self._menu_delete)),
                web.get("/picture/{name}", self._picture),
            ]
        )
        return app

    def settings(self, **more: Any) -> dict[str, Any]:
        """Return the settings of an account that lives here."""
        return {
            "app_id": APP_ID,
            "app_secret": SECRET,
            "token": TOKEN,
            "base_url": self.base,
            "picture_hosts": ["127.0.0.1"],
            **more,
        }

    # ---- looking -------------------------------------------------------------------------

    def texts(self, open_id: str) -> list[str]:
        """Return the texts a person got."""
        return [m["text"]["content"] for m in self.sent_to(open_id) if m["msgtype"] == "text"]

    def sent_to(self, open_id: str) -> list[dict[str, Any]]:
        """Return everything a person got by customer service."""
        return [m for m in self.sent if m["touser"] == open_id and m["kind"] == "custom"]

    def fail(self, path: str, *codes: int | str) -> None:
        """Answer the next calls of a path with these."""
        self.faults[path].extend(codes)

    def void_token(self) -> None:
        """Make the present token void, as another holder's forced refresh would."""
        self._token = self._new_token()

    def user_acts(self, open_id: str, what: Literal["message", "event"]) -> None:
        """Renew what may be sent to a person."""
        fan = self.fans[open_id]
        if what == "message":
            fan.message_at_s, fan.message_left = self.now_s(), 5
        else:
            fan.event_at_s, fan.event_left = self.now_s(), 3

    # ---- serving -------------------------------------------------------------------------

    def _new_token(self) -> str:
        return f"token-{next(self._numbers)}-" + "x" * 500

    async def _fault(self, path: str) -> web.Response | None:
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        if not self.faults[path]:
            return None
        fault = self.faults[path].popleft()
        if fault == "hang":
            await asyncio.sleep(3600)
        if fault == "500":
            return web.Response(status=500, text="<html>no</html>")
        if fault == "html":
            return web.Response(text="<html>a proxy says hello</html>", content_type="text/html")
        return web.json_response({"errcode": int(fault), "errmsg": "as the test wished"})

    async def _stable_token(self, request: web.Request) -> web.Response:
        self.calls["/cgi-bin/stable_token"] += 1
        fault = await self._fault("/cgi-bin/stable_token")
        if fault is not None:
            return fault
        body = await request.json()
        if body.get("grant_type") != "client_credential":
            return _code(40002)
        if body.get("appid") != APP_ID:
            return _code(40013)
        if body.get("secret") != SECRET:
            return _code(40125)
        if body.get("force_refresh"):
            self.forced += 1
            self._token = self._new_token()
        return web.json_response({"access_token": self._token, "expires_in": self.token_life_s})

    def _with_token(self, handler: Any) -> Any:
        async def checked(request: web.Request) -> web.Response:
            self.calls[request.path] += 1
            fault = await self._fault(request.path)
            if fault is not None:
                return fault
            token = request.query.get("access_token")
            if not token:
                return _code(41001)
            if token != self._token:
                return _code(40001)
            return await handler(request)

        return checked

    async def _send(self, request: web.Request) -> web.Response:
        if not self.permitted:
            return _code(48001)
        raw = await request.read()
        if b"\\u" in raw:
            return _code(47001)  # WeChat shows escapes as they stand
        body = json.loads(raw)
        fan = self._fan(body["touser"])
        if fan is None:
            return _code(40003)
        if body["msgtype"] == "text":
            content = body["text"]["content"]
            if not content:
                return _code(44004)
            if len(content.encode()) > 2048:
                return _code(45002)
        elif body["msgtype"] == "image":
            if body["image"]["media_id"] not in self.uploads:
                return _code(40007)
        else:
            return _code(40008)
        refusal = self._spend(fan)
        if refusal:
            return _code(refusal)
        self.sent.append({**body, "kind": "custom", "at_s": self.now_s()})
        return _code(0)

    def _fan(self, open_id: str) -> Fan | None:
        fan = self.fans.get(open_id)
        return fan if fan is not None and fan.follows else None

    def _spend(self, fan: Fan) -> int:
        now = self.now_s()
        if fan.event_left and now - fan.event_at_s < _EVENT_WINDOW_S:
            fan.event_left -= 1
            return 0
        if now - fan.message_at_s >= _WINDOW_S:
            return 45015
        if not fan.message_left:
            return 45047
        fan.message_left -= 1
        return 0

    async def _typing(self, request: web.Request) -> web.Response:
        return _code(0 if self.permitted else 48001)

    async def _template(self, request: web.Request) -> web.Response:
        body = await request.json()
        if not self.permitted:
            return _code(48001)
        if body["template_id"] != "reminder-template":
            return _code(40037)
        if any(len(v["value"]) > 20 for v in body["data"].values()):
            return _code(47003)
        if self._fan(body["touser"]) is None:
            return _code(43004)
        known = next(
            (m for m in self.sent if m.get("client_msg_id") == body["client_msg_id"]), None
        )
        if known is None:
            known = {**body, "kind": "template", "msgid": 200_000 + next(self._numbers)}
            self.sent.append(known)
        return web.json_response({"errcode": 0, "errmsg": "ok", "msgid": known["msgid"]})

    async def _subscribe(self, request: web.Request) -> web.Response:
        body = await request.json()
        fan = self.fans[body["touser"]]
        if fan.subscriptions < 1:
            return _code(43101)
        fan.subscriptions -= 1
        self.sent.append({**body, "kind": "subscribe"})
        return _code(0)

    async def _upload(self, request: web.Request) -> web.Response:
        reader = await request.multipart()
        part = await reader.next()
        if part is None or part.name != "media" or not part.filename:
            return _code(41005)
        data = bytes(await part.read(decode=True))
        if len(data) > 2 * 1024 * 1024:
            return _code(45001)
        media_id = f"upload-{next(self._numbers)}"
        self.uploads[media_id] = data
        return web.json_response({"type": "image", "media_id": media_id, "created_at": 1})

    async def _media(self, request: web.Request) -> web.Response:
        data = self.media.get(request.query.get("media_id", ""))
        if data is None:  # status 200 and a type that hides what it is
            return web.Response(
                text=json.dumps({"errcode": 40007, "errmsg": "invalid media_id"}),
                content_type="text/plain",
            )
        return web.Response(body=data, content_type="image/jpeg")

    async def _picture(self, request: web.Request) -> web.Response:
        data = self.pictures.get(request.match_info["name"])
        if data is None:
            raise web.HTTPNotFound
        return web.Response(body=data, content_type="image/jpeg")

    async def _menu_create(self, request: web.Request) -> web.Response:
        body = json.loads(await request.read())
        buttons = body["button"]
        if not 1 <= len(buttons) <= 3:
            return _code(40016)
        for button in buttons:
            if len(button["name"].encode()) > 16 or len(button.get("sub_button", ())) > 5:
                return _code(40018)
        self.menu = body
        return _code(0)

    async def _menu_get(self, request: web.Request) -> web.Response:
        if self.menu is None:
            return _code(46003)
        return web.json_response({"menu": self.menu})

    async def _menu_delete(self, request: web.Request) -> web.Response:
        self.menu = None
        return _code(0)


def _code(code: int) -> web.Response:
    return web.json_response({"errcode": code, "errmsg": "ok" if code == 0 else "no"})


# ---- pushes --------------------------------------------------------------------------------------


def signature(*parts: str) -> str:
    """Return WeChat's signature, written down again from its page."""
    return hashlib.sha1("".join(sorted(parts)).encode()).hexdigest()


def encrypt(plain: bytes, *, aes_key: str = AES_KEY, app_id: str = APP_ID) -> str:
    """Encrypt as WeChat does, written down again from its page."""
    key = base64.b64decode(aes_key + "=")
    data = os.urandom(16) + struct.pack(">I", len(plain)) + plain + app_id.encode()
    pad = 32 - len(data) % 32
    encryptor = Cipher(algorithms.AES(key), modes.CBC(key[:16])).encryptor()
    sealed = encryptor.update(data + bytes([pad]) * pad) + encryptor.finalize()
    return base64.b64encode(sealed).decode()


def decrypt(sealed: str, *, aes_key: str = AES_KEY) -> bytes:
    """Decrypt what `encrypt` made."""
    key = base64.b64decode(aes_key + "=")
    decryptor = Cipher(algorithms.AES(key), modes.CBC(key[:16])).decryptor()
    data = decryptor.update(base64.b64decode(sealed)) + decryptor.finalize()
    data = data[: -data[-1]]
    (length,) = struct.unpack(">I", data[16:20])
    return data[20 : 20 + length]


def body_of(fields: dict[str, Any], form: Form) -> bytes:
    """Return fields as WeChat writes them."""
    if form == "json":
        return json.dumps(fields, ensure_ascii=False).encode()
    inner = "".join(
        f"<{k}>{v}</{k}>" if isinstance(v, int) else f"<{k}><![CDATA[{v}]]></{k}>"
        for k, v in fields.items()
    )
    return f"<xml>{inner}</xml>".encode()


@dataclass
class Pushed:
    """One request of WeChat's."""

    query: dict[str, str]
    body: bytes


def make_push(
    fields: dict[str, Any],
    *,
    mode: Mode = "plain",
    form: Form = "xml",
    now_s: float | None = None,
    nonce: str | None = None,
    aes_key: str = AES_KEY,
) -> Pushed:
    """Return the request WeChat would make."""
    timestamp = str(int(time.time() if now_s is None else now_s))
    nonce = nonce or os.urandom(5).hex()
    query = {
        "signature": signature(TOKEN, timestamp, nonce),
        "timestamp": timestamp,
        "nonce": nonce,
        "openid": str(fields["FromUserName"]),
    }
    plain = body_of(fields, form)
    if mode == "plain":
        return Pushed(query, plain)
    encrypted = encrypt(plain, aes_key=aes_key)
    query |= {
        "encrypt_type": "aes",
        "msg_signature": signature(TOKEN, timestamp, nonce, encrypted),
    }
    outer = dict(fields) if mode == "compatible" else {"ToUserName": fields["ToUserName"]}
    return Pushed(query, body_of({**outer, "Encrypt": encrypted}, form))


@dataclass
class Answer:
    """What our server said to a push, as the person's phone gets it.

    Attributes:
        status: of the last attempt; 0 when all were cut.
        text: raw body.
        attempts: how many there were.
    """

    status: int
    text: str
    attempts: int


@dataclass
class Phone:
    """A person with WeChat, and WeChat between them and us.

    WeChat waits five seconds, cuts, and asks again, three times in all. This one waits as long as a
    slow machine may take unless a test says otherwise.

    Attributes:
        deliver_times: each push is sent so often even when it was answered.
        patience_s: how long a request waits before WeChat cuts it.
        before_attempt: called with 1, 2 and 3 before WeChat asks for the first, second, third time.
    """

    api: WechatApi
    url: str
    open_id: str = "oPatient_0001"
    mode: Mode = "plain"
    form: Form = "xml"
    aes_key: str = AES_KEY
    deliver_times: int = 1
    patience_s: float = 90.0
    before_attempt: Callable[[int], None] = lambda _attempt: None
    now_s: Callable[[], float] = time.time
    got: list[dict[str, Any]] = field(default_factory=list)
    session: aiohttp.ClientSession | None = None

    _ids = itertools.count(24_000_000_000_000_000)

    async def text(self, words: str) -> Answer:
        """Write."""
        return await self.message("text", Content=words)

    async def photo(self, data: bytes) -> Answer:
        """Send a picture."""
        name = f"media-{next(self._ids)}"
        self.api.media[name] = data
        self.api.pictures[name] = data
        url = f"{self.api.base}/picture/{name}"
        return await self.message("image", PicUrl=url, MediaId=name)

    async def message(self, kind: str, **fields: Any) -> Answer:
        """Send any message."""
        self.api.user_acts(self.open_id, "message")
        return await self.push({"MsgType": kind, **fields, "MsgId": next(self._ids)})

    async def event(self, name: str, key: str = "", **fields: Any) -> Answer:
        """Do what WeChat reports as an event."""
        if name in ("subscribe", "SCAN", "CLICK"):
            self.api.user_acts(self.open_id, "event")
        if name in ("subscribe", "unsubscribe"):
            self.api.fans[self.open_id].follows = name == "subscribe"
        return await self.push({"MsgType": "event", "Event": name, "EventKey": key, **fields})

    async def push(self, fields: dict[str, Any]) -> Answer:
        """Push these fields, with WeChat's repeats."""
        full = {
            "ToUserName": ACCOUNT_NAME,
            "FromUserName": self.open_id,
            "CreateTime": int(self.now_s()),
            **fields,
        }
        answered, last = 0, Answer(0, "", 0)
        for attempt in range(1, 4):
            if answered >= self.deliver_times:
                break
            self.before_attempt(attempt)
            pushed = make_push(
                full, mode=self.mode, form=self.form, now_s=self.now_s(), aes_key=self.aes_key
            )
            try:
                status, text = await self._post(pushed)
            except (TimeoutError, aiohttp.ClientError):
                continue
            last = Answer(status, text, attempt)
            if status == 200:
                answered += 1
        if last.status == 200 and last.text not in ("success", ""):
            self.got.append(self._read(last.text))
        return last

    async def _post(self, pushed: Pushed) -> tuple[int, str]:
        async with contextlib.AsyncExitStack() as stack:
            session = self.session or await stack.enter_async_context(aiohttp.ClientSession())
            answer = await stack.enter_async_context(
                session.post(
                    self.url,
                    params=pushed.query,
                    data=pushed.body,
                    timeout=aiohttp.ClientTimeout(total=self.patience_s),
                )
            )
            return answer.status, await answer.text()

    def _read(self, text: str) -> dict[str, Any]:
        fields = parse(text)
        if "Encrypt" not in fields:
            assert self.mode == "plain", "an encrypted push is answered encrypted"
            return fields
        at, nonce = str(fields["TimeStamp"]), str(fields["Nonce"])
        assert fields["MsgSignature"] == signature(TOKEN, at, nonce, fields["Encrypt"])
        return parse(decrypt(fields["Encrypt"], aes_key=self.aes_key).decode())


def parse(text: str) -> dict[str, Any]:
    """Read a passive reply."""
    if text.startswith("{"):
        return json.loads(text)
    # Our own words, so the standard parser will do.
    from xml.etree import ElementTree as ET  # noqa: PLC0415

    return {
        child.tag: {c.tag: c.text for c in child} if len(child) else (child.text or "")
        for child in ET.fromstring(text)
    }


__all__ = ["Answer", "Phone", "WechatApi", "make_push", "parse"]
