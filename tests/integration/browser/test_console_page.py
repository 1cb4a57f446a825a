from __future__ import annotations

import pytest
import pytest_asyncio
from playwright.async_api import expect

from tests.integration.browser.conftest import PHONE, Watch, accessibility_faults
from tests.integration.console.conftest import PASSWORD, a_task, start_clinic

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


@pytest_asyncio.fixture(loop_scope="session")
async def clinic():
    clinic, passwords = await start_clinic()
    yield clinic
    await clinic.server.stop()
    passwords.close()


@pytest.mark.parametrize(
    ("locale", "scheme"), [("zh-CN", "light"), ("zh-CN", "dark"), ("en", "light")]
)
async def test_a_nurses_morning(chromium, clinic, screenshots, locale, scheme):
    context = await chromium.new_context(
        viewport=PHONE, locale=locale, color_scheme=scheme, bypass_csp=True
    )
    page = await context.new_page()
    page.set_default_timeout(8000)
    watch = Watch(page)
    await page.goto(f"{clinic.base}/console")
    assert await accessibility_faults(page) == []
    await page.screenshot(path=screenshots / f"console-login-{locale}-{scheme}.png")
    await page.fill("#account", "wang")
    await page.fill("#password", PASSWORD)
    await page.keyboard.press("Enter")
    await expect(page.locator(".task")).to_have_count(4)
    assert await accessibility_faults(page) == []
    assert await page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    await page.screenshot(path=screenshots / f"console-{locale}-{scheme}.png", full_page=True)

    await page.locator("#task-2 .primary").click()
    await expect(page.locator("#task-2 .claimed")).to_be_visible()
    await page.fill("#note-2", "已转急诊")
    await page.locator("#task-2 .close button").click()
    await expect(page.locator(".task")).to_have_count(3)
    assert clinic.worklist.notes == {2: "已转急诊"}
    assert watch.complaints == []
    assert all(url.startswith(clinic.base) for url in watch.urls)
    await context.close()


async def test_new_tasks_appear_but_a_note_is_never_taken_away(chromium, clinic):
    context = await chromium.new_context(viewport=PHONE, locale="zh-CN")
    page = await context.new_page()
    watch = Watch(page)
    await page.goto(f"{clinic.base}/console/login")
    await page.fill("#account", "wang")
    await page.fill("#password", PASSWORD)
    await page.keyboard.press("Enter")
    await expect(page.locator(".task")).to_have_count(4)
    look = "document.dispatchEvent(new Event('visibilitychange'))"
    clinic.worklist.tasks[8] = a_task(8)
    await page.evaluate(look)
    await expect(page.locator(".task")).to_have_count(5)
    await page.fill("#note-1", "正在写")
    clinic.worklist.tasks[9] = a_task(9)
    asked = len(watch.urls)
    await page.evaluate(look)
    await expect(page.locator("#note-1")).to_have_value("正在写")
    assert len(watch.urls) == asked
    await page.fill("#note-1", "")
    await page.locator("h1").click()
    await page.evaluate(look)
    await expect(page.locator(".task")).to_have_count(6)
    clinic.staff.sessions.clear()
    await page.evaluate(look)
    await page.wait_for_url("**/console/login")
    await context.close()
