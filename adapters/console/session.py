"""Staff sessions: a random token in a cookie, everything else on our side.

The token for forms is derived from the session's, so it needs no storage and ends with it.
A phone of the clinic has a second cookie, which outlives logins and lets nobody in: it only says
that the list of calls may be kept there.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass

from aiohttp import web

from adapters.console.settings import ConsoleSettings
from adapters.console.staff_ports import Doors, StaffSession
from core.clock import Clock
from core.store.phones import UNUSED_MS

_TOUCH_EVERY_MS = 60_000
# Between the password and the one-time code.
_CODE_WITHIN_MS = 5 * 60_000
_SYSTEMS = (
    ("Android", "Android"),
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Windows", "Windows"),
    ("Mac OS", "Mac"),
    ("Linux", "Linux"),
)
_BROWSERS = (
    ("MicroMessenger", "WeChat"),
    ("Edg", "Edge"),
    ("Firefox", "Firefox"),
    ("Chrome", "Chrome"),
    ("Safari", "Safari"),
)


@dataclass(frozen=True, slots=True)
class Visit:
    """A request by someone who is logged in.

    Attributes:
        staff: who.
        token_hash: of the session's cookie.
        form_token: belongs into every form.
        phone_id: the clinic's phone they are on, which may keep the list of calls; None elsewhere.
    """

    staff: StaffSession
    token_hash: str
    form_token: str
    phone_id: int | None = None


VISIT: web.RequestKey[Visit] = web.RequestKey("visit", Visit)


def _cookie_name(*, secure: bool) -> str:
    return "__Host-oc_staff" if secure else "oc_staff"


def _phone_cookie_name(*, secure: bool) -> str:
    return "__Host-oc_phone" if secure else "oc_phone"


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


def _form_token(token: str) -> str:
    return hmac.new(token.encode("utf-8", "replace"), b"oculichat form", "sha256").hexdigest()


class Doorkeeper:
    """Begins, recognises and ends staff sessions; knows the clinic's phones."""

    def __init__(self, sessions: Doors, settings: ConsoleSettings, clock: Clock) -> None:
        self._sessions = sessions
        self._settings = settings
        self._clock = clock

    async def visit(self, request: web.Request) -> Visit | None:
        """Return who is here, or None when nobody is logged in or the session has run out."""
        known = request.get(VISIT)
        if known is not None:
            return known
        visit = await self._find(request)
        if visit is None or visit.staff.needs_code:
            return None
        await self.stay(visit)
        request[VISIT] = visit
        return visit

    async def half_visit(self, request: web.Request) -> Visit | None:
        """Return who gave the right password and still owes the one-time code, or None."""
        visit = await self._find(request)
        return visit if visit is not None and visit.staff.needs_code else None

    async def again(self, visit: Visit) -> Visit | None:
        """Return a visit as it is now, or None when it has ended or its rights have changed."""
        staff = await self._sessions.find_session(visit.token_hash)
        if staff is None or self._is_over(staff) or staff.role != visit.staff.role:
            return None
        return Visit(staff, visit.token_hash, visit.form_token, visit.phone_id)

    async def stay(self, visit: Visit) -> None:
        """Note that its holder is here, so that the session goes on."""
        now = self._clock.now_ms()
        if now - visit.staff.seen_at_ms >= _TOUCH_EVERY_MS:
            await self._sessions.touch_session(visit.token_hash, at_ms=now)

    def _is_over(self, staff: StaffSession) -> bool:
        now = self._clock.now_ms()
        idle_ms = self._settings.idle_minutes * 60_000
        longest_ms = self._settings.session_hours * 3_600_000
        if staff.needs_code:
            longest_ms = _CODE_WITHIN_MS
        return now - staff.seen_at_ms > idle_ms or now - staff.created_at_ms > longest_ms

    async def _find(self, request: web.Request) -> Visit | None:
        token = request.cookies.get(_cookie_name(secure=request.secure), "")
        if not 40 <= len(token) <= 64:
            return None
        token_hash = _hash(token)
        staff = await self._sessions.find_session(token_hash)
        if staff is None:
            return None
        if self._is_over(staff):
            await self._sessions.revoke_session(token_hash)
            return None
        return Visit(staff, token_hash, _form_token(token), await self._phone(request))

    async def _phone(self, request: web.Request) -> int | None:
        """Return the clinic's phone a request comes from, where phones may keep anything."""
        token = request.cookies.get(_phone_cookie_name(secure=request.secure), "")
        if not self._settings.offline_hours or not 40 <= len(token) <= 64:
            return None
        return await self._sessions.find_phone(_hash(token), at_ms=self._clock.now_ms())

    async def trust_phone(
        self, request: web.Request, response: web.StreamResponse, visit: Visit
    ) -> None:
        """Make the phone one of the clinic's; who asks has shown the right to."""
        token = secrets.token_urlsafe(32)
        device = device_of(request.headers.get("User-Agent", ""))
        await self._sessions.trust_phone(
            _hash(token), by=visit.staff.staff_id, device=device, at_ms=self._clock.now_ms()
        )
        self._keep_phone(request, response, token)

    def _keep_phone(self, request: web.Request, response: web.StreamResponse, token: str) -> None:
        response.set_cookie(
            _phone_cookie_name(secure=request.secure),
            token,
            max_age=UNUSED_MS // 1000,
            path="/",
            secure=request.secure,
            httponly=True,
            samesite="Lax",
        )

    async def begin(
        self,
        request: web.Request,
        response: web.StreamResponse,
        staff_id: int,
        *,
        needs_code: bool = False,
    ) -> None:
        """Begin a new session; the token is made here, never taken from the visitor."""
        token = secrets.token_urlsafe(32)
        await self._sessions.create_session(
            _hash(token),
            staff_id,
            at_ms=self._clock.now_ms(),
            device=device_of(request.headers.get("User-Agent", "")),
            needs_code=needs_code,
        )
        phone_id = None if needs_code else await self._phone(request)
        if phone_id is not None:  # in use: half a year from now on
            await self._sessions.see_phone(phone_id, at_ms=self._clock.now_ms())
            name = _phone_cookie_name(secure=request.secure)
            self._keep_phone(request, response, request.cookies[name])
        response.set_cookie(
            _cookie_name(secure=request.secure),
            token,
            path="/",
            secure=request.secure,
            httponly=True,
            samesite="Lax",
        )

    async def forget(self, visit: Visit) -> None:
        """End a session on our side alone."""
        await self._sessions.revoke_session(visit.token_hash)

    async def end(self, request: web.Request, response: web.StreamResponse, visit: Visit) -> None:
        """End a session here and in the browser."""
        await self._sessions.revoke_session(visit.token_hash)
        response.del_cookie(
            _cookie_name(secure=request.secure), path="/", secure=request.secure, httponly=True
        )


def is_own_form(visit: Visit, form_token: str) -> bool:
    """Tell in constant time whether a form was drawn for this session."""
    return hmac.compare_digest(visit.form_token.encode(), form_token.encode("utf-8", "replace"))


def device_of(user_agent: str) -> str:
    """Return system and browser in a word each, for the list of sessions."""
    names = (
        next((name for sign, name in known if sign in user_agent), "")
        for known in (_SYSTEMS, _BROWSERS)
    )
    return ", ".join(filter(None, names)) or "?"
