"""Cards: short, fixed, in both languages, with their buttons."""

from __future__ import annotations

import pytest

from core.errors import Bug
from core.message import LANGUAGES, Language
from core.reply import plain_text
from core.triage.cards import after_confirm, card, confirm_question, first_aid_line
from core.triage.engine import assess
from core.triage.frames import rule_book
from core.triage.verdict import Verdict
from core.urgency import Urgency

FLAGS = list(rule_book().flags)


def a_verdict(flag: str) -> Verdict:
    return Verdict("trigger", rule_book().flags[flag].urgency, (flag,), (), "test")


@pytest.mark.parametrize("flag", FLAGS)
@pytest.mark.parametrize("language", LANGUAGES)
def test_every_flag_has_a_short_card(flag: str, language: Language) -> None:
    reply = card(a_verdict(flag), language)
    assert reply.kind == "emergency"
    asked = ["staff", "safe"] if flag == "self_harm" else ["going", "not_now", "staff", "why"]
    actions = [b.action for row in reply.buttons for b in row]
    assert actions == [f"v1:triage:{verb}" for verb in asked]
    assert all(len(b.label) <= 20 for row in reply.buttons for b in row)
    if language == "zh-Hans":
        assert len(plain_text(reply).replace("\n", "")) <= 120


@pytest.mark.parametrize("flag", FLAGS)
def test_a_card_never_claims_a_diagnosis(flag: str) -> None:
    words = plain_text(card(a_verdict(flag), "zh-Hans"))
    assert "您得了" not in words
    assert "确诊" not in words
    assert "您患" not in words


def test_the_place_is_shown() -> None:
    reply = card(a_verdict("open_globe"), "zh-Hans", emergency_place="市一院眼科急诊 0755-1")
    assert "市一院眼科急诊 0755-1" in plain_text(reply)


def test_self_harm_has_its_own_words() -> None:
    words = plain_text(card(assess("眼睛突然看不见了，不想活了"), "zh-Hans"))
    assert "12356" in words
    assert "急诊" not in words.split("12356", maxsplit=1)[0]


def test_the_question_offers_three_answers() -> None:
    verdict = assess("如果以后石灰进眼睛怎么办")
    reply = confirm_question(verdict, "en")
    assert reply.kind == "confirm"
    assert [b.action for row in reply.buttons for b in row] == [
        "v1:triage:now_me",
        "v1:triage:now_other",
        "v1:triage:just_asking",
    ]
    with pytest.raises(Bug):
        confirm_question(assess("你好"), "en")


@pytest.mark.parametrize("answer", ["now_me", "now_other"])
def test_yes_brings_the_card(answer: str) -> None:
    verdict = assess("如果以后石灰进眼睛怎么办")
    settled, reply = after_confirm(verdict, answer, "zh-Hans")  # type: ignore[arg-type]
    assert settled.action == "trigger"
    assert settled.urgency is Urgency.IMMEDIATE
    assert reply.kind == "emergency"
    assert "冲" in plain_text(reply)


def test_just_asking_leaves_first_aid_behind() -> None:
    verdict = assess("如果以后石灰进眼睛怎么办")
    settled, reply = after_confirm(verdict, "just_asking", "zh-Hans")
    assert settled.action == "none"
    assert "冲" in plain_text(reply)


def test_silence_brings_first_aid() -> None:
    reply = first_aid_line(("chemical_burn",), "zh-Hans")
    assert reply.kind == "emergency"
    assert "冲" in plain_text(reply)
