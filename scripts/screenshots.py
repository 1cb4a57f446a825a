"""Draw the screenshots of the README from a running demo, at phone size.

    .venv/bin/oculichat demo --port 8099 &
    .venv/bin/python scripts/screenshots.py http://127.0.0.1:8099 PASSWORD

PASSWORD is the one `demo` prints at its first start; without it the console is left out.
Needs Chromium (Debian: chromium, fonts-noto-cjk) and the development environment.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

_ROOT = Path(__file__).parents[1]
_PHOTO = _ROOT / "tests" / "fixtures" / "fundus" / "idrid_grade2.jpg"
_FOLDER = _ROOT / "docs" / "screenshots"
_WAIT_MS = 20_000


def _talk(page: Page, base: str) -> None:
    page.goto(base, wait_until="load")
    page.fill("textarea", "我妈有糖尿病，最近看东西有点模糊")
    page.get_by_role("button", name="发送").click()
    page.get_by_role("button", name="三项都同意").click(timeout=_WAIT_MS)
    page.get_by_text("明白了").wait_for(timeout=_WAIT_MS)
    page.screenshot(path=_FOLDER / "webchat-question.png")
    page.set_input_files("input[type=file]:not([capture])", _PHOTO)
    card = page.locator("article.reading img").last
    card.wait_for(timeout=_WAIT_MS)
    page.wait_for_timeout(1_500)
    page.locator("article.reading").last.evaluate("e => e.scrollIntoView({block: 'start'})")
    page.wait_for_timeout(500)
    page.screenshot(path=_FOLDER / "webchat-reading.png")
    page.fill("textarea", "石灰溅到眼睛里了")
    page.get_by_role("button", name="发送").click()
    page.locator(".emergency").last.wait_for(timeout=_WAIT_MS)
    page.wait_for_timeout(1_000)
    page.screenshot(path=_FOLDER / "webchat-emergency.png")


def _console(page: Page, base: str, password: str) -> None:
    """Log in for the first time, set the clinic up, and keep a picture of each screen."""
    page.goto(f"{base}/console/login", wait_until="load")
    page.fill("#account", "admin")
    page.fill("#password", password)
    page.keyboard.press("Enter")
    page.fill("#old", password)
    for field in ("#new", "#again"):
        page.fill(field, f"{password} mine")
    page.get_by_role("button", name="换密码").click()
    page.goto(f"{base}/console/settings", wait_until="load")
    for field, value in (("name", "青山乡卫生院"), ("hours", "周一至周五 8:00–17:00")):
        page.fill(f"#clinic-{field}", value)
        page.locator(f"#set-clinic-{field} button").click()
        page.get_by_text("已保存").wait_for(timeout=_WAIT_MS)
    page.goto(f"{base}/console/staff", wait_until="load")
    page.fill("#account", "wang")
    page.fill("#name", "王护士")
    page.get_by_role("button", name="添加人员").click()
    page.locator(".given").wait_for(timeout=_WAIT_MS)
    screens = ("", "/insight", "/channels", "/settings", "/staff", "/account", "/audit")
    for path in screens:
        page.goto(f"{base}/console{path}", wait_until="load")
        page.wait_for_timeout(500)
        page.screenshot(path=_FOLDER / f"console{path.replace('/', '-') or '-today'}.png")
    page.goto(f"{base}/console/account/codes", wait_until="load")
    page.wait_for_timeout(500)
    page.screenshot(path=_FOLDER / "console-codes.png")


def main(base: str, password: str | None = None) -> None:
    """Play one conversation and show it to the staff; keep pictures of both."""
    _FOLDER.mkdir(parents=True, exist_ok=True)
    browser_path = os.environ.get("OCULICHAT_CHROMIUM", "/usr/bin/chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=browser_path, args=["--no-sandbox", "--disable-background-networking"]
        )
        context = browser.new_context(
            viewport={"width": 360, "height": 740}, device_scale_factor=2, locale="zh-CN"
        )
        _talk(context.new_page(), base)
        if password:
            _console(context.new_page(), base, password)
        browser.close()


if __name__ == "__main__":
    main(*sys.argv[1:3])
