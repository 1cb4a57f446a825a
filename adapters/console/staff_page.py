"""Who works here: an admin adds accounts, changes roles, gives new passwords, ends sessions."""

from __future__ import annotations

import re
from zoneinfo import ZoneInfo

from aiohttp import web
from jinja2 import Environment

from adapters.console.account import phone_row
from adapters.console.codes import new_password
from adapters.console.frame import frame, moment, number_in
from adapters.console.guard import note_subject, visit_of
from adapters.console.passwords import Passwords
from adapters.console.rights import ROLES, Role
from adapters.console.settings import ConsoleSettings
from adapters.console.staff_ports import CodeBook, Member, Phones, StaffAccounts, StaffSessions
from adapters.http.failures import Refusal
from adapters.http.forms import read_form
from adapters.http.language import language_of, texts_in
from adapters.http.pages import html
from core.clock import Clock

_PAGE = "/console/staff"
_ACCOUNT = re.compile(r"[a-z0-9][a-z0-9._-]{1,31}")


class StaffPage:
    """Serves ``/console/staff`` and what its forms do; none of them works on one's own account."""

    def __init__(
        self,
        *,
        settings: ConsoleSettings,
        accounts: StaffAccounts,
        sessions: StaffSessions,
        phones: Phones,
        codes: CodeBook,
        passwords: Passwords,
        templates: Environment,
        clock: Clock,
    ) -> None:
        self._accounts = accounts
        self._sessions = sessions
        self._phones = phones
        self._codes = codes
        self._passwords = passwords
        self._page = templates.get_template("staff.html")
        self._clock = clock
        self._zone = ZoneInfo(settings.timezone)

    async def get(self, request: web.Request) -> web.StreamResponse:
        """Show everybody."""
        return await self._draw(request)

    async def add(self, request: web.Request) -> web.StreamResponse:
        """Add somebody, and show the password to hand over this once."""
        fields = await read_form(request)
        account = fields.get("account", "").strip().lower()
        name = fields.get("name", "").strip()[:64]
        if not (_ACCOUNT.fullmatch(account) and name):
            return await self._draw(request, "console.staff.odd_account", 400)
        password = new_password()
        added = await self._accounts.add_member(
            account,
            name,
            _role(fields),
            await self._passwords.make(password),
            at_ms=self._clock.now_ms(),
        )
        if not added:
            return await self._draw(request, "console.staff.taken", 409)
        note_subject(request, account)
        return await self._draw(request, given=(account, password))

    async def set_role(self, request: web.Request) -> web.StreamResponse:
        """Give somebody another role; counts from their next request on."""
        fields = await read_form(request)
        member = await self._somebody_else(request, fields)
        role = _role(fields)
        note_subject(request, f"{member.account} {role}")
        return await self._done(request, await self._accounts.set_role(member.id, role))

    async def set_active(self, request: web.Request) -> web.StreamResponse:
        """Let somebody out, which ends their sessions, or in again."""
        fields = await read_form(request)
        member = await self._somebody_else(request, fields)
        is_active = fields.get("active") == "1"
        note_subject(request, f"{member.account} {'on' if is_active else 'off'}")
        done = await self._accounts.set_active(member.id, is_active=is_active)
        return await self._done(request, done)

    async def reset_password(self, request: web.Request) -> web.StreamResponse:
        """Give a new password, without one-time codes; ends their sessions."""
        member = await self._somebody_else(request, await read_form(request))
        password = new_password()
        hashed = await self._passwords.make(password)
        await self._codes.end(member.id)
        await self._accounts.set_password(member.id, hashed, must_change=True)
        note_subject(request, member.account)
        return await self._draw(request, given=(member.account, password))

    async def end_sessions(self, request: web.Request) -> web.StreamResponse:
        """Log somebody out everywhere."""
        member = await self._somebody_else(request, await read_form(request))
        note_subject(request, member.account)
        await self._sessions.end_sessions(member.id)
        raise web.HTTPSeeOther(_PAGE)

    async def distrust_phone(self, request: web.Request) -> web.StreamResponse:
        """Take the trust back from a phone; what it kept goes when it next asks for a page."""
        phone_id = number_in(await read_form(request), "phone")
        if not await self._phones.distrust_phone(phone_id):
            raise Refusal(404)
        note_subject(request, f"phone {phone_id}")
        raise web.HTTPSeeOther(f"{_PAGE}#phones")

    async def _somebody_else(self, request: web.Request, fields: dict[str, str]) -> Member:
        """Return whom a form is about.

        Raises:
            Refusal: nobody (404), or the admin who sent it (403).
        """
        staff_id = number_in(fields, "staff")
        if staff_id == visit_of(request).staff.staff_id:
            raise Refusal(403, "console.staff.not_oneself")
        for member in await self._accounts.members():
            if member.id == staff_id:
                return member
        raise Refusal(404)

    async def _done(self, request: web.Request, done: bool) -> web.StreamResponse:
        if not done:
            return await self._draw(request, "console.staff.last_admin", 409)
        raise web.HTTPSeeOther(_PAGE)

    async def _draw(
        self,
        request: web.Request,
        notice_key: str = "",
        status: int = 200,
        *,
        given: tuple[str, str] | None = None,
    ) -> web.Response:
        say = texts_in(language_of(request))
        members = await self._accounts.members()
        phones = await self._phones.phones(given_by=None, at_ms=self._clock.now_ms())
        page = self._page.render(
            **frame(request, _PAGE),
            notice=say(notice_key) if notice_key else "",
            given=given,
            roles=ROLES,
            phones=[phone_row(phone, self._zone) for phone in phones],
            own_id=visit_of(request).staff.staff_id,
            members=[
                (member, moment(member.seen_at_ms, self._zone) if member.seen_at_ms else "–")
                for member in members
            ],
        )
        return html(page, status=status)


def _role(fields: dict[str, str]) -> Role:
    for role in ROLES:
        if fields.get("role") == role:
            return role
    raise Refusal(400)
