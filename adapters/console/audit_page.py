"""Who saw and did what, for admins: newest first, by patient or by member of staff."""

from __future__ import annotations

from functools import partial
from zoneinfo import ZoneInfo

from aiohttp import web
from jinja2 import Environment

from adapters.console.frame import frame, moment
from adapters.console.settings import ConsoleSettings
from adapters.console.staff_ports import Audit, StaffAccounts
from adapters.http.language import language_of
from adapters.http.pages import html
from core.message import Language
from core.texts import catalogue

_PAGE = "/console/audit"
_SHOWN = 50


class AuditPage:
    """Serves ``/console/audit``."""

    def __init__(
        self,
        *,
        settings: ConsoleSettings,
        audit: Audit,
        accounts: StaffAccounts,
        templates: Environment,
    ) -> None:
        self._audit = audit
        self._accounts = accounts
        self._page = templates.get_template("audit.html")
        self._zone = ZoneInfo(settings.timezone)

    async def get(self, request: web.Request) -> web.StreamResponse:
        """Show a page of rows; a filter that is no number is as none."""
        patient = _number(request.query.get("patient", "").strip().upper().removeprefix("P-"))
        staff = _number(request.query.get("staff"))
        lines = await self._audit.lines(
            before=_number(request.query.get("before")),
            limit=_SHOWN + 1,
            patient_id=patient,
            staff_id=staff,
        )
        shown = lines[:_SHOWN]
        page = self._page.render(
            **frame(request, _PAGE),
            lines=[(line, moment(line.at_ms, self._zone)) for line in shown],
            older=shown[-1].id if len(lines) > _SHOWN else None,
            words=partial(_words, language_of(request)),
            patient=patient,
            staff=staff,
            members=await self._accounts.members(),
        )
        return html(page)


def _number(value: str | None) -> int | None:
    return int(value) if value and value.isascii() and value.isdigit() and len(value) < 19 else None


def _words(language: Language, what: str) -> str:
    """Return what was done in words; a row of a newer version shows its own word."""
    return catalogue(language).get(f"console.audit.{what}", what)
