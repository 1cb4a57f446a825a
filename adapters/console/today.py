"""The staff's first page: what has to be done today, most urgent first."""

from __future__ import annotations

import hashlib
import re
from zoneinfo import ZoneInfo

from aiohttp import web
from jinja2 import Environment

from adapters.console.frame import frame, moment
from adapters.console.guard import visit_of
from adapters.console.live import SHOWN
from adapters.console.ports import Counts, StaffTask, Worklist
from adapters.console.session import Doorkeeper, Visit, is_own_form
from adapters.console.settings import ConsoleSettings
from adapters.http.failures import Refusal
from adapters.http.forms import read_form
from adapters.http.language import Texts, language_of, remember_preferences, texts_in
from adapters.http.pages import html
from core.clock import Clock
from core.message import Language

PAGES = ("/console", "/console/recalls", "/console/attendance")
_OWN_PAGE = re.compile(r"/console(/[\w-]+)*")
_LONGEST_NOTE = 2_000
_NOT_DIALLED = re.compile(r"[\s().-]")
_PHONE = re.compile(r"\+?[0-9]{5,15}")
_MINUTE_MS = 60_000


class Today:
    """Serves ``/console`` and what its buttons do; draws the rows for `LiveToday`."""

    def __init__(
        self,
        *,
        settings: ConsoleSettings,
        worklist: Worklist,
        templates: Environment,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._worklist = worklist
        self._page = templates.get_template("today.html")
        self._list = templates.get_template("tasks.html")
        self._one = templates.get_template("task.html")
        self._figures = templates.get_template("counts.html")
        self._clock = clock
        self._zone = ZoneInfo(settings.timezone)

    async def get(self, request: web.Request) -> web.StreamResponse:
        """Show the open tasks."""
        return await self._draw(request)

    async def tasks(self, request: web.Request) -> web.StreamResponse:
        """Return the list alone, for the page that is open."""
        language = language_of(request)
        names = await self._names(language, visit_of(request).form_token)
        return html(self._list.render(names))

    async def claim(self, request: web.Request) -> web.StreamResponse:
        """Take a task."""
        fields = await read_form(request)
        taken = await self._worklist.claim(
            task_id(fields), by=visit_of(request).staff.staff_id, at_ms=self._clock.now_ms()
        )
        return await self._done(request, "" if taken else "console.today.taken")

    async def close(self, request: web.Request) -> web.StreamResponse:
        """Close a task with a note of what was done."""
        fields = await read_form(request)
        closed = await self._worklist.close(
            task_id(fields),
            by=visit_of(request).staff.staff_id,
            note=fields.get("note", "").strip()[:_LONGEST_NOTE],
            at_ms=self._clock.now_ms(),
        )
        return await self._done(request, "" if closed else "console.today.closed")

    async def preferences(self, request: web.Request) -> web.StreamResponse:
        """Remember language and text size."""
        fields = await read_form(request)
        page = fields.get("page", "")
        redirect = web.HTTPSeeOther(page if _OWN_PAGE.fullmatch(page) else PAGES[0])
        remember_preferences(
            redirect,
            language=fields.get("language"),
            size=fields.get("size"),
            secure=request.secure,
        )
        raise redirect

    def digest(self, task: StaffTask) -> str:
        """Return a short word that changes when the row has to be drawn anew."""
        shown = f"{task!r}{self._is_late(task)}".encode("utf-8", "replace")
        return hashlib.blake2b(shown, digest_size=6).hexdigest()

    def row(self, task: StaffTask, language: Language, form_token: str) -> str:
        """Return one row."""
        say = texts_in(language)
        return self._one.render(t=say, row=self._row(task, say), form_token=form_token)

    def counts(self, counts: Counts, language: Language) -> str:
        """Return the figures above the list."""
        return self._figures.render(t=texts_in(language), counts=counts)

    async def _done(self, request: web.Request, notice_key: str) -> web.StreamResponse:
        if notice_key:
            return await self._draw(request, notice_key=notice_key, status=409)
        raise web.HTTPSeeOther("/console")

    async def _names(self, language: Language, form_token: str) -> dict[str, object]:
        say = texts_in(language)
        tasks = await self._worklist.open_tasks(limit=SHOWN)
        return {
            "t": say,
            "form_token": form_token,
            "rows": [self._row(task, say) for task in tasks],
            "is_cut": len(tasks) == SHOWN,
            "counts": await self._worklist.counts(),
        }

    async def _draw(
        self, request: web.Request, *, notice_key: str = "", status: int = 200
    ) -> web.Response:
        language = language_of(request)
        names = await self._names(language, visit_of(request).form_token)
        page = self._page.render(
            {
                **frame(request, PAGES[0]),
                **names,
                "notice": texts_in(language)(notice_key) if notice_key else "",
                "now_ms": self._clock.now_ms(),
                "refresh_s": self._settings.refresh_s,
            }
        )
        return html(page, status=status)

    def _is_late(self, task: StaffTask) -> bool:
        return task.due_at_ms is not None and task.due_at_ms < self._clock.now_ms()

    def _row(self, task: StaffTask, say: Texts) -> dict[str, object]:
        return {
            "task": task,
            "digest": self.digest(task),
            "waits": waiting_time(self._clock.now_ms() - task.opened_at_ms, say),
            "opened": moment(task.opened_at_ms, self._zone),
            "due": moment(task.due_at_ms, self._zone) if task.due_at_ms is not None else "",
            "said_at": moment(task.patient_said_at_ms, self._zone),
            "is_late": self._is_late(task),
            "tel": dialled(task.phone),
            "messages": [
                (say(f"console.author.{m.author}"), moment(m.at_ms, self._zone), m.text or "…")
                for m in task.messages
            ],
        }


def waiting_time(elapsed_ms: int, say: Texts) -> str:
    """Return a waiting time in its largest fitting unit."""
    minutes = max(0, elapsed_ms // _MINUTE_MS)
    if minutes < 120:
        return say("console.today.minutes", n=minutes)
    if minutes < 48 * 60:
        return say("console.today.hours", n=minutes // 60)
    return say("console.today.days", n=minutes // (24 * 60))


def dialled(phone: str) -> str:
    """Return a number as a ``tel:`` link takes it, or "" when it is none."""
    digits = _NOT_DIALLED.sub("", phone)
    return digits if _PHONE.fullmatch(digits) else ""


async def own_form(doorkeeper: Doorkeeper, request: web.Request) -> tuple[Visit, dict[str, str]]:
    """Return who posted a form of our own, and its fields.

    Raises:
        HTTPSeeOther: nobody is logged in.
        Refusal: the form was not drawn for this session (403).
    """
    visit = await doorkeeper.visit(request)
    if visit is None:
        raise web.HTTPSeeOther("/console/login")
    fields = await read_form(request)
    if not is_own_form(visit, fields.get("form_token", "")):
        raise Refusal(403)
    return visit, fields


def task_id(fields: dict[str, str]) -> int:
    """Return the task a form is about; a form without one is refused (400)."""
    value = fields.get("task", "")
    if not (value.isascii() and value.isdigit() and len(value) < 19):
        raise Refusal(400)
    return int(value)
