"""State of the connection to the gateway and of the WeChat account behind it."""

from __future__ import annotations

import asyncio
import random
import time
import traceback
from collections.abc import Callable, Mapping
from typing import Literal

import structlog

from adapters.wechat.wechaty.client import CallFailed, Why

_log = structlog.get_logger(__name__)

State = Literal[
    "connecting",
    "waiting_for_login",  # connected; the account is neither in nor asked to scan
    "scanning",  # somebody has to scan the code with WeChat
    "logged_in",
    "quiet",  # logged in, but the puppet does not even answer a question
    "logged_out",
    "token_refused",
    "occupied",
    "unreachable",
    "not_storing",  # logged in, but our own intake refuses
]
_REMEDY: dict[State, str] = {
    "connecting": "not yet connected",
    "waiting_for_login": "the gateway runs but its account is not logged in: look at the gateway",
    "scanning": "scan the QR code with the clinic's WeChat",
    "logged_in": "",
    "quiet": "the gateway answers but its puppet does not: restart the gateway",
    "logged_out": "WeChat has ended the login: log in again at the gateway",
    "token_refused": "the gateway rejects wechat.wechaty.token: set the one it was started with",
    "occupied": "another program reads this gateway's events: stop it, one gateway serves one",
    "unreachable": "no connection: check that the gateway runs, wechat.wechaty.endpoint and .tls",
    "not_storing": "messages cannot be stored: check the database; they are kept until then",
}
_STATE_OF: dict[Why, State] = {"token_refused": "token_refused", "occupied": "occupied"}

# Short also after many failures: what patients write while nobody listens is lost for good.
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 3.0
# A wrong token does not mend itself; an old stream of our own ends within the keepalive.
_LEAST_PAUSE_S: dict[State, float] = {"token_refused": 30.0, "occupied": 1.0}


class Link:
    """What is known; each change of state is logged once.

    Args:
        now_s: a steady clock.
    """

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self.state: State = "connecting"
        self.me = ""  # the account's own id; "" while it is not logged in
        self.qr = ""  # what the code to scan says; "" when there is none
        self.failures = 0
        self.dongs = 0
        self._now_s = now_s
        self._opened_at_s = self._event_at_s = now_s()
        self._open = False
        self._doubt = False  # the puppet did not answer and has given no sign of life since
        self._usable = asyncio.Event()

    @property
    def remedy(self) -> str:
        """What an operator should do about it; "" when all is well."""
        return _REMEDY[self.state]

    @property
    def is_open(self) -> bool:
        """Whether the event stream is open."""
        return self._open

    @property
    def is_usable(self) -> bool:
        """Whether messages can be asked for and sent."""
        return self._usable.is_set()

    @property
    def usable_event(self) -> asyncio.Event:
        """Set while messages can be asked for and sent; to wait for, not to change."""
        return self._usable

    def facts(self) -> Mapping[str, str]:
        """Return the state for the console; with the code to scan while there is one."""
        age_s = int(self.event_age_s) if self._open else None
        found = {"state": self.state, "last_event_s": "" if age_s is None else str(age_s)}
        return found | ({"qr": self.qr} if self.qr else {})

    @property
    def event_age_s(self) -> float:
        """How long ago the last event came, or the stream opened."""
        return self._now_s() - self._event_at_s

    @property
    def open_s(self) -> float:
        """How long the stream has been open."""
        return self._now_s() - self._opened_at_s

    def opened(self) -> None:
        """Note that the event stream is open; again is nothing new."""
        if self._open:
            return
        self._open = True
        self._opened_at_s = self._event_at_s = self._now_s()
        self._become("waiting_for_login")

    def heard(self) -> None:
        """Note that an event came."""
        self.failures = 0
        self._event_at_s = self._now_s()

    def proved_alive(self) -> None:
        """Note an event that only a puppet that works can have made."""
        self._doubt = False
        if self.state == "quiet":
            self._become("logged_in")

    def logged_in(self, me: str) -> None:
        """Note who we are."""
        self.me, self.qr = me, ""
        # The gateway repeats a login to everybody who connects; that proves nothing.
        self._become("quiet" if self._doubt else "logged_in")
        self._usable.set()

    def logged_out(self) -> None:
        """Note that the account is out; the gateway may ask for a scan next."""
        self._lost()
        self._become("logged_out")

    def scan(self, qr: str) -> None:
        """Note the code to scan; "" = it was scanned or has expired."""
        self._lost()
        self.qr = qr
        self._become("scanning" if qr else "waiting_for_login")

    def quiet(self) -> bool:
        """Note that the puppet did not answer a question either; tells whether that is new."""
        is_new, self._doubt = not self._doubt, True
        if self.state == "logged_in":
            self._become("quiet")
        return is_new

    def stored(self, well: bool) -> None:
        """Note whether our own intake took a message."""
        if well and self.state == "not_storing":
            self._become("logged_in")
        elif not well and self.state == "logged_in":
            self._become("not_storing")

    def failed(self, error: CallFailed) -> float:
        """Note that the stream is gone; returns how many seconds to wait before the next try."""
        self._lost()
        self._open = False
        self.failures += 1
        state = _STATE_OF.get(error.why, "unreachable")
        self._become(state, str(error))
        pause_s = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2 ** min(self.failures - 1, 10))
        pause_s *= random.uniform(0.5, 1.0)  # noqa: S311 spreads attempts, guards nothing
        return max(pause_s, _LEAST_PAUSE_S.get(state, 0.0))

    def _lost(self) -> None:
        self.me = self.qr = ""
        self._usable.clear()

    def _become(self, state: State, cause: str | None = None) -> None:
        if state != self.state:
            _log.log(_level(state), "wechaty_link", state=state, was=self.state, cause=cause)
            self.state = state


def _level(state: State) -> int:
    return 20 if state in ("connecting", "waiting_for_login", "logged_in") else 30


def place_of(error: Exception) -> dict[str, str]:
    """Return where an error arose, but not what it says: that may hold a patient's words."""
    where = "".join(traceback.format_tb(error.__traceback__))
    return {"error": type(error).__name__, "at": where}
