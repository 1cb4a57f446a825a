"""Staff sessions: a random token in a cookie, everything else on our side.

The token for forms is derived from the session's, so it needs no storage and ends with it.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass

from aiohttp import web

from adapters.console.ports import StaffSession, StaffSessions
from adapters.console.settings import ConsoleSettings
from core.clock import Clock

_TOUCH_EVERY_MS = 60_000


@dataclass(frozen=True, slots=True)
class Visit:
    """A request by someone who is logged in; `form_token` belongs into every form."""

    staff: StaffSession
    token_hash: str
    form_token: str


def _cookie_name(*, secure: bool) -> str:
    return "__Host-oc_staff" if secure else "oc_staff"


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


def _form_token(token: str) -> str:
    return hmac.new(token.encode("utf-8", "replace"), b"oculichat form", "sha256").hexdigest()


class Doorkeeper:
    """Begins, recognises and ends staff sessions."""

    def __init__(self, sessions: StaffSessions, settings: ConsoleSettings, clock: Clock) -> None:
        self._sessions = sessions
        self._settings = settings
        self._clock = clock

    async def visit(self, request: web.Request) -> Visit | None:
        """Return who is here, or None when nobody is logged in or the session has run out."""
        token = request.cookies.get(_cookie_name(secure=request.secure), "")
        if not 40 <= len(token) <= 64:
            return None
        token_hash = _hash(token)
        staff = await self._sessions.find_session(token_hash)
        if staff is None:
            return None
        now = self._clock.now_ms()
        if (
            now - staff.seen_at_ms > self._settings.idle_minutes * 60_000
            or now - staff.created_at_ms > self._settings.session_hours * 3_600_000
        ):
            await self._sessions.revoke_session(token_hash)
            return None
        if now - staff.seen_at_ms >= _TOUCH_EVERY_MS:
            await self._sessions.touch_session(token_hash, at_ms=now)
        return Visit(staff, token_hash, _form_token(token))

    async def begin(
        self, request: web.Request, response: web.StreamResponse, staff_id: int
    ) -> None:
        """Begin a new session; the token is made here, never taken from the visitor."""
        token = secrets.token_urlsafe(32)
        await self._sessions.create_session(_hash(token), staff_id, at_ms=self._clock.now_ms())
        response.set_cookie(
            _cookie_name(secure=request.secure),
            token,
            path="/",
            secure=request.secure,
            httponly=True,
            samesite="Lax",
        )

    async def end(self, request: web.Request, response: web.StreamResponse, visit: Visit) -> None:
        """End a session here and in the browser."""
        await self._sessions.revoke_session(visit.token_hash)
        response.del_cookie(
            _cookie_name(secure=request.secure), path="/", secure=request.secure, httponly=True
        )


def is_own_form(visit: Visit, form_token: str) -> bool:
    """Tell in constant time whether a form was drawn for this session."""
    return hmac.compare_digest(visit.form_token.encode(), form_token.encode("utf-8", "replace"))
