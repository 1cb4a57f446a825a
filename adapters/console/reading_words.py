"""A reading as staff read it: each condition in words, with its probability and thresholds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from adapters.http.language import Texts
from core.reading import Condition, Decision, Reading

# Condition: below the first it is negative, from the second on it is to be referred.
Thresholds = Mapping[Condition, tuple[float, float]]
# Of the weights with this name and version; nothing when they are not the ones in use.
ThresholdsOf = Callable[[str], Thresholds]


@dataclass(frozen=True, slots=True)
class Line:
    """One condition.

    Attributes:
        name: in words.
        decision: for the colour, which the words repeat.
        band: in words.
        probability: "" when it was not assessed.
        thresholds: "" when the weights in use are not the ones that read it.
    """

    name: str
    decision: Decision
    band: str
    probability: str = ""
    thresholds: str = ""


def lines(reading: Reading | None, say: Texts, thresholds: Thresholds | None = None) -> list[Line]:
    """Return the findings of a photo, the serious ones first; none when it was not assessed."""
    if reading is None or reading.outcome != "assessed":
        return []
    order: tuple[Decision, ...] = ("refer", "borderline", "negative", "not_assessed")
    found: list[Line] = []
    for finding in sorted(reading.findings, key=lambda f: order.index(f.decision)):
        limits = (thresholds or {}).get(finding.condition)
        grade = ""
        if finding.condition == "dr" and reading.dr_grade is not None:
            grade = " " + say(f"record.grade.{reading.dr_grade}")
        found.append(
            Line(
                say(f"fundus.conditions.{finding.condition}") + grade,
                finding.decision,
                say(f"fundus.card.band_{finding.decision}"),
                f"{finding.probability:.0%}" if finding.probability is not None else "",
                say("record.thresholds", low=f"{limits[0]:.0%}", high=f"{limits[1]:.0%}")
                if limits and finding.probability is not None
                else "",
            )
        )
    return found


def quality(reading: Reading | None, say: Texts) -> str:
    """Return in words whether a photo could be assessed, and why not."""
    if reading is None:
        return say("record.not_read")
    words = say(f"record.outcome.{reading.outcome}")
    if reading.gradable_probability is not None:
        words += say("record.gradable", share=f"{reading.gradable_probability:.0%}")
    causes = "".join(f" {say(f'fundus.retake.{cause}')}" for cause in reading.retake)
    return words + causes
