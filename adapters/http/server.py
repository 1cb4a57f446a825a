"""The one HTTP server of a process: web chat, console, health and webhooks share it.

Request line limits are aiohttp's own (8 KiB a line); a body that a handler does not stream itself
is limited to `MAX_BODY_BYTES`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from aiohttp import web
from aiohttp.typedefs import Middleware

from adapters.http.failures import answer_failures
from adapters.http.headers import add_security_headers, refuse_foreign_posts, trust_proxy
from adapters.http.sse import OPEN_STREAMS, close_streams
from adapters.http.static import shared_files
from core.errors import ConfigError

MAX_BODY_BYTES = 1024 * 1024
LOOPBACK = frozenset({"127.0.0.1", "::1"})


class HttpServer:
    """Serves routes until stopped.

    Args:
        host: address to bind; loopback unless the operator says otherwise.
        port: 0 = any free one, see `port` after `start`.
        routes: of every part that speaks HTTP.
        middlewares: run inside the standard ones (proxy, failures, origin check).
        trusted_proxies: peers whose `X-Forwarded-*` headers are believed.
        shutdown_timeout_s: how long requests in flight may take when the server stops.
    """

    def __init__(
        self,
        host: str,
        port: int,
        routes: Iterable[web.AbstractRouteDef],
        middlewares: Sequence[Middleware] = (),
        *,
        trusted_proxies: frozenset[str] = LOOPBACK,
        shutdown_timeout_s: float = 10.0,
    ) -> None:
        self._host = host
        self._port = port
        app = web.Application(
            client_max_size=MAX_BODY_BYTES,
            middlewares=[
                trust_proxy(trusted_proxies),
                answer_failures,
                refuse_foreign_posts,
                *middlewares,
            ],
        )
        app[OPEN_STREAMS] = set()
        app.add_routes([*shared_files().routes(), *routes])
        app.on_response_prepare.append(add_security_headers)
        app.on_shutdown.append(close_streams)
        # Paths carry nothing personal, yet client addresses do: metrics count, no access log.
        self._runner = web.AppRunner(
            app, access_log=None, shutdown_timeout=shutdown_timeout_s, handle_signals=False
        )

    @property
    def port(self) -> int:
        """The bound port; meaningful after `start`."""
        return self._port

    async def start(self) -> None:
        """Bind and serve.

        Raises:
            ConfigError: the address cannot be bound.
        """
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._host, self._port).start()
        except OSError as error:
            await self._runner.cleanup()
            raise ConfigError(
                f"http: cannot listen on {self._host}:{self._port} ({error.strerror}): "
                "choose another server.host or server.port, or stop what uses it"
            ) from error
        self._port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """End open streams, finish requests in flight, release the port. Safe to repeat."""
        await self._runner.cleanup()
