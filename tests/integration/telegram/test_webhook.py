"""The webhook over real sockets: secret first, 200 only after the message is stored."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from adapters.telegram import channel as module
from tests.fakes.botapi import BotApi
from tests.fakes.ports import free_port

SECRET = "s3cret_of-the-hook"
HEADER = {"X-Telegram-Bot-Api-Secret-Token": SECRET}
UPDATE = {"update_id": 1, "message": {"message_id": 1, "date": 1, "text": "a"}}


@pytest.fixture
async def hook(api: BotApi, intake, a_channel) -> AsyncIterator[str]:
    """A service in webhook mode; its public address."""
    port = free_port()
    url = f"http://127.0.0.1:{port}/telegram/webhook"
    async with a_channel(
        running=True, mode="webhook", webhook_url=url, webhook_secret=SECRET
    ) as channel:
        app = web.Application()
        app.add_routes(channel.routes(intake))
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        await api.until(lambda: channel.health().ok)
        yield url
        await runner.cleanup()


async def test_updates_arrive_and_are_answered_after_they_are_stored(api, intake, hook):
    assert api.webhook["url"] == hook
    assert api.webhook["allowed_updates"] == ["message", "callback_query"]
    intake.gate.clear()
    api.user_text(1001, "你好")
    await api.until(lambda: intake.waiting)
    await asyncio.sleep(0.05)
    assert api.webhook_answers == []
    intake.gate.set()
    await api.until(lambda: api.webhook_answers)
    assert api.webhook_answers == [200]
    assert intake.texts == ["你好"]


async def test_what_could_not_be_stored_is_delivered_again(api, intake, hook):
    intake.broken = 1
    api.user_text(1001, "a")
    await api.until(lambda: intake.messages)
    await api.until(lambda: len(api.webhook_answers) == 2)
    assert api.webhook_answers == [503, 200]


async def test_an_unreadable_update_is_not_repeated_for_ever(api, intake, hook):
    api.push({"message": {"no": "sense"}})
    api.user_text(1001, "after")
    await api.until(lambda: intake.messages)
    assert api.webhook_answers[0] == 200


async def test_a_button_is_answered(api, intake, hook):
    api.user_presses(1001, "v1:ask:yes")
    await api.until(lambda: api.accepted("answerCallbackQuery"))
    assert intake.messages[0].button == "v1:ask:yes"


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({}, json.dumps(UPDATE), 403),
        ({"X-Telegram-Bot-Api-Secret-Token": "wrong"}, json.dumps(UPDATE), 403),
        ({"X-Telegram-Bot-Api-Secret-Token": SECRET + "é"}, json.dumps(UPDATE), 403),
        ({"X-Telegram-Bot-Api-Secret-Token": "wrong"}, "{not json", 403),
        (HEADER, "{not json", 400),
        (HEADER, "[]", 400),
        (HEADER, "{}", 400),
        (HEADER, '{"update_id": "1"}', 400),
        (HEADER, "[" * 100_000, 400),
        (HEADER, b"\xff\xfe", 400),
        (HEADER, io.BytesIO(b" " * (1024 * 1024 + 1)), 413),
        (HEADER, json.dumps(UPDATE), 200),
        (HEADER | {"Content-Type": "application/json; charset=utf-8"}, json.dumps(UPDATE), 200),
    ],
)
async def test_the_answer_to_anything_else(intake, hook, headers, body, status):
    async with (
        aiohttp.ClientSession() as session,
        session.post(hook, data=body, headers=headers) as answer,
    ):
        assert answer.status == status
    assert intake.messages == []


async def test_a_body_without_length_is_cut_off(hook):
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield b" " * 65536

    async with aiohttp.ClientSession() as session:
        with contextlib.suppress(aiohttp.ClientConnectionError):
            async with session.post(hook, data=endless(), headers=HEADER) as answer:
                assert answer.status == 413


async def test_a_webhook_that_was_taken_away_is_set_again(api, intake, a_channel, monkeypatch):
    monkeypatch.setattr(module, "_WEBHOOK_CHECK_S", 0.02)
    url = "https://clinic.example/telegram/webhook"
    async with a_channel(running=True, mode="webhook", webhook_url=url, webhook_secret=SECRET):
        for _ in range(2):
            await api.until(lambda: api.webhook.get("url") == url)
            api.webhook = {}
    assert api.accepted("setWebhook")[1]["params"]["secret_token"] == SECRET


async def test_polling_mode_has_no_route(intake, channel):
    assert channel.routes(intake) == []
