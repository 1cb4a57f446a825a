"""What we say reaches the person, never twice and never beyond what WeChat allows."""

from __future__ import annotations

import asyncio
import hashlib
import os

import pytest

from adapters.wechat.ilink import channel as channel_module
from adapters.wechat.ilink.logins import Context, context_of
from core.errors import SendRefused, SendUnknown, Throttled, TransientError, Unreachable
from core.reply import Image, Reply, say
from tests.fakes.waiting import until
from tests.integration.ilink.conftest import Clinic

ALICE = "alice@im.wechat"
HOUR_S = 3600


@pytest.fixture
async def heard(clinic: Clinic) -> Clinic:
    """Alice is connected and has written once."""
    await clinic.connect(ALICE)
    await clinic.run()
    await clinic.hears(ALICE)
    return clinic


def to(clinic: Clinic):
    return clinic.intake.accepted[-1].address


async def send(clinic: Clinic, text: str, *, kind="answer", key: str = "1.0") -> str | None:
    await clinic.channel.ready(to(clinic), urgent=kind == "emergency")
    return await clinic.channel.send(to(clinic), say(kind, text), key=key)


async def context(clinic: Clinic) -> Context:
    found = await clinic.store.read(context_of, ALICE)
    assert found is not None
    return found


async def test_a_text_goes_out_on_the_newest_context(heard: Clinic) -> None:
    await heard.hears(ALICE, "还有")
    sent = await send(heard, "您好，<b>*请*</b>说。")
    assert heard.wechat.texts(ALICE) == ["您好，<b>*请*</b>说。"]
    assert sent is not None
    assert int(sent) > 2**63
    newest = heard.wechat.bots[next(iter(heard.wechat.bots))].messages[-1]["context_token"]
    (body,) = [b for m, b in heard.wechat.calls if m == "sendmessage"]
    assert body["msg"]["context_token"] == newest


@pytest.mark.parametrize("size", [5_000, 270_448, 6 << 20])
async def test_a_picture_arrives_byte_for_byte(heard: Clinic, size: int) -> None:
    data = os.urandom(size)
    image = Image(await heard.blobs.put(data), "image/jpeg", "the card in words")
    heard.wechat.faults.extend([("upload", "502"), ("upload", "cut")])
    sent = await heard.channel.send(to(heard), Reply("reading", (), image=image), key="1.0")
    assert sent
    (seen,) = heard.wechat.pictures(ALICE)
    assert hashlib.sha256(seen).digest() == hashlib.sha256(data).digest()


async def test_an_erased_picture_is_said_in_words(heard: Clinic) -> None:
    image = Image("0" * 64, "image/jpeg", "the card in words")
    await heard.channel.send(to(heard), Reply("reading", (), image=image), key="1.0")
    assert heard.wechat.texts(ALICE) == ["the card in words"]


async def test_a_picture_that_cannot_be_uploaded_costs_nothing(heard: Clinic) -> None:
    image = Image(await heard.blobs.put(b"picture"), "image/jpeg", "words")
    heard.wechat.faults.extend([("upload", "502")] * 3)
    with pytest.raises(Unreachable):
        await heard.channel.send(to(heard), Reply("reading", (), image=image), key="1.0")
    assert (await context(heard)).sent == 0
    assert heard.wechat.sent == []


async def test_a_slow_cdn_is_not_a_message_of_unknown_fate(
    heard: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel_module, "_UPLOAD_WITHIN_S", 0.05)
    heard.wechat.faults.extend([("upload", "cut")] * 3)
    image = Image(await heard.blobs.put(b"picture"), "image/jpeg", "words")
    with pytest.raises(Unreachable):
        await heard.channel.send(to(heard), Reply("reading", (), image=image), key="1.0")
    assert (await context(heard)).sent == 0


async def test_the_allowance_is_kept_also_by_another_process(heard: Clinic) -> None:
    for n in range(8):
        await send(heard, f"第{n}条", key=f"1.{n}")
    with pytest.raises(Throttled):
        await send(heard, "第九条", key="1.8")
    await heard.end()
    await heard.again()
    with pytest.raises(Throttled):
        await send(heard, "第九条", key="1.8")
    await send(heard, "急", kind="emergency", key="2.0")
    await send(heard, "急", kind="emergency", key="2.1")
    with pytest.raises(Throttled):
        await send(heard, "急", kind="emergency", key="2.2")
    assert len(heard.wechat.sent) == 10
    await heard.hears(ALICE, "我在")
    await send(heard, "第九条", key="1.8")
    assert heard.wechat.texts(ALICE)[-1] == "第九条"


async def test_twenty_at_once_take_no_more_than_is_allowed(heard: Clinic) -> None:
    async def one(n: int) -> None:
        await heard.channel.send(to(heard), say("answer", f"{n}"), key=f"1.{n}")

    results = await asyncio.gather(*map(one, range(20)), return_exceptions=True)
    assert [type(r) for r in results if r is not None] == [Throttled] * 12
    assert len(heard.wechat.sent) == 8


async def test_a_repeated_delivery_gives_no_new_allowance(heard: Clinic) -> None:
    await send(heard, "一")
    bot = next(iter(heard.wechat.bots.values()))
    bot.messages.append(bot.messages[0])
    await until(lambda: heard.intake.duplicates == 1)
    assert (await context(heard)).sent == 1


async def test_a_day_later_staff_have_to_call(heard: Clinic) -> None:
    heard.clock.advance(s=22.9 * HOUR_S)
    await send(heard, "还能收到")
    heard.clock.advance(s=0.2 * HOUR_S)
    await heard.channel.ready(to(heard), urgent=False)
    with pytest.raises(SendRefused) as refused:
        await send(heard, "太晚了", key="2.0")
    assert not refused.value.unlink
    assert heard.wechat.texts(ALICE) == ["还能收到"]
    assert heard.channel.capabilities.proactive_window_ms == 23 * HOUR_S * 1000


async def test_somebody_who_never_wrote_cannot_be_written_to(clinic: Clinic) -> None:
    from adapters.wechat.ilink.inbound import address_of  # noqa: PLC0415

    await clinic.connect(ALICE)
    with pytest.raises(SendRefused):
        await clinic.channel.send(address_of(ALICE), say("reminder", "该复查了"), key="1.0")
    assert clinic.wechat.calls == []


async def test_a_rate_limit_pauses_and_says_nothing_about_the_context(heard: Clinic) -> None:
    heard.wechat.faults.extend([("sendmessage", "rate")] * 4)
    waits: list[float] = []
    for _ in range(4):
        with pytest.raises(Throttled) as pause:
            await heard.channel.send(to(heard), say("answer", "好"), key="1.0")
        waits.append(pause.value.retry_after_s or 0)
    assert waits == [30, 60, 120, 240]
    assert ((await context(heard)).sent, (await context(heard)).refused) == (0, 0)
    await send(heard, "好")
    assert heard.wechat.texts(ALICE) == ["好"]


async def test_three_refusals_without_a_reason_end_the_context(heard: Clinic) -> None:
    heard.wechat.faults.extend([("sendmessage", "refuse")] * 3)
    for refused in (1, 2, 3):
        with pytest.raises(Throttled):
            await heard.channel.send(to(heard), say("answer", "好"), key="1.0")
        assert ((await context(heard)).sent, (await context(heard)).refused) == (0, refused)
    calls = len(heard.wechat.calls)
    with pytest.raises(Throttled):
        await send(heard, "好")
    assert not [m for m, _ in heard.wechat.calls[calls:] if m == "sendmessage"]
    await heard.hears(ALICE, "?")
    await send(heard, "好")
    assert heard.wechat.texts(ALICE) == ["好"]


async def test_one_refusal_is_forgotten_after_a_success(heard: Clinic) -> None:
    heard.wechat.faults.append(("sendmessage", "refuse"))
    with pytest.raises(Throttled):
        await send(heard, "好")
    with pytest.raises(Throttled, match="pause"):
        await heard.channel.ready(to(heard), urgent=False)
    heard.clock.advance(s=6)
    await send(heard, "好")
    assert ((await context(heard)).sent, (await context(heard)).refused) == (1, 0)


@pytest.mark.parametrize("kind", ["lost", "cut", "garbage", "500", "504"])
async def test_what_may_have_arrived_is_said_to_be_unknown_and_counts(
    heard: Clinic, kind: str
) -> None:
    heard.wechat.faults.append(("sendmessage", kind))
    with pytest.raises(SendUnknown):
        await send(heard, "好")
    assert (await context(heard)).sent == 1
    assert heard.wechat.texts(ALICE) == (["好"] if kind == "lost" else [])
    assert heard.channel.capabilities.on_unknown == "hold"


@pytest.mark.parametrize("kind", ["502", "503", "429", "403"])
async def test_what_was_surely_not_taken_may_be_repeated_and_counts_not(
    heard: Clinic, kind: str
) -> None:
    heard.wechat.faults.append(("sendmessage", kind))
    with pytest.raises(Unreachable):
        await send(heard, "好")
    assert (await context(heard)).sent == 0
    await send(heard, "好")
    ids = [b["msg"]["client_id"] for m, b in heard.wechat.calls if m == "sendmessage"]
    assert len(ids) == 2
    assert len(set(ids)) == 1, "each attempt has the same name"
    await send(heard, "还有", key="1.1")
    assert heard.wechat.sent[-1]["client_id"] != ids[0]


async def test_an_acceptance_without_an_id_is_not_believed(heard: Clinic) -> None:
    heard.wechat.message_ids = False
    with pytest.raises(SendUnknown):
        await send(heard, "好")
    await heard.end()
    heard.settings = heard.settings.model_copy(update={"expect_message_id": False})
    await heard.again()
    assert await send(heard, "好") is None


async def test_a_login_taken_away_keeps_the_message_for_the_next_scan(heard: Clinic) -> None:
    other = heard.wechat.connect(ALICE)
    with pytest.raises(TransientError) as stale:
        await send(heard, "好")
    assert not isinstance(stale.value, Throttled)
    assert ((await context(heard)).sent, (await context(heard)).refused) == (0, 0)
    heard.clock.advance(s=60)
    await heard.keep(other)
    await send(heard, "好")
    assert heard.wechat.texts(ALICE) == ["好"]


async def test_typing_is_shown_while_a_turn_runs_and_taken_back(heard: Clinic) -> None:
    async with heard.channel.activity(to(heard), "typing"):
        await until(lambda: heard.wechat.typing)
    await until(lambda: len(heard.wechat.typing) == 2)
    assert heard.wechat.typing == [(ALICE, 1), (ALICE, 2)]
    async with heard.channel.activity(to(heard), "typing"):
        pass
    await asyncio.sleep(0.4)
    assert len(heard.wechat.typing) == 2, "short turns show nothing"


async def test_typing_never_fails_a_turn(heard: Clinic) -> None:
    heard.wechat.faults.append(("getconfig", "garbage"))
    async with heard.channel.activity(to(heard), "typing"):
        await until(lambda: not heard.wechat.faults)
    await asyncio.sleep(0.05)


async def test_doctor_asks_wechat_and_receives_nothing(heard: Clinic) -> None:
    assert (await heard.channel.probe()).ok
    heard.wechat.faults.append(("getconfig", "502"))
    assert "network" in (await heard.channel.probe()).detail
    heard.wechat.faults.append(("getconfig", "stale"))
    assert "scan" in (await heard.channel.probe()).detail
