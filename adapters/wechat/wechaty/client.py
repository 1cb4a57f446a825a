"""One connection to a Wechaty gateway: calls with deadlines, the event stream, files of any size.

A call that fails says whether the gateway may have acted on it: `CallFailed.written` is false as
long as nothing of the message had been handed to the connection.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar, cast

from adapters.wechat.wechaty import filebox
from adapters.wechat.wechaty.protocol import (
    Cardinality,
    Configuration,
    DownloadRequest,
    DownloadResponse,
    GrpcChannel,
    GRPCError,
    H2Error,
    H2Protocol,
    Handler,
    ImageType,
    ProtocolError,
    Status,
    StreamTerminatedError,
    UploadRequest,
    UploadResponse,
    wire,
)
from adapters.wechat.wechaty.settings import WechatySettings
from core.errors import ConfigError

Why = Literal[
    "unreachable",  # no connection, or it broke
    "timeout",  # connected, but no answer in time
    "token_refused",
    "occupied",  # somebody else reads the event stream
    "refused",  # the gateway understood and declines: it did nothing
    "failed",  # the puppet behind it failed, perhaps half way
]

_CHUNK_BYTES = 64 * 1024
_STATUS: dict[Status, Why] = {
    Status.UNAUTHENTICATED: "token_refused",
    Status.PERMISSION_DENIED: "token_refused",
    Status.ALREADY_EXISTS: "occupied",
    Status.UNIMPLEMENTED: "refused",
    Status.INVALID_ARGUMENT: "refused",
    Status.RESOURCE_EXHAUSTED: "refused",
    Status.DEADLINE_EXCEEDED: "timeout",
    Status.CANCELLED: "unreachable",
    Status.UNAVAILABLE: "unreachable",
}

_Answer = TypeVar("_Answer")


class CallFailed(Exception):
    """A call had no result; never leaves this package."""

    def __init__(self, why: Why, *, written: bool, cause: str = "") -> None:
        super().__init__(f"{why} ({cause})" if cause else why)
        self.why: Why = why
        self.written = written


class TooLarge(Exception):
    """A file has more bytes than we take; never leaves this package."""


@dataclass(slots=True)
class _Progress:
    written: bool = False


@dataclass(frozen=True, slots=True)
class Event:
    """One event of the stream; `payload` is what its JSON says, {} when it says nothing."""

    type: int
    payload: dict[str, Any] = field(default_factory=dict[str, Any])

    def text(self, *names: str) -> str:
        """Return the first of these fields that is a text; "" without one."""
        return next((v for n in names if isinstance(v := self.payload.get(n), str)), "")


class _Protocol(H2Protocol):
    """Keeps its transport, which a frozen peer would otherwise hold open after `close`."""

    transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take over the connection."""
        self.transport = cast("asyncio.Transport", transport)
        super().connection_made(transport)


class _Connection(GrpcChannel):
    """A channel that stays closed: grpclib's own connects again for a call that began before."""

    _is_closed = False
    _made: _Protocol | None = None

    def _protocol_factory(self) -> H2Protocol:
        self._made = _Protocol(Handler(), self._config, self._h2_config)
        return self._made

    async def __connect__(self) -> H2Protocol:
        if not self._is_closed:
            protocol = await super().__connect__()
            if not self._is_closed:
                return protocol
            self.close()
        raise ConnectionError("closed")

    def close(self) -> None:
        """Close for good, without waiting for the other side; repeatable."""
        self._is_closed = True
        super().close()
        if self._made is not None and self._made.transport is not None:
            self._made.transport.abort()


class GatewayClient:
    """Connects at the first call and again after the connection was lost."""

    def __init__(self, settings: WechatySettings) -> None:
        self._settings = settings
        self._connect_timeout_s = settings.connect_timeout_s
        self._timeout_s = settings.request_timeout_s
        token = "" if settings.token is None else settings.token.get_secret_value()
        self._metadata = {"authorization": f"Wechaty {token}"}
        self._tls = _tls(settings) if settings.tls else None
        self._channel = self._open()

    def _open(self) -> _Connection:
        settings = self._settings
        return _Connection(
            settings.host,
            settings.port,
            ssl=self._tls,
            config=Configuration(
                _keepalive_time=settings.keepalive_s,
                _keepalive_timeout=settings.keepalive_timeout_s,
                _keepalive_permit_without_calls=True,
                _http2_max_pings_without_data=0,
                _http2_min_sent_ping_interval_without_data=settings.keepalive_s / 2,
                ssl_target_name_override=settings.server_name,
            ),
        )

    def hang_up(self) -> None:
        """Break the connection: calls in flight fail, the next one connects anew."""
        self._channel.close()
        self._channel = self._open()

    def close(self) -> None:
        """Close the connection for good; repeatable."""
        self._channel.close()

    # ---- the connection ------------------------------------------------------------------

    async def start(self) -> None:
        """Ask the gateway to start its puppet; nothing happens when it runs already.

        There is no `stop`: it would log the WeChat account out.
        """
        await self._call("Start", wire.StartRequest(), wire.StartResponse, self._connect_timeout_s)

    async def version(self) -> str:
        """Return the gateway's version; changes nothing there."""
        timeout_s = self._connect_timeout_s
        answer = await self._call("Version", wire.VersionRequest(), wire.VersionResponse, timeout_s)
        return answer.version

    async def ding(self) -> None:
        """Ask the puppet for a "dong" event."""
        await self._call("Ding", wire.DingRequest(data="oculichat"), wire.DingResponse)

    @asynccontextmanager
    async def events(self) -> AsyncGenerator[AsyncIterator[Event]]:
        """Open the event stream; the iterator ends when the gateway ends it.

        Raises:
            CallFailed: it cannot be opened, or breaks.
        """
        with _translated():
            async with self._channel.request(
                "/wechaty.Puppet/Event",
                Cardinality.UNARY_STREAM,
                wire.EventRequest,
                wire.EventResponse,
                metadata=self._metadata,
            ) as stream:
                async with asyncio.timeout(self._connect_timeout_s):
                    await stream.send_message(wire.EventRequest(), end=True)

                async def read() -> AsyncGenerator[Event]:
                    async for answer in stream:
                        yield _event(answer)

                yield read()

    # ---- what is asked -------------------------------------------------------------------

    async def message(self, message_id: str) -> wire.MessagePayloadResponse:
        """Return a message by its id."""
        request = wire.MessagePayloadRequest(id=message_id)
        return await self._call("MessagePayload", request, wire.MessagePayloadResponse)

    async def contact(self, contact_id: str) -> wire.ContactPayloadResponse:
        """Return a person by their id."""
        request = wire.ContactPayloadRequest(id=contact_id)
        return await self._call("ContactPayload", request, wire.ContactPayloadResponse)

    async def picture(self, message_id: str, *, limit_bytes: int) -> filebox.FileBox | None:
        """Return the best copy of a message's picture; None when the gateway has none.

        Raises:
            TooLarge: more than `limit_bytes`.
        """
        # The wire carries the numbers of npm's wechaty-puppet; the generated names differ.
        kind = cast("wire.ImageType", int(ImageType.ARTWORK))
        request = wire.MessageImageRequest(id=message_id, type=kind)
        answer = await self._call("MessageImage", request, wire.MessageImageResponse)
        return _box(answer.filebox, limit_bytes)

    async def file(self, message_id: str, *, limit_bytes: int) -> filebox.FileBox | None:
        """Return a message's file; see `picture`."""
        request = wire.MessageFileRequest(id=message_id)
        answer = await self._call("MessageFile", request, wire.MessageFileResponse)
        return _box(answer.filebox, limit_bytes)

    async def download(self, uuid: str, *, limit_bytes: int) -> bytes:
        """Return a file the gateway keeps.

        Raises:
            TooLarge: more than `limit_bytes`; the rest is not fetched.
        """
        data = bytearray()
        with _translated():
            async with (
                asyncio.timeout(3 * self._timeout_s),
                self._channel.request(
                    "/wechaty.Puppet/Download",
                    Cardinality.UNARY_STREAM,
                    DownloadRequest,
                    DownloadResponse,
                    metadata=self._metadata,
                ) as stream,
            ):
                await stream.send_message(DownloadRequest(id=uuid), end=True)
                async for answer in stream:
                    data += answer.chunk
                    if len(data) > limit_bytes:
                        await stream.cancel()
                        raise TooLarge
        return bytes(data)

    # ---- what is sent --------------------------------------------------------------------

    async def send_text(self, chat_id: str, text: str) -> str | None:
        """Send a text and return its id, where the gateway tells one."""
        request = wire.MessageSendTextRequest(conversation_id=chat_id, text=text)
        return (await self._call("MessageSendText", request, wire.MessageSendTextResponse)).id

    async def send_file(self, chat_id: str, data: bytes, name: str) -> str | None:
        """Send a file and return its message's id, where the gateway tells one.

        What fails before the message itself is written (the upload) is not `written`.
        """
        if len(data) <= filebox.INLINE_BYTES:
            box = filebox.write_inline(data, name)
        else:
            box = filebox.write_stored(await self._upload(data), name, len(data))
        request = wire.MessageSendFileRequest(conversation_id=chat_id, filebox=box)
        timeout_s = 3 * self._timeout_s
        answer = await self._call(
            "MessageSendFile", request, wire.MessageSendFileResponse, timeout_s
        )
        return answer.id

    async def _upload(self, data: bytes) -> str:
        """Put a file at the gateway; nobody sees it until a message names it."""
        with _translated():
            async with (
                asyncio.timeout(3 * self._timeout_s),
                self._channel.request(
                    "/wechaty.Puppet/Upload",
                    Cardinality.STREAM_UNARY,
                    UploadRequest,
                    UploadResponse,
                    metadata=self._metadata,
                ) as stream,
            ):
                for at in range(0, len(data), _CHUNK_BYTES):
                    await stream.send_message(UploadRequest(chunk=data[at : at + _CHUNK_BYTES]))
                await stream.end()
                answer = await stream.recv_message()
        if answer is None or not answer.id:
            raise CallFailed("failed", written=False, cause="no id for the upload")
        return answer.id

    async def _call(
        self,
        name: str,
        request: Any,
        answer: type[_Answer],
        timeout_s: float | None = None,
    ) -> _Answer:
        """Make one call within its deadline."""
        progress = _Progress()
        with _translated(lambda: progress.written):
            async with (
                asyncio.timeout(timeout_s or self._timeout_s),
                self._channel.request(
                    f"/wechaty.Puppet/{name}",
                    Cardinality.UNARY_UNARY,
                    cast("type[Any]", type(request)),
                    answer,
                    metadata=self._metadata,
                ) as stream,
            ):
                await stream.send_request()  # headers alone: nothing to act on yet
                progress.written = True
                await stream.send_message(request, end=True)
                message = await stream.recv_message()
        if message is None:
            raise CallFailed("failed", written=True, cause="an empty answer")
        return message


@contextmanager
def _translated(written: Callable[[], bool] = lambda: False) -> Generator[None]:
    """Turn what grpclib raises into `CallFailed`."""
    try:
        yield
    except GRPCError as error:
        why = _STATUS.get(error.status, "failed")
        # Refused before the puppet was asked: the message did not leave.
        acted = written() and why not in ("token_refused", "occupied", "refused")
        raise CallFailed(why, written=acted, cause=error.status.name) from None
    except TimeoutError:
        raise CallFailed("timeout", written=written()) from None
    except (StreamTerminatedError, ProtocolError, H2Error, OSError) as error:
        raise CallFailed("unreachable", written=written(), cause=type(error).__name__) from None


def _event(answer: wire.EventResponse) -> Event:
    try:
        payload: Any = json.loads(answer.payload or "{}")
    except ValueError:
        payload = {}
    kind = int(cast("int", answer.type))
    return (
        Event(kind, cast("dict[str, Any]", payload)) if isinstance(payload, dict) else Event(kind)
    )


def _box(text: str, limit_bytes: int) -> filebox.FileBox | None:
    try:
        return filebox.read(text, limit_bytes=limit_bytes)
    except OverflowError:
        raise TooLarge from None


def _tls(settings: WechatySettings) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])
    try:
        if settings.ca_file is None:
            context.load_default_certs()
        else:
            context.load_verify_locations(cafile=settings.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"wechat.wechaty.ca_file: {settings.ca_file} cannot be read as PEM certificates "
            f"({type(error).__name__}); check the path and the file"
        ) from None
    return context
