"""One person's long poll. WeChat forgets messages only when the next call's cursor passes them, so
the cursor moves only after they are in the inbox: a crash at any point loses nothing.
"""

from __future__ import annotations

import asyncio
import random
import time
import traceback
from collections.abc import Awaitable, Callable
from typing import Literal, Never

import structlog

from adapters.wechat.ilink.api import Access, IlinkApi, NoAnswer, NotSent, Refused
from adapters.wechat.ilink.inbound import to_inbound
from adapters.wechat.ilink.logins import (
    CONTEXT,
    CURSOR,
    Login,
    NewContext,
    Progress,
    note_contexts,
    note_progress,
)
from adapters.wechat.ilink.wire import FROM_USER, Updates
from core.clock import Clock
from core.errors import TransientError
from core.ports import Intake
from core.store.store import Store

_log = structlog.get_logger(__name__)

State = Literal[
    "starting",
    "ready",
    "unreachable",  # the network or WeChat is down; we keep trying
    "stale",  # WeChat wants a new scan
    "not_storing",  # our own intake refuses; WeChat keeps the messages
]
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 30.0
# WeChat's own client waits an hour; a login that came back is found sooner.
_STALE_PAUSE_S = 600.0
# A server that does not wait would otherwise keep us busy.
_EMPTY_ANSWER_PAUSE_S = 0.5
_NOTIFY_TIMEOUT_S = 5.0


class Poller:
    """Receives one person's messages until cancelled, whatever fails.

    Args:
        login: as stored; a new scan gets a new poller.
        api: the started client.
        store: cursors and contexts go there.
        clock: the present.
        intake: messages go there.
        heard: told who wrote, once their new context is stored.
        sleep: waits.

    Attributes:
        state: how it goes; changes are logged once each.
        heard_at_ms: when WeChat last answered as it should, or 0.
    """

    def __init__(
        self,
        login: Login,
        api: IlinkApi,
        store: Store,
        clock: Clock,
        intake: Intake,
        *,
        heard: Callable[[str], None] = lambda _: None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.login = login
        self._api = api
        self._store = store
        self._clock = clock
        self._intake = intake
        self._heard = heard
        self._sleep = sleep
        self._access = Access(login.base_url, login.token(store.keys))
        self._cursor = login.cursor(store.keys)
        self._failures = 0
        self._said_stale = 0
        self.state: State = "stale" if login.state == "stale" else "starting"
        self.heard_at_ms = 0

    async def run(self) -> Never:
        """Poll for ever."""
        await self._announce("notifystart")
        while True:
            asked_at_s = time.monotonic()
            try:
                updates = await self._api.updates(self._access, self._cursor)
                await self._receive(updates)
            except Exception as error:
                await self._sleep(await self._failed(error))
                continue
            await self._succeeded()
            if not updates.messages and time.monotonic() - asked_at_s < _EMPTY_ANSWER_PAUSE_S:
                await self._sleep(_EMPTY_ANSWER_PAUSE_S)

    async def farewell(self) -> None:
        """Tell WeChat that nobody listens any more; best effort."""
        if self.state == "ready":
            await self._announce("notifystop")

    async def _announce(self, method: str) -> None:
        try:
            await self._api.call(self._access, f"msg/{method}", {}, timeout_s=_NOTIFY_TIMEOUT_S)
        except (NotSent, NoAnswer, Refused) as error:
            _log.debug("ilink_notify_failed", method=method, error=type(error).__name__)

    async def _receive(self, updates: Updates) -> None:
        """Store contexts, then messages, then the cursor: each rests on the one before."""
        if updates.unreadable:
            _log.error("ilink_update_unreadable", login=self.login.id, count=updates.unreadable)
        contexts = {
            m.user_id: NewContext(
                self.login.id,
                m.user_id,
                self._store.keys.seal(CONTEXT, m.context_token.encode()),
                m.sent_at_ms or self._clock.now_ms(),
            )
            for m in updates.messages
            if m.context_token and m.sender == FROM_USER and not m.group_id
        }
        if contexts:
            await self._store.write_all(note_contexts, list(contexts.values()))
            for user_id in contexts:
                self._heard(user_id)
        messages = [i for m in updates.messages if (i := to_inbound(m)) is not None]
        if messages:
            await self._intake.accept(messages)
        if updates.cursor is not None and updates.cursor != self._cursor:
            sealed = self._store.keys.seal(CURSOR, updates.cursor.encode())
            await self._note(cursor_sealed=sealed)
            self._cursor = updates.cursor

    async def _note(
        self,
        *,
        cursor_sealed: bytes | None = None,
        state: Literal["active", "stale"] | None = None,
    ) -> None:
        login = self.login
        step = Progress(login.id, login.login_at_ms, self._clock.now_ms(), cursor_sealed, state)
        await self._store.write(note_progress, step)

    async def _succeeded(self) -> None:
        self.heard_at_ms = self._clock.now_ms()
        self._failures = self._said_stale = 0
        if self.state == "stale":
            await self._note_quietly("active")
        self._become("ready")

    async def _failed(self, error: Exception) -> float:
        """Note a failure and return how many seconds to wait before the next attempt."""
        self._failures += 1
        match error:
            case Refused() if error.is_stale:
                return await self._stale()
            case NotSent() | NoAnswer() | Refused():
                self._become("unreachable", error)
            case _:
                if not isinstance(error, TransientError):
                    # Where, but not what: an error's text and locals may hold a patient's words.
                    where = "".join(traceback.format_tb(error.__traceback__))
                    _log.error("ilink_intake_broken", error=type(error).__name__, where=where)
                self._become("not_storing", error)
        pause_s = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2 ** min(self._failures - 1, 10))
        return pause_s * random.uniform(0.5, 1.0)  # noqa: S311 spreads attempts, guards nothing

    async def _stale(self) -> float:
        """Announce ourselves once more, which sometimes helps; then wait for a new scan."""
        self._said_stale += 1
        if self._said_stale > 1 and self.state != "stale":
            await self._note_quietly("stale")
            self._become("stale")
        await self._announce("notifystart")
        return _FIRST_PAUSE_S if self._said_stale == 1 else _STALE_PAUSE_S

    async def _note_quietly(self, state: Literal["active", "stale"]) -> None:
        try:
            await self._note(state=state)
        except TransientError:
            return  # the next success or failure says it again

    def _become(self, state: State, error: Exception | None = None) -> None:
        if state != self.state:
            cause = type(error).__name__ if error else None
            of = self.login.id
            _log.log(
                _level(state), "ilink_link", login=of, state=state, was=self.state, cause=cause
            )
            self.state = state


def _level(state: State) -> int:
    return 20 if state == "ready" else 30
