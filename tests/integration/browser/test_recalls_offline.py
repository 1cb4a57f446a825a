"""The list of calls without a line, in a real browser: what is kept, waits, is forgotten."""

from __future__ import annotations

import asyncio
from datetime import date

import pytest
import pytest_asyncio
from playwright.async_api import Error, expect

from core.store.tables import staff_session
from tests.fakes.recalls import some_recalls
from tests.integration.browser.conftest import PHONE, Watch
from tests.integration.console.conftest import PASSWORD, start_clinic

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]
_KEPT = """async () => (await Promise.all((await caches.keys()).map(async (name) =>
    (await (await caches.open(name)).keys()).map((key) => name + " " + new URL(key.url).pathname)
))).flat().sort()"""


_ALL_IS_KEPT = """async () => Boolean(navigator.serviceWorker.controller
    && await caches.match('/console/recalls', {cacheName: 'console-kept'})
    && (await (await caches.open('console-files')).keys()).length >= 4)"""


@pytest_asyncio.fixture(loop_scope="session")
async def clinic():
    clinic = await start_clinic()
    some_recalls(clinic, "好的")
    yield clinic
    await clinic.close()


@pytest_asyncio.fixture(loop_scope="session")
async def context(chromium):
    context = await chromium.new_context(viewport=PHONE, locale="zh-CN", bypass_csp=False)
    context.set_default_timeout(60_000)
    yield context
    await context.close()


async def log_in(page, clinic, account: str = "wang", *, trusted: bool = True) -> None:
    await page.goto(f"{clinic.base}/console/login")
    await page.fill("#account", account)
    await page.fill("#password", PASSWORD)
    await page.click("button")
    await expect(page.locator("nav")).to_be_visible()
    if trusted:
        await page.goto(f"{clinic.base}/console/account")
        await page.fill("#trust", PASSWORD)
        await page.locator("#phone .fields button").click()
        await expect(page.locator(".notice[role=alert]:visible")).to_contain_text("诊所手机")


async def open_list(page, clinic) -> None:
    await page.goto(f"{clinic.base}/console/recalls")
    await expect(page.locator("article")).not_to_have_count(0)


async def kept(page) -> list[str]:
    return await page.evaluate(_KEPT)


async def until_kept(page) -> None:
    """Return once the worker holds everything, and holds this page.

    `wait_for_function` would not do: it takes the promise of an async function for a yes.
    """
    async with asyncio.timeout(30):
        while not await page.evaluate(_ALL_IS_KEPT):  # noqa: ASYNC110 the browser has no event for it
            await asyncio.sleep(0.02)


async def until_forgotten(page) -> None:
    async with asyncio.timeout(30):
        while any(each.startswith("console-kept") for each in await kept(page)):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def note(page, task: int, words: str) -> None:
    await page.fill(f"#words-{task}", words)
    await page.locator(f"#recall-{task} .recall button").first.click()


async def test_the_list_opens_without_a_line_and_notes_wait(clinic, context, screenshots):
    page = await context.new_page()
    watch = Watch(page)
    await log_in(page, clinic)
    await open_list(page, clinic)
    await until_kept(page)
    assert watch.complaints == []

    await context.set_offline(True)
    await open_list(page, clinic)
    await expect(page.locator("article")).to_have_count(3)
    await expect(page.locator("#kept")).to_be_visible()
    await note(page, 2, "没人接")
    await expect(page.locator("#recall-2 .queued")).to_contain_text("没人接")
    await note(page, 2, "第二次也没人接")
    await page.fill("#words-1", "县医院看过")
    await page.select_option("#outcome-1", "seen")
    await page.locator("#recall-1 .recall .primary").click()
    await expect(page.locator(".queued")).to_have_count(3)
    await page.screenshot(path=screenshots / "recalls-offline.png", full_page=True)
    await page.reload()  # the phone closed the page
    await expect(page.locator(".queued")).to_have_count(3)
    assert 1 in clinic.recalls.tasks

    await context.set_offline(False)
    await expect(page.locator("article")).to_have_count(2)
    await expect(page.locator("#kept")).to_be_hidden()
    await expect(page.locator(".queued")).to_have_count(0)
    assert clinic.recalls.outcomes[1][:2] == ("seen", 11)
    assert isinstance(clinic.recalls.outcomes[1][2], date)
    assert [n.partition(": ")[2] for n in clinic.recalls.tasks[2].notes[-2:]] == [
        "没人接",
        "第二次也没人接",
    ]
    assert all(url.startswith(clinic.base) for url in watch.urls)


async def test_nothing_is_kept_where_the_phone_is_not_the_clinics(clinic, context):
    page = await context.new_page()
    await log_in(page, clinic, trusted=False)
    await open_list(page, clinic)
    await page.wait_for_timeout(300)
    assert await kept(page) == []
    assert (
        await page.evaluate("navigator.serviceWorker.getRegistrations().then((r) => r.length)") == 0
    )
    await note(page, 2, "没人接")  # a plain form
    await expect(page.locator("#recall-2 .notes")).to_contain_text("没人接")


async def test_signing_out_sends_what_waits_and_forgets_the_rest(clinic, context):
    page = await context.new_page()
    await log_in(page, clinic)
    await open_list(page, clinic)
    await until_kept(page)
    await context.set_offline(True)
    await note(page, 3, "明天再打")
    await expect(page.locator(".queued")).to_have_count(1)
    await context.set_offline(False)
    await page.goto(f"{clinic.base}/console")
    await page.locator("nav summary").click()
    await page.locator("nav details form button").click()
    await expect(page.locator("#account")).to_be_visible()
    assert clinic.recalls.tasks[3].notes[-1].endswith("明天再打")
    assert [each for each in await kept(page) if not each.startswith("console-files")] == []
    assert not any("recalls " in each for each in await kept(page))
    await context.set_offline(True)
    with pytest.raises(Exception, match="ERR_"):
        await page.goto(f"{clinic.base}/console/recalls")


async def test_a_session_that_was_ended_takes_the_list_with_it_and_notes_wait_for_their_author(
    clinic, context
):
    page = await context.new_page()
    await log_in(page, clinic)
    await open_list(page, clinic)
    await until_kept(page)
    await context.set_offline(True)
    await note(page, 2, "家里没有人")
    await expect(page.locator(".queued")).to_have_count(1)
    wang = clinic.ids["wang"]
    await clinic_ends_sessions(clinic, wang)
    await context.set_offline(False)
    await expect(page.locator("#account")).to_be_visible()  # by itself
    assert not any(each.startswith("console-kept") for each in await kept(page))
    await log_in(page, clinic, "li", trusted=False)  # a colleague, who has nothing to do with it
    await open_list(page, clinic)
    await expect(page.locator(".queued")).to_have_count(0)
    await page.locator("nav summary").click()
    await page.locator("nav details form button").click()
    await expect(page.locator("#account")).to_be_visible()
    assert not any("家里没有人" in n for n in clinic.recalls.tasks[2].notes[-1:])
    await log_in(page, clinic, trusted=False)
    await open_list(page, clinic)
    await expect(page.locator("#recall-2 .notes")).to_contain_text("王护士: 家里没有人")
    assert not any(each.startswith("console-queue") for each in await kept(page))


async def test_what_was_done_meanwhile_is_said(clinic, context):
    page = await context.new_page()
    await log_in(page, clinic)
    await open_list(page, clinic)
    await until_kept(page)
    await context.set_offline(True)
    await note(page, 2, "没人接")
    await expect(page.locator(".queued")).to_have_count(1)
    del clinic.recalls.tasks[2]
    await context.set_offline(False)
    await page.evaluate("dispatchEvent(new Event('online'))")
    await expect(page.locator(".queued button")).to_be_visible()
    await page.locator(".queued button").click()
    await expect(page.locator(".queued")).to_have_count(0)


async def test_trust_taken_back_takes_the_list_with_it_at_the_next_page(clinic, context, chromium):
    page = await context.new_page()
    await log_in(page, clinic)
    await open_list(page, clinic)
    await until_kept(page)
    boss = await chromium.new_context(viewport=PHONE, locale="zh-CN")
    desk = await boss.new_page()
    await log_in(desk, clinic, "zhao", trusted=False)
    await desk.goto(f"{clinic.base}/console/staff")
    await expect(desk.locator("#phones li")).to_contain_text("王护士")
    await desk.locator("#phones li button").click()
    await expect(desk.locator("#phones li")).to_have_count(0)
    await boss.close()
    await page.goto(f"{clinic.base}/console")  # not the list itself
    await until_forgotten(page)
    await context.set_offline(True)
    with pytest.raises(Error, match="ERR_"):
        await page.goto(f"{clinic.base}/console/recalls")
    await context.set_offline(False)
    await page.goto(f"{clinic.base}/console/account")
    await expect(page.locator("#trust")).to_be_visible()


async def test_the_trust_stays_with_the_phone_and_not_with_the_login(clinic, context):
    page = await context.new_page()
    await log_in(page, clinic)
    await page.locator("nav summary").click()
    await page.locator("nav details form button").click()
    await log_in(page, clinic, "li", trusted=False)
    await open_list(page, clinic)
    await until_kept(page)


async def clinic_ends_sessions(clinic, staff_id: int) -> None:
    await clinic.execute(staff_session.delete().where(staff_session.c.staff_id == staff_id))
