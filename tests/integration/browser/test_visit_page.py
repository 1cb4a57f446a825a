"""The page of a booked visit on a phone: readable, accessible, and its file saved with one tap."""

from __future__ import annotations

from datetime import date, time
from pathlib import Path

import pytest
from playwright.async_api import Browser

from adapters.http.server import HttpServer
from adapters.visit.site import visit_routes
from core.followup.visit_file import Visit, calendar_file
from tests.integration.browser.conftest import PHONE, Watch, accessibility_faults

pytestmark = pytest.mark.asyncio(loop_scope="session")


def a_visit(language: str) -> Visit:
    place = "县人民医院三楼眼科门诊（新大楼）" if language == "zh-Hans" else "County hospital"
    return Visit("u", date(2027, 1, 20), time(9, 30), "Asia/Shanghai", place, language, 0)


@pytest.mark.parametrize("language", ["zh-Hans", "en"])
async def test_the_visit_is_read_and_saved(
    chromium: Browser, language: str, tmp_path: Path, screenshots: Path
) -> None:
    visit = a_visit(language)

    async def find(token: str) -> Visit | None:
        return visit if token == "good" else None

    server = HttpServer("127.0.0.1", 0, visit_routes(find), shutdown_timeout_s=1)
    await server.start()
    context = await chromium.new_context(viewport=PHONE, bypass_csp=True, accept_downloads=True)
    try:
        page = await context.new_page()
        watch = Watch(page)
        await page.goto(f"http://127.0.0.1:{server.port}/visit/good")
        assert await accessibility_faults(page) == []
        assert await page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        assert visit.place in await page.inner_text("main")
        button = page.locator("a.button")
        box = await button.bounding_box()
        assert box is not None
        assert box["height"] >= 44
        async with page.expect_download() as waiting:
            await button.click()
        saved = tmp_path / "visit.ics"
        await (await waiting.value).save_as(saved)
        assert saved.read_bytes().decode() == calendar_file(visit)
        assert watch.complaints == []
        await page.screenshot(path=str(screenshots / f"visit-{language}.png"))
    finally:
        await context.close()
        await server.stop()
