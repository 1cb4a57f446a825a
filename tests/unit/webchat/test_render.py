from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.http.static import StaticFiles
from adapters.webchat import pages
from adapters.webchat.render import Renderer, press_id, reply_html, span_html, with_open_buttons
from core.ports import HistoryItem
from core.reply import Bold, Bullets, Button, Heading, Image, Link, Paragraph, Reply, Text

STATIC = StaticFiles(Path(pages.__file__).parent / "static", "/chat/static")
RENDERER = Renderer(pages.templates(STATIC), ZoneInfo("Asia/Shanghai"))
NOON_MS = 1_700_020_800_000  # 2023-11-15 12:00 in Shanghai
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>&amp;{{7*7}}\x00\ud800"


class _Seen(HTMLParser):
    def __init__(self, markup: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.words = ""
        self.feed(markup)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.words += data


def article(item: HistoryItem, **options) -> str:
    options = {"chat_id": "c", "language": "zh-Hans", "now_ms": NOON_MS, **options}
    return str(RENDERER.item(item, **options))


@settings(deadline=None)  # the first call may meet a busy machine
@given(st.text())
def test_any_text_is_only_text(text):
    seen = _Seen(str(reply_html(Reply("answer", (Paragraph((Text(text), Bold(text))),)))))
    assert set(seen.tags) <= {"p", "strong"}
    assert seen.attributes == []


def test_hostile_words_stay_words_in_every_leaf():
    reply = Reply(
        "reading",
        (
            Heading(HOSTILE),
            Paragraph((Text(HOSTILE), Bold(HOSTILE), Link(HOSTILE, "https://x/" + HOSTILE))),
            Bullets(((Text(HOSTILE),),), ordered=True),
        ),
        ((Button(HOSTILE, "v1:a:b"),),),
        Image("blob", "image/png", HOSTILE),
    )
    markup = article(HistoryItem(1, "service", NOON_MS, reply=reply))
    seen = _Seen(markup)
    assert "script" not in seen.tags
    assert not [name for name, _ in seen.attributes if name.startswith("on")]
    assert seen.words.count("<script>alert(1)</script>") == 6  # and the button's label
    assert "{{7*7}}" in seen.words
    assert "\x00" not in markup
    assert "\ud800" not in markup


@pytest.mark.parametrize(
    "url",
    ["javascript:alert(1)", " javascript:alert(1)", "JaVaScRiPt:x", "data:text/html,x", "//x", "http://[",
     "java\tscript:alert(1)", "vbscript:x", ""],
)  # fmt: skip
def test_other_schemes_become_words(url):
    assert "href" not in span_html(Link("see", url))


def test_known_schemes_are_links():
    assert 'href="tel:120"' in span_html(Link("120", "tel:120"))
    assert 'rel="noopener noreferrer"' in span_html(Link("WHO", "https://who.int/a?b=1&c=2"))
    assert "b=1&amp;c=2" in span_html(Link("WHO", "https://who.int/a?b=1&c=2"))


def test_an_emergency_is_told_by_word_shape_and_role():
    reply = Reply("emergency", (Paragraph((Text("马上去医院"),)),))
    markup = article(HistoryItem(1, "service", NOON_MS, reply=reply))
    assert 'role="alert"' in markup
    assert "<svg" in markup
    assert "紧急" in markup
    assert "Emergency" in article(HistoryItem(1, "service", NOON_MS, reply=reply), language="en")


def test_buttons_are_forms_with_one_id_per_button():
    reply = Reply("plan", (), ((Button("好", "v1:plan:yes:3"), Button("不", "v1:plan:no:3")),))
    item = HistoryItem(7, "service", NOON_MS, reply=reply)
    markup = article(item)
    assert press_id("c", 7, "v1:plan:yes:3") in markup
    assert markup == article(item)
    assert press_id("c", 7, "v1:plan:yes:3") != press_id("d", 7, "v1:plan:yes:3")
    assert "<form" not in article(item, with_buttons=False)


def test_a_message_without_words_is_still_there():
    assert "已收到" in article(HistoryItem(1, "patient", NOON_MS, message_id="x"))
    assert "已收到" not in article(HistoryItem(1, "patient", NOON_MS, photos=("a",)))


def test_ai_answers_say_so():
    reply = Reply("answer", (Paragraph((Text("x"),)),), ai_generated=True)
    assert "AI 生成" in article(HistoryItem(1, "service", NOON_MS, reply=reply))


@pytest.mark.parametrize(
    ("at_ms", "language", "shown"),
    [
        (NOON_MS - 60_000, "zh-Hans", ">11:59<"),
        (NOON_MS - 86_400_000, "zh-Hans", ">11月14日 12:00<"),
        (NOON_MS - 86_400_000, "en", ">14 Nov, 12:00<"),
    ],
)
def test_times_are_in_the_clinics_zone(at_ms, language, shown):
    assert shown in article(HistoryItem(1, "patient", at_ms, text="x"), language=language)


def test_which_buttons_stay_open():
    def asked(item_id: int, kind) -> HistoryItem:
        return HistoryItem(
            item_id, "service", 0, reply=Reply(kind, (), ((Button("b", "v1:a:b"),),))
        )

    def wrote(item_id: int, message_id: str = "") -> HistoryItem:
        return HistoryItem(item_id, "patient", 0, text="x", message_id=message_id)

    assert with_open_buttons([], "c") == frozenset()
    items = [asked(1, "emergency"), asked(2, "question"), asked(3, "plan")]
    assert with_open_buttons(items, "c") == {1, 2, 3}
    items += [wrote(4)]
    assert with_open_buttons(items, "c") == {1, 3}
    items += [asked(5, "plan")]
    assert with_open_buttons(items, "c") == {1, 5}
    items += [wrote(6, press_id("c", 1, "v1:a:b"))]
    assert with_open_buttons(items, "c") == {5}
    assert with_open_buttons([asked(7, "question"), wrote(8)], "c") == frozenset()
