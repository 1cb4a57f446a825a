"""A booked visit as a calendar file (RFC 5545) and as the signed path of its page.

A visit with an hour is written in UTC, computed from the wall time in the patient's zone, so no
time zone table is needed and the night the clocks change does not matter. One without an hour is
a whole day. Neither the file nor the address says what the visit is for.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Protocol

from core.followup.walltime import moment_ms
from core.message import Language
from core.texts import text

LINK_DAYS_AFTER = 7
_LINE_BYTES = 75  # RFC 5545 §3.1, without the line break
_SIGNATURE = 32  # hexadecimal digits: 128 bits
_TOKEN = re.compile(r"([0-9a-z]{1,12})-([0-9a-z]{1,5})-([0-9a-f]{32})")
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


class Fingerprints(Protocol):
    """Makes keyed hashes (`core.store.keyring.Keyring`)."""

    def fingerprint(self, data: bytes) -> str:
        """Return a keyed hash of at least 32 hexadecimal digits."""
        ...


@dataclass(frozen=True, slots=True)
class Visit:
    """A booked visit.

    Attributes:
        uid: stable name of this visit in calendars; the same when it moves to another day.
        day: in the patient's zone.
        at: hour in the patient's zone, or None when only the day is known.
        zone: IANA name.
        place: as the patient wrote it, or "".
        language: the patient's.
        changed_at_ms: when it was booked or moved; a later file replaces an earlier one.
    """

    uid: str
    day: date
    at: time | None
    zone: str
    place: str
    language: Language
    changed_at_ms: int


def _escaped(words: str) -> str:
    """Escape a TEXT value (RFC 5545 §3.3.11)."""
    plain = _CONTROL.sub("", words.replace("\r\n", "\n"))
    for sign in ("\\", ";", ","):
        plain = plain.replace(sign, f"\\{sign}")
    return plain.replace("\n", "\\n")


def _folded(line: str) -> Iterator[str]:
    """Cut a line to 75 bytes, never inside a character; what follows begins with a space."""
    piece = ""
    for character in line:
        if len((piece + character).encode()) > _LINE_BYTES:
            yield piece
            piece = " "
        piece += character
    yield piece


def _stamp(at_ms: int) -> str:
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y%m%dT%H%M%SZ}"


def _when(visit: Visit) -> list[str]:
    if visit.at is None:
        after = visit.day + timedelta(days=1)
        return [f"DTSTART;VALUE=DATE:{visit.day:%Y%m%d}", f"DTEND;VALUE=DATE:{after:%Y%m%d}"]
    start = moment_ms(datetime.combine(visit.day, visit.at), visit.zone)
    return [f"DTSTART:{_stamp(start)}", "DURATION:PT1H"]


def calendar_file(visit: Visit) -> str:
    """Return the visit as an ``.ics`` file with an alarm a day before and, with an hour, two hours.

    A whole day begins at midnight, so its alarm comes at nine in the morning of the day before.
    """
    title = text(visit.language, "visit.title")
    lines = [
        "BEGIN:VCALENDAR",
        "VERSION:2.0",
        "PRODID:-//OculiChat//Visits//EN",
        "METHOD:PUBLISH",
        "BEGIN:VEVENT",
        f"UID:{visit.uid}@oculichat",
        f"DTSTAMP:{_stamp(visit.changed_at_ms)}",
        # Seconds since 2020: calendars take a file over an earlier one when this has grown.
        f"SEQUENCE:{max(0, visit.changed_at_ms // 1000 - 1_577_836_800)}",
        *_when(visit),
        f"SUMMARY:{_escaped(title)}",
        f"DESCRIPTION:{_escaped(text(visit.language, 'visit.bring'))}",
        *([f"LOCATION:{_escaped(visit.place)}"] if visit.place else []),
        "CLASS:PRIVATE",
        "TRANSP:OPAQUE",
    ]
    for trigger in ("-P1D", "-PT2H") if visit.at is not None else ("-PT15H",):
        lines += [
            "BEGIN:VALARM",
            "ACTION:DISPLAY",
            f"TRIGGER:{trigger}",
            f"DESCRIPTION:{_escaped(title)}",
            "END:VALARM",
        ]
    lines += ["END:VEVENT", "END:VCALENDAR"]
    return "".join(f"{piece}\r\n" for line in lines for piece in _folded(line))


def _base36(number: int) -> str:
    digits = ""
    while number:
        number, digit = divmod(number, 36)
        digits = _DIGITS[digit] + digits
    return digits or "0"


def _signature(keys: Fingerprints, conversation_id: int, last_day: int) -> str:
    return keys.fingerprint(f"visit {conversation_id} {last_day}".encode())[:_SIGNATURE]


def visit_uid(keys: Fingerprints, conversation_id: int) -> str:
    """Return the name of a chat's visits in calendars: one that moves stays one entry there."""
    return keys.fingerprint(f"visit uid {conversation_id}".encode())[:24]


def visit_token(keys: Fingerprints, conversation_id: int, day: date) -> str:
    """Return the signed name of a chat's booked visit; it is good until a week after `day`."""
    last = (day + timedelta(days=LINK_DAYS_AFTER)).toordinal()
    signature = _signature(keys, conversation_id, last)
    return f"{_base36(conversation_id)}-{_base36(last)}-{signature}"


def read_token(keys: Fingerprints, token: str, today: date) -> int | None:
    """Return whose visit a token names, or None when it was not made here or is too old."""
    match = _TOKEN.fullmatch(token)
    if match is None:
        return None
    conversation_id, last = int(match[1], 36), int(match[2], 36)
    expected = _signature(keys, conversation_id, last)
    # Too old and never made look the same to whoever asks.
    if not hmac.compare_digest(expected, match[3]) or today.toordinal() > last:
        return None
    return conversation_id
