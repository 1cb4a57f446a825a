"""One poller for every login, found in the database: a scan beside the running service counts too.

On PostgreSQL several processes may run; each login is polled by one of them, which renews its
claim, so that another takes over within half a minute.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Never

import structlog

from adapters.wechat.ilink.api import IlinkApi
from adapters.wechat.ilink.logins import Claim, all_logins, claim, release
from adapters.wechat.ilink.poll import Poller
from core.clock import Clock
from core.errors import TransientError
from core.ports import Intake
from core.store.store import Store

_log = structlog.get_logger(__name__)

_LOOK_EVERY_S = 2.0
_CLAIM_EVERY_MS, _CLAIM_FOR_MS = 10_000, 30_000
_FAREWELL_S = 3.0


class Receiving:
    """Owner of the pollers.

    Args:
        api: the started client.
        store: where the logins are.
        clock: the present.
        most: how many logins are served; the newest ones are.
        heard: told who wrote.

    Attributes:
        left_out: logins beyond `most`, 0 or 1: one is enough to say so.
    """

    def __init__(
        self, api: IlinkApi, store: Store, clock: Clock, *, most: int, heard: Callable[[str], None]
    ) -> None:
        self._api = api
        self._store = store
        self._clock = clock
        self._most = most
        self._heard = heard
        self._pollers: dict[int, tuple[Poller, asyncio.Task[Never]]] = {}
        self._me = secrets.token_hex(8)
        self._claimed_at_ms = 0
        self.left_out = 0

    def states(self) -> Mapping[str, int]:
        """Return how many logins are in which state."""
        return Counter(poller.state for poller, _ in self._pollers.values())

    async def run(self, intake: Intake) -> Never:
        """Keep the pollers in step with the logins until cancelled."""
        try:
            while True:
                try:
                    await self._follow(intake)
                except TransientError as error:
                    _log.warning("ilink_logins_unknown", cause=str(error))
                await asyncio.sleep(_LOOK_EVERY_S)
        finally:
            await self._let_go()

    async def _follow(self, intake: Intake) -> None:
        logins = await self._store.read(all_logins, self._most + 1)
        self.left_out = max(0, len(logins) - self._most)
        logins = logins[: self._most]
        mine = await self._claim([login.id for login in logins])
        wanted = {login.id: login for login in logins if login.id in mine}
        for login_id, (poller, task) in list(self._pollers.items()):
            login = wanted.get(login_id)
            if login is None or login.login_at_ms != poller.login.login_at_ms or task.done():
                task.cancel()
                del self._pollers[login_id]
        for login_id, login in wanted.items():
            if login_id not in self._pollers:
                poller = Poller(
                    login, self._api, self._store, self._clock, intake, heard=self._heard
                )
                task = asyncio.create_task(poller.run(), name=f"ilink-poll-{login_id}")
                self._pollers[login_id] = (poller, task)

    async def _claim(self, ids: Sequence[int]) -> set[int]:
        """Return which logins this process polls."""
        if not self._store.shared:
            return set(ids)
        now_ms = self._clock.now_ms()
        due = now_ms - self._claimed_at_ms >= _CLAIM_EVERY_MS
        asked = ids if due else [i for i in ids if i not in self._pollers]
        until_ms = now_ms + _CLAIM_FOR_MS
        got = await self._store.write_all(
            claim, [Claim(i, self._me, now_ms, until_ms) for i in asked]
        )
        if due:
            self._claimed_at_ms = now_ms
        kept = set(self._pollers) - set(asked)
        return kept | {i for i, is_mine in zip(asked, got, strict=True) if is_mine}

    async def _let_go(self) -> None:
        pollers = list(self._pollers.values())
        self._pollers.clear()
        for _, task in pollers:
            task.cancel()
        await asyncio.gather(*(task for _, task in pollers), return_exceptions=True)
        try:
            async with asyncio.timeout(_FAREWELL_S):
                await asyncio.gather(*(poller.farewell() for poller, _ in pollers))
                if self._store.shared:
                    await self._store.write(release, self._me)
        except (TimeoutError, TransientError):
            return
