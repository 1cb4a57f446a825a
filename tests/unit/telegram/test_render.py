from __future__ import annotations

import html
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.telegram.render import keyboard, to_html, to_plain
from core.reply import (
    Bold,
    Bullets,
    Button,
    Heading,
    Link,
    Paragraph,
    Reply,
    Text,
    plain_text,
    say,
)
from core.split import clean_text, text_size
from tests.fakes.botapi_methods import Refused, visible_html

texts = st.text(max_size=40) | st.text(st.sampled_from("<>&\"'/ab;#眼\n"), max_size=40)
spans = st.lists(
    st.builds(Text, texts)
    | st.builds(Bold, texts)
    | st.builds(
        Link, texts, st.sampled_from(["https://x.org/?a=1&b=<2>", 'http://y/"', "tel:120"])
    ),
    max_size=4,
).map(tuple)
blocks = (
    st.builds(Paragraph, spans)
    | st.builds(Heading, texts)
    | st.builds(Bullets, st.lists(spans, min_size=1, max_size=3).map(tuple), st.booleans())
)
replies = st.builds(Reply, st.just("answer"), st.lists(blocks, max_size=4).map(tuple))


@given(replies)
def test_whatever_is_said_telegram_reads_it_back_the_same(reply: Reply):
    shown = visible_html(to_html(reply))  # raises `Refused` where Telegram would
    assert shown == to_plain(replace(reply, blocks=tuple(map(_without_addresses, reply.blocks))))
    assert text_size(shown, "utf16") <= text_size(clean_text(plain_text(reply)), "utf16")


def _without_addresses(block):
    """A link shows its words only; its address is behind them."""

    def shown(spans):
        return tuple(
            Text(s.text) if isinstance(s, Link) and s.url.startswith("http") else s for s in spans
        )

    match block:
        case Paragraph(spans):
            return Paragraph(shown(spans))
        case Bullets(items, ordered):
            return Bullets(tuple(map(shown, items)), ordered)
    return block


def test_the_forms():
    reply = Reply(
        "plan",
        (
            Heading("复查 <重要>"),
            Paragraph((Text("眼压 < 21 & "), Bold("稳定"), Link("地图", "https://x/?a&b='"))),
            Bullets(((Text("带病历"),), (Text("空腹"),)), ordered=True),
            Bullets(((Text("手机"),),)),
        ),
    )
    assert to_html(reply) == (
        "<b>复查 &lt;重要&gt;</b>\n\n"
        "眼压 &lt; 21 &amp; <b>稳定</b>"
        '<a href="https://x/?a&amp;b=&#x27;">地图</a>\n\n'
        "1. 带病历\n2. 空腹\n\n• 手机"
    )
    assert to_plain(reply) == (
        "复查 <重要>\n\n眼压 < 21 & 稳定地图 https://x/?a&b='\n\n1. 带病历\n2. 空腹\n\n• 手机"
    )


@pytest.mark.parametrize(
    ("text", "expected"), [("拨打 120", "拨打 120"), ("急救电话", "急救电话 120")]
)
def test_telephone_numbers_stay_readable(text: str, expected: str):
    reply = Reply("emergency", (Paragraph((Link(text, "tel:120"),)),))
    assert to_html(reply) == to_plain(reply) == expected


def test_buttons():
    reply = say("question", "?", buttons=((Button("是\x00", "v1:y"), Button("否", "v1:n")),))
    markup = keyboard(reply)
    assert markup is not None
    [[yes, no]] = markup.inline_keyboard
    assert (yes.text, yes.callback_data, no.text) == ("是", "v1:y", "否")
    assert keyboard(say("answer", "x")) is None


@pytest.mark.parametrize("broken", ["a < b", "<b>x", "x</b>", "<b><i>x</b></i>", "<x>y</x>", "<b"])
def test_the_fake_refuses_what_telegram_refuses(broken: str):
    with pytest.raises(Refused, match="can't parse entities"):
        visible_html(broken)


@given(texts)
def test_the_fake_reads_escaped_text_as_it_was(text: str):
    assert visible_html(f"<b>{html.escape(text)}</b>") == text
