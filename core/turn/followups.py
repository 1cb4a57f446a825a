"""Follow-ups in conversation: propose, agree, book a visit, stop and go on.

Whether and when comes from `core.followup` (rules with sources); here is only the talk about it.
Nothing in this module asks a model. What follows a reminder is in `core.turn.reminders`.
"""

from __future__ import annotations

import re
from dataclasses import asdict, replace
from datetime import date, datetime, time, timedelta
from typing import Any

from core.followup.dates import parse_date
from core.followup.ladder import out_of_quiet_hours, reminder_times
from core.followup.places import parse_place, parse_time
from core.followup.plan import PlanProposal, proposal_reply, show_date
from core.followup.walltime import day_of, moment_ms
from core.reply import say
from core.store.plans import FollowUpChange, NewFollowUp, NewReminder, Plan
from core.texts import text
from core.turn import consent
from core.turn.answer import Answer
from core.turn.state import DialogState
from core.urgency import Urgency

__all__ = ["out_of_quiet_hours"]

_NOON = time(12, 0)
_HOUR_MS = 3_600_000
# Longer words are about something else, whatever we asked.
_SHORT = 40
_YES = re.compile(r"好的?吧?|可以|行|要|同意|提醒我|好提醒我|ok(ay)?|yes|sure|agree|yesplease")
_NO = re.compile(r"不(用|要|用了|要了)?|不(要|用)提醒|no|nothanks")
_VISIT = re.compile(
    r"去|约|挂[了号上]|预约|看医生|复查|检查"
    r"|\b(?:go|going|appointment|booked|visit|see the doctor)\b",
    re.IGNORECASE,
)
_QUESTION = re.compile(
    r"[?？]|吗|怎么|什么|能不能|可不可以|\b(?:can|should|what|how|is it)\b", re.IGNORECASE
)
_PHONE = re.compile(r"(?<!\d)\+?\d[\d -]{5,16}\d(?!\d)")


def today(answer: Answer) -> date:
    """Return the patient's day."""
    return day_of(answer.now_ms, answer.zone)


def _at_noon_ms(day: date, zone: str) -> int:
    return moment_ms(datetime.combine(day, _NOON), zone)


# -- proposing -----------------------------------------------------------------------------------


def propose(answer: Answer, proposal: PlanProposal) -> None:
    """Note a follow-up to offer at the end of the turn; of several the most urgent."""
    if answer.wished is None or _order(proposal) < _order(answer.wished):
        answer.wished = proposal


def _order(proposal: PlanProposal) -> tuple[int, int]:
    return proposal.urgency.rank, proposal.due_in_days


def offer(answer: Answer, plan: Plan | None) -> None:
    """Offer what the turn led to; the patient decides with a button.

    A plan that is as urgent and due earlier stays: what is found later never postpones it.
    """
    proposal = answer.wished
    if proposal is None:
        return
    if proposal.basis == "finding":
        proposal = replace(proposal, photo=answer.state.deciding_photo)
    due = today(answer) + timedelta(days=proposal.due_in_days)
    if proposal.urgency.rank > Urgency.WITHIN_48_H.rank:
        due = answer.open_days.on_or_before(due, earliest=today(answer))
    if plan is not None and plan.state == "active":
        day = plan.visit_day or plan.due_day
        if (Urgency(plan.urgency).rank, day) <= (proposal.urgency.rank, due) and day >= today(
            answer
        ):
            _say_plan(answer, "kept", day)
            return
    answer.remember(
        proposal={**asdict(proposal), "urgency": str(proposal.urgency), "due": due.isoformat()}
    )
    answer.say(proposal_reply(proposal, due=due, language=answer.language))


def open_proposal(state: DialogState) -> tuple[PlanProposal, date] | None:
    """Return the follow-up that was proposed and not answered, with its day."""
    if state.proposal is None:
        return None
    data: dict[str, Any] = dict(state.proposal)
    due = date.fromisoformat(data.pop("due"))
    data["urgency"] = Urgency(data["urgency"])
    data["modifiers"] = tuple(data.get("modifiers", ()))
    data["photo"] = tuple(data.get("photo", ()))
    return PlanProposal(**data), due


def typed_answer(words: str, state: DialogState) -> str | None:
    """Return the action of a plain "yes" or "no" to a proposal that was just made."""
    if state.proposal is None or not any(a == "v1:plan:agree" for _, a in state.offered):
        return None
    plain = "".join(c for c in words.casefold() if c.isalnum())
    if _YES.fullmatch(plain):
        return "v1:plan:agree"
    return "v1:plan:none" if _NO.fullmatch(plain) else None


def on_plan_button(answer: Answer, action: str) -> None:
    """Handle agree / other date / no reminders."""
    found = open_proposal(answer.state)
    verb = action.rpartition(":")[2]
    if found is None or verb not in ("agree", "other", "none"):
        answer.say(say("notice", text(answer.language, "turn.button_old")))
        return
    proposal, due = found
    if verb == "other":
        answer.remember(awaiting="plan_date")
        answer.say(say("question", text(answer.language, "plan.which_date")))
    elif verb == "agree":
        _consent(answer, proposal)
        _start(answer, proposal, due)
        _say_plan(answer, "agreed", due)
        _say_window(answer)
    else:
        answer.remember(proposal=None)
        _say_plan(answer, "declined", due)


def _consent(answer: Answer, proposal: PlanProposal | None) -> None:
    # The button says that reminders will come, so pressing it is the consent to them.
    if proposal is not None and proposal.person != "self":
        consent.record(answer, "reminders", granted=True, proxy=True)
    elif not answer.state.granted("reminders"):
        consent.record(answer, "reminders", granted=True)
    answer.remember(opted_out=False)


# -- what is said about a visit ------------------------------------------------------------------


def is_about_a_visit(answer: Answer, words: str) -> bool:
    """Tell whether words may answer what we asked about a visit, or announce one."""
    if answer.state.awaiting:
        return True
    if not (answer.state.planned or answer.state.proposal) or len(words) > _SHORT:
        return False
    return (
        bool(_VISIT.search(words))
        and not _QUESTION.search(words)
        and parse_date(words, today=today(answer), language=answer.language) is not None
    )


def on_words(answer: Answer, words: str, plan: Plan | None) -> bool:
    """Take a date, a place, a result or a number; False when the words are about something else."""
    match answer.state.awaiting:
        case "plan_place":
            return _on_place(answer, words)
        case "plan_result":
            return _on_result(answer, words, plan)
        case "phone":
            return _on_phone(answer, words)
        case _:
            return _on_date(answer, words, plan)


def _on_date(answer: Answer, words: str, plan: Plan | None) -> bool:
    day = parse_date(words, today=today(answer), language=answer.language)
    if day is None:
        # A sentence is no date, and whoever misses twice wants to talk about something else.
        if len(words) > 20 or answer.state.awaiting != "plan_date":
            answer.remember(awaiting=None)
            return False
        answer.remember(awaiting="plan_date_again")
        answer.say(say("question", text(answer.language, "plan.date_unclear")))
        return True
    found = open_proposal(answer.state)
    place, at = parse_place(words), parse_time(words)
    _consent(answer, found[0] if found else None)
    if found is None and plan is not None and plan.state == "active":
        due, urgency = plan.due_day, Urgency(plan.urgency)
        _book(answer, plan, day, at, place)
    else:
        proposal, due = found or (_patients_own(), day)
        urgency = proposal.urgency
        _start(answer, proposal, due, visit=day, at=at, place=place)
    answer.remember(awaiting=None)
    if day > due:
        _say_plan(answer, "date_late", due)
        if urgency.rank <= Urgency.TWO_WEEKS.rank:
            answer.tell_staff("follow_up", str(urgency), why="late_date")
    shown = show_date(day, answer.language)
    if place:
        said = text(answer.language, "plan.visit_at", date=shown, place=place)
        answer.say(say("plan", said))
    else:
        answer.remember(awaiting="plan_place")
        answer.say(say("plan", text(answer.language, "plan.visit", date=shown)))
    _say_window(answer)
    return True


def _patients_own() -> PlanProposal:
    return PlanProposal(
        "patient_date", "booked", Urgency.ROUTINE, 0, "patient", "-", basis="patient"
    )


def _on_place(answer: Answer, words: str) -> bool:
    answer.remember(awaiting=None)
    if len(words) > _SHORT or _QUESTION.search(words):
        return False
    place = parse_place(words) or words.strip()
    answer.follow_up = FollowUpChange("active", private={"place": place})
    answer.say(say("plan", text(answer.language, "plan.place_kept", place=place)))
    return True


def _on_result(answer: Answer, words: str, plan: Plan | None) -> bool:
    answer.remember(awaiting=None)
    if plan is None or plan.state != "seen" or _QUESTION.search(words):
        return False
    back = 2 if re.search(r"前天", words) else 1 if re.search(r"昨天|yesterday", words) else 0
    answer.follow_up = FollowUpChange(
        "seen",
        {"outcome_day": (today(answer) - timedelta(days=back)).isoformat()},
        {"outcome": {"where": parse_place(words), "said": words[:2_000]}},
        plan_id=plan.id,
    )
    answer.say(say("plan", text(answer.language, "plan.result_kept")))
    return True


def _on_phone(answer: Answer, words: str) -> bool:
    answer.remember(awaiting=None)
    match = _PHONE.search(words)
    if match is None or len(words) > _SHORT:
        return False
    answer.phone = "".join(c for c in match[0] if c.isdigit() or c == "+")
    answer.say(say("notice", text(answer.language, "plan.phone_kept")))
    return True


def _say_plan(answer: Answer, key: str, day: date) -> None:
    shown = show_date(day, answer.language)
    answer.say(say("plan", text(answer.language, f"plan.{key}", date=shown)))


def _say_window(answer: Answer) -> None:
    """Say at planning time that this channel may not let us write first, and ask for a number."""
    if answer.window_ms is None:
        return
    hours = answer.window_ms // _HOUR_MS
    answer.say(say("notice", text(answer.language, "plan.window", hours=hours)))
    if answer.state.awaiting is None:
        answer.remember(awaiting="phone")


# -- the rows ------------------------------------------------------------------------------------


def ladder(
    answer: Answer, due: date, *, visit: date | None, urgency: Urgency, arm: str
) -> tuple[NewReminder, ...]:
    """Return the reminders of a plan in the patient's zone."""
    times = reminder_times(
        _at_noon_ms(visit or due, answer.zone),
        now_ms=answer.now_ms,
        zone=answer.zone,
        booked=visit is not None,
        urgency=urgency,
        arm=arm,
        open_days=answer.open_days,
    )
    return tuple(NewReminder(t.step, t.at_ms, t.wall) for t in times)


def _start(
    answer: Answer,
    proposal: PlanProposal,
    due: date,
    *,
    visit: date | None = None,
    at: str | None = None,
    place: str | None = None,
) -> None:
    row: dict[str, Any] = {
        "rule_id": proposal.rule_id,
        "table_version": proposal.table_version,
        "source": proposal.source[:64],
        "reason": proposal.reason[:64],
        "urgency": str(proposal.urgency),
        "due_at_ms": _at_noon_ms(due, answer.zone),
        "zone": answer.zone,
        "set_by": "patient" if visit else "rule",
        "basis": proposal.basis,
        "photo_of": proposal.photo,
        "person": proposal.person[:16],
        "modifiers": ",".join(proposal.modifiers)[:160],
        "arm": answer.arm,
        "due_day": due.isoformat(),
        "visit_day": visit.isoformat() if visit else None,
        "visit_time": at,
        "confirmed_at_ms": answer.now_ms if visit else None,
    }
    reminders = ladder(answer, due, visit=visit, urgency=proposal.urgency, arm=answer.arm)
    answer.follow_up = NewFollowUp(row, reminders, {"place": place} if place else {})
    answer.remember(proposal=None, planned=True)


def _book(answer: Answer, plan: Plan, day: date, at: str | None, place: str | None) -> None:
    columns = {
        "visit_day": day.isoformat(),
        "visit_time": at,
        "zone": answer.zone,
        "confirmed_at_ms": answer.now_ms,
    }
    reminders = ladder(answer, plan.due_day, visit=day, urgency=Urgency(plan.urgency), arm=plan.arm)
    answer.follow_up = FollowUpChange(
        "active", columns, {"place": place} if place else {}, reminders
    )
    answer.remember(planned=True)
