"""Connecting somebody to a channel from the console: begin, show the code, take the digits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from aiohttp import web

from adapters.console.guard import note_subject
from adapters.http.failures import Refusal
from adapters.http.forms import read_form

_PAGE = "/console/channels"
_WATCHED = frozenset({"waiting", "scanned"})
# WeChat shows six; anything longer was never on that screen.
_LONGEST_DIGITS = 12


class LoginState(Protocol):
    """How far a login is."""

    @property
    def state(self) -> str:
        """One of the keys of ``console.channel_login.state``."""
        ...

    @property
    def wrong_code(self) -> bool:
        """Whether the digits typed last were not right."""
        ...


class CodeLogin(Protocol):
    """The one login of a channel that can be begun here."""

    @property
    def view(self) -> LoginState:
        """How far it is now; the code itself is the fact ``qr`` of the channel's health."""
        ...

    async def begin(self) -> object:
        """Show a code; while one is shown, beginning again changes nothing."""
        ...

    def give_code(self, digits: str) -> None:
        """Hand in the digits that the phone shows; without a login nothing happens."""
        ...


class ChannelLogins:
    """Serves the forms of ``/console/channels/{channel}/login``.

    Args:
        logins: by the channel's name; a channel without one has no button.
    """

    def __init__(self, logins: Mapping[str, CodeLogin]) -> None:
        self._logins = logins

    def view(self, channel: str) -> LoginState | None:
        """Return how far the login of a channel is, or None where none can be begun."""
        login = self._logins.get(channel)
        return login.view if login else None

    def is_under_way(self) -> bool:
        """Tell whether a code is shown, so that the page should look again by itself.

        While digits are being typed it must not: they would be gone.
        """
        return any(login.view.state in _WATCHED for login in self._logins.values())

    async def begin(self, request: web.Request) -> web.StreamResponse:
        """Ask the channel for a code; a second tap shows the same one."""
        await self._login(request).begin()
        raise web.HTTPSeeOther(f"{_PAGE}#login")

    async def give_code(self, request: web.Request) -> web.StreamResponse:
        """Hand in the digits.

        Raises:
            Refusal: they are no digits (400), or nobody asked for any (409).
        """
        login = self._login(request)
        digits = (await read_form(request)).get("digits", "").strip()
        if not (digits.isascii() and digits.isdigit() and len(digits) <= _LONGEST_DIGITS):
            raise Refusal(400, "console.channel_login.no_digits")
        if login.view.state != "code_needed":
            raise Refusal(409, "console.channel_login.not_asked")
        login.give_code(digits)
        raise web.HTTPSeeOther(f"{_PAGE}#login")

    def _login(self, request: web.Request) -> CodeLogin:
        channel = request.match_info["channel"]
        login = self._logins.get(channel)
        if login is None:
            raise web.HTTPNotFound
        note_subject(request, channel)
        return login
