from __future__ import annotations

import gzip

import pytest
from aiohttp.test_utils import make_mocked_request
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.http.headers import is_same_origin
from adapters.http.language import choose_language
from adapters.http.rate import RateLimit
from adapters.http.static import StaticFiles
from adapters.webchat.channel import DRAFT_PACE_MS, WebChat
from adapters.webchat.inbound import message_id_from
from adapters.webchat.rooms import MAX_VIEWERS_PER_CHAT, Full, Progress, Rooms
from adapters.webchat.session import find_session, new_session
from adapters.webchat.settings import WebChatSettings
from core.errors import PatientError
from core.message import LANGUAGES, Address, Attachment, AttachmentKind
from core.reply import say
from tests.fakes.core_fakes import FakeBlobs, FakeClock, FakeConversations


@pytest.mark.parametrize(
    ("chosen", "accepted", "language"),
    [
        (None, None, "zh-Hans"),
        (None, "", "zh-Hans"),
        (None, "zh-CN,zh;q=0.9,en;q=0.8", "zh-Hans"),
        (None, "zh-Hant-TW", "zh-Hans"),
        (None, "en-GB,en;q=0.9,zh;q=0.8", "en"),
        (None, "fr,en;q=0.3,zh;q=0.7", "zh-Hans"),
        (None, "fr-FR", "en"),
        (None, "zh;q=0, en;q=0.1", "en"),
        (None, "zh;q=nonsense", "en"),
        ("en", "zh-CN", "en"),
        ("zh-Hans", "en", "zh-Hans"),
        ("../../etc", "en", "en"),
    ],
)
def test_choose_language(chosen, accepted, language):
    assert choose_language(chosen, accepted) == language


@settings(deadline=None)  # the first call may meet a busy machine
@given(st.text(), st.text())
def test_choose_language_takes_anything(chosen, accepted):
    assert choose_language(chosen, accepted) in LANGUAGES


@pytest.mark.parametrize(
    ("headers", "same"),
    [
        ({}, True),
        ({"Sec-Fetch-Site": "same-origin"}, True),
        ({"Sec-Fetch-Site": "none"}, True),
        ({"Sec-Fetch-Site": "same-site"}, False),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "http://a.test"}, False),
        ({"Origin": "http://a.test"}, True),
        ({"Origin": "http://a.test:81"}, False),
        ({"Origin": "http://b.test"}, False),
        ({"Origin": "null"}, False),
        ({"Origin": "http://["}, False),
    ],
)
def test_is_same_origin(headers, same):
    request = make_mocked_request("POST", "/", headers={"Host": "a.test", **headers})
    assert is_same_origin(request) is same


def test_the_chat_id_is_not_the_token():
    session = new_session()
    request = make_mocked_request("GET", "/", headers={"Cookie": f"oc_chat={session.token}"})
    assert find_session(request) == session
    assert session.token not in session.chat_id
    assert new_session().chat_id != session.chat_id


@pytest.mark.parametrize("token", ["", "short", "x" * 44, "x" * 42 + "é", "../" + "x" * 40])
def test_a_malformed_token_is_no_session(token):
    request = make_mocked_request("GET", "/", headers={"Cookie": f"oc_chat={token}"})
    assert find_session(request) is None


def test_over_https_only_the_host_cookie_counts():
    token = new_session().token
    for name, found in (("oc_chat", False), ("__Host-oc_chat", True)):
        request = make_mocked_request("GET", "/", headers={"Cookie": f"{name}={token}"})
        assert (find_session(request.clone(scheme="https")) is not None) is found


def test_message_ids_have_one_form():
    assert message_id_from("A" * 8 + "-" + "-".join(["b" * 4] * 3) + "-" + "c" * 12).islower()
    assert len(message_id_from("")) == 36


def test_rate_limit_slides_and_stays_small():
    clock = FakeClock()
    rate = RateLimit(clock, limit=2, window_ms=1000, max_keys=3)
    rate.count("a")
    clock.ms += 400
    rate.count("a")
    assert rate.wait_ms("a") == 600
    assert rate.wait_ms("b") == 0
    clock.ms += 600
    assert rate.wait_ms("a") == 0
    for key in "bcdef":
        rate.count(key)
    assert len(rate._seen) == 3


def test_static_addresses_change_with_the_content(tmp_path):
    (tmp_path / "a.css").write_text("x" * 999)
    (tmp_path / "secret.txt").write_text("no")
    before = StaticFiles(tmp_path, "/s").url("a.css")
    assert before == StaticFiles(tmp_path, "/s").url("a.css")
    (tmp_path / "a.css").write_text("y" * 999)
    after = StaticFiles(tmp_path, "/s")
    assert after.url("a.css") != before
    assert gzip.decompress(after._assets["a.css"].gzipped) == b"y" * 999
    assert list(after._assets) == ["a.css"]


def test_rooms_forget_empty_chats_and_refuse_too_many():
    rooms = Rooms(max_viewers=MAX_VIEWERS_PER_CHAT + 1)
    woken: list[str] = []
    views = [rooms.viewing("a", lambda: woken.append("a")) for _ in range(MAX_VIEWERS_PER_CHAT)]
    for view in views:
        view.__enter__()
    with pytest.raises(Full), rooms.viewing("a", lambda: None):
        pass
    with rooms.viewing("b", lambda: woken.append("b")):
        with pytest.raises(Full), rooms.viewing("c", lambda: None):
            pass
        rooms.wake("b")
        rooms.wake("nobody")
    assert woken == ["b"]
    for view in views:
        view.__exit__(None, None, None)
    assert rooms.viewers == 0
    assert rooms._rooms == {}


async def test_activity_and_draft_are_the_latest_value():
    clock = FakeClock()
    chat = WebChat(WebChatSettings(), history=FakeConversations(), blobs=FakeBlobs(), clock=clock)
    to = Address("webchat", "web", "c")
    assert chat.draft(to) is None
    with chat._rooms.viewing("c", lambda: None):
        draft = chat.draft(to)
        assert draft is not None
        async with chat.activity(to, "typing"):
            await draft.show("a")
            await draft.show("ab")  # too soon after the first
            assert chat._rooms.progress("c") == Progress(True, "a")
            clock.ms += DRAFT_PACE_MS
            await draft.show("abc")
            assert chat._rooms.progress("c") == Progress(True, "abc")
        await draft.close()
        assert chat._rooms.progress("c") == Progress()
    assert await chat.send(to, say("answer", "x"), key="1.0") == "1.0"


async def test_fetch_keeps_the_limit():
    blobs = FakeBlobs()
    chat = WebChat(WebChatSettings(), history=FakeConversations(), blobs=blobs)
    photo = Attachment(AttachmentKind.PHOTO, await blobs.put(b"12345"))
    assert await chat.fetch(photo, limit_bytes=5) == b"12345"
    with pytest.raises(PatientError):
        await chat.fetch(photo, limit_bytes=4)
