"""Read where and at what time a visit is: 下周三上午9点去县医院, at the county hospital at 9 am."""

from __future__ import annotations

import re
import unicodedata

_KIND = r"医院|眼科中心|眼科|卫生院|卫生所|诊所|门诊部?|社区(?:卫生)?服务(?:中心|站)"
_PLACE_ZH = re.compile(
    rf"(?:去|到|在|约了?|挂了?|是)\s*([^\s,，。;；!！?？去到在约挂了是的看]{{0,14}}?(?:{_KIND})(?:眼科|门诊)?)"
)
_BARE_ZH = re.compile(
    rf"([^\s,，。;；!！?？去到在约挂了是的看号日点午上晨晚天周]{{1,12}}(?:{_KIND})(?:眼科|门诊)?)"
)
_KIND_EN = r"hospital|clinic|eye cent(?:er|re)|infirmary|health cent(?:er|re)|optometrist"
_PLACE_EN = re.compile(
    rf"\b(?:at|to|in|with)\s+((?:the |a |my )?(?:[\w'&-]+ ){{0,5}}?(?:{_KIND_EN}))\b", re.IGNORECASE
)
_NUMBER = {c: n for n, c in enumerate("零一二三四五六七八九十")} | {
    "两": 2, "十一": 11, "十二": 12,
}  # fmt: skip
_TIME_ZH = re.compile(
    r"(早上|上午|早晨|中午|下午|傍晚|晚上)?\s*(\d{1,2}|十[一二]?|[一二两三四五六七八九])\s*"
    r"(?:[点時时]\s*(半|一刻|三刻|\d{1,2}(?=\s*分|(?!\d)))?|[:：]\s*(\d{2}))"
)
_TIME_EN = re.compile(
    r"\b(\d{1,2})(?::(\d{2}))?\s*([ap])\.?m\b|\b(\d{1,2}):(\d{2})\b", re.IGNORECASE
)
_LONGEST = 60


def parse_place(text: str) -> str | None:
    """Return the place a text names, as written, or None."""
    plain = " ".join(unicodedata.normalize("NFKC", text).split())
    if len(plain) > 200:
        return None
    for pattern in (_PLACE_ZH, _PLACE_EN, _BARE_ZH):
        if match := pattern.search(plain):
            place = re.sub(r"^(?:the|a|my) ", "", match[1].strip(), flags=re.IGNORECASE)
            return place[:_LONGEST] or None
    return None


def parse_time(text: str) -> str | None:
    """Return the time of day a text names as ``HH:MM``; None when there is none, or half of one."""
    plain = unicodedata.normalize("NFKC", text)
    if len(plain) > 200:
        return None
    if match := _TIME_ZH.search(plain):
        hour = int(match[2]) if match[2].isdigit() else _NUMBER[match[2]]
        minute = {"半": 30, "一刻": 15, "三刻": 45}.get(match[3] or "")
        if minute is None:
            minute = int(match[3] or match[4] or 0)
        half = match[1] or ""
        if (half in ("下午", "傍晚", "晚上") or (half == "中午" and hour < 6)) and hour < 12:
            hour += 12
        return f"{hour:02}:{minute:02}" if hour < 24 and minute < 60 else None
    if match := _TIME_EN.search(plain):
        if match[4]:
            hour, minute = int(match[4]), int(match[5])
        else:
            hour, minute = (
                int(match[1]) % 12 + (12 if match[3].lower() == "p" else 0),
                int(match[2] or 0),
            )
        return f"{hour:02}:{minute:02}" if hour < 24 and minute < 60 else None
    return None
