"""The guided consult: it understands, asks what matters, stops, and never says too little."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from core.interview.consult import advance, after_reading, photo_result
from core.interview.judge import MAX_QUESTIONS
from core.interview.slots import load
from core.interview.state import ConsultState
from core.interview.understand import understand
from core.reading import CONDITIONS, Decision, Finding, Reading
from core.reply import plain_text
from core.texts import catalogue
from core.urgency import Urgency

NOW = 1_800_000_000_000
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
VIGNETTES = yaml.safe_load((Path(__file__).parent / "consult_vignettes.yaml").read_text("utf-8"))


def consult(messages, language="zh-Hans", *, gap_ms=MINUTE, kept=None):
    state, step, now = None, None, NOW
    for message in messages:
        button = message if str(message).startswith("v1:") else None
        step = advance(
            state,
            text="" if button else str(message),
            button=button,
            language=language,
            now_ms=now,
            kept=kept or {},
        )
        state, now = step.state, now + gap_ms
    return step


def words(step) -> str:
    return "\n".join(plain_text(r) for r in step.replies)


def labels(step) -> list[str]:
    return [b.label for r in step.replies for row in r.buttons for b in row]


def a_reading(*, grade=None, outcome="assessed", eye=None, **decisions: Decision) -> Reading:
    findings = tuple(
        Finding(c, decisions.get(c, "negative" if outcome == "assessed" else "not_assessed"))
        for c in CONDITIONS
    )
    return Reading(outcome, findings, grade, eye, 0.99, 0.9, (), "test", "CPU", 512, 512)


@pytest.mark.parametrize("case", VIGNETTES, ids=lambda c: str(c["say"][0])[:24])
def test_vignette_ends_in_the_right_class(case):
    step = consult(case["say"], case["lang"])
    assert step.assessment is not None, words(step)
    assert (step.assessment.urgency, step.assessment.reason) == (case["urgency"], case["reason"])
    assert step.replies[-1].kind == "assessment"


def test_mother_with_diabetes_and_blur_is_understood_and_asked_how_it_began():
    step = consult(["我妈有糖尿病，最近看东西有点模糊"])
    said = words(step)
    for phrase in ("您妈妈", "有糖尿病", "最近", "模糊", "眼底照片", "突然出现的，还是慢慢来的"):
        assert phrase in said
    assert labels(step)[:3] == ["突然", "这几天", "慢慢加重"]
    assert step.state.pending == "onset"


def test_continuing_the_next_day_starts_with_a_recap():
    step = consult(["右眼看东西模糊", "慢慢的"], gap_ms=DAY)
    assert words(step).startswith("接着上次说：")
    assert "接着上次" not in words(consult(["右眼看东西模糊", "慢慢的"]))


def test_a_week_later_the_old_consult_is_forgotten():
    first = consult(["右眼看东西模糊"])
    step = advance(first.state, text="有", button=None, language="zh-Hans", now_ms=NOW + 8 * DAY)
    assert step.assessment is None
    assert step.state is None


@pytest.mark.parametrize(
    ("text", "slots"),
    [
        ("没睡好眼睛红", {"red": "yes"}),
        ("没有红、肿和疼", {"red": "no", "pain": "none"}),
        ("眼睛不红不疼", {"red": "no", "pain": "none"}),
        ("眼睛不舒服，红", {"red": "yes"}),
        ("糖尿病十几年了，看东西模糊", {"diabetes": "yes", "blur": "yes", "onset": None}),
        ("没有糖尿病", {"diabetes": "no"}),
        ("查出眼底出血", {"red": None, "discharge": None}),
        ("一个月大的宝宝流眼泪", {"age": "infant", "discharge": "watery"}),
        ("no pain, redness or discharge", {"pain": "none", "red": "no", "discharge": "none"}),
        ("my moment of blurry sight", {"person": None, "blur": "yes"}),
        ("I don't have diabetes", {"diabetes": "no"}),
        ("七八分", {"pain": "severe"}),
        ("about a six out of ten", {"pain": "mild"}),
    ],
)
def test_understands(text, slots):
    found = understand(text, load())
    assert {name: found.get(name) for name in slots} == slots


@pytest.mark.parametrize(
    ("answer", "expected"),
    [("3", "gradual"), ("慢慢加重", "gradual"), ("不清楚", "skip"), ("昨天", "days")],
)
def test_answers_by_number_label_words_or_not_at_all(answer, expected):
    step = consult(["看东西模糊", answer])
    assert step.state.slots["onset"] == expected


def test_an_answer_nobody_understands_is_asked_once_more_and_then_skipped():
    first = consult(["看东西模糊", "呱呱呱"])
    assert "没听懂" in words(first)
    assert first.state.pending == "onset"
    second = consult(["看东西模糊", "呱呱呱", "哇哇哇"])
    assert second.state.slots["onset"] == "skip"


def test_small_talk_in_the_middle_returns_to_the_question():
    step = consult(["看东西模糊", "谢谢你"])
    assert [r.kind for r in step.replies] == ["answer", "question"]
    assert step.state.pending == "onset"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("你好", "眼健康助手"),
        ("谢谢", "不客气"),
        ("你是机器人吗", "不是医生"),
        ("怎么用", "发眼底照片"),
        ("转人工", "医护人员"),
        ("你太笨了，没用", "对不起"),
        ("今天股票涨了多少", "不知道"),
    ],
)
def test_small_talk(text, expected):
    step = consult([text])
    assert expected in words(step)
    assert step.assessment is None


def test_does_not_know_and_offers_staff():
    step = consult(["明天北京天气怎么样"])
    assert "v1:staff:call" in [b.action for r in step.replies for row in r.buttons for b in row]


def test_refusal_repeats_the_class_and_offers_help():
    step = consult(["眼睛红，怕光", "我不想去医院"])
    assert "今天就看眼科" in words(step)
    assert step.state.urgency == Urgency.SAME_DAY


def test_a_new_symptom_after_the_end_raises_the_class():
    step = consult(["眼睛很干", "都没有", "不戴", "现在眼前有闪光"])
    assert step.assessment.urgency == Urgency.SAME_DAY


def test_a_given_class_is_not_lowered_afterwards():
    step = consult(["眼睛红，怕光", "其实眼睛有点痒，不红也不怕光"])
    assert step.state.urgency == Urgency.SAME_DAY
    assert step.assessment is None


def test_kept_slots_are_not_asked_again_and_belong_to_their_person():
    known = {"diabetes": "yes"}
    own = consult(["看东西模糊", "慢慢的", "都没有"], kept={"self": known})
    assert own.state.pending == "retina_check"
    mother = consult(["我妈看东西模糊", "慢慢的", "都没有"], kept={"self": known})
    assert mother.state.pending == "diabetes"


def test_another_person_starts_another_consult():
    step = consult(["我妈看东西模糊", "我爸眼睛红"])
    assert step.state.slots.get("blur") is None
    assert step.state.slots["person"] == "father"


def test_facts_of_two_people_are_not_mixed():
    step = consult(["my eye is red", "my dad can't see well at night"], "en")
    assert step.state.slots.get("red") is None
    assert consult(["眼睛红", "是我妈的眼睛红"]).state.slots["red"] == "yes"


def test_a_question_about_eyes_in_general_is_answered_from_the_knowledge_base():
    assert "KB45" in words(consult(["is pink eye contagious"], "en"))
    assert "KB40" in words(consult(["我妈白内障手术后多久能洗头"]))
    aside = consult(["眼睛红怎么办", "白内障是什么"])
    assert [r.kind for r in aside.replies] == ["answer", "question"]


def test_a_stale_button_is_answered():
    step = consult(["v1:ask:onset:sudden"])
    assert "已经过去" in words(step)
    assert step.state.pending == "complaint"


def test_a_skip_never_makes_an_emergency_but_says_it_is_careful():
    step = consult(["看东西重影", "v1:ask:cover:skip", "v1:ask:headache:skip"])
    assert step.assessment.urgency == Urgency.SAME_DAY
    assert "更稳妥" in words(consult(["看东西模糊", "v1:ask:onset:skip"]))


def test_a_state_of_older_data_still_serves():
    old = ConsultState(
        NOW, NOW, slots={"gone": "yes", "blur": "yes"}, pending="gone", asked=("gone",)
    )
    step = advance(old, text="慢慢看不清", button=None, language="zh-Hans", now_ms=NOW)
    assert step.replies[-1].kind == "question"


# -- photos ----------------------------------------------------------------------------------


def test_a_normal_photo_never_means_no_action():
    step = after_reading(None, a_reading(), language="zh-Hans", now_ms=NOW)
    assert "不能代替检查" in words(step)
    assert step.replies[-1].kind == "question"
    end = advance(step.state, text="直线变弯", button=None, language="zh-Hans", now_ms=NOW)
    assert end.state.slots["distortion"] == "yes"
    assert end.assessment is None or end.assessment.urgency.rank <= Urgency.WITHIN_48_H.rank


def test_a_normal_photo_after_the_end_does_not_lower_the_class():
    ended = consult(["眼睛红，怕光"])
    step = after_reading(ended.state, a_reading(), language="zh-Hans", now_ms=NOW + MINUTE)
    assert step.state.urgency == Urgency.SAME_DAY
    assert "今天就看眼科" in words(step)


def test_symptoms_override_a_normal_photo():
    asked = consult(["看东西模糊"])
    read = after_reading(asked.state, a_reading(), language="zh-Hans", now_ms=NOW)
    step = advance(read.state, text="突然", button=None, language="zh-Hans", now_ms=NOW)
    assert step.assessment.urgency == Urgency.SAME_DAY


def test_severe_retinopathy_without_symptoms_is_two_weeks():
    step = after_reading(None, a_reading(dr="refer", grade=3), language="en", now_ms=NOW)
    state = step.state
    for _ in range(MAX_QUESTIONS):
        if step.assessment:
            break
        step = advance(state, text="no", button=None, language="en", now_ms=NOW)
        state = step.state
    assert (step.assessment.urgency, step.assessment.reason) == ("2_weeks", "photo_refer_soon")


@pytest.mark.parametrize(
    ("reading", "expected"),
    [
        (a_reading(), "normal"),
        (a_reading(glaucoma="refer"), "refer"),
        (a_reading(amd="refer"), "refer_soon"),
        (a_reading(dr="refer", grade=2), "refer"),
        (a_reading(dr="borderline"), "borderline"),
        (a_reading(**dict.fromkeys(CONDITIONS, "not_assessed")), "ungradable"),
        (a_reading(outcome="ungradable"), "ungradable"),
        (a_reading(outcome="not_fundus"), "not_fundus"),
    ],
)
def test_photo_result(reading, expected):
    assert photo_result(reading) == expected


def test_not_a_fundus_photo_keeps_the_open_question():
    asked = consult(["看东西模糊"])
    step = after_reading(
        asked.state, a_reading(outcome="not_fundus"), language="zh-Hans", now_ms=NOW
    )
    assert step.state.pending == "onset"
    assert "不是眼底照片" in words(step)


# -- properties ------------------------------------------------------------------------------

DATA = load()
BUTTONS = [
    f"v1:ask:{name}:{value}"
    for name, slot in DATA.slots.items()
    if slot.buttons
    for value in (*slot.buttons, "skip")
] + ["v1:ask:stop:now", "v1:ask:start:now", "v1:ask:nonsense:x", "v1:other:verb", "bad"]
STARTS = [c["say"][0] for c in VIGNETTES]
TEXTS = st.one_of(
    st.sampled_from(STARTS),
    st.text(max_size=30),
    st.sampled_from(["有", "没有", "1", "no", "谢谢", "不知道"]),
)
HARMLESS = {
    "onset": "long",
    "trend": "better",
    "cover": "stays",
    "retina_check": "within_3_months",
    "age": "adult",
    "eye": "both",
    "complaint": "check",
    "lump_time": "new",
    "floaters": "old",
    "child_signs": "none",
}


@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(TEXTS, st.sampled_from(BUTTONS)), min_size=1, max_size=14))
def test_no_message_breaks_the_consult(messages):
    state = None
    for message in messages:
        button = message if message.startswith("v1:") or message == "bad" else None
        step = advance(state, text=message, button=button, language="zh-Hans", now_ms=NOW)
        assert step.replies
        for reply in step.replies:
            assert plain_text(reply).strip()
        state = step.state
        if state:
            assert len(state.asked) <= MAX_QUESTIONS
            assert len(set(state.asked)) == len(state.asked)
            assert ConsultState.from_json(json.loads(json.dumps(state.to_json()))) == state


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(STARTS), st.randoms(use_true_random=False))
def test_any_answers_end_in_an_assessment_within_eight_questions(start, random):
    step = advance(None, text=str(start), button=None, language="zh-Hans", now_ms=NOW)
    asked = 0
    while step.assessment is None:
        asked += 1
        assert asked <= MAX_QUESTIONS
        actions = [b.action for r in step.replies for row in r.buttons for b in row]
        answer = random.choice([a for a in actions if a != "v1:ask:stop:now"])
        step = advance(step.state, text="", button=answer, language="zh-Hans", now_ms=NOW)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(STARTS), st.randoms(use_true_random=False))
def test_skipping_never_ends_less_urgent_than_answering_no(start, random):
    def end(pick):
        step = advance(None, text=str(start), button=None, language="zh-Hans", now_ms=NOW)
        while step.assessment is None:
            pending = step.state.pending
            step = advance(
                step.state,
                text="",
                button=f"v1:ask:{pending}:{pick(DATA.slots[pending])}",
                language="zh-Hans",
                now_ms=NOW,
            )
        return step.assessment.urgency

    calm = end(lambda slot: slot.deny or HARMLESS.get(slot.name, slot.buttons[-1]))
    skipped = end(lambda slot: "skip")
    assert skipped.rank <= calm.rank


# -- data and texts --------------------------------------------------------------------------


@pytest.mark.parametrize("language", ["zh-Hans", "en"])
def test_every_slot_value_and_rule_has_its_words(language):
    texts = catalogue(language)
    for name, slot in DATA.slots.items():
        if slot.buttons:
            assert f"interview.ask.{name}" in texts
        for value in slot.buttons:
            label = texts[f"interview.choice.{name}.{value}"]
            assert 0 < len(label) <= 20
            assert len(f"v1:ask:{name}:{value}".encode()) <= 64
    for rule in (*DATA.rules, *DATA.defaults.values()):
        assert f"interview.result.{rule.say}.may" in texts
    for urgency in list(Urgency)[:-1]:
        assert f"interview.class.{urgency}.head" in texts


@pytest.mark.parametrize(
    ("language", "forbidden"),
    [
        (
            "zh-Hans",
            r"您(?:得了|患|是)[^，。]{0,6}(?:病|炎|症|障)|确诊|不用看医生|\d+ ?(?:mg|毫克|滴/)",
        ),
        (
            "en",
            r"\byou have (?:a |an )?(?:cataract|glaucoma|diabet|infection)|no need to see|\d+ ?mg",
        ),
    ],
)
def test_no_diagnosis_no_dose_no_false_comfort(language, forbidden):
    for key, said in catalogue(language).items():
        if key.startswith(("interview.", "knowledge.", "followup.")):
            assert not re.search(forbidden, said, re.IGNORECASE), key


def test_every_text_is_short_enough_for_a_small_phone():
    for case in VIGNETTES:
        if case["lang"] == "zh-Hans":
            assert len(words(consult(case["say"]))) <= 420
