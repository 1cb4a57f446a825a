"""A clinic's labelled photos: a CSV beside the pictures.

`file` is the one column that must be there; the others are used where they are. Blank = not known.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from core.errors import ConfigError

MAX_ROWS = 1_000_000
_YES = {"1", "yes", "true", "y"}
_NO = {"0", "no", "false", "n"}
_DME_NOTE = re.compile(r"\bdme=(\d)\b")


@dataclass(frozen=True, slots=True)
class LabelledPhoto:
    """One row.

    Attributes:
        file: as it stands in the CSV; the name of the row everywhere.
        path: where the picture lies; relative names count from the CSV.
        source: camera, clinic or set; figures are also given for each.
        group: patient; photos of one are resampled together.
        is_fundus: whether it is a colour photo of the retina.
        gradable: whether a doctor could grade it.
        dr_grade: ICDR 0-4.
        dme: risk of macular oedema: 1 in a column `dme`, or IDRiD's grade 2 in `dme=2` of `note`.
        glaucoma: as labelled.
        amd: as labelled.
        pm: pathological myopia, as labelled.
    """

    file: str
    path: Path
    source: str
    group: str
    is_fundus: bool | None = None
    gradable: bool | None = None
    dr_grade: int | None = None
    dme: bool | None = None
    glaucoma: bool | None = None
    amd: bool | None = None
    pm: bool | None = None


def read_labels(path: Path, *, split: str | None = None) -> list[LabelledPhoto]:
    """Read a CSV of labels.

    Args:
        path: UTF-8, with a header; the order of the columns does not matter.
        split: only rows whose column `split` says so.

    Raises:
        ConfigError: it cannot be read, has no column `file`, names a photo twice, or a value is
            none of those allowed; names the line.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            columns = reader.fieldnames or ()
            if "file" not in columns:
                raise ConfigError(
                    f"{path}: no column `file`; it has {', '.join(columns) or 'none'}"
                )
            if split is not None and "split" not in columns:
                raise ConfigError(f"{path}: no column `split`; leave --split out")
            rows = [
                _photo(raw, path, line)
                for line, raw in enumerate(reader, 2)
                if split is None or raw["split"] == split
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{path}: cannot be read as CSV ({type(error).__name__})") from None
    if not rows:
        raise ConfigError(f"{path}: no rows" + (f" with split {split!r}" if split else ""))
    if len(rows) > MAX_ROWS:
        raise ConfigError(f"{path}: {len(rows)} rows; at most {MAX_ROWS} at once")
    seen: set[str] = set()
    for row in rows:
        if row.file in seen:
            raise ConfigError(f"{path}: {row.file!r} is there twice; keep one row of it")
        seen.add(row.file)
    return rows


def _photo(raw: Mapping[str, str | None], path: Path, line: int) -> LabelledPhoto:
    def cell(*names: str) -> str:
        return next((v for n in names if (v := (raw.get(n) or "").strip())), "")

    def yes(*names: str) -> bool | None:
        value = cell(*names).lower()
        if value in _YES or value in _NO:
            return value in _YES
        if not value:
            return None
        raise ConfigError(f"{path}, line {line}: {names[0]} is {value!r}; write 1, 0 or nothing")

    name = cell("file")
    if not name:
        raise ConfigError(f"{path}, line {line}: the column `file` is empty")
    grade = cell("dr_grade")
    if grade not in {"", "0", "1", "2", "3", "4"}:
        raise ConfigError(
            f"{path}, line {line}: dr_grade is {grade!r}; write 0 to 4 (ICDR) or nothing"
        )
    noted = _DME_NOTE.search(cell("note"))
    return LabelledPhoto(
        name,
        path.parent / name,
        cell("source") or "own",
        cell("group", "patient") or name,
        is_fundus=yes("is_fundus"),
        gradable=yes("gradable", "quality"),
        dr_grade=int(grade) if grade else None,
        dme=yes("dme") if cell("dme") or noted is None else int(noted[1]) >= 2,
        glaucoma=yes("glaucoma"),
        amd=yes("amd"),
        pm=yes("pm"),
    )
