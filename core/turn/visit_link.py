"""The link to a booked visit's page, said after the booking."""

from __future__ import annotations

from datetime import date

from core.followup.visit_file import Fingerprints, visit_token
from core.message import Language
from core.reply import Link, Paragraph, Reply, Text
from core.texts import text


def visit_link(
    keys: Fingerprints, conversation_id: int, day: date, *, public_url: str, language: Language
) -> Reply:
    """Return the reply with the link of the chat's booked visit on `day`.

    Args:
        keys: sign the link.
        conversation_id: whose visit.
        day: of the visit; the link works until a week after it.
        public_url: where patients reach this service's pages, without a slash at its end.
        language: the patient's.
    """
    url = f"{public_url.rstrip('/')}/visit/{visit_token(keys, conversation_id, day)}"
    said = text(language, "visit.link")
    return Reply("plan", (Paragraph((Text(said), Link(url, url))),))
