"""Draw the screenshots of the README from a running demo, at phone size.

    .venv/bin/oculichat demo --port 8099 &
    .venv/bin/python scripts/screenshots.py http://127.0.0.1:8099

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


def main(base: str) -> None:
    """Play one conversation and keep three pictures."""
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
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1])
