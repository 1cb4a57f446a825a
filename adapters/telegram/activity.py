"""Shows "typing…" while a block runs. Telegram hides it after 5 s, so it is repeated."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType

from telegram.error import TelegramError

from adapters.telegram.errands import Errands

_DELAY_S = 0.3  # most turns are over by then
_REPEAT_S = 4.0
_MOST_REPEATS = 75  # five minutes; nobody is still waiting


class Shown:
    """Async context manager; never raises and never delays its block."""

    def __init__(self, show: Callable[[], Awaitable[object]], errands: Errands) -> None:
        self._show = show
        self._errands = errands
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(_DELAY_S, self._start)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._timer:
            self._timer.cancel()
        if self._task:
            self._task.cancel()

    def _start(self) -> None:
        self._task = self._errands.run(self._repeat(), "activity")

    async def _repeat(self) -> None:
        for _ in range(_MOST_REPEATS):
            try:
                await self._show()
            except TelegramError:
                return  # also a pause Telegram asks for: this is the least important call
            await asyncio.sleep(_REPEAT_S)
