"""Going on with a conversation on another phone, without JavaScript; and the page installed."""

from __future__ import annotations

import re

import aiohttp
import pytest
import pytest_asyncio
from playwright.async_api import expect

from adapters.http.server import HttpServer
from adapters.webchat.channel import WebChat
from adapters.webchat.links import StoredLinks
from adapters.webchat.settings import WebChatSettings
from core.store.keyring import load_or_create
from core.store.store import Store
from migrations.schema import create
from tests.fakes.core_fakes import FakeBlobs, FakeClock, FakeConversations
from tests.integration.browser.conftest import PHONE, Watch, accessibility_faults
from tests.integration.webchat.conftest import Site

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


@pytest_asyncio.fixture(loop_scope="session")
async def site(tmp_path):
    url = f"sqlite:///{tmp_path}/links.db"
    create(url)
    store = Store(url, load_or_create(tmp_path / "keys.json"))
    clock, blobs = FakeClock(), FakeBlobs()
    conversations = FakeConversations(clock)
    links = StoredLinks(store, clock, days=180)
    chat = WebChat(WebChatSettings(), history=conversations, blobs=blobs, clock=clock, links=links)
    server = HttpServer("127.0.0.1", 0, chat.routes(conversations), shutdown_timeout_s=1)
    await server.start()
    yield Site(clock, conversations, blobs, chat, server)
    await server.stop()
    store.close()


@pytest.mark.parametrize("locale", ["zh-CN", "en"])
async def test_words_and_the_link_work_without_script(chromium, site, screenshots, locale):
    old = await chromium.new_context(viewport=PHONE, locale=locale, java_script_enabled=False)
    page = await old.new_page()
    page.set_default_timeout(60_000)
    watch = Watch(page)
    await page.goto(f"{site.base}/chat")
    await page.fill("#text", "我右眼模糊")
    await page.click("button.send")
    await expect(page.locator("#log article")).to_contain_text("我右眼模糊")
    await page.click('a[href="/chat/link"]')
    await page.click('form[action="/chat/link"] button')
    link = await page.input_value("#link")
    assert re.fullmatch(rf"{site.base}/chat/continue/[\w-]+", link)
    box = await page.locator(".code svg").bounding_box()
    assert box
    assert 150 < box["width"] <= PHONE["width"]
    await page.screenshot(path=screenshots / f"chat-link-{locale}.png", full_page=True)

    new = await chromium.new_context(viewport=PHONE, locale=locale, java_script_enabled=False)
    other = await new.new_page()
    other.set_default_timeout(60_000)
    await other.goto(link)
    await other.screenshot(path=screenshots / f"chat-continue-{locale}.png", full_page=True)
    await other.click("form button")
    await expect(other.locator("#log article")).to_contain_text("我右眼模糊")
    assert watch.complaints == []
    await old.close()
    await new.close()


async def test_the_link_pages_are_accessible(chromium, site):
    for locale, large in (("zh-CN", False), ("en", True)):
        context = await chromium.new_context(viewport=PHONE, locale=locale, bypass_csp=True)
        if large:
            await context.add_cookies([{"name": "oc_size", "value": "large", "url": site.base}])
        page = await context.new_page()
        page.set_default_timeout(60_000)
        await page.goto(f"{site.base}/chat")
        assert await accessibility_faults(page) == []
        await page.goto(f"{site.base}/chat/link")
        assert await accessibility_faults(page) == []
        await page.click('form[action="/chat/link"] button')
        link = await page.input_value("#link")
        assert await accessibility_faults(page) == []
        assert await page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        await context.clear_cookies(name="oc_chat")
        await page.goto(link)
        assert await accessibility_faults(page) == []
        await context.close()


async def test_the_page_can_be_installed(chromium, site):
    context = await chromium.new_context(viewport=PHONE, locale="zh-CN")
    page = await context.new_page()
    await page.goto(f"{site.base}/chat")
    session = await context.new_cdp_session(page)
    errors = await session.send("Page.getInstallabilityErrors")
    # A private window never installs; everything else has to be right.
    kept = [e["errorId"] for e in errors["installabilityErrors"] if e["errorId"] != "in-incognito"]
    assert kept == []
    await context.close()
    async with aiohttp.ClientSession(site.base) as browser:
        async with browser.get("/chat/manifest.webmanifest") as answer:
            manifest = await answer.json(content_type=None)
        assert {icon["sizes"] for icon in manifest["icons"]} >= {"any", "192x192", "512x512"}
        for icon in manifest["icons"]:
            async with browser.get(icon["src"]) as picture:
                assert picture.content_type == icon["type"]
