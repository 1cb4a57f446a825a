from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
import pytest_asyncio
from playwright.async_api import expect

from core.store.tables import staff_session
from core.urgency import Urgency
from tests.integration.browser.conftest import PHONE, Watch, accessibility_faults
from tests.integration.console.conftest import PASSWORD, a_task, start_clinic

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


@pytest_asyncio.fixture(loop_scope="session")
async def clinic():
    clinic = await start_clinic()
    yield clinic
    await clinic.close()


@pytest.mark.parametrize(
    ("locale", "scheme"), [("zh-CN", "light"), ("zh-CN", "dark"), ("en", "light")]
)
async def test_a_nurses_morning(chromium, clinic, screenshots, locale, scheme):
    context = await chromium.new_context(
        viewport=PHONE, locale=locale, color_scheme=scheme, bypass_csp=True
    )
    page = await context.new_page()
    page.set_default_timeout(60_000)
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
    while clinic.worklist.looks < 3:  # noqa: ASYNC110 the stream is open, its beginning is here
        await asyncio.sleep(0.05)
    # No reload and no refresh by the page's clock (20 s): it comes through the stream.
    asked = [url for url in watch.urls if url.endswith("/console/tasks")]
    clinic.worklist.tasks[8] = a_task(8)
    await expect(page.locator(".task")).to_have_count(5)
    await page.fill("#note-1", "正在写")
    clinic.worklist.tasks[9] = a_task(9)
    clinic.worklist.tasks[1] = replace(clinic.worklist.tasks[1], claimed_by="李医生")
    await expect(page.locator("#task-9")).to_be_visible()
    await expect(page.locator("#note-1")).to_have_value("正在写")
    await expect(page.locator("#task-1 .claimed")).to_have_count(0)  # its turn comes later
    del clinic.worklist.tasks[8], clinic.worklist.tasks[1]
    await expect(page.locator("#task-8")).to_have_count(0)
    await expect(page.locator("#note-1")).to_have_value("正在写")
    assert [url for url in watch.urls if url.endswith("/console/tasks")] == asked
    order = "Array.from(document.querySelectorAll('.task'), (row) => row.id)"
    clinic.worklist.tasks[10] = a_task(10, kind="emergency", urgency=Urgency.IMMEDIATE)
    await expect(page.locator("#task-10")).to_be_visible()
    assert (await page.evaluate(order))[:2] == ["task-10", "task-2"]
    await expect(page.locator("#news")).to_have_text("有新的紧急情况。")
    await clinic.execute(staff_session.delete())
    await page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    await page.wait_for_url("**/console/login")
    await context.close()


async def test_today_without_script_needs_a_reload_and_nothing_more(chromium, clinic):
    context = await chromium.new_context(viewport=PHONE, locale="zh-CN", java_script_enabled=False)
    page = await context.new_page()
    await log_in(page, clinic)
    clinic.worklist.tasks[8] = a_task(8)
    await page.reload()
    await expect(page.locator(".task")).to_have_count(5)
    await page.locator("#task-8 .primary").click()
    await expect(page.locator("#task-8 .claimed")).to_be_visible()
    await context.close()


async def test_a_note_survives_a_lost_line_a_reload_and_the_back_button(chromium, clinic):
    context = await chromium.new_context(viewport=PHONE, locale="zh-CN")
    page = await context.new_page()
    await log_in(page, clinic)
    await page.fill("#note-1", "已电话联系")
    await context.set_offline(True)
    await page.locator("#task-1 .close button").click()
    await expect(page.locator("#offline")).to_be_visible()
    await context.set_offline(False)
    await page.reload()
    await expect(page.locator("#note-1")).to_have_value("已电话联系")
    await page.goto(f"{clinic.base}/console/recalls")
    await page.go_back()
    await expect(page.locator("#note-1")).to_have_value("已电话联系")
    assert clinic.worklist.notes == {}
    await page.locator("#task-1 .close button").dblclick()
    await expect(page.locator(".task")).to_have_count(3)
    assert clinic.worklist.notes == {1: "已电话联系"}
    assert await page.evaluate("Object.keys(sessionStorage)") == []
    await context.close()


async def log_in(page, clinic, account="wang"):
    await page.goto(f"{clinic.base}/console/login")
    await page.fill("#account", account)
    await page.fill("#password", PASSWORD)
    await page.keyboard.press("Enter")
    await expect(page.locator("nav")).to_be_visible()
