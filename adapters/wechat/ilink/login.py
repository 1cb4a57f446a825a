"""Connecting a person: they scan a QR code with WeChat, and a bot of their own appears there.

`QrLogin` is one such scan; `LoginDesk` keeps the one that the console shows. Both end by storing
the login, and the running service finds it there.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import structlog

from adapters.wechat.ilink.api import IlinkApi, NoAnswer, NotSent, Refused
from adapters.wechat.ilink.logins import TOKEN, NewLogin, all_logins, save_login
from core.clock import Clock
from core.errors import TransientError
from core.store.store import Store

_log = structlog.get_logger(__name__)

State = Literal[
    "idle",  # nobody asked
    "waiting",  # the code is shown
    "scanned",  # WeChat asks the person to confirm
    "code_needed",  # WeChat shows digits to be typed here
    "confirmed",  # connected
    "already",  # this phone is connected to us
    "expired",  # nobody scanned in time
    "blocked",  # too many wrong digits
    "failed",  # WeChat cannot be reached, or answered nonsense
]
ENDED: frozenset[State] = frozenset({"confirmed", "already", "expired", "blocked", "failed"})
_FOR_S = 480.0
_CODES = 3  # WeChat gives each about five minutes
_PAUSE_S = 1.0
_MOST_LOGINS = 1_000
_KNOWN_TOKENS = 10  # as many as WeChat's own client sends
_USER_ID_LIMIT, _BOT_ID_LIMIT, _URL_LIMIT = 128, 64, 200


@dataclass(frozen=True, slots=True)
class LoginView:
    """What to show about a login.

    Attributes:
        state: how far it is.
        qr: what the QR code says; None when there is none to show. Whoever scans it connects
            their WeChat with this clinic, so it is shown to that person only.
        wrong_code: the digits typed last were not right.
        bot_id: the new bot, once confirmed.
    """

    state: State = "idle"
    qr: str | None = None
    wrong_code: bool = False
    bot_id: str = ""


class QrLogin:
    """One login, from the first QR code to its end.

    Args:
        api: the started client.
        store: where the login is kept.
        clock: the present.
        base_url: where logins begin.
        on_change: told each new view.
        sleep: waits.
    """

    def __init__(
        self,
        api: IlinkApi,
        store: Store,
        clock: Clock,
        base_url: str,
        *,
        on_change: Callable[[LoginView], None] = lambda _: None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._api = api
        self._store = store
        self._clock = clock
        self._base_url = base_url
        self._on_change = on_change
        self._sleep = sleep
        self._code = ""
        self._code_typed = asyncio.Event()
        self.view = LoginView()

    def give_code(self, digits: str) -> None:
        """Hand in the digits that WeChat shows."""
        self._code = digits.strip()
        self._code_typed.set()

    async def run(self) -> LoginView:
        """Show codes until somebody is connected or nobody comes; returns the last view."""
        try:
            async with asyncio.timeout(_FOR_S):
                await self._run()
        except TimeoutError:
            self._become("expired")
        except (NotSent, NoAnswer, Refused, TransientError) as error:
            _log.warning("ilink_login_failed", cause=type(error).__name__)
            self._become("failed")
        return self.view

    async def _run(self) -> None:
        for _ in range(_CODES):
            answer = await self._api.login_code(await self._known_tokens())
            code, shown = answer.get("qrcode"), answer.get("qrcode_img_content")
            if not isinstance(code, str) or not isinstance(shown, str) or not code or not shown:
                self._become("failed")
                return
            self._become("waiting", qr=shown)
            if await self._follow(code):
                return
        self._become("blocked" if self.view.state == "blocked" else "expired")

    async def _known_tokens(self) -> list[str]:
        """Return what WeChat recognises connected phones by; a stale one needs a new bot."""
        logins = await self._store.read(all_logins, _MOST_LOGINS)
        active = [login for login in logins if login.state == "active"]
        return [login.token(self._store.keys) for login in active[:_KNOWN_TOKENS]]

    async def _follow(self, code: str) -> bool:
        """Wait for the end of one QR code; False when another one has to be shown."""
        place, typed = self._base_url, ""
        while True:
            try:
                answer = await self._api.login_status(place, code, verify_code=typed)
            except NotSent:
                await self._sleep(2 * _PAUSE_S)
                continue
            match answer.get("status"):
                case "scaned":  # codespell:ignore scaned
                    self._become("scanned")
                case "scaned_but_redirect":
                    self._become("scanned")
                    place = self._redirected(answer, place)
                case "need_verifycode":
                    typed = await self._ask_for_digits(wrong=bool(typed))
                    continue
                case "verify_code_blocked":
                    self._become("blocked")
                    return False
                case "expired":
                    return False
                case "binded_redirect":
                    self._become("already")
                    return True
                case "confirmed":
                    await self._confirm(answer)
                    return True
                case _:
                    pass
            await self._sleep(_PAUSE_S)

    def _redirected(self, answer: Mapping[str, Any], place: str) -> str:
        host = answer.get("redirect_host")
        if not isinstance(host, str) or not host or place.endswith(f"//{host}"):
            return place
        return f"https://{host}"

    async def _ask_for_digits(self, *, wrong: bool) -> str:
        self._code_typed.clear()
        self._become("code_needed", wrong_code=wrong)
        await self._code_typed.wait()
        return self._code

    async def _confirm(self, answer: Mapping[str, Any]) -> None:
        token, bot_id = answer.get("bot_token"), answer.get("ilink_bot_id")
        user_id, base_url = answer.get("ilink_user_id"), answer.get("baseurl") or self._base_url
        found = [v for v in (token, bot_id, user_id, base_url) if isinstance(v, str) and v]
        if len(found) < 4:
            self._become("failed")
            return
        token, bot_id, user_id, base_url = found
        base_url = self._api.trusted(base_url).rstrip("/")
        if (
            len(user_id) > _USER_ID_LIMIT
            or len(bot_id) > _BOT_ID_LIMIT
            or len(base_url) > _URL_LIMIT
        ):
            self._become("failed")
            return
        sealed = self._store.keys.seal(TOKEN, token.encode())
        is_new = await self._store.write(
            save_login, NewLogin(user_id, bot_id, base_url, sealed, self._clock.now_ms())
        )
        _log.info("ilink_login_confirmed", new=is_new)
        self._become("confirmed", bot_id=bot_id)

    def _become(
        self, state: State, *, qr: str | None = None, wrong_code: bool = False, bot_id: str = ""
    ) -> None:
        shown = None if state in ENDED else qr or self.view.qr
        view = LoginView(state, shown, wrong_code, bot_id)
        if view != self.view:
            self.view = view
            self._on_change(view)


class LoginDesk:
    """The login that the console shows: at most one at a time, owned here.

    Args:
        start: makes a login.
    """

    def __init__(self, start: Callable[[], QrLogin]) -> None:
        self._start = start
        self._login: QrLogin | None = None
        self._task: asyncio.Task[LoginView] | None = None

    @property
    def view(self) -> LoginView:
        """What to show now."""
        return LoginView() if self._login is None else self._login.view

    async def begin(self) -> LoginView:
        """Show a QR code; while one is shown, beginning again changes nothing."""
        if self._task is None or self._task.done():
            self._login = self._start()
            self._login.view = replace(self._login.view, state="waiting")
            self._task = asyncio.create_task(self._login.run(), name="ilink-login")
        return self.view

    def give_code(self, digits: str) -> None:
        """Hand in the digits that WeChat shows; without a login nothing happens."""
        if self._login is not None:
            self._login.give_code(digits)

    async def stop(self) -> None:
        """Take the QR code away; repeatable."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self._task = self._login = None
