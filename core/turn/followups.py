"""Follow-ups in conversation: propose, agree, change, stop, and answer reminders.

Whether and when comes from `core.followup` (rules with sources); here is only the talk about it.
Nothing in this module asks a model.
"""

from __future__ import annotations

import re
from dataclasses import asdict, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from core.followup.dates import parse_date
from core.followup.ladder import reminder_times
from core.followup.plan import PlanProposal, proposal_reply, reminder_reply, show_date
from core.reply import say
from core.store.completion import FollowUpChange, NewFollowUp, NewReminder
from core.store.due import DueReminder
from core.texts import text
from core.turn import consent
from core.turn.answer import Answer
from core.turn.state import DialogState
from core.urgency import Urgency

_NOON = time(12, 0)
_MORNING, _NIGHT = time(8, 0), time(21, 0)
_YES = re.compile(r"好的?吧?|可以|行|要|同意|提醒我|好提醒我|ok(ay)?|yes|sure|agree|yesplease")
_NO = re.compile(r"不(用|要|用了|要了)?|不(要|用)提醒|no|nothanks")


def _today(answer: Answer) -> date:
    return datetime.fromtimestamp(answer.now_ms / 1000, ZoneInfo(answer.zone)).date()


def _at_noon_ms(day: date, zone: str) -> int:
    return int(datetime.combine(day, _NOON, ZoneInfo(zone)).astimezone(UTC).timestamp() * 1000)


def propose(answer: Answer, proposal: PlanProposal) -> None:
    """Offer a follow-up; the patient decides with a button."""
    due = _today(answer) + timedelta(days=proposal.due_in_days)
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
        # The button says that reminders will come, so pressing it is the consent to them.
        if not answer.state.granted("reminders"):
            consent.record(answer, "reminders", granted=True)
        answer.remember(opted_out=False)
        _start(answer, proposal, due, booked=False, set_by="rule")
        _say_plan(answer, "agreed", due)
    else:
        answer.remember(proposal=None)
        _say_plan(answer, "declined", due)


def on_date(answer: Answer, written: str) -> bool:
    """Take a date that we asked for; False when the words are about something else."""
    found = open_proposal(answer.state)
    day = parse_date(written, today=_today(answer), language=answer.language)
    if day is None:
        # A sentence is no date, and whoever misses twice wants to talk about something else.
        if len(written) > 20 or answer.state.awaiting != "plan_date":
            answer.remember(awaiting=None)
            return False
        answer.remember(awaiting="plan_date_again")
        answer.say(say("question", text(answer.language, "plan.date_unclear")))
        return True
    proposal, due = found or (
        PlanProposal("patient_date", "booked", Urgency.ROUTINE, 0, "patient", "-"),
        day,
    )
    if not answer.state.granted("reminders"):
        consent.record(answer, "reminders", granted=True)
    answer.remember(awaiting=None, opted_out=False)
    _start(answer, proposal, day, booked=True, set_by="patient")
    if day > due:
        _say_plan(answer, "date_late", due)
    _say_plan(answer, "agreed", day)
    return True


def _say_plan(answer: Answer, key: str, day: date) -> None:
    shown = show_date(day, answer.language)
    answer.say(say("plan", text(answer.language, f"plan.{key}", date=shown)))


def _start(answer: Answer, proposal: PlanProposal, due: date, *, booked: bool, set_by: str) -> None:
    due_at_ms = _at_noon_ms(due, answer.zone)
    times = reminder_times(
        due_at_ms,
        now_ms=answer.now_ms,
        zone=answer.zone,
        booked=booked,
        urgency=proposal.urgency,
    )
    row: dict[str, Any] = {
        "rule_id": proposal.rule_id,
        "table_version": proposal.table_version,
        "source": proposal.source[:64],
        "reason": proposal.reason[:64],
        "urgency": str(proposal.urgency),
        "due_at_ms": due_at_ms,
        "zone": answer.zone,
        "set_by": set_by,
    }
    answer.follow_up = NewFollowUp(row, tuple(NewReminder(t.step, t.at_ms) for t in times))
    answer.remember(proposal=None)


def out_of_quiet_hours(now_ms: int, zone: str, *, spread: int) -> int:
    """Return `now_ms`, or a minute of the next morning's first hour when people sleep.

    Quiet hours are 21:00-08:00 local (clinical specification §4); `spread` keeps a thousand
    messages from going out at 08:00 sharp.
    """
    where = ZoneInfo(zone)
    local = datetime.fromtimestamp(now_ms / 1000, where)
    if _MORNING <= local.time() < _NIGHT:
        return now_ms
    day = local.date() + timedelta(days=1 if local.time() >= _NIGHT else 0)
    opening = datetime.combine(day, _MORNING, where).astimezone(UTC)
    return int((opening + timedelta(minutes=spread % 60)).timestamp() * 1000)


def remind(answer: Answer, due: DueReminder | None) -> None:
    """Say a reminder that fired; one that was stopped meanwhile is passed over in silence."""
    if due is None:
        answer.outcome = "ignored"
        return
    answer.reminder_done = due.id
    if answer.state.opted_out or due.plan_state != "active":
        answer.outcome = "ignored"
        return
    if due.step == "staff_call":
        answer.outcome = "handed"
        answer.tell_staff("follow_up", due.urgency, why="no_answer")
        return
    awake_ms = out_of_quiet_hours(answer.now_ms, answer.zone, spread=due.id)
    if awake_ms > answer.now_ms:  # we were away when it was due, and now it is night there
        answer.outcome = "ignored"
        answer.reminder_again_ms = awake_ms
        return
    day = datetime.fromtimestamp(due.plan_due_at_ms / 1000, ZoneInfo(due.zone)).date()
    answer.say(reminder_reply(due.step, due=day, language=answer.language, reminder_id=due.id))


def on_reminder_button(answer: Answer, action: str) -> None:
    """Handle the buttons under a reminder."""
    parts = action.split(":")
    language = answer.language
    match parts[2] if len(parts) > 2 else "":
        case "booked" | "other":
            answer.remember(awaiting="plan_date")
            key = "plan.booked" if parts[2] == "booked" else "plan.which_date"
            answer.say(say("question", text(language, key)))
        case "seen":
            answer.follow_up = FollowUpChange("seen")
            answer.say(say("plan", text(language, "plan.seen")))
        case "help":
            answer.tell_staff("follow_up", "2_weeks", why="asked_for_help")
            answer.outcome = "handed"
            answer.say(say("notice", text(language, "plan.help")))
        case "stop":
            answer.follow_up = FollowUpChange("stopped")
            answer.state = replace(answer.state, opted_out=True, proposal=None)
            if answer.state.granted("reminders"):
                consent.record(answer, "reminders", granted=False)
            answer.say(say("notice", text(language, "plan.stopped")))
        case _:
            answer.say(say("notice", text(language, "turn.button_old")))
