"""A patient books over the wire of the fake Bot API and opens the link that comes back."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest

from bot.service import Service
from bot.settings import Settings
from core.clock import SystemClock
from tests.fakes.botapi import BotApi

PATIENT = 4711
LINK = re.compile(r"https://eyes\.example\.org/visit/[0-9a-z]+-[0-9a-z]+-[0-9a-f]{32}")


def a_config(api: BotApi, tmp_path: Path, public_url: str | None) -> Settings:
    return Settings(
        data_dir=tmp_path / "data",
        server={"port": 0, "public_url": public_url},
        consent={"required": False},
        fundus={"enabled": False},
        telegram={
            "token": api.token,
            "base_url": api.base_url,
            "base_file_url": api.base_file_url,
            "poll_timeout_s": 1,
            "drafts": False,
        },
    )


async def _book(api: BotApi) -> str:
    """Say "booked", then where and when; return everything the patient was told."""
    for say in (
        lambda: api.user_text(PATIENT, "你好"),
        lambda: api.user_presses(PATIENT, "v1:remind:booked:1"),
        lambda: api.user_text(PATIENT, "下周三上午9点去县医院"),
        lambda: api.user_text(PATIENT, "/reminders"),
    ):
        before = len(api.texts(PATIENT))
        say()
        await api.until(lambda before=before: len(api.texts(PATIENT)) > before)
    return "\n".join(api.texts(PATIENT))


@pytest.mark.parametrize("public_url", ["https://eyes.example.org/", None])
async def test_the_answer_to_a_booking_has_a_link_that_works(
    tmp_path: Path, public_url: str | None
) -> None:
    async with BotApi.running() as api:
        service = Service(a_config(api, tmp_path, public_url), clock=SystemClock())
        await service.start()
        try:
            links = LINK.findall(await _book(api))
            (entry,) = api.documents(PATIENT)
            assert b"DTSTART:" in entry
            assert "LOCATION:县医院".encode() in entry
            if public_url is None:
                assert links == []
                return
            assert len(set(links)) == 1, api.texts(PATIENT)
            here = f"http://127.0.0.1:{service.port}{urlsplit(links[0]).path}"
            async with aiohttp.ClientSession() as browser:
                async with browser.get(here) as page:
                    shown = await page.text()
                assert page.status == 200
                async with browser.get(f"{here}/visit.ics") as file:
                    body = await file.text()
            assert "县医院" in shown
            assert "DTSTART:" in body
            assert "T010000Z" in body  # nine in Shanghai
        finally:
            await service.stop()
