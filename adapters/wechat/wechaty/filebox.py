"""FileBox: how files cross the gateway, as JSON inside a message. Pure.

A small file lies inline as Base64; the gateway hands out a larger one by an id that `Download`
takes (`uuid`), or names a URL where the puppet knows nothing better.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Any, cast

# What npm's file-box itself keeps inline; larger ones would also meet gRPC's 4 MiB a message.
INLINE_BYTES = 20 * 1024

_BASE64, _URL, _UUID = 1, 2, 7


@dataclass(frozen=True, slots=True)
class Inline:
    """The file itself."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Stored:
    """A file the gateway keeps; `Download` it."""

    uuid: str


@dataclass(frozen=True, slots=True)
class Remote:
    """A file somewhere on the web."""

    url: str


FileBox = Inline | Stored | Remote


def read(text: str, *, limit_bytes: int) -> FileBox | None:
    """Return what a FileBox says; None when it is of a kind that holds no file for us.

    Args:
        text: the JSON, not trusted.
        limit_bytes: an inline file larger than this is not decoded.

    Raises:
        OverflowError: an inline file is larger than `limit_bytes`.
    """
    try:
        parsed: Any = json.loads(text)
    except ValueError:
        return None
    if not isinstance(parsed, dict):
        return None
    box = cast("dict[str, Any]", parsed)
    match box.get("boxType", box.get("type")):
        case int(kind) if kind == _BASE64:
            return _inline(box.get("base64"), limit_bytes)
        case int(kind) if kind == _UUID and isinstance(box.get("uuid"), str):
            return Stored(box["uuid"])
        case int(kind) if kind == _URL:
            # file-box 1.x writes `url`, what came before `remoteUrl`.
            url = box.get("url", box.get("remoteUrl"))
            return Remote(url) if isinstance(url, str) else None
        case _:
            return None


def _inline(content: object, limit_bytes: int) -> Inline | None:
    if not isinstance(content, str):
        return None
    if len(content) // 4 * 3 > limit_bytes + 3:
        raise OverflowError
    try:
        data = base64.b64decode(content)
    except (binascii.Error, ValueError):
        return None
    if len(data) > limit_bytes:
        raise OverflowError
    return Inline(data)


def write_inline(data: bytes, name: str) -> str:
    """Return the FileBox of a small file."""
    content = base64.b64encode(data).decode("ascii")
    return _write(_BASE64, name, base64=content, size=len(data))


def write_stored(uuid: str, name: str, size_bytes: int) -> str:
    """Return the FileBox of a file that `Upload` put at the gateway."""
    return _write(_UUID, name, uuid=uuid, size=size_bytes)


def _write(kind: int, name: str, **content: str | int) -> str:
    # `type` is what file-box 0.x reads, `boxType` what 1.x does.
    return json.dumps({"boxType": kind, "type": kind, "name": name, "metadata": {}, **content})
