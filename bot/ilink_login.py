"""`wechat login`, `wechat logins` and `wechat forget`: who is connected over Tencent's iLink.

They work beside a running service, which notices within seconds.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime

import segno

from adapters.wechat.ilink.api import IlinkApi
from adapters.wechat.ilink.login import LoginView, QrLogin
from adapters.wechat.ilink.logins import Login, all_logins, forget_login
from bot import log
from bot.settings import Settings
from core.clock import SystemClock
from core.store.keycheck import open_keyring
from core.store.store import Store
from migrations.schema import prepare

_MOST_LISTED = 1000
_SAYS = {
    "scanned": "Scanned. Now confirm in WeChat.",
    "confirmed": "Connected. Say hello to the new chat in WeChat: it is answered from now on.",
    "already": "This WeChat is connected already. If it gets no answers, look at `wechat logins`.",
    "expired": "Nobody scanned in time. Run the command again.",
    "blocked": "Too many wrong digits. Wait some minutes and run the command again.",
    "failed": "WeChat cannot be reached, or did not answer as expected. Check the network.",
}


def log_in(settings: Settings) -> int:
    """Show a QR code in the terminal until somebody is connected; 0 when they are."""
    log.set_up(settings.log)
    if not settings.wechat.ilink.enabled:
        _say("wechat.ilink.enabled is false: switch it on, or nobody will be answered.")
    with _store(settings) as store:
        view = asyncio.run(_log_in(settings, store))
    return 0 if view.state in ("confirmed", "already") else 1


async def _log_in(settings: Settings, store: Store) -> LoginView:
    loop = asyncio.get_running_loop()
    api = IlinkApi(settings.wechat.ilink)
    shown = LoginView()

    def ask_for_digits() -> None:
        digits = sys.stdin.readline()
        loop.call_soon_threadsafe(login.give_code, digits)

    def show(view: LoginView) -> None:
        nonlocal shown
        if view.qr and view.qr != shown.qr:
            _draw(view.qr)
        if view.state == "code_needed":
            wrong = "These digits are not right. " if view.wrong_code else ""
            _say(f"{wrong}Type the digits that WeChat shows, then Enter:")
            # A thread of its own, for nothing can end the reading when the code expires.
            threading.Thread(target=ask_for_digits, daemon=True).start()
        elif view.state != shown.state and view.state in _SAYS:
            _say(_SAYS[view.state])
        shown = view

    login = QrLogin(api, store, SystemClock(), settings.wechat.ilink.base_url, on_change=show)
    await api.start()
    try:
        return await login.run()
    finally:
        await api.stop()


def _draw(content: str) -> None:
    _say("\nScan with WeChat, on the phone of the person who will write here:\n")
    code = segno.make(content, micro=False)
    code.terminal(out=sys.stdout, compact=True)  # pyright: ignore[reportUnknownMemberType]
    _say(f"\nOr open this address on that phone: {content}\n")


def list_logins(settings: Settings, *, as_json: bool) -> int:
    """Print who is connected, newest first; no ids of people."""
    with _store(settings) as store:
        found = asyncio.run(store.read(all_logins, _MOST_LISTED))
    rows = [_row(login) for login in found]
    if as_json:
        _say(json.dumps(rows))
    for row in rows if not as_json else ():
        _say(f"{row['bot']}  {row['state']:<6}  since {row['since']}")
    if not rows and not as_json:
        _say("nobody is connected: run `oculichat wechat login`")
    return 0


def _row(login: Login) -> dict[str, str]:
    since = datetime.fromtimestamp(login.login_at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")
    return {"bot": login.bot_id, "state": login.state, "since": since}


def forget(settings: Settings, bot_id: str) -> int:
    """Delete a login: nothing is received or sent there any more; 1 when there is none."""
    with _store(settings) as store:
        is_gone = asyncio.run(store.write(forget_login, bot_id))
    _say("forgotten" if is_gone else f"no login of {bot_id}: see `oculichat wechat logins`")
    return 0 if is_gone else 1


@contextmanager
def _store(settings: Settings) -> Generator[Store]:
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    prepare(settings.database_url, backup_folder=settings.data_dir / "backups")
    store = Store(settings.database_url, open_keyring(settings.database_url, settings.key_file))
    try:
        yield store
    finally:
        store.close()


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
