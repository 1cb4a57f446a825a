"""Pages in a real headless Chromium, phone-sized, over a core in memory.

All tests share one browser and one event loop; each has its own server and its own context.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, async_playwright, expect

from adapters.http.server import HttpServer
from adapters.webchat.channel import WebChat
from adapters.webchat.settings import MEBIBYTE, WebChatSettings
from tests.fakes.core_fakes import FakeBlobs, FakeClock, FakeConversations
from tests.integration.webchat.conftest import Site

# A slow machine is no broken page.
expect.set_options(timeout=60_000)

PHONE = {"width": 360, "height": 740}
AXE = Path(__file__).parents[2] / "fixtures" / "axe" / "axe.min.js"
# Nothing but the page under test may use the network.
FLAGS = [
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-sync",
    "--no-first-run",
]


def chromium_path() -> str | None:
    names = ("chromium", "chromium-browser", "google-chrome")
    return os.environ.get("OCULICHAT_CHROMIUM") or next(
        filter(None, map(shutil.which, names)), None
    )


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def chromium() -> AsyncIterator[Browser]:
    path = chromium_path()
    if path is None:
        pytest.skip("no Chromium here: install the package `chromium` or set OCULICHAT_CHROMIUM")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="session")
async def site() -> AsyncIterator[Site]:
    clock, blobs = FakeClock(), FakeBlobs()
    conversations = FakeConversations(clock)
    settings = WebChatSettings(max_upload_bytes=MEBIBYTE)
    chat = WebChat(settings, history=conversations, blobs=blobs, clock=clock)
    server = HttpServer("127.0.0.1", 0, chat.routes(conversations), shutdown_timeout_s=1)
    await server.start()
    yield Site(clock, conversations, blobs, chat, server)
    await server.stop()


class Watch:
    """Everything a page did that it should not, and what it fetched."""

    def __init__(self, page: Page) -> None:
        self.complaints: list[str] = []
        self.urls: list[str] = []
        page.on("console", lambda m: self.complaints.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.urls.append(request.url))


@pytest.fixture
def screenshots(tmp_path: Path) -> Path:
    folder = Path(os.environ.get("OCULICHAT_SCREENSHOTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


async def accessibility_faults(page: Page) -> list[str]:
    """Run axe-core; the page's context must have `bypass_csp`."""
    await page.add_script_tag(path=AXE)
    found = await page.evaluate(
        """axe.run({runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa",
                              "best-practice"]})"""
    )
    assert found["passes"], "axe found nothing to check"
    return [f"{v['id']}: {v['nodes'][0]['html'][:200]}" for v in found["violations"]]
