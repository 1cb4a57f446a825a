"""A patient's chat, and answering it in person: take over, reply, hand back."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from zoneinfo import ZoneInfo

from aiohttp import web
from jinja2 import Environment

from adapters.console.frame import frame, moment
from adapters.console.guard import note_patient, visit_of
from adapters.console.patient_desk import Entry, PatientChat, PatientDesk
from adapters.console.settings import ConsoleSettings
from adapters.console.today import waiting_time
from adapters.http.failures import Refusal
from adapters.http.forms import read_form
from adapters.http.headers import headers_with_sound
from adapters.http.language import Texts, language_of, texts_in
from adapters.http.pages import html
from adapters.webchat.render import reply_html
from core.clock import Clock
from core.store.takeover_watch import GoingOn
from core.takeover import LONGEST_REPLY, Takeovers
from core.texts import catalogue

_SHOWN = 40
TEMPLATES = "handoff.templates."


def path_number(request: web.Request, name: str) -> int:
    """Return an id from the address; one that is none is nobody's (404)."""
    value = request.match_info[name]
    if not (value.isascii() and value.isdigit() and len(value) < 19):
        raise web.HTTPNotFound
    return int(value)


def form_id_in(fields: dict[str, str]) -> str:
    """Return the id that a form was made with; one of our own making only (400)."""
    value = fields.get("form_id", "")
    if len(value) != 32 or not all(c in "0123456789abcdef" for c in value):
        raise Refusal(400)
    return value


class ConversationPage:
    """Serves ``/console/conversations/{conversation}`` and what its buttons do."""

    def __init__(
        self,
        *,
        settings: ConsoleSettings,
        desk: PatientDesk,
        takeovers: Takeovers,
        templates: Environment,
        clock: Clock,
    ) -> None:
        self._desk = desk
        self._takeovers = takeovers
        self._page = templates.get_template("conversation.html")
        self._messages = templates.get_template("messages.html")
        self._clock = clock
        self._zone = ZoneInfo(settings.timezone)

    async def get(self, request: web.Request) -> web.StreamResponse:
        """Show the chat with its newest messages, or those before ``?before=``."""
        return await self._draw(request)

    async def messages(self, request: web.Request) -> web.StreamResponse:
        """Return the messages alone, for the page that is open; 204 when there is nothing new."""
        patient_id, chat = await self._chat(request)
        note_patient(request, patient_id)
        newest = await self._desk.newest(chat.chat.conversation_id)
        going_on = await self._takeovers.of(chat.chat.conversation_id)
        # Who answers belongs to what the page shows.
        mark = f"{newest}-{going_on.id if going_on else 0}"
        if request.query.get("mark") == mark:
            return web.Response(status=204)
        entries = await self._desk.conversation(
            chat.chat.conversation_id, None, _SHOWN, language_of(request)
        )
        response = html(self._messages.render(**self._names(request, entries)))
        response.headers["X-Mark"] = mark
        return response

    async def take(self, request: web.Request) -> web.StreamResponse:
        """Take the chat over; a colleague's only when the form says whose it is."""
        patient_id, chat = await self._chat(request)
        note_patient(request, patient_id)
        fields = await read_form(request)
        staff, instead = visit_of(request).staff, fields.get("instead_of", "")
        taken = await self._takeovers.take(
            chat.chat,
            staff_id=staff.staff_id,
            name=staff.staff_name,
            instead_of=int(instead) if instead.isascii() and instead.isdigit() else None,
        )
        if taken.staff_id != staff.staff_id:
            return await self._draw(request, "record.taken_by_other", 409)
        raise self._back(chat)

    async def reply(self, request: web.Request) -> web.StreamResponse:
        """Send what was written; while a colleague has the chat it stays in the form."""
        patient_id, chat = await self._chat(request)
        note_patient(request, patient_id)
        fields = await read_form(request)
        words = fields.get("words", "").strip()
        if not words:
            return await self._draw(request, "record.empty", 400)
        if len(words) > LONGEST_REPLY:
            return await self._draw(request, "record.too_long", 413, words=words)
        staff = visit_of(request).staff
        how = await self._takeovers.reply(
            chat.chat,
            staff_id=staff.staff_id,
            name=staff.staff_name,
            words=words,
            form_id=form_id_in(fields),
        )
        if how == "not_yours":
            return await self._draw(request, "record.not_yours", 409, words=words)
        raise self._back(chat)

    async def stay(self, request: web.Request) -> web.StreamResponse:
        """Ask for more time: the patient was told to wait."""
        patient_id, chat = await self._chat(request)
        note_patient(request, patient_id)
        going_on = await self._takeovers.of(chat.chat.conversation_id)
        if going_on is not None:
            await self._takeovers.stay(going_on.id, staff_id=visit_of(request).staff.staff_id)
        raise self._back(chat)

    async def hand_back(self, request: web.Request) -> web.StreamResponse:
        """Let the assistant answer again; harmless when it does already."""
        patient_id, chat = await self._chat(request)
        note_patient(request, patient_id)
        fields = await read_form(request)
        going_on = await self._takeovers.of(chat.chat.conversation_id)
        staff = visit_of(request).staff
        if going_on is not None and str(going_on.id) == fields.get("takeover"):
            if going_on.staff_id != staff.staff_id:
                return await self._draw(request, "record.not_yours", 409)
            await self._takeovers.hand_back(chat.chat, going_on.id, name=staff.staff_name)
        raise self._back(chat)

    async def _chat(self, request: web.Request) -> tuple[int, PatientChat]:
        found = await self._desk.chat(path_number(request, "conversation"))
        if found is None:
            raise web.HTTPNotFound
        return found

    @staticmethod
    def _back(chat: PatientChat) -> web.HTTPSeeOther:
        return web.HTTPSeeOther(f"/console/conversations/{chat.chat.conversation_id}#latest")

    async def _draw(
        self, request: web.Request, notice_key: str = "", status: int = 200, *, words: str = ""
    ) -> web.Response:
        patient_id, chat = await self._chat(request)
        note_patient(request, patient_id)
        language = language_of(request)
        say = texts_in(language)
        conversation_id = chat.chat.conversation_id
        entries = await self._desk.conversation(conversation_id, _before(request), _SHOWN, language)
        going_on = await self._takeovers.of(conversation_id)
        mine = going_on is not None and going_on.staff_id == visit_of(request).staff.staff_id
        page = self._page.render(
            **frame(request, f"/console/conversations/{conversation_id}")
            | self._names(request, entries),
            notice=say(notice_key) if notice_key else "",
            patient_id=patient_id,
            chat=chat,
            conversation_id=conversation_id,
            channel=chat.chat.address.channel,
            older=entries[0].id if len(entries) == _SHOWN else None,
            is_newest=_before(request) is None,
            going_on=going_on,
            mine=mine,
            mark=f"{await self._desk.newest(conversation_id)}-{going_on.id if going_on else 0}",
            waits=self._waits(going_on, say),
            is_late=self._is_late(chat),
            form_id=secrets.token_hex(16),
            draft=words,
            longest=LONGEST_REPLY,
            # In the patient's language: it is them who read it.
            phrases=[
                text
                for key, text in catalogue(chat.chat.language).items()
                if key.startswith(TEMPLATES)
            ],
        )
        response = html(page, status=status)
        response.headers.update(headers_with_sound())
        return response

    def _names(self, request: web.Request, entries: Sequence[Entry]) -> dict[str, object]:
        return {
            "t": texts_in(language_of(request)),
            "entries": [(entry, moment(entry.at_ms, self._zone)) for entry in entries],
            "said": reply_html,
        }

    def _waits(self, going_on: GoingOn | None, say: Texts) -> str:
        if going_on is None or going_on.waiting_since_ms is None:
            return ""
        time = waiting_time(self._clock.now_ms() - going_on.waiting_since_ms, say)
        return say("console.today.waits", time=time)

    def _is_late(self, chat: PatientChat) -> bool:
        """Tell whether the platform may refuse a message now."""
        window_ms = self._takeovers.window_ms(chat.chat)
        last_ms = chat.last_at_ms or 0
        return window_ms is not None and self._clock.now_ms() - last_ms > window_ms


def _before(request: web.Request) -> int | None:
    value = request.query.get("before", "")
    return int(value) if value.isascii() and value.isdigit() and len(value) < 19 else None
