"""Voice notes in a real browser with a made-up microphone: record, listen, send, discard."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, async_playwright, expect

from core.recording import duration_ms, kind_of
from tests.fakes.recordings import wav
from tests.fakes.waiting import until
from tests.integration.browser.conftest import (
    FLAGS,
    PHONE,
    Watch,
    accessibility_faults,
    chromium_path,
)

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

A_SECOND = re.compile(r"^[1-9]")
MICROPHONE = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def hearing() -> AsyncIterator[Browser]:
    """A browser with a microphone that beeps, and a person who allows it."""
    path = chromium_path()
    if path is None:
        pytest.skip("no Chromium here: install the package `chromium` or set OCULICHAT_CHROMIUM")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=[*FLAGS, *MICROPHONE])
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="session")
async def open_page(hearing, site):
    contexts = []

    async def opened(*, script: str = "", **options) -> tuple[Page, Watch]:
        options = {"viewport": PHONE, "locale": "zh-CN", "has_touch": True, **options}
        context = await hearing.new_context(**options)
        contexts.append(context)
        page = await context.new_page()
        page.set_default_timeout(60_000)
        if script:
            await page.add_init_script(script)
        watch = Watch(page)
        await page.goto(f"{site.base}/chat")
        return page, watch

    yield opened
    for context in contexts:
        await context.close()


async def record(page: Page) -> None:
    """Speak for a second and a bit."""
    await page.click("label[for=speak]")
    await expect(page.locator("#recorder .time")).to_have_text(A_SECOND)
    await page.click("[data-do=stop]")
    await expect(page.locator("[data-do=send]")).to_be_visible()


async def accepted(site, number: int = 1) -> None:
    await until(lambda: len(site.conversations.accepted) >= number, "the note arrived")


@pytest.mark.parametrize("locale", ["zh-CN", "en-GB"])
@pytest.mark.parametrize("size", ["normal", "large"])
async def test_record_listen_and_send(site, open_page, screenshots, locale, size):
    page, watch = await open_page(locale=locale, bypass_csp=size == "large")
    if size == "large":
        await page.click("button[name=size]")
    await page.click("label[for=speak]")
    await expect(page.locator("#recorder")).to_be_visible()
    await expect(page.locator("[data-do=stop]")).to_be_focused()
    await page.screenshot(path=screenshots / f"voice-recording-{locale[:2]}-{size}.png")
    if size == "large":
        assert await accessibility_faults(page) == []
    await expect(page.locator("#recorder .time")).to_have_text(A_SECOND)
    await page.click("[data-do=stop]")
    preview = page.locator("#recorder audio")
    await expect(preview).to_be_visible()
    heard = """audio => audio.play().then(() => new Promise(
        done => audio.addEventListener("timeupdate", done, { once: true })))"""
    await preview.evaluate(heard)
    assert await preview.evaluate("audio => audio.src.startsWith('blob:')")
    await page.screenshot(path=screenshots / f"voice-ready-{locale[:2]}-{size}.png")
    if size == "large":
        assert await accessibility_faults(page) == []
    assert await page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    for button in await page.locator("#recorder button:visible, label[for=speak]").all():
        box = await button.bounding_box()
        assert box is not None
        assert min(box["height"], box["width"]) >= 44
    await page.locator("[data-do=send]").evaluate("b => { b.click(); b.click(); }")
    await expect(page.locator("#recorder")).to_be_hidden()
    await accepted(site)
    (message,) = site.conversations.accepted
    data = site.blobs.files[message.attachments[0].ref]
    assert kind_of(data).mime == "audio/webm"
    assert 900 < duration_ms(data) < 60_000
    sent = page.locator("#log .patient audio")
    await expect(sent).to_have_count(1)
    await expect(page.locator("#outbox .message")).to_have_count(0)
    await sent.evaluate(heard)  # from the server, in pieces
    if size == "large":
        assert await accessibility_faults(page) == []
    assert watch.complaints == []
    assert all(url.startswith((site.base, "blob:")) for url in watch.urls)


async def test_what_is_discarded_is_gone_and_the_light_goes_out(site, open_page):
    page, _ = await open_page(
        script="""const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
        navigator.mediaDevices.getUserMedia = async (what) => window.stream = await ask(what);"""
    )
    await record(page)
    await page.click("[data-do=cancel]")
    await expect(page.locator("#recorder")).to_be_hidden()
    await expect(page.locator("#speak")).to_be_focused()
    is_off = "window.stream.getTracks().every(track => track.readyState === 'ended')"
    assert await page.evaluate(is_off)
    await page.click("label[for=speak]")
    await expect(page.locator("[data-do=stop]")).to_be_visible()
    await page.click("[data-do=cancel]")  # in the middle of speaking
    await until(lambda: page.evaluate(is_off), "the microphone is let go")
    await expect(page.locator("#outbox .message")).to_have_count(0)
    assert site.conversations.accepted == []
    await record(page)  # and once more, for good
    await page.click("[data-do=send]")
    await accepted(site)


async def test_the_longest_time_ends_a_recording_by_itself(site, open_page):
    page, _ = await open_page()
    await page.click("label[for=speak]")
    await expect(page.locator("[data-do=stop]")).to_be_visible()
    # Two minutes later, by the page's clock.
    await page.evaluate("{ const now = Date.now; Date.now = () => now() + 120000; }")
    await expect(page.locator("#recorder [role=status]")).to_contain_text("最长时间")
    await expect(page.locator("[data-do=send]")).to_be_visible()
    assert site.conversations.accepted == []


async def test_a_lost_line_sends_the_note_later_and_once(site, open_page):
    page, _ = await open_page()
    await record(page)
    await page.context.set_offline(True)
    await page.click("[data-do=send]")
    await expect(page.locator("#outbox .state.failed")).to_contain_text("没有发出去")
    await page.context.set_offline(False)
    await page.evaluate("dispatchEvent(new Event('online'))")
    await expect(page.locator("#log .patient audio")).to_have_count(1)
    await expect(page.locator("#outbox .message")).to_have_count(0)
    assert len(site.conversations.accepted) == 1


async def test_a_reload_before_it_was_sent_says_that_it_is_lost(site, open_page):
    page, _ = await open_page()
    await record(page)
    await page.route("**/chat/voices", lambda route: route.abort())
    await page.click("[data-do=send]")
    await expect(page.locator("#outbox .state.failed")).to_be_visible()
    await page.reload()
    await expect(page.locator("#outbox .state.failed")).to_contain_text("请重新录一次")
    assert site.conversations.accepted == []


async def test_who_may_not_record_chooses_a_file(site, open_page):
    page, watch = await open_page(
        script="""navigator.mediaDevices.getUserMedia =
            () => Promise.reject(new DOMException("no", "NotAllowedError"));"""
    )
    await page.click("label[for=speak]")
    await expect(page.locator("#hint")).to_contain_text("用不了麦克风")
    async with page.expect_file_chooser() as chooser:
        await page.click("label[for=speak]")
    await (await chooser.value).set_files(
        {"name": "memo.wav", "mimeType": "audio/wav", "buffer": wav()}
    )
    await page.click("[data-do=send]")
    await accepted(site)
    assert watch.complaints == []


async def test_a_file_that_is_no_recording_is_refused_in_words(site, open_page):
    page, _ = await open_page(script="delete window.MediaRecorder;")
    async with page.expect_file_chooser() as chooser:
        await page.click("label[for=speak]")
    await (await chooser.value).set_files(
        {"name": "memo.wav", "mimeType": "audio/wav", "buffer": b"MZ a program"}
    )
    await page.click("[data-do=send]")
    refused = page.locator("#outbox .state.failed")
    await expect(refused).to_contain_text("不是我认得的录音")
    assert site.conversations.accepted == []
    await page.get_by_role("button", name="不发了").click()
    await expect(page.locator("#outbox .message")).to_have_count(0)


async def test_without_javascript_a_recording_is_a_file(site, open_page):
    page, _ = await open_page(java_script_enabled=False)
    await page.set_input_files(
        "#speak", {"name": "memo.wav", "mimeType": "audio/wav", "buffer": wav()}
    )
    await page.get_by_role("button", name="发送语音").click()
    await expect(page.locator("#log audio")).to_have_count(1)
    assert len(site.conversations.accepted) == 1
