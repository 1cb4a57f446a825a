from __future__ import annotations

import asyncio
from io import BytesIO

import pytest
import pytest_asyncio
from PIL import Image as Picture
from playwright.async_api import Page, expect

from core.reply import Bold, Bullets, Button, Heading, Image, Link, Paragraph, Reply, Text, say
from tests.integration.browser.conftest import PHONE, Watch, accessibility_faults

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

HOSTILE = "<img src=x onerror=alert(1)><script>alert(1)</script>"
EMERGENCY = Reply(
    "emergency",
    (
        Paragraph((Text("眼睛突然看不见可能是急症。"), Bold("请现在就去眼科急诊。"))),
        Bullets(((Text("不要自己开车"),), (Text("不要揉眼睛"),))),
        Paragraph((Link("拨打 120", "tel:120"),)),
    ),
    ((Button("需要人工帮助", "v1:staff:ask"),),),
)
PLAN = Reply(
    "plan",
    (Heading("复查"), Paragraph((Text("12月6日提醒您去复查，可以吗？"),))),
    ((Button("可以", "v1:plan:yes:1"), Button("换个日子", "v1:plan:other:1")),),
)


def a_photo() -> bytes:
    out = BytesIO()
    Picture.new("RGB", (640, 480), (150, 60, 25)).save(out, "JPEG")
    return out.getvalue()


@pytest_asyncio.fixture(loop_scope="session")
async def open_page(chromium, site):
    contexts = []

    async def opened(**options) -> tuple[Page, Watch]:
        options = {"viewport": PHONE, "locale": "zh-CN", "has_touch": True, **options}
        context = await chromium.new_context(**options)
        contexts.append(context)
        page = await context.new_page()
        page.set_default_timeout(60_000)
        watch = Watch(page)
        await page.goto(f"{site.base}/chat")
        return page, watch

    yield opened
    for context in contexts:
        await context.close()


async def back_online(page: Page) -> None:
    """Be back at once, as a phone says it, and not after the page's own patience."""
    await page.context.set_offline(False)
    await page.evaluate("dispatchEvent(new Event('online'))")


async def write(page: Page, text: str) -> None:
    await page.fill("#text", text)
    await page.click(".send")


async def test_a_conversation_and_what_the_page_costs(site, open_page, screenshots, chromium):
    page, watch = await open_page(device_scale_factor=2)
    costs = await page.evaluate(
        """[...performance.getEntriesByType("navigation"),
            ...performance.getEntriesByType("resource").filter(e => !e.name.includes("/stream"))]
             .map(e => e.transferSize)"""
    )
    assert len(costs) >= 4
    assert 5_000 < sum(costs) <= 60_000
    await expect(page.locator(".welcome")).to_be_visible()
    await page.screenshot(path=screenshots / "chat-welcome.png")

    await write(page, "右眼突然看不见了")
    await expect(page.locator("#log .patient .words")).to_have_text("右眼突然看不见了")
    await expect(page.locator("#outbox .message")).to_have_count(0)
    await site.say(site.address, EMERGENCY)
    card = page.locator(".emergency")
    await expect(card).to_contain_text("紧急")
    await expect(card.locator("a.call")).to_have_attribute("href", "tel:120")
    await page.screenshot(path=screenshots / "chat-emergency.png")

    await site.say(site.address, say("answer", HOSTILE))
    await expect(page.locator("#log .answer .words")).to_have_text(HOSTILE)
    await site.say(site.address, PLAN)
    await expect(page.locator(".plan button")).to_have_count(2)
    await expect(page.locator(".disclaimer")).to_be_in_viewport()
    assert watch.complaints == []
    assert all(url.startswith((site.base, "blob:")) for url in watch.urls)
    assert await page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


async def test_the_policy_really_stops_inline_scripts(open_page):
    page, watch = await open_page()
    await page.evaluate(
        """const s = document.createElement("script");
           s.textContent = "window.ran = 1";
           document.body.append(s);"""
    )
    assert await page.evaluate("window.ran") is None
    assert any("Content Security Policy" in words for words in watch.complaints)


async def test_a_button_is_tapped_twice_and_pressed_once(site, open_page):
    page, _ = await open_page()
    await write(page, "x")
    await page.wait_for_selector("[data-message]")
    await site.say(site.address, PLAN)
    button = page.locator(".plan button").first
    await button.evaluate("b => { b.click(); b.click(); b.form.requestSubmit(); }")
    await expect(page.locator("#log .patient")).to_have_count(2)
    await asyncio.sleep(0.1)
    assert [m.button for m in site.conversations.accepted] == [None, "v1:plan:yes:1"]
    assert site.conversations.duplicates == 0
    await expect(page.locator(".plan button")).to_have_count(0)


async def test_an_emergency_keeps_its_buttons_until_one_is_pressed(site, open_page):
    page, _ = await open_page()
    await write(page, "x")
    await page.wait_for_selector("[data-message]")
    await site.say(site.address, EMERGENCY)
    await site.say(site.address, say("question", "?", buttons=((Button("是", "v1:ask:yes"),),)))
    help_button = page.get_by_role("button", name="需要人工帮助")
    await expect(page.locator(".question button")).to_be_enabled()
    await write(page, "y")
    await expect(page.locator("#log .patient")).to_have_count(2)
    await expect(page.locator(".question button")).to_have_count(0)
    await expect(help_button).to_be_enabled()
    await page.reload()
    await help_button.click()
    await expect(page.locator("#log .patient")).to_have_count(3)
    await expect(help_button).to_have_count(0)
    assert site.conversations.accepted[-1].button == "v1:staff:ask"


async def test_a_starter_begins_the_conversation(site, open_page):
    page, _ = await open_page()
    await page.locator(".welcome button").first.tap()
    await expect(page.locator("#log .patient")).to_have_count(1)
    assert site.conversations.accepted[0].text == "我的眼睛不舒服"
    await expect(page.locator(".welcome button")).to_have_count(0)


async def test_a_draft_survives_a_killed_page(open_page):
    page, _ = await open_page()
    await page.fill("#text", "写了一半的话")
    await page.reload()
    await expect(page.locator("#text")).to_have_value("写了一半的话")
    await write(page, "写完了")
    await page.wait_for_selector("[data-message]")
    await page.reload()
    await expect(page.locator("#text")).to_have_value("")


async def test_offline_words_wait_and_are_sent_once_in_order(site, open_page, screenshots):
    page, _ = await open_page(bypass_csp=True)
    await page.context.set_offline(True)
    await write(page, "第一句")
    await write(page, "第二句")
    await expect(page.locator(".state.failed")).to_have_count(2)
    await expect(page.locator("#connection")).to_be_visible()
    await page.screenshot(path=screenshots / "chat-offline.png")
    assert await accessibility_faults(page) == []
    await back_online(page)
    await expect(page.locator("#log .patient")).to_have_count(2)
    await expect(page.locator("#outbox .message")).to_have_count(0)
    await expect(page.locator("#connection")).to_be_hidden()
    assert [m.text for m in site.conversations.accepted] == ["第一句", "第二句"]
    assert site.conversations.duplicates == 0


async def test_unsent_words_outlive_the_page_under_the_same_id(site, open_page):
    page, _ = await open_page()
    site.conversations.down = True
    await write(page, "很重要")
    await expect(page.locator(".state.failed")).to_have_count(1)
    await page.reload()
    await expect(page.locator("#outbox .words")).to_have_text("很重要")
    pending = await page.locator("#outbox .message").get_attribute("data-pending")
    site.conversations.down = False
    await back_online(page)
    await expect(page.locator("#log .patient .words")).to_have_text("很重要")
    assert [m.message_id for m in site.conversations.accepted] == [pending]


async def test_a_lost_answer_to_a_post_makes_no_second_message(site, open_page):
    page, _ = await open_page()
    lost = asyncio.Event()

    async def swallow(route):
        if not lost.is_set():
            lost.set()
            await route.fetch()  # it arrives, the answer does not
            await route.abort()
        else:
            await route.continue_()

    await page.route("**/chat/messages", swallow)
    await write(page, "一次")
    await expect(page.locator("#log .patient")).to_have_count(1)
    await expect(page.locator("#outbox .message")).to_have_count(0)
    await back_online(page)  # repeats whatever the page still holds
    await page.wait_for_function("!document.querySelector('#connection:not([hidden])')")
    assert len(site.conversations.accepted) == 1
    await expect(page.locator(".message.patient")).to_have_count(1)


async def test_what_is_being_answered_is_shown_after_a_reload_and_not_sent_again(site, open_page):
    page, _ = await open_page()
    site.conversations.busy = True
    await write(page, "等回答")
    await expect(page.locator("#outbox .state")).to_have_text("已发送")
    await page.reload()
    await expect(page.locator("#outbox .words")).to_have_text("等回答")
    await expect(page.locator("#outbox .state")).to_have_text("已发送")
    await back_online(page)
    await site.watched()
    site.conversations.answer()
    await site.say(site.address, say("answer", "回答"))
    await expect(page.locator("#log .message")).to_have_count(2)
    await expect(page.locator("#outbox .message")).to_have_count(0)
    assert len(site.conversations.accepted) == 1
    assert site.conversations.duplicates == 0
    await page.reload()
    await expect(page.locator(".message.patient")).to_have_count(1)


async def test_a_refusal_gives_the_words_back(site, open_page):
    page, _ = await open_page()
    await page.context.clear_cookies()
    await write(page, "还在吗")
    await expect(page.locator(".state.failed")).to_contain_text("刷新页面")
    await page.get_by_role("button", name="修改").click()
    await expect(page.locator("#text")).to_have_value("还在吗")
    await expect(page.locator("#outbox .message")).to_have_count(0)


async def test_too_long_is_said_before_sending(site, open_page):
    page, _ = await open_page()
    await write(page, "字" * 20_001)
    await expect(page.locator("#hint")).to_contain_text("20000")
    assert len(await page.input_value("#text")) == 20_001
    assert site.conversations.accepted == []


async def test_photos_are_sent_at_once_and_open_large(site, open_page, screenshots):
    page, watch = await open_page()
    photo = {"name": "eye.jpg", "mimeType": "image/jpeg", "buffer": a_photo()}
    await page.set_input_files("#gallery", [photo, {**photo, "buffer": a_photo() + b"2"}])
    await expect(page.locator("#log .patient")).to_have_count(2)
    first, second = site.conversations.accepted
    assert first.album_id is not None
    assert first.album_id == second.album_id
    await page.set_input_files("#camera", photo)
    await expect(page.locator("#log .patient")).to_have_count(3)
    assert site.conversations.accepted[2].album_id is None

    card = await site.blobs.put(a_photo() + b"card")
    reply = Reply(
        "reading", (Paragraph((Text("可以看清"),)),), image=Image(card, "image/jpeg", "结果")
    )
    await site.say(site.address, reply)
    picture = page.locator(".reading a.picture img")
    await expect(picture).to_be_visible()
    await picture.scroll_into_view_if_needed()
    await page.wait_for_function("document.querySelector('.reading img').naturalWidth === 640")
    await picture.click()
    await expect(page.locator("#viewer")).to_be_visible()
    await page.screenshot(path=screenshots / "chat-viewer.png")
    await page.get_by_role("button", name="关闭").click()
    await expect(page.locator("#viewer")).to_be_hidden()
    await page.screenshot(path=screenshots / "chat-reading.png")
    assert watch.complaints == []


async def test_the_last_words_stay_in_view_while_things_load(site, open_page):
    page, _ = await open_page()
    site.conversations.down = True
    photo = {"name": "eye.jpg", "mimeType": "image/jpeg", "buffer": a_photo()}
    await page.set_input_files("#gallery", photo)
    retry = page.get_by_role("button", name="现在重发")
    await expect(retry).to_be_in_viewport(ratio=1)
    footer = await page.locator("footer").bounding_box()
    button = await retry.bounding_box()
    assert button["y"] + button["height"] <= footer["y"]


async def test_a_long_answer_is_read_from_its_beginning(site, open_page):
    page, _ = await open_page()
    await write(page, "x")
    await page.wait_for_selector("[data-message]")
    await site.say(site.address, say("answer", *["很长的一段。" * 20] * 12))
    first = page.locator("#log .answer p").nth(1)
    await expect(first).to_be_in_viewport(ratio=1)
    await page.evaluate("scrollTo(0, 0)")
    await site.say(site.address, say("answer", "后来的话"))
    await expect(page.locator("#jump")).to_be_visible()
    await page.click("#jump")
    await expect(page.locator("#log .answer").last).to_be_in_viewport(ratio=1)
    await expect(page.locator("#jump")).to_be_hidden()
    await page.evaluate("scrollTo(0, 0)")
    await site.say(site.address, EMERGENCY)  # an emergency does not wait below
    await expect(page.locator(".emergency .call")).to_be_in_viewport(ratio=1)


async def test_a_photo_too_large_is_said_before_sending(site, open_page):
    page, _ = await open_page()
    large = {"name": "a.jpg", "mimeType": "image/jpeg", "buffer": b"x" * (1024 * 1024 + 1)}
    await page.set_input_files("#gallery", large)
    await expect(page.locator("#hint")).to_contain_text("1 MB")
    await expect(page.locator("#outbox .message")).to_have_count(0)


async def test_a_photo_lost_with_the_page_is_asked_for_again(site, open_page):
    page, _ = await open_page()
    site.conversations.down = True
    photo = {"name": "eye.jpg", "mimeType": "image/jpeg", "buffer": a_photo()}
    await page.set_input_files("#gallery", photo)
    await expect(page.locator(".state.failed")).to_have_count(1)
    await page.reload()
    await expect(page.locator(".state.failed")).to_contain_text("重新选")
    await page.get_by_role("button", name="不发了").click()
    await expect(page.locator("#outbox .message")).to_have_count(0)


async def test_a_growing_answer_is_shown_and_replaced(site, open_page):
    page, _ = await open_page()
    await write(page, "x")
    await page.wait_for_selector("[data-message]")
    await site.watched()
    draft = site.chat.draft(site.address)
    async with site.chat.activity(site.address, "typing"):
        await expect(page.locator("#typing")).to_be_visible()
        await draft.show("正在写的")
        await expect(page.locator("#draft")).to_have_text("正在写的")
        await draft.close()
    await site.say(site.address, say("answer", "写完的答案"))
    await expect(page.locator("#log .answer .words")).to_have_text("写完的答案")
    await expect(page.locator("#progress")).to_be_hidden()


async def test_what_was_missed_while_away_is_replayed(site, open_page):
    page, _ = await open_page()
    await write(page, "x")
    await page.wait_for_selector("[data-message]")
    await page.context.set_offline(True)
    for n in range(3):
        await site.say(site.address, say("answer", f"错过的 {n}"))
    await back_online(page)
    answers = page.locator("#log .answer .words")
    await expect(answers).to_have_count(3)
    assert await answers.all_text_contents() == ["错过的 0", "错过的 1", "错过的 2"]


@pytest.mark.parametrize(
    ("language", "large", "scheme"),
    [
        ("zh", False, "light"),
        ("zh", True, "light"),
        ("en", False, "light"),
        ("en", True, "light"),
        ("zh", False, "dark"),
        ("en", True, "dark"),
    ],
)
async def test_no_accessibility_fault(site, open_page, screenshots, language, large, scheme):
    page, _ = await open_page(locale=language, bypass_csp=True, color_scheme=scheme)
    if large:
        await page.get_by_role("button", name="大字" if language == "zh" else "Large text").click()
    await write(page, "眼睛红" if language == "zh" else "red eye")
    await page.wait_for_selector("[data-message]")
    card = await site.blobs.put(a_photo())
    for reply in (
        EMERGENCY,
        Reply(
            "reading", (Paragraph((Text("可以看清"),)),), image=Image(card, "image/jpeg", "结果")
        ),
        Reply("answer", (Paragraph((Link("WHO", "https://who.int"),)),), ai_generated=True),
        PLAN,
    ):
        await site.say(site.address, reply)
    await page.wait_for_selector(".plan")
    await page.context.set_offline(True)
    await write(page, "离线")
    await page.wait_for_selector(".state.failed")
    name = f"chat-{language}-{'large' if large else 'normal'}-{scheme}.png"
    await page.screenshot(path=screenshots / name, full_page=True)
    assert await accessibility_faults(page) == []
    assert await page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    small = await page.evaluate(
        """[...document.querySelectorAll("button, .photos label, textarea")]
             .filter(e => e.offsetParent && e.getBoundingClientRect().height < 44)
             .map(e => e.outerHTML)"""
    )
    assert small == []


async def test_everything_works_without_javascript(site, open_page):
    page, _ = await open_page(java_script_enabled=False)
    await write(page, "没有脚本")
    await expect(page.locator("#log .patient .words")).to_have_text("没有脚本")
    await site.say(site.address, PLAN)
    await page.locator("noscript a").first.click()
    await page.locator(".plan button").first.click()
    await expect(page.locator(".plan button")).to_have_count(0)
    photo = {"name": "eye.jpg", "mimeType": "image/jpeg", "buffer": a_photo()}
    await page.set_input_files("#gallery", photo)
    await page.get_by_role("button", name="发送照片").nth(1).click()
    await expect(page.locator("#log .patient img")).to_have_count(1)
    await page.get_by_role("button", name="English").click()
    await expect(page.get_by_role("button", name="中文")).to_be_visible()
    assert [m.button for m in site.conversations.accepted] == [None, "v1:plan:yes:1", None]
