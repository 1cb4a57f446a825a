"""How the consult speaks: questions with buttons, recaps and the assessment."""

from __future__ import annotations

from collections.abc import Mapping

from core.interview.judge import Judgement
from core.interview.slots import SKIPPED, Complaint, ConsultData
from core.interview.state import Assessment
from core.message import Language
from core.reply import (
    Block,
    Bold,
    Bullets,
    Button,
    Heading,
    Paragraph,
    Reply,
    ReplyKind,
    Text,
    paragraph,
)
from core.texts import catalogue, text
from core.urgency import Urgency

STAFF_ACTION = "v1:staff:call"
_RECAP_LIMIT = 6  # phrases; more does not fit a small phone
_SURFACE = frozenset(
    {"red", "sticky", "red_mild", "patch", "itch", "dry", "watery", "lump", "grit", "tired"}
)


def staff_button(language: Language) -> Button:
    """Return the button that asks for a human."""
    return Button(text(language, "interview.button.staff"), STAFF_ACTION)


def labels(
    slot: str, language: Language, data: ConsultData, known: Mapping[str, str]
) -> dict[str, str]:
    """Return the labels of a question's buttons by value, in their order.

    A compound question leaves out what is known already.
    """
    asked = data.slots[slot]
    return {
        value: text(language, f"interview.choice.{slot}.{value}")
        for value in asked.buttons
        if not asked.covers
        or value == "none"
        or any(part not in known for part in asked.implies[value])
    }


def question(
    slot: str,
    language: Language,
    data: ConsultData,
    known: Mapping[str, str],
    *,
    before: tuple[str, ...] = (),
    wording: str | None = None,
) -> Reply:
    """Return a question with its buttons, two to a row, skip and stop last.

    Args:
        slot: what is asked for.
        language: the person's language.
        data: the consult's data.
        known: what is known; compound questions leave it out.
        before: lines said first.
        wording: catalogue key of the question when it is not the slot's own.
    """
    choices = [
        Button(label, f"v1:ask:{slot}:{value}")
        for value, label in labels(slot, language, data, known).items()
    ]
    rows = [tuple(choices[i : i + 2]) for i in range(0, len(choices), 2)]
    rows.append(
        (
            Button(text(language, "interview.button.skip"), f"v1:ask:{slot}:{SKIPPED}"),
            Button(text(language, "interview.button.stop"), "v1:ask:stop:now"),
        )
    )
    asked = text(language, wording or f"interview.ask.{slot}")
    lines = [paragraph(line) for line in before if line]
    return Reply("question", (*lines, Paragraph((Bold(asked),))), tuple(rows))


def summary(slots: Mapping[str, str], language: Language) -> str:
    """Return what is known in one line, in the catalogue's order; "" when there is nothing."""
    phrases = [
        phrase
        for key, phrase in catalogue(language).items()
        if key.startswith("interview.known.") and _is_known(key, slots)
    ]
    return text(language, "interview.line.join").join(phrases[:_RECAP_LIMIT])


def _is_known(key: str, slots: Mapping[str, str]) -> bool:
    _, _, name, value = key.split(".")
    return slots.get(name) == value


def about(line: str, slots: Mapping[str, str], language: Language) -> str:
    """Return the line (``understood`` or ``recap``) filled with what is known, or ""."""
    what = summary(slots, language)
    if not what:
        return ""
    person = slots.get("person", "self")
    if person == "self":
        return text(language, f"interview.line.{line}", what=what)
    who = text(language, f"interview.who.{person}")
    return text(language, f"interview.line.{line}_who", who=who, what=what)


def _bullets(lines: str) -> Bullets:
    return Bullets(tuple((Text(line),) for line in lines.split("\n") if line))


def _safety_net(slots: Mapping[str, str], say: str) -> str:
    if slots.get("age") in ("newborn", "infant", "child"):
        return "child"
    return "surface" if say in _SURFACE else "general"


def assessment(
    judgement: Judgement,
    complaint: Complaint | None,
    slots: Mapping[str, str],
    language: Language,
) -> Reply:
    """Return the end of a consult: how soon, what it may be, what to do, what to watch for."""
    rule = judgement.rule
    urgency = judgement.urgency
    say = "unknown" if judgement.is_guess else rule.say
    todo = text(language, f"interview.do.{urgency}")
    if urgency is rule.urgency:  # a raised class has no "within two weeks" in its advice
        todo = catalogue(language).get(f"interview.result.{say}.do", todo)
    summed_up = about("based_on", {k: v for k, v in slots.items() if k != "person"}, language)
    lines: list[Block] = [
        Paragraph((Bold(text(language, f"interview.class.{urgency}.head")),)),
        *([paragraph(summed_up)] if summed_up else []),
        paragraph(text(language, f"interview.result.{say}.may")),
    ]
    if raised := raised_by(judgement.raised_by, language):
        lines.append(paragraph(raised))
    if judgement.is_floored:
        lines.append(paragraph(text(language, "interview.line.floor")))
    lines += [Heading(text(language, "interview.line.do")), _bullets(todo)]
    if urgency is not Urgency.IMMEDIATE:
        watch = text(language, f"interview.watch.{_safety_net(slots, rule.say)}")
        lines += [Heading(text(language, "interview.line.watch")), _bullets(watch)]
    if complaint and complaint.photo and "photo" not in slots and urgency.rank > 2:
        lines.append(paragraph(text(language, "interview.line.photo_after")))
    lines.append(paragraph(text(language, f"interview.class.{urgency}.back")))
    lines.append(paragraph(text(language, "interview.line.disclaimer")))
    buttons = [staff_button(language)]
    if rule.article:
        learn = Button(text(language, "interview.button.learn"), f"v1:ask:learn:{rule.article}")
        buttons.append(learn)
    rows = [tuple(buttons), (Button(text(language, "triage.button.why"), "v1:triage:why"),)]
    if urgency.rank <= Urgency.SAME_DAY.rank:
        answers = ("going", "not_now")
        rows.insert(
            0,
            tuple(
                Button(text(language, f"triage.button.{name}"), f"v1:triage:{name}")
                for name in answers
            ),
        )
    return Reply("assessment", tuple(lines), tuple(rows))


def because(assessment: Assessment, language: Language) -> str:
    """Say in plain words what an assessment rests on ("why this advice")."""
    lines: list[str] = []
    counted = summary({k: v for k, v in assessment.counted.items() if k != "person"}, language)
    if assessment.is_floored:
        lines.append(text(language, "interview.line.floor"))
    elif counted:
        lines.append(text(language, "interview.why.counted", what=counted))
    if assessment.is_guess:
        lines.append(text(language, "interview.why.guess"))
    raised = raised_by(assessment.raised_by, language)
    lines += [raised] if raised else []
    head = text(language, f"interview.class.{assessment.urgency}.head")
    lines.append(text(language, "interview.why.so", head=head))
    version = f"{assessment.reason}, {assessment.version}"
    lines.append(text(language, "interview.why.version", version=version))
    return "\n".join(lines)


def raised_by(slots: tuple[str, ...], language: Language) -> str:
    """Say which facts about the person made the class one more urgent, or ""."""
    if not slots:
        return ""
    words = [text(language, f"interview.raised.{name}") for name in slots]
    joined = text(language, "triage.explain.and").join(words)
    return text(language, "triage.explain.escalated", words=joined)


def talk(intent: str, language: Language, *, kind: ReplyKind = "answer", **fields: str) -> Reply:
    """Return the fixed answer to small talk; where a human may help, with the button."""
    said = text(language, f"interview.talk.{intent}", **fields)
    wants_staff = intent in ("staff", "complaint", "refuse", "lost", "who")
    buttons = ((staff_button(language),),) if wants_staff else ()
    return Reply(kind, (paragraph(said),), buttons)
