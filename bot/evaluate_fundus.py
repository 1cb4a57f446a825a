"""`eval fundus`: the reader on a clinic's own labelled photos, with intervals, plots and a page."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from bot.settings import Settings
from core.errors import ConfigError
from models.fundus.evaluation import page, plots
from models.fundus.evaluation.labels import LabelledPhoto, read_labels
from models.fundus.evaluation.predict import Prediction, Reader, write_head, write_row
from models.fundus.evaluation.questions import Result, measure, to_json

_POLITE = 5  # niceness: a service on the same machine goes first


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the operator asked for.

    Attributes:
        labels: the CSV.
        predictions: where to write one row per photo.
        report: folder for `report.html`, `roc.png` and `calibration.png`.
        split: only rows with this `split`.
        workers: photos read at once; None = half the cores.
        as_json: print JSON instead of lines.
    """

    labels: Path
    predictions: Path | None = None
    report: Path | None = None
    split: str | None = None
    workers: int | None = None
    as_json: bool = False


def evaluate_fundus(settings: Settings, wanted: Wanted) -> int:
    """Read every photo, print the figures; returns 1 when a file could not be read.

    Raises:
        ConfigError: labels or weights cannot be used, or a file cannot be written.
    """
    photos = read_labels(wanted.labels, split=wanted.split)
    os.nice(_POLITE)
    workers = wanted.workers or max(1, (os.cpu_count() or 1) // 2)
    reader = Reader(settings.fundus, workers=workers)
    try:
        predictions = _predict(reader, photos, wanted.predictions)
    except OSError as error:
        raise ConfigError(f"{error.filename}: cannot be written ({error.strerror})") from None
    finally:
        reader.close()
    result = measure(photos, predictions, reader.first.manifest)
    unreadable = [(p.file, p.reason) for p in predictions if p.reading is None]
    if wanted.as_json:
        sys.stdout.write(
            json.dumps(
                {
                    "model": reader.first.model_version,
                    "provider": reader.first.network.provider,
                    "photos": len(photos),
                    "unreadable": [{"file": f, "reason": w} for f, w in unreadable],
                    "figures": to_json(result),
                },
                ensure_ascii=False,
            )
            + "\n"
        )
    else:
        sys.stdout.write(page.text(result) + "\n")
        for file, reason in unreadable:
            sys.stdout.write(f"cannot be read: {file} ({reason})\n")
    if wanted.report is not None:
        today = datetime.now(ZoneInfo(settings.dialog.zone)).date()
        _write_report(wanted.report, result, reader, wanted, unreadable, str(today))
    return 1 if unreadable else 0


def _predict(
    reader: Reader, photos: Sequence[LabelledPhoto], target: Path | None
) -> list[Prediction]:
    done: list[Prediction] = []
    began = shown = time.monotonic()
    with target.open("w", encoding="utf-8") if target else nullcontext() as file:
        if file:
            write_head(file)
        for prediction in reader.read([(p.file, p.path) for p in photos]):
            done.append(prediction)
            if file:
                write_row(file, prediction)
            now = time.monotonic()
            if now - shown >= 2 or len(done) == len(photos):
                shown = now
                left_s = (now - began) / len(done) * (len(photos) - len(done))
                _progress(f"{len(done)}/{len(photos)} photos, about {left_s:.0f} s left")
    if sys.stderr.isatty():
        sys.stderr.write("\n")
    return done


def _progress(words: str) -> None:
    """Say how far it is on standard error: over the last line on a terminal, else line by line."""
    sys.stderr.write(f"\r{words}   " if sys.stderr.isatty() else f"{words}\n")
    sys.stderr.flush()


def _write_report(
    folder: Path,
    result: Result,
    reader: Reader,
    wanted: Wanted,
    unreadable: Sequence[tuple[str, str]],
    day: str,
) -> None:
    pictures: dict[str, bytes] = {}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if result.plotted:
            try:
                pictures = {
                    "ROC": plots.roc(result.plotted),
                    "Calibration 校准": plots.calibration(result.plotted),
                }
            except ConfigError as error:
                sys.stderr.write(f"{error}\n")
            for name, png in zip(("roc.png", "calibration.png"), pictures.values(), strict=False):
                (folder / name).write_bytes(png)
        text = page.html(
            result,
            labels=wanted.labels.name,
            model=reader.first.model_version,
            provider=reader.first.network.provider,
            day=day,
            unreadable=unreadable,
            pictures=pictures,
        )
        (folder / "report.html").write_text(text, "utf-8")
    except OSError as error:
        raise ConfigError(f"{error.filename}: cannot be written ({error.strerror})") from None
    sys.stderr.write(f"written: {folder / 'report.html'}\n")
