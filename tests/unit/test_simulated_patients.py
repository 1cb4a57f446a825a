"""Patients who answer in their own words: triage and consult together, as the turn runs them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from core.interview.consult import advance
from core.interview.judge import MAX_QUESTIONS, complaint_of, judge
from core.interview.slots import load
from core.interview.state import ConsultState
from core.reply import plain_text
from core.triage.engine import UNCLEAR, ContextLine, assess
from core.urgency import Urgency, most_urgent

DATA = load()
NOW = 1_800_000_000_000
PATIENTS = yaml.safe_load((Path(__file__).parent / "simulated_patients.yaml").read_text("utf-8"))
UNLISTED = {"zh-Hans": ("没有", "不知道"), "en": ("no", "not sure")}


@dataclass
class Chat:
    """One patient's chat; a red flag ends the interview and stays open, as in the turn."""

    language: str
    state: ConsultState | None = None
    floor: Urgency = Urgency.NONE
    given: Urgency = Urgency.NONE
    asked: list[str] = field(default_factory=list)
    lines: list[ContextLine] = field(default_factory=list)
    now_ms: int = NOW

    def hears(self, words: str) -> bool:
        """Take one message; True when the patient knows how urgent it is."""
        pending = bool(self.state and self.state.pending)
        verdict = assess(words, context=self.lines[-6:])
        self.now_ms += 30_000
        if verdict.flags and not (verdict.flags == (UNCLEAR,) and pending):
            self.floor = most_urgent(self.floor, verdict.urgency)
            self.given, self.state, self.lines = self.floor, None, []
            return True
        step = advance(
            self.state,
            text=words,
            button=None,
            language=self.language,  # type: ignore[arg-type]
            now_ms=self.now_ms,
            floor=self.floor,
        )
        self.state = step.state
        said = "\n".join(plain_text(r) for r in step.replies)
        self.lines += [ContextLine("patient", words), ContextLine("service", said)]
        if step.assessment:
            self.given = step.assessment.urgency
        return step.assessment is not None

    @property
    def question(self) -> str | None:
        return self.state.pending if self.state else None


def answer(case: dict, slot_name: str) -> str:
    no, unknown = UNLISTED[case["lang"]]
    slot = DATA.slots[slot_name]
    return case["truth"].get(slot_name) or (no if slot.deny or "none" in slot.values else unknown)


def consult(case: dict) -> tuple[Urgency, int]:
    chat, words, questions = Chat(case["lang"]), case["say"], 0
    while not chat.hears(words):
        assert chat.question is not None, f"{case['id']}: no question after {words!r}"
        questions += 1
        assert questions <= MAX_QUESTIONS
        words = answer(case, chat.question)
    return chat.given, questions


@pytest.mark.parametrize("case", PATIENTS, ids=lambda c: c["id"])
def test_nobody_is_told_to_wait_too_long(case: dict) -> None:
    given, _ = consult(case)
    assert given.rank <= Urgency(case["least"]).rank


def test_few_are_sent_too_early() -> None:
    over = [c["id"] for c in PATIENTS if consult(c)[0].rank < Urgency(c["most"]).rank]
    # A ghost image for months, and a painless bleed that the second net asks about.
    assert len(over) <= 3, over
    assert len(PATIENTS) == 40


# -- properties ------------------------------------------------------------------------------

# Starts that triage lets pass, so that there is an interview to test.
STARTS = [
    ("最近看东西有点模糊", "zh-Hans"),
    ("眼睛有点干", "zh-Hans"),
    ("眼睛红，有眼屎", "zh-Hans"),
    ("眼皮长了个包", "zh-Hans"),
    ("我眼睛不舒服", "zh-Hans"),
    ("有糖尿病想查眼底", "zh-Hans"),
    ("my eyes feel dry", "en"),
    ("my sight is slowly getting worse", "en"),
    ("something is wrong with my eyes", "en"),
]
SAID = st.one_of(
    st.sampled_from(
        [
            "有",
            "没有",
            "2",
            "第二个",
            "慢慢的",
            "不知道",
            "跳过",
            "七八分",
            "都没有",
            "三天了",
            "yes",
            "no",
            "slowly",
        ]
    ),
    st.sampled_from(["not sure", "about a week", "none of these", "six out of ten"]),
    st.sampled_from(
        ["不对，是左眼", "谢谢", "白内障是什么", "你是谁", "呱呱呱", "asdf", "🙂", "我70岁"]
    ),
    st.sampled_from(["左眼突然看不见了", "石灰进眼睛了", "bleach splashed in my eye"]),
    st.text(max_size=12),
)


@settings(max_examples=120, deadline=None)
@given(st.sampled_from(STARTS), st.lists(SAID, min_size=24, max_size=24))
def test_whatever_is_answered_it_ends_and_repeats_nothing(
    start: tuple[str, str], answers: list[str]
) -> None:
    chat = Chat(start[1])
    done = chat.hears(start[0])
    asked: list[str] = []
    for words in answers:
        if done:
            break
        assert chat.state is not None
        assert len(chat.state.asked) <= MAX_QUESTIONS
        assert len(set(chat.state.asked)) == len(chat.state.asked)
        asked.append(chat.question or "")
        # The same question is shown again only around an aside, never a third time for an answer.
        done = chat.hears(words)
    if not done:  # only asides and corrections: skipping what is left must end it
        for _ in range(MAX_QUESTIONS + 1):
            done = done or chat.hears("跳过")
    assert done
    assert chat.given is not Urgency.NONE
    assert chat.given.rank <= chat.floor.rank


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(STARTS), st.lists(SAID, min_size=9, max_size=9))
def test_no_class_is_lower_than_an_open_red_flag(
    start: tuple[str, str], answers: list[str]
) -> None:
    chat = Chat(start[1])
    chat.hears("左眼突然看不见了")
    assert chat.floor is Urgency.IMMEDIATE
    for words in (start[0], *answers):
        if chat.hears(words):
            assert chat.given is Urgency.IMMEDIATE


# From harmless to alarming, for each symptom that has an order.
ORDER = {
    name: ("no", "yes")
    for name, slot in DATA.slots.items()
    if {"yes", "no"} <= slot.values.keys()
    and name not in ("diabetes", "itch", "dry", "tired", "growth", "lens")
} | {
    "pain": ("none", "gritty", "mild", "severe"),
    "onset": ("long", "gradual", "days", "sudden"),
    "trend": ("better", "same", "worse"),
    "floaters": ("old", "new"),
    "lens": ("no", "yes", "overnight"),
    "surgery": ("past", "recent"),
    "cover": ("stays", "goes_away"),
}
SLOTS = st.dictionaries(
    st.sampled_from(sorted(ORDER)), st.integers(0, 3), min_size=1, max_size=7
).map(lambda d: {n: ORDER[n][min(level, len(ORDER[n]) - 1)] for n, level in d.items()})


@settings(max_examples=600, deadline=None)
@given(SLOTS, st.data())
def test_a_more_alarming_answer_never_lowers_the_class(slots: dict, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(slots)))
    level = ORDER[name].index(slots[name])
    if level + 1 == len(ORDER[name]) or complaint_of(slots, DATA) is None:
        return
    worse = slots | {name: ORDER[name][level + 1]}
    complaint = complaint_of(slots, DATA)
    calm = judge(slots, complaint, DATA, stopped=True).urgency
    for others in (complaint, complaint_of(worse, DATA)):
        assert judge(worse, others, DATA, stopped=True).urgency.rank <= calm.rank, (slots, worse)


@settings(max_examples=200, deadline=None)
@given(SLOTS, st.sampled_from(["only_eye", "immune", "pregnant", "far", "thinner"]))
def test_an_escalator_never_lowers_the_class(slots: dict, name: str) -> None:
    complaint = complaint_of(slots, DATA)
    judged: Callable[[dict], int] = lambda s: judge(s, complaint, DATA).urgency.rank  # noqa: E731
    assert judged(slots | {name: "yes"}) <= judged(slots)
