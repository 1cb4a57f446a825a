"""The Official Account through the whole service, against WeChat on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest
from sqlalchemy import Connection, select

from adapters.wechat.official.channel import OfficialAccount
from adapters.wechat.official.seen import Seen
from bot.service import Service
from bot.settings import Settings
from core.clock import Clock
from core.delivery import OUTBOX_BODY
from core.errors import PatientError
from core.message import Address, Attachment, AttachmentKind
from core.reply import Image, Reply, ReplyKind, say, to_json
from core.store.outbox import OutboxRow
from core.store.tables import (
    channel_link,
    conversation,
    outbox,
    staff_task,
    transcript,
    voice_note,
)
from core.triage.engine import warm_up
from tests.conftest import ManualClock
from tests.fakes.recordings import amr
from tests.fakes.waiting import PATIENCE_S, until
from tests.fakes.wechat_api import AES_KEY, APP_ID, Phone, WechatApi


@asynccontextmanager
async def a_service(
    tmp_path: Path, api: WechatApi, *, clock: Clock | None = None, **official: Any
) -> AsyncIterator[Service]:
    settings = Settings(
        data_dir=tmp_path / "data",
        server={"port": 0, "public_url": "https://eyes.example.org"},
        dialog={"merge_window_ms": 0},
        webchat={"enabled": False},
        console={"enabled": False},
        fundus={"enabled": False},
        consent={"required": False},
        wechat={"official": api.settings(**official)},
    )
    warm_up()  # once per process; under way in a thread it would slow the first answers
    service = Service(settings, clock=clock)
    await service.start()
    try:
        yield service
    finally:
        await service.stop()


def a_phone(api: WechatApi, service: Service, **more: Any) -> Phone:
    return Phone(api, f"http://127.0.0.1:{service.port}/wechat/push", **more)


async def settled(service: Service, accepted: int) -> None:
    await until(lambda: service.intake.counts.accepted >= accepted, "the message is in")
    async with asyncio.timeout(PATIENCE_S):
        await service.settle()


@pytest.mark.parametrize("mode", ["plain", "compatible", "secure"])
@pytest.mark.parametrize("form", ["xml", "json"])
async def test_a_message_is_taken_at_once_and_answered_by_push(
    tmp_path: Path, mode: Any, form: Any
) -> None:
    async with WechatApi.running() as api, a_service(tmp_path, api, aes_key=AES_KEY) as service:
        phone = a_phone(api, service, mode=mode, form=form, deliver_times=3)
        answer = await phone.text("/help")
        assert (answer.status, answer.text) == (200, "success")
        await settled(service, 1)
        assert len(api.texts(phone.open_id)) == 1
        assert service.intake.counts.accepted == 1


async def test_a_repeat_that_another_process_gets_is_recognised_too(tmp_path: Path) -> None:
    async with WechatApi.running() as api, a_service(tmp_path, api) as service:
        phone = a_phone(api, service)
        api.user_acts(phone.open_id, "message")
        message = {
            "MsgType": "text",
            "Content": "/help",
            "MsgId": 77,
            "CreateTime": int(phone.now_s()),
        }
        channel = service.connected[0]
        assert isinstance(channel, OfficialAccount)
        for _ in range(3):
            assert (await phone.push(message)).text == "success"
            channel._seen = Seen()  # what this process remembers, another does not
        await settled(service, 1)
        counts = service.intake.counts
        assert (counts.accepted, counts.duplicates) == (1, 2)
        assert len(api.texts(phone.open_id)) == 1


async def test_a_follow_a_tap_and_a_scan_are_answered_and_an_unfollow_ends_it(
    tmp_path: Path,
) -> None:
    async with WechatApi.running() as api, a_service(tmp_path, api) as service:
        phone = a_phone(api, service)
        for number, (name, key) in enumerate(
            [("subscribe", "qrscene_clinic7"), ("CLICK", "help"), ("SCAN", "clinic7")], start=1
        ):
            answer = await phone.event(name, key, Ticket="t" if name != "CLICK" else "")
            assert answer.text == "success"
            await settled(service, number)
        assert "AI" in api.texts(phone.open_id)[0]
        assert len(api.texts(phone.open_id)) == 3
        for name in ("VIEW", "LOCATION", "WifiConnected"):
            assert (await phone.event(name, "https://example.org")).text == "success"
        assert service.intake.counts.accepted == 3
        assert await is_active(service)
        await phone.event("unsubscribe")
        assert not await is_active(service)
        await phone.event("subscribe")
        await settled(service, 4)
        assert await is_active(service)


async def is_active(service: Service) -> bool:
    return await service.store.read(
        lambda c, _: bool(c.execute(select(channel_link.c.active)).scalar()), None
    )


async def test_each_kind_of_message_gets_an_answer(tmp_path: Path) -> None:
    async with WechatApi.running() as api, a_service(tmp_path, api) as service:
        phone = a_phone(api, service)
        kinds: list[tuple[str, dict[str, Any]]] = [
            ("voice", {"MediaId": "v1", "Format": "amr", "Recognition": "/help"}),
            ("voice", {"MediaId": "v2", "Format": "amr"}),
            ("video", {"MediaId": "v3", "ThumbMediaId": "t"}),
            ("location", {"Location_X": "23.1", "Location_Y": "113.3", "Label": "某地"}),
            ("link", {"Title": "文章", "Description": "d", "Url": "https://example.org"}),
            ("file", {"Title": "x.pdf"}),
        ]
        api.media["v2"] = amr()
        for number, (kind, fields) in enumerate(kinds, start=1):
            answer = await phone.message(kind, **fields)
            assert answer.text == "success", kind
            await settled(service, number)
            assert len(api.texts(phone.open_id)) == number, kind
        assert "/human" in api.texts(phone.open_id)[0], "what WeChat heard counts as typed"


async def test_a_voice_note_is_kept_and_what_wechat_wrote_down_is_triaged(tmp_path: Path) -> None:
    async with WechatApi.running() as api, a_service(tmp_path, api) as service:
        phone = a_phone(api, service)
        api.media["v1"], api.media["v2"] = amr(3_000), amr(5_000)
        await phone.message("voice", MediaId="v1", Format="amr", Recognition="右眼突然看不见了。")
        await until(lambda: api.texts(phone.open_id), "the card")
        await phone.message("voice", MediaId="v2", Format="amr")
        await until(lambda: len(api.texts(phone.open_id)) > 1, "an answer to the second")
        card, *_, last = api.texts(phone.open_id)
        assert "急诊" in card
        assert "听不懂语音" in last

        def notes(connection: Any, _arguments: Any) -> list[Any]:
            return list(connection.execute(select(voice_note).order_by(voice_note.c.id)).all())

        async def both() -> list[Any]:
            found = await service.store.read(notes, None)
            return found if len(found) == 2 else []

        kept = await until(both, "both recordings")
        assert [(n.mime, n.duration_ms, n.transcribed) for n in kept] == [
            ("audio/amr", 3_000, True),
            ("audio/amr", 5_000, False),
        ]
        assert await service.blobs.get(kept[1].blob) == amr(5_000)


async def test_the_quota_holds_and_the_rest_comes_when_the_person_writes(tmp_path: Path) -> None:
    async with WechatApi.running() as api, a_service(tmp_path, api) as service:
        phone = a_phone(api, service)
        await phone.text("/help")
        await settled(service, 1)
        channel = service.connected[0]
        await say_to(service, phone, [f"part {n}" for n in range(7)])
        await until(lambda: len(api.texts(phone.open_id)) == 5, "five messages went out")
        await asyncio.sleep(0.3)  # a sixth would come now
        texts = api.texts(phone.open_id)
        assert [t.split("\n")[0] for t in texts[1:]] == [f"part {n}" for n in range(4)]
        assert "继续" in texts[-1], "the last one that may go says that more waits"
        assert all("继续" not in t for t in texts[1:-1])
        answer = await phone.text("继续")
        assert answer.text == "success"
        await until(lambda: len(api.texts(phone.open_id)) == 8, "the rest went out")
        await service.settle()
        assert api.texts(phone.open_id)[5:] == ["part 4", "part 5", "part 6"]
        assert service.intake.counts.accepted == 1, "asking for the rest is no turn"
        assert channel.name == "wechat"


async def say_to(
    service: Service, phone: Phone, texts: list[str], kind: ReplyKind = "answer"
) -> None:
    """Put replies into the outbox, as a turn or a reminder does."""
    address = Address("wechat", APP_ID, phone.open_id)
    rows = await service.store.write(_say, (address, texts, kind, service))
    service.delivery.deliver(address, rows)


def _say(connection: Connection, arguments: Any) -> list[list[OutboxRow]]:
    results: list[list[OutboxRow]] = []
    for address, texts, kind, service in arguments:
        conversation_id = connection.execute(
            select(conversation.c.id).where(conversation.c.chat_id == address.chat_id)
        ).scalar_one()
        now_ms = service.clock.now_ms()
        rows: list[OutboxRow] = []
        for words in texts:
            transcript_id = connection.execute(
                transcript.insert().returning(transcript.c.id),
                {
                    "conversation_id": conversation_id,
                    "turn_id": "test",
                    "author": "service",
                    "kind": kind,
                    "at_ms": now_ms,
                    "body_sealed": b"x",
                },
            ).scalar_one()
            body = service.store.keys.seal_json(OUTBOX_BODY, to_json(say(kind, words)))
            row_id = connection.execute(
                outbox.insert().returning(outbox.c.id),
                {
                    "conversation_id": conversation_id,
                    "transcript_id": transcript_id,
                    "part": 0,
                    "kind": kind,
                    "body_sealed": body,
                    "created_at_ms": now_ms,
                    "changed_at_ms": now_ms,
                },
            ).scalar_one()
            rows.append(
                OutboxRow(row_id, conversation_id, transcript_id, 0, kind, body, now_ms, 0, 0)
            )
        results.append(rows)
    return results


async def states(service: Service) -> list[str]:
    return await service.store.read(
        lambda c, _: list(c.execute(select(outbox.c.state).order_by(outbox.c.id)).scalars()), None
    )


async def kept(service: Service) -> list[str]:
    """Wait until the last reply was tried in vain and waits, and return the states of all."""

    async def waits() -> bool:
        tried = await service.store.read(
            lambda c, _: c.execute(
                select(outbox.c.state, outbox.c.last_error).order_by(outbox.c.id.desc())
            ).first(),
            None,
        )
        return tried is not None and tried.state == "pending" and tried.last_error is not None

    await until(waits, "the reply waits")
    return await states(service)


async def tasks(service: Service) -> list[str]:
    return await service.store.read(
        lambda c, _: list(c.execute(select(staff_task.c.kind)).scalars()), None
    )


@pytest.mark.parametrize("way", ["template", "subscription", "kept"])
async def test_a_reminder_after_the_window_finds_another_way(
    tmp_path: Path, clock: ManualClock, way: str
) -> None:
    clock.advance(s=1_799_978_400 - clock.now_ms() / 1000)
    more = {
        "template": {"template_id": "reminder-template"},
        "subscription": {"subscribe_template_id": "once-template"},
        "kept": {},
    }[way]
    async with (
        WechatApi.running(now_s=lambda: clock.now_ms() / 1000) as api,
        a_service(tmp_path, api, clock=clock, **more) as service,
    ):
        phone = a_phone(api, service, now_s=api.now_s)
        await phone.text("/help")
        await settled(service, 1)
        if way == "subscription":
            await agree_to_one_reminder(service, phone)
        clock.advance(s=3 * 24 * 3600)
        await say_to(service, phone, ["1月29日请到县医院"], "reminder")
        if way != "kept":
            await service.settle()
            knock = api.sent[-1]
            assert knock["kind"] == {"template": "template", "subscription": "subscribe"}[way]
            assert "1月29日请到县医院" not in str(knock), (
                "nothing about the visit on a locked screen"
            )
            assert (await states(service))[-1] == "sent"
        if way == "template":
            failed = await phone.event(
                "TEMPLATESENDJOBFINISH", MsgID=str(knock["msgid"]), Status="failed:user block"
            )
            assert failed.text == "success"
            assert ((await states(service))[-1], await tasks(service)) == ("dead", ["undelivered"])
        if way == "kept":
            assert (await kept(service))[-1] == "pending"
            await phone.text("/help")
            await settled(service, 2)
            assert "1月29日请到县医院" in api.texts(phone.open_id)


async def test_a_reminder_nobody_comes_back_for_becomes_a_call(
    tmp_path: Path, clock: ManualClock
) -> None:
    clock.advance(s=1_799_978_400 - clock.now_ms() / 1000)
    async with (
        WechatApi.running(now_s=lambda: clock.now_ms() / 1000) as api,
        a_service(tmp_path, api, clock=clock) as service,
    ):
        phone = a_phone(api, service, now_s=api.now_s)
        await phone.text("/help")
        await settled(service, 1)
        clock.advance(s=3 * 24 * 3600)
        await say_to(service, phone, ["1月29日请到县医院"], "reminder")
        await kept(service)
        clock.advance(s=25 * 3600)
        channel = service.connected[0]
        assert isinstance(channel, OfficialAccount)
        channel._doorbell.ring(phone.open_id)  # as its own next look would
        await service.settle()
        assert ((await states(service))[-1], await tasks(service)) == ("dead", ["undelivered"])


async def agree_to_one_reminder(service: Service, phone: Phone) -> None:
    """Do what WeChat's page does when the person says yes; and what a stranger may try."""
    channel = service.connected[0]
    assert isinstance(channel, OfficialAccount)
    url = channel._knocks.consent_url(phone.open_id, service.store.keys)
    assert url is not None
    asked = parse_qs(urlsplit(url).query)
    assert asked["redirect_url"] == ["https://eyes.example.org/wechat/push/subscribed"]
    back = {
        "openid": phone.open_id,
        "template_id": "once-template",
        "action": "confirm",
        "scene": asked["scene"][0],
        "reserved": asked["reserved"][0],
    }
    phone.api.fans[phone.open_id].subscriptions = 1
    async with aiohttp.ClientSession() as session:
        for wrong in ({"openid": "oSomebodyElse"}, {"action": "cancel"}, {"reserved": "0" * 32}):
            async with session.get(f"{phone.url}/subscribed", params={**back, **wrong}) as answer:
                assert answer.status == 400
        async with session.get(f"{phone.url}/subscribed", params=back) as answer:
            assert answer.status == 200


@pytest.mark.parametrize(
    ("code", "state", "unlinked"),
    [
        (-1, "sent", False),  # busy: again at once
        (40001, "sent", False),  # void token: a new one
        (42001, "sent", False),
        (45011, "pending", False),  # too many this minute
        (45009, "pending", False),
        (40164, "pending", False),  # our address is not on the list
        (45002, "dead", False),
        (99999, "dead", False),
        (40003, "dead", True),
        (43004, "dead", True),
        ("500", "sent", False),
    ],
)
async def test_each_return_code_does_what_it_asks(
    tmp_path: Path, code: int | str, state: str, unlinked: bool
) -> None:
    async with WechatApi.running() as api, a_service(tmp_path, api) as service:
        phone = a_phone(api, service)
        await phone.text("/help")
        await settled(service, 1)
        if code in (40001, 42001):
            api.void_token()
        api.fail("/cgi-bin/message/custom/send", code)
        await say_to(service, phone, ["one"])
        if state == "pending":
            await kept(service)
        else:
            await service.settle()
        assert (await states(service))[-1] == state
        assert await is_active(service) is not unlinked
        assert api.texts(phone.open_id)[1:] == (["one"] if state == "sent" else [])
        if code in (40001, 42001):
            assert api.forced == 0, "the token was renewed without voiding anybody's"
        if code == 40164:
            health = {h.name: h for h in await service.health()}["wechat"]
            assert not health.ok
            assert "IP" in health.detail


async def test_an_answer_that_never_comes_is_not_repeated(tmp_path: Path) -> None:
    async with (
        WechatApi.running() as api,
        a_service(tmp_path, api) as service,
    ):
        phone = a_phone(api, service)
        await phone.text("/help")
        await settled(service, 1)
        channel = service.connected[0]
        assert isinstance(channel, OfficialAccount)
        channel.api._settings = channel.api._settings.model_copy(update={"request_timeout_s": 0.5})
        api.fail("/cgi-bin/message/custom/send", "hang")
        await say_to(service, phone, ["once"])
        await service.settle()
        assert (await states(service))[-1] == "unknown"
        assert await tasks(service) == ["undelivered"]


async def test_a_photo_comes_in_and_a_picture_goes_out(tmp_path: Path) -> None:
    async with WechatApi.running() as api, a_service(tmp_path, api) as service:
        phone = a_phone(api, service)
        await phone.text("/help")
        await settled(service, 1)
        channel = service.connected[0]
        picture = b"\xff\xd8\xff" + b"card" * 1000
        blob = await service.blobs.put(picture)
        to = Address("wechat", APP_ID, phone.open_id)
        card = Reply("reading", (), image=Image(blob, "image/jpeg", "the card in words"))
        await channel.send(to, card, key="1.0")
        (sent,) = [m for m in api.sent if m["msgtype"] == "image"]
        assert api.uploads[sent["image"]["media_id"]] == picture
        # A media id that WeChat forgot is uploaded anew.
        api.uploads.clear()
        await channel.send(to, card, key="2.0")
        assert list(api.uploads.values()) == [picture]
        # Where pictures may not be uploaded their words go.
        other = Image(await service.blobs.put(picture + b"2"), "image/jpeg", "the card in words")
        api.fail("/cgi-bin/media/upload", 48001)
        await channel.send(to, replace(card, image=other), key="3.0")
        assert api.texts(phone.open_id)[-1] == "the card in words"

        photo = Attachment(AttachmentKind.PHOTO, f"m1 {api.base}/picture/m1")
        api.pictures["m1"] = b"by its address"
        assert await channel.fetch(photo, limit_bytes=1000) == b"by its address"
        api.media["m1"] = b"by its id"
        assert await channel.fetch(photo, limit_bytes=1000) == b"by its id"
        with pytest.raises(PatientError):
            await channel.fetch(photo, limit_bytes=3)
        elsewhere = Attachment(AttachmentKind.PHOTO, "gone http://169.254.169.254/latest/meta-data")
        with pytest.raises(PatientError, match="file_gone"):
            await channel.fetch(elsewhere, limit_bytes=1000)


async def test_pushes_are_counted_for_metrics(tmp_path: Path) -> None:
    async with WechatApi.running() as api, a_service(tmp_path, api) as service:
        phone = a_phone(api, service)
        await phone.text("/help")
        await settled(service, 1)
        async with aiohttp.ClientSession() as session:
            async with session.post(phone.url, data=b"<xml/>") as answer:
                assert answer.status == 403
            async with session.get(f"http://127.0.0.1:{service.port}/metrics") as answer:
                text = await answer.text()
        assert 'oculichat_wechat_total{what="accepted"} 1.0' in text
        assert 'oculichat_wechat_total{what="forged"} 1.0' in text
