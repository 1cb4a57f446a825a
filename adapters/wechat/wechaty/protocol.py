"""The Wechaty puppet protocol as this channel speaks it: generated messages, and what they lack.

Importing this needs the extra `wechaty`. Of it only the generated messages of the protocol are
loaded: `import wechaty` itself would start what a service of many channels must not have (ADR 14).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from enum import IntEnum

from core.errors import ConfigError

try:
    with warnings.catch_warnings():
        # stringcase, of 2017, has escapes that today's compilers warn about.
        warnings.simplefilter("ignore")
        import betterproto
    from grpclib.client import Channel as GrpcChannel
    from grpclib.client import Handler
    from grpclib.config import Configuration
    from grpclib.const import Cardinality, Status
    from grpclib.exceptions import GRPCError, ProtocolError, StreamTerminatedError
    from grpclib.protocol import H2Protocol
    from h2.exceptions import H2Error
    from wechaty_grpc.wechaty import puppet as wire
except ModuleNotFoundError as error:
    raise ConfigError(
        f"wechat.wechaty.enabled: the library {error.name!r} is not installed; run "
        "`uv sync --extra wechaty`, or set wechat.wechaty.enabled to false"
    ) from None

__all__ = [
    "Cardinality",
    "Configuration",
    "DownloadRequest",
    "DownloadResponse",
    "EventType",
    "GRPCError",
    "GrpcChannel",
    "H2Error",
    "H2Protocol",
    "Handler",
    "ImageType",
    "MessageType",
    "ProtocolError",
    "Status",
    "StreamTerminatedError",
    "UploadRequest",
    "UploadResponse",
    "wire",
]


class EventType(IntEnum):
    """What an event of the stream says; others are passed over."""

    HEARTBEAT = 1
    MESSAGE = 2
    DONG = 3
    ERROR = 16
    FRIENDSHIP = 17
    SCAN = 22
    READY = 23
    LOGIN = 25
    LOGOUT = 26
    DIRTY = 27


class MessageType(IntEnum):
    """Types of messages as npm's wechaty-puppet numbers them; the .proto numbers differ."""

    UNKNOWN = 0
    ATTACHMENT = 1
    AUDIO = 2
    CONTACT = 3
    CHAT_HISTORY = 4
    EMOTICON = 5
    IMAGE = 6
    TEXT = 7
    LOCATION = 8
    MINI_PROGRAM = 9
    GROUP_NOTE = 10
    TRANSFER = 11
    RED_ENVELOPE = 12
    RECALLED = 13
    URL = 14
    VIDEO = 15
    POST = 16


class ImageType(IntEnum):
    """Which copy of a picture, in the same numbering."""

    THUMBNAIL = 1
    HD = 2
    ARTWORK = 3


# The generated messages of 0.20 do not know files apart from their messages. These are from
# wechaty/puppet.proto of grpc 1.5; unknown calls would be refused by gateways before 1.0.
@dataclass(eq=False, repr=False)
class UploadRequest(betterproto.Message):
    """A piece of a file."""

    chunk: bytes = betterproto.bytes_field(1)


@dataclass(eq=False, repr=False)
class UploadResponse(betterproto.Message):
    """The file's id at the gateway."""

    id: str = betterproto.string_field(1)


@dataclass(eq=False, repr=False)
class DownloadRequest(betterproto.Message):
    """The id of a file at the gateway."""

    id: str = betterproto.string_field(1)


@dataclass(eq=False, repr=False)
class DownloadResponse(betterproto.Message):
    """A piece of it."""

    chunk: bytes = betterproto.bytes_field(1)
