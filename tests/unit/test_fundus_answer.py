from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.message import LANGUAGES, Language
from core.reading import CONDITIONS, Decision, Eye, Finding, Outcome, Reading, RetakeCause
from core.reply import Bold, Bullets, Image, Reply, from_json, plain_text, to_json
from core.texts import catalogue
from core.turn.reading_answer import card_alt, explain, explain_unreadable, see_doctor_within

DECISIONS: tuple[Decision, ...] = ("negative", "borderline", "refer", "not_assessed")
CAUSES: tuple[RetakeCause, ...] = (
    "blur", "dark", "bright", "reflection", "off_centre", "too_small", "screen", "two_eyes",
)  # fmt: skip


def a_reading(
    outcome: Outcome = "assessed",
    *,
    retake: tuple[RetakeCause, ...] = (),
    dr_grade: int | None = None,
    eye: Eye | None = None,
    **decisions: Decision,
) -> Reading:
    findings = tuple(Finding(c, decisions.get(c, "not_assessed"), 0.5) for c in CONDITIONS)
    return Reading(
        outcome, findings, dr_grade, eye, 0.99, 0.9, retake, "weights 1", "CPU", 800, 600
    )


def bold(reply: Reply) -> str:
    spans = [s for b in reply.blocks for s in getattr(b, "spans", ())]
    spans += [s for b in reply.blocks if isinstance(b, Bullets) for i in b.items for s in i]
    return " | ".join(s.text for s in spans if isinstance(s, Bold))


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("outcome", ["assessed", "not_fundus", "ungradable"])
def test_every_answer_says_it_is_no_diagnosis_and_when_not_to_wait(
    language: Language, outcome: Outcome
) -> None:
    reply = explain(a_reading(outcome, dr="negative"), language)
    words = plain_text(reply)
    assert reply.kind == "reading"
    assert reply.ai_generated
    texts = catalogue(language)
    assert texts["fundus.disclaimer"] in words
    assert texts["fundus.safety_net"] in words
    assert "weights 1" in words
    assert "{" not in words


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(
    ("reading", "asked"),
    [
        (a_reading(dr="borderline"), True),
        (a_reading(dr="negative", retake=("blur",)), True),
        (a_reading("ungradable", retake=("too_small",)), True),
        (a_reading("ungradable", retake=("dark",)), False),
        (a_reading(dr="refer", pm="negative"), False),
        (a_reading("not_fundus", retake=("blur",)), False),
    ],
)
def test_the_original_is_asked_for_where_compression_may_be_the_reason(
    language: Language, reading: Reading, *, asked: bool
) -> None:
    texts = catalogue(language)
    kinds = {
        "telegram": "telegram", "wechat": "wechat", "wechaty": "wechat_file",
        "ilink": "wechat_file", "another": "other",
    }  # fmt: skip
    for channel, kind in kinds.items():
        words = plain_text(explain(reading, language, compressed_by=channel))
        assert (texts[f"fundus.original.{kind}"] in words) == asked
    sent_whole = plain_text(explain(reading, language))
    assert not any(texts[f"fundus.original.{k}"] in sent_whole for k in ("telegram", "wechat"))


def test_two_networks_are_named_with_what_each_said() -> None:
    findings = tuple(
        Finding(c, "negative", 0.1, "theirs" if c in {"glaucoma", "amd"} else "ours")
        for c in CONDITIONS
    )
    reading = Reading("assessed", findings, 0, None, 1, 1, (), "ours + theirs", "CPU", 9, 9)
    words = plain_text(explain(reading, "en"))
    assert "Model: theirs (Glaucoma, Age-related macular degeneration)" in words
    assert "Model: ours (Diabetic retinopathy" in words


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_card_in_words_says_what_the_card_shows(language: Language) -> None:
    texts = catalogue(language)
    alt = card_alt(a_reading(dr="refer", pm="negative", eye="OD", retake=("blur",)), language)
    for key in ("eye_OD", "bands", "band_refer", "band_negative", "band_not_assessed", "notice"):
        assert texts[f"fundus.card.{key}"] in alt
    for condition in CONDITIONS:
        assert texts[f"fundus.conditions.{condition}"] in alt
    for key in ("poor", "low"):
        assert texts[f"fundus.card.{key}"].rstrip("。.") in alt
    assert texts["fundus.card.low"].rstrip("。.") not in card_alt(a_reading(dr="refer"), language)


def test_no_result_is_told_for_what_was_not_assessed() -> None:
    for outcome in ("not_fundus", "ungradable"):
        words = plain_text(explain(a_reading(outcome), "zh-Hans"))
        assert "可疑表现" not in words
        assert "糖尿病视网膜病变" not in words
    assert "不等于正常" in plain_text(explain(a_reading("ungradable"), "zh-Hans"))


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("cause", CAUSES)
def test_ungradable_says_how_to_do_better(language: Language, cause: RetakeCause) -> None:
    words = plain_text(explain(a_reading("ungradable", retake=(cause,)), language))
    assert catalogue(language)[f"fundus.retake.{cause}"] in words


def test_missing_heads_are_named_as_not_assessed() -> None:
    words = plain_text(explain(a_reading(dr="negative", dme="negative"), "zh-Hans"))
    line = next(row for row in words.splitlines() if "没有评估" in row)
    assert all(name in line for name in ("青光眼", "老年黄斑变性", "高度近视"))
    assert "不能排除" in line


def test_serious_findings_come_first_and_the_earliest_date_wins() -> None:
    reading = a_reading(dr="refer", dme="refer", pm="borderline", dr_grade=4)
    words = plain_text(explain(reading, "zh-Hans"))
    assert see_doctor_within(reading) == "one_week"
    assert "1 周内" in words
    assert words.index("糖尿病视网膜病变") < words.index("高度近视")
    assert "1 周内" in bold(explain(reading, "zh-Hans"))


@pytest.mark.parametrize(
    ("decisions", "grade", "within"),
    [
        ({"dr": "negative"}, 0, "routine"),
        ({"dr": "borderline"}, 1, "three_months"),
        ({"dr": "refer"}, 2, "four_weeks"),
        ({"dr": "refer"}, 3, "two_weeks"),
        ({"dr": "refer"}, 4, "one_week"),
        ({"dr": "negative"}, 4, "routine"),
        ({"dr": "refer", "dme": "refer"}, 2, "two_weeks"),
        ({"amd": "refer"}, None, "two_weeks"),
        ({"pm": "refer"}, None, "four_weeks"),
        ({"glaucoma": "refer"}, None, "four_weeks"),
        ({}, None, "routine"),
    ],
)
def test_time_by_finding(decisions: dict[str, Decision], grade: int | None, within: str) -> None:
    assert see_doctor_within(a_reading(dr_grade=grade, **decisions)) == within


FALSE_COMFORT = re.compile(
    r"不用看医生|不需要看|无需|正常[，。]?(?!也)|放心|您得了|您患"
    r"|healthy|no need|all clear|you have"
)


@given(
    st.sampled_from(LANGUAGES),
    st.tuples(*(st.sampled_from(DECISIONS) for _ in CONDITIONS)),
    st.one_of(st.none(), st.integers(0, 4)),
    st.lists(st.sampled_from(CAUSES), unique=True, max_size=3),
    st.sampled_from([None, "OD", "OS"]),
)
def test_no_combination_comforts_or_labels(
    language: Language,
    decisions: tuple[Decision, ...],
    grade: int | None,
    retake: list[RetakeCause],
    eye: Eye | None,
) -> None:
    given_ = dict(zip(CONDITIONS, decisions, strict=True))
    reading = a_reading(retake=tuple(retake), dr_grade=grade, eye=eye, **given_)
    reply = explain(reading, language)
    words = plain_text(reply)
    assert not FALSE_COMFORT.search(words.replace("不等于正常", "").replace("照片正常也", ""))
    for condition in CONDITIONS:
        assert catalogue(language)[f"fundus.conditions.{condition}"] in words
    assert from_json(to_json(reply)) == reply
    assert "{" not in card_alt(reading, language)


@pytest.mark.parametrize("language", LANGUAGES)
def test_eye_picture_and_card_words(language: Language) -> None:
    picture = Image("blob", "image/jpeg", card_alt(a_reading(dr="refer"), language))
    reply = explain(a_reading(dr="refer", eye="OS"), language, image=picture)
    assert reply.image == picture
    assert plain_text(reply).startswith(catalogue(language)["fundus.result.heading_OS"])
    assert catalogue(language)["fundus.card.band_refer"] in picture.alt


def test_unreadable_file_is_a_notice() -> None:
    reply = explain_unreadable("fundus.too_large", "zh-Hans", limit_mb=25)
    assert reply.kind == "notice"
    assert "25 MB" in plain_text(reply)


def test_catalogues_agree() -> None:
    def own(language: Language) -> dict[str, set[str]]:
        items = catalogue(language).items()
        return {k: set(re.findall(r"{(\w+)}", v)) for k, v in items if k.startswith("fundus.")}

    assert own("zh-Hans") == own("en")


def test_every_text_is_used_for_every_state() -> None:
    for language, eye, decision in itertools.product(LANGUAGES, (None, "OD", "OS"), DECISIONS):
        assert explain(a_reading(eye=eye, dr=decision), language).blocks
