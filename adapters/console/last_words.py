"""What was said last, as a task shows it."""

from __future__ import annotations

from typing import Any

from adapters.console.recall_ports import Said
from core.reply import from_json, plain_text
from core.store.history import PATIENT_BODY, SERVICE_BODY
from core.store.keyring import Keyring

_LONGEST_SHOWN = 600


def said(keys: Keyring, row: dict[str, Any]) -> Said:
    """Open one row of `core.store.recall.last_messages`; long words are cut."""
    if row["author"] == "patient":
        words = keys.open_json(PATIENT_BODY, row["body_sealed"])["text"]
    else:
        words = plain_text(from_json(keys.open_json(SERVICE_BODY, row["body_sealed"])))
    cut = words if len(words) <= _LONGEST_SHOWN else words[:_LONGEST_SHOWN] + "…"
    return Said(row["author"], row["at_ms"], cut)
