"""Every page that somebody sees first, on a 2G line: how much it weighs, how soon it can be used.

The screens are those of `tests.integration.browser.screens`; Chromium slows its own line down.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from playwright.async_api import Browser, async_playwright

from tests.bench.table import Figure
from tests.integration.browser.conftest import FLAGS, PHONE, chromium_path
from tests.integration.browser.screens import (
    BEDSIDE,
    CHAT,
    CONSOLE,
    Place,
    Screen,
    bedside_place,
    chat_place,
    console_place,
    ready_bedside,
)
from tests.integration.browser.slow_line import FIRST_LOAD_BYTES, Load, first_load

_USABLE_S = 5.0
_Opener = Callable[[], AbstractAsyncContextManager[Place]]
_PLACES: tuple[tuple[_Opener, tuple[Screen, ...]], ...] = (
    (chat_place, CHAT),
    (console_place, CONSOLE),
    (bedside_place, BEDSIDE),
)


async def pages(repeat: int) -> list[Figure]:
    """Measure each first screen `repeat` times."""
    path = chromium_path()
    if path is None:
        sys.stderr.write(" needs Chromium: install it or set OCULICHAT_CHROMIUM …")
        return []
    loads: dict[str, list[Load]] = {}
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=FLAGS)
        for opened, screens in _PLACES:
            async with opened() as place:
                await _measure(browser, place, screens, repeat, loads)
        await browser.close()
    heaviest = max(loads, key=lambda name: max(load.weight_bytes for load in loads[name]))
    slowest = max(loads, key=lambda name: max(load.usable_ms for load in loads[name]))
    shown: list[Figure] = []
    for name, found in loads.items():
        weights = tuple(load.weight_bytes / 1000 for load in found)
        times = tuple(load.usable_ms / 1000 for load in found)
        note = " and ".join(
            word for word, which in (("heaviest", heaviest), ("slowest", slowest)) if which == name
        )
        shown.append(Figure(f"{name}: first load", "kB", weights, FIRST_LOAD_BYTES / 1000))
        shown.append(Figure(f"{name}: usable on 2G", "s", times, _USABLE_S, note=note))
    return shown


async def _measure(
    browser: Browser,
    place: Place,
    screens: tuple[Screen, ...],
    repeat: int,
    loads: dict[str, list[Load]],
) -> None:
    context = await browser.new_context(viewport=PHONE, locale="zh-CN")
    context.set_default_timeout(60_000)
    page = await (ready_bedside(place, context) if screens is BEDSIDE else context.new_page())
    for screen in screens:
        if not screen.is_first:
            continue
        await screen.show(place, page)
        url = page.url.partition("#")[0]
        for _ in range(repeat):
            other = await context.new_page()
            loads.setdefault(screen.name, []).append(await first_load(other, url, slow=True))
            await other.close()
    await context.close()
