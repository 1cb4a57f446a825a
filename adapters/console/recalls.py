"""The list of people to call, and what came of each call."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path
from uuid import UUID, uuid4, uuid5
from zoneinfo import ZoneInfo

from aiohttp import web
from jinja2 import Environment

from adapters.console.frame import frame
from adapters.console.recall_ports import Recalls, RecallTask
from adapters.console.session import Doorkeeper, Visit
from adapters.console.settings import ConsoleSettings
from adapters.console.today import PAGES, dialled, own_form, task_id
from adapters.http.failures import Refusal
from adapters.http.language import language_of, texts_in
from adapters.http.pages import html, wants_json
from core.clock import Clock
from core.message import Language
from core.store.recall import OUTCOMES, Outcome
from core.texts import catalogue

_SHOWN = 100
_LONGEST_NOTE = 2_000
_HOUR_S = 3_600
# What waited longer on a phone is written down as of now.
_LONGEST_WAIT_S = 72 * _HOUR_S
# Read by `worker.js`: for how many seconds it may show this page without a line.
_KEEP = "X-Keep-S"
_WORKER = Path(__file__).parent / "static" / "worker.js"


class RecallPage:
    """Serves ``/console/recalls`` and what its buttons do."""

    def __init__(
        self,
        *,
        settings: ConsoleSettings,
        recalls: Recalls,
        doorkeeper: Doorkeeper,
        templates: Environment,
        clock: Clock,
    ) -> None:
        self._recalls = recalls
        self._doorkeeper = doorkeeper
        self._page = templates.get_template("recalls.html")
        self._clock = clock
        self._zone = ZoneInfo(settings.timezone)
        self._keep_s = settings.offline_hours * _HOUR_S
        self._worker = _WORKER.read_text("utf-8")

    async def worker(self, request: web.Request) -> web.StreamResponse:
        """Return the script that keeps the list; at an address of its own, which sets its reach."""
        return web.Response(text=self._worker, content_type="text/javascript", charset="utf-8")

    async def get(self, request: web.Request) -> web.StreamResponse:
        """Show who is to be called."""
        visit = await self._doorkeeper.visit(request)
        if visit is None:
            raise web.HTTPSeeOther("/console/login")
        return await self._draw(request, visit)

    async def claim(self, request: web.Request) -> web.StreamResponse:
        """Take a task."""
        visit, fields = await own_form(self._doorkeeper, request)
        taken = await self._recalls.claim(
            task_id(fields), by=visit.staff.staff_id, at_ms=self._clock.now_ms()
        )
        return await self._done(request, visit, "" if taken else "console.today.taken")

    async def note(self, request: web.Request) -> web.StreamResponse:
        """Write down a try; the task stays."""
        visit, fields = await own_form(self._doorkeeper, request)
        noted = await self._recalls.note(
            task_id(fields),
            by=visit.staff.staff_id,
            name=visit.staff.staff_name,
            words=_words(fields),
            at_ms=self._written_ms(fields),
            form_id=_form_id(fields, "note"),
        )
        return await self._done(request, visit, "" if noted else "console.today.closed")

    async def close(self, request: web.Request) -> web.StreamResponse:
        """Close a task with its outcome."""
        visit, fields = await own_form(self._doorkeeper, request)
        closed = await self._recalls.finish(
            task_id(fields),
            by=visit.staff.staff_id,
            name=visit.staff.staff_name,
            outcome=_outcome(fields),
            plan_id=task_id({"task": fields["plan"]}) if fields.get("plan") else None,
            day=self._day(fields),
            words=_words(fields),
            at_ms=self._written_ms(fields),
            form_id=_form_id(fields, "close"),
        )
        return await self._done(request, visit, "" if closed else "console.today.closed")

    def _written_ms(self, fields: dict[str, str]) -> int:
        """Return when it was written: a phone without a line says how many seconds it waited."""
        waited = fields.get("waited_s", "")
        is_number = waited.isascii() and waited.isdigit() and len(waited) < 9
        waited_s = int(waited) if is_number else 0
        return self._clock.now_ms() - 1000 * waited_s * (waited_s <= _LONGEST_WAIT_S)

    def _today(self) -> date:
        return datetime.fromtimestamp(self._clock.now_ms() / 1000, self._zone).date()

    def _day(self, fields: dict[str, str]) -> date:
        """Return the day of the outcome; nobody was seen tomorrow."""
        try:
            day = date.fromisoformat(fields.get("day") or self._today().isoformat())
        except ValueError:
            raise Refusal(400) from None
        if day > self._today():
            raise Refusal(400)
        return day

    async def _done(
        self, request: web.Request, visit: Visit, notice_key: str
    ) -> web.StreamResponse:
        if wants_json(request):
            return web.json_response({"ok": not notice_key}, status=409 if notice_key else 202)
        if notice_key:
            return await self._draw(request, visit, notice_key=notice_key, status=409)
        raise web.HTTPSeeOther(PAGES[1])

    async def _draw(
        self, request: web.Request, visit: Visit, *, notice_key: str = "", status: int = 200
    ) -> web.Response:
        language = language_of(request)
        say = texts_in(language)
        tasks = await self._recalls.open_recalls(limit=_SHOWN)
        keeps = visit.phone_id is not None and self._keep_s > 0
        page = self._page.render(
            **frame(request, PAGES[1]),
            staff_id=visit.staff.staff_id,
            drawn=self._time(self._clock.now_ms()),
            new_key=lambda: str(uuid4()),
            rows=[self._row(task, language) for task in tasks],
            is_cut=len(tasks) == _SHOWN,
            outcomes=OUTCOMES,
            today=self._today(),
            notice=say(notice_key) if notice_key else "",
        )
        response = html(page, status=status)
        if keeps:
            response.headers[_KEEP] = str(self._keep_s)
        return response

    def _row(self, task: RecallTask, language: Language) -> dict[str, object]:
        say = texts_in(language)
        return {
            "task": task,
            "why": say(f"desk.{task.why}"),
            "reason": _reason(task, language),
            "deadline": self._time(task.deadline_ms),
            "is_late": task.deadline_ms < self._clock.now_ms(),
            "tel": dialled(task.phone),
            "messages": [
                (say(f"console.author.{said.author}"), self._time(said.at_ms), said.text or "…")
                for said in task.messages
            ],
        }

    def _time(self, at_ms: int) -> str:
        return f"{datetime.fromtimestamp(at_ms / 1000, self._zone):%Y-%m-%d %H:%M}"


def _reason(task: RecallTask, language: Language) -> str:
    if not task.reason:
        return ""
    known = catalogue(language)
    words = known.get(f"followup.why.{task.reason}") or known[f"followup.why_class.{task.urgency}"]
    name = known.get(f"console.reason.{task.reason}", task.reason)
    return f"{name} · {words}"


def _form_id(fields: dict[str, str], what: str) -> str:
    """Return the id of what was written: the same form with other words is another one.

    A page reached by "back" posts again under the key it was drawn with.
    """
    try:
        key = UUID(fields.get("key", "")[:40])
    except ValueError:
        return ""
    said = (what, *(fields.get(name, "") for name in ("task", "plan", "outcome", "day", "words")))
    return str(uuid5(key, "\n".join(said)))


def _words(fields: dict[str, str]) -> str:
    return fields.get("words", "").strip()[:_LONGEST_NOTE]


def _outcome(fields: dict[str, str]) -> Outcome:
    for word in OUTCOMES:
        if fields.get("outcome") == word:
            return word
    raise Refusal(400)
