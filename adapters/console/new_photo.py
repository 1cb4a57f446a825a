"""A photo of somebody at the clinic: camera or file for each eye, consent, result, print.

The photos go the way of every other photo: stored and sealed, read in a turn of a chat of their
own (channel ``console``), kept with the reading. Nothing is left on the phone by us.
"""

from __future__ import annotations

import asyncio
import secrets
from functools import partial
from zoneinfo import ZoneInfo

from aiohttp import BodyPartReader, web
from jinja2 import Environment

from adapters.console.conversation import form_id_in, path_number
from adapters.console.frame import frame, moment
from adapters.console.guard import note_patient, visit_of
from adapters.console.patient_desk import PatientDesk
from adapters.console.reading_words import lines, quality
from adapters.console.session import is_own_form
from adapters.console.settings import ConsoleSettings
from adapters.console.walk_in import NewWalkIn, WalkIns
from adapters.http.failures import Refusal
from adapters.http.language import language_of, texts_in
from adapters.http.pages import html
from adapters.http.parts import photo_too_large, read_part
from adapters.webchat.render import reply_html
from adapters.webchat.upload import BROKEN_FORM
from core.clock import Clock
from core.reading import Eye
from core.split import clean_text
from core.turn.reading_answer import explain

_FIELD_BYTES = 8 * 1024
_UPLOADS_AT_ONCE = 3  # each may hold two whole photos in memory
_UPLOAD_TIMEOUT_S = 300.0
_LOOK_AGAIN_S = 2
# A turn that takes longer has failed and waits for its next try; staff may come back later.
_SOON_MS = 5 * 60_000
_EYES: tuple[Eye, ...] = ("OD", "OS")


class NewPhotoPage:
    """Serves ``/console/new-photo`` and the page of its result."""

    def __init__(
        self,
        *,
        settings: ConsoleSettings,
        desk: PatientDesk,
        walk_ins: WalkIns,
        max_bytes: int,
        templates: Environment,
        clock: Clock,
    ) -> None:
        self._desk = desk
        self._walk_ins = walk_ins
        self._max_bytes = max_bytes
        self._form = templates.get_template("new_photo.html")
        self._result = templates.get_template("result.html")
        self._clock = clock
        self._zone = ZoneInfo(settings.timezone)
        self._slots = asyncio.Semaphore(_UPLOADS_AT_ONCE)
        self._too_large = partial(photo_too_large, max_bytes)

    async def get(self, request: web.Request) -> web.StreamResponse:
        """Show the form; ``?patient=`` takes the photos for somebody we know."""
        return await self._draw(request, {"patient": request.query.get("patient", "")})

    async def post(self, request: web.Request) -> web.StreamResponse:
        """Store the photos and go to their result; the same form is one visit."""
        if not request.content_type.startswith("multipart/form-data"):
            raise web.HTTPUnsupportedMediaType
        if (request.content_length or 0) > 2 * self._max_bytes + 10 * _FIELD_BYTES:
            raise self._too_large()
        try:
            async with asyncio.timeout(_UPLOAD_TIMEOUT_S), self._slots:
                fields, files = await self._read(request)
        except TimeoutError as error:
            raise Refusal(408) from error
        except BROKEN_FORM as error:
            raise Refusal(400) from error
        if not is_own_form(visit_of(request), fields.get("form_token", "")):
            raise Refusal(403)
        wrong = ""
        if fields.get("consent") != "yes":
            wrong = "record.consent_first"
        elif not files:
            wrong = "record.no_photo"
        if wrong:
            return await self._draw(request, fields, wrong, 400)
        patient = fields.get("patient", "")
        visit = await self._walk_ins.begin(
            NewWalkIn(
                form_id_in(fields),
                int(patient) if patient.isascii() and patient.isdigit() else None,
                fields.get("name", "").strip()[:80],
                fields.get("phone", "").strip()[:40],
                "en" if fields.get("language") == "en" else "zh-Hans",
                files,
            )
        )
        if visit is None:
            raise Refusal(400)
        found = await self._desk.chat(visit)
        if found is not None:
            note_patient(request, found[0])
        raise web.HTTPSeeOther(f"/console/results/{visit}")

    async def result(self, request: web.Request) -> web.StreamResponse:
        """Show the result, or that it is being made; the page looks again by itself."""
        visit = path_number(request, "visit")
        found = await self._desk.chat(visit)
        if found is None or found[1].is_messenger:
            raise web.HTTPNotFound
        note_patient(request, found[0])
        person = await self._desk.person(found[0])
        if person is None:
            raise web.HTTPNotFound
        language = language_of(request)
        say = texts_in(language)
        # Asked first: what is ready in between is shown, and looked at once more.
        is_busy = await self._desk.is_busy(visit)
        photos = [p for p in await self._desk.photos_of(person) if p.conversation_id == visit]
        photos.sort(key=lambda p: (p.eye or "Z", p.id))
        began_ms = found[1].last_at_ms or 0
        page = self._result.render(
            **frame(request, f"/console/results/{visit}"),
            person=person,
            at=moment(began_ms, self._zone),
            is_busy=is_busy,
            refused=await self._refused(visit) if not (photos or is_busy) else [],
            photos=[
                (
                    photo,
                    quality(photo.reading, say),
                    lines(photo.reading, say),
                    # What the person takes home, in the language they asked for.
                    reply_html(explain(photo.reading, person.language)) if photo.reading else "",
                )
                for photo in photos
            ],
            messenger=person.messenger(),
            form_id=secrets.token_hex(16),
        )
        response = html(page)
        if is_busy and self._clock.now_ms() - began_ms < _SOON_MS:
            response.headers["Refresh"] = str(_LOOK_AGAIN_S)
        return response

    async def _refused(self, visit: int) -> list[object]:
        """Return what was said about files that were no pictures."""
        said = await self._desk.conversation(visit, None, 10, "zh-Hans")
        return [reply_html(entry.reply) for entry in said if entry.reply is not None]

    async def _draw(
        self, request: web.Request, fields: dict[str, str], notice_key: str = "", status: int = 200
    ) -> web.Response:
        say = texts_in(language_of(request))
        number = fields.get("patient", "")
        known = number.isascii() and number.isdigit() and len(number) < 19
        person = await self._desk.person(int(number)) if known else None
        if person is not None:
            note_patient(request, person.id)
        page = self._form.render(
            **frame(request, "/console/new-photo"),
            notice=say(notice_key) if notice_key else "",
            person=person,
            fields=fields,
            eyes=_EYES,
            form_id=secrets.token_hex(16),
        )
        return html(page, status=status)

    async def _read(self, request: web.Request) -> tuple[dict[str, str], dict[Eye, bytes]]:
        fields: dict[str, str] = {}
        files: dict[Eye, bytes] = {}
        async for part in await request.multipart():
            if not isinstance(part, BodyPartReader):  # multipart inside multipart
                raise Refusal(400)
            eye = _eye_of_part(part.name or "")
            if eye is not None:
                data = await read_part(part, self._max_bytes, too_large=self._too_large)
                if data:
                    files.setdefault(eye, data)  # camera first, else a file
            elif len(fields) < 12:
                value = await read_part(part, _FIELD_BYTES, too_large=self._too_large)
                fields.setdefault(part.name or "", clean_text(value.decode("utf-8", "replace")))
            else:
                raise Refusal(400)
        return fields, files


def _eye_of_part(name: str) -> Eye | None:
    for eye in _EYES:
        if name in (f"camera_{eye}", f"file_{eye}"):
            return eye
    return None
