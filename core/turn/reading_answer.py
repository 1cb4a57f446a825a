"""What a person is told about a reading: plain words, what to do, and never false comfort.

The card carries the same bands as a picture; this is the text beside it. Times come from the
interval table of the clinical specification (§4); where several apply, the earliest wins. A result
without suspicious signs never lowers anything: it only says to keep to the planned checks.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from core.message import Language
from core.reading import Decision, Finding, Reading
from core.reply import (
    Block,
    Bold,
    Bullets,
    Heading,
    Image,
    Paragraph,
    Reply,
    Span,
    Text,
    paragraph,
    say,
)
from core.texts import text

Within = Literal["one_week", "two_weeks", "four_weeks", "three_months", "routine"]
_EARLIEST: tuple[Within, ...] = ("one_week", "two_weeks", "four_weeks", "three_months", "routine")

_SERIOUS_FIRST: tuple[Decision, ...] = ("refer", "borderline", "negative", "not_assessed")


def explain(reading: Reading, language: Language, *, image: Image | None = None) -> Reply:
    """Return the answer to a photo.

    Args:
        reading: what the reader found.
        language: of the answer.
        image: the stored result card, or None.
    """
    match reading.outcome:
        case "not_fundus":
            blocks = _not_fundus(language)
        case "ungradable":
            blocks = _ungradable(reading, language)
        case "assessed":
            blocks = _assessed(reading, language)
    foot = (
        paragraph(text(language, "fundus.safety_net")),
        Paragraph(
            (
                Bold(text(language, "fundus.disclaimer")),
                Text("\n" + text(language, "fundus.model", model=reading.model_version)),
            )
        ),
    )
    return Reply("reading", (*blocks, *foot), image=image, ai_generated=True)


def explain_unreadable(text_key: str, language: Language, **fields: str | int) -> Reply:
    """Return the notice for a file that could not be opened (`PatientError` of the reader)."""
    return say("notice", text(language, text_key, **fields))


def card_alt(reading: Reading, language: Language) -> str:
    """Return the card in words, for a screen reader."""
    items = (
        text(
            language,
            "fundus.card.alt_item",
            condition=text(language, f"fundus.conditions.{f.condition}"),
            band=text(language, f"fundus.card.band_{f.decision}"),
        )
        for f in reading.findings
    )
    return text(
        language, "fundus.card.alt", bands=text(language, "fundus.card.alt_mark").join(items)
    )


def see_doctor_within(reading: Reading) -> Within:
    """Return how soon the photo alone asks for an eye doctor; symptoms may ask for sooner."""
    asked = {_within(f, reading.dr_grade) for f in reading.findings}
    for within in _EARLIEST:
        if within in asked:
            return within
    return "routine"


def _within(finding: Finding, dr_grade: int | None) -> Within:
    if finding.decision in {"negative", "not_assessed"}:
        return "routine"
    if finding.decision == "borderline":
        # Not in the table: someone should look, nothing says that it hurries.
        return "three_months" if finding.condition == "dr" else "four_weeks"
    match finding.condition:
        case "dr":
            if dr_grade is not None and dr_grade >= 3:
                return "one_week" if dr_grade == 4 else "two_weeks"
            # The table says 3 months for grade 2; graders on a photo are often one too low.
            return "four_weeks"
        case "dme" | "amd":  # centre-involving or wet cannot be told apart on a photo: the sooner
            return "two_weeks"
        case "glaucoma" | "pm":
            return "four_weeks"


def _not_fundus(language: Language) -> tuple[Block, ...]:
    steps = ("camera", "original", "paper", "words")
    return (
        Heading(text(language, "fundus.not_fundus.heading")),
        paragraph(text(language, "fundus.not_fundus.what")),
        Heading(text(language, "fundus.not_fundus.how")),
        _bullets(text(language, f"fundus.not_fundus.{s}") for s in steps),
    )


def _ungradable(reading: Reading, language: Language) -> tuple[Block, ...]:
    return (
        Heading(text(language, "fundus.ungradable.heading")),
        paragraph(text(language, "fundus.ungradable.meaning")),
        _bullets(text(language, f"fundus.retake.{c}") for c in reading.retake or ("blur",)),
        paragraph(text(language, "fundus.ungradable.clinic")),
    )


def _assessed(reading: Reading, language: Language) -> tuple[Block, ...]:
    side = f"_{reading.eye}" if reading.eye else ""
    blocks: list[Block] = [Heading(text(language, f"fundus.result.heading{side}"))]
    if reading.retake:
        blocks.append(paragraph(text(language, "fundus.result.mend")))
        blocks.append(_bullets(text(language, f"fundus.retake.{c}") for c in reading.retake))
    names: dict[Decision, list[str]] = {d: [] for d in _SERIOUS_FIRST}
    for finding in reading.findings:
        names[finding.decision].append(text(language, f"fundus.conditions.{finding.condition}"))
    rows: list[tuple[Span, ...]] = []
    for decision, found in names.items():
        if decision in {"refer", "borderline"}:  # one line each: it asks something of the person
            words = text(language, f"fundus.result.{decision}")
            rows += [(Bold(name), Text(words)) for name in found]
        elif found:
            listed = text(language, "fundus.result.list_mark").join(found)
            why = text(language, f"fundus.result.{decision}_why")
            rows.append((Bold(text(language, f"fundus.result.{decision}")), Text(listed + why)))
    blocks.append(Bullets(tuple(rows)))
    advice = text(language, f"fundus.advice.{see_doctor_within(reading)}")
    blocks.append(Paragraph((Bold(advice),)))
    return tuple(blocks)


def _bullets(items: Iterable[str]) -> Bullets:
    return Bullets(tuple((Text(i),) for i in items))
