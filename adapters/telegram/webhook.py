"""Where Telegram posts updates. The secret is checked before a byte of the body is read, and 200
is answered only after the message is stored: Telegram repeats everything else.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import structlog
from aiohttp import web

from core.errors import TransientError

_log = structlog.get_logger(__name__)

SECRET_HEADER = "X-Telegram-Bot-Api-Secret-Token"  # noqa: S105 a header's name
_BODY_LIMIT_BYTES = 1024 * 1024  # the largest updates are tens of KiB

Receive = Callable[[Sequence[dict[str, Any]]], Awaitable[None]]
Handler = Callable[[web.Request], Awaitable[web.Response]]


def handler(receive: Receive, *, secret: str) -> Handler:
    """Return the handler of the webhook.

    Args:
        receive: stores updates; returns only when they are safe.
        secret: what Telegram repeats in each request.
    """
    expected = secret.encode()

    async def receive_update(request: web.Request) -> web.Response:
        given = request.headers.get(SECRET_HEADER, "").encode("utf-8", "surrogateescape")
        if not hmac.compare_digest(given, expected):
            _log.warning("telegram_webhook_forged")
            return web.Response(status=403)
        body = await _body(request)
        if body is None:
            return web.Response(status=413)
        update = _update(body)
        if update is None:
            return web.Response(status=400)
        try:
            await receive([update])
        except TransientError:
            return web.Response(status=503, headers={"Retry-After": "1"})
        return web.Response()

    return receive_update


def _update(body: bytes) -> dict[str, Any] | None:
    """Return the update as it is on the wire, or None when it is not one."""
    try:
        update: Any = json.loads(body)
        return update if isinstance(update["update_id"], int) else None
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


async def _body(request: web.Request) -> bytes | None:
    """Read the body, or return None when it is too long."""
    if (request.content_length or 0) > _BODY_LIMIT_BYTES:
        return None
    body = bytearray()
    async for chunk in request.content.iter_any():
        body += chunk
        if len(body) > _BODY_LIMIT_BYTES:
            return None
    return bytes(body)
