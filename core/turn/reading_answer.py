"""What a person is told about a reading: plain words, what to do, and never false comfort.

The card carries the same bands as a picture; this is the text beside it. Times come from the
interval table of the clinical specification (§4); where several apply, the earliest wins. A result
without suspicious signs never lowers anything: it only says to keep to the planned checks.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Literal

from core.message import Language
from core.reading import Condition, Decision, Finding, Reading
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
WITHIN: tuple[Within, ...] = ("one_week", "two_weeks", "four_weeks", "three_months", "routine")

# How a messenger sends a picture as it is; an Official Account takes no files from people.
_ORIGINAL = {
    "telegram": "telegram",
    "wechat": "wechat",
    "wechaty": "wechat_file",
    "ilink": "wechat_file",
}
_SERIOUS_FIRST: tuple[Decision, ...] = ("refer", "borderline", "negative", "not_assessed")


def explain(
    reading: Reading,
    language: Language,
    *,
    image: Image | None = None,
    compressed_by: str | None = None,
) -> Reply:
    """Return the answer to a photo.

    Args:
        reading: what the reader found.
        language: of the answer.
        image: the stored result card, or None.
        compressed_by: name of the channel that re-encoded the photo on its way, or None.
    """
    match reading.outcome:
        case "not_fundus":
            blocks = _not_fundus(language)
        case "ungradable":
            blocks = _ungradable(reading, language)
        case "assessed":
            blocks = _assessed(reading, language)
    blocks += original_wanted([reading], language, compressed_by)
    return Reply("reading", (*blocks, *foot(reading, language)), image=image, ai_generated=True)


def foot(reading: Reading, language: Language) -> tuple[Block, ...]:
    """Return what stands under every answer about photos."""
    return (
        paragraph(text(language, "fundus.safety_net")),
        Paragraph(
            (
                Bold(text(language, "fundus.disclaimer")),
                Text("".join(f"\n{line}" for line in _models(reading, language))),
            )
        ),
    )


def original_wanted(
    readings: Iterable[Reading], language: Language, compressed_by: str | None
) -> tuple[Block, ...]:
    """Return the request for original files, where compression may be why a result is unsure."""
    if compressed_by is None or not any(_original_would_help(r) for r in readings):
        return ()
    return (paragraph(_ask_for_original(compressed_by, language)),)


def explain_unreadable(text_key: str, language: Language, **fields: str | int) -> Reply:
    """Return the notice for a file that could not be opened (`PatientError` of the reader)."""
    return say("notice", text(language, text_key, **fields))


def card_alt(reading: Reading, language: Language) -> str:
    """Return the card in words, for a screen reader."""
    facts = [text(language, f"fundus.card.eye_{reading.eye or 'unknown'}")]
    facts.append(text(language, "fundus.card.bands"))
    facts += (
        text(
            language,
            "fundus.card.alt_item",
            condition=text(language, f"fundus.conditions.{f.condition}"),
            band=text(language, f"fundus.card.band_{f.decision}"),
        )
        for f in reading.findings
    )
    if reading.retake:
        facts.append(text(language, "fundus.card.poor").rstrip("。."))
    if any(f.decision == "negative" for f in reading.findings):
        facts.append(text(language, "fundus.card.low").rstrip("。."))
    facts.append(text(language, "fundus.card.notice"))
    joined = text(language, "fundus.card.alt_mark").join(facts)
    return text(language, "fundus.card.alt", facts=joined)


def _original_would_help(reading: Reading) -> bool:
    """Tell whether the compression may be why the reader is unsure."""
    if reading.outcome == "not_fundus":
        return False
    unsure = any(f.decision == "borderline" for f in reading.findings)
    lost = {"blur", "too_small"} & set(reading.retake)  # what re-encoding takes away
    return unsure or bool(lost)


def _ask_for_original(channel: str, language: Language) -> str:
    return text(language, f"fundus.original.{_ORIGINAL.get(channel, 'other')}")


def _models(reading: Reading, language: Language) -> list[str]:
    """Return which weights spoke; where several did, about what each."""
    spoke: dict[str, list[str]] = {}
    for finding in reading.findings:
        if finding.model is not None:
            name = text(language, f"fundus.conditions.{finding.condition}")
            spoke.setdefault(finding.model, []).append(name)
    if len(spoke) < 2:
        return [text(language, "fundus.model", model=reading.model_version)]
    mark = text(language, "fundus.result.list_mark")
    return [
        text(language, "fundus.model_of", model=model, conditions=mark.join(names))
        for model, names in spoke.items()
    ]


def see_doctor_within(reading: Reading) -> Within:
    """Return how soon the photo alone asks for an eye doctor; symptoms may ask for sooner."""
    asked = {_within(f, reading.dr_grade) for f in reading.findings}
    for within in WITHIN:
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
        retake(reading, language),
        paragraph(text(language, "fundus.ungradable.clinic")),
    )


def _assessed(reading: Reading, language: Language) -> tuple[Block, ...]:
    side = f"_{reading.eye}" if reading.eye else ""
    blocks: list[Block] = [Heading(text(language, f"fundus.result.heading{side}"))]
    blocks += _about_the_eye(reading, language)
    blocks += findings(reading, language)
    advice = text(language, f"fundus.advice.{see_doctor_within(reading)}")
    blocks.append(Paragraph((Bold(advice),)))
    return tuple(blocks)


def _about_the_eye(reading: Reading, language: Language) -> tuple[Block, ...]:
    """Return what a person must know about whose side a result is given for."""
    if reading.eye_doubt:
        return (paragraph(text(language, "eyes.doubt")),)
    if reading.eye_from == "picture":
        return (paragraph(text(language, f"eyes.seen_{reading.eye}")),)
    return ()


def findings(
    reading: Reading, language: Language, *, leave_out: Collection[Condition] = ()
) -> tuple[Block, ...]:
    """Return what to mend about an assessed photo, and its findings, the serious ones first."""
    blocks: list[Block] = []
    if reading.retake:
        blocks.append(paragraph(text(language, "fundus.result.mend")))
        blocks.append(retake(reading, language))
    names: dict[Decision, list[str]] = {d: [] for d in _SERIOUS_FIRST}
    for finding in reading.findings:
        if finding.condition not in leave_out:
            name = text(language, f"fundus.conditions.{finding.condition}")
            names[finding.decision].append(name)
    rows: list[tuple[Span, ...]] = []
    for decision, found in names.items():
        if decision in {"refer", "borderline"}:  # one line each: it asks something of the person
            words = text(language, f"fundus.result.{decision}")
            rows += [(Bold(name), Text(words)) for name in found]
        elif found:
            listed = text(language, "fundus.result.list_mark").join(found)
            why = text(language, f"fundus.result.{decision}_why")
            rows.append((Bold(text(language, f"fundus.result.{decision}")), Text(listed + why)))
    if rows:
        blocks.append(Bullets(tuple(rows)))
    return tuple(blocks)


def retake(reading: Reading, language: Language) -> Bullets:
    """Return how to take a better photo."""
    return _bullets(text(language, f"fundus.retake.{c}") for c in reading.retake or ("blur",))


def _bullets(items: Iterable[str]) -> Bullets:
    return Bullets(tuple((Text(i),) for i in items))
