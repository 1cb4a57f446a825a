from __future__ import annotations

from datetime import UTC, datetime

import pytest
import pytest_asyncio
from playwright.async_api import expect

from tests.fakes.attendance import some_plans
from tests.fakes.core_fakes import FakeClock
from tests.fakes.recalls import some_recalls
from tests.integration.browser.conftest import PHONE, Watch, accessibility_faults
from tests.integration.console.conftest import HOSTILE, PASSWORD, start_clinic

TODAY = datetime.fromtimestamp(FakeClock().now_ms() / 1000, UTC).date()
pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


@pytest_asyncio.fixture(loop_scope="session")
async def clinic():
    clinic = await start_clinic()
    some_recalls(clinic, HOSTILE)
    clinic.recalls.plans = some_plans(TODAY)
    yield clinic
    await clinic.close()


async def _log_in(page, clinic) -> None:
    await page.goto(f"{clinic.base}/console/login")
    await page.fill("#account", "wang")
    await page.fill("#password", PASSWORD)
    await page.keyboard.press("Enter")
    await expect(page.locator("nav")).to_be_visible()


@pytest.mark.parametrize(
    ("locale", "scheme"), [("zh-CN", "light"), ("zh-CN", "dark"), ("en", "light")]
)
async def test_who_to_call_and_whether_they_came(chromium, clinic, screenshots, locale, scheme):
    context = await chromium.new_context(
        viewport=PHONE, locale=locale, color_scheme=scheme, bypass_csp=True
    )
    page = await context.new_page()
    page.set_default_timeout(60_000)
    watch = Watch(page)
    await _log_in(page, clinic)
    await page.locator("nav a").nth(1).click()
    await expect(page.locator("article")).to_have_count(3)
    await page.locator("#recall-2 summary").click()
    assert await accessibility_faults(page) == []
    assert await page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    await page.screenshot(path=screenshots / f"recalls-{locale}-{scheme}.png", full_page=True)

    await page.fill("#words-2", "没人接")
    await page.locator("#recall-2 .recall button").first.click()
    await expect(page.locator("#recall-2 .notes li")).to_have_count(2)
    await page.fill("#words-2", "已在县医院看过")
    await page.select_option("#outcome-2", "seen")
    await page.locator("#recall-2 .recall .primary").click()
    await expect(page.locator("article")).to_have_count(2)
    assert clinic.recalls.outcomes[2][:2] == ("seen", 12)

    await page.locator("nav summary").click()
    await page.locator("nav a[href='/console/attendance']").click()
    await expect(page.locator(".bar")).to_have_count(3)
    assert await accessibility_faults(page) == []
    assert await page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    await page.screenshot(path=screenshots / f"attendance-{locale}-{scheme}.png", full_page=True)
    await page.select_option("#by", "month")
    await page.locator(".period button").click()
    await expect(page.locator(".bar")).to_have_count(7)
    assert watch.complaints == []
    assert all(url.startswith(clinic.base) for url in watch.urls)
    await context.close()


async def test_both_pages_work_without_script(chromium, clinic):
    context = await chromium.new_context(viewport=PHONE, locale="zh-CN", java_script_enabled=False)
    page = await context.new_page()
    watch = Watch(page)
    await _log_in(page, clinic)
    await page.goto(f"{clinic.base}/console/recalls")
    await page.fill("#words-1", "会去的")
    await page.locator("#recall-1 .recall .primary").click()
    await expect(page.locator("article")).to_have_count(2)
    await page.goto(f"{clinic.base}/console/attendance")
    await expect(page.locator(".bar")).to_have_count(3)
    assert watch.complaints == []
    await context.close()
