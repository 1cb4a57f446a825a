"""What becomes of the gateway's messages, without a gateway."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.wechat.wechaty.inbound import Message, Person, to_inbound
from core.message import AttachmentKind, Inbound

ME = Person("wxid_bot", "瞳小护")
ALICE = Person("wxid_alice", "Alice", is_contact=True)


def _read(message: Message, sender: Person = ALICE, *, move: bool = True) -> list[Inbound]:
    return to_inbound(message, sender, ME, account="a", sequence=7, move=move)


def _text(text: str, room: str = "", mentions: tuple[str, ...] = ()) -> Message:
    return Message("m1", 7, text, ALICE.id, room, mentions)


@pytest.mark.parametrize(
    ("written", "heard"),
    [
        ("@瞳小护\u2005左眼疼", "左眼疼"),
        ("@瞳小护 左眼疼", "左眼疼"),
        ("左眼疼@瞳小护", "左眼疼"),
        ("@瞳小护\u2005@王大妈\u2005左眼疼", "左眼疼"),
        ("@瞳小护\u2005我的邮箱 a@b.cn 行吗", "我的邮箱 a@b.cn 行吗"),
        ("@瞳小护\u2005", ""),
    ],
)
def test_mentions_are_taken_out_of_a_question_in_a_group(written: str, heard: str) -> None:
    in_room, *_ = _read(_text(written, "r1@chatroom"))
    assert (in_room.text, in_room.private, in_room.address.chat_id) == (
        heard,
        False,
        "r1@chatroom",
    )


@pytest.mark.parametrize(
    "written", ["大家好", "@瞳小护士\u2005在吗", "@所有人\u2005瞳小护", "@all 瞳小护", "瞳小护"]
)
def test_a_group_that_speaks_to_others_is_not_heard(written: str) -> None:
    assert _read(_text(written, "r1@chatroom")) == []


def test_everybody_is_not_us_even_when_the_puppet_lists_us() -> None:
    assert _read(_text("@所有人\u2005 开会", "r1@chatroom", (ME.id,))) == []


def test_a_mention_by_id_needs_no_name() -> None:
    nameless = Person(ME.id)
    message = _text("@Doctor Bot\u2005我眼睛红", "r1@chatroom", (ME.id,))
    found = to_inbound(message, ALICE, nameless, account="a", sequence=1, move=True)
    assert [m.text for m in found] == ["我眼睛红", "我眼睛红"]


def test_a_question_moves_to_the_private_chat_of_a_contact_only() -> None:
    asked = _text("@瞳小护\u2005红了", "r1@chatroom")
    assert [(m.address.chat_id, m.private) for m in _read(asked)] == [
        ("r1@chatroom", False),
        (ALICE.id, True),
    ]
    assert len(_read(asked, Person(ALICE.id, "Alice"))) == 1
    assert len(_read(asked, move=False)) == 1
    assert len(_read(_text("@瞳小护\u2005", "r1@chatroom"))) == 1  # nothing was asked


def test_a_quoted_message_is_not_what_the_sender_says() -> None:
    quoted = "「瞳小护：突然看不见请马上去急诊」\n- - - - - - - - - - - - - - -\n好的谢谢"
    [message] = _read(_text(quoted))
    assert message.text == "好的谢谢"


@pytest.mark.parametrize(
    "sender",
    [
        ME,
        Person("gh_1234"),
        Person("weixin"),
        Person("filehelper"),
        Person("wxid_news", type=2),
        Person(""),
    ],
)
def test_who_is_no_patient_is_not_heard(sender: Person) -> None:
    assert _read(_text("hello"), sender) == []


def test_a_picture_names_its_message_and_never_its_xml() -> None:
    [message] = _read(Message("m9", 6, "<msg><img cdnurl='x'/></msg>", ALICE.id))
    [photo] = message.attachments
    assert message.text == ""
    assert (photo.kind, photo.ref, photo.compressed) == (AttachmentKind.PHOTO, "m9", True)


def test_a_file_keeps_its_name() -> None:
    [message] = _read(Message("m9", 1, "", ALICE.id, file_name="眼底.pdf"))
    [file] = message.attachments
    assert (file.kind, file.name, file.compressed) == (AttachmentKind.DOCUMENT, "眼底.pdf", False)


@given(
    st.builds(
        Message,
        st.text(max_size=20),
        st.integers(-5, 40),
        st.text(max_size=300) | st.just("@瞳小护\u2005" * 50),
        st.sampled_from(["wxid_alice", "wxid_bot", ""]),
        st.sampled_from(["", "r1@chatroom"]),
        st.lists(st.sampled_from(["wxid_bot", "x"])),
        st.integers(0, 2**60),
        st.text(max_size=20),
    ),
    st.booleans(),
)
def test_nothing_that_comes_breaks_it(message: Message, move: bool) -> None:
    sender = Person(message.sender_id, "\x00x", is_contact=True)
    found = _read(message, sender, move=move)
    assert len(found) <= 2
    assert all(m.private == (m.address.chat_id == sender.id) for m in found)
    assert all(m.text or m.attachments or not m.private for m in found)
