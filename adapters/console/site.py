"""Puts the console together, gives each part its address, and every address its guard."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from aiohttp import web

from adapters.console.account import AccountPage
from adapters.console.attendance import AttendancePage
from adapters.console.audit_page import AuditPage
from adapters.console.calendar_page import CalendarPage
from adapters.console.calendar_ports import FollowUpCalendar
from adapters.console.channel_login import ChannelLogins, CodeLogin
from adapters.console.channels import ChannelsPage, Parts, Queues
from adapters.console.clinic_settings import ClinicBook, SettingsPage
from adapters.console.guard import guarded
from adapters.console.insight_page import InsightPage, Insights
from adapters.console.live import LiveToday
from adapters.console.login import Login
from adapters.console.passwords import Passwords
from adapters.console.patient_site import Bedside, patient_routes
from adapters.console.ports import Worklist
from adapters.console.recall_ports import Attendance, Recalls
from adapters.console.recalls import RecallPage
from adapters.console.session import Doorkeeper
from adapters.console.settings import ConsoleSettings
from adapters.console.staff_page import StaffPage
from adapters.console.staff_ports import Audit, CodeBook, Phones, StaffAccounts, StaffSessions
from adapters.console.today import Today
from adapters.http.pages import environment
from adapters.http.static import StaticFiles
from core.clock import Clock, SystemClock
from core.followup.calendar import ALWAYS_OPEN, OpenDays


class Roll(StaffAccounts, StaffSessions, Phones, CodeBook, Audit, Protocol):
    """Everything about staff in one, as the store has it."""


def console_routes(
    settings: ConsoleSettings,
    *,
    roll: Roll,
    worklist: Worklist,
    recalls: Recalls,
    attendance: Attendance,
    calendar: FollowUpCalendar,
    parts: Parts,
    queues: Queues,
    clinic: ClinicBook,
    insights: Insights,
    passwords: Passwords,
    bedside: Bedside,
    logins: Mapping[str, CodeLogin] | None = None,
    open_days: OpenDays = ALWAYS_OPEN,
    clock: Clock | None = None,
) -> list[web.RouteDef]:
    """Return the routes of the staff console, guarded.

    Raises:
        Bug: a route has no line in the table of rights.
    """
    clock = clock or SystemClock()
    here = Path(__file__).parent
    static = StaticFiles(here / "static", "/console/static")
    templates = environment(here / "templates", static_url=static.url)
    doorkeeper = Doorkeeper(roll, settings, clock)
    login = Login(
        settings=settings,
        accounts=roll,
        codes=roll,
        audit=roll,
        passwords=passwords,
        doorkeeper=doorkeeper,
        templates=templates,
        clock=clock,
    )
    today = Today(settings=settings, worklist=worklist, templates=templates, clock=clock)
    live = LiveToday(worklist=worklist, rows=today, doorkeeper=doorkeeper, clock=clock)
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
    calendar_page = CalendarPage(
        settings=settings,
        calendar=calendar,
        open_days=open_days,
        templates=templates,
        clock=clock,
    )
    account = AccountPage(
        settings=settings,
        accounts=roll,
        sessions=roll,
        phones=roll,
        codes=roll,
        doorkeeper=doorkeeper,
        passwords=passwords,
        templates=templates,
        clock=clock,
    )
    staff = StaffPage(
        settings=settings,
        accounts=roll,
        sessions=roll,
        phones=roll,
        codes=roll,
        passwords=passwords,
        templates=templates,
        clock=clock,
    )
    audit_page = AuditPage(settings=settings, audit=roll, accounts=roll, templates=templates)
    channel_logins = ChannelLogins(logins or {})
    channels = ChannelsPage(
        settings=settings,
        parts=parts,
        queues=queues,
        logins=channel_logins,
        templates=templates,
        clock=clock,
    )
    clinic_page = SettingsPage(settings=settings, book=clinic, templates=templates, clock=clock)
    insight = InsightPage(settings=settings, insights=insights, templates=templates, clock=clock)
    routes = [
        web.get("/console", today.get),
        web.get("/console/tasks", today.tasks),
        web.get("/console/live", live.get),
        web.post("/console/tasks/claim", today.claim),
        web.post("/console/tasks/close", today.close),
        web.get("/console/recalls", recall_page.get),
        web.get("/console/worker.js", recall_page.worker),
        web.post("/console/recalls/claim", recall_page.claim),
        web.post("/console/recalls/note", recall_page.note),
        web.post("/console/recalls/close", recall_page.close),
        web.get("/console/calendar", calendar_page.get),
        web.get("/console/attendance", attendance_page.get),
        *patient_routes(settings, bedside, templates, clock),
        web.get("/console/insight", insight.get),
        web.get("/console/channels", channels.get),
        web.get("/console/channels/{channel}/{number}/qr.svg", channels.picture),
        web.post("/console/channels/{channel}/login", channel_logins.begin),
        web.post("/console/channels/{channel}/login/digits", channel_logins.give_code),
        web.post("/console/channels/retry", channels.retry),
        web.get("/console/settings", clinic_page.get),
        web.post("/console/settings", clinic_page.post),
        web.get("/console/account", account.get),
        web.post("/console/account/password", account.set_password),
        web.post("/console/account/sessions/end", account.end_session),
        web.post("/console/account/phone", account.trust_phone),
        web.post("/console/account/phone/end", account.distrust_phone),
        web.get("/console/account/codes", account.codes),
        web.get("/console/account/codes/qr.svg", account.codes_picture),
        web.post("/console/account/codes/on", account.codes_on),
        web.post("/console/account/codes/off", account.codes_off),
        web.get("/console/staff", staff.get),
        web.post("/console/staff/add", staff.add),
        web.post("/console/staff/role", staff.set_role),
        web.post("/console/staff/active", staff.set_active),
        web.post("/console/staff/password", staff.reset_password),
        web.post("/console/staff/sessions/end", staff.end_sessions),
        web.post("/console/staff/phones/end", staff.distrust_phone),
        web.get("/console/audit", audit_page.get),
        web.post("/console/preferences", today.preferences),
        web.get("/console/login", login.form),
        web.post("/console/login", login.post),
        web.post("/console/login/code", login.code),
        web.post("/console/logout", login.logout),
        *static.routes(),
    ]
    return guarded(routes, doorkeeper, roll, clock)
