"""Ports for servers that must be known before they listen, or that come back where they were."""

from __future__ import annotations

import random
import socket
from pathlib import Path

_LOWEST = 10_000
_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


def free_port() -> int:
    """Return a free port of loopback that the system gives to nobody who asks for just any.

    What the system gives away may be given to a connection of another test in the meantime.
    """
    given_away_from = int(_RANGE.read_text().split()[0]) if _RANGE.exists() else 32_768
    choices = range(_LOWEST, max(given_away_from, _LOWEST + 1))
    for port in random.SystemRandom().sample(choices, min(100, len(choices))):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError("no free port")
