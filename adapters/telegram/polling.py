"""Our own long poll. Telegram forgets an update only when the next call's offset passes it, so
the offset moves only after the messages are stored: a crash at any point loses nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Never

from adapters.telegram.link import Link

Update = dict[str, Any]
Fetch = Callable[[int | None, int], Awaitable[Sequence[Update]]]
Receive = Callable[[Sequence[Update]], Awaitable[None]]

# A server that ignores the timeout would otherwise keep us busy.
_EMPTY_ANSWER_PAUSE_S = 0.5


async def poll(
    fetch: Fetch,
    receive: Receive,
    link: Link,
    *,
    poll_timeout_s: int,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> Never:
    """Fetch and receive updates until cancelled, whatever fails.

    Args:
        fetch: calls getUpdates with an offset (None = from the oldest) and a timeout in s.
        receive: stores updates; returns only when they are safe.
        link: where the state is noted.
        poll_timeout_s: how long one call may wait for news.
        sleep: waits.
    """
    offset: int | None = None
    while True:
        # After a failure ask for an answer at once, to know soon that all is well again.
        timeout_s = 0 if link.failures else poll_timeout_s
        asked_at_s = time.monotonic()
        try:
            updates = await fetch(offset, timeout_s)
            if updates:
                await receive(updates)
                offset = updates[-1]["update_id"] + 1
        except Exception as error:
            await sleep(link.failed(error))
            continue
        link.succeeded()
        if not updates and timeout_s and time.monotonic() - asked_at_s < _EMPTY_ANSWER_PAUSE_S:
            await sleep(_EMPTY_ANSWER_PAUSE_S)
