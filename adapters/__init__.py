"""The outside world: one folder a channel. Wire types stop here."""

from __future__ import annotations
