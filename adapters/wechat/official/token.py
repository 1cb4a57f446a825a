"""The access token: fetched once, shared by all replicas, renewed early.

One row of the database is the token's only place. Who claims the row fetches; the others use the
old token while it lasts, or wait for the new one. `stable_token` gives everybody the same token, so
even a claim lost in a crash voids nothing.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from core.clock import Clock
from core.errors import TransientError
from core.store.store import Store
from core.store.wechat_official import (
    Fetched,
    FetchWish,
    Token,
    claim_fetch,
    finish_fetch,
    token_of,
)

log = structlog.get_logger(__name__)

_COLUMN = "wechat_token.token"
_EARLY_MS = 300_000
_CLAIM_MS = 20_000
_WAIT_S, _MOST_WAITS = 0.2, 75
# WeChat: forced at most 20 times a day and not within 30 s.
_BETWEEN_FORCED_MS = 60_000
_FAILED_PAUSE_MS = 5_000


@dataclass(frozen=True, slots=True)
class Issued:
    """What WeChat gave us."""

    token: str
    lifetime_s: int


Fetch = Callable[[bool], Awaitable[Issued]]


class TokenHolder:
    """Keeps the token of one account.

    Args:
        account: AppID.
        store: where the row is.
        clock: the present.
        fetch: asks WeChat; true = void the old one. Raises `TransientError` or `ConfigError`.
    """

    def __init__(self, account: str, store: Store, clock: Clock, fetch: Fetch) -> None:
        self._account = account
        self._store = store
        self._clock = clock
        self._fetch = fetch
        self._known: str | None = None
        self._until_ms = 0
        self._lock = asyncio.Lock()
        self._early: asyncio.Task[None] | None = None
        self._not_before_ms = 0

    async def get(self) -> str:
        """Return a token that is valid for at least a moment.

        Raises:
            TransientError: there is none and none could be had.
            ConfigError: WeChat rejects app id, secret or our address.
        """
        now_ms = self._clock.now_ms()
        if self._known is not None and now_ms < self._until_ms - _EARLY_MS:
            return self._known
        if self._known is not None and now_ms < self._until_ms - 10_000:
            self._renew_early(now_ms)
            return self._known
        async with self._lock:
            return await self._read_or_fetch()

    async def renew(self, stale: str) -> str:
        """Return another token than `stale`, which WeChat refused.

        Raises:
            TransientError: WeChat holds on to that one and was made to void it a moment ago.
            ConfigError: as `get`.
        """
        async with self._lock:
            if self._known == stale:
                self._known = None
            held = self._open(await self._store.read(token_of, self._account))
            if held is not None and held != stale:
                return held
            return await self._fetch_as_holder(stale)

    async def close(self) -> None:
        """End what is under way."""
        if self._early is not None:
            self._early.cancel()
            await asyncio.gather(self._early, return_exceptions=True)

    def _renew_early(self, now_ms: int) -> None:
        if now_ms < self._not_before_ms or (self._early and not self._early.done()):
            return
        self._not_before_ms = now_ms + _FAILED_PAUSE_MS
        self._early = asyncio.create_task(self._quietly_renew(), name="wechat-token")

    async def _quietly_renew(self) -> None:
        try:
            async with self._lock:
                await self._read_or_fetch(_EARLY_MS)
        except Exception as error:
            log.warning("wechat_token_not_renewed", error=type(error).__name__)

    async def _read_or_fetch(self, needed_ms: int = 10_000) -> str:
        row = await self._store.read(token_of, self._account)
        held = self._open(row)
        if held is not None and row.expires_at_ms - self._clock.now_ms() > needed_ms:
            return held
        return await self._fetch_as_holder(None)

    async def _fetch_as_holder(self, stale: str | None) -> str:
        """Fetch as the one who may, or wait for whoever may."""
        for _ in range(_MOST_WAITS):
            now_ms = self._clock.now_ms()
            wish = FetchWish(self._account, now_ms, now_ms + _CLAIM_MS)
            if await self._store.write(claim_fetch, wish):
                return await self._fetch_now(stale)
            await asyncio.sleep(_WAIT_S * random.uniform(0.5, 1.5))  # noqa: S311 spreads load
            row = await self._store.read(token_of, self._account)
            held = self._open(row)
            if held is not None and held != stale and row.fetching_until_ms == 0:
                return held
        raise TransientError("another process holds WeChat's token and does not fetch it")

    async def _fetch_now(self, stale: str | None) -> str:
        result = Fetched(self._account)
        try:
            row = await self._store.read(token_of, self._account)
            held = self._open(row)
            left_ms = row.expires_at_ms - self._clock.now_ms()
            if held is not None and held != stale and left_ms > _EARLY_MS:
                return held  # a peer was faster than our claim
            issued = await self._fetch(False)
            if issued.token == stale:
                result, issued = await self._force(row)
            now_ms = self._clock.now_ms()
            until_ms = now_ms + issued.lifetime_s * 1000
            sealed = self._store.keys.seal(_COLUMN, issued.token.encode())
            result = Fetched(self._account, sealed, until_ms, result.forced_at_ms)
            self._known, self._until_ms = issued.token, until_ms
            return issued.token
        finally:
            await self._store.write(finish_fetch, result)

    async def _force(self, row: Token) -> tuple[Fetched, Issued]:
        now_ms = self._clock.now_ms()
        if now_ms - row.forced_at_ms < _BETWEEN_FORCED_MS:
            raise TransientError("WeChat refuses its own token", retry_after_s=30)
        log.warning("wechat_token_forced")
        return Fetched(self._account, forced_at_ms=now_ms), await self._fetch(True)

    def _open(self, row: Token) -> str | None:
        """Take over what is stored when it is still valid."""
        if row.sealed is None or row.expires_at_ms <= self._clock.now_ms():
            return None
        self._known = self._store.keys.open(_COLUMN, row.sealed).decode()
        self._until_ms = row.expires_at_ms
        return self._known
