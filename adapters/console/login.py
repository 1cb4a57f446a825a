"""Logging in and out."""

from __future__ import annotations

import structlog
from aiohttp import web
from jinja2 import Environment

from adapters.console.passwords import Passwords
from adapters.console.ports import StaffAccounts
from adapters.console.session import Doorkeeper, is_own_form
from adapters.console.settings import ConsoleSettings
from adapters.http.failures import Refusal
from adapters.http.forms import read_form
from adapters.http.language import language_of, texts_in
from adapters.http.pages import html
from adapters.http.rate import RateLimit
from core.clock import Clock

log = structlog.get_logger(__name__)

_WINDOW_MS = 15 * 60_000


class Login:
    """Serves ``/console/login`` and ``/console/logout``."""

    def __init__(
        self,
        *,
        settings: ConsoleSettings,
        accounts: StaffAccounts,
        passwords: Passwords,
        doorkeeper: Doorkeeper,
        templates: Environment,
        clock: Clock,
    ) -> None:
        self._accounts = accounts
        self._passwords = passwords
        self._doorkeeper = doorkeeper
        self._page = templates.get_template("login.html")
        self._per_account = RateLimit(
            clock, limit=settings.attempts_per_account, window_ms=_WINDOW_MS
        )
        self._per_address = RateLimit(
            clock, limit=settings.attempts_per_address, window_ms=_WINDOW_MS
        )

    async def form(self, request: web.Request) -> web.StreamResponse:
        """Show the form, or go on when the visitor is logged in."""
        if await self._doorkeeper.visit(request):
            raise web.HTTPSeeOther("/console")
        return self._draw(request)

    async def post(self, request: web.Request) -> web.StreamResponse:
        """Check the password; a wrong name and a wrong password get the same answer."""
        fields = await read_form(request)
        account = fields.get("account", "").strip().lower()[:200]
        address = request.remote or ""
        both = f"{account}\n{address}"
        wait_ms = max(self._per_account.wait_ms(both), self._per_address.wait_ms(address))
        if wait_ms > 0:
            return self._draw(request, "console.login.too_many", 429, wait_s=wait_ms // 1000 + 1)
        # Counted before the check: attempts sent at once are all counted in time.
        self._per_account.count(both)
        self._per_address.count(address)
        staff = await self._accounts.find_account(account) if account else None
        known_hash = staff.password_hash if staff else None
        verdict = await self._passwords.check(fields.get("password", ""), known_hash)
        if staff is None or not verdict.is_right:
            log.warning("staff_login_failed")
            return self._draw(request, "console.login.wrong", 401)
        self._per_account.forget(both)
        if verdict.rehashed:
            await self._accounts.replace_password_hash(staff.id, verdict.rehashed)
        log.info("staff_login", staff_id=staff.id)
        redirect = web.HTTPSeeOther("/console")
        await self._doorkeeper.begin(request, redirect, staff.id)
        raise redirect

    async def logout(self, request: web.Request) -> web.StreamResponse:
        """End the session."""
        redirect = web.HTTPSeeOther("/console/login")
        visit = await self._doorkeeper.visit(request)
        if visit:
            if not is_own_form(visit, (await read_form(request)).get("form_token", "")):
                raise Refusal(403)
            await self._doorkeeper.end(request, redirect, visit)
        raise redirect

    def _draw(
        self, request: web.Request, error_key: str = "", status: int = 200, *, wait_s: int = 0
    ) -> web.Response:
        language = language_of(request)
        say = texts_in(language)
        error = say(error_key, minutes=wait_s // 60 + 1) if error_key else ""
        response = html(self._page.render(t=say, language=language, error=error), status=status)
        if wait_s:
            response.headers["Retry-After"] = str(wait_s)
        return response
