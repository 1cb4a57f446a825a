"""One's own account: the password, the devices that are logged in, and one-time codes."""

from __future__ import annotations

import io
from zoneinfo import ZoneInfo

from aiohttp import web
from jinja2 import Environment

from adapters.console.codes import (
    address,
    new_recovery_codes,
    new_secret,
    recovery_hash,
    step_of,
)
from adapters.console.frame import frame, moment, number_in
from adapters.console.guard import note_subject, visit_of
from adapters.console.passwords import SHORTEST_PASSWORD, Passwords, is_good
from adapters.console.session import Doorkeeper, Visit
from adapters.console.settings import ConsoleSettings
from adapters.console.staff_ports import CodeBook, Phone, Phones, StaffAccounts, StaffSessions
from adapters.http.failures import Refusal
from adapters.http.forms import read_form
from adapters.http.language import language_of, texts_in
from adapters.http.pages import html
from adapters.http.rate import RateLimit
from core.clock import Clock

_PAGE = "/console/account"
_WINDOW_MS = 15 * 60_000
_DONE = frozenset({"password", "sessions", "codes_off", "phone", "phone_ended"})


class AccountPage:
    """Serves ``/console/account`` and what its forms do."""

    def __init__(
        self,
        *,
        settings: ConsoleSettings,
        accounts: StaffAccounts,
        sessions: StaffSessions,
        phones: Phones,
        codes: CodeBook,
        doorkeeper: Doorkeeper,
        passwords: Passwords,
        templates: Environment,
        clock: Clock,
    ) -> None:
        self._accounts = accounts
        self._sessions = sessions
        self._phones = phones
        self._doorkeeper = doorkeeper
        self._codes = codes
        self._passwords = passwords
        self._account_page = templates.get_template("account.html")
        self._codes_page = templates.get_template("codes.html")
        self._clock = clock
        self._trusts = settings.offline_hours > 0
        self._zone = ZoneInfo(settings.timezone)
        # A borrowed phone that is logged in must not be a place to guess the password.
        self._guesses = RateLimit(clock, limit=settings.attempts_per_account, window_ms=_WINDOW_MS)

    async def get(self, request: web.Request) -> web.StreamResponse:
        """Show the account."""
        return await self._draw(request)

    async def set_password(self, request: web.Request) -> web.StreamResponse:
        """Choose another password; every other session ends."""
        visit = visit_of(request)
        fields = await read_form(request)
        await self._ask_password(visit, fields.get("old", ""))
        password = fields.get("new", "")
        if password != fields.get("again", ""):
            return await self._draw(request, "console.account.not_the_same", 400)
        if password == fields.get("old") or not is_good(password, await self._name(visit)):
            return await self._draw(request, "console.account.too_weak", 400)
        await self._accounts.set_password(
            visit.staff.staff_id,
            await self._passwords.make(password),
            must_change=False,
            keep=visit.token_hash,
        )
        raise web.HTTPSeeOther(f"{_PAGE}?done=password")

    async def end_session(self, request: web.Request) -> web.StreamResponse:
        """End one of one's own sessions, or all others."""
        visit = visit_of(request)
        fields = await read_form(request)
        await self._sessions.end_sessions(
            visit.staff.staff_id, handle=fields.get("session", "")[:64], keep=visit.token_hash
        )
        raise web.HTTPSeeOther(f"{_PAGE}?done=sessions")

    async def trust_phone(self, request: web.Request) -> web.StreamResponse:
        """Make this phone one of the clinic's; asks for the password once more."""
        visit = visit_of(request)
        if not self._trusts:
            raise Refusal(404)
        await self._ask_password(visit, (await read_form(request)).get("old", ""))
        redirect = web.HTTPSeeOther(f"{_PAGE}?done=phone")
        if visit.phone_id is None:
            await self._doorkeeper.trust_phone(request, redirect, visit)
        raise redirect

    async def distrust_phone(self, request: web.Request) -> web.StreamResponse:
        """Take the trust back from this phone, or from one that oneself trusted."""
        visit = visit_of(request)
        phone_id = number_in(await read_form(request), "phone")
        own = await self._phones.phones(given_by=visit.staff.staff_id, at_ms=self._clock.now_ms())
        if phone_id != visit.phone_id and phone_id not in {phone.id for phone in own}:
            raise Refusal(404)
        await self._phones.distrust_phone(phone_id)
        note_subject(request, f"phone {phone_id}")
        raise web.HTTPSeeOther(f"{_PAGE}?done=phone_ended")

    async def codes(self, request: web.Request) -> web.StreamResponse:
        """Show the secret to put into an authenticator app; a new one until it is confirmed."""
        staff_id = visit_of(request).staff.staff_id
        if await self._codes.is_on(staff_id):
            raise web.HTTPSeeOther(_PAGE)
        if await self._codes.secret(staff_id) is None:
            await self._codes.begin(staff_id, new_secret())
        return await self._draw_codes(request)

    async def codes_picture(self, request: web.Request) -> web.StreamResponse:
        """Draw the secret as a QR code, only until it is confirmed."""
        visit = visit_of(request)
        secret = await self._codes.secret(visit.staff.staff_id)
        if secret is None or await self._codes.is_on(visit.staff.staff_id):
            raise web.HTTPNotFound
        return qr_picture(address(secret, await self._name(visit), "OculiChat"))

    async def codes_on(self, request: web.Request) -> web.StreamResponse:
        """Switch codes on with a first right one, and show the recovery codes this once."""
        staff_id = visit_of(request).staff.staff_id
        fields = await read_form(request)
        secret = await self._codes.secret(staff_id)
        if secret is None or await self._codes.is_on(staff_id):
            raise web.HTTPSeeOther(_PAGE)
        if self._guesses.wait_ms(f"code {staff_id}"):
            raise Refusal(429, retry_after_s=60)
        self._guesses.count(f"code {staff_id}")
        step = step_of(secret, fields.get("code", ""), now_ms=self._clock.now_ms())
        if step is None:
            return await self._draw_codes(request, "console.login.wrong_code", 400)
        recovery = new_recovery_codes()
        await self._codes.set_recovery(staff_id, [recovery_hash(code) for code in recovery])
        if not await self._codes.use_step(staff_id, step):
            raise web.HTTPSeeOther(_PAGE)
        return await self._draw_codes(request, recovery=recovery)

    async def codes_off(self, request: web.Request) -> web.StreamResponse:
        """Switch codes off; asks for the password once more."""
        visit = visit_of(request)
        await self._ask_password(visit, (await read_form(request)).get("old", ""))
        await self._codes.end(visit.staff.staff_id)
        raise web.HTTPSeeOther(f"{_PAGE}?done=codes_off")

    async def _ask_password(self, visit: Visit, password: str) -> None:
        """Check one's own password.

        Raises:
            Refusal: it is wrong, or was wrong too often.
        """
        key = str(visit.staff.staff_id)
        if wait_ms := self._guesses.wait_ms(key):
            raise Refusal(429, retry_after_s=wait_ms // 1000 + 1)
        self._guesses.count(key)
        stored = await self._accounts.password_hash(visit.staff.staff_id)
        if not (await self._passwords.check(password, stored)).is_right:
            raise Refusal(403, "console.account.wrong_password")
        self._guesses.forget(key)

    async def _name(self, visit: Visit) -> str:
        members = await self._accounts.members()
        return next(m.account for m in members if m.id == visit.staff.staff_id)

    async def _draw(
        self, request: web.Request, notice_key: str = "", status: int = 200
    ) -> web.Response:
        visit = visit_of(request)
        done = request.query.get("done", "")
        if not notice_key and done in _DONE:
            notice_key = f"console.account.done.{done}"
        say = texts_in(language_of(request))
        sessions = await self._sessions.sessions_of(visit.staff.staff_id)
        phones = await self._phones.phones(
            given_by=visit.staff.staff_id, at_ms=self._clock.now_ms()
        )
        page = self._account_page.render(
            **frame(request, _PAGE),
            notice=say(notice_key) if notice_key else "",
            must_change=visit.staff.must_change,
            account=await self._name(visit),
            role=visit.staff.role,
            shortest=SHORTEST_PASSWORD,
            has_codes=await self._codes.is_on(visit.staff.staff_id),
            trusts=self._trusts,
            phone_id=visit.phone_id,
            phones=[phone_row(phone, self._zone) for phone in phones if phone.id != visit.phone_id],
            sessions=[
                {
                    "handle": session.handle,
                    "device": session.device,
                    "began": moment(session.created_at_ms, self._zone),
                    "seen": moment(session.seen_at_ms, self._zone),
                    "is_this": visit.token_hash.startswith(session.handle),
                }
                for session in sessions
            ],
        )
        return html(page, status=status)

    async def _draw_codes(
        self,
        request: web.Request,
        notice_key: str = "",
        status: int = 200,
        *,
        recovery: list[str] | None = None,
    ) -> web.Response:
        visit = visit_of(request)
        secret = await self._codes.secret(visit.staff.staff_id) or ""
        say = texts_in(language_of(request))
        page = self._codes_page.render(
            **frame(request, _PAGE),
            notice=say(notice_key) if notice_key else "",
            secret=" ".join(secret[at : at + 4] for at in range(0, len(secret), 4)),
            recovery=recovery or [],
        )
        return html(page, status=status)


def phone_row(phone: Phone, zone: ZoneInfo) -> dict[str, object]:
    """Return what ``phone.html`` shows of a phone."""
    return {
        "id": phone.id,
        "device": phone.device,
        "name": phone.name,
        "given": moment(phone.given_at_ms, zone),
        "seen": moment(phone.seen_at_ms, zone),
    }


def qr_picture(content: str) -> web.Response:
    """Return a QR code as an SVG file: no inline style, dark on white, four modules of margin."""
    import segno  # noqa: PLC0415 only who shows a code needs it

    picture = io.BytesIO()
    segno.make(content, error="m").save(
        picture, kind="svg", scale=6, border=4, dark="#000", light="#fff", nl=False
    )
    return web.Response(body=picture.getvalue(), content_type="image/svg+xml")
