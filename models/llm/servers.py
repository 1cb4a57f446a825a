"""Which of several equal servers gets the next call."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from zlib import crc32

# A server that answers its health probe but fails three calls in a row is left alone for a while;
# the pause doubles up to a minute, and one call then tries it again.
_FAILURES_TO_OPEN = 3
_FIRST_PAUSE_S = 5.0
_LONGEST_PAUSE_S = 60.0


@dataclass(slots=True, eq=False)
class Server:
    """One server and what we know about it.

    Attributes:
        url: address without ``/v1``.
        in_flight: our calls it is answering now.
        is_reachable: by the last probe or connection; None = not tried yet.
        model: the name it serves, or None while unknown.
        failures: calls failed in a row.
        closed_until_s: monotonic time before which it gets no call.
    """

    url: str
    in_flight: int = 0
    is_reachable: bool | None = None
    model: str | None = None
    failures: int = 0
    closed_until_s: float = field(default=0.0)


class Servers:
    """The servers in the order of the configuration."""

    def __init__(
        self, urls: Sequence[str], *, model: str | None, now_s: Callable[[], float] = time.monotonic
    ) -> None:
        self.all = tuple(Server(url, model=model) for url in urls)
        self._now_s = now_s

    def usable(self) -> list[Server]:
        """Return the servers worth a call now."""
        now_s = self._now_s()
        return [
            s
            for s in self.all
            if s.is_reachable is not False
            and s.closed_until_s <= now_s
            # after a pause a single call goes first
            and (s.failures < _FAILURES_TO_OPEN or s.in_flight == 0)
        ]

    def choose(self, affinity: str, tried: Collection[Server] = ()) -> Server | None:
        """Return the usable server with the fewest calls in flight, or None.

        Among equals the same `affinity` gets the same server, for its prefix cache, and other
        keys move only when a server comes or goes (rendezvous hashing).
        """
        return min(
            (s for s in self.usable() if s not in tried),
            key=lambda s: (s.in_flight, crc32(f"{affinity}@{s.url}".encode())),
            default=None,
        )

    def succeeded(self, server: Server) -> None:
        """Note a good answer."""
        server.failures = 0
        server.closed_until_s = 0.0
        server.is_reachable = True

    def failed(self, server: Server, *, unreachable: bool) -> None:
        """Note a failed call; an unreachable server waits for its next good probe."""
        if unreachable:
            server.is_reachable = False
            return
        server.failures += 1
        if server.failures >= _FAILURES_TO_OPEN:
            doublings = min(server.failures - _FAILURES_TO_OPEN, 8)
            pause_s = min(_FIRST_PAUSE_S * 2**doublings, _LONGEST_PAUSE_S)
            server.closed_until_s = self._now_s() + pause_s
