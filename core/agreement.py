"""How far the fundus reader and the doctors agree, from the grades recorded in the console.

The doctor saw the reader's answer, so agreement is flattered: this finds where they part, it does
not replace an evaluation on labels made blind (`oculichat eval fundus`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

from core.followup.report import Share
from core.reading import Condition, Reading

_HEADS: tuple[Condition, ...] = ("dme", "glaucoma", "amd", "pm")
_REFERABLE = 2  # ICDR grade (Wilkinson 2003) from which diabetic retinopathy is referred
_Z_95 = 1.959963984540054


@dataclass(frozen=True, slots=True)
class Reviewed:
    """A photo, what the reader said and what one doctor says; None = the doctor did not say.

    Attributes:
        patient: anything that is the same for photos of one person.
        reading: the reader's.
        agrees: the doctor's own word on the whole answer.
        gradable: whether the doctor could grade the photo.
        dr_grade: ICDR 0-4.
        dme: risk of macular oedema.
        glaucoma: suspected.
        amd: seen.
        pm: pathological myopia, seen.
    """

    patient: int
    reading: Reading
    agrees: bool | None = None
    gradable: bool | None = None
    dr_grade: int | None = None
    dme: bool | None = None
    glaucoma: bool | None = None
    amd: bool | None = None
    pm: bool | None = None


@dataclass(frozen=True, slots=True)
class Kappa:
    """Cohen's kappa, quadratic weights where there are more than two classes.

    The interval is from leaving out one patient at a time (jackknife), so that two photos of one
    person do not count as two; None with fewer than two patients or nothing to disagree on.
    """

    value: float | None
    interval: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class Head:
    """One question.

    Attributes:
        name: ``gradable``, ``dr_grade``, ``dr_referable`` or a condition.
        n: reviews in which both the reader and the doctor answered it.
        same: how often they said the same.
        over: how often the reader said more than the doctor.
        under: how often it said less: the dangerous side.
        unsure: reviews in which the reader said "borderline"; they are in no other figure.
        kappa: agreement beyond chance.
    """

    name: str
    n: int
    same: Share
    over: Share
    under: Share
    unsure: int
    kappa: Kappa


@dataclass(frozen=True, slots=True)
class Agreement:
    """All questions for one version of the weights."""

    model_version: str
    reviews: int
    patients: int
    agrees: Share
    heads: tuple[Head, ...]


_Pair = tuple[int, int, int]  # patient, the reader's class, the doctor's class


def agreement(reviews: Iterable[Reviewed]) -> list[Agreement]:
    """Compare readings with reviews, for each version of the weights on its own."""
    by_version: defaultdict[str, list[Reviewed]] = defaultdict(list)
    for review in reviews:
        by_version[review.reading.model_version].append(review)
    return [_of_version(version, found) for version, found in sorted(by_version.items())]


def _of_version(version: str, reviews: Sequence[Reviewed]) -> Agreement:
    heads = [_head("gradable", reviews, _gradable), _dr_grade(reviews)]
    heads.append(_head("dr_referable", reviews, lambda r: _flag(r, "dr", _referable(r))))
    heads += [_head(condition, reviews, _asked_about(condition)) for condition in _HEADS]
    said = [r.agrees for r in reviews if r.agrees is not None]
    return Agreement(
        version,
        len(reviews),
        len({r.patient for r in reviews}),
        Share(sum(said), len(said)),
        tuple(h for h in heads if h.n or h.unsure),
    )


_Answer = tuple[int | None, int | None]  # the reader's class (None = borderline), the doctor's


def _gradable(review: Reviewed) -> _Answer | None:
    # "Gradable" is the harmless side, so 1 = ungradable: under = passed although it is too poor.
    if review.gradable is None or review.reading.outcome == "not_fundus":
        return None
    return int(review.reading.outcome == "ungradable"), int(not review.gradable)


def _referable(review: Reviewed) -> bool | None:
    return None if review.dr_grade is None else review.dr_grade >= _REFERABLE


def _asked_about(condition: Condition) -> Callable[[Reviewed], _Answer | None]:
    return lambda review: _flag(review, condition, getattr(review, condition))


def _flag(review: Reviewed, condition: Condition, doctor: bool | None) -> _Answer | None:
    decision = review.reading.finding(condition).decision
    if doctor is None or decision == "not_assessed":
        return None
    return {"negative": 0, "refer": 1}.get(decision), int(doctor)


def _head(
    name: str, reviews: Sequence[Reviewed], answer: Callable[[Reviewed], _Answer | None]
) -> Head:
    pairs: list[_Pair] = []
    unsure = 0
    for review in reviews:
        if (given := answer(review)) is None:
            continue
        reader, doctor = given
        if reader is None or doctor is None:
            unsure += 1
        else:
            pairs.append((review.patient, reader, doctor))
    return _counted(name, pairs, unsure, classes=2)


def _dr_grade(reviews: Sequence[Reviewed]) -> Head:
    pairs = [
        (r.patient, r.reading.dr_grade, r.dr_grade)
        for r in reviews
        if r.dr_grade is not None and r.reading.dr_grade is not None
    ]
    return _counted("dr_grade", pairs, 0, classes=5)


def _counted(name: str, pairs: Sequence[_Pair], unsure: int, *, classes: int) -> Head:
    n = len(pairs)
    return Head(
        name,
        n,
        Share(sum(a == b for _, a, b in pairs), n),
        Share(sum(a > b for _, a, b in pairs), n),
        Share(sum(a < b for _, a, b in pairs), n),
        unsure,
        _kappa(pairs, classes),
    )


def _kappa(pairs: Sequence[_Pair], classes: int) -> Kappa:
    tables: defaultdict[int, list[list[int]]] = defaultdict(lambda: _empty(classes))
    whole = _empty(classes)
    for patient, reader, doctor in pairs:
        tables[patient][reader][doctor] += 1
        whole[reader][doctor] += 1
    value = _weighted(whole)
    if value is None or len(tables) < 2:
        return Kappa(value, None)
    without: list[float] = []
    for table in tables.values():
        rest = [
            [a - b for a, b in zip(x, y, strict=True)] for x, y in zip(whole, table, strict=True)
        ]
        if (left := _weighted(rest)) is not None:
            without.append(left)
    if len(without) < 2:
        return Kappa(value, None)
    mean = sum(without) / len(without)
    share = (len(without) - 1) / len(without)
    error = sqrt(share * sum((v - mean) ** 2 for v in without))
    return Kappa(value, (max(-1.0, value - _Z_95 * error), min(1.0, value + _Z_95 * error)))


def _empty(classes: int) -> list[list[int]]:
    return [[0] * classes for _ in range(classes)]


def _weighted(table: Sequence[Sequence[int]]) -> float | None:
    """Return kappa with quadratic weights (Cohen 1968); None when one of them never varies."""
    n = sum(map(sum, table))
    rows, columns = (
        [sum(row) for row in table],
        [sum(column) for column in zip(*table, strict=True)],
    )
    got = by_chance = 0.0
    for i, row in enumerate(table):
        for j, count in enumerate(row):
            cost = (i - j) ** 2
            got += cost * count
            by_chance += cost * rows[i] * columns[j]
    return 1 - got * n / by_chance if by_chance else None


def to_json(found: Iterable[Agreement]) -> list[dict[str, Any]]:
    """Return the report as JSON-ready rows."""
    return [
        {
            "model_version": a.model_version,
            "reviews": a.reviews,
            "patients": a.patients,
            "agrees": _share(a.agrees),
            "heads": [
                {
                    "name": h.name,
                    "n": h.n,
                    "unsure": h.unsure,
                    "same": _share(h.same),
                    "over": _share(h.over),
                    "under": _share(h.under),
                    "kappa": {"value": h.kappa.value, "interval": h.kappa.interval},
                }
                for h in a.heads
            ],
        }
        for a in found
    ]


def _share(share: Share) -> dict[str, Any]:
    return {
        "hits": share.hits, "of": share.of, "value": share.value, "interval": share.interval,
    }  # fmt: skip
