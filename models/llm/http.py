"""HTTP for the LLM client, on httpx's transport: connections without the client above them.

Measured for one short streamed answer (best of 8 rounds, one busy core): `httpx.AsyncClient`
1.28 ms of CPU, a transport alone 0.85 ms. Cookies, redirects and proxies are of no use here: a
proxy for the internet must not see the clinic's LLM.

Each connection has a transport of its own, because a shared pool looks at all its connections for
every one of them whenever a call begins or ends: 200 streams that end together took it a second.
"""

from __future__ import annotations

import ssl
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import cast

import httpx

# Everything httpx raises on purpose.
FAILURES = (httpx.TransportError, httpx.StreamError)
# The connection broke: a kept one may simply have been closed while it was idle.
BROKEN = (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError)
NOT_CONNECTED = (httpx.ConnectError, httpx.ConnectTimeout)

_KEPT_S = 30.0
_ONE = httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=_KEPT_S)

_Origin = tuple[str, str, int | None]


class Http:
    """HTTP/1.1 connections, kept for the next call.

    Args:
        headers: sent with every request.
        connect_timeout_s: longest wait for a TCP or TLS connection.
        connections: so many are kept at most; how many there may be is the caller's to limit.
    """

    def __init__(
        self, headers: Mapping[str, str], *, connect_timeout_s: float, connections: int
    ) -> None:
        self._headers = dict(headers)
        # Reading has no timeout here: the client's own deadlines also cover a trickling server.
        timeout = {"connect": connect_timeout_s, "read": None, "write": 5.0, "pool": 5.0}
        self._extensions = {"timeout": timeout}
        self._connections = connections
        self._tls: ssl.SSLContext | None = None
        self._all: set[httpx.AsyncHTTPTransport] = set()
        # Free ones and since when, the longest unused first.
        self._free: dict[_Origin, deque[tuple[float, httpx.AsyncHTTPTransport]]] = {}
        self._is_closed = False

    async def send(self, method: str, url: str, body: bytes = b"") -> httpx.Response:
        """Return the response as soon as its headers are there; the caller closes it.

        Raises:
            FAILURES: no response.
            RuntimeError: closed.
        """
        if self._is_closed:
            raise RuntimeError("the connections are closed")
        request = httpx.Request(
            method, url, headers=self._headers, content=body, extensions=self._extensions
        )
        origin = (request.url.scheme, request.url.host, request.url.port)
        transport = await self._take(origin)
        try:
            response = await transport.handle_async_request(request)
        except BaseException:
            await self._drop(transport)
            raise
        stream = cast("httpx.AsyncByteStream", response.stream)
        response.stream = _Body(stream, lambda is_well: self._end(origin, transport, is_well))
        return response

    async def _take(self, origin: _Origin) -> httpx.AsyncHTTPTransport:
        free = self._free.setdefault(origin, deque())
        now_s = time.monotonic()
        transport = free.pop()[1] if free else None
        while free and (now_s - free[0][0] > _KEPT_S or len(free) > self._connections):
            await self._drop(free.popleft()[1])
        if transport is None:
            if self._tls is None:  # takes 10 ms, so all share it
                self._tls = httpx.create_ssl_context(trust_env=False)
            transport = httpx.AsyncHTTPTransport(verify=self._tls, trust_env=False, limits=_ONE)
            self._all.add(transport)
        return transport

    async def _end(
        self, origin: _Origin, transport: httpx.AsyncHTTPTransport, is_well: bool
    ) -> None:
        if self._is_closed or not is_well:
            await self._drop(transport)
        else:
            self._free[origin].append((time.monotonic(), transport))

    async def _drop(self, transport: httpx.AsyncHTTPTransport) -> None:
        self._all.discard(transport)
        await transport.aclose()

    async def aclose(self) -> None:
        """Close every connection."""
        self._is_closed = True
        self._free.clear()
        while self._all:
            await self._all.pop().aclose()


class _Body(httpx.AsyncByteStream):
    """The body of a response; closed, its connection is free again."""

    def __init__(
        self, body: httpx.AsyncByteStream, ended: Callable[[bool], Awaitable[None]]
    ) -> None:
        self._body = body
        self._ended: Callable[[bool], Awaitable[None]] | None = ended

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._body.__aiter__()

    async def aclose(self) -> None:
        is_well = False
        try:
            await self._body.aclose()
            is_well = True
        finally:
            if self._ended:
                ended, self._ended = self._ended, None
                await ended(is_well)
