"""Follow-up rules: what is due, when to remind, how to say it. Pure; nothing here asks a model.

The most urgent finding wins, what the person feels goes before what a photo shows, and a normal
photo never makes anything less urgent. Intervals are data with sources (`intervals.yaml`), the
ladder of reminders follows the clinical specification §4.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date

from core.followup.dates import parse_date
from core.followup.intervals import BOUND_DAYS, Interval, findings_of, table
from core.followup.ladder import ReminderTime, reminder_times
from core.interview.state import Assessment
from core.message import Language
from core.reading import Reading
from core.reply import Bold, Button, Paragraph, Reply, paragraph
from core.texts import catalogue, text
from core.urgency import Urgency

__all__ = [
    "PlanProposal",
    "ReminderTime",
    "parse_date",
    "proposal_reply",
    "propose",
    "reminder_reply",
    "reminder_times",
]


@dataclass(frozen=True, slots=True)
class PlanProposal:
    """A follow-up we suggest; it starts when the patient agrees.

    Attributes:
        rule_id: row of the interval table that decided, for example ``dr3``.
        reason: key of the plain words for why (``followup.why.<reason>``).
        urgency: how soon to be seen.
        due_in_days: days from today, 0 = today.
        source: key of the guideline behind the interval.
        table_version: version of the interval table.
        basis: what it rests on: ``finding`` of a photo, ``triage``, ``consult``, ``staff`` or
            ``patient``.
        modifiers: what is known about the person and made it sooner.
        photo: (inbox id, position) of the photo behind a ``finding``, once it is known; or empty.
        person: whom it is for, as in the interview's slot ``person``; not ``self`` = whoever
            writes passes the reminders on, and says that the person agrees.
    """

    rule_id: str
    reason: str
    urgency: Urgency
    due_in_days: int
    source: str
    table_version: str
    basis: str = "consult"
    modifiers: tuple[str, ...] = ()
    photo: tuple[int, ...] = ()
    person: str = "self"


_BEFORE_VISIT = (("booked", "seen"), ("other", "help"), ("stop",))
_AFTER_VISIT = (("seen", "not_yet"), ("other", "help"), ("stop",))
_ONE_CLASS_UP = {
    Urgency.SAME_DAY: Urgency.IMMEDIATE,
    Urgency.WITHIN_48_H: Urgency.SAME_DAY,
    Urgency.TWO_WEEKS: Urgency.WITHIN_48_H,
    Urgency.ROUTINE: Urgency.TWO_WEEKS,
}
_AGE_ROWS = ("normal_65", "normal_55_64", "normal_40_54")  # modifiers age_65, age_55_64, age_40_54


def _modifiers_of(assessment: Assessment | None) -> frozenset[str]:
    """Return what the consult learned, in the words of the interval table."""
    if assessment is None:
        return frozenset()
    slots = assessment.slots
    found = {name for name, value in slots.items() if value == "yes"}
    if slots.get("onset") == "sudden":
        found.add("sudden")
    if slots.get("floaters") == "new":
        found.add("floaters")
    if slots.get("glaucoma") == "family":
        found.add("glaucoma_family")
    return frozenset(found)


def _proposal(row: Interval, reason: str, modifiers: frozenset[str], basis: str) -> PlanProposal:
    hurried = bool(row.sooner & modifiers)
    counted = row.sooner & modifiers
    days = row.sooner_days if hurried else row.due_in_days
    urgency = row.sooner_urgency if hurried else row.urgency
    if row.refer and modifiers & table().escalators:
        urgency = _ONE_CLASS_UP.get(urgency, urgency)
        days = min(days, BOUND_DAYS.get(urgency, days))
        counted |= modifiers & table().escalators
    return PlanProposal(
        row.rule_id,
        reason,
        urgency,
        days,
        row.source,
        table().version,
        basis,
        tuple(sorted(counted)),
    )


def _candidates(
    reading: Reading | None, assessment: Assessment | None, modifiers: frozenset[str]
) -> Iterable[PlanProposal]:
    intervals = table()
    names: list[str] = []
    if reading is not None:
        names += findings_of(reading, diabetes="diabetes" in modifiers)
        if not names and reading.outcome == "assessed":
            names += [n for n in _AGE_ROWS if n.replace("normal", "age") in modifiers][:1]
    if assessment is not None:
        names += [n for n in assessment.slots.get("findings", "").split(",") if n]
    for name in names:
        row = intervals.findings.get(name)
        if row is not None:
            yield _proposal(row, name, modifiers, "finding")
    if assessment is not None and assessment.urgency is not Urgency.NONE:
        row = intervals.urgency[assessment.urgency]
        if assessment.reason in intervals.assessments:
            row = intervals.assessments[assessment.reason]
        if row is not None:
            # The consult has weighed the symptoms already: only the class may still move.
            yield _proposal(row, assessment.reason, modifiers & intervals.escalators, "consult")


def propose(
    reading: Reading | None,
    assessment: Assessment | None,
    *,
    modifiers: frozenset[str] = frozenset(),
) -> PlanProposal | None:
    """Return the follow-up that is due, or None when nothing is.

    Args:
        reading: the photo's result, or None.
        assessment: how the consult ended, or None.
        modifiers: what else is known: names of `intervals.yaml`'s `sooner` and `escalators`,
            ``diabetes``, and ``age_40_54``, ``age_55_64`` or ``age_65`` for a normal photo.
    """
    known = modifiers | _modifiers_of(assessment)
    best = min(
        _candidates(reading, assessment, known),
        key=lambda p: (p.urgency.rank, p.due_in_days),
        default=None,
    )
    person = assessment.slots.get("person", "self") if assessment is not None else "self"
    return replace(best, person=person) if best is not None else None


def show_date(day: date, language: Language) -> str:
    """Return a day as people say it, with its weekday."""
    weekday = text(language, f"followup.weekday.{day.weekday()}")
    month = text(language, f"followup.month.{day.month}")
    return text(
        language,
        "followup.date",
        year=day.year,
        month=month,
        day=day.day,
        weekday=weekday,
    )


def _why(p: PlanProposal, language: Language) -> str:
    known = catalogue(language)
    return known.get(f"followup.why.{p.reason}") or text(
        language, f"followup.why_class.{p.urgency}"
    )


def proposal_reply(p: PlanProposal, *, due: date, language: Language) -> Reply:
    """Return the offer: what, by when and why, with agree, another date and no reminders."""
    shown = show_date(due, language)
    at_once = p.urgency in (Urgency.IMMEDIATE, Urgency.SAME_DAY)
    what = text(language, f"followup.offer.{p.urgency}", date=shown)
    buttons: tuple[tuple[Button, ...], ...] = (
        (Button(text(language, "followup.button.agree"), "v1:plan:agree"),),
        (
            Button(text(language, "followup.button.other"), "v1:plan:other"),
            Button(text(language, "followup.button.none"), "v1:plan:none"),
        ),
    )
    ask = text(language, "followup.ask_now" if at_once else "followup.ask")
    proxy = [] if p.person == "self" else [paragraph(text(language, "followup.proxy"))]
    return Reply(
        "plan",
        (
            Paragraph((Bold(what),)),
            paragraph(_why(p, language)),
            *proxy,
            paragraph(ask),
        ),
        buttons,
    )


def reminder_reply(
    step: str,
    *,
    due: date,
    language: Language,
    reminder_id: int | str = "",
    is_for_self: bool = True,
) -> Reply:
    """Return a reminder: no disease on a lock screen, no blame, and always a way to stop.

    Args:
        step: a step of the ladder (`core.followup.ladder.STEPS`).
        due: the day the visit is due, in the person's zone.
        language: the person's language.
        reminder_id: comes back in the buttons' actions.
        is_for_self: false = the visit is somebody else's, and who reads it passes it on.
    """
    proxy = [] if is_for_self else [paragraph(text(language, "followup.pass_on"))]
    said = text(language, f"followup.step.{step}", date=show_date(due, language))
    verbs = _AFTER_VISIT if step in ("ask_seen", "ask_again") else _BEFORE_VISIT

    def button(verb: str) -> Button:
        return Button(text(language, f"followup.button.{verb}"), f"v1:remind:{verb}:{reminder_id}")

    return Reply(
        "reminder",
        (*proxy, paragraph(said), paragraph(text(language, "followup.opt_out"))),
        tuple(tuple(button(verb) for verb in row) for row in verbs),
    )


def family_reply(step: str, *, due: date, language: Language) -> Reply:
    """Return what a relative who agreed to it is told: a date, no reason, and how to end it."""
    key = "after" if step in ("ask_seen", "ask_again") else "before"
    said = text(language, f"followup.family.{key}", date=show_date(due, language))
    end = Button(text(language, "followup.button.stop_family"), "v1:link:end")
    return Reply(
        "reminder", (paragraph(said), paragraph(text(language, "followup.opt_out"))), ((end,),)
    )
