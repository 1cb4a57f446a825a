"""The clinic's own settings: name, hours, quiet time, intervals, wordings. For admins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol
from zoneinfo import ZoneInfo

from aiohttp import web
from jinja2 import Environment

from adapters.console.frame import frame, moment
from adapters.console.guard import note_subject, visit_of
from adapters.console.settings import ConsoleSettings
from adapters.http.failures import Refusal
from adapters.http.forms import read_form
from adapters.http.language import Texts, language_of, texts_in
from adapters.http.pages import html
from core.clinic import NAMES, Unusable, check, text_names
from core.clock import Clock
from core.followup.intervals import table
from core.store.settings import Change, Stored
from core.texts import catalogue

_PAGE = "/console/settings"


class ClinicBook(Protocol):
    """The clinic's settings."""

    async def values(self) -> Mapping[str, Stored]:
        """Return every setting that was ever changed."""
        ...

    async def change(self, change: Change) -> bool:
        """Keep a checked value and use it at once; False when it was changed meanwhile."""
        ...


class SettingsPage:
    """Serves ``/console/settings``; every field is a form of its own."""

    def __init__(
        self,
        *,
        settings: ConsoleSettings,
        book: ClinicBook,
        templates: Environment,
        clock: Clock,
    ) -> None:
        self._book = book
        self._page = templates.get_template("settings.html")
        self._clock = clock
        self._zone = ZoneInfo(settings.timezone)

    async def get(self, request: web.Request) -> web.StreamResponse:
        """Show what is set."""
        return await self._draw(request)

    async def post(self, request: web.Request) -> web.StreamResponse:
        """Change one setting; an empty value goes back to the configuration."""
        fields = await read_form(request)
        name = fields.get("name", "")
        value = "\n".join(line.rstrip() for line in fields.get("value", "").splitlines()).strip()
        version = fields.get("version", "")
        if not (version.isascii() and version.isdigit() and len(version) < 9):
            raise Refusal(400)
        try:
            check(name, value)
        except Unusable as error:
            why = texts_in(language_of(request))(error.key, **error.fields)
            return await self._draw(request, f"{why} {error.detail}".strip(), 400, typed=fields)
        note_subject(request, name)
        by = visit_of(request).staff.staff_id
        change = Change(name, value, int(version), by, self._clock.now_ms())
        if not await self._book.change(change):
            why = texts_in(language_of(request))("console.settings.meanwhile")
            return await self._draw(request, why, 409, typed=fields)
        raise web.HTTPSeeOther(f"{_PAGE}?done=1")

    async def _draw(
        self,
        request: web.Request,
        notice: str = "",
        status: int = 200,
        *,
        typed: Mapping[str, str] | None = None,
    ) -> web.Response:
        language = language_of(request)
        say = texts_in(language)
        if not notice and request.query.get("done"):
            notice = say("console.settings.done")
        stored = await self._book.values()
        page = self._page.render(
            **frame(request, _PAGE),
            notice=notice,
            fields=[self._field(name, "", stored, say, typed) for name in NAMES],
            texts=[
                self._field(name, catalogue(each)[key], stored, say, typed)
                for name, each, key in text_names()
            ],
            table=table(),
        )
        return html(page, status=status)

    def _field(
        self,
        name: str,
        shipped: str,
        stored: Mapping[str, Stored],
        say: Texts,
        typed: Mapping[str, str] | None,
    ) -> dict[str, object]:
        now = stored.get(name)
        value = now.value if now else ""
        if typed and typed.get("name") == name:
            value = typed.get("value", "")
        changed = ""
        if now:
            at = moment(now.changed_at_ms, self._zone)
            changed = say("console.settings.changed", name=now.by, time=at)
        return {
            "name": name,
            "id": name.replace(".", "-"),
            "value": value,
            "shipped": shipped,
            "version": now.version if now else 0,
            "changed": changed,
        }
