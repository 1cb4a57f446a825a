"""Bodies, envelopes and pushes of the Official Account; pure."""

from __future__ import annotations

import base64
import json
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.wechat.official.crypto import Envelope, Forged, is_signed, sign
from adapters.wechat.official.errcodes import Do, meaning
from adapters.wechat.official.inbound import to_push
from adapters.wechat.official.menu import menu
from adapters.wechat.official.settings import OfficialSettings
from adapters.wechat.official.wire import Unreadable, read, write
from core.message import LANGUAGES, AttachmentKind

APP_ID = "wx5823bf96d3bd56c7"
KEY = "jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C"
NOW_MS = 1_800_000_000_000
# What XML can carry at all; `clean_text` has removed the rest before a reply is written.
words = st.text(
    st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\ufffe\uffff"), max_size=200
)


@given(words, st.sampled_from(["xml", "json"]))
def test_what_is_written_is_read_back(text, form):
    fields = {"ToUserName": "o1", "CreateTime": 12, "MsgType": "text", "Content": text}
    found, in_form = read(write(fields, form))
    assert in_form == form
    assert found["CreateTime"] == "12"
    expected = text.strip() if form == "xml" else text
    assert found["Content"] == expected


def test_the_end_mark_of_cdata_does_not_end_it():
    body = write({"Content": "a]]>b]]]]>><x>&y;"}, "xml")
    assert read(body)[0]["Content"] == "a]]>b]]]]>><x>&y;"


@given(st.binary(max_size=300))
def test_rubbish_is_unreadable_and_nothing_else(body):
    try:
        fields, _ = read(body)
    except Unreadable:
        return
    assert all(isinstance(v, str) for v in fields.values())


@given(st.binary(max_size=500))
@settings(max_examples=50)
def test_an_envelope_opens_what_it_sealed(message):
    envelope = Envelope(KEY, APP_ID)
    assert envelope.open(envelope.seal(message)) == message
    assert envelope.seal(message) != envelope.seal(message)


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda b: base64.b64encode(b).decode()))
def test_an_envelope_opens_nothing_else(sealed):
    with pytest.raises(Forged):
        Envelope(KEY, APP_ID).open(sealed)


@given(st.text(max_size=50), st.text(max_size=50))
def test_a_signature_is_for_these_parts_only(one, other):
    try:
        mark = sign("token", one)
    except UnicodeEncodeError:
        assert not is_signed("x", "token", one)
        return
    assert is_signed(mark, "token", one)
    assert is_signed(mark, "token", other) is (sorted(["token", one]) == sorted(["token", other]))


def a_push(**fields):
    full = {
        "ToUserName": "gh_1",
        "FromUserName": "oPatient",
        "CreateTime": str(NOW_MS // 1000),
        "MsgType": "text",
        "MsgId": "24",
        "Content": "你好",
    }
    found = {k: v for k, v in {**full, **fields}.items() if v is not None}
    return to_push(found, account=APP_ID, now_ms=NOW_MS + 250)


def test_a_message_keeps_its_id_and_order():
    push = a_push()
    assert push.message.message_id == "24"
    assert push.message.text == "你好"
    assert push.heard == "message"
    assert push.message.sent_at_ms == NOW_MS
    later = a_push(MsgId="25", CreateTime=str(NOW_MS // 1000 + 1))
    assert later.message.sequence > push.message.sequence


def test_a_repeat_of_an_event_has_the_same_id_and_another_has_not():
    def tap(**more):
        return a_push(MsgType="event", Event="CLICK", EventKey="help", MsgId=None, **more)

    assert tap().message_id == tap().message_id
    others = [
        tap(CreateTime=str(NOW_MS // 1000 + 1)),
        a_push(MsgType="event", Event="CLICK", EventKey="new", MsgId=None),
        a_push(MsgType="event", Event="SCAN", EventKey="help", MsgId=None),
    ]
    assert len({tap().message_id, *(o.message_id for o in others)}) == 4
    assert tap().message.text == "/help"
    assert tap().heard == "event"


@pytest.mark.parametrize(
    ("event", "key", "text", "button"),
    [
        ("subscribe", "", "/start", None),
        ("subscribe", "qrscene_clinic7", "/start clinic7", None),
        ("SCAN", "clinic7", "/start clinic7", None),
        ("CLICK", "v1:remind:stop:0", "", "v1:remind:stop:0"),
    ],
)
def test_events_that_mean_something(event, key, text, button):
    push = a_push(MsgType="event", Event=event, EventKey=key, MsgId=None)
    assert (push.message.text, push.message.button) == (text, button)


def test_events_for_the_channel_itself():
    gone = a_push(MsgType="event", Event="unsubscribe", MsgId=None)
    assert (gone.message, gone.note.what) == (None, "unfollowed")
    told = a_push(
        MsgType="event", Event="TEMPLATESENDJOBFINISH", MsgID="7", Status="success", MsgId=None
    )
    assert (told.note.message_id, told.note.status) == ("7", "success")
    for name in ("VIEW", "LOCATION", "poi_check_notify", ""):
        other = a_push(MsgType="event", Event=name, MsgId=None)
        assert (other.message, other.note) == (None, None)


@pytest.mark.parametrize(
    "wrong",
    [
        {"FromUserName": ""},
        {"FromUserName": "o" * 65},
        {"FromUserName": "o 眼"},
        {"ToUserName": None},
        {"CreateTime": "soon"},
        {"CreateTime": None},
        {"MsgType": ""},
        {"MsgId": None},
        {"MsgId": "1" * 65},
        {"MsgId": "-1"},
    ],
)
def test_a_push_without_what_every_push_has_is_none(wrong):
    assert a_push(**wrong) is None


def test_media_keep_what_fetches_them():
    push = a_push(MsgType="image", MediaId="m1", PicUrl="http://mmbiz.qpic.cn/x", Content=None)
    (photo,) = push.message.attachments
    assert (photo.kind, photo.ref) == (AttachmentKind.PHOTO, "m1 http://mmbiz.qpic.cn/x")
    assert photo.compressed
    voice = a_push(MsgType="voice", MediaId="m2", Recognition="右眼看不见了。")
    assert voice.message.text == "右眼看不见了。"
    (note,) = voice.message.attachments
    assert (note.kind, note.ref, note.transcribed) == (AttachmentKind.VOICE, "m2", True)
    silent = a_push(MsgType="voice", MediaId="m3", Format="amr", Recognition=" ")
    (note,) = silent.message.attachments
    assert (silent.message.text, note.mime, note.transcribed) == ("", "audio/amr", False)
    where = a_push(MsgType="location", Location_X="23.1", Label="家")
    assert where.message.attachments[0].ref == "", "where somebody is we do not keep"


def test_every_code_of_the_table_has_its_meaning():
    expected = {
        -1: Do.TRY_AGAIN,
        40001: Do.RENEW_TOKEN,
        40014: Do.RENEW_TOKEN,
        42001: Do.RENEW_TOKEN,
        40164: Do.CONFIGURE,
        45015: Do.WAIT_FOR_WINDOW,
        45047: Do.WAIT_FOR_MESSAGE,
        45009: Do.WAIT_FOR_TOMORROW,
        45011: Do.WAIT_A_MINUTE,
        48001: Do.NOT_PERMITTED,
        48004: Do.NOT_PERMITTED,
        40003: Do.GIVE_UP_CHAT,
        43004: Do.GIVE_UP_CHAT,
        43101: Do.NO_CONSENT,
        40007: Do.NEW_MEDIA,
        45002: Do.SHORTEN,
        12345: Do.REFUSE,
    }
    assert {code: meaning(code) for code in expected} == expected


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_menu_fits(language):
    every = ("start", "help", "new", "lang", "privacy", "human", "reminders")
    for count in range(1, len(every) + 1):
        made = menu(every[:count], language)["button"]
        assert 1 <= len(made) <= 3
        leaves = [leaf for b in made for leaf in b.get("sub_button", [b])]
        assert [leaf["key"] for leaf in leaves] == list(every[:count])
        assert all(len(b["name"].encode()) <= 16 for b in made)
        assert all(len(leaf["name"].encode()) <= 60 for leaf in leaves)
        assert all(len(b.get("sub_button", ())) <= 5 for b in made)


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"app_id": "wx123456"}, "needs token"),
        ({"app_id": "wx123456", "token": "with space"}, "3-32"),
        ({"app_id": "wx123456", "token": "abc", "aes_key": "short"}, "43"),
        ({"app_id": "wx123456", "token": "abc", "require_encryption": True}, "aes_key"),
        ({"app_id": "wx123456", "token": "abc", "reply": "push"}, "app_secret"),
        ({"menu": ["start", "pay"]}, "start"),
    ],
)
def test_wrong_settings_say_what_is_missing(wrong, word):
    with pytest.raises(ValueError, match=word):
        OfficialSettings.model_validate(wrong)


def test_json_pushes_keep_large_ids_exact():
    body = json.dumps({"MsgId": 2**63 - 1, "Content": "x", "flag": True, "list": [1]}).encode()
    fields, form = read(body)
    assert (fields, form) == ({"MsgId": str(2**63 - 1), "Content": "x"}, "json")


def test_reading_a_hostile_body_takes_no_time():
    for body in (b"<xml>" * 100_000, b'{"a":' * 100_000, b"<xml><a>" + b"&lt;" * 100_000):
        with pytest.raises(Unreadable):
            read(body + os.urandom(1))
