"""One answer to several photos: both eyes of an album, or two eyes in one picture.

Each eye keeps its own findings; what holds for all of them (what was not assessed, when to see a
doctor, what never to wait with) is said once, by the most urgent of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from core.message import Language
from core.reading import Condition, Reading
from core.reply import Block, Bold, Heading, Image, Paragraph, Reply, paragraph
from core.texts import text
from core.turn.reading_answer import (
    WITHIN,
    explain,
    findings,
    foot,
    original_wanted,
    retake,
    see_doctor_within,
)


@dataclass(frozen=True, slots=True)
class Shown:
    """A reading with what is needed to show it.

    Attributes:
        reading: what the reader found.
        image: its stored card, or None.
        compressed_by: name of the channel that re-encoded the photo on its way, or None.
    """

    reading: Reading
    image: Image | None
    compressed_by: str | None


def explain_all(shown: Sequence[Shown], language: Language) -> tuple[Reply, ...]:
    """Return the answer to all photos of a turn: their cards, then one text.

    Photos that show no retina do not make an answer longer: they are counted.
    """
    if len(shown) == 1:
        only = shown[0]
        reply = explain(only.reading, language, image=only.image, compressed_by=only.compressed_by)
        return (reply,)
    retinas = [s for s in shown if s.reading.outcome != "not_fundus"]
    if not retinas:
        return (explain(shown[0].reading, language),)
    names = _names([s.reading for s in retinas], language)
    cards = tuple(
        Reply("reading", (paragraph(name),), image=s.image, ai_generated=True)
        for s, name in zip(retinas, names, strict=True)
        if s.image is not None
    )
    others = len(shown) - len(retinas)
    return (*cards, _together(retinas, names, others, language))


def _together(
    shown: Sequence[Shown], names: Sequence[str], others: int, language: Language
) -> Reply:
    readings = [s.reading for s in shown]
    assessed = [r for r in readings if r.outcome == "assessed"]
    nowhere = _assessed_nowhere(assessed)
    both = {r.eye for r in readings} == {"OD", "OS"}
    heading = "eyes.both" if both else "eyes.several"
    blocks: list[Block] = [Heading(text(language, heading, count=len(readings)))]
    for reading, name in zip(readings, names, strict=True):
        blocks.append(Paragraph((Bold(name),)))
        if reading.eye_doubt:
            blocks.append(paragraph(text(language, "eyes.doubt")))
        if reading.outcome == "assessed":
            blocks += findings(reading, language, leave_out=nowhere)
        else:
            blocks += (paragraph(text(language, "eyes.ungradable")), retake(reading, language))
    if nowhere:
        mark = text(language, "fundus.result.list_mark")
        listed = mark.join(text(language, f"fundus.conditions.{c}") for c in nowhere)
        why = text(language, "fundus.result.not_assessed_why")
        blocks.append(paragraph(text(language, "fundus.result.not_assessed") + listed + why))
    if any(r.eye_from == "picture" for r in readings):
        blocks.append(paragraph(text(language, "eyes.seen_all")))
    if others:
        blocks.append(paragraph(text(language, "eyes.others", count=others)))
    if len(assessed) < len(readings):
        blocks.append(paragraph(text(language, "fundus.ungradable.clinic")))
    if assessed:
        soonest = min((see_doctor_within(r) for r in assessed), key=WITHIN.index)
        if both and len({see_doctor_within(r) for r in assessed}) > 1:
            blocks.append(paragraph(text(language, "eyes.differ")))
        blocks.append(Paragraph((Bold(text(language, f"fundus.advice.{soonest}")),)))
    compressed_by = next((s.compressed_by for s in shown if s.compressed_by), None)
    blocks += original_wanted(readings, language, compressed_by)
    last = assessed[0] if assessed else readings[0]
    return Reply("reading", (*blocks, *foot(last, language)), ai_generated=True)


def _assessed_nowhere(assessed: Sequence[Reading]) -> tuple[Condition, ...]:
    """Return the conditions that no photo was assessed for, so that they are named once."""
    if not assessed:
        return ()
    return tuple(
        f.condition
        for f in assessed[0].findings
        if all(r.finding(f.condition).decision == "not_assessed" for r in assessed)
    )


def _names(readings: Sequence[Reading], language: Language) -> list[str]:
    """Name each photo by its eye, and by its place where that says too little."""
    eyes = [r.eye for r in readings]
    names: list[str] = []
    for number, eye in enumerate(eyes, start=1):
        if eye is None:
            names.append(text(language, "eyes.nth", n=number))
        elif eyes.count(eye) > 1:
            names.append(text(language, f"eyes.nth_{eye}", n=number))
        else:
            names.append(text(language, f"eyes.{eye}"))
    return names
