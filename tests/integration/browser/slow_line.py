"""What a page weighs, and how soon somebody can use it on a slow line, as Chromium measures it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from playwright.async_api import CDPSession, Page

# Chromium's own "2G": 250 kbit/s down, 50 up, 300 ms.
SLOW = {"offline": False, "latency": 300, "downloadThroughput": 31_250, "uploadThroughput": 6_250}
FIRST_LOAD_BYTES = 60_000
# The photos themselves: fetched beside the page, as large as somebody took them.
_PHOTO = ("/image", "/small", "/card", "/overlay")


@dataclass(frozen=True, slots=True)
class Load:
    """One load with nothing cached.

    Attributes:
        weight_bytes: over the wire with headers, everything but photos and open streams.
        usable_ms: until the first control of the page could be used.
    """

    weight_bytes: int
    usable_ms: float


async def watched(page: Page, *, slow: bool) -> CDPSession:
    """Return a session that counts what `page` loads from now on, cached by nothing."""
    session = await page.context.new_cdp_session(page)
    await session.send("Network.enable")
    await session.send("Network.setCacheDisabled", {"cacheDisabled": True})
    if slow:
        await session.send("Network.emulateNetworkConditions", SLOW)
    return session


async def first_load(page: Page, url: str, *, slow: bool) -> Load:
    """Load a page as somebody who has never seen it."""
    session = await watched(page, slow=slow)
    urls: dict[str, str] = {}
    sizes: dict[str, float] = {}

    def asked(event: dict[str, Any]) -> None:
        urls[event["requestId"]] = event["request"]["url"].partition("?")[0]

    def done(event: dict[str, Any]) -> None:
        sizes[event["requestId"]] = event["encodedDataLength"]

    session.on("Network.requestWillBeSent", asked)
    session.on("Network.loadingFinished", done)
    began = time.monotonic()
    await page.goto(url, wait_until="domcontentloaded")
    control = "a:visible, button:visible, input:visible, select:visible, textarea:visible"
    await page.locator(control).first.wait_for()
    usable_ms = 1000 * (time.monotonic() - began)
    await page.wait_for_load_state("load")
    await session.detach()
    known = {key: size for key, size in sizes.items() if not urls.get(key, "").endswith(_PHOTO)}
    return Load(round(sum(known.values())), usable_ms)
