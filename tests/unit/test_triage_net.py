"""The second net: it may ask, never trigger, never silence."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from core.reply import plain_text
from core.triage.cards import after_confirm, card, confirm_question, first_aid_line
from core.triage.engine import UNCLEAR, assess
from core.triage.net import Net, grams, net, probability, score
from core.triage.verdict import Verdict
from core.urgency import Urgency


def test_ngrams_are_those_of_one_to_three_characters() -> None:
    assert grams("看不见") == {"看", "不", "见", "看不", "不见", "看不见"}


def test_the_score_is_a_logistic_function_of_the_normalised_sum() -> None:
    layer = Net("t", 0.5, 0.0, {"a": (1.0, 2.0), "b": (1.0, -2.0)})
    assert score(layer, frozenset({"a", "b"})) == 0.5
    assert score(layer, frozenset({"a"})) > 0.8
    assert score(layer, frozenset({"unknown"})) == 0.5


@given(st.text(max_size=200))
def test_any_text_has_a_probability(text: str) -> None:
    assert 0 <= probability(text) <= 1


def test_it_separates_what_it_was_trained_for() -> None:
    assert probability("左眼突然看不见了") > net().threshold > probability("眼镜店几点关门")


def test_what_it_finds_is_asked_about_with_words_for_every_answer() -> None:
    verdict = Verdict("confirm", Urgency.SAME_DAY, (UNCLEAR,), (), "t", ("net",))
    assert confirm_question(verdict, "zh-Hans").buttons
    settled, reply = after_confirm(verdict, "now_me", "zh-Hans")
    assert settled.action == "trigger"
    assert len(plain_text(reply)) <= 120
    assert plain_text(card(settled, "en"))
    assert plain_text(first_aid_line(verdict.flags, "en"))


def test_a_rule_is_never_overruled_by_it() -> None:
    assert assess("什么是视网膜脱离").action == "none"
    assert assess("左眼突然看不见了").reasons[0].startswith("rule:")
