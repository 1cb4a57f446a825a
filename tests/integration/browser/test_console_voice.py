"""A nurse listens to a voice note and writes down what she hears, on a phone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import pytest_asyncio
from playwright.async_api import expect

from core.texts import text
from tests.fakes.recordings import wav
from tests.integration.bedside.conftest import Clinic, open_clinic
from tests.integration.bedside.test_voice_notes import a_note
from tests.integration.browser.test_patient_screens import entered, is_sound

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

PLAYS = """audio => audio.play().then(() => new Promise(
    done => audio.addEventListener("timeupdate", done, { once: true })))"""


@pytest_asyncio.fixture(loop_scope="session")
async def clinic() -> AsyncIterator[Clinic]:
    with TemporaryDirectory() as folder:
        async with open_clinic(Path(folder)) as found:
            await found.world.write("p", "你好", sender_name="张奶奶")
            await found.world.settle()
            await a_note(found, wav(23_000))
            yield found


@pytest.mark.parametrize(
    ("locale", "language", "size"), [("zh-CN", "zh-Hans", ""), ("en", "en", "large")]
)
async def test_listening_and_writing_down(chromium, clinic, screenshots, locale, language, size):
    context, page, watch = await entered(chromium, clinic, "wang", locale=locale)
    if size:
        await page.locator("button[name=size]").click()
    for path in ("/console/patients/1", "/console/conversations/1"):
        await page.goto(f"{clinic.base}{path}")
        await is_sound(page)
        await page.locator("audio").evaluate(PLAYS)
    await page.locator(".voice a.button").click()
    await page.wait_for_url("**/console/voices/1")
    await page.locator("audio").evaluate(PLAYS)
    await is_sound(page)
    await page.fill("#words", "昨天起右眼突然看不见了")
    await page.locator("form.recall button").click()
    await expect(page.locator("article .words")).to_have_text("昨天起右眼突然看不见了")
    await expect(page.locator("article .late")).to_have_text(text(language, "voice.red_flag"))
    await is_sound(page)
    await page.screenshot(path=screenshots / f"console-voice-{locale}.png")
    assert watch.complaints == []
    await context.close()


async def test_the_policy_lets_the_console_play_and_nothing_else(chromium, clinic):
    context, page, watch = await entered(chromium, clinic, "wang", bypass_csp=False)
    await page.goto(f"{clinic.base}/console/voices/1")
    await page.locator("audio").evaluate(PLAYS)
    assert watch.complaints == []
    refused = await page.evaluate(
        """new Promise(done => {
            const sound = new Audio(URL.createObjectURL(new Blob(["x"], { type: "audio/wav" })));
            document.addEventListener("securitypolicyviolation", e => done(e.violatedDirective));
            sound.load();
        })"""
    )
    assert refused == "media-src"
    await context.close()


async def test_a_chat_that_is_listened_to_is_not_drawn_anew(chromium, clinic):
    context, page, watch = await entered(chromium, clinic, "wang")
    await page.clock.install()
    await page.goto(f"{clinic.base}/console/conversations/1")
    sound = page.locator("audio")
    await sound.evaluate("audio => { audio.loop = true; return audio.play(); }")
    before = len(watch.urls)
    await clinic.world.write("p", "还在吗")
    await clinic.world.settle()
    await page.clock.run_for(9_000)
    await page.evaluate("fetch('/console/patients').then(answer => answer.text())")
    asked = [url for url in watch.urls[before:] if "/messages?mark=" in url]
    assert asked == [], "asked after what was asked before it"
    assert not await sound.evaluate("audio => audio.paused")
    await sound.evaluate("audio => audio.pause()")
    await page.clock.run_for(9_000)
    await expect(page.locator("#messages")).to_contain_text("还在吗")
    await context.close()
