"""What WeChat shows: plain text within its bytes, choices as numbers, parts counted."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from adapters.wechat.render import TEXT_LIMIT_BYTES, capabilities, to_text, words_for_picture
from core.reply import (
    Bold,
    Bullets,
    Button,
    Heading,
    Image,
    Link,
    Paragraph,
    Reply,
    Text,
    plain_text,
    say,
)
from core.split import split

WECHAT = capabilities(media_limit_bytes=1)


def test_there_is_no_markup():
    reply = Reply(
        "answer",
        (
            Heading("现在就去急诊"),
            Paragraph((Text("请拨打 "), Link("120", "tel:120"), Bold(" 不要等"))),
            Paragraph((Link("日历", "https://eyes.example.org/v"),)),
            Bullets(((Text("一"),), (Text("二"),)), ordered=True),
        ),
    )
    assert to_text(reply) == (
        "现在就去急诊\n\n请拨打 120 不要等\n\n日历 https://eyes.example.org/v\n\n1. 一\n2. 二"
    )


def test_choices_are_numbers_to_type():
    buttons = ((Button("好", "v1:a:b"),), (Button("不", "v1:a:c"),))
    (part,) = split(say("question", "可以吗？", buttons=buttons), WECHAT)
    assert to_text(part) == "可以吗？\n\n1. 好\n2. 不"


@given(st.lists(st.text(st.sampled_from("眼睛ab。 \n👁️"), max_size=900), max_size=8))
def test_parts_fit_and_leave_room_for_a_line_of_ours(texts):
    reply = say("answer", *texts)
    parts = [to_text(part) for part in split(reply, WECHAT)]
    assert all(len(part.encode()) <= TEXT_LIMIT_BYTES - 160 for part in parts)
    if len(parts) > 1:
        assert parts[0].endswith(f"(1/{len(parts)})")
    shown = "".join(p.rpartition("\n\n(")[0] if len(parts) > 1 else p for p in parts)
    assert _visible(shown) == _visible(plain_text(reply))


def _visible(text: str) -> str:
    return "".join(text.split()).replace("\ufe0f", "")


def test_a_picture_that_cannot_go_is_said():
    image = Image("b", "image/jpeg", "右眼照片")
    assert words_for_picture(Reply("reading", (), image=image)) == "右眼照片"
    both = Reply("reading", (Paragraph((Text("看过了"),)),), image=image)
    assert words_for_picture(both) == "右眼照片\n\n看过了"
