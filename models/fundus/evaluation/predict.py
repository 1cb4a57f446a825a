"""Runs the reader over many photos, and writes what it said as CSV."""

from __future__ import annotations

import csv
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TextIO

from core.errors import PatientError, TransientError
from core.reading import Condition, Reading
from models.fundus.assess import Assessor
from models.fundus.intake.process import DecoderProcess
from models.fundus.settings import FundusSettings

COLUMNS = (
    "file",
    "is_fundus",
    "gradable",
    "dr_any",
    "dr_referable",
    "dr_severe",
    "dr_grade",
    "glaucoma",
    "amd",
    "pm",
    "decision_dr",
    "decision_glaucoma",
    "decision_amd",
    "decision_pm",
)
_DECIDED: tuple[Condition, ...] = ("dr", "glaucoma", "amd", "pm")


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the reader said about one file.

    Attributes:
        file: name of the row.
        reading: None when the file could not be read.
        reason: why not: a text key of the catalogue, or the kind of error; "" otherwise.
    """

    file: str
    reading: Reading | None
    reason: str = ""


class Reader:
    """Several readers side by side, one per worker thread, each on one core with its own decoder.

    Files are opened as a patient's are, in a process of their own: none can hang or end the run.
    """

    def __init__(self, settings: FundusSettings, *, workers: int) -> None:
        """Load the weights once; the workers load their own at their first photo.

        Raises:
            ConfigError: the weights cannot be loaded.
        """
        self._settings = settings.model_copy(update={"threads": 1})
        self._workers = workers
        self._own = threading.local()
        self._decoders: list[DecoderProcess] = []
        self.first = self._make()
        self._spare: list[Assessor] = [self.first]

    def read(self, photos: Sequence[tuple[str, Path]]) -> Iterator[Prediction]:
        """Yield one prediction per (name, path), in their order, as they get ready."""
        todo = iter(photos)
        with ThreadPoolExecutor(self._workers, "evaluation") as pool:
            # Bounded: whoever iterates slowly does not let finished readings pile up.
            waiting: list[Future[Prediction]] = [
                pool.submit(self._one, *photo) for photo in islice(todo, 4 * self._workers)
            ]
            try:
                while waiting:
                    prediction = waiting.pop(0).result()
                    waiting += [pool.submit(self._one, *photo) for photo in islice(todo, 1)]
                    yield prediction
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

    def _one(self, name: str, path: Path) -> Prediction:
        try:
            data = path.read_bytes()
        except OSError as error:
            return Prediction(name, None, type(error).__name__)
        try:
            reading = self._assessor().assess(data, language="en", eye=None, with_card=False)
        except PatientError as error:
            return Prediction(name, None, error.text_key)
        except TransientError as error:
            return Prediction(name, None, type(error).__name__)
        return Prediction(name, reading)

    def _assessor(self) -> Assessor:
        """Return this thread's own: an `Assessor` belongs to one worker."""
        found: Assessor | None = getattr(self._own, "assessor", None)
        if found is None:
            try:
                found = self._spare.pop()
            except IndexError:
                found = self._make()
            self._own.assessor = found
        return found

    def _make(self) -> Assessor:
        decoder = DecoderProcess(timeout_s=self._settings.decode_timeout_s)
        self._decoders.append(decoder)
        return Assessor(self._settings, decoder.decode)

    def close(self) -> None:
        """End the decoders."""
        for decoder in self._decoders:
            decoder.close()


def row(prediction: Prediction) -> list[str]:
    """Return a prediction as the cells of `COLUMNS`; blank = not assessed.

    Of a picture with two eyes the first one counts: a row has one label.
    """
    reading = prediction.reading
    if reading is None:
        return [prediction.file, *[""] * 9, *["not_assessed"] * len(_DECIDED)]
    graded = reading.outcome == "assessed"
    at_least = reading.dr_at_least if graded else ()
    probability = {c: reading.finding(c).probability for c in _DECIDED}
    return [
        prediction.file,
        _cell(reading.fundus_probability),
        _cell(reading.gradable_probability),
        _cell(at_least[0] if at_least else None),
        _cell(probability["dr"]),
        _cell(at_least[2] if len(at_least) > 2 else None),
        "" if reading.dr_grade is None else str(reading.dr_grade),
        *(_cell(probability[c]) for c in ("glaucoma", "amd", "pm")),
        *(decision(reading, c) for c in _DECIDED),
    ]


def decision(reading: Reading, condition: Condition) -> str:
    """Return the decision on a condition, or `ungradable` where the photo was too poor."""
    if reading.outcome == "ungradable":
        return "ungradable"
    return reading.finding(condition).decision


def write_head(file: TextIO) -> None:
    """Write the line with the names of the columns."""
    csv.writer(file, lineterminator="\n").writerow(COLUMNS)


def write_row(file: TextIO, prediction: Prediction) -> None:
    """Write one prediction."""
    csv.writer(file, lineterminator="\n").writerow(row(prediction))


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.6f}"
