"""What happened in a period, counted: readings, triage, and where doctors and the reader agree.

Counts only. The columns are sealed, so the newest `MOST_ROWS` of each kind are opened in a reader
thread; a clinic with more in one period sees that the count stops there.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from sqlalchemy import Connection, func, select

from core.reading import Reading
from core.store.keyring import Keyring
from core.store.tables import photo, reading_review, transcript
from core.turn.completion import READING, VERDICT
from core.turn.photos import reading_from_json

MOST_ROWS = 20_000
REFERABLE_GRADE = 2  # ICDR: moderate non-proliferative retinopathy and worse are referred


@dataclass(frozen=True, slots=True)
class Period:
    """What to count: rows from `first_ms` until before `end_ms`, opened with `keys`."""

    first_ms: int
    end_ms: int
    keys: Keyring


@dataclass(slots=True)
class Agreement:
    """What doctors said about readings; the newest review of each doctor and photo counts.

    Attributes:
        agree: the doctor agrees with the reading.
        disagree: the doctor does not.
        grades: photos by (doctor's grade, reader's grade), where both gave one.
        both_refer: both find retinopathy that needs a referral; likewise the next three.
        only_doctor: the reader missed it.
        only_reader: the doctor sees none.
        neither: both find none.
    """

    agree: int = 0
    disagree: int = 0
    grades: Counter[tuple[int, int]] = field(default_factory=Counter[tuple[int, int]])
    both_refer: int = 0
    only_doctor: int = 0
    only_reader: int = 0
    neither: int = 0


@dataclass(frozen=True, slots=True)
class Insight:
    """The counts of a period.

    Attributes:
        readings: photos by what the reader said: ``refer``, ``borderline``, ``negative``,
            ``ungradable``, ``not_fundus``, ``unread``.
        triage: patients' messages with a red flag or a question about one, by urgency.
        messages: patients' messages altogether.
        agreement: doctors and the reader.
        is_cut: there were more rows than are opened.
    """

    readings: Counter[str]
    triage: Counter[str]
    messages: int
    agreement: Agreement
    is_cut: bool


def insight(connection: Connection, period: Period) -> Insight:
    """Count a period; for a reader."""
    photos = connection.execute(
        select(photo.c.reading_sealed)
        .where(photo.c.received_at_ms >= period.first_ms, photo.c.received_at_ms < period.end_ms)
        .order_by(photo.c.id.desc())
        .limit(MOST_ROWS)
    ).all()
    readings = Counter(_said(_open(period.keys, row.reading_sealed)) for row in photos)
    inside = (
        transcript.c.author == "patient",
        transcript.c.at_ms >= period.first_ms,
        transcript.c.at_ms < period.end_ms,
    )
    verdicts = connection.execute(
        select(transcript.c.verdict_sealed)
        .where(*inside, transcript.c.verdict_sealed.is_not(None))
        .order_by(transcript.c.id.desc())
        .limit(MOST_ROWS)
    ).all()
    triage: Counter[str] = Counter()
    for row in verdicts:
        verdict = period.keys.open_json(VERDICT, row.verdict_sealed)
        if verdict["action"] != "none":
            triage[verdict["urgency"]] += 1
    messages = connection.execute(select(func.count()).where(*inside)).scalar_one()
    return Insight(
        readings,
        triage,
        messages,
        _agreement(connection, period),
        max(len(photos), len(verdicts)) == MOST_ROWS,
    )


def _open(keys: Keyring, sealed: bytes | None) -> Reading | None:
    return reading_from_json(keys.open_json(READING, sealed)) if sealed else None


def _said(reading: Reading | None) -> str:
    """Return what a reading comes to in one word, the most serious finding first."""
    if reading is None:
        return "unread"
    if reading.outcome != "assessed":
        return reading.outcome
    decisions = {finding.decision for finding in reading.findings}
    return next((word for word in ("refer", "borderline") if word in decisions), "negative")


def _agreement(connection: Connection, period: Period) -> Agreement:
    newest = (
        select(func.max(reading_review.c.id))
        .where(reading_review.c.at_ms >= period.first_ms, reading_review.c.at_ms < period.end_ms)
        .group_by(reading_review.c.photo_id, reading_review.c.staff_id)
    )
    rows = connection.execute(
        select(reading_review.c.agrees, reading_review.c.dr_grade, photo.c.reading_sealed)
        .join(photo, photo.c.id == reading_review.c.photo_id)
        .where(reading_review.c.id.in_(newest))
        .order_by(reading_review.c.id.desc())
        .limit(MOST_ROWS)
    )
    found = Agreement()
    for row in rows:
        if row.agrees is not None:
            found.agree += row.agrees
            found.disagree += not row.agrees
        reading = _open(period.keys, row.reading_sealed)
        if row.dr_grade is not None and reading is not None and reading.outcome == "assessed":
            _compare(found, row.dr_grade, reading)
    return found


def _compare(found: Agreement, grade: int, reading: Reading) -> None:
    if reading.dr_grade is not None:
        found.grades[grade, reading.dr_grade] += 1
    decision = next((f.decision for f in reading.findings if f.condition == "dr"), "not_assessed")
    if decision == "not_assessed":
        return
    doctor, reader = grade >= REFERABLE_GRADE, decision != "negative"
    found.both_refer += doctor and reader
    found.only_doctor += doctor and not reader
    found.only_reader += reader and not doctor
    found.neither += not doctor and not reader
