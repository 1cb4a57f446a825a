"""Opens files that strangers sent: decoded pixels, upright, and nothing else about anybody."""

from __future__ import annotations

from models.fundus.intake.decoding import clean_jpeg, decode
from models.fundus.intake.photo import Format, Photo, Pixels, sniff

__all__ = ["Format", "Photo", "Pixels", "clean_jpeg", "decode", "sniff"]
