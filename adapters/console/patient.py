"""Patients: the list, and one person's timeline with eyes, summary and chats."""

from __future__ import annotations

import re
from functools import partial
from zoneinfo import ZoneInfo

from aiohttp import web
from jinja2 import Environment

from adapters.console.conversation import path_number
from adapters.console.frame import frame, moment
from adapters.console.guard import note_patient
from adapters.console.patient_desk import Cursor, PatientDesk, Person
from adapters.console.reading_words import lines
from adapters.console.settings import ConsoleSettings
from adapters.http.headers import headers_with_sound
from adapters.http.language import language_of, texts_in
from adapters.http.pages import html
from adapters.webchat.render import reply_html

_PEOPLE = 40
_ENTRIES = 30
_LABEL = re.compile(r"(?:P-?)?(\d{1,18})", re.IGNORECASE)
_NOT_DIALLED = re.compile(r"[\s().-]")
_PHONE = re.compile(r"\+?[0-9]{5,15}")


def dialled(phone: str) -> str:
    """Return a number as a phone dials it, or "" when it is none."""
    digits = _NOT_DIALLED.sub("", phone)
    return digits if _PHONE.fullmatch(digits) else ""


class PatientPage:
    """Serves ``/console/patients`` and ``/console/patients/{patient}``."""

    def __init__(
        self, *, settings: ConsoleSettings, desk: PatientDesk, templates: Environment
    ) -> None:
        self._desk = desk
        self._list = templates.get_template("patients.html")
        self._page = templates.get_template("patient.html")
        self._zone = ZoneInfo(settings.timezone)

    async def people(self, request: web.Request) -> web.StreamResponse:
        """Show the newest patients, or go to the one whose number was asked for."""
        wanted = request.query.get("number", "").strip()
        notice = ""
        match = _LABEL.fullmatch(wanted)
        if match and await self._desk.person(int(match[1])) is not None:
            raise web.HTTPSeeOther(f"/console/patients/{int(match[1])}")
        if wanted:
            notice = texts_in(language_of(request))("record.nobody", number=wanted[:24])
        before = request.query.get("before", "")
        people = await self._desk.people(
            int(before) if before.isascii() and before.isdigit() and len(before) < 19 else None,
            _PEOPLE,
        )
        note_patient(request, *(person.id for person in people))
        page = self._list.render(
            **frame(request, "/console/patients"),
            notice=notice,
            people=[(person, self._last(person)) for person in people],
            older=people[-1].id if len(people) == _PEOPLE else None,
        )
        return html(page)

    async def get(self, request: web.Request) -> web.StreamResponse:
        """Show one patient; 404 for nobody."""
        person = await self._desk.person(path_number(request, "patient"))
        if person is None:
            raise web.HTTPNotFound
        note_patient(request, person.id)
        language = language_of(request)
        say = texts_in(language)
        cursor = Cursor.read(request.query.get("before", ""))
        entries, older = await self._desk.timeline(person, cursor, _ENTRIES, language)
        eyes = await self._desk.eyes(person)
        page = self._page.render(
            **frame(request, f"/console/patients/{person.id}"),
            person=person,
            tel=dialled(person.phone),
            facts=self._desk.facts(person, language),
            eyes=[
                (eye, photo, moment(photo.at_ms, self._zone), lines(photo.reading, say))
                for eye, photo in eyes.items()
            ],
            entries=[(entry, moment(entry.at_ms, self._zone)) for entry in entries],
            older=older.written() if older else "",
            is_newest=cursor == Cursor(),
            said=reply_html,
            lines=partial(lines, say=say),
            since=moment(person.since_ms, self._zone)[:10],
        )
        response = html(page)
        response.headers.update(headers_with_sound())
        return response

    def _last(self, person: Person) -> str:
        times = [chat.last_at_ms for chat in person.chats if chat.last_at_ms]
        return moment(max(times), self._zone) if times else ""
