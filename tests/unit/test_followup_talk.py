"""Talk about visits and reminders: what is heard, what is kept, and what is never taken lightly."""

from __future__ import annotations

from datetime import date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.followup.plan import PlanProposal
from core.followup.walltime import moment_ms
from core.reply import plain_text
from core.store.due import DueReminder
from core.store.plans import FollowUpChange, NewFollowUp, Plan
from core.turn import followups, reminders
from core.turn.answer import Answer
from core.turn.state import DialogState
from core.urgency import Urgency

ZONE = "Asia/Shanghai"
NOON = moment_ms(datetime.fromisoformat("2026-11-23T12:00:00"), ZONE)
OFFERED = (("约好了", "v1:remind:booked:7"),)


def an_answer(at_ms: int = NOON, language="zh-Hans", **state) -> Answer:
    return Answer(DialogState(**state), language, at_ms, ZONE)


def a_plan(state="active", urgency="2_weeks", due=date(2026, 12, 7), visit=None) -> Plan:
    due_ms = moment_ms(datetime.fromisoformat(f"{due}T12:00:00"), ZONE)
    return Plan(
        5, 1, "dr3", "dr3", urgency, due_ms, ZONE, "rule", state, "standard", due, visit, None,
        "t", 0,
    )  # fmt: skip


def a_due(step="day_1", **more) -> DueReminder:
    values = {"plan_state": "active", **more}
    due_ms = moment_ms(datetime.fromisoformat("2026-12-07T12:00:00"), ZONE)
    return DueReminder(7, step, NOON, "dr3", "dr3", "2_weeks", due_ms, ZONE, **values)


def said(answer: Answer) -> str:
    return "\n".join(plain_text(r) for r in answer.replies)


@pytest.mark.parametrize(
    ("words", "action"),
    [
        ("T", "stop"), ("td", "stop"), ("退订", "stop"), ("STOP", "stop"), ("stop.", "stop"),
        ("不要再提醒我了", "stop"), ("别提醒了", "stop"), ("Unsubscribe", "stop"),
        ("恢复提醒", "resume"), ("remind me again", "resume"),
        ("怎么退订报纸", None), ("my pain won't stop", None), ("今天", None), ("提醒我", None),
    ],
)  # fmt: skip
def test_stopping_is_heard_in_any_words_and_only_there(words, action):
    found = reminders.typed_command(words)
    assert found == (f"v1:remind:{action}:0" if action else None)


@pytest.mark.parametrize(
    ("words", "verb"),
    [
        ("约好了", "booked"), ("已经约好了", "booked"), ("booked", "booked"),
        ("已经看过了", "seen"), ("我去过了", "seen"), ("already went", "seen"),
        ("改天吧", "other"), ("another day please", "other"), ("需要帮助", "help"),
        ("约不上号", "help"), ("还没去", "not_yet"), ("不想去", "refuse"), ("他去世了", "died"),
        ("谢谢", None),
    ],
)  # fmt: skip
def test_a_reminder_is_answered_in_words(words, verb):
    found = reminders.spoken_answer(words, DialogState(offered=OFFERED))
    assert found == (f"v1:remind:{verb}:0" if verb else None)
    assert reminders.spoken_answer(words, DialogState()) is None


def test_a_visit_is_booked_with_its_day_and_place_in_one_sentence():
    answer = an_answer(awaiting="plan_date")
    assert followups.on_words(answer, "下周三上午9点去县医院", a_plan())
    change = answer.follow_up
    assert isinstance(change, FollowUpChange)
    assert change.columns["visit_day"] == "2026-12-02"
    assert change.columns["visit_time"] == "09:00"
    assert change.private == {"place": "县医院"}
    assert [r.step for r in change.reminders] == [
        "before_7", "before_3", "before_1", "ask_seen", "ask_again", "staff_call",
    ]  # fmt: skip
    assert "县医院" in said(answer)
    assert answer.state.awaiting is None


def test_without_a_place_we_ask_for_it():
    answer = an_answer(awaiting="plan_date")
    followups.on_words(answer, "12月2号", a_plan())
    assert answer.state.awaiting == "plan_place"
    answer = an_answer(awaiting="plan_place")
    assert followups.on_words(answer, "中山眼科", a_plan())
    assert answer.follow_up.private == {"place": "中山眼科"}
    question = an_answer(awaiting="plan_place")
    assert not followups.on_words(question, "要带什么东西？", a_plan())


def test_a_season_is_asked_about_and_a_later_day_is_told_to_staff():
    answer = an_answer(awaiting="plan_date")
    assert followups.on_words(answer, "春节后", a_plan())
    assert (answer.follow_up, answer.state.awaiting) == (None, "plan_date_again")
    late = an_answer(awaiting="plan_date")
    followups.on_words(late, "12月28号", a_plan())
    assert [(kind, detail["why"]) for kind, _, detail in late.tasks] == [("follow_up", "late_date")]
    assert "12月7日" in said(late)


def test_a_visit_may_be_announced_when_nobody_asked():
    answer = an_answer(planned=True)
    assert followups.is_about_a_visit(answer, "我下周三去县医院")
    assert not followups.is_about_a_visit(answer, "我下周三能不能吃药？")
    assert not followups.is_about_a_visit(answer, "下周三")
    assert not followups.is_about_a_visit(an_answer(), "我下周三去县医院")


def proposal(urgency: Urgency, days: int) -> PlanProposal:
    return PlanProposal("x", "x", urgency, days, "CO4", "t")


@given(
    st.sampled_from([u for u in Urgency if u is not Urgency.NONE]),
    st.integers(0, 700),
    st.sampled_from([u for u in Urgency if u is not Urgency.NONE]),
    st.integers(0, 700),
)
def test_what_is_found_later_never_postpones(running, running_days, found, found_days):
    answer = an_answer()
    today = followups.today(answer)
    due = date.fromordinal(today.toordinal() + running_days)
    followups.propose(answer, proposal(found, found_days))
    followups.offer(answer, a_plan(urgency=str(running), due=due))
    offered = followups.open_proposal(answer.state)
    sooner = (found.rank, found_days) < (running.rank, running_days)
    assert (offered is not None) == sooner


def test_of_several_the_most_urgent_is_offered():
    answer = an_answer()
    for urgency, days in ((Urgency.ROUTINE, 30), (Urgency.SAME_DAY, 0), (Urgency.TWO_WEEKS, 14)):
        followups.propose(answer, proposal(urgency, days))
    followups.offer(answer, None)
    assert followups.open_proposal(answer.state)[0].urgency is Urgency.SAME_DAY
    followups.on_plan_button(answer, "v1:plan:agree")
    assert isinstance(answer.follow_up, NewFollowUp)
    assert answer.follow_up.row["due_day"] == "2026-11-23"


def test_the_channels_window_is_told_when_the_plan_is_made():
    answer = an_answer()
    answer.window_ms = 48 * 3_600_000
    followups.propose(answer, proposal(Urgency.TWO_WEEKS, 14))
    followups.offer(answer, None)
    followups.on_plan_button(answer, "v1:plan:agree")
    assert "48" in said(answer)
    assert answer.state.awaiting == "phone"
    assert followups.on_words(answer, "我的电话 138 0013 8000", None)
    assert answer.phone == "13800138000"


@pytest.mark.parametrize(
    ("due", "outcome", "relay"),
    [
        (a_due(), "said", ()),
        (a_due(family=(4,)), "said", (4,)),
        (a_due(plan_state="stopped"), "passed", ()),
        (a_due("staff_call"), "staff", ()),
        (a_due(is_reachable=False), "staff", ()),
        (a_due(is_reachable=False, same=(3,)), "said", (3,)),
    ],
)
def test_a_due_reminder_is_said_relayed_or_handed_to_staff(due, outcome, relay):
    answer = an_answer()
    reminders.remind(answer, due)
    assert (answer.reminder_outcome, answer.relay_to) == (outcome, relay)
    assert bool(answer.tasks) == (outcome == "staff")


def test_outside_the_channels_window_staff_call():
    answer = an_answer()
    answer.window_ms = 48 * 3_600_000
    reminders.remind(answer, a_due(last_inbound_at_ms=NOON - 49 * 3_600_000))
    assert [detail["why"] for _, _, detail in answer.tasks] == ["unreachable"]
    assert not answer.replies


def test_how_it_went_is_kept_with_the_plan():
    answer = an_answer()
    reminders.on_button(answer, "v1:remind:seen:7", a_plan())
    assert answer.follow_up.state == "seen"
    told = an_answer(awaiting="plan_result")
    assert followups.on_words(told, "昨天在县医院看的，说要激光", a_plan("seen"))
    assert told.follow_up.columns == {"outcome_day": "2026-11-22"}
    assert told.follow_up.private["outcome"]["said"] == "昨天在县医院看的，说要激光"
    assert told.follow_up.plan_id == 5


def test_stop_ends_all_and_resume_goes_on():
    answer = an_answer(consents={"reminders": True})
    reminders.stop(answer)
    assert answer.follow_up == FollowUpChange("stopped")
    assert answer.contact.verb == "end"
    assert answer.state.opted_out
    again = an_answer(opted_out=True)
    reminders.resume(again, a_plan("stopped"))
    assert again.follow_up.plan_id == 5
    assert again.follow_up.reminders
    assert not again.state.opted_out


def test_a_death_is_confirmed_before_everything_stops():
    answer = an_answer()
    reminders.on_button(answer, "v1:remind:died:0", a_plan())
    assert answer.follow_up is None
    reminders.on_button(answer, "v1:remind:is_died:0", a_plan())
    assert answer.follow_up.state == "died"
    assert answer.state.opted_out
    assert "节哀" in said(answer)


@pytest.mark.parametrize(
    ("words", "zone"),
    [("东京", "Asia/Tokyo"), ("tokyo", "Asia/Tokyo"), ("Europe/london", "Europe/London"),
     ("new york", "America/New_York"), ("火星", None), ("", None)],
)  # fmt: skip
def test_a_traveller_names_a_city(words, zone):
    answer = an_answer()
    reminders.set_zone(answer, words)
    assert answer.new_zone == zone


def test_a_code_is_given_out_and_accepted_by_the_other_side():
    mine, theirs = an_answer(), an_answer(language="en")
    reminders.on_link_button(mine, "family")
    code = next(w for w in said(mine).replace("，", " ").replace("。", " ").split() if len(w) == 8)
    assert mine.contact.code_hash == reminders.code_hash(code.upper())
    reminders.on_link(theirs, "family", code)
    assert theirs.contact is None
    reminders.on_link_button(theirs, "yes")
    assert (theirs.contact.verb, theirs.contact.code_hash) == ("accept", mine.contact.code_hash)
