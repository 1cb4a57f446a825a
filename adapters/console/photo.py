"""One photo: the picture, what the reader says, earlier ones, and the doctor's own grade."""

from __future__ import annotations

import secrets
from typing import Any
from zoneinfo import ZoneInfo

from aiohttp import web
from jinja2 import Environment

from adapters.console.conversation import form_id_in, path_number
from adapters.console.frame import frame, moment
from adapters.console.guard import note_patient, visit_of
from adapters.console.overlay import HEADERS as OVERLAY_HEADERS
from adapters.console.overlay import drawing, numbered
from adapters.console.patient_desk import PatientDesk, PatientPhoto, Person
from adapters.console.reading_words import ThresholdsOf, lines, quality
from adapters.console.rights import may
from adapters.console.settings import ConsoleSettings
from adapters.http.failures import Refusal
from adapters.http.forms import read_form
from adapters.http.language import language_of, texts_in
from adapters.http.pages import html
from adapters.webchat.photo import picture_type, small_copy
from core.clock import Clock
from core.ports import Shrink
from core.reply import Image
from core.takeover import Takeovers
from core.turn.reading_answer import card_alt, explain

_EARLIER = 3
_LONGEST_COMMENT = 2_000
_SMALL_BYTES = 150_000
_CONDITIONS = ("dme", "glaucoma", "amd", "pm")
_YES_NO = {"yes": True, "no": False, "": None}


class PhotoPage:
    """Serves ``/console/photos/{photo}``, its pictures and its forms."""

    def __init__(
        self,
        *,
        settings: ConsoleSettings,
        desk: PatientDesk,
        takeovers: Takeovers,
        thresholds: ThresholdsOf,
        templates: Environment,
        clock: Clock,
        shrink: Shrink | None = None,
    ) -> None:
        self._desk = desk
        self._takeovers = takeovers
        self._thresholds = thresholds
        self._page = templates.get_template("photo.html")
        self._clock = clock
        self._zone = ZoneInfo(settings.timezone)
        self._shrink = shrink

    async def get(self, request: web.Request) -> web.StreamResponse:
        """Show the photo."""
        return await self._draw(request)

    async def image(self, request: web.Request) -> web.StreamResponse:
        """Return the whole picture."""
        photo = await self._photo(request)
        return await self._picture(photo.blob)

    async def small(self, request: web.Request) -> web.StreamResponse:
        """Return a copy for a small screen."""
        photo = await self._photo(request)
        return await self._picture(photo.blob, small=True)

    async def card(self, request: web.Request) -> web.StreamResponse:
        """Return the result card."""
        photo = await self._photo(request)
        if photo.card_blob is None:
            raise web.HTTPNotFound
        return await self._picture(photo.card_blob)

    async def overlay(self, request: web.Request) -> web.StreamResponse:
        """Return the drawing of the areas that influenced the scores."""
        photo = await self._photo(request)
        areas = photo.reading.areas if photo.reading else None
        if photo.reading is None or areas is None:
            raise web.HTTPNotFound
        picture = drawing(
            photo.reading,
            areas,
            title=texts_in(language_of(request))("record.overlay_alt"),
            photo_url=f"/console/photos/{photo.id}/image",
        )
        return web.Response(body=picture.encode(), headers=OVERLAY_HEADERS)

    async def review(self, request: web.Request) -> web.StreamResponse:
        """Keep the doctor's own grade; the same form is kept once."""
        photo = await self._photo(request)
        fields = await read_form(request)
        said = _said(fields)
        comment = fields.get("comment", "").strip()[:_LONGEST_COMMENT]
        if not comment and all(value is None for value in said.values()):
            return await self._draw(request, "record.nothing_said", 400)
        await self._desk.review(
            photo,
            staff_id=visit_of(request).staff.staff_id,
            form_id=form_id_in(fields),
            at_ms=self._clock.now_ms(),
            said=said,
            comment=comment,
        )
        raise web.HTTPSeeOther(f"/console/photos/{photo.id}?said=kept#review")

    async def send(self, request: web.Request) -> web.StreamResponse:
        """Send the result to the patient's own messenger; the same form sends it once."""
        photo = await self._photo(request)
        fields = await read_form(request)
        person = await self._person(photo)
        messenger = person.messenger()
        if messenger is None or photo.reading is None:
            return await self._draw(request, "record.no_messenger", 409)
        image = None
        if photo.card_blob is not None:
            alt = card_alt(photo.reading, person.language)
            image = Image(photo.card_blob, "image/jpeg", alt)
        await self._takeovers.tell(
            messenger.chat,
            name=visit_of(request).staff.staff_name,
            words=explain(photo.reading, person.language, image=image),
            form_id=form_id_in(fields),
        )
        raise web.HTTPSeeOther(f"/console/photos/{photo.id}?said=sent")

    async def _photo(self, request: web.Request) -> PatientPhoto:
        photo = await self._desk.photo(path_number(request, "photo"))
        if photo is None:
            raise web.HTTPNotFound
        note_patient(request, photo.patient_id)
        return photo

    async def _person(self, photo: PatientPhoto) -> Person:
        person = await self._desk.person(photo.patient_id)
        if person is None:
            raise web.HTTPNotFound
        return person

    async def _picture(self, blob: str, *, small: bool = False) -> web.StreamResponse:
        data = await self._desk.picture(blob)
        if data is None:
            raise web.HTTPNotFound
        kind = picture_type(data)
        if small and len(data) > _SMALL_BYTES:
            copy = await small_copy(data, self._shrink)
            data, kind = (copy, "image/jpeg") if copy is not None else (data, kind)
        headers = {
            "Content-Type": kind or "application/octet-stream",
            "Cache-Control": "no-store",
            "Content-Security-Policy": "default-src 'none'; sandbox",
            "Content-Disposition": "inline" if kind else 'attachment; filename="photo"',
        }
        return web.Response(body=data, headers=headers)

    async def _draw(
        self, request: web.Request, notice_key: str = "", status: int = 200
    ) -> web.Response:
        photo = await self._photo(request)
        person = await self._person(photo)
        language = language_of(request)
        say = texts_in(language)
        said = {"kept": "record.review_kept", "sent": "record.sent_to_patient"}
        notice_key = notice_key or said.get(request.query.get("said", ""), "")
        limits = self._thresholds(photo.model_version)
        eyes = photo.reading.eyes() if photo.reading else ()
        areas = photo.reading.areas if photo.reading else None
        earlier = [
            each
            for each in await self._desk.photos_of(person)
            if each.id < photo.id and each.eye == photo.eye and photo.eye is not None
        ]
        page = self._page.render(
            **frame(request, f"/console/photos/{photo.id}"),
            notice=say(notice_key) if notice_key else "",
            photo=photo,
            person=person,
            at=moment(photo.at_ms, self._zone),
            quality=quality(photo.reading, say),
            has_overlay=areas is not None,
            overlaid=numbered(areas) if areas is not None else [],
            readings=[(each.eye, lines(each, say, limits)) for each in eyes],
            earlier=[
                (each, moment(each.at_ms, self._zone), lines(each.reading, say))
                for each in earlier[:_EARLIER]
            ],
            reviews=[(r, moment(r.at_ms, self._zone)) for r in photo.reviews],
            may_review=may(visit_of(request).staff.role, "doctor"),
            messenger=person.messenger(),
            conditions=_CONDITIONS,
            form_id=secrets.token_hex(16),
        )
        return html(page, status=status)


def _said(fields: dict[str, str]) -> dict[str, Any]:
    """Return what a doctor ticked; anything the form does not offer is refused (400)."""
    grade, eye = fields.get("dr_grade", ""), fields.get("eye", "")
    if grade not in ("", "0", "1", "2", "3", "4") or eye not in ("", "OD", "OS"):
        raise Refusal(400)
    said: dict[str, Any] = {"dr_grade": int(grade) if grade else None, "eye": eye or None}
    for name in ("gradable", "agrees", *_CONDITIONS):
        value = fields.get(name, "")
        if value not in _YES_NO:
            raise Refusal(400)
        said[name] = _YES_NO[value]
    return said
