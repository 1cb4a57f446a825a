"""What goes wrong with a gateway, and what becomes of the messages meanwhile."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.wechat.wechaty.channel import WechatyChannel
from core.errors import SendUnknown, Throttled, TransientError
from core.message import Address, Attachment, AttachmentKind
from core.reply import say
from core.store.blobs import BlobStore
from tests.fakes.waiting import until
from tests.gateway.certificates import Certificates, certificates
from tests.gateway.gateway import ALICE, Gateway, needs_node
from tests.integration.wechaty.conftest import Remembering, connected, state_of

pytestmark = needs_node

HELLO = say("answer", "您好")
QUICK = {"keepalive_s": 0.6, "keepalive_timeout_s": 2.0, "request_timeout_s": 4.0}


def to(chat: str) -> Address:
    return Address("wechaty", "gateway", chat)


@pytest.fixture(scope="module")
def frail(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway to be frozen and killed; each test leaves it running."""
    with Gateway.running(tmp_path_factory.mktemp("frail")) as running:
        yield running


# ---- who may connect ---------------------------------------------------------------------


async def test_a_wrong_token_is_said_and_sends_nothing(
    gateway: Gateway, intake: Remembering, blobs: BlobStore, tmp_path: Path
) -> None:
    async with connected(gateway, intake, blobs, tmp_path, token="another") as channel:
        await until(lambda: state_of(channel) == "token_refused")
        assert "wechat.wechaty.token" in channel.health().detail
        with pytest.raises(Throttled):
            await channel.send(to(ALICE), HELLO, key="1.0")
        assert not (await channel.probe()).ok


async def test_a_second_program_waits_its_turn(
    gateway: Gateway, blobs: BlobStore, tmp_path: Path, person: str
) -> None:
    first, second = Remembering(), Remembering()
    async with connected(gateway, second, blobs, tmp_path / "second") as late:
        async with connected(gateway, first, blobs, tmp_path / "first") as early:
            # Whoever came first holds the stream; the other one does not take it away.
            holder = await until(lambda: next((c for c in (early, late) if c.health().ok), 0))
            other = late if holder is early else early
            await until(lambda: state_of(other) == "occupied")
            assert "another program" in other.health().detail
            seen = set[str]()
            for _ in range(100):  # it tries again meanwhile
                seen.add(state_of(other))
                await asyncio.sleep(0.015)
            assert seen == {"occupied"}
            assert holder.health().ok
            await gateway.says(person, "one")
            heard = first if holder is early else second
            await until(lambda: heard.of(person))
        await until(lambda: late.health().ok)
        await gateway.says(person, "two")
        await until(lambda: "two" in [m.text for m in second.of(person)])
    assert len(first.of(person)) + len(second.of(person)) == 2


async def test_stopping_leaves_the_account_logged_in(
    gateway: Gateway, channel: WechatyChannel
) -> None:
    stops = (await gateway.state())["calls"]["stop"]
    await channel.stop()
    state = await gateway.state()
    assert state["loggedIn"]
    assert state["calls"]["stop"] == stops


async def test_probing_disturbs_nobody(
    gateway: Gateway, channel: WechatyChannel, blobs: BlobStore, tmp_path: Path
) -> None:
    async with connected(gateway, Remembering(), blobs, tmp_path / "doctor") as doctor:
        found = await doctor.probe()
    assert found.ok
    assert found.facts["gateway"]
    assert channel.health().ok


@pytest.fixture(scope="module")
def tls() -> Certificates:
    return certificates()


@pytest.fixture(scope="module")
def tls_gateway(tls: Certificates, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("tls")
    with Gateway.running(
        folder,
        GW_TLS="1",
        WECHATY_PUPPET_SERVICE_TLS_SERVER_CERT=tls.server_pem,
        WECHATY_PUPPET_SERVICE_TLS_SERVER_KEY=tls.server_key_pem,
    ) as running:
        yield running


@pytest.mark.parametrize(
    ("ca", "name", "well"),
    [
        ("ours", "gateway.test", True),
        ("ours", None, False),  # the certificate is for another name
        ("another", "gateway.test", False),
        (None, "gateway.test", False),  # no authority of the system's vouches for it
    ],
)
async def test_tls_needs_the_right_authority_and_name(
    tls: Certificates,
    tls_gateway: Gateway,
    intake: Remembering,
    blobs: BlobStore,
    tmp_path: Path,
    ca: str | None,
    name: str | None,
    well: bool,
) -> None:
    file = tmp_path / "ca.pem"
    file.write_text(tls.ca_pem if ca == "ours" else certificates().ca_pem)
    wish = {"tls": True, "ca_file": file if ca else None, "server_name": name}
    async with connected(tls_gateway, intake, blobs, tmp_path, **wish) as channel:
        if not well:
            await until(lambda: state_of(channel) == "unreachable")
            return
        await until(lambda: channel.health().ok)
        message_id = await tls_gateway.sends(ALICE, b"\xff\xd8" * 150_000)
        photo = Attachment(AttachmentKind.PHOTO, message_id)
        assert await channel.fetch(photo, limit_bytes=10**6) == b"\xff\xd8" * 150_000
        await channel.send(to(ALICE), HELLO, key="1.0")
        assert [s["text"] for s in await tls_gateway.sent(ALICE)] == ["您好"]


async def test_no_tls_where_the_gateway_wants_it_is_unreachable(
    tls_gateway: Gateway, intake: Remembering, blobs: BlobStore, tmp_path: Path
) -> None:
    async with connected(tls_gateway, intake, blobs, tmp_path, tls=False) as channel:
        await until(lambda: state_of(channel) == "unreachable")


# ---- login -------------------------------------------------------------------------------


async def test_login_scan_and_logout_are_states_of_their_own(
    frail: Gateway, intake: Remembering, blobs: BlobStore, tmp_path: Path, person: str
) -> None:
    async with connected(frail, intake, blobs, tmp_path) as channel:
        await until(lambda: channel.health().ok)
        await frail.control("logout")
        await until(lambda: state_of(channel) == "logged_out")
        with pytest.raises(Throttled):
            await channel.send(to(person), HELLO, key="1.0")
    async with connected(frail, intake, blobs, tmp_path) as channel:
        await until(lambda: state_of(channel) == "waiting_for_login")
        await frail.control("scan", qrcode="https://login.weixin.qq.com/l/abc")
        await until(lambda: state_of(channel) == "scanning")
        assert channel.health().facts["qr"] == "https://login.weixin.qq.com/l/abc"
        with pytest.raises(Throttled):
            await channel.send(to(person), HELLO, key="1.0")
    async with connected(frail, intake, blobs, tmp_path) as channel:
        await until(lambda: state_of(channel) == "scanning")  # the code is still the same
        await frail.control("login")
        await until(lambda: channel.health().ok)
        assert "qr" not in channel.health().facts
        assert await frail.sent(person) == []
        await channel.send(to(person), HELLO, key="1.0")
        assert len(await frail.sent(person)) == 1


async def test_a_puppet_that_has_gone_deaf_is_said(
    gateway: Gateway, intake: Remembering, blobs: BlobStore, tmp_path: Path
) -> None:
    async def was_asked() -> bool:
        return (await gateway.state())["calls"].get("ding", 0) >= 2

    async with connected(gateway, intake, blobs, tmp_path, quiet_s=0.4) as channel:
        await until(lambda: channel.health().ok)
        await until(was_asked)
        await until(lambda: channel.health().ok)  # it answers when asked
        await gateway.control("deaf", on="1")
        try:
            await until(lambda: state_of(channel) == "quiet")
            for _ in range(50):
                assert not channel.health().ok  # a new stream and its greeting are no proof
                await asyncio.sleep(0.02)
            await until(lambda: state_of(channel) == "quiet")
        finally:
            await gateway.control("deaf", on="0")
        await until(lambda: channel.health().ok)


# ---- the gateway is gone -----------------------------------------------------------------


async def test_a_killed_gateway_is_noticed_and_found_again(
    frail: Gateway, intake: Remembering, blobs: BlobStore, tmp_path: Path, person: str
) -> None:
    slow = {"keepalive_s": 600, "keepalive_timeout_s": 60}
    async with connected(frail, intake, blobs, tmp_path, **slow) as channel:
        await until(lambda: channel.health().ok)
        frail.kill()
        await until(lambda: not channel.health().ok)  # not by the keepalive: by the end itself
        with pytest.raises(Throttled):
            await channel.send(to(person), HELLO, key="1.0")
        with pytest.raises(TransientError):
            await channel.fetch(Attachment(AttachmentKind.PHOTO, "x"), limit_bytes=100)
        await asyncio.to_thread(frail.start)
        await channel.ready(to(person), urgent=False)  # waits until it is back
        assert channel.health().ok
        await frail.says(person, "there you are")
        await until(lambda: intake.messages)
        await channel.send(to(person), HELLO, key="1.0")
        assert len(await frail.sent(person)) == 1


async def _noticed_s(gateway: Gateway, channel: WechatyChannel) -> float:
    """Freeze the gateway and return how long it took to be noticed."""
    await until(lambda: channel.health().ok)
    gateway.freeze()
    try:
        began_s = time.monotonic()
        await until(lambda: not channel.health().ok)
        return time.monotonic() - began_s
    finally:
        gateway.thaw()


async def test_a_frozen_gateway_is_noticed_by_the_keepalive(
    frail: Gateway, intake: Remembering, blobs: BlobStore, tmp_path: Path, person: str
) -> None:
    async with connected(frail, intake, blobs, tmp_path, **QUICK) as channel:
        assert await _noticed_s(frail, channel)
        await until(lambda: channel.health().ok)
        message_id = await frail.says(person, "back")
        await until(lambda: [m.message_id for m in intake.messages] == [message_id])


@pytest.mark.slow
async def test_a_frozen_gateway_is_noticed_within_15_s_as_it_is_shipped(
    frail: Gateway, intake: Remembering, blobs: BlobStore, tmp_path: Path
) -> None:
    async with connected(frail, intake, blobs, tmp_path) as channel:
        noticed_s = [await _noticed_s(frail, channel) for _ in range(3)]
    print("frozen gateway noticed after", [round(s, 1) for s in noticed_s], "s")
    assert max(noticed_s) < 15


async def test_a_send_into_a_frozen_gateway_is_unknown_and_happens_once(
    frail: Gateway, intake: Remembering, blobs: BlobStore, tmp_path: Path, person: str
) -> None:
    async with connected(frail, intake, blobs, tmp_path, **QUICK) as channel:
        await until(lambda: channel.health().ok)
        frail.freeze()
        try:
            with pytest.raises(SendUnknown):
                await channel.send(to(person), HELLO, key="1.0")
        finally:
            frail.thaw()
        await until(lambda: channel.health().ok)
        await asyncio.sleep(0.2)
        assert len(await frail.sent(person)) <= 1


# ---- one call fails ----------------------------------------------------------------------


async def test_a_failure_after_the_puppet_was_asked_is_unknown(
    channel: WechatyChannel, gateway: Gateway, person: str
) -> None:
    await gateway.control("fault", b'{"late": true}', method="send")
    with pytest.raises(SendUnknown):
        await channel.send(to(person), HELLO, key="1.0")
    await gateway.control("fault", b'{"hang_ms": 30000}', method="send")
    with pytest.raises(SendUnknown):
        await _impatient(channel).send(to(person), HELLO, key="1.0")
    assert len(await gateway.sent(person)) == 1


def _impatient(channel: WechatyChannel) -> WechatyChannel:
    client = channel._client
    assert client is not None
    client._timeout_s = 0.3
    return channel


async def test_a_gateway_that_tells_no_id_has_sent_it_all_the_same(
    channel: WechatyChannel, gateway: Gateway, person: str
) -> None:
    await gateway.control("fault", b'{"no_id": true}', method="send")
    assert await channel.send(to(person), HELLO, key="1.0") is None
    assert len(await gateway.sent(person)) == 1


async def test_a_message_that_cannot_be_read_at_once_is_read_later(
    channel: WechatyChannel, gateway: Gateway, intake: Remembering, person: str
) -> None:
    await gateway.control("fault", b'{"fail": true}', method="payload")
    await gateway.says(person, "stubborn")
    await until(lambda: intake.of(person))
    assert [m.text for m in intake.of(person)] == ["stubborn"]


# ---- our own side ------------------------------------------------------------------------


async def test_messages_wait_while_the_database_is_away(
    channel: WechatyChannel, gateway: Gateway, intake: Remembering, person: str
) -> None:
    intake.closed = True
    await gateway.says(person, "one")
    await gateway.says(person, "two")
    await until(lambda: state_of(channel) == "not_storing")
    intake.closed = False
    await until(lambda: len(intake.of(person)) == 2)
    assert [m.text for m in intake.of(person)] == ["one", "two"]
    assert channel.health().ok


async def test_what_was_announced_before_a_crash_is_asked_for_after_it(
    gateway: Gateway, blobs: BlobStore, tmp_path: Path, person: str
) -> None:
    before, after = Remembering(), Remembering()
    before.closed = True
    async with connected(gateway, before, blobs, tmp_path) as channel:
        await until(lambda: channel.health().ok)
        await gateway.says(person, "one")
        await gateway.says(person, "two")
        await until(lambda: state_of(channel) == "not_storing")
        await until(lambda: (tmp_path / "wechaty-gateway.jsonl").read_text().count("+") == 2)
    async with connected(gateway, after, blobs, tmp_path):
        await until(lambda: len(after.of(person)) == 2)
        await gateway.says(person, "three")
        await until(lambda: len(after.of(person)) == 3)
    assert [m.text for m in after.messages] == ["one", "two", "three"]
    third = Remembering()
    async with connected(gateway, third, blobs, tmp_path) as channel:
        await until(lambda: channel.health().ok)
    assert third.messages == []


async def test_an_official_account_is_not_talked_to(
    channel: WechatyChannel, gateway: Gateway, intake: Remembering, person: str
) -> None:
    await gateway.control("post", json.dumps({"type": 7, "talkerId": "gh_news"}).encode())
    await gateway.control("post", json.dumps({"type": 7, "talkerId": "weixin"}).encode())
    await gateway.says(person, "me")
    await until(lambda: intake.of(person))
    assert len(intake.messages) == 1
