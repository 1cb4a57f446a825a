"""How `process` and `worker` talk: a JSON head, then the bytes it announces.

JSON and raw bytes only: whoever answers may have been taken over by the file it decoded.
"""

from __future__ import annotations

import json
import struct
from typing import Any, BinaryIO, cast

_LENGTH = struct.Struct(">I")
_HEAD_BYTES = 65_536


def write_frame(out: BinaryIO, head: dict[str, Any], body: bytes | memoryview) -> None:
    """Write a JSON head and the bytes it announces."""
    words = json.dumps({**head, "bytes": len(body)}).encode()
    out.write(_LENGTH.pack(len(words)) + words)
    out.write(body)
    out.flush()


def read_frame(source: BinaryIO, *, most_bytes: int) -> tuple[dict[str, Any], bytes]:
    """Read what `write_frame` wrote.

    Raises:
        EOFError: the other side is gone.
        ValueError: more than `most_bytes`, or no JSON object.
    """
    (length,) = _LENGTH.unpack(_exactly(source, _LENGTH.size))
    if length > _HEAD_BYTES:
        raise ValueError("head of a frame is too long")
    found: Any = json.loads(_exactly(source, length))
    head = cast("dict[str, Any]", found if isinstance(found, dict) else {})
    size = head.get("bytes")
    if not isinstance(size, int) or not 0 <= size <= most_bytes:
        raise ValueError("body of a frame is too long")
    return head, _exactly(source, size)


def _exactly(source: BinaryIO, count: int) -> bytes:
    data = source.read(count)
    if len(data) < count:
        raise EOFError
    return data
