"""The ticker: what must happen again and again. APScheduler holds no work, only the beat.

Every replica ticks; claims in the store decide who does what.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler

from core.alerts import StaffAlerts
from core.clock import Clock
from core.delivery import Delivery
from core.digest import StaffDigest
from core.dispatch import Dispatcher
from core.errors import TransientError
from core.store.due import Due, take_due
from core.store.store import Store
from core.takeover import Takeovers

log = structlog.get_logger(__name__)

_RECOVER_EVERY_S = 15


class Ticker:
    """Beats while the service runs.

    Attributes:
        lateness_ms: how late the latest reminder of the last tick was.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        dispatcher: Dispatcher,
        delivery: Delivery,
        lease_ms: int,
        alerts: StaffAlerts | None = None,
        digest: StaffDigest | None = None,
        takeovers: Takeovers | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._dispatcher = dispatcher
        self._delivery = delivery
        self._scheduler = AsyncIOScheduler(timezone="UTC")
        self.lateness_ms = 0
        beats: list[tuple[float, Callable[[], Awaitable[None]]]] = [
            (1.0, self.tick_due),
            (1.0, self._sweep),
            (float(_RECOVER_EVERY_S), self._recover),
            (lease_ms / 3000, dispatcher.renew_leases),
        ]
        if alerts is not None:
            beats.append((1.0, alerts.tick))
        if digest is not None:
            beats.append((30.0, digest.tick))
        if takeovers is not None:
            beats.append((5.0, takeovers.tick))
        for seconds, work in beats:
            self._scheduler.add_job(  # pyright: ignore[reportUnknownMemberType] untyped library
                _guarded(work),
                "interval",
                seconds=seconds,
                max_instances=1,
                coalesce=True,
                misfire_grace_time=None,
            )

    @property
    def is_running(self) -> bool:
        """Whether it beats."""
        return bool(self._scheduler.running)

    def start(self) -> None:
        """Begin to beat, on the running loop."""
        self._scheduler.start()

    def stop(self) -> None:
        """Stop beating; work in progress ends by itself."""
        self._scheduler.shutdown(wait=False)

    async def tick_due(self) -> None:
        """Turn everything due into events of its conversation, and wake those."""
        while True:
            due: Due = await self._store.write(take_due, self._clock.now_ms())
            if not due.count:
                return
            self.lateness_ms = due.latest_ms
            await self._dispatcher.claim_waiting(due.conversation_ids)

    async def _sweep(self) -> None:
        await self._dispatcher.claim_waiting()

    async def _recover(self) -> None:
        await self._delivery.recover(only_user=False)


def _guarded(work: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
    async def run() -> None:
        try:
            await work()
        except TransientError as error:
            log.warning("tick_failed", error=str(error))
        except Exception as error:
            # A beat must not end for ever because one failed.
            log.exception("tick_failed", error=type(error).__name__)

    return run
