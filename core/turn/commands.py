"""Commands: the verbs every channel has in its menu."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime
from zoneinfo import ZoneInfo

from core.followup.plan import show_date
from core.message import Language
from core.reply import Bullets, Button, Reply, Text, paragraph, say
from core.store.due import Planned
from core.texts import text
from core.turn import card, consent
from core.turn.answer import Answer
from core.turn.reminders import on_link_button, set_zone, stop
from core.turn.words import Command

_REFERRAL_CHARACTERS = 64


def run(answer: Answer, command: Command, *, consent_required: bool, plans: list[Planned]) -> None:
    """Carry out one command.

    Args:
        answer: the turn.
        command: what was written.
        consent_required: a new patient is asked for consent at /start.
        plans: the conversation's open reminders, for /reminders.
    """
    language = answer.language
    match command.name:
        case "start":
            _start(answer, command, consent_required=consent_required)
        case "help":
            answer.say(
                say("notice", text(language, "turn.help"), text(language, "turn.help_commands"))
            )
        case "new":
            answer.state = replace(
                answer.state, consult=None, recent=(), confirming=None, awaiting=None, proposal=None
            )
            answer.say(say("notice", text(language, "turn.new")))
        case "lang":
            _language(answer, command.argument)
        case "privacy":
            consent.privacy(answer)
        case "human":
            card.ask_staff(answer)
        case "reminders":
            answer.say(reminders(answer, plans))
        case "stop":
            stop(answer)
        case "zone":
            set_zone(answer, command.argument)
        case "unlink":
            on_link_button(answer, "end")
        case _:
            answer.say(say("notice", text(language, "turn.unknown_command")))


def _start(answer: Answer, command: Command, *, consent_required: bool) -> None:
    # The payload is an opaque token from a clinic's link or QR code, never a patient's id.
    payload = "".join(c for c in command.argument if c.isalnum() or c in "_-")
    if payload:
        answer.remember(referred_by=payload[:_REFERRAL_CHARACTERS])
    if consent_required and not answer.state.granted("health"):
        consent.ask_all(answer, welcome=True, kept=bool(answer.state.held))
        return
    answer.say(
        say(
            "notice",
            text(answer.language, "turn.welcome"),
            text(answer.language, "turn.disclaimer"),
        )
    )


def _language(answer: Answer, argument: str) -> None:
    wanted = argument.lower()
    if wanted.startswith(("zh", "中")):
        set_language(answer, "zh-Hans")
    elif wanted.startswith(("en", "英")):
        set_language(answer, "en")
    else:
        buttons = ((Button("中文", "v1:lang:zh"), Button("English", "v1:lang:en")),)
        answer.say(say("notice", text(answer.language, "turn.lang_ask"), buttons=buttons))


def set_language(answer: Answer, language: Language) -> None:
    """Answer in this language from now on."""
    answer.language = language
    answer.remember(language=language, language_chosen=True)
    answer.say(say("notice", text(language, "turn.lang_done")))


def reminders(answer: Answer, plans: list[Planned]) -> Reply:
    """List what is planned, in the patient's own time."""
    language = answer.language
    messages = [p for p in plans if p.step != "staff_call"]
    if not messages:
        return say("notice", text(language, "plan.none_planned"))
    days = sorted({_local(p.due_at_ms, p.zone) for p in messages})
    due = show_date(_local(messages[0].plan_due_at_ms, messages[0].zone), language)
    return Reply(
        "plan",
        (
            paragraph(text(language, "plan.next_check", date=due)),
            paragraph(text(language, "plan.will_remind")),
            Bullets(tuple((Text(show_date(day, language)),) for day in days)),
        ),
    )


def _local(at_ms: int, zone: str) -> date:
    return datetime.fromtimestamp(at_ms / 1000, ZoneInfo(zone)).date()
