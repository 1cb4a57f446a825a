"""What must never be said is taken out; what may be said stays."""

from __future__ import annotations

from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.agent.contradiction import Known
from core.agent.safety import check, showable
from core.reading import CONDITIONS, Finding, Reading
from core.texts import text
from core.urgency import Urgency


def a_reading(decision: str = "refer") -> Reading:
    findings = tuple(Finding(c, decision, 0.8, "m1") for c in CONDITIONS)  # type: ignore[arg-type]
    return Reading("assessed", findings, 2, "OD", 0.99, 0.9, (), "m1", "cpu", 10, 10)


def knowing(urgency: Urgency, reading: Reading | None) -> Known:
    return Known(urgency, (reading,) if reading else ())


SAFE = "先别紧张。请把情况慢慢告诉我。我会一直在这里。"


def problems(
    said: str, urgency: Urgency = Urgency.NONE, reading: Reading | None = None
) -> tuple[str, ...]:
    return check(SAFE + said, language="zh-Hans", known=knowing(urgency, reading)).problems


@pytest.mark.parametrize(
    "said",
    [
        "可以用阿托品，每晚一次。",
        "左氧氟沙星滴眼液每天四次，每次1滴。",
        "人工泪液一天用4次就好。",
        "布洛芬 400mg 口服。",
        "可用0.01%阿托品滴眼液。",
        "每隔２小时点一次眼药水。",
        "**每日 3 次** 滴眼药水。",
        "您可以先停用降眼压药。",
        "把胰岛素的剂量加大一些。",
        "眼膏睡前涂一次。",
        "可以用妥布霉素滴眼液。\n- 每天三次",
        "Use the drops four times a day.",
        "Take 200 mg of ibuprofen.",
        "One drop of atropine at bedtime.",
        "You can stop your glaucoma drops.",
        "Increase the dose a little.",
        "Apply the ointment every 4 hours.",
        "Take two tablets.",
    ],
)
def test_doses_are_found(said: str) -> None:
    assert problems(said) == ("dose",)


@pytest.mark.parametrize(
    "said",
    [
        "您得了青光眼。",
        "你患有干眼症。",
        "您这是急性结膜炎，您得的是结膜炎。",
        "您有轻度白内障。",
        "您没有青光眼。",
        "这就是角膜炎。",
        "可以诊断为视网膜脱离。",
        "您很可能是得了黄斑变性。",
        "You have glaucoma.",
        "You definitely have dry eye disease.",
        "You don't have a retinal detachment.",
        "This is clearly a case of conjunctivitis.",
        "Your diagnosis is uveitis.",
    ],
)
def test_diagnoses_are_found(said: str) -> None:
    assert problems(said) == ("diagnosis",)


COMFORT = [
    "不用去医院。",
    "没什么大碍。",
    "您放心，问题不大。",
    "这不是急症。",
    "可以再等等看。",
    "眼底一切正常。",
    "过几天就会好的。",
    "No need to see a doctor.",
    "You don't need to go to the hospital.",
    "Don't worry about it.",
    "Everything looks fine.",
    "It can wait until next week.",
    "It will go away on its own.",
]


@pytest.mark.parametrize("said", COMFORT)
def test_comfort_is_found_while_something_is_open(said: str) -> None:
    assert problems(said, Urgency.SAME_DAY) == ("comfort",)
    assert problems(said, Urgency.NONE, a_reading("negative")) == ("comfort",)
    assert problems(said) == ()


@pytest.mark.parametrize(
    "said",
    [
        "保证能治好。",
        "视力一定会恢复。",
        "I promise it gets better.",
        "It will definitely recover.",
    ],
)
def test_promises_are_found(said: str) -> None:
    assert problems(said) == ("promise",)


@pytest.mark.parametrize(
    "said",
    ["可以用母乳滴眼。", "您自己把铁屑取出来。", "家里剩的眼药水也行。", "Put honey in your eye."],
)
def test_harm_is_found(said: str) -> None:
    assert problems(said) == ("harm",)


@pytest.mark.parametrize(
    "said",
    [
        "如果您患有糖尿病，请每年查一次眼底。",
        "您有没有青光眼家族史？",
        "您提到您有高血压，请告诉医生。",
        "这可能与干眼有关，需要医生检查。",
        "我不能诊断您是否得了青光眼。",
        "不要自行停药，先问医生。",
        "请勿自行加大剂量。",
        "热敷每次十分钟，每天两次。",
        "每天户外活动两小时。",
        "每20分钟看远处20秒，让眼睛休息。",
        "请每年检查一次眼底。",
        "约80%的患者没有早期症状。",
        "不要以为不痛就没事，请马上去急诊。",
        "照片正常不代表没有病。",
        "请马上去急诊，不能等。",
        "不要用母乳滴眼。",
        "谁也不能保证视力会恢复。",
        "青光眼是一组视神经疾病，早期常常没有感觉。",
        "If you have diabetes, have your eyes checked every year.",
        "Do you have glaucoma in the family?",
        "Do not stop your drops without asking your doctor.",
        "It may be related to dry eyes; a doctor has to look.",
        "Rest your eyes every 20 minutes.",
        "A normal photo does not mean that everything is fine.",
        "People with diabetes have a higher risk of retinopathy.",
    ],
)
def test_good_sentences_stay(said: str) -> None:
    checked = check(SAFE + said, language="en", known=knowing(Urgency.IMMEDIATE, None))
    assert checked.problems == ()
    assert checked.text.startswith(SAFE + said)
    quiet = check(SAFE + said, language="en", known=knowing(Urgency.NONE, None))
    assert quiet.text == SAFE + said


def test_bad_sentence_goes_and_the_rest_stays() -> None:
    answer = "干眼很常见。热敷有帮助。可以用人工泪液，每天四次。多眨眼也好。"
    checked = check(answer, language="zh-Hans", known=knowing(Urgency.NONE, None))
    assert checked.text == (
        "干眼很常见。热敷有帮助。多眨眼也好。\n\n" + text("zh-Hans", "agent.safety.instead.dose")
    )


def test_open_flag_replaces_comfort_by_what_to_do() -> None:
    answer = "突然看不清要小心。不用去医院。请先坐下。别开车。"
    checked = check(answer, language="zh-Hans", known=knowing(Urgency.IMMEDIATE, None))
    assert "不用去医院" not in checked.text
    assert checked.text.endswith(text("zh-Hans", "agent.safety.care.immediate"))


def test_answer_that_is_mostly_bad_is_not_used() -> None:
    answer = "您得了青光眼。每天滴四次噻吗洛尔。好的。"
    checked = check(answer, language="zh-Hans", known=knowing(Urgency.NONE, None))
    assert checked.text == ""
    assert set(checked.problems) == {"diagnosis", "dose"}


@pytest.mark.parametrize("language", ["zh-Hans", "en"])
def test_disclaimer_once_when_a_photo_is_discussed(language: str) -> None:
    disclaimer = text(language, "agent.safety.reading_disclaimer")  # type: ignore[arg-type]
    answer = "这张照片提示需要转诊。请去看眼科。"
    once = check(answer, language=language, known=knowing(Urgency.NONE, a_reading()))  # type: ignore[arg-type]
    assert once.text.count(disclaimer) == 1
    again = check(once.text, language=language, known=knowing(Urgency.NONE, a_reading()))  # type: ignore[arg-type]
    assert again.text == once.text
    without = check(answer, language=language, known=knowing(Urgency.NONE, None))  # type: ignore[arg-type]
    assert disclaimer not in without.text


@pytest.mark.parametrize("language", ["zh-Hans", "en"])
def test_our_own_texts_pass_our_own_check(language: str) -> None:
    keys = ("instead.dose", "instead.diagnosis", "reading_disclaimer")
    cares = ("care.immediate", "care.same_day", "care.soon", "care.some_time")
    for key in (*keys, *cares):
        said = text(language, f"agent.safety.{key}")  # type: ignore[arg-type]
        checked = check(said, language=language, known=knowing(Urgency.IMMEDIATE, a_reading()))  # type: ignore[arg-type]
        assert checked.problems == (), key


@given(st.text(max_size=300))
def test_checking_never_fails_and_is_stable(said: str) -> None:
    once = check(said, language="zh-Hans", known=knowing(Urgency.SAME_DAY, None))
    if not once.problems:
        kept = once.text.removesuffix(text("zh-Hans", "agent.safety.care.same_day"))
        assert kept.split() == said.split() or not any(c.isalnum() or c == "_" for c in said)
    assert showable(said, language="en", known=knowing(Urgency.SAME_DAY, None)) in said


@pytest.mark.parametrize(("urgency", "most"), [(Urgency.NONE, 0.01), (Urgency.IMMEDIATE, 0.02)])
def test_few_vetted_sentences_are_taken_for_bad_ones(urgency: Urgency, most: float) -> None:
    """Our own articles keep the rules, so what is found in them is a false alarm.

    Beside an open emergency "it mostly clears by itself" is comfort, even in an article.
    """
    n_sentences = n_found = 0
    for article in (files("core.knowledge") / "articles").iterdir():
        for line in article.read_text("utf-8").splitlines():
            if not line.startswith("- "):
                continue
            said = f"{SAFE}{line[2:]}"
            n_sentences += 1
            checked = check(said, language="en", known=knowing(urgency, None))
            n_found += bool(checked.problems)
    assert n_sentences > 100
    assert n_found / n_sentences <= most


def test_draft_stops_before_the_first_bad_sentence() -> None:
    growing = "干眼很常见。可以每天滴四次眼药水。多眨眼。再"
    shown = showable(growing, language="zh-Hans", known=knowing(Urgency.NONE, None))
    assert shown == "干眼很常见。"
