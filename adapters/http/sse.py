"""Server-sent events: one open answer per viewer, woken when there is something to say.

A stream keeps no queue. Whoever writes to it holds a cursor and asks for what is new after each
wake-up, so a slow reader costs one wake-up flag and not a growing backlog.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from aiohttp import web

OPEN_STREAMS: web.AppKey[set[EventStream]] = web.AppKey("open_streams", set)


class EventStream:
    """One SSE answer.

    Args:
        request: what it answers.
        write_timeout_s: a reader that takes nothing for so long is disconnected; its browser
            connects again and says where it stopped.
    """

    def __init__(self, request: web.Request, *, write_timeout_s: float = 20.0) -> None:
        self._request = request
        self._write_timeout_s = write_timeout_s
        self._awake = asyncio.Event()
        self._response = web.StreamResponse(
            headers={
                "Content-Type": "text/event-stream; charset=utf-8",
                "Cache-Control": "no-store",
                "X-Accel-Buffering": "no",  # nginx would hold events back
            }
        )
        self.closing = False

    @property
    def response(self) -> web.StreamResponse:
        """The answer, for the handler to return."""
        return self._response

    async def __aenter__(self) -> Self:
        await self._response.prepare(self._request)
        self._request.app[OPEN_STREAMS].add(self)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        self._request.app[OPEN_STREAMS].discard(self)
        if isinstance(error, TimeoutError) and self._request.transport is not None:
            self._request.transport.abort()  # a polite end would wait for the reader once more
        # A reader that went away or takes nothing ends its stream; nobody has to hear of it.
        return isinstance(error, (ConnectionError, TimeoutError))

    def wake(self) -> None:
        """Make `wait` return now, or the next time it is called."""
        self._awake.set()

    def close(self) -> None:
        """Ask the handler to end: the server stops."""
        self.closing = True
        self._awake.set()

    async def wait(self, timeout_s: float) -> bool:
        """Wait for `wake`; False when `timeout_s` passed without one."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._awake.wait()
        except TimeoutError:
            return False
        self._awake.clear()
        return True

    async def send(self, data: str, *, event: str | None = None, id: int | None = None) -> None:
        """Send one event.

        Raises:
            ConnectionError: the reader is gone.
            TimeoutError: the reader takes nothing.
        """
        lines = [f"event: {event}"] if event else []
        if id is not None:
            lines.append(f"id: {id}")
        lines += [f"data: {line}" for line in data.splitlines() or [""]]
        await self._write("\n".join(lines) + "\n\n")

    async def retry(self, after_ms: int) -> None:
        """Tell the browser how long to wait before it connects again."""
        await self._write(f"retry: {after_ms}\n\n")

    async def ping(self) -> None:
        """Show both sides that the connection lives; scripts cannot see comments, so an event."""
        await self.send("", event="ping")

    async def _write(self, block: str) -> None:
        async with asyncio.timeout(self._write_timeout_s):
            await self._response.write(block.encode("utf-8", "replace"))


async def close_streams(app: web.Application) -> None:
    """End every open stream; an `on_shutdown` signal."""
    for stream in list(app[OPEN_STREAMS]):
        stream.close()
