"""Waiting for what must happen, however slow the machine is.

A test says what it waits for, never how many seconds that takes: the limit only turns a hang into
a failure that names it. How long things take is measured by `make bench`.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

# Below pytest's own limit for one test, so that the failure says what was missing.
PATIENCE_S = 90.0


async def until(
    holds: Callable[[], Any], what: str = "the condition", *, within_s: float = PATIENCE_S
) -> Any:
    """Ask again until `holds`, a function or coroutine function, returns something true.

    Returns:
        What it returned.

    Raises:
        AssertionError: it did not in time.
    """
    try:
        async with asyncio.timeout(within_s):
            while True:
                found = holds()
                if inspect.isawaitable(found):
                    found = await found
                if found:
                    return found
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"{what} did not hold within {within_s:.0f} s") from None
