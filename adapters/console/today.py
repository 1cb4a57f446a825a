"""The staff's first page: what has to be done today, most urgent first."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from aiohttp import web
from jinja2 import Environment

from adapters.console.ports import StaffTask, Worklist
from adapters.console.session import Doorkeeper, Visit, is_own_form
from adapters.console.settings import ConsoleSettings
from adapters.http.failures import Refusal
from adapters.http.forms import read_form
from adapters.http.language import Texts, is_large, language_of, remember_preferences, texts_in
from adapters.http.pages import html
from core.clock import Clock

PAGES = ("/console", "/console/recalls", "/console/attendance")
_SHOWN = 200
_LONGEST_NOTE = 2_000
_MINUTE_MS = 60_000


class Today:
    """Serves ``/console`` and what its buttons do."""

    def __init__(
        self,
        *,
        settings: ConsoleSettings,
        worklist: Worklist,
        doorkeeper: Doorkeeper,
        templates: Environment,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._worklist = worklist
        self._doorkeeper = doorkeeper
        self._page = templates.get_template("today.html")
        self._clock = clock
        self._zone = ZoneInfo(settings.timezone)

    async def get(self, request: web.Request) -> web.StreamResponse:
        """Show the open tasks."""
        visit = await self._doorkeeper.visit(request)
        if visit is None:
            raise web.HTTPSeeOther("/console/login")
        return await self._draw(request, visit)

    async def tasks(self, request: web.Request) -> web.StreamResponse:
        """Return the list alone, for the page that is open; 401 when the session has run out."""
        visit = await self._doorkeeper.visit(request)
        if visit is None:
            raise web.HTTPUnauthorized
        return await self._draw(request, visit, only_tasks=True)

    async def claim(self, request: web.Request) -> web.StreamResponse:
        """Take a task."""
        visit, fields = await self._own_form(request)
        taken = await self._worklist.claim(
            task_id(fields), by=visit.staff.staff_id, at_ms=self._clock.now_ms()
        )
        return await self._done(request, visit, "" if taken else "console.today.taken")

    async def close(self, request: web.Request) -> web.StreamResponse:
        """Close a task with a note of what was done."""
        visit, fields = await self._own_form(request)
        closed = await self._worklist.close(
            task_id(fields),
            by=visit.staff.staff_id,
            note=fields.get("note", "").strip()[:_LONGEST_NOTE],
            at_ms=self._clock.now_ms(),
        )
        return await self._done(request, visit, "" if closed else "console.today.closed")

    async def preferences(self, request: web.Request) -> web.StreamResponse:
        """Remember language and text size."""
        fields = await read_form(request)
        page = fields.get("page", "")
        redirect = web.HTTPSeeOther(page if page in PAGES else PAGES[0])
        remember_preferences(
            redirect,
            language=fields.get("language"),
            size=fields.get("size"),
            secure=request.secure,
        )
        raise redirect

    async def _own_form(self, request: web.Request) -> tuple[Visit, dict[str, str]]:
        return await own_form(self._doorkeeper, request)

    async def _done(
        self, request: web.Request, visit: Visit, notice_key: str
    ) -> web.StreamResponse:
        if notice_key:
            return await self._draw(request, visit, notice_key=notice_key, status=409)
        raise web.HTTPSeeOther("/console")

    async def _draw(
        self,
        request: web.Request,
        visit: Visit,
        *,
        only_tasks: bool = False,
        notice_key: str = "",
        status: int = 200,
    ) -> web.Response:
        language = language_of(request)
        say = texts_in(language)
        tasks = await self._worklist.open_tasks(limit=_SHOWN)
        page = self._page.render(
            t=say,
            language=language,
            large=is_large(request),
            staff_id=visit.staff.staff_id,
            staff_name=visit.staff.staff_name,
            form_token=visit.form_token,
            rows=[self._row(task, say) for task in tasks],
            is_cut=len(tasks) == _SHOWN,
            counts=await self._worklist.counts(),
            notice=say(notice_key) if notice_key else "",
            only_tasks=only_tasks,
            page=PAGES[0],
            refresh_s=self._settings.refresh_s,
        )
        return html(page, status=status)

    def _row(self, task: StaffTask, say: Texts) -> dict[str, object]:
        now = self._clock.now_ms()
        return {
            "task": task,
            "waits": waiting_time(now - task.opened_at_ms, say),
            "opened": self._time(task.opened_at_ms),
            "due": self._time(task.due_at_ms) if task.due_at_ms is not None else "",
            "said_at": self._time(task.patient_said_at_ms),
            "is_late": task.due_at_ms is not None and task.due_at_ms < now,
        }

    def _time(self, at_ms: int) -> str:
        return f"{datetime.fromtimestamp(at_ms / 1000, self._zone):%Y-%m-%d %H:%M}"


def waiting_time(elapsed_ms: int, say: Texts) -> str:
    """Return a waiting time in its largest fitting unit."""
    minutes = max(0, elapsed_ms // _MINUTE_MS)
    if minutes < 120:
        return say("console.today.minutes", n=minutes)
    if minutes < 48 * 60:
        return say("console.today.hours", n=minutes // 60)
    return say("console.today.days", n=minutes // (24 * 60))


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
