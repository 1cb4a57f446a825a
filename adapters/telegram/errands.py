"""Small calls nobody waits for: drafts, "typing…", answers to button presses. All best effort."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Coroutine
from typing import Any

import structlog
from telegram.error import TelegramError

_log = structlog.get_logger(__name__)


class Errands:
    """Owner of background calls: at most `most` at once, cancelled by `close`."""

    def __init__(self, *, most: int = 256) -> None:
        self._most = most
        self._tasks: set[asyncio.Task[None]] = set()

    def run(self, call: Coroutine[Any, Any, object], name: str) -> asyncio.Task[None] | None:
        """Start a call; when too many are under way, drop it and return None."""
        if len(self._tasks) >= self._most:
            call.close()
            _log.warning("telegram_errand_dropped", errand=name)
            return None
        task = asyncio.create_task(_quietly(call, name), name=f"telegram-{name}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def close(self) -> None:
        """Cancel what is still under way."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _quietly(call: Coroutine[Any, Any, object], name: str) -> None:
    try:
        await call
    except TelegramError as error:
        _log.debug("telegram_errand_failed", errand=name, error=type(error).__name__)
    except Exception as error:
        # Where, but not what: an error's text and locals may hold a patient's words.
        where = "".join(traceback.format_tb(error.__traceback__))
        _log.error("telegram_errand_broken", errand=name, error=type(error).__name__, where=where)
