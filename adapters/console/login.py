"""Logging in and out: the password, and for who wants it a one-time code behind it."""

from __future__ import annotations

import structlog
from aiohttp import web
from jinja2 import Environment

from adapters.console.codes import recovery_hash, step_of
from adapters.console.passwords import Passwords
from adapters.console.session import Doorkeeper, Visit, is_own_form
from adapters.console.settings import ConsoleSettings
from adapters.console.staff_ports import Audit, AuditRow, CodeBook, StaffAccounts
from adapters.http.failures import Refusal
from adapters.http.forms import read_form
from adapters.http.language import is_large, language_of, texts_in
from adapters.http.pages import html
from adapters.http.rate import RateLimit
from core.clock import Clock

log = structlog.get_logger(__name__)

_WINDOW_MS = 15 * 60_000
# Guesses at one account from anywhere: high enough that a stranger cannot lock its holder out
# by a few wrong tries, low enough that many addresses together get nowhere.
_ANYWHERE = 10


class Login:
    """Serves ``/console/login``, the code behind it, and ``/console/logout``."""

    def __init__(
        self,
        *,
        settings: ConsoleSettings,
        accounts: StaffAccounts,
        codes: CodeBook,
        audit: Audit,
        passwords: Passwords,
        doorkeeper: Doorkeeper,
        templates: Environment,
        clock: Clock,
    ) -> None:
        self._accounts = accounts
        self._codes = codes
        self._audit = audit
        self._passwords = passwords
        self._doorkeeper = doorkeeper
        self._page = templates.get_template("login.html")
        self._clock = clock
        self._per_pair = RateLimit(clock, limit=settings.attempts_per_account, window_ms=_WINDOW_MS)
        self._per_account = RateLimit(
            clock, limit=_ANYWHERE * settings.attempts_per_account, window_ms=_WINDOW_MS
        )
        self._per_address = RateLimit(
            clock, limit=settings.attempts_per_address, window_ms=_WINDOW_MS
        )
        # Who guesses codes knows the password: no address is worth a further try.
        self._per_code = RateLimit(clock, limit=settings.attempts_per_account, window_ms=_WINDOW_MS)

    async def form(self, request: web.Request) -> web.StreamResponse:
        """Show the form, or go on when the visitor is logged in."""
        if await self._doorkeeper.visit(request):
            raise web.HTTPSeeOther("/console")
        half = await self._doorkeeper.half_visit(request)
        return self._draw(request, half=half)

    async def post(self, request: web.Request) -> web.StreamResponse:
        """Check the password; a wrong name and a wrong password get the same answer."""
        fields = await read_form(request)
        account = fields.get("account", "").strip().lower()[:64]
        address = request.remote or ""
        both = f"{account}\n{address}"
        wait_ms = max(
            self._per_pair.wait_ms(both),
            self._per_account.wait_ms(account),
            self._per_address.wait_ms(address),
        )
        if wait_ms > 0:
            return self._too_many(request, wait_ms)
        # Counted before the check: attempts sent at once are all counted in time.
        self._per_pair.count(both)
        self._per_account.count(account)
        self._per_address.count(address)
        staff = await self._accounts.find_account(account) if account else None
        known_hash = staff.password_hash if staff else None
        verdict = await self._passwords.check(fields.get("password", ""), known_hash)
        if staff is None or not verdict.is_right:
            log.warning("staff_login_failed")
            if staff is not None:
                await self._record("login_failed", staff.id)
            return self._draw(request, "console.login.wrong", 401)
        self._per_pair.forget(both)
        if verdict.rehashed:
            await self._accounts.replace_password_hash(staff.id, verdict.rehashed)
        if staff.has_codes:
            redirect = web.HTTPSeeOther("/console/login")
            await self._doorkeeper.begin(request, redirect, staff.id, needs_code=True)
            raise redirect
        raise await self._let_in(request, staff.id)

    async def code(self, request: web.Request) -> web.StreamResponse:
        """Check the one-time code, or a recovery code, of who gave the right password."""
        half = await self._doorkeeper.half_visit(request)
        if half is None:
            raise web.HTTPSeeOther("/console/login")
        fields = await read_form(request)
        if not is_own_form(half, fields.get("form_token", "")):
            raise Refusal(403)
        staff_id = half.staff.staff_id
        wait_ms = self._per_code.wait_ms(str(staff_id))
        if wait_ms > 0:
            return self._too_many(request, wait_ms, half)
        self._per_code.count(str(staff_id))
        if not await self._is_right_code(staff_id, fields.get("code", "")):
            log.warning("staff_code_failed", staff_id=staff_id)
            await self._record("code_failed", staff_id)
            return self._draw(request, "console.login.wrong_code", 401, half=half)
        self._per_code.forget(str(staff_id))
        redirect = await self._let_in(request, staff_id)
        await self._doorkeeper.forget(half)  # the half session's token opens nothing from now on
        raise redirect

    async def _is_right_code(self, staff_id: int, code: str) -> bool:
        secret = await self._codes.secret(staff_id)
        step = step_of(secret, code, now_ms=self._clock.now_ms()) if secret else None
        if step is not None:
            return await self._codes.use_step(staff_id, step)
        return await self._codes.use_recovery(staff_id, recovery_hash(code))

    async def _let_in(self, request: web.Request, staff_id: int) -> web.HTTPSeeOther:
        log.info("staff_login", staff_id=staff_id)
        await self._record("login", staff_id)
        redirect = web.HTTPSeeOther("/console")
        await self._doorkeeper.begin(request, redirect, staff_id)
        return redirect

    async def _record(self, what: str, staff_id: int) -> None:
        await self._audit.record([AuditRow(self._clock.now_ms(), staff_id, what)])

    async def logout(self, request: web.Request) -> web.StreamResponse:
        """End the session."""
        redirect = web.HTTPSeeOther("/console/login")
        visit = await self._doorkeeper.visit(request)
        if visit:
            await self._doorkeeper.end(request, redirect, visit)
        raise redirect

    def _too_many(
        self, request: web.Request, wait_ms: int, half: Visit | None = None
    ) -> web.Response:
        wait_s = wait_ms // 1000 + 1
        return self._draw(request, "console.login.too_many", 429, wait_s=wait_s, half=half)

    def _draw(
        self,
        request: web.Request,
        error_key: str = "",
        status: int = 200,
        *,
        wait_s: int = 0,
        half: Visit | None = None,
    ) -> web.Response:
        language = language_of(request)
        say = texts_in(language)
        error = say(error_key, minutes=wait_s // 60 + 1) if error_key else ""
        page = self._page.render(
            t=say,
            language=language,
            large=is_large(request),
            error=error,
            form_token=half.form_token if half else "",
        )
        response = html(page, status=status)
        if wait_s:
            response.headers["Retry-After"] = str(wait_s)
        return response
