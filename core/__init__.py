"""Everything between a message and its answer; knows no platform, web or inference library."""

from __future__ import annotations
