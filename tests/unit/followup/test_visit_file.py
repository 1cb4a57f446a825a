from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.followup.visit_file import Visit, calendar_file, read_token, visit_token


class Keys:
    def __init__(self, secret: str = "k") -> None:
        self._secret = secret.encode()

    def fingerprint(self, data: bytes) -> str:
        return sha256(self._secret + data).hexdigest()


VISIT = Visit(
    uid="abc",
    day=date(2026, 12, 9),
    at=time(9, 30),
    zone="Asia/Shanghai",
    place="县人民医院, 眼科; 2楼",
    language="zh-Hans",
    changed_at_ms=1_790_000_000_000,
)


def unfolded(file: str) -> list[str]:
    """Read lines as RFC 5545 §3.1 says: a break and one space are nothing."""
    assert file.endswith("\r\n")
    return file.replace("\r\n ", "").removesuffix("\r\n").split("\r\n")


def test_a_visit_with_an_hour():
    lines = unfolded(calendar_file(VISIT))
    assert "DTSTART:20261209T013000Z" in lines
    assert "DURATION:PT1H" in lines
    assert "LOCATION:县人民医院\\, 眼科\\; 2楼" in lines
    assert [line for line in lines if line.startswith("TRIGGER")] == [
        "TRIGGER:-P1D",
        "TRIGGER:-PT2H",
    ]
    for part in ("VCALENDAR", "VEVENT"):
        assert lines.count(f"BEGIN:{part}") == lines.count(f"END:{part}") == 1
    names = [line.partition(":")[0] for line in lines]
    for once in ("VERSION", "PRODID", "UID", "DTSTAMP", "SUMMARY", "SEQUENCE"):
        assert names.count(once) == 1


def test_a_visit_without_an_hour_is_a_day():
    lines = unfolded(calendar_file(replace(VISIT, at=None, day=date(2026, 12, 31))))
    assert "DTSTART;VALUE=DATE:20261231" in lines
    assert "DTEND;VALUE=DATE:20270101" in lines
    assert "TRIGGER:-PT15H" in lines


@pytest.mark.parametrize(
    ("day", "at", "utc"),
    [
        (date(2026, 10, 24), time(9), "20261024T070000Z"),  # summer time
        (date(2026, 10, 26), time(9), "20261026T080000Z"),  # after the night it ended
        (date(2026, 10, 25), time(2, 30), "20261025T003000Z"),  # shown twice: the first
        (date(2027, 3, 28), time(2, 30), "20270328T013000Z"),  # skipped: as much later
    ],
)
def test_the_nights_the_clocks_change(day, at, utc):
    visit = replace(VISIT, day=day, at=at, zone="Europe/Berlin")
    assert f"DTSTART:{utc}" in unfolded(calendar_file(visit))


def test_moved_is_the_same_event_and_newer():
    moved = replace(VISIT, day=date(2026, 12, 16), changed_at_ms=VISIT.changed_at_ms + 60_000)
    before, after = unfolded(calendar_file(VISIT)), unfolded(calendar_file(moved))

    def value(lines, name):
        return next(line for line in lines if line.startswith(name)).partition(":")[2]

    assert value(before, "UID") == value(after, "UID")
    assert int(value(after, "SEQUENCE")) > int(value(before, "SEQUENCE"))


@given(st.text(max_size=200), st.dates(date(2021, 1, 1), date(2040, 1, 1)), st.times())
def test_any_place_keeps_the_form(place, day, at):
    file = calendar_file(replace(VISIT, place=place, day=day, at=at))
    raw = file.encode("utf-8", "surrogatepass")
    assert all(len(line) <= 75 for line in raw.split(b"\r\n"))
    assert b"\r" not in raw.replace(b"\r\n", b"")
    assert b"\n" not in raw.replace(b"\r\n", b"")
    assert sum(line.startswith("BEGIN:") for line in unfolded(file)) == 4
    assert unfolded(file)[-1] == "END:VCALENDAR"


@pytest.mark.parametrize("language", ["zh-Hans", "en"])
def test_no_disease_in_the_file(language):
    file = "".join(unfolded(calendar_file(replace(VISIT, language=language, place=""))))
    for word in ("糖", "眼底", "青光眼", "diabet", "glaucoma", "retina"):
        assert word not in file


def test_a_token_names_its_chat_until_a_week_after():
    day = date(2026, 12, 9)
    token = visit_token(Keys(), 1_234_567, day)
    assert read_token(Keys(), token, day + timedelta(days=7)) == 1_234_567
    assert read_token(Keys(), token, day + timedelta(days=8)) is None
    assert read_token(Keys("other"), token, day) is None
    assert len(token.rpartition("-")[2]) * 4 == 128


@given(st.text(max_size=60))
def test_guessed_tokens_name_nobody(token):
    assert read_token(Keys(), token, date(2026, 1, 1)) is None


@given(st.integers(0, 10**15), st.integers(0, 60), st.sampled_from("0123456789abcdef"))
def test_a_changed_token_names_nobody(conversation_id, place, digit):
    today = datetime(2026, 12, 9, tzinfo=UTC).date()
    token = visit_token(Keys(), conversation_id, today)
    place %= len(token)
    changed = token[:place] + digit + token[place + 1 :]
    assert read_token(Keys(), changed, today) in ({conversation_id} if changed == token else {None})
