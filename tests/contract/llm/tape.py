"""HTTP traffic on tape: recorded between our client and a real server, played back byte for byte.

`Recorder` is a proxy on loopback that passes every byte on as it comes and keeps what a test needs
to have the same conversation again without the server. `Player` is that server's stand-in: the
same status line, headers and body, with the body cut into chunks and writes wherever one likes.
"""

from __future__ import annotations

import asyncio
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

End = Literal["complete", "cut", "client_left"]

# What differs from run to run, and what stands on the tape in its place (of the same length
# where the length shows: in the frames of a chunked body).
_VOLATILE: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"(?i)^(date: ).*$", re.M), r"\1Thu, 01 Jan 2026 00:00:00 GMT"),
    (re.compile(r'("created": ?)\d{10}'), r"\g<1>1767225600"),
    (re.compile(r"(chatcmpl-tool-)[0-9A-Za-z]{22}"), r"\1" + "T" * 22),
    (re.compile(r"(chatcmpl-)(?!tool)[0-9A-Za-z]{22}"), r"\1" + "C" * 22),
    (re.compile(r"(modelperm-)[0-9A-Za-z]{22}"), r"\1" + "P" * 22),
    (re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"), "0" * 36),
    (re.compile(r'("call_id?": ?"|chatcmpl-|call_)[0-9a-f]{24,32}'), r"\1" + "0" * 24),
    (re.compile(r"/tmp/[0-9A-Za-z_.-]+"), "/model"),
)


@dataclass(slots=True)
class Exchange:
    """One request and its response.

    Attributes:
        method: of the request.
        path: of the request.
        request: its JSON body, or None.
        head: status line and headers of the response, lines ending in LF; empty = none came.
        chunks: the body as the server cut it; text, since all of it is UTF-8.
        end: how the body ended: complete, cut off by the server, or left by our client.
    """

    method: str
    path: str
    request: Any
    head: str = ""
    chunks: list[str] = field(default_factory=list)
    end: End = "complete"

    @property
    def body(self) -> bytes:
        """The whole body."""
        return "".join(self.chunks).encode()

    @property
    def is_chunked(self) -> bool:
        """Whether the body comes in chunks rather than with its length."""
        return "transfer-encoding: chunked" in self.head.lower()


@dataclass(slots=True)
class Tape:
    """Exchanges in the order of their beginning, and which server they are from."""

    server: str
    exchanges: list[Exchange] = field(default_factory=list)

    @classmethod
    def load(cls, path: Path) -> Tape:
        """Read a tape."""
        content = json.loads(path.read_text("utf-8"))
        return cls(content["server"], [Exchange(**e) for e in content["exchanges"]])

    def save(self, path: Path) -> None:
        """Write the tape, without what changes from run to run."""
        path.parent.mkdir(parents=True, exist_ok=True)
        exchanges = [asdict(e) | {"head": _steady(e.head)} for e in self._kept()]
        for exchange in exchanges:
            exchange["chunks"] = [_steady(chunk) for chunk in exchange["chunks"]]
        content = {"server": self.server, "exchanges": exchanges}
        path.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", "utf-8")

    def _kept(self) -> list[Exchange]:
        """Leave out repeated questions about health and models: their number is chance."""
        kept: dict[str, Exchange] = {}
        for number, exchange in enumerate(self.exchanges):
            if exchange.method == "GET":
                kept.setdefault(exchange.path, exchange)
            else:
                kept[f"{number}"] = exchange
        return sorted(
            kept.values(), key=lambda e: (e.method != "GET", e.path if e.method == "GET" else "")
        )


def _steady(text: str) -> str:
    for pattern, replacement in _VOLATILE:
        text = pattern.sub(replacement, text)
    return text


class _Loopback(ABC):
    """Listens on a free loopback port; at the end no connection is left."""

    def __init__(self) -> None:
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self.url = ""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server
        self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._connections.add(task)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await self._serve(reader, writer)
        finally:
            await _abort(writer)
            self._connections.discard(task)

    @abstractmethod
    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection."""


async def _abort(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()
    with suppress(ConnectionError):
        await writer.wait_closed()


class Recorder(_Loopback):
    """A proxy that keeps what passes through it.

    Args:
        upstream: base URL of the server, on loopback.
        cut_after_events: break every event stream after so many events.
        cut: how it breaks: the connection dies, or the body ends as if all had been said.
    """

    def __init__(
        self,
        upstream: str,
        *,
        cut_after_events: int | None = None,
        cut: Literal["reset", "clean"] = "reset",
    ) -> None:
        super().__init__()
        self._upstream_port = int(upstream.rpartition(":")[2])
        self._cut_after_events = cut_after_events
        self._cut = cut
        self.exchanges: list[Exchange] = []

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server, to_server = await asyncio.open_connection("127.0.0.1", self._upstream_port)
        try:
            while True:
                head, body = await _request(reader)
                method, path, _ = head.decode().split(" ", 2)
                exchange = Exchange(method, path, json.loads(body) if body else None)
                self.exchanges.append(exchange)
                to_server.write(head + body)
                await self._pass(exchange, reader, server, writer)
        finally:
            await _abort(to_server)

    async def _pass(
        self,
        exchange: Exchange,
        client: asyncio.StreamReader,
        server: asyncio.StreamReader,
        to_client: asyncio.StreamWriter,
    ) -> None:
        """Pass one response on; watch that the client does not leave meanwhile."""
        left = asyncio.create_task(_until_closed(client))
        answer = asyncio.create_task(self._answer(exchange, server, to_client))
        try:
            await asyncio.wait({left, answer}, return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                exchange.end = "client_left"
                raise ConnectionResetError
            await answer
        except asyncio.IncompleteReadError:
            exchange.end = "cut"
            raise
        finally:
            for task in (left, answer):
                task.cancel()
                with suppress(asyncio.CancelledError, ConnectionError, asyncio.IncompleteReadError):
                    await task

    async def _answer(
        self, exchange: Exchange, server: asyncio.StreamReader, to_client: asyncio.StreamWriter
    ) -> None:
        head = await server.readuntil(b"\r\n\r\n")
        exchange.head = head.decode("latin-1").replace("\r\n", "\n").rstrip("\n")
        to_client.write(head)
        if not exchange.is_chunked:
            length = re.search(rb"(?i)content-length: (\d+)", head)
            body = await server.readexactly(int(length[1]) if length else 0)
            exchange.chunks.append(body.decode())
            to_client.write(body)
            await to_client.drain()
            return
        while True:
            line = await server.readuntil(b"\r\n")
            size = int(line, 16)
            chunk = await server.readexactly(size + 2)
            is_too_far = len(exchange.chunks) == self._cut_after_events
            if is_too_far and self._cut == "reset":
                exchange.end = "cut"
                await asyncio.sleep(0.02)  # let what was sent arrive before the reset
                raise ConnectionResetError
            if not size or is_too_far:
                to_client.write(b"0\r\n\r\n")
                return
            exchange.chunks.append(chunk[:-2].decode())
            to_client.write(line + chunk)
            await to_client.drain()


async def _request(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Read one request: its head, blank line included, and its body."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: (\d+)", head)
    return head, await reader.readexactly(int(length[1])) if length else b""


async def _until_closed(reader: asyncio.StreamReader) -> None:
    """Wait until the other side closes, leaving a following request unread."""
    while not reader.at_eof() and reader.exception() is None:  # noqa: ASYNC110 no event for it
        await asyncio.sleep(0.005)


Cutter = Callable[[bytes], Sequence[bytes]]


def as_recorded(body: bytes) -> Sequence[bytes]:
    """Leave the body as the server cut it (`Player` knows the places)."""
    return (body,)


class Player(_Loopback):
    """Answers as the tape says: GETs by their path, POSTs one after the other.

    Args:
        tape: what to play.
        chunk: cuts a body into HTTP chunks; None = as recorded.
        write: cuts the response's bytes, frames included, into writes.
    """

    def __init__(
        self, tape: Tape, *, chunk: Cutter | None = None, write: Cutter = as_recorded
    ) -> None:
        super().__init__()
        self._gets = {e.path: e for e in tape.exchanges if e.method == "GET"}
        self._posts = [e for e in tape.exchanges if e.method == "POST"]
        self._next = 0
        self._chunk = chunk
        self._write = write
        self.unexpected: list[str] = []

    @property
    def is_over(self) -> bool:
        """Whether every recorded call was made."""
        return self._next == len(self._posts)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head, _ = await _request(reader)
            method, path, _ = head.decode().split(" ", 2)
            exchange = self._find(method, path)
            if exchange is None:
                self.unexpected.append(f"{method} {path}")
                return
            for piece in self._write(self._bytes(exchange)):
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)
            if exchange.end == "cut":
                await asyncio.sleep(0.02)  # let what was sent arrive before the reset
                return
            if exchange.end == "client_left":  # it waits, until the client leaves again
                await reader.read()
                return

    def _find(self, method: str, path: str) -> Exchange | None:
        if method == "GET":
            return self._gets.get(path)
        if self._next < len(self._posts) and self._posts[self._next].path == path:
            self._next += 1
            return self._posts[self._next - 1]
        return None

    def _bytes(self, exchange: Exchange) -> bytes:
        head = exchange.head.replace("\n", "\r\n").encode("latin-1")
        if not exchange.head:
            return b""
        if not exchange.is_chunked:
            return head + b"\r\n\r\n" + exchange.body
        pieces = (
            [chunk.encode() for chunk in exchange.chunks]
            if self._chunk is None
            else self._chunk(exchange.body)
        )
        body = b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in pieces if p)
        last = b"0\r\n\r\n" if exchange.end == "complete" else b""
        return head + b"\r\n\r\n" + body + last
