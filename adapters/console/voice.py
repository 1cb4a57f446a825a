"""One voice note: the player, and what staff heard in it."""

from __future__ import annotations

import secrets
from zoneinfo import ZoneInfo

from aiohttp import web
from jinja2 import Environment

from adapters.console.conversation import form_id_in, path_number
from adapters.console.frame import frame, moment
from adapters.console.guard import note_patient, visit_of
from adapters.console.settings import ConsoleSettings
from adapters.console.voice_desk import VoiceDesk, VoiceNote
from adapters.http.forms import read_form
from adapters.http.headers import headers_with_sound
from adapters.http.language import language_of, texts_in
from adapters.http.pages import html
from adapters.http.recordings import recording_response
from core.clock import Clock

LONGEST_HEARING = 4_000


class VoicePage:
    """Serves ``/console/voices/{voice}``, its recording and its form."""

    def __init__(
        self,
        *,
        settings: ConsoleSettings,
        desk: VoiceDesk,
        templates: Environment,
        clock: Clock,
    ) -> None:
        self._desk = desk
        self._page = templates.get_template("voice.html")
        self._clock = clock
        self._zone = ZoneInfo(settings.timezone)

    async def get(self, request: web.Request) -> web.StreamResponse:
        """Show the note."""
        return await self._draw(request)

    async def audio(self, request: web.Request) -> web.StreamResponse:
        """Return the recording, whole or the part a player asks for."""
        note = await self._note(request)
        data = await self._desk.audio(note)
        if data is None:
            raise web.HTTPNotFound
        return recording_response(request, data, name=f"voice-{note.id}")

    async def heard(self, request: web.Request) -> web.StreamResponse:
        """Keep what was heard; the same form is kept once."""
        note = await self._note(request)
        fields = await read_form(request)
        words = fields.get("words", "").strip()
        if not words:
            return await self._draw(request, "record.empty", 400)
        if len(words) > LONGEST_HEARING:
            return await self._draw(request, "record.too_long", 413, words=words)
        await self._desk.hear(
            note,
            staff_id=visit_of(request).staff.staff_id,
            form_id=form_id_in(fields),
            at_ms=self._clock.now_ms(),
            words=words,
        )
        raise web.HTTPSeeOther(f"/console/voices/{note.id}?said=kept#heard")

    async def _note(self, request: web.Request) -> VoiceNote:
        number = path_number(request, "voice")
        note = await self._desk.voice(number, language_of(request))
        if note is None:
            raise web.HTTPNotFound
        note_patient(request, note.patient_id)
        return note

    async def _draw(
        self, request: web.Request, notice_key: str = "", status: int = 200, *, words: str = ""
    ) -> web.Response:
        note = await self._note(request)
        say = texts_in(language_of(request))
        if not notice_key and request.query.get("said") == "kept":
            notice_key = "record.review_kept"
        page = self._page.render(
            **frame(request, f"/console/voices/{note.id}"),
            notice=say(notice_key) if notice_key else "",
            note=note,
            at=moment(note.at_ms, self._zone),
            hearings=[(each, moment(each.at_ms, self._zone)) for each in note.hearings],
            form_id=secrets.token_hex(16),
            longest=LONGEST_HEARING,
            draft=words,
        )
        response = html(page, status=status)
        response.headers.update(headers_with_sound())
        return response
