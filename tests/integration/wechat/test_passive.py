"""Accounts that may not write by themselves answer inside WeChat's own requests."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from adapters.wechat.official import passive, push
from adapters.wechat.official.channel import OfficialAccount
from bot.service import Service
from core.dispatch import TurnInput
from core.reply import say
from core.store.completion import Completion
from tests.fakes.waiting import until
from tests.fakes.wechat_api import AES_KEY, Phone, WechatApi
from tests.integration.wechat.test_official_account import (
    a_phone,
    a_service,
    kept,
    say_to,
    settled,
    states,
)

REAL_ANSWER_WITHIN_S, REAL_CUT_AFTER_S = passive.ANSWER_WITHIN_S, push.CUT_AFTER_S


def words(phone: Phone) -> list[str]:
    return [str(got.get("Content", got)) for got in phone.got]


@pytest.mark.parametrize("mode", ["plain", "secure"])
@pytest.mark.parametrize("form", ["xml", "json"])
async def test_an_answer_that_is_ready_goes_with_the_request(
    tmp_path: Path, mode: Any, form: Any
) -> None:
    async with (
        WechatApi.running(permitted=False) as api,
        a_service(tmp_path, api, reply="passive", aes_key=AES_KEY) as service,
    ):
        phone = a_phone(api, service, mode=mode, form=form)
        answer = await phone.text("/help")
        assert (answer.status, answer.attempts) == (200, 1)
        assert "/human" in words(phone)[0]
        assert phone.got[0]["ToUserName"] == phone.open_id
        assert await states(service) == ["sent"]
        assert api.sent == []


async def test_replies_of_one_turn_come_together(tmp_path: Path) -> None:
    async with (
        WechatApi.running(permitted=False) as api,
        a_service(tmp_path, api, reply="passive") as service,
    ):
        phone = a_phone(api, service)
        await phone.text("右眼突然看不见了")
        assert phone.got, "an emergency card does not wait for a second question"
        assert "急诊" in words(phone)[0]


async def test_an_account_learns_that_it_may_not_push(tmp_path: Path) -> None:
    async with WechatApi.running(permitted=False) as api, a_service(tmp_path, api) as service:
        phone = a_phone(api, service)
        answer = await phone.text("/help")
        assert answer.text == "success", "it did not know yet"
        assert await kept(service) == ["pending"]
        await phone.text("继续")
        assert "/human" in words(phone)[0], "the answer came with the next message"
        health = {h.name: h for h in await service.health()}["wechat"]
        assert health.facts["mode"] == "passive"


def held(service: Service) -> asyncio.Event:
    """Make every turn take until the event is set, as a slow model does."""
    released = asyncio.Event()
    handler = service.dispatcher._handle

    async def slow(turn: TurnInput, token: str) -> Completion:
        channel = service.connected[0]
        async with channel.activity(turn.address, "typing"):
            await released.wait()
        return await handler(turn, token)

    service.dispatcher._handle = slow
    return released


def test_what_waits_is_said_before_wechat_cuts_and_held_until_it_has() -> None:
    """The real times; the other tests have none, so that a slow machine fails none of them."""
    wechat_cuts_after_s = 5.0
    assert REAL_ANSWER_WITHIN_S < wechat_cuts_after_s < REAL_CUT_AFTER_S


async def test_a_slow_answer_waits_for_the_second_question_of_wechat(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        WechatApi.running(permitted=False) as api,
        a_service(tmp_path, api, reply="passive") as service,
    ):
        released = held(service)
        monkeypatch.setattr(passive, "ANSWER_WITHIN_S", 0.2)
        monkeypatch.setattr(push, "CUT_AFTER_S", 0.3)  # stands for WeChat's own cut

        def before(attempt: int) -> None:
            if attempt == 2:
                monkeypatch.setattr(passive, "ANSWER_WITHIN_S", 60.0)
                released.set()

        phone = a_phone(api, service, before_attempt=before)
        answer = await phone.text("/help")
        assert answer.attempts == 2
        assert "/human" in words(phone)[0]
        assert service.intake.counts.accepted == 1
        assert await states(service) == ["sent"]


async def test_a_very_slow_answer_comes_with_the_next_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        WechatApi.running(permitted=False) as api,
        a_service(tmp_path, api, reply="passive") as service,
    ):
        released = held(service)
        monkeypatch.setattr(passive, "ANSWER_WITHIN_S", 0.2)
        monkeypatch.setattr(push, "CUT_AFTER_S", 0.3)
        phone = a_phone(api, service)
        answer = await phone.text("/help")
        assert (answer.attempts, answer.status) == (3, 200)
        assert "继续" in words(phone)[0], "the person hears that it comes"
        assert "急诊" in words(phone)[0], "and what not to wait for"
        assert await states(service) == []
        monkeypatch.setattr(passive, "ANSWER_WITHIN_S", 60.0)
        released.set()
        assert await kept(service) == ["pending"], "in the outbox until WeChat asks again"
        await phone.text("继续")
        assert "/human" in words(phone)[1]


async def test_what_does_not_fit_comes_with_the_next_message(tmp_path: Path) -> None:
    async with (
        WechatApi.running(permitted=False) as api,
        a_service(tmp_path, api, reply="passive") as service,
    ):
        phone = a_phone(api, service)
        await phone.text("/help")
        long = [f"{n}" + "眼" * 600 for n in range(3)]  # 1800 bytes each
        await say_to(service, phone, long)
        for number in range(3):
            await phone.text("继续")
            assert words(phone)[1 + number] == long[number]
        assert await states(service) == ["sent"] * 4


async def test_an_answer_survives_a_crash_between_question_and_answer(tmp_path: Path) -> None:
    """WeChat cut the request before it was answered; its next question gets the same answer."""
    async with (
        WechatApi.running(permitted=False) as api,
        a_service(tmp_path, api, reply="passive") as service,
    ):
        released = held(service)
        question = asyncio.create_task(a_phone(api, service).text("/help"))
        await until(lambda: service.intake.counts.accepted == 1, "the message is taken in")
        question.cancel()
        await asyncio.gather(question, return_exceptions=True)
        released.set()
        await settled(service, 1)
        assert await states(service) == ["sent"]
    async with a_service(tmp_path, api, reply="passive") as service:
        again = a_phone(api, service)
        await again.text("继续")
        assert "/human" in words(again)[0]


async def test_a_picture_that_may_not_be_uploaded_is_said_in_words(tmp_path: Path) -> None:
    async with (
        WechatApi.running(permitted=False) as api,
        a_service(tmp_path, api, reply="passive") as service,
    ):
        channel = service.connected[0]
        assert isinstance(channel, OfficialAccount)
        body = await channel._body(say("answer", "x" * 5000))
        assert len(body.text.encode()) <= 2048
