"""The pages about patients in a real browser, phone-sized, over the whole core."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, expect

from tests.integration.bedside.conftest import PASSWORD, PHOTO, Clinic, open_clinic
from tests.integration.browser.conftest import PHONE, Watch, accessibility_faults

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

_LOOKS = [("zh-CN", "light", ""), ("en", "light", ""), ("zh-CN", "dark", "large")]
_FIRST_LOAD_BYTES = 60_000


@pytest_asyncio.fixture(loop_scope="session")
async def clinic() -> AsyncIterator[Clinic]:
    with TemporaryDirectory() as folder:
        async with open_clinic(Path(folder)) as found:
            w = found.world
            await w.write(
                "p", "我有糖尿病十年了，最近两只眼睛看东西都有点模糊", sender_name="张奶奶"
            )
            await w.settle()
            for eye in ("右眼", "左眼", "右眼"):
                w.clock.ms += 86_400_000
                await w.write("p", eye, PHOTO.read_bytes())
                await w.settle()
            await w.write("p", "结果严重吗？我有点害怕")
            await w.settle()
            yield found


async def entered(
    chromium: Browser, clinic: Clinic, account: str, **look
) -> tuple[BrowserContext, Page, Watch]:
    context = await chromium.new_context(**{"viewport": PHONE, "bypass_csp": True, **look})
    page = await context.new_page()
    page.set_default_timeout(60_000)
    watch = Watch(page)
    await page.goto(f"{clinic.base}/console/login")
    await page.fill("#account", account)
    await page.fill("#password", PASSWORD)
    await page.keyboard.press("Enter")
    await page.wait_for_url(f"{clinic.base}/console")
    return context, page, watch


async def is_sound(page: Page) -> None:
    assert await accessibility_faults(page) == []
    assert await page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


@pytest.mark.parametrize(("locale", "scheme", "size"), _LOOKS)
async def test_a_doctor_looks_at_a_patient(chromium, clinic, screenshots, locale, scheme, size):
    context, page, watch = await entered(chromium, clinic, "li", locale=locale, color_scheme=scheme)
    if size:
        await page.locator("button[name=size]").click()
    name = f"{locale}-{size or scheme}"
    await page.goto(f"{clinic.base}/console/patients")
    await is_sound(page)
    await page.screenshot(path=screenshots / f"console-patients-{name}.png")
    await page.locator(".people a").first.click()
    await expect(page.locator(".eyes article")).to_have_count(2)
    await page.wait_for_function("Array.from(document.images).slice(0, 2).every(i => i.complete)")
    await is_sound(page)
    await page.screenshot(path=screenshots / f"console-patient-{name}.png")
    await page.screenshot(path=screenshots / f"console-patient-{name}-whole.png", full_page=True)
    await page.goto(f"{clinic.base}/console/photos/3")
    await expect(page.locator("table tbody tr")).to_have_count(5)
    await is_sound(page)
    await page.screenshot(path=screenshots / f"console-photo-{name}.png")
    await page.screenshot(path=screenshots / f"console-photo-{name}-whole.png", full_page=True)
    await page.goto(f"{clinic.base}/console/new-photo")
    await is_sound(page)
    await page.screenshot(path=screenshots / f"console-new-photo-{name}.png", full_page=True)
    assert watch.complaints == []
    assert all(url.startswith((clinic.base, "blob:")) for url in watch.urls)
    await context.close()


@pytest.mark.parametrize(("locale", "scheme", "size"), _LOOKS)
async def test_a_nurse_answers_a_patient(chromium, clinic, screenshots, locale, scheme, size):
    context, page, watch = await entered(
        chromium, clinic, "wang", locale=locale, color_scheme=scheme
    )
    if size:
        await page.locator("button[name=size]").click()
    chat = f"{clinic.base}/console/conversations/1"
    await page.goto(chat)
    await is_sound(page)
    await page.locator(".reply-box .primary").click()
    await page.locator(".phrases summary").click()
    await page.locator("[data-phrase]").first.click()
    await expect(page.locator("#words")).not_to_have_value("")
    await page.fill("#words", "我看了照片，请您这周来门诊查一查，别担心，我们陪着您。")
    await is_sound(page)
    await page.reload()  # the draft survives
    await expect(page.locator("#words")).to_have_value(
        "我看了照片，请您这周来门诊查一查，别担心，我们陪着您。"
    )
    await page.locator(".recall .primary").click()
    await expect(page.locator("#latest")).to_contain_text("请您这周来门诊")
    await clinic.world.write("p", "好的，谢谢护士，那我周三上午来")
    await clinic.world.settle()
    await page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    await expect(page.locator("#latest")).to_contain_text("周三上午")
    await is_sound(page)
    await page.locator(".reply-box").scroll_into_view_if_needed()
    name = f"{locale}-{size or scheme}"
    await page.screenshot(path=screenshots / f"console-conversation-{name}.png")
    shot = screenshots / f"console-conversation-{name}-whole.png"
    await page.screenshot(path=shot, full_page=True)
    await page.locator("form[action$=hand-back] button").click()
    await expect(page.locator(".reply-box .primary")).to_be_visible()
    assert await clinic.world.takeovers.of(1) is None
    assert watch.complaints == []
    await context.close()


async def test_the_picture_grows_and_moves_with_the_areas_over_it(chromium, clinic, screenshots):
    context, page, watch = await entered(chromium, clinic, "li", locale="zh-CN")
    await page.goto(f"{clinic.base}/console/photos/3")
    box = page.locator("#zoom")
    await page.locator("[data-zoom='1.5']").click()
    await page.locator("[data-zoom='1.5']").click()
    assert await box.get_attribute("data-scale") == "2.25"
    before = await page.locator("#picture").evaluate("e => e.style.transform")
    frame = await box.bounding_box()
    x, y = frame["x"] + 150, frame["y"] + 150
    await page.mouse.move(x, y)
    await page.mouse.down()
    await page.mouse.move(x + 40, y + 25, steps=3)
    await page.mouse.up()
    assert await page.locator("#picture").evaluate("e => e.style.transform") != before
    await page.locator("[data-zoom='0']").click()
    assert await box.get_attribute("data-scale") == "1.00"
    pinch = """(box) => {
      const send = (type, id, x, y) => box.dispatchEvent(new PointerEvent(type, {
        pointerId: id, clientX: x, clientY: y, bubbles: true }));
      box.setPointerCapture = () => {};
      send("pointerdown", 11, 100, 300); send("pointerdown", 12, 160, 300);
      send("pointermove", 12, 161, 300); send("pointermove", 12, 220, 300);
      send("pointerup", 11, 100, 300); send("pointerup", 12, 220, 300);
      return Number(box.dataset.scale);
    }"""
    assert await box.evaluate(pinch) > 1.5
    overlay = page.locator(".overlay")
    await expect(overlay).not_to_be_visible()
    await page.locator("label[for=overlay]").click()
    await expect(overlay).to_be_visible()
    await expect(page.locator("#picture")).to_be_visible()
    assert await overlay.evaluate("e => e.decode().then(() => e.naturalWidth)") > 0
    places = """() => ["#picture", ".overlay"].map((name) => {
      const at = document.querySelector(name).getBoundingClientRect();
      return [at.x, at.y, at.width, at.height].map(Math.round);
    })"""
    picture, drawing = await page.evaluate(places)
    assert picture == drawing  # however far in, the lines lie where they belong
    assert picture[2] > frame["width"] * 1.4
    await page.screenshot(path=screenshots / "console-photo-areas-near.png")
    await page.locator("[data-zoom='0']").click()
    picture, drawing = await page.evaluate(places)
    assert picture == drawing
    await is_sound(page)
    await page.screenshot(path=screenshots / "console-photo-areas.png")
    await page.locator("#overlay").press("Space")
    await expect(overlay).not_to_be_visible()
    assert watch.complaints == []
    await context.close()


async def test_the_areas_need_no_javascript(chromium, clinic, screenshots):
    context, page, watch = await entered(
        chromium, clinic, "wang", locale="en", java_script_enabled=False, bypass_csp=False
    )
    await page.goto(f"{clinic.base}/console/photos/3")
    await page.locator("label[for=overlay]").click()
    await expect(page.locator(".overlay")).to_be_visible()
    assert watch.complaints == []
    # By itself it shows the photo under the lines, fetched with the same session.
    async with page.expect_response("**/console/photos/3/image") as fetched:
        await page.goto(f"{clinic.base}/console/photos/3/overlay")
    assert (await fetched.value).status == 200
    await page.screenshot(path=screenshots / "console-photo-areas-alone.png")
    assert not [c for c in watch.complaints if "Content Security Policy" in c]
    await context.close()


async def test_a_grade_is_kept_and_shown(chromium, clinic):
    context, page, watch = await entered(chromium, clinic, "li", locale="zh-CN")
    await page.goto(f"{clinic.base}/console/photos/2")
    await page.locator("input[name=agrees][value=no]").check()
    await page.select_option("#dr_grade", "3")
    await page.fill("#comment", "下方还有出血")
    await page.locator("form[action$=review] .primary").dblclick()
    await expect(page.locator("#review ~ article")).to_contain_text("下方还有出血")
    await expect(page.locator("#review ~ article")).to_have_count(1)
    await page.reload()
    await expect(page.locator("#review ~ article")).to_have_count(1)
    await is_sound(page)
    assert watch.complaints == []
    await context.close()


@pytest.mark.parametrize(("locale", "scheme", "size"), _LOOKS)
async def test_somebody_at_the_clinic(chromium, clinic, screenshots, locale, scheme, size):
    context, page, watch = await entered(
        chromium, clinic, "wang", locale=locale, color_scheme=scheme
    )
    if size:
        await page.locator("button[name=size]").click()
    await page.goto(f"{clinic.base}/console/new-photo")
    await page.fill("#name", "刘大爷")
    await page.set_input_files("#camera_OD", PHOTO)
    await expect(page.locator(".preview").first).to_be_visible()
    await page.set_input_files("#file_OS", PHOTO)
    await page.locator("input[name=consent]").check()
    await page.locator("#new-photo .primary").click()
    await expect(page.locator(".report")).to_have_count(2)
    await is_sound(page)
    name = f"{locale}-{size or scheme}"
    await page.screenshot(path=screenshots / f"console-result-{name}.png")
    await page.emulate_media(media="print")
    await expect(page.locator("nav")).not_to_be_visible()
    await expect(page.locator(".signature")).to_be_visible()
    await page.screenshot(path=screenshots / f"console-result-{name}-paper.png", full_page=True)
    assert watch.complaints == []
    await context.close()


async def test_reading_and_replying_need_no_javascript(chromium, clinic):
    context, page, watch = await entered(
        chromium, clinic, "wang", locale="zh-CN", java_script_enabled=False
    )
    await page.goto(f"{clinic.base}/console/patients/1")
    await expect(page.locator(".timeline li").first).to_be_visible()
    await page.goto(f"{clinic.base}/console/conversations/1")
    await page.locator(".reply-box .primary").click()
    await page.fill("#words", "不用脚本也能回复")
    await page.locator(".recall .primary").click()
    await expect(page.locator("#latest")).to_contain_text("不用脚本也能回复")
    await page.locator("form[action$=hand-back] button").click()
    await page.goto(f"{clinic.base}/console/photos/3")
    await expect(page.locator("#picture")).to_be_visible()
    assert watch.complaints == []
    await context.close()


async def test_without_a_line_a_reply_stays_on_the_page(chromium, clinic):
    context, page, watch = await entered(chromium, clinic, "wang", locale="zh-CN")
    await page.goto(f"{clinic.base}/console/conversations/1")
    await page.locator(".reply-box .primary").click()
    await page.fill("#words", "断线时写的")
    await context.set_offline(True)
    await page.locator(".recall .primary").click()
    await expect(page.locator("#offline")).to_be_visible()
    await expect(page.locator("#words")).to_have_value("断线时写的")
    await context.set_offline(False)
    await page.locator(".recall .primary").dblclick()
    await expect(page.locator("#latest")).to_contain_text("断线时写的")
    assert sum("断线时写的" in words for words in clinic.world.heard("p")) == 1
    await page.locator("form[action$=hand-back] button").click()
    assert not [c for c in watch.complaints if "ERR_INTERNET_DISCONNECTED" not in c]
    await context.close()


async def test_the_first_load_is_small(chromium, clinic):
    """Everything a page fetches but the photos themselves, as a slow line carries it."""
    context, page, _watch = await entered(chromium, clinic, "li", locale="zh-CN")
    size = """() => performance.getEntriesByType("navigation").concat(
      performance.getEntriesByType("resource").filter((e) => !e.name.includes("/photos/"))
    ).reduce((sum, entry) => sum + entry.encodedBodySize, 0)"""
    for path in ("patients", "patients/1", "conversations/1", "photos/3", "new-photo"):
        await page.goto(f"{clinic.base}/console/{path}", wait_until="load")
        assert 5_000 < await page.evaluate(size) <= _FIRST_LOAD_BYTES, path
    await context.close()
