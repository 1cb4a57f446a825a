"""What kind of recording a file is, and how long it lasts, by its bytes alone. Pure.

Nothing is decoded: headers and lengths are read, and whatever does not hold together leaves the
length unknown. The claimed type and the name are never looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_OPUS_HZ = 48_000
_FRAME_MS = 20  # of AMR and SILK
_AMR_BYTES = (12, 13, 15, 17, 19, 20, 26, 31, 5, 0, 0, 0, 0, 0, 0, 0)
_AMR_WB_BYTES = (17, 23, 32, 36, 40, 46, 50, 58, 60, 5, 0, 0, 0, 0, 0, 0)
# Matroska's ids: what is walked into, and what is read.
_SEGMENT, _INFO, _CLUSTER, _GROUP = 0x18538067, 0x1549A966, 0x1F43B675, 0xA0
_SCALE, _TIMECODE, _SIMPLE_BLOCK, _BLOCK = 0x2AD7B1, 0xE7, 0xA3, 0xA1
_MOST_ELEMENTS = 50_000


@dataclass(frozen=True, slots=True)
class RecordingKind:
    """A format of recordings.

    Attributes:
        mime: its type.
        extension: of a file name, without the dot.
        plays: browsers play it; the others are opened with the phone's own player.
    """

    mime: str
    extension: str
    plays: bool


_OGG = RecordingKind("audio/ogg", "ogg", plays=True)
_WEBM = RecordingKind("audio/webm", "webm", plays=True)
_MP4 = RecordingKind("audio/mp4", "m4a", plays=True)
_WAV = RecordingKind("audio/wav", "wav", plays=True)
_MP3 = RecordingKind("audio/mpeg", "mp3", plays=True)
_AAC = RecordingKind("audio/aac", "aac", plays=True)
_FLAC = RecordingKind("audio/flac", "flac", plays=True)
_AMR = RecordingKind("audio/amr", "amr", plays=False)
_SILK = RecordingKind("audio/silk", "silk", plays=False)
_KINDS = {kind.mime: kind for kind in (_OGG, _WEBM, _MP4, _WAV, _MP3, _AAC, _FLAC, _AMR, _SILK)}
_STARTS = (
    (b"OggS", _OGG),
    (b"\x1aE\xdf\xa3", _WEBM),
    (b"#!AMR", _AMR),
    (b"#!SILK_V3", _SILK),
    (b"\x02#!SILK_V3", _SILK),  # as WeChat writes it
    (b"fLaC", _FLAC),
    (b"ID3", _MP3),
    (b"\xff\xfb", _MP3),
    (b"\xff\xf3", _MP3),
    (b"\xff\xf2", _MP3),
    (b"\xff\xf1", _AAC),
    (b"\xff\xf9", _AAC),
)


def kind_of(data: bytes) -> RecordingKind | None:
    """Return the format of a recording, or None for anything else."""
    if data[:4] == b"RIFF" and data[8:12] == b"WAVE":
        return _WAV
    if data[4:8] == b"ftyp":  # MP4, and 3GP from the recorders of older phones
        return _MP4
    return next((kind for start, kind in _STARTS if data.startswith(start)), None)


def kind_named(mime: str) -> RecordingKind | None:
    """Return the format that a stored note has."""
    return _KINDS.get(mime)


def duration_ms(data: bytes) -> int | None:
    """Return how long a recording lasts, or None when the file does not say."""
    kind = kind_of(data)
    if kind is None:
        return None
    try:
        return _read(kind, data)
    except (IndexError, ZeroDivisionError):  # cut off in the middle of a header
        return None


def _read(kind: RecordingKind, data: bytes) -> int | None:
    if kind is _OGG:
        return _ogg(data)
    if kind is _WEBM:
        return _webm(data)
    if kind is _MP4:
        return _mp4(data)
    if kind is _WAV:
        return _wav(data)
    if kind is _AMR:
        wide = data.startswith(b"#!AMR-WB\n")
        return _amr(data, 9, _AMR_WB_BYTES) if wide else _amr(data, 6, _AMR_BYTES)
    return _silk(data) if kind is _SILK else None


def _number(data: bytes, at: int, size: int, *, big: bool = False) -> int:
    piece = data[at : at + size]
    if len(piece) < size:
        raise IndexError
    return int.from_bytes(piece, "big" if big else "little")


def _ogg(data: bytes) -> int | None:
    """Read the position that the last page names, in samples."""
    samples = _number(data, data.rfind(b"OggS") + 6, 8)
    head = data[:512]
    if (at := head.find(b"OpusHead")) >= 0:
        rate, samples = _OPUS_HZ, samples - _number(data, at + 10, 2)  # what a decoder throws away
    elif (at := head.find(b"\x01vorbis")) >= 0:
        rate = _number(data, at + 12, 4)
    elif (at := head.find(b"Speex   ")) >= 0:
        rate = _number(data, at + 36, 4)
    else:
        return None
    return samples * 1000 // rate if 0 <= samples < 1 << 62 else None


def _wav(data: bytes) -> int | None:
    form, body = data.find(b"fmt ", 12, 4096), data.find(b"data", 12, 65_536)
    if form < 0 or body < 0:
        return None
    size = min(_number(data, body + 4, 4), len(data) - body - 8)
    return size * 1000 // _number(data, form + 16, 4)


def _amr(data: bytes, at: int, sizes: Sequence[int]) -> int:
    frames = 0
    while at < len(data):
        at += 1 + sizes[data[at] >> 3 & 15]
        frames += 1
    return frames * _FRAME_MS


def _silk(data: bytes) -> int:
    at, frames = data.find(b"V3") + 2, 0
    while at + 2 <= len(data) and (size := _number(data, at, 2)) != 0xFFFF:
        at += 2 + size
        frames += 1
    return frames * _FRAME_MS


def _mp4(data: bytes) -> int | None:
    """Read the film's header; a recording written in pieces says 0 there, or in `mehd`."""
    moov = _box(data, b"moov", 0, len(data))
    head = _box(data, b"mvhd", *moov) if moov else None
    if moov is None or head is None:
        return None
    wide = data[head[0]] == 1
    scale = _number(data, head[0] + (20 if wide else 12), 4, big=True)
    length = _number(data, head[0] + (24 if wide else 16), 8 if wide else 4, big=True)
    if not length and (parts := _box(data, b"mvex", *moov)):
        whole = _box(data, b"mehd", *parts)
        if whole:
            length = _number(data, whole[0] + 4, 8 if data[whole[0]] == 1 else 4, big=True)
    return length * 1000 // scale if 0 < length < 1 << 31 else None


def _box(data: bytes, name: bytes, at: int, end: int) -> tuple[int, int] | None:
    """Return where the content of the first box of this name begins and ends."""
    for _ in range(_MOST_ELEMENTS):
        if at + 8 > end:
            return None
        size, head = _number(data, at, 4, big=True), 8
        if size == 1:
            size, head = _number(data, at + 8, 8, big=True), 16
        if size == 0:
            size = end - at
        if size < head:
            return None
        if data[at + 4 : at + 8] == name:
            return at + head, min(at + size, end)
        at += size
    return None


def _webm(data: bytes) -> int | None:
    """Read the time of the last block; what a browser records says its length nowhere."""
    at, scale_ns, cluster, last = 0, 1_000_000, 0, None
    for _ in range(_MOST_ELEMENTS):
        if at >= len(data):
            break
        name, at = _vint(data, at, keep_marker=True)
        size, body = _vint(data, at)
        if name in (_SEGMENT, _INFO, _CLUSTER, _GROUP):
            at = body
            continue
        if name == _SCALE:
            scale_ns = _number(data, body, min(size or 0, 8), big=True)
        elif name == _TIMECODE:
            cluster = _number(data, body, min(size or 0, 8), big=True)
        elif name in (_SIMPLE_BLOCK, _BLOCK):
            _track, offset = _vint(data, body)
            since = int.from_bytes(data[offset : offset + 2], "big", signed=True)
            last = max(last or 0, cluster + since)
        if size is None:
            return None
        at = body + size
    return None if last is None else last * scale_ns // 1_000_000


def _vint(data: bytes, at: int, *, keep_marker: bool = False) -> tuple[int | None, int]:
    """Return a number of variable length and where it ends; None = "unknown"."""
    first = data[at]
    length = 9 - first.bit_length()
    if length > 8:
        raise IndexError
    value = _number(data, at, length, big=True)
    if keep_marker:
        return value, at + length
    value &= (1 << 7 * length) - 1
    return (None if value == (1 << 7 * length) - 1 else value), at + length
