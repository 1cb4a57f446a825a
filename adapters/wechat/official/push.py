"""Where WeChat pushes to. The signature is checked before a byte of the body is parsed.

Every failure of a check is the same 403, everything unreadable the same 400, and WeChat hears
`success` only after the message is stored: it repeats everything else, three times.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import structlog
from aiohttp import web

from adapters.wechat.official import wire
from adapters.wechat.official.crypto import Envelope, Forged, is_signed, sign
from adapters.wechat.official.passive import CUT_AFTER_S
from adapters.wechat.official.settings import OfficialSettings
from adapters.wechat.official.wire import Unreadable
from core.clock import Clock
from core.errors import TransientError

log = structlog.get_logger(__name__)

_BODY_LIMIT_BYTES = 512 * 1024
_BODY_WITHIN_S = 3.0
# A push older than this, or from a future, is a replay; WeChat's own come within 15 s.
_FRESH_FOR_S = 300
_MOST_SIGNATURES = 20_000
_MOST_NONCE_CHARACTERS = 128

# What becomes of a push: fields of a passive reply, `None` = "success", `Hold` = no answer at all.
ReplyFields = Mapping[str, str | int | Mapping[str, str]]


class Hold(Exception):
    """Answer nothing until WeChat cuts the connection: only then does it ask again."""


@dataclass(frozen=True, slots=True)
class Asking:
    """The request behind a push.

    Attributes:
        arrived_s: when it came, by the monotonic clock.
        is_open: tells whether WeChat still waits for the answer.
    """

    arrived_s: float
    is_open: Callable[[], bool]


Receive = Callable[[Mapping[str, str], Asking], Awaitable[ReplyFields | None]]


@dataclass(slots=True)
class PushCounts:
    """What was pushed, for metrics."""

    accepted: int = 0
    forged: int = 0
    unreadable: int = 0
    not_stored: int = 0


class Door:
    """Checks, decrypts and reads pushes of one account.

    Args:
        settings: token and keys.
        clock: the present, against replays.
        receive: stores a push and says what to answer. Raises `TransientError` when nothing was
            stored, `Hold` to wait, `Unreadable` for what is no push.
    """

    def __init__(self, settings: OfficialSettings, clock: Clock, receive: Receive) -> None:
        self._token = settings.token.get_secret_value() if settings.token else ""
        self._app_id = settings.app_id or ""
        keys = [k for k in (settings.aes_key, settings.previous_aes_key) if k is not None]
        self._envelopes = [Envelope(k.get_secret_value(), self._app_id) for k in keys]
        self._encrypted_only = settings.require_encryption
        self._clock = clock
        self._receive = receive
        # A signature covers time and nonce only: the same one with another body is a forgery.
        self._bodies: OrderedDict[str, bytes] = OrderedDict()
        self.counts = PushCounts()

    async def verify(self, request: web.Request) -> web.Response:
        """Answer the console's check of our address (GET)."""
        query = request.query
        echo = query.get("echostr", "")
        if not self._is_signed(query) or not echo:
            return self._refused()
        if query.get("msg_signature"):
            try:
                opened, _ = self._open(query, echo)
            except Forged:
                return self._refused()
            echo = opened.decode("utf-8", "replace")
        return web.Response(text=echo, content_type="text/plain")

    async def push(self, request: web.Request) -> web.Response:
        """Take a push (POST)."""
        arrived_s = time.monotonic()
        query = request.query
        if not self._is_signed(query) or not self._is_fresh(query.get("timestamp", "")):
            return self._refused()
        body = await _body(request)
        if body is None:
            return web.Response(status=413)
        is_first = self._is_first_body(query, body)
        try:
            fields, form, envelope = self._read(query, body, is_first=is_first)
        except Forged:
            return self._refused()
        except Unreadable:
            self.counts.unreadable += 1
            log.warning("wechat_push_unreadable")
            return web.Response(status=400)
        try:
            reply = await self._receive(fields, Asking(arrived_s, lambda: _is_open(request)))
        except Unreadable:
            self.counts.unreadable += 1
            return web.Response(status=400)
        except TransientError:
            self.counts.not_stored += 1
            return web.Response(status=503, headers={"Retry-After": "1"})
        except Hold:
            await asyncio.sleep(max(0.0, CUT_AFTER_S - (time.monotonic() - arrived_s)))
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=503)
        self.counts.accepted += 1
        return self._answer(reply, form, envelope)

    def _read(
        self, query: Mapping[str, str], body: bytes, *, is_first: bool
    ) -> tuple[dict[str, str], wire.Form, Envelope | None]:
        is_encrypted = query.get("encrypt_type") == "aes" or bool(query.get("msg_signature"))
        # An encrypted body has a signature of its own; a plain one is only bound to its first use.
        if not is_encrypted and (self._encrypted_only or not is_first):
            raise Forged
        fields, form = wire.read(body)
        if is_encrypted:
            opened, envelope = self._open(query, fields.get("Encrypt", ""))
            inner, inner_form = wire.read(opened)
            return inner, inner_form, envelope
        return fields, form, None

    def _open(self, query: Mapping[str, str], encrypted: str) -> tuple[bytes, Envelope]:
        """Check the body's own signature, then decrypt with this key or the one before."""
        signature = query.get("msg_signature", "")
        parts = (self._token, query.get("timestamp", ""), query.get("nonce", ""), encrypted)
        if not encrypted or not is_signed(signature, *parts):
            raise Forged
        for envelope in self._envelopes:
            try:
                return envelope.open(encrypted), envelope
            except Forged:
                continue
        raise Forged

    def _is_signed(self, query: Mapping[str, str]) -> bool:
        timestamp, nonce = query.get("timestamp", ""), query.get("nonce", "")
        signature = query.get("signature", "")
        if not nonce or len(nonce) > _MOST_NONCE_CHARACTERS:
            return False
        return is_signed(signature, self._token, timestamp, nonce)

    def _is_fresh(self, timestamp: str) -> bool:
        if not (timestamp.isascii() and timestamp.isdecimal() and len(timestamp) <= 12):
            return False
        return abs(self._clock.now_ms() // 1000 - int(timestamp)) <= _FRESH_FOR_S

    def _is_first_body(self, query: Mapping[str, str], body: bytes) -> bool:
        """Tell whether this signature has come with no other body; WeChat's repeats are equal."""
        digest = hashlib.sha256(body).digest()
        key = f"{query.get('timestamp', '')} {query.get('nonce', '')}"
        known = self._bodies.setdefault(key, digest)
        while len(self._bodies) > _MOST_SIGNATURES:
            self._bodies.popitem(last=False)
        return hmac.compare_digest(known, digest)

    def _answer(
        self, reply: ReplyFields | None, form: wire.Form, envelope: Envelope | None
    ) -> web.Response:
        """Return `success`, or a passive reply in the form and encryption of the push."""
        if reply is None:
            return web.Response(text="success")
        body = wire.write(reply, form)
        if envelope is not None:
            encrypted = envelope.seal(body)
            at_s, nonce = str(self._clock.now_ms() // 1000), hashlib.sha256(body).hexdigest()[:16]
            outer: dict[str, str | int] = {
                "Encrypt": encrypted,
                "MsgSignature": sign(self._token, at_s, nonce, encrypted),
                "TimeStamp": int(at_s),
                "Nonce": nonce,
            }
            body = wire.write(outer, form)
        kind = "application/json" if form == "json" else "application/xml"
        return web.Response(body=body, content_type=kind, charset="utf-8")

    def _refused(self) -> web.Response:
        self.counts.forged += 1
        log.warning("wechat_push_forged")
        return web.Response(status=403)


def _is_open(request: web.Request) -> bool:
    return request.transport is not None and not request.transport.is_closing()


async def _body(request: web.Request) -> bytes | None:
    """Read the body, or return None when it is too long or too slow."""
    if (request.content_length or 0) > _BODY_LIMIT_BYTES:
        return None
    body = bytearray()
    try:
        async with asyncio.timeout(_BODY_WITHIN_S):
            async for chunk in request.content.iter_any():
                body += chunk
                if len(body) > _BODY_LIMIT_BYTES:
                    return None
    except TimeoutError:
        return None
    return bytes(body)
