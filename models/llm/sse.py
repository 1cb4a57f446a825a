"""Reads server-sent events from bytes that arrive cut anywhere."""

from __future__ import annotations


class SseReader:
    """Turns chunks of bytes into event payloads; only `data` fields matter to us.

    Lines may end in LF, CR or CRLF, as the standard says; an event may have several data lines.
    """

    def __init__(self, *, limit_bytes: int = 1 << 20) -> None:
        self._limit_bytes = limit_bytes
        self._rest = b""
        self._data: list[bytes] = []
        self._size_bytes = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the payloads of the events that `chunk` completes.

        Raises:
            ValueError: one event is larger than the limit.
        """
        buffer = self._rest + chunk if self._rest else chunk
        # A CR at the very end may be the first half of CRLF, so it waits for the next chunk.
        end = max(buffer.rfind(b"\n"), buffer.rfind(b"\r", 0, len(buffer) - 1)) + 1
        self._rest = buffer[end:]
        events: list[bytes] = []
        for line in buffer[:end].splitlines():
            if not line:
                self._finish(events)
            elif line.startswith(b"data"):
                self._add(line)
        if len(self._rest) + self._size_bytes > self._limit_bytes:
            raise ValueError(f"an event is larger than {self._limit_bytes} bytes")
        return events

    def close(self) -> list[bytes]:
        """Return what is complete at the end of the stream though no empty line followed."""
        events: list[bytes] = []
        line, self._rest = self._rest.rstrip(b"\r"), b""
        if line.startswith(b"data"):
            self._add(line)
        self._finish(events)
        return events

    def _add(self, line: bytes) -> None:
        if line.startswith(b"data:"):
            data = line[6:] if line.startswith(b"data: ") else line[5:]
        elif line == b"data":
            data = b""
        else:
            return
        self._data.append(data)
        self._size_bytes += len(data) + 1

    def _finish(self, events: list[bytes]) -> None:
        if self._data:
            events.append(b"\n".join(self._data) if len(self._data) > 1 else self._data[0])
            self._data = []
            self._size_bytes = 0
