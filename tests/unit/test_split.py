from __future__ import annotations

import unicodedata
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.ports import Capabilities, TextUnit
from core.reply import (
    Bold,
    Bullets,
    Button,
    Document,
    Heading,
    Image,
    Link,
    Paragraph,
    Reply,
    Text,
    paragraph,
    plain_text,
    say,
)
from core.split import clean_text, longest_prefix, numbered_buttons, split, text_size

UNITS: tuple[TextUnit, ...] = ("utf16", "utf8", "characters")


def a_channel(
    limit: int = 4096,
    *,
    unit: TextUnit = "utf16",
    caption: int = 1024,
    buttons: bool = True,
    documents: bool = False,
):
    return Capabilities(
        limit, caption, unit, buttons, drafts=False, media_limit_bytes=1, documents=documents
    )


words = st.text(st.characters(codec="utf-8"), max_size=60) | st.text(
    st.sampled_from("眼睛痛。！？ \n.a b👨‍👩‍👧👍🏽🇨🇳é\u0301"), max_size=200
)
spans = st.lists(
    st.builds(Text, words)
    | st.builds(Bold, words)
    | st.builds(Link, words, st.just("https://example.org/a")),
    max_size=4,
).map(tuple)
blocks = (
    st.builds(Paragraph, spans)
    | st.builds(Heading, words)
    | st.builds(Bullets, st.lists(spans, min_size=1, max_size=4).map(tuple), st.booleans())
)
one_button = ((Button("好", "v1:consent:yes"),),)
replies = st.builds(
    Reply,
    st.just("answer"),
    st.lists(blocks, max_size=5).map(tuple),
    st.sampled_from([(), one_button]),
    st.none() | st.just(Image("b1", "image/png", "眼底照片")),
    st.none() | st.just(Document("visit.ics", "text/calendar", "BEGIN:VCALENDAR")),
)


@given(replies, st.integers(24, 300), st.sampled_from(UNITS), st.integers(0, 100))
def test_parts_fit_and_their_text_is_the_whole_text_in_order(reply, limit, unit, caption):
    parts = split(reply, a_channel(limit, unit=unit, caption=caption, documents=True))
    whole, position = clean_text(plain_text(reply)), 0
    for part in parts:
        text = plain_text(part)
        assert text or part.image or part.document
        assert text_size(text, unit) <= (caption if part.image or part.document else limit)
        for piece in text.split("\n\n"):
            found = whole.find(piece, position)
            assert found >= 0
            assert not _visible(whole[position:found])
            position = found + len(piece)
    assert not _visible(whole[position:])


@given(replies, st.integers(24, 300))
def test_buttons_come_last_and_the_picture_first(reply, limit):
    parts = split(reply, a_channel(limit))
    assert [p.image is not None for p in parts][1:].count(True) == 0
    assert all(not p.buttons for p in parts[:-1])
    if parts:
        assert parts[-1].buttons == reply.buttons
        assert parts[0].image == reply.image
    assert all(p.kind == reply.kind for p in parts)


@given(replies, st.integers(24, 300), st.booleans())
def test_a_document_comes_last_and_only_where_files_are_taken(reply, limit, documents):
    parts = split(reply, a_channel(limit, documents=documents))
    found = [part.document for part in parts if part.document]
    assert found == ([reply.document] if documents and reply.document else [])
    assert not any(part.image and part.document for part in parts)
    assert all(part.document is None for part in parts[:-1])


@given(st.text(max_size=200))
def test_clean_text_is_accepted_by_every_encoding_and_idempotent(text):
    cleaned = clean_text(text + "\x00\ud800\r\n")
    cleaned.encode("utf-8")
    assert "\x00" not in cleaned
    assert clean_text(cleaned) == cleaned


@given(st.text(st.characters(codec="utf-8"), max_size=80), st.integers(0, 90))
def test_longest_prefix_is_the_longest_that_fits(text, limit):
    for unit in UNITS:
        prefix = longest_prefix(text, limit, unit)
        assert text.startswith(prefix)
        assert text_size(prefix, unit) <= limit
        if prefix != text:
            assert text_size(text[: len(prefix) + 1], unit) > limit


@pytest.mark.parametrize("unit", UNITS)
def test_ten_thousand_characters_come_out_whole(unit):
    text = "".join(f"第{n}句：请按时复查眼底。" for n in range(900))
    parts = split(say("answer", text), a_channel(2048, unit=unit))
    assert "".join(map(plain_text, parts)) == text
    assert len(parts) <= 1.2 * text_size(text, unit) / 2048 + 1
    assert all(plain_text(p).endswith("。") for p in parts)


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("one two three. four five six seven", "one two three."),
        ("aaaaaaaa\nbbbbbbbb\ncccccccccccc", "aaaaaaaa\nbbbbbbbb"),
        ("你好。今天眼睛还痛吗？我们会继续关注你的情况的", "你好。今天眼睛还痛吗？"),
        ("dose is 3.5 mmHg and then some more", "dose is 3.5 mmHg and"),
        ("x" * 40, "x" * 20),
        ("x" * 19 + "e\u0301" + "y" * 9, "x" * 19),
        ("x" * 18 + "👩‍⚕️" + "y" * 9, "x" * 18),
        ("x" * 17 + "🇨🇳🇨🇳" + "y" * 9, "x" * 17 + "🇨🇳"),
    ],
)
def test_where_it_cuts(text, first):
    assert plain_text(split(say("answer", text), a_channel(20, unit="characters"))[0]) == first


def test_a_list_keeps_its_numbers_when_it_is_cut():
    steps = Bullets(tuple((Text(f"step number {n}"),) for n in range(1, 6)), ordered=True)
    parts = split(Reply("plan", (steps,)), a_channel(40))
    assert "\n".join(map(plain_text, parts)) == plain_text(Reply("plan", (steps,)))


def test_a_heading_stays_with_its_text():
    reply = Reply("plan", (paragraph("a" * 20), Heading("Next"), paragraph("b" * 30)))
    assert [plain_text(p) for p in split(reply, a_channel(40))] == [
        "a" * 20,
        "Next\n\n" + "b" * 30,
    ]


def test_emphasis_and_links_survive_a_cut():
    link = Link("map", "https://example.org")
    reply = Reply("answer", (Paragraph((Bold("b" * 30), Text(" "), link)),))
    parts = split(reply, a_channel(24))
    assert parts[0].blocks == (Paragraph((Bold("b" * 24),)),)
    assert parts[1].blocks == (Paragraph((Bold("b" * 6),)),)
    assert parts[2].blocks == (Paragraph((link,)),)


@pytest.mark.parametrize(("length", "parts"), [(1024, 1), (1025, 2)])
def test_the_picture_takes_its_caption_along_only_if_it_fits(length, parts):
    reply = Reply("reading", (paragraph("好" * length),), image=Image("b", "image/png", "alt"))
    got = split(reply, a_channel())
    assert len(got) == parts
    assert got[0].image is not None
    assert bool(got[0].blocks) == (parts == 1)


def test_without_buttons_they_become_numbered_lines():
    reply = say("question", "现在还痛吗？", buttons=((Button("痛", "a"),), (Button("不痛", "b"),)))
    assert plain_text(numbered_buttons(reply)) == "现在还痛吗？\n\n1. 痛\n2. 不痛"
    assert split(reply, a_channel(buttons=False)) == [numbered_buttons(reply)]
    assert numbered_buttons(say("answer", "x")) == say("answer", "x")


def test_a_reply_that_says_nothing_has_no_parts():
    assert split(say("answer", " \n", "\u200b"), a_channel()) == []


def _visible(text: str) -> str:
    return "".join(c for c in text if unicodedata.category(c)[0] not in "CZ")


@given(replies, st.integers(60, 300))
def test_numbered_parts_fit_and_count_themselves(reply, limit):
    channel = replace(a_channel(limit, unit="utf8", caption=0), numbered_parts=True)
    parts = [p for p in split(reply, channel) if p.image is None]
    texts = [plain_text(part) for part in parts]
    assert all(text_size(text, "utf8") <= limit for text in texts)
    if len(texts) > 1:
        assert [text.rpartition("\n")[2] for text in texts] == [
            f"({n}/{len(texts)})" for n in range(1, len(texts) + 1)
        ]
    elif texts and text_size(plain_text(reply), "utf8") <= limit:
        assert "(1/1)" not in texts[0]
