"""Asks every server, in the background, whether it is well and what it serves."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Generator
from contextlib import contextmanager, suppress

import httpx
import structlog

from models.llm.http import BROKEN, FAILURES, NOT_CONNECTED, Http
from models.llm.servers import Server, Servers

_log = structlog.get_logger(__name__)

_BODY_LIMIT_BYTES = 64 << 10
# A server that is away is asked this often, so that it is used soon after it came back.
_AWAY_INTERVAL_S = 1.0
# Whoever waits this long for a first byte has the server asked whether it is still there.
_PATIENCE_S = 1.5
# Every pause is this much longer or shorter, so that many processes do not ask in step.
_JITTER = 0.2


class ProbeFailed(Exception):
    """A server did not say what was asked.

    Attributes:
        cause: one word for the log.
        status: HTTP status; None = it could not be asked at all.
    """

    def __init__(self, cause: str, status: int | None = None) -> None:
        super().__init__(cause)
        self.cause = cause
        self.status = status


class Prober:
    """Keeps `Servers` up to date; one task per server, so a hanging one delays no other."""

    def __init__(
        self, servers: Servers, http: Http, *, interval_s: float, timeout_s: float
    ) -> None:
        self._servers = servers
        self._http = http
        self._interval_s = interval_s
        self._timeout_s = timeout_s
        self._sooner = {server.number: asyncio.Event() for server in servers.all}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to ask."""
        self._task = asyncio.create_task(self._run(), name="llm-prober")

    async def stop(self) -> None:
        """Stop asking."""
        if self._task:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for server in self._servers.all:
                group.create_task(self._keep_asking(server))

    async def _keep_asking(self, server: Server) -> None:
        sooner = self._sooner[server.number]
        while True:
            sooner.clear()
            try:
                await self.probe(server)
            except Exception:  # the supervisor: one odd answer must not end the asking
                _log.exception("llm_probe_broken", server=server.number)
            pause_s = self._interval_s
            if server.is_reachable is False:
                pause_s = min(pause_s, _AWAY_INTERVAL_S)
            pause_s *= random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 no secret
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await sooner.wait()

    @contextmanager
    def waiting(self, server: Server, deadline: asyncio.Timeout) -> Generator[None]:
        """Let `deadline` come at once when `server` turns out to be gone before its first byte."""
        ask = self._sooner[server.number].set
        patience = asyncio.get_running_loop().call_later(_PATIENCE_S, ask)
        server.waits.add(deadline)
        try:
            yield
        finally:
            server.waits.discard(deadline)
            patience.cancel()

    async def probe_all(self) -> None:
        """Ask every server once, now."""
        await asyncio.gather(*(self.probe(server) for server in self._servers.all))

    async def probe(self, server: Server) -> None:
        """Ask one server and note what it says; does not raise."""
        before = self._servers.state(server)
        try:
            await self._ask(server)
        except ProbeFailed as error:
            self._servers.lost(server, cause=error.cause)
        else:
            server.is_reachable = True
            server.trouble = ""
        after = self._servers.state(server)
        if after != before:
            _log.info("llm_server_changed", server=server.number, state=after, why=server.trouble)

    async def _ask(self, server: Server) -> None:
        try:
            status, body = await self._get(server, "/health")
        except ProbeFailed as error:
            if error.cause not in _WORTH_A_SECOND_TRY:
                raise
            status, body = await self._get(server, "/health")
        match status:
            case 200:
                # LMDeploy says 200 while it sleeps, and refuses every call.
                if (said := _status_word(body)) in {"sleeping", "initializing", "unhealthy"}:
                    raise ProbeFailed(said, status)
                if not server.is_reachable or server.model is None:
                    await self._learn_if_it_can(server)
            case 401 | 403 | 404 | 405 | 501:  # `serve proxy`, Ollama and others have no /health
                await self.learn_model(server)
            case _:
                raise ProbeFailed(f"http_{status}", status)

    async def _learn_if_it_can(self, server: Server) -> None:
        """Learn the model, or take the configured one of a healthy server that cannot list any."""
        try:
            await self.learn_model(server)
        except ProbeFailed as error:
            if server.configured_model is None or (error.status or 0) < 500:
                raise
            server.model = server.configured_model

    async def learn_model(self, server: Server) -> str:
        """Return the name of the model that `server` serves, and keep it.

        Raises:
            ProbeFailed: it does not say.
        """
        status, body = await self._get(server, "/v1/models")
        if status in {401, 403}:
            raise ProbeFailed("unauthorized", status)
        if status != 200 and (status >= 500 or server.configured_model is None):
            raise ProbeFailed(f"models_http_{status}", status)
        server.model = server.configured_model or _first_model(body)
        if server.is_reachable is False:  # it may have been started anew, with other flags
            server.takes_tools, server.takes_extras = None, True
        return server.model

    async def _get(self, server: Server, path: str) -> tuple[int, bytes]:
        try:
            async with asyncio.timeout(self._timeout_s):
                response = await self._http.send("GET", server.url + path)
                try:
                    return response.status_code, await _body(response)
                finally:
                    await response.aclose()
        except TimeoutError:
            raise ProbeFailed("no_answer") from None
        except NOT_CONNECTED:
            raise ProbeFailed("not_connected") from None
        except BROKEN:
            raise ProbeFailed("connection_broke") from None
        except (*FAILURES, RuntimeError) as error:  # RuntimeError: the pool was closed meanwhile
            raise ProbeFailed(type(error).__name__) from None


# Silence may be a busy moment, and a kept connection may have been closed while it was idle.
_WORTH_A_SECOND_TRY = frozenset({"no_answer", "connection_broke"})


async def _body(response: httpx.Response) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > _BODY_LIMIT_BYTES:
            break
    return bytes(body)


def _first_model(body: bytes) -> str:
    try:
        return str(json.loads(body)["data"][0]["id"])
    except (ValueError, KeyError, IndexError, TypeError):
        raise ProbeFailed("models_malformed", 200) from None


def _status_word(body: bytes) -> str:
    with suppress(ValueError, KeyError, TypeError):  # vLLM: 200 with an empty body
        return str(json.loads(body)["status"])
    return ""
