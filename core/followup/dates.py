"""Read the dates people write: 下周三, 12月5号, 三天后, next Friday, Dec 5, 2026-12-05."""

from __future__ import annotations

import re
import unicodedata
from calendar import monthrange
from collections.abc import Callable
from datetime import date, timedelta

from core.message import Language

_FARTHEST = timedelta(days=3 * 366)  # a visit further away is a slip of the pen
_DIGITS = "零一二三四五六七八九"
_NUM = r"(\d{1,3}|[零一二两三四五六七八九十]{1,3}|半)"
_WEEKDAY = {c: i for i, c in enumerate("一二三四五六")} | {"日": 6, "天": 6}
_WEEKDAYS_EN = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_MONTHS_EN = (
    *("jan", "feb", "mar", "apr", "may", "jun"),
    *("jul", "aug", "sep", "oct", "nov", "dec"),
)
_MONTH_EN = r"(jan|feb|mar|apr|may|june?|july?|aug|sept?|oct|nov|dec)[a-z]*\.?"
_DAY_EN = r"(\d{1,2})(?:st|nd|rd|th)?"
_YEAR_EN = r"(?:,? +(20\d\d))?"
_WORDS_EN = {"a": 1, "an": 1, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6}
# "下周三不行": a day that does not suit is no date.
_NOT = re.compile(
    r"不行|不可以|没空|没时间|去不了|不方便|不去|can.?t|cannot|not |won.?t|unable|except"
)
# Days of the lunar year, seasons and "after the holidays" are no day to plan with: we ask.
_VAGUE = re.compile(
    r"腊月|正月|农历|阴历|初[一二三四五六七八九十]|除夕|春节|过完?年|(?<![\d半一二两三四五六七八九十])年[前后初底]|节[前后]|假期|国庆|中秋|端午|清明"
    r"|元旦|五一(?![月号日])|十一(?:长?假|节|以?后|之?前|期间)|暑假|寒假|开学|放假|农忙|秋收|周末|[上中下]旬"
    r"|几天|几周|几个|有空|以后再|\b(?:weekend|holidays?|spring festival|new year|christmas"
    r"|easter|ramadan|some ?time|around|after the|before the"
    r"|in spring|in summer|in autumn|in winter|few)\b"
)
# "周三到周五", "8号或9号": which of them?
_SEVERAL = re.compile(
    r"到|至|或|还是|要么|~|—|–|-{2}|\bor\b|\bto\b|\bbetween\b|\bthrough\b|\buntil\b"
)


def _number(words: str) -> int | None:
    """Return a number of up to 99 in digits or Chinese."""
    if words.isdigit():
        return int(words)
    if words in _WORDS_EN:
        return _WORDS_EN[words]
    words = words.replace("两", "二")
    if "十" not in words:
        return _DIGITS.find(words) if len(words) == 1 and words in _DIGITS else None
    tens, _, ones = words.partition("十")
    if len(tens) > 1 or len(ones) > 1:
        return None
    return (_DIGITS.find(tens) if tens else 1) * 10 + (_DIGITS.find(ones) if ones else 0)


def _months_later(day: date, months: int) -> date:
    index = day.year * 12 + day.month - 1 + months
    year, month = divmod(index, 12)
    return date(year, month + 1, min(day.day, monthrange(year, month + 1)[1]))


def _make(year: int, month: int, day: int) -> date | None:
    try:
        return date(year, month, day)
    except ValueError:
        return None


def _this_or_next_year(today: date, month: int, day: int) -> date | None:
    found = _make(today.year, month, day)
    if found is not None and found >= today:
        return found
    return _make(today.year + 1, month, day)


def _later(today: date, amount: str, unit: str) -> date | None:
    if amount == "半":
        return today + timedelta(days=182) if unit.startswith("年") else None
    number = _number(amount)
    if number is None:
        return None
    match unit[0]:
        case "天" | "日" | "d":
            return today + timedelta(days=number)
        case "周" | "星" | "礼" | "w":
            return today + timedelta(weeks=number)
        case "月" | "m":
            return _months_later(today, number)
        case _:
            return _months_later(today, 12 * number)


def _weekday(today: date, which: int, weeks: int | None) -> date:
    """Return a weekday; `weeks` counts calendar weeks from Monday, None = the next such day."""
    if weeks is None:
        return today + timedelta(days=(which - today.weekday() - 1) % 7 + 1)
    return today - timedelta(days=today.weekday()) + timedelta(days=which, weeks=weeks)


def _day_of_month(today: date, months: int | None, day: int) -> date | None:
    if months is not None:
        first = _months_later(today.replace(day=1), months)
        return _make(first.year, first.month, day)
    found = _make(today.year, today.month, day)
    if found is not None and found >= today:
        return found
    first = _months_later(today.replace(day=1), 1)
    return _make(first.year, first.month, day)


_Reader = Callable[[re.Match[str], date], date | None]


def _zh(number: str) -> int:
    return _number(number) or 0


_CHINESE: tuple[tuple[str, _Reader], ...] = (
    (
        r"(20\d\d) ?[年./-] ?(\d{1,2}) ?[月./-] ?(\d{1,2})",
        lambda m, _: _make(int(m[1]), int(m[2]), int(m[3])),
    ),
    (
        rf"(明年)?{_NUM} ?月 ?(?:份)?{_NUM} ?[号日]?",
        lambda m, t: (
            _make(t.year + 1, _zh(m[2]), _zh(m[3]))
            if m[1]
            else _this_or_next_year(t, _zh(m[2]), _zh(m[3]))
        ),
    ),
    (r"半个月(?:以|之)?后", lambda _, t: t + timedelta(days=15)),
    (
        rf"{_NUM} ?个?(天|日|周|星期|礼拜|月|年)(?:以|之)?后",
        lambda m, t: _later(t, m[1], m[2]),
    ),
    (rf"过{_NUM} ?个?(天|日|周|星期|礼拜|月|年)", lambda m, t: _later(t, m[1], m[2])),
    (
        r"(下下|下|这|本)?个?(?:周|星期|礼拜)([一二三四五六日天])",
        lambda m, t: _weekday(
            t, _WEEKDAY[m[2]], {"下下": 2, "下": 1, "这": 0, "本": 0}.get(m[1] or "")
        ),
    ),
    (
        rf"(下|这|本)?个?月{_NUM} ?[号日]",
        lambda m, t: _day_of_month(t, {"下": 1}.get(m[1] or "", 0), _zh(m[2])),
    ),
    (rf"{_NUM} ?[号日]", lambda m, t: _day_of_month(t, None, _zh(m[1]))),
    (
        r"(下个?)?月底",
        lambda m, t: _months_later(t.replace(day=1), 2 if m[1] else 1) - timedelta(days=1),
    ),
    (r"大后天", lambda _, t: t + timedelta(days=3)),
    (r"后天", lambda _, t: t + timedelta(days=2)),
    (r"明天|明日|明早", lambda _, t: t + timedelta(days=1)),
    (r"今天|今日", lambda _, t: t),
    (
        r"(下下|下)个?(?:周|星期|礼拜)",
        lambda m, t: t + timedelta(weeks=2 if m[1] == "下下" else 1),
    ),
    (r"下个?月", lambda _, t: _months_later(t, 1)),
    (
        r"(?<!\d)(\d{1,2})[./-](\d{1,2})(?!\d)",
        lambda m, t: _this_or_next_year(t, int(m[1]), int(m[2])),
    ),
)


def _month_en(name: str) -> int:
    return _MONTHS_EN.index(name[:3]) + 1


def _with_year(today: date, month: int, day: int, year: str | None) -> date | None:
    return _make(int(year), month, day) if year else _this_or_next_year(today, month, day)


def _slashed(match: re.Match[str], today: date) -> date | None:
    """Read 12/25 and 25/12; 5/6 could be either, so it is not understood."""
    first, second = int(match[1]), int(match[2])
    if first == second or (first > 12) != (second > 12):
        month, day = (second, first) if first > 12 else (first, second)
        return _this_or_next_year(today, month, day)
    return None


_ENGLISH: tuple[tuple[str, _Reader], ...] = (
    (r"(20\d\d)-(\d{1,2})-(\d{1,2})", lambda m, _: _make(int(m[1]), int(m[2]), int(m[3]))),
    (
        rf"\b{_MONTH_EN} +{_DAY_EN}\b{_YEAR_EN}",
        lambda m, t: _with_year(t, _month_en(m[1]), int(m[2]), m[3]),
    ),
    (
        rf"\b{_DAY_EN} +(?:of +)?{_MONTH_EN}{_YEAR_EN}",
        lambda m, t: _with_year(t, _month_en(m[2]), int(m[1]), m[3]),
    ),
    (
        r"\b(\d{1,3}|an?|one|two|three|four|five|six) +(day|week|month|year)s?\b(?! +ago)",
        lambda m, t: _later(t, m[1], m[2]),
    ),
    (
        r"\b(next|this)? *(mon|tue|wed|thu|fri|sat|sun)(?:day|s|sday|nesday|r|rs|rsday|urday)?\b",
        lambda m, t: _weekday(t, _WEEKDAYS_EN.index(m[2]), {"next": 1, "this": 0}.get(m[1] or "")),
    ),
    (r"\bday after tomorrow\b", lambda _, t: t + timedelta(days=2)),
    (r"\btomorrow\b", lambda _, t: t + timedelta(days=1)),
    (r"\btoday\b", lambda _, t: t),
    (r"\bnext week\b", lambda _, t: t + timedelta(weeks=1)),
    (r"\bnext month\b", lambda _, t: _months_later(t, 1)),
    (r"\b(\d{1,2})/(\d{1,2})\b", _slashed),
)


def parse_date(text: str, *, today: date, language: Language) -> date | None:
    """Return the day a text names, or None when it names none, a past one or one years away.

    Args:
        text: as written; both languages are tried, the person's own first.
        today: the present day in the person's zone.
        language: the person's language.
    """
    plain = " ".join(unicodedata.normalize("NFKC", text).lower().split())
    if len(plain) > 200 or _NOT.search(plain) or _VAGUE.search(plain):
        return None
    readers = (*_CHINESE, *_ENGLISH) if language == "zh-Hans" else (*_ENGLISH, *_CHINESE)
    first = _first(plain, readers, today)
    if first is None:
        return None
    found, (start, end) = first
    # A second day beside the first: a range, a choice or a contradiction, so it is asked about.
    again = _first(f"{plain[:start]} {plain[end:]}", readers, today)
    if again is not None and found is not None and not _SEVERAL.search(plain):
        # "12月5号星期六" says the same day twice.
        again = None if again[0] is not None and again[0].weekday() == found.weekday() else again
    if again is not None and again[0] != found:
        return None
    if re.search(r"\d ?(?:到|至|~|-|—|–) ?$", plain[:start]):
        return None
    if re.match(r" ?(?:到|至|~|-|—|–|to|through) ?\d", plain[end:]):
        return None
    return found if found is not None and today <= found <= today + _FARTHEST else None


def _first(
    plain: str, readers: tuple[tuple[str, _Reader], ...], today: date
) -> tuple[date | None, tuple[int, int]] | None:
    """Return what the first reader that finds something makes of it, and where it stands."""
    for pattern, read in readers:
        if match := re.search(pattern, plain):
            return read(match, today), match.span()
    return None
