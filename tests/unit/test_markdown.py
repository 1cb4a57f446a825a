"""Markdown becomes our tree, and no text is lost on the way."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.markdown import parse
from core.reply import Bold, Bullets, Heading, Link, Paragraph, Reply, Text, plain_text


def test_the_shapes_models_write() -> None:
    blocks = parse(
        "## 干眼\n您好，**请注意**休息。\n\n可以这样做：\n- 热敷\n- *多眨眼*\n\n"
        "1. 先看[眼科](https://example.org/a)\n2. 再复查 `OD`\n\n"
        "```text\n代码 **不动**\n```\n---\n结束"
    )
    assert blocks == (
        Heading("干眼"),
        Paragraph((Text("您好，"), Bold("请注意"), Text("休息。"))),
        Paragraph((Text("可以这样做："),)),
        Bullets(((Text("热敷"),), (Text("多眨眼"),))),
        Bullets(
            ((Text("先看"), Link("眼科", "https://example.org/a")), (Text("再复查 OD"),)),
            ordered=True,
        ),
        Paragraph((Text("代码 **不动**"),)),
        Paragraph((Text("结束"),)),
    )


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "tel:120", "/local", "data:text/html,x", "ftp://x"]
)
def test_only_web_links_become_links(url: str) -> None:
    (block,) = parse(f"看[这里]({url})")
    assert isinstance(block, Paragraph)
    assert not any(isinstance(s, Link) for s in block.spans)
    assert url in plain_text(Reply("answer", (block,)))


def test_tables_become_lines() -> None:
    text = plain_text(Reply("answer", parse("| 病 | 多久 |\n|---|:-:|\n| 青光眼 | 今天 |")))
    assert text == "病 | 多久\n青光眼 | 今天"


def test_loose_list_stays_one_list() -> None:
    assert parse("1. a\n\n2. b\n\n3. c") == (
        Bullets(((Text("a"),), (Text("b"),), (Text("c"),)), ordered=True),
    )


def test_list_inside_an_item() -> None:
    (block,) = parse("1. a\n   - x\n   - y\n2. b")
    assert block == Bullets(((Text("a\n• x\n• y"),), (Text("b"),)), ordered=True)


@pytest.mark.parametrize(
    "text", ["2026. 年", "3. 三", "**", "a*b*c", "2*3*4", "a__b__c", "-x", "#x"]
)
def test_what_is_no_markup_stays(text: str) -> None:
    assert plain_text(Reply("answer", parse(text))) == text


def test_numbers_of_a_list_are_never_changed() -> None:
    text = "3. 三\n4. 四\n\n1. 一\n3. 三"
    assert re.findall(r"\d\. .", plain_text(Reply("answer", parse(text)))) == [
        "3. 三", "4. 四", "1. 一", "3. 三",
    ]  # fmt: skip


PIECES = st.sampled_from(
    ["**", "*", "__", "_", "# ", "## ", "- ", "1. ", "2. ", "1、", "\n", "\n\n", "  ", "`",
     "```", "```\n", "[", "](https://x.y/z)", "](", ")", "|", "|---|\n", "> ", "---", "\t",
     "~~~", "!", "\r\n", "•", "眼", "a"]
)  # fmt: skip


def _words(text: str) -> str:
    return "".join(c for c in text if c.isalnum())


@given(st.lists(PIECES | st.text(max_size=6), max_size=40).map("".join))
def test_every_character_that_is_no_markup_survives(text: str) -> None:
    source = re.sub(r"(?m)^\s*(?:```+|~~~+)[ \t]*[\w+-]*[ \t]*$", "", text.replace("\r", "\n"))
    blocks = parse(text)
    said = _words(plain_text(Reply("answer", blocks)))
    # Only the word after an opening fence (its language) may go.
    assert _is_within(_words(source), said)
    assert _is_within(said, _words(text))


def _is_within(part: str, whole: str) -> bool:
    rest = iter(whole)
    return all(c in rest for c in part)


@given(st.text(alphabet=st.characters(exclude_characters="*_`[]()#|>~-+•"), max_size=200))
def test_plain_text_stays_as_it_is(text: str) -> None:
    if re.search(r"(?m)^\s*\d", text):
        return
    said = plain_text(Reply("answer", parse(text)))
    assert said.split() == text.split()


@pytest.mark.parametrize(
    "unit", ["**a", "[", "`", "_a_ ", "* ", "|", "[a](https://", "1. ", "**", "__", "#", "> ", "*a"]
)
def test_hostile_text_is_quick(unit: str) -> None:
    text = (unit * 100_000)[:100_000]
    began_s = time.thread_time()
    parse(text)
    assert time.thread_time() - began_s < 2
