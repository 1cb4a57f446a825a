"""Small recordings of every format that messengers send, made on the spot."""

from __future__ import annotations

import struct


def wav(ms: int = 1_000) -> bytes:
    samples = b"\x00\x00" * (8 * ms)
    head = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, 8_000, 16_000, 2, 16)
    body = head + b"data" + struct.pack("<I", len(samples)) + samples
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WAVE" + body


def _page(granule: int, body: bytes) -> bytes:
    return b"OggS\x00\x00" + struct.pack("<q", granule) + b"\x00" * 12 + b"\x01\xff" + body


def opus(ms: int = 1_000) -> bytes:
    """As Telegram sends voice."""
    head = b"OpusHead\x01\x01" + struct.pack("<HI", 312, 48_000) + b"\x00\x00\x00"
    return _page(0, head) + _page(312 + 48 * ms, b"x" * 200)


def amr(ms: int = 1_000) -> bytes:
    """As WeChat sends voice: 12.2 kbit/s, a frame for each 20 ms."""
    return b"#!AMR\n" + (b"\x3c" + b"x" * 31) * (ms // 20)


def silk(ms: int = 1_000) -> bytes:
    """As gateways hand on WeChat's voice."""
    return b"\x02#!SILK_V3" + (struct.pack("<H", 30) + b"x" * 30) * (ms // 20) + b"\xff\xff"


def _element(name: int, body: bytes, *, unknown: bool = False) -> bytes:
    head = name.to_bytes((name.bit_length() + 7) // 8, "big")
    size = b"\x01" + b"\xff" * 7 if unknown else (0x10000000 | len(body)).to_bytes(4, "big")
    return head + size + body


def webm(ms: int = 1_000) -> bytes:
    """As Chrome records: sizes unknown, no length anywhere."""
    clusters = b"".join(
        _element(0x1F43B675, _element(0xE7, second.to_bytes(3, "big")), unknown=True)
        + b"".join(
            _element(0xA3, b"\x81" + struct.pack(">h", at) + b"\x80sound")
            for at in range(0, min(1_000, ms - second) + 1, 100)
        )
        for second in range(0, max(ms, 1), 1_000)
    )
    info = _element(0x1549A966, _element(0x2AD7B1, (1_000_000).to_bytes(3, "big")))
    head = _element(0x1A45DFA3, _element(0x4282, b"webm"))
    return head + _element(0x18538067, info + clusters, unknown=True)


def mp4(ms: int = 1_000) -> bytes:
    def box(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", 8 + len(body)) + name + body

    mvhd = box(b"mvhd", b"\x00" * 12 + struct.pack(">II", 1_000, ms) + b"\x00" * 80)
    return box(b"ftyp", b"M4A \x00\x00\x00\x00") + box(b"moov", mvhd) + box(b"mdat", b"x" * 100)


ALL = {
    "audio/wav": wav,
    "audio/ogg": opus,
    "audio/amr": amr,
    "audio/silk": silk,
    "audio/webm": webm,
    "audio/mp4": mp4,
}
