"""Fetches a file some puppets only name by its URL. The address comes from outside: only public
hosts are asked, and never for more than was agreed.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Awaitable, Callable
from urllib.parse import urljoin, urlsplit

import httpx

from adapters.wechat.wechaty.client import TooLarge

_MOST_REDIRECTS = 3


class NotThere(Exception):
    """The file is not to be had at that address; never leaves this package."""


async def is_public(host: str, port: int) -> bool:
    """Tell whether a host has only addresses of the public internet."""
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port)
    except OSError:
        return False
    return bool(found) and all(ipaddress.ip_address(a[4][0]).is_global for a in found)


async def fetch_url(
    url: str,
    *,
    limit_bytes: int,
    timeout_s: float,
    allowed: Callable[[str, int], Awaitable[bool]] = is_public,
) -> bytes:
    """Return what is at an address.

    Args:
        url: http or https.
        limit_bytes: largest file.
        timeout_s: for everything.
        allowed: whether a host may be asked; also of each redirection.

    Raises:
        NotThere: not an address we ask, or the server has no such file.
        TooLarge: more than `limit_bytes`.
        httpx.HTTPError, TimeoutError: try again.
    """
    async with (
        asyncio.timeout(timeout_s),
        httpx.AsyncClient(timeout=timeout_s, trust_env=False) as client,
    ):
        for _ in range(_MOST_REDIRECTS + 1):
            host, port = _server(url)
            if not await allowed(host, port):
                raise NotThere
            async with client.stream("GET", url) as answer:
                if answer.is_redirect:
                    url = urljoin(url, answer.headers["location"])
                    continue
                if answer.status_code >= 500:
                    raise httpx.HTTPStatusError(
                        "server error", request=answer.request, response=answer
                    )
                if answer.status_code != 200:
                    raise NotThere
                return await _read(answer, limit_bytes)
    raise NotThere


def _server(url: str) -> tuple[str, int]:
    try:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        raise NotThere from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise NotThere
    return parts.hostname, port


async def _read(answer: httpx.Response, limit_bytes: int) -> bytes:
    data = bytearray()
    async for chunk in answer.aiter_bytes():
        data += chunk
        if len(data) > limit_bytes:
            raise TooLarge
    return bytes(data)
