"""What is asked of the labels and predictions of a file: one question, one set of figures."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from core.reading import Condition, Decision, Reading
from models.fundus.evaluation import figures
from models.fundus.evaluation.figures import Bin, Curve, Figure
from models.fundus.evaluation.labels import LabelledPhoto
from models.fundus.evaluation.predict import Prediction
from models.fundus.manifest import Manifest

EVERY = "all"


@dataclass(frozen=True, slots=True)
class Measure:
    """One figure of one question on one set of photos.

    Attributes:
        question: for example ``dr_referable``.
        photos: source of the photos, or `EVERY`.
        name: for example ``auc``.
        positives: photos among `figure.n` whose label is yes; None where that means nothing.
        figure: the figure.
    """

    question: str
    photos: str
    name: str
    positives: int | None
    figure: Figure


@dataclass(frozen=True, slots=True)
class Plotted:
    """What the plots show of one question, over all photos."""

    question: str
    curve: Curve
    bins: tuple[Bin, ...]


@dataclass(frozen=True, slots=True)
class Result:
    """All figures of a file."""

    measures: tuple[Measure, ...]
    plotted: tuple[Plotted, ...]


@dataclass(frozen=True, slots=True)
class _Answer:
    """One photo that has a label and a score for one question."""

    photo: LabelledPhoto
    truth: bool
    score: float
    decision: Decision | None


@dataclass(frozen=True, slots=True)
class _Question:
    """How a yes-or-no question is read from a label and from a reading; None = not there."""

    name: str
    label: Callable[[LabelledPhoto], bool | None]
    score: Callable[[Reading], float | None]
    decision: Callable[[Reading], Decision | None]


def measure(
    photos: Sequence[LabelledPhoto], predictions: Sequence[Prediction], manifest: Manifest
) -> Result:
    """Compare predictions with labels.

    Photos that were not assessed have no score, so they are in no area and no sensitivity; the
    shares ``refused`` and ``ungradable`` say how many they are.

    Args:
        photos: the labels.
        predictions: of the same photos, in the same order.
        manifest: of the weights; its thresholds decide gate and quality.
    """
    pairs = list(zip(photos, predictions, strict=True))
    sources = sorted({p.source for p in photos})
    sets = [EVERY, *sources] if len(sources) > 1 else [EVERY]
    measures: list[Measure] = []
    plotted: list[Plotted] = []
    for question in _questions(manifest):
        answers = _answers(question, pairs)
        for name in sets:
            chosen = [a for a in answers if name in (EVERY, a.photo.source)]
            measures += _binary(question.name, name, chosen)
        if (shown := _plotted(question.name, answers)) is not None:
            plotted.append(shown)
    for name in sets:
        chosen_pairs = [(p, q) for p, q in pairs if name in (EVERY, p.source)]
        measures += _grades(name, chosen_pairs) + _outcomes(name, chosen_pairs)
    return Result(tuple(measures), tuple(plotted))


def _questions(manifest: Manifest) -> list[_Question]:
    gate, quality = manifest.head("gate"), manifest.head("quality")
    assert gate is not None  # noqa: S101  a manifest without them does not load
    assert quality is not None  # noqa: S101

    def gradable(reading: Reading) -> Decision | None:
        p = reading.gradable_probability
        return None if p is None else quality.decide(p)

    def by(condition: Condition, label: Callable[[LabelledPhoto], bool | None]) -> _Question:
        return _Question(
            condition,
            label,
            lambda r: r.finding(condition).probability,
            lambda r: r.finding(condition).decision,
        )

    return [
        _Question(
            "is_fundus",
            lambda p: p.is_fundus,
            lambda r: r.fundus_probability,
            lambda r: gate.decide(r.fundus_probability),
        ),
        _Question("gradable", lambda p: p.gradable, lambda r: r.gradable_probability, gradable),
        _Question("dr_any", _grade_from(1), _at_least(1), lambda _: None),
        _Question(
            "dr_referable",
            _grade_from(2),
            lambda r: r.finding("dr").probability,
            lambda r: r.finding("dr").decision,
        ),
        _Question("dr_severe", _grade_from(3), _at_least(3), lambda _: None),
        by("dme", lambda p: p.dme),
        by("glaucoma", lambda p: p.glaucoma),
        by("amd", lambda p: p.amd),
        by("pm", lambda p: p.pm),
    ]


def _grade_from(grade: int) -> Callable[[LabelledPhoto], bool | None]:
    return lambda photo: None if photo.dr_grade is None else photo.dr_grade >= grade


def _at_least(grade: int) -> Callable[[Reading], float | None]:
    return lambda reading: reading.dr_at_least[grade - 1] if reading.dr_at_least else None


def _answers(
    question: _Question, pairs: Sequence[tuple[LabelledPhoto, Prediction]]
) -> list[_Answer]:
    found: list[_Answer] = []
    for photo, prediction in pairs:
        truth, reading = question.label(photo), prediction.reading
        # What is no retina has no disease to be found or missed.
        if truth is None or reading is None or (photo.is_fundus is False and _is_medical(question)):
            continue
        score = question.score(reading)
        if score is not None:
            found.append(_Answer(photo, truth, score, question.decision(reading)))
    return found


def _is_medical(question: _Question) -> bool:
    return question.name != "is_fundus"


def _binary(question: str, name: str, answers: Sequence[_Answer]) -> list[Measure]:
    if not answers:
        return []
    truth, score = _arrays(answers)
    yes = int(truth.sum())
    found: list[Measure] = []

    def add(figure_name: str, figure: Figure, positives: int | None) -> None:
        if figure.n and not math.isnan(figure.value):
            found.append(Measure(question, name, figure_name, positives, figure))

    add("auc", figures.auc(score, truth, [a.photo.group for a in answers]), yes)
    decided = [a for a in answers if a.decision is not None]
    sick = [a for a in decided if a.truth]
    well = [a for a in decided if not a.truth]
    found_sick = sum(a.decision == "refer" for a in sick)
    found_well = sum(a.decision != "refer" for a in well)
    add("sensitivity at refer", figures.rate(found_sick, len(sick)), None)
    add("specificity at refer", figures.rate(found_well, len(well)), None)
    not_out = sum(a.decision != "negative" for a in sick)
    ruled_out = sum(a.decision == "negative" for a in well)
    add("sensitivity at rule-out", figures.rate(not_out, len(sick)), None)
    add("specificity at rule-out", figures.rate(ruled_out, len(well)), None)
    unsure = sum(a.decision == "borderline" for a in decided)
    add("borderline", figures.rate(unsure, len(decided)), None)
    if 0 < yes < len(answers):
        add("ece", figures.calibration_error(figures.calibration(score, truth)), yes)
    return found


def _grades(name: str, pairs: Sequence[tuple[LabelledPhoto, Prediction]]) -> list[Measure]:
    graded = [
        (photo.dr_grade, reading.dr_grade, photo.group)
        for photo, prediction in pairs
        if (reading := prediction.reading) is not None
        and photo.dr_grade is not None
        and reading.dr_grade is not None
    ]
    if not graded:
        return []
    truth = np.array([t for t, _, _ in graded])
    said = np.array([s for _, s, _ in graded])
    kappa = figures.weighted_kappa(truth, said, [g for _, _, g in graded], classes=5)
    n = len(graded)
    parts = [
        ("quadratic kappa", kappa),
        ("same grade", figures.rate(int((truth == said).sum()), n)),
        ("graded too low", figures.rate(int((said < truth).sum()), n)),
        ("graded too high", figures.rate(int((said > truth).sum()), n)),
    ]
    return [
        Measure("dr_grade", name, what, None, figure)
        for what, figure in parts
        if not math.isnan(figure.value)
    ]


def _outcomes(name: str, pairs: Sequence[tuple[LabelledPhoto, Prediction]]) -> list[Measure]:
    """Return how many photos were answered at all, by what they are labelled as."""
    found: list[Measure] = []
    for label, words in ((True, "of retinas"), (False, "of other pictures"), (None, "unlabelled")):
        outcomes = [
            q.reading.outcome if q.reading is not None else "unreadable"
            for p, q in pairs
            if p.is_fundus is label
        ]
        for outcome in ("assessed", "ungradable", "not_fundus", "unreadable"):
            if outcomes:
                figure = figures.rate(outcomes.count(outcome), len(outcomes))
                found.append(Measure("outcome", name, f"{outcome} {words}", None, figure))
    return found


def _plotted(question: str, answers: Sequence[_Answer]) -> Plotted | None:
    if len({a.truth for a in answers}) < 2:
        return None
    truth, score = _arrays(answers)
    bins = tuple(figures.calibration(score, truth))
    return Plotted(question, figures.roc(score, truth), bins)


def _arrays(answers: Sequence[_Answer]) -> tuple[figures.Ints, figures.Floats]:
    truth = np.array([a.truth for a in answers], np.int64)
    return truth, np.array([a.score for a in answers], np.float64)


def to_json(result: Result) -> list[dict[str, Any]]:
    """Return the figures as JSON-ready rows; null where there is no interval."""
    return [
        {
            "question": m.question,
            "photos": m.photos,
            "name": m.name,
            "n": m.figure.n,
            "positives": m.positives,
            "value": _number(m.figure.value),
            "low": _number(m.figure.low),
            "high": _number(m.figure.high),
        }
        for m in result.measures
    ]


def _number(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 6)
