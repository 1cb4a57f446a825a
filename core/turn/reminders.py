"""Reminders in conversation: say them, hear the answers, stop and go on, and other chats.

A reminder may be answered by a button, by its number or in plain words. Stopping works in any
words at any time and takes effect in the same transaction.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import replace
from datetime import date
from zoneinfo import available_timezones

from core.followup.ladder import out_of_quiet_hours
from core.followup.plan import family_reply, reminder_reply, show_date
from core.followup.walltime import day_of, wall_of
from core.reply import Button, Reply, say
from core.store.due import DueReminder
from core.store.plans import ContactChange, FollowUpChange, Plan
from core.texts import text
from core.turn import consent, followups
from core.turn.answer import Answer
from core.turn.state import DialogState
from core.urgency import Urgency

_CODE_FOR_MS = 30 * 60_000
# No letters that look alike: it is read from one phone and typed on another.
_ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"

_STOP = re.compile(
    r"td?|退订|stop(?:reminders?|remindingme)?|unsubscribe|(?:请?不要|别|不用|不)再?(?:给我)?(?:发)?提醒我?了?"
    r"|(?:取消|停止|关闭)(?:所有)?提醒|noreminders"
)
_RESUME = re.compile(
    r"(?:恢复|继续|重新|打开)(?:开始)?提醒我?|resume(?:reminders?)?|startreminders?|remindmeagain"
)
_ANSWERS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("died", re.compile(r"去世|过世|离世|病故|passed away|has died")),
    ("not_yet", re.compile(r"^(?:还没|没有?去|没去|还没有|not yet|no,? not yet|i haven.?t)")),
    ("refuse", re.compile(r"不想去|不去了|不看了|不查了|不用查|don.?t want to go|not going")),
    ("seen", re.compile(
        r"看过了|已经?看(?:过|了)|去过了|查过了|检查完|看完了|做过了|already (?:seen|went|been|had)"
        r"|i went|i.ve been"
    )),
    ("other", re.compile(r"改天|改期|换个?(?:日子|时间|天)|推迟|reschedule|another (?:day|date)")),
    ("booked", re.compile(
        r"^(?:已经?|都)?(?:约好|约了|预约好|挂好|挂了号|订好)"
        r"|^(?:it.?s |already )?booked"
    )),
    ("help", re.compile(
        r"帮(?:我|忙|一下)|需要帮助|不会约|约不上|挂不上|i need help|help me|can.?t book"
    )),
)  # fmt: skip
_CITIES = {
    "北京": "Asia/Shanghai", "上海": "Asia/Shanghai", "广州": "Asia/Shanghai",
    "中国": "Asia/Shanghai",
    "香港": "Asia/Hong_Kong", "澳门": "Asia/Macau", "台北": "Asia/Taipei", "台湾": "Asia/Taipei",
    "乌鲁木齐": "Asia/Urumqi", "新疆": "Asia/Urumqi", "东京": "Asia/Tokyo", "日本": "Asia/Tokyo",
    "首尔": "Asia/Seoul", "韩国": "Asia/Seoul", "新加坡": "Asia/Singapore", "曼谷": "Asia/Bangkok",
    "泰国": "Asia/Bangkok", "悉尼": "Australia/Sydney", "墨尔本": "Australia/Melbourne",
    "伦敦": "Europe/London", "英国": "Europe/London", "巴黎": "Europe/Paris",
    "柏林": "Europe/Berlin",
    "德国": "Europe/Berlin", "莫斯科": "Europe/Moscow", "纽约": "America/New_York",
    "波士顿": "America/New_York", "洛杉矶": "America/Los_Angeles",
    "旧金山": "America/Los_Angeles",
    "芝加哥": "America/Chicago", "温哥华": "America/Vancouver", "多伦多": "America/Toronto",
    "迪拜": "Asia/Dubai",
}  # fmt: skip


# -- saying --------------------------------------------------------------------------------------


def remind(answer: Answer, due: DueReminder | None) -> None:
    """Say a reminder that fired; one that was stopped meanwhile is passed over in silence."""
    if due is None:
        answer.outcome = "ignored"
        return
    answer.reminder_done = due.id
    if answer.state.opted_out or due.plan_state != "active":
        answer.outcome, answer.reminder_outcome = "ignored", "passed"
        return
    if due.step == "staff_call":
        _hand_over(answer, due, "no_answer")
        return
    awake_ms = out_of_quiet_hours(answer.now_ms, answer.zone, spread=due.id)
    if awake_ms > answer.now_ms:  # we were away when it was due, and now it is night there
        answer.outcome = "ignored"
        answer.reminder_again_ms = awake_ms
        return
    window_is_shut = (
        answer.window_ms is not None
        and due.last_inbound_at_ms is not None
        and answer.now_ms - due.last_inbound_at_ms > answer.window_ms
    )
    if window_is_shut or not due.is_reachable:
        if due.same:
            answer.outcome = "ignored"
            answer.relay_to = (*due.same, *due.family)
        else:
            _hand_over(answer, due, "unreachable")
            answer.relay_to = due.family
        return
    answer.relay_to = due.family
    answer.say(_reminder(answer, due))


def relayed(answer: Answer, due: DueReminder | None) -> None:
    """Say a reminder in another chat that both sides agreed on."""
    asleep = out_of_quiet_hours(answer.now_ms, answer.zone, spread=0) > answer.now_ms
    if due is None or due.plan_state != "active" or answer.state.opted_out:
        answer.outcome = "ignored"
    elif due.same and not asleep:
        answer.say(_reminder(answer, due))
    elif due.same:
        answer.outcome = "handed"
        answer.tell_staff("follow_up", due.urgency, why="unreachable")
    elif due.family and not asleep and due.step != "staff_call":
        answer.say(family_reply(due.step, due=_day(due), language=answer.language))
    else:
        answer.outcome = "ignored"


def _reminder(answer: Answer, due: DueReminder) -> Reply:
    return reminder_reply(
        due.step,
        due=_day(due),
        language=answer.language,
        reminder_id=due.id,
        is_for_self=due.person == "self",
    )


def _hand_over(answer: Answer, due: DueReminder, why: str) -> None:
    answer.outcome, answer.reminder_outcome = "handed", "staff"
    answer.tell_staff("follow_up", due.urgency, why=why, reason=due.reason, rule=due.rule_id)


def _day(due: DueReminder) -> date:
    if due.visit_day:
        return date.fromisoformat(due.visit_day)
    return day_of(due.plan_due_at_ms, due.zone)


# -- answers -------------------------------------------------------------------------------------


def typed_command(words: str) -> str | None:
    """Return the action of words that do nothing but stop reminders or resume them."""
    plain = "".join(c for c in words.casefold() if c.isalnum())
    if _STOP.fullmatch(plain):
        return "v1:remind:stop:0"
    if _RESUME.fullmatch(plain):
        return "v1:remind:resume:0"
    return None


def spoken_answer(words: str, state: DialogState) -> str | None:
    """Return the action that words mean as an answer to a reminder; triage has run before."""
    if len(words) > 40 or not any(a.startswith("v1:remind:") for _, a in state.offered):
        return None
    said = words.casefold().strip()
    return next((f"v1:remind:{v}:0" for v, pattern in _ANSWERS if pattern.search(said)), None)


def on_button(answer: Answer, action: str, plan: Plan | None) -> None:
    """Handle the answers to a reminder."""
    parts = action.split(":")
    language = answer.language
    match parts[2] if len(parts) > 2 else "":
        case "booked" | "other" | "not_yet":
            answer.remember(awaiting="plan_date")
            key = "plan.booked" if parts[2] == "booked" else "plan.which_date"
            answer.say(say("question", text(language, key)))
        case "seen":
            day = followups.today(answer).isoformat()
            answer.follow_up = FollowUpChange("seen", {"outcome_day": day, "outcome_by": "patient"})
            answer.remember(awaiting="plan_result", planned=False)
            answer.say(say("plan", text(language, "plan.seen")))
        case "help":
            urgency = plan.urgency if plan and plan.state == "active" else "2_weeks"
            answer.tell_staff("follow_up", urgency, why="asked_for_help")
            answer.outcome = "handed"
            answer.remember(awaiting="phone")
            answer.say(say("notice", text(language, "plan.help")))
        case "refuse":
            _refuse(answer, plan)
        case "died":
            buttons = tuple(
                Button(text(language, f"plan.button.{verb}"), f"v1:remind:{verb}:0")
                for verb in ("is_died", "other_died")
            )
            answer.say(say("question", text(language, "plan.died_ask"), buttons=(buttons,)))
        case "is_died":
            _end_for_good(answer)
        case "other_died":
            answer.say(say("notice", text(language, "plan.sorry")))
        case "stop":
            stop(answer)
        case "resume":
            resume(answer, plan)
        case _:
            answer.say(say("notice", text(language, "turn.button_old")))


def _refuse(answer: Answer, plan: Plan | None) -> None:
    """Say once why it matters, offer help, let staff know; nothing becomes less urgent."""
    urgency = plan.urgency if plan and plan.state == "active" else "routine"
    answer.tell_staff("follow_up", urgency, why="refused_visit")
    answer.outcome = "handed"
    answer.say(say("notice", text(answer.language, "plan.refused")))


def _end_for_good(answer: Answer) -> None:
    day = followups.today(answer).isoformat()
    answer.follow_up = FollowUpChange("died", {"outcome_day": day, "outcome_by": "patient"})
    answer.contact = ContactChange("end")
    answer.remember(opted_out=True, proposal=None, awaiting=None, planned=False)
    answer.tell_staff("follow_up", str(Urgency.ROUTINE), why="died")
    answer.say(say("notice", text(answer.language, "plan.died")))


def stop(answer: Answer) -> None:
    """Stop every reminder at once, also those of relatives; questions are answered as before."""
    answer.follow_up = FollowUpChange("stopped")
    answer.contact = ContactChange("end")
    answer.state = replace(answer.state, opted_out=True, proposal=None, awaiting=None)
    if answer.state.granted("reminders"):
        consent.record(answer, "reminders", granted=False)
    answer.say(say("notice", text(answer.language, "plan.stopped")))


def resume(answer: Answer, plan: Plan | None) -> None:
    """Remind again, and go on with the plan that was stopped."""
    if not answer.state.granted("reminders"):
        consent.record(answer, "reminders", granted=True)
    answer.remember(opted_out=False)
    if plan is None or plan.state != "stopped":
        answer.say(say("notice", text(answer.language, "plan.resumed_none")))
        return
    day = plan.visit_day or plan.due_day
    reminders = followups.ladder(
        answer,
        plan.due_day,
        visit=plan.visit_day
        if plan.visit_day and plan.visit_day >= followups.today(answer)
        else None,
        urgency=Urgency(plan.urgency),
        arm=plan.arm,
    )
    answer.follow_up = FollowUpChange(
        "active", {"zone": answer.zone}, reminders=reminders, plan_id=plan.id
    )
    answer.remember(planned=True)
    shown = show_date(day, answer.language)
    answer.say(say("plan", text(answer.language, "plan.resumed", date=shown)))


# -- where the patient is ------------------------------------------------------------------------


def zone_of(words: str) -> str | None:
    """Return the IANA zone of a city or zone name, or None."""
    plain = words.strip()
    if plain in _CITIES:
        return _CITIES[plain]
    wanted = plain.casefold().replace(" ", "_")
    zones = available_timezones()
    exact = next((z for z in zones if z.casefold() == wanted), None)
    cities = sorted(z for z in zones if "/" in z and z.rpartition("/")[2].casefold() == wanted)
    return exact or (cities[0] if cities else None)


def set_zone(answer: Answer, words: str) -> None:
    """Move what is planned to where the patient is now; days and hours stay."""
    zone = zone_of(words) if words else None
    if zone is None:
        answer.say(say("notice", text(answer.language, "plan.zone_ask", zone=answer.zone)))
        return
    answer.zone = answer.new_zone = zone
    answer.remember(zone=zone)
    now = f"{wall_of(answer.now_ms, zone):%H:%M}"
    answer.say(say("notice", text(answer.language, "plan.zone_set", zone=zone, time=now)))


# -- other chats ---------------------------------------------------------------------------------


def code_hash(code: str) -> str:
    """Return what is stored of a code."""
    plain = "".join(c for c in code.casefold() if c.isalnum())
    return hashlib.sha256(plain.encode()).hexdigest()


def on_link(answer: Answer, kind: str | None, code: str) -> None:
    """Handle /link: without a code ask for whom, with one ask the other side.

    Args:
        answer: the turn.
        kind: of the open offer with this code; None = there is none.
        code: as it was written, or "".
    """
    language = answer.language
    if not code:
        names = ("same", "family")
        key = "plan.link_ask"
    elif kind is None:
        answer.say(say("notice", text(language, "plan.link_unknown")))
        return
    else:
        answer.remember(linking=code_hash(code))
        names = ("yes", "no")
        key = f"plan.link_accept_{kind}"
    buttons = tuple(Button(text(language, f"plan.button.{n}"), f"v1:link:{n}") for n in names)
    answer.say(say("question", text(language, key), buttons=(buttons,)))


def on_link_button(answer: Answer, verb: str) -> None:
    """Handle the buttons of /link."""
    language, linking = answer.language, answer.state.linking
    if verb in ("same", "family"):
        code = "".join(secrets.choice(_ALPHABET) for _ in range(8))
        until_ms = answer.now_ms + _CODE_FOR_MS
        answer.contact = ContactChange("offer", verb, code_hash(code), until_ms)
        answer.say(say("notice", text(language, "plan.link_code", code=code)))
    elif verb in ("yes", "no") and linking:
        answer.contact = ContactChange("accept" if verb == "yes" else "refuse", code_hash=linking)
        answer.remember(linking="")
        answer.say(say("notice", text(language, f"plan.link_{verb}")))
    elif verb == "end":
        answer.contact = ContactChange("end")
        answer.say(say("notice", text(language, "plan.link_ended")))
    else:
        answer.say(say("notice", text(language, "turn.button_old")))
