"""The fixed words of triage: emergency card, confirm question, first-aid line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from core.errors import Bug
from core.message import Language
from core.reply import Block, Bold, Button, Heading, Paragraph, Reply, paragraph, say
from core.texts import text
from core.triage.verdict import Verdict
from core.urgency import Urgency

SELF_HARM = "self_harm"

ConfirmAnswer = Literal["now_me", "now_other", "just_asking"]


def card(verdict: Verdict, language: Language, *, emergency_place: str | None = None) -> Reply:
    """Return the emergency card of the most urgent flag.

    Args:
        verdict: with at least one flag.
        language: of the person.
        emergency_place: nearest emergency as the clinic wrote it (name, street, telephone).
    """
    flag = verdict.flags[0]
    instructions = text(language, f"triage.card.{flag}")
    blocks: list[Block] = []
    if flag == SELF_HARM:  # a person in despair is met with words, not with a class of urgency
        blocks.append(paragraph(instructions))
    else:
        blocks.append(Heading(text(language, f"triage.heading.{verdict.urgency}")))
        blocks.append(Paragraph((Bold(instructions),)))
        if emergency_place:
            blocks.append(paragraph(text(language, "triage.place", place=emergency_place)))
        blocks.append(paragraph(text(language, "triage.closing")))
        if SELF_HARM in verdict.flags:
            blocks.append(paragraph(text(language, "triage.card.self_harm")))
    return Reply("emergency", tuple(blocks), _card_buttons(flag, language))


def confirm_question(verdict: Verdict, language: Language) -> Reply:
    """Return the one question that settles a doubtful message."""
    if not verdict.flags:
        raise Bug("confirm_question: a verdict without flags has nothing to ask about")
    if verdict.flags[0] == SELF_HARM:
        question, answers = "self_harm", ("hurting", "now_other", "not_hurting")
    else:
        question, answers = "question", ("now_me", "now_other", "just_asking")
    actions = ("now_me", "now_other", "just_asking")
    buttons = tuple(
        (Button(text(language, f"triage.button.{label}"), f"v1:triage:{action}"),)
        for label, action in zip(answers, actions, strict=True)
    )
    return say("confirm", text(language, f"triage.confirm.{question}"), buttons=buttons)


def first_aid_line(flags: Sequence[str], language: Language) -> Reply:
    """Return what is sent when the confirm question stays unanswered for five minutes."""
    opening = "" if flags[0] == SELF_HARM else text(language, "triage.confirm.unanswered")
    card_text = text(language, f"triage.card.{flags[0]}")
    return say("emergency", opening, card_text, buttons=_first_aid_buttons(flags[0], language))


def after_confirm(
    verdict: Verdict, answer: ConfirmAnswer, language: Language
) -> tuple[Verdict, Reply]:
    """Settle a doubtful verdict by the person's answer.

    "Just asking" still leaves the first aid behind: the answer may be wrong.
    """
    if answer == "just_asking":
        settled = replace(
            verdict, action="none", urgency=Urgency.NONE, reasons=(*verdict.reasons, "just_asking")
        )
        if verdict.flags[0] == SELF_HARM:
            return settled, say("answer", text(language, "triage.confirm.not_hurting"))
        aid = text(language, f"triage.card.{verdict.flags[0]}")
        return settled, say("answer", text(language, "triage.confirm.just_asking"), aid)
    settled = replace(verdict, action="trigger", reasons=(*verdict.reasons, f"confirmed:{answer}"))
    return settled, card(settled, language)


def _card_buttons(flag: str, language: Language) -> tuple[tuple[Button, ...], ...]:
    if flag == SELF_HARM:  # nobody in despair is asked whether they are on their way
        return (_buttons(language, "staff", "safe"),)
    return (_buttons(language, "going", "not_now", "staff"), _buttons(language, "why"))


def _first_aid_buttons(flag: str, language: Language) -> tuple[tuple[Button, ...], ...]:
    """The card's own choices come with the card; here "yes" still brings it."""
    if flag == SELF_HARM:
        return (_buttons(language, "staff", "safe"),)
    return (_buttons(language, "now_me", "now_other", "just_asking"), _buttons(language, "staff"))


def _buttons(language: Language, *names: str) -> tuple[Button, ...]:
    return tuple(Button(text(language, f"triage.button.{n}"), f"v1:triage:{n}") for n in names)
