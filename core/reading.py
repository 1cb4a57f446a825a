"""What a fundus reader says about one photo. Probabilities are calibrated, in [0, 1]."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Eye = Literal["OD", "OS"]
Condition = Literal["dr", "dme", "glaucoma", "amd", "pm"]
CONDITIONS: tuple[Condition, ...] = ("dr", "dme", "glaucoma", "amd", "pm")
Decision = Literal["negative", "borderline", "refer", "not_assessed"]
EyeSource = Literal["caption", "file", "picture"]
Outcome = Literal["assessed", "not_fundus", "ungradable"]
RetakeCause = Literal[
    "blur", "dark", "bright", "reflection", "off_centre", "too_small", "screen", "two_eyes"
]


@dataclass(frozen=True, slots=True)
class Finding:
    """One condition's result.

    Attributes:
        condition: what was looked for.
        decision: `not_assessed` when the loaded weights have no head for it.
        probability: calibrated probability that referral is right, or None when not assessed.
        model: name and version of the weights this head came from, or None.
    """

    condition: Condition
    decision: Decision
    probability: float | None = None
    model: str | None = None


Line = tuple[tuple[int, int], ...]  # corners of a closed line, (x, y) in pixels of the photo


@dataclass(frozen=True, slots=True)
class Area:
    """What influenced the score of one condition: where its share of the score was large."""

    condition: Condition
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class Areas:
    """Where in a photo a reading comes from. Areas that influenced a score are not lesions.

    Attributes:
        width_px: width of the whole photo as it was sent, upright; the lines are within it.
        height_px: its height.
        field: around the camera's field of view, or around the photo where it has none.
        influenced: one for each condition whose score is raised and whose head says where.
    """

    width_px: int
    height_px: int
    field: Line
    influenced: tuple[Area, ...]


@dataclass(frozen=True, slots=True)
class Reading:
    """The whole result for one photo.

    Attributes:
        outcome: whether the photo could be assessed at all.
        findings: one per condition in `CONDITIONS`, always all of them.
        dr_grade: International Clinical DR scale 0-4 (Wilkinson 2003), or None.
        eye: which eye, when the caption or the picture says so with confidence.
        fundus_probability: how sure the gate is that this is a fundus photo.
        gradable_probability: how sure the reader is that the picture is good enough, or None.
        retake: why the photo cannot be assessed, worst first.
        model_version: name and version of the weights, shown with every result.
        provider: execution provider that ran the network, for example ``CPUExecutionProvider``.
        width_px: width of the decoded photo.
        height_px: height of the decoded photo.
        card: result card as JPEG, or None when there is nothing to show.
        elapsed_ms: wall time of decoding, network and drawing.
        dr_at_least: probability that the ICDR grade is at least 1, 2, 3 and 4; empty when it was
            not graded.
        eye_from: who says which eye it is: the person, the file (DICOM), or the place of the optic
            disc in the picture; None when nobody does.
        eye_doubt: the picture looks like the other eye: mirrored, upside down, or mistaken.
        other: the second eye, when one picture shows two.
        areas: what in the photo influenced the scores; None when it was not assessed.
    """

    outcome: Outcome
    findings: tuple[Finding, ...]
    dr_grade: int | None
    eye: Eye | None
    fundus_probability: float
    gradable_probability: float | None
    retake: tuple[RetakeCause, ...]
    model_version: str
    provider: str
    width_px: int
    height_px: int
    card: bytes | None = None
    elapsed_ms: float = 0.0
    dr_at_least: tuple[float, ...] = ()
    eye_from: EyeSource | None = None
    eye_doubt: bool = False
    other: Reading | None = None
    areas: Areas | None = None

    def eyes(self) -> tuple[Reading, ...]:
        """Return this reading and that of the other eye in the picture, if there is one."""
        return (self,) if self.other is None else (self, self.other)

    def finding(self, condition: Condition) -> Finding:
        """Return the result for one condition."""
        return next(f for f in self.findings if f.condition == condition)
