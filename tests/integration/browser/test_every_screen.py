"""All screens, in both languages and with large text: accessible, on a phone, within their policy.

What belongs here is read from the routers: see `tests.integration.browser.screens`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, expect

from adapters.console.rights import RIGHTS
from tests.integration.browser.conftest import PHONE, Watch, accessibility_faults
from tests.integration.browser.screens import (
    BEDSIDE,
    CHAT,
    CONSOLE,
    NO_PAGES,
    Place,
    Screen,
    bedside_place,
    chat_place,
    console_place,
    enter,
    ready_bedside,
)
from tests.integration.browser.slow_line import FIRST_LOAD_BYTES, first_load

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

_LOOKS = [("zh-CN", False), ("en", False), ("zh-CN", True), ("en", True)]
_LOST_LINE = ("ERR_INTERNET_DISCONNECTED", "status of 401", "status of 40", "Failed to fetch")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def console() -> AsyncIterator[Place]:
    async with console_place() as place:
        yield place


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def bedside() -> AsyncIterator[Place]:
    async with bedside_place() as place:
        yield place


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def chat() -> AsyncIterator[Place]:
    async with chat_place() as place:
        yield place


async def test_no_page_is_missing_here(console, bedside, chat):
    shown = {screen.route for screen in (*CONSOLE, *BEDSIDE, *CHAT)}
    parts = {name.partition(" ")[2] for name, right in RIGHTS.items() if right.is_part}
    assert shown == (console.routes | bedside.routes | chat.routes) - parts
    assert NO_PAGES.isdisjoint(shown)


async def _look_at(
    screens: tuple[Screen, ...], place: Place, page: Page, screenshots, look: str
) -> None:
    watch = Watch(page)
    for screen in screens:
        await screen.show(place, page)
        await page.evaluate("document.querySelectorAll('main details').forEach(d => d.open = true)")
        # The whole page at once: axe takes what a sticky footer covers for too small to tap.
        height = await page.evaluate("document.documentElement.scrollHeight")
        await page.set_viewport_size({**PHONE, "height": max(height, PHONE["height"])})
        assert await accessibility_faults(page) == [], screen.name
        await page.set_viewport_size(PHONE)
        width = await page.evaluate("document.documentElement.scrollWidth")
        assert width <= PHONE["width"], screen.name
        await page.screenshot(path=screenshots / f"{screen.name}-{look}.png", full_page=True)
    assert not [c for c in watch.complaints if not any(sign in c for sign in _LOST_LINE)]
    assert all(url.startswith((place.base, "blob:")) for url in watch.urls)


async def _weigh(screens: tuple[Screen, ...], place: Place, page: Page) -> None:
    """Load each first screen with nothing cached and the policy in force."""
    for screen in screens:
        if screen.is_first:
            await screen.show(place, page)
            other = await page.context.new_page()
            watch = Watch(other)
            load = await first_load(other, page.url.partition("#")[0], slow=False)
            await other.close()
            assert 1_000 < load.weight_bytes <= FIRST_LOAD_BYTES, (screen.name, load)
            assert watch.complaints == [], screen.name


async def test_every_first_load_is_small_and_keeps_to_its_policy(chromium, console, bedside, chat):
    for screens, place in ((CONSOLE, console), (BEDSIDE, bedside), (CHAT, chat)):
        context = await chromium.new_context(viewport=PHONE, locale="zh-CN")
        context.set_default_timeout(60_000)
        page = await (ready_bedside(place, context) if place is bedside else context.new_page())
        await _weigh(screens, place, page)
        await context.close()


async def _context(chromium: Browser, place: Place, locale: str, large: bool) -> BrowserContext:
    context = await chromium.new_context(viewport=PHONE, locale=locale, bypass_csp=True)
    context.set_default_timeout(60_000)
    if large:
        await context.add_cookies([{"name": "oc_size", "value": "large", "url": place.base}])
    return context


@pytest.mark.parametrize(("locale", "large"), _LOOKS)
async def test_the_console(chromium, console, screenshots, locale, large):
    context = await _context(chromium, console, locale, large)
    page = await context.new_page()
    await _look_at(CONSOLE, console, page, screenshots, f"{locale}{'-large' * large}")
    await context.close()


@pytest.mark.parametrize(("locale", "large"), _LOOKS)
async def test_the_pages_about_patients(chromium, bedside, screenshots, locale, large):
    context = await _context(chromium, bedside, locale, large)
    page = await ready_bedside(bedside, context)
    await _look_at(BEDSIDE, bedside, page, screenshots, f"{locale}{'-large' * large}")
    await context.close()


@pytest.mark.parametrize(("locale", "large"), _LOOKS)
async def test_the_web_chat(chromium, chat, screenshots, locale, large):
    context = await _context(chromium, chat, locale, large)
    page = await context.new_page()
    await _look_at(CHAT, chat, page, screenshots, f"{locale}{'-large' * large}")
    await context.close()


@pytest.mark.parametrize("has_script", [True, False])
async def test_a_wide_screen_shows_the_month_and_a_phone_the_week(chromium, console, has_script):
    """Both need no script, and a day is reached with the keyboard."""
    context = await chromium.new_context(
        viewport={"width": 1024, "height": 740},
        locale="en",
        bypass_csp=True,
        java_script_enabled=has_script,
    )
    context.set_default_timeout(60_000)
    page = await context.new_page()
    await enter(console, page, "wang")
    await page.locator("a.button-link[href='/console/calendar']").click()
    month, week = page.locator(".month table"), page.locator(".week table")
    await expect(month).to_be_visible()
    await expect(week).to_be_hidden()
    if has_script:
        assert await accessibility_faults(page) == []
    tomorrow = month.locator("td:has(a[aria-current]) + td a, tr:has(a[aria-current]) + tr a").first
    await tomorrow.press("Enter")
    await expect(page.locator("#day")).not_to_contain_text("today")
    await expect(page.locator(".card.of-message li")).to_have_count(1)
    await page.set_viewport_size(PHONE)
    await expect(week).to_be_visible()
    await expect(month).to_be_hidden()
    await context.close()
