"""The program: settings, command line, wiring, start and stop. No logic."""

from __future__ import annotations
