"""Puts the console together and gives each part its address."""

from __future__ import annotations

from pathlib import Path

from aiohttp import web

from adapters.console.attendance import AttendancePage
from adapters.console.login import Login
from adapters.console.passwords import Passwords
from adapters.console.ports import StaffAccounts, StaffSessions, Worklist
from adapters.console.recall_ports import Attendance, Recalls
from adapters.console.recalls import RecallPage
from adapters.console.session import Doorkeeper
from adapters.console.settings import ConsoleSettings
from adapters.console.today import Today
from adapters.http.pages import environment
from adapters.http.static import StaticFiles
from core.clock import Clock, SystemClock


def console_routes(
    settings: ConsoleSettings,
    *,
    accounts: StaffAccounts,
    sessions: StaffSessions,
    worklist: Worklist,
    recalls: Recalls,
    attendance: Attendance,
    passwords: Passwords,
    clock: Clock | None = None,
) -> list[web.RouteDef]:
    """Return the routes of the staff console."""
    clock = clock or SystemClock()
    here = Path(__file__).parent
    static = StaticFiles(here / "static", "/console/static")
    templates = environment(here / "templates", static_url=static.url)
    doorkeeper = Doorkeeper(sessions, settings, clock)
    login = Login(
        settings=settings,
        accounts=accounts,
        passwords=passwords,
        doorkeeper=doorkeeper,
        templates=templates,
        clock=clock,
    )
    today = Today(
        settings=settings,
        worklist=worklist,
        doorkeeper=doorkeeper,
        templates=templates,
        clock=clock,
    )
    recall_page = RecallPage(
        settings=settings,
        recalls=recalls,
        doorkeeper=doorkeeper,
        templates=templates,
        clock=clock,
    )
    attendance_page = AttendancePage(
        settings=settings,
        attendance=attendance,
        doorkeeper=doorkeeper,
        templates=templates,
        clock=clock,
    )
    return [
        web.get("/console", today.get),
        web.get("/console/tasks", today.tasks),
        web.post("/console/tasks/claim", today.claim),
        web.post("/console/tasks/close", today.close),
        web.get("/console/recalls", recall_page.get),
        web.post("/console/recalls/claim", recall_page.claim),
        web.post("/console/recalls/note", recall_page.note),
        web.post("/console/recalls/close", recall_page.close),
        web.get("/console/attendance", attendance_page.get),
        web.post("/console/preferences", today.preferences),
        web.get("/console/login", login.form),
        web.post("/console/login", login.post),
        web.post("/console/logout", login.logout),
        *static.routes(),
    ]
