"""What a clinic decides about itself while the service runs: name, hours, quiet time, wording.

Values come from the console as text under a name (`NAMES`, and ``text.<language>.<key>`` for a
wording). `check` says what is wrong with one, `put_in_force` uses all of them in this process; an
empty value means: as in ``config.yaml``, or as shipped. Consent, triage and whatever else is
reviewed wording cannot be changed here.
"""

from __future__ import annotations

import re
import string
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import time

from core import texts
from core.errors import ConfigError
from core.followup import intervals, ladder
from core.message import LANGUAGES, Language

NAMES = (
    "clinic.name",
    "clinic.hours",
    "clinic.emergency_place",
    "quiet.from",
    "quiet.until",
    "followups.intervals",
)
# Wordings that say nothing medical; each may be put in the clinic's own words.
CHANGEABLE_TEXTS = ("turn.welcome", "turn.ask_anything", "turn.human", "visit.bring")
_TEXT = re.compile(r"text\.(zh-Hans|en)\.([\w.]+)")
_TIME = re.compile(r"([01]\d|2[0-3]):[0-5]\d")
_LONGEST = {"clinic.name": 40, "clinic.hours": 120, "clinic.emergency_place": 200}
_LONGEST_TEXT = 400
_LONGEST_TABLE = 20_000
# Specification §4 asks for quiet from 21:00 to 8:00; a clinic may leave people in peace for longer.
_EARLIEST_EVENING, _LATEST_EVENING = time(18), time(21)
# Reminders go out from 9:00 on (`core.followup.ladder`).
_EARLIEST_MORNING, _LATEST_MORNING = time(8), time(9)


class Unusable(ConfigError):
    """A value cannot be used; `key` names the catalogue text that says why, `detail` the rest."""

    def __init__(self, key: str, detail: str = "", **fields: str | int) -> None:
        super().__init__(detail or key)
        self.key = key
        self.detail = detail
        self.fields = fields


@dataclass(frozen=True, slots=True)
class Clinic:
    """The clinic's own values in force; "" = none."""

    name: str = ""
    hours: str = ""
    emergency_place: str = ""


_in_force: list[Clinic] = [Clinic()]


def clinic() -> Clinic:
    """Return the clinic as it is now."""
    return _in_force[-1]


def text_names() -> list[tuple[str, Language, str]]:
    """Return the name, language and key of every wording that can be changed."""
    return [(f"text.{each}.{key}", each, key) for key in CHANGEABLE_TEXTS for each in LANGUAGES]


def check(name: str, value: str) -> None:
    """Check one value; an empty one is always good.

    Raises:
        Unusable: it cannot be used, or there is no such setting; says why.
    """
    wording = _TEXT.fullmatch(name)
    if name not in NAMES and not (wording and wording[2] in CHANGEABLE_TEXTS):
        raise Unusable("clinic.unknown")
    if not value:
        return
    limit = _LONGEST_TEXT if wording else _LONGEST.get(name, _LONGEST_TABLE)
    if len(value) > limit:
        raise Unusable("clinic.too_long", limit=limit)
    if wording:
        _check_text(wording[2], value)
    elif name.startswith("quiet."):
        _time(name, value)
    elif name == "followups.intervals":
        try:
            intervals.read_clinics(value)
        except ConfigError as error:
            raise Unusable("clinic.table", str(error)) from None


def _check_text(key: str, value: str) -> None:
    """Refuse a wording that would show a brace or ask for a value nobody gives."""
    allowed = _fields(texts.catalogue("zh-Hans")[key])
    try:
        found = _fields(value)
    except ValueError:
        raise Unusable("clinic.braces") from None
    if found != allowed:
        raise Unusable("clinic.braces")


def _fields(wording: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(wording) if name is not None}


def _time(name: str, value: str) -> time:
    if not _TIME.fullmatch(value):
        raise Unusable("clinic.time")
    at = time.fromisoformat(value)
    low, high = (
        (_EARLIEST_EVENING, _LATEST_EVENING)
        if name == "quiet.from"
        else (_EARLIEST_MORNING, _LATEST_MORNING)
    )
    if not low <= at <= high:
        raise Unusable("clinic.between", low=f"{low:%H:%M}", high=f"{high:%H:%M}")
    return at


def put_in_force(
    values: Mapping[str, str], *, shipped_table: intervals.IntervalTable | None = None
) -> None:
    """Use these values in this process, and nothing that was used before.

    Args:
        values: by name, checked.
        shipped_table: table of ``followups.intervals`` in the configuration, for when the clinic
            has none in the console.
    """
    _in_force[:] = [
        Clinic(
            values.get("clinic.name", ""),
            values.get("clinic.hours", ""),
            values.get("clinic.emergency_place", ""),
        )
    ]
    begin, end = values.get("quiet.from"), values.get("quiet.until")
    ladder.keep_quiet(
        _time("quiet.from", begin) if begin else None,
        _time("quiet.until", end) if end else None,
    )
    table = values.get("followups.intervals")
    intervals.adopt(intervals.read_clinics(table) if table else shipped_table)
    for language in LANGUAGES:
        texts.override(
            language,
            {
                key: value
                for name, each, key in text_names()
                if each == language and (value := values.get(name))
            },
        )


def with_hours(language: Language, words: str) -> str:
    """Add the clinic's name and hours to words that send a person to its staff."""
    now = clinic()
    if not now.hours:
        return words
    return f"{words}\n{texts.text(language, 'clinic.hours', name=now.name, hours=now.hours)}"
