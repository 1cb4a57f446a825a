"""What every console page shows around its content: menu, name, language, text size."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from aiohttp import web

from adapters.console.guard import visit_of
from adapters.console.rights import menu_for
from adapters.http.failures import Refusal
from adapters.http.language import is_large, language_of, texts_in


def frame(request: web.Request, page: str) -> dict[str, object]:
    """Return the names that ``layout.html`` and ``header.html`` use.

    Args:
        request: behind the guard.
        page: path of the page in the menu, or of the one it belongs to.
    """
    visit = visit_of(request)
    language = language_of(request)
    return {
        "t": texts_in(language),
        "language": language,
        "large": is_large(request),
        "staff_name": visit.staff.staff_name,
        "form_token": visit.form_token,
        "page": page,
        "keeps": visit.phone_id is not None,
        "menu": [] if visit.staff.must_change else menu_for(visit.staff.role),
    }


def moment(at_ms: int, zone: ZoneInfo) -> str:
    """Return a moment as the clinic's calendar and clock show it."""
    return f"{datetime.fromtimestamp(at_ms / 1000, zone):%Y-%m-%d %H:%M}"


def number_in(fields: dict[str, str], name: str) -> int:
    """Return an id from a form; one that is none is refused (400)."""
    value = fields.get(name, "")
    if not (value.isascii() and value.isdigit() and len(value) < 19):
        raise Refusal(400)
    return int(value)
