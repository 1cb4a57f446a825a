"""Finds an answer that says something else than what is known. Pure.

What is known comes from the fundus reader and from triage, and the model may explain it, never
outvote it: a photo that asks for referral is not "fine", an unreadable one shows nothing, what was
not assessed is neither there nor ruled out, and an open red flag is neither harmless nor for next
week. Clause by clause and within what the clause is about: an eye, a condition, or all of it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from core.agent.comfort import comfort, directs, sounds_good
from core.agent.sentences import clauses, plain, sentences
from core.reading import Condition, Decision, Eye, Reading
from core.urgency import Urgency

Contradiction = Literal[
    "urgency", "referable", "borderline", "unreadable", "not_assessed", "not_found", "grade"
]


@dataclass(frozen=True, slots=True)
class Known:
    """What an answer must not contradict.

    Attributes:
        open_urgency: most urgent class that is still open in this conversation.
        readings: of the person's photos, newest last.
    """

    open_urgency: Urgency = Urgency.NONE
    readings: tuple[Reading, ...] = ()


def is_open(urgency: Urgency) -> bool:
    """Tell whether a class asks for a doctor within two weeks."""
    return urgency.rank <= Urgency.TWO_WEEKS.rank


def contradictions(answer: str, known: Known) -> tuple[Contradiction, ...]:
    """Return in what ways an answer contradicts what is known, each once, in order.

    Args:
        answer: as the model wrote it, either language.
        known: see `Known`.
    """
    found: dict[Contradiction, None] = {}
    eyes: frozenset[Eye] = frozenset()
    if worry := _sounds_good(answer, known):
        found[worry] = None
    for sentence in map(plain, sentences(answer)):
        if named := _eyes(sentence):
            eyes = named
        found |= dict.fromkeys(_in_sentence(sentence, known, eyes))
    return tuple(found)


def _sounds_good(answer: str, known: Known) -> Contradiction | None:
    """Find good news that sends nobody to a doctor while something is open, however it is put.

    What comfort can be said in has no end; that it comes without "see a doctor" is what all of
    it has in common.
    """
    lines = [plain(s) for s in sentences(answer)]
    if directs("\n".join(lines)):
        return None
    about_photo = any(_PHOTO.search(line) for line in lines)
    named = any(_conditions(line) for line in lines)
    if not any(sounds_good(line) for line in lines):
        return None
    if known.open_urgency.rank <= Urgency.SAME_DAY.rank:
        return "urgency"
    if known.readings and about_photo and not named:
        readings = _meant(known.readings, frozenset[Eye]().union(*map(_eyes, lines)))
        return next((c for r in readings for c in _all_of_it(r)), None)
    return None


def first_contradiction(sentence: str, known: Known) -> Contradiction | None:
    """Return the first contradiction of one sentence, for an answer that is still growing."""
    line = plain(sentence)
    return next(iter(_in_sentence(line, known, _eyes(line))), None)


def _in_sentence(line: str, known: Known, eyes: frozenset[Eye]) -> list[Contradiction]:
    found: list[Contradiction] = []
    if plays_down(line, known.open_urgency):
        found.append("urgency")
    if known.readings:
        readings = _meant(known.readings, eyes)
        if _OPEN.search(line):
            return found
        about = _conditions(line)
        for clause in clauses(line):
            # "… was looked for, and there is no sign": the sign belongs to what was named before.
            meant = _conditions(clause) or (about if _SIGN.search(clause) else ())
            found += _in_clause(clause, line, meant, readings)
    return found


# --- urgency ---------------------------------------------------------------------------------

_TOO_LATE = {
    Urgency.IMMEDIATE: frozenset({"later", "tomorrow"}),
    Urgency.SAME_DAY: frozenset({"later", "tomorrow"}),
    Urgency.WITHIN_48_H: frozenset({"later"}),
}
_MONTHS = re.compile(
    r"下个?月|[一两三四五六几半]个?月(?:后|以后|再)|(?:几|两|三|四)(?:周|个?星期)(?:后|以后|再)|"
    r"复查的?时候|体检|有空|"
    r"\b(?:next month|in (?:a|two|three|four|several|\d+) months?|(?:few|couple of) months|"
    r"next (?:visit|appointment|year)|whenever)\b"
)


def plays_down(line: str, urgency: Urgency) -> bool:
    """Tell whether a plain sentence makes an open class of urgency look smaller than it is."""
    if not is_open(urgency):
        return False
    kinds = comfort(line)
    if kinds & {"well", "no_need", "passes"}:
        return True
    if urgency is Urgency.TWO_WEEKS:
        return "later" in kinds and bool(_MONTHS.search(line) or _WATCH.search(line))
    return bool(kinds & _TOO_LATE[urgency])


_WATCH = re.compile(r"观察|再说|再等|看看情况|\b(?:wait and see|see how|keep an eye|watch it)\b")

# --- photos ----------------------------------------------------------------------------------

_OPEN = re.compile(
    r"如果|假如|倘若|要是|即使|就算|哪怕|即便|是否|是不是|吗$|[?？]|不等于|不代表|不意味|不能说|"
    r"不好说|说明不了|不能排除|"
    r"不能说明|不要以为|别以为|正常也|有没有|想知道|(?<!这张)(?<!您的)(?<!从)(?:检查|照片|筛查|"
    r"医生)(?:可以|能够?|会)|"
    r"\b(?:if|even (?:if|when)|whether|does(?:n't| not) mean|do(?:n't| not) mean|can(?:'t|"
    r"not) (?:say|tell|"
    r"rule|know|assume)|"
    r"could not (?:read|say|tell)|says nothing|tells? (?:us )?nothing|not proof|photos? (?:can|"
    r"may)|"
    r"does(?:n't| not) (?:prove|replace|rule))\b|\?"
)
_CONDITIONS: dict[Condition, re.Pattern[str]] = {
    "dme": re.compile(
        r"黄斑(?:区)?水肿|\bmacular (?:o?edema|swelling)\b|\bswelling (?:of|in|at|"
        r"near) the (?:macula|centre|center)\b|\bdme\b"
    ),
    "amd": re.compile(r"黄斑(?:区)?(?:变性|病变)|\bmacular degeneration\b|\bamd\b"),
    "dr": re.compile(
        r"糖网|糖尿病(?:性)?(?:视网膜|眼)|糖尿病[^,，]{0,6}(?:改变|病变|表现|迹象)|(?:出血点|"
        r"微血管瘤|渗出)|"
        r"\bretinopathy\b|\bdr\b|\bdiabetic (?:eye|retin|change|damage)\w*|"
        r"\bchanges from diabetes\b|"
        r"\b(?:bleeding|ha?emorrhages?|microaneurysms?|exudates?)\b"
    ),
    "glaucoma": re.compile(
        r"青光眼|视神经|视盘|杯盘比|\bglaucoma\w*|\boptic (?:nerve|disc)|\bcupping\b"
    ),
    "pm": re.compile(
        r"病理性近视|近视(?:性)?(?:的)?(?:眼底|视网膜|病变)|\bpathologic(?:al)? myopia\b|"
        r"\bmyopic (?:degen|change|mac)\w*"
    ),
}
_SIGN = re.compile(
    r"迹象|征象|阴性|阳性|表现|这[一]?项|\b(?:signs?|evidence|negative|positive|trace|it|them)\b"
)
_NOT_LOOKED = re.compile(
    r"(?:没有?|未|不|无法|没法|不能|并未|还没|不包括|不含)(?:能|有|做|对|被|进行|包括)*(?:评估|"
    r"检查|查|测|看(?!到|出|见)|判断|分析|读|涉及)|"
    r"(?:评估|判断|读|查|看)不了|没有(?:这|该|相关)(?:一)?项|没有结果|读不出|拍不出|"
    r"不在[^,，]{0,6}范围|不做|以外|"
    r"\b(?:not|n't|never|cannot|can't|could not|unable to)(?: \w+){0,2} (?:assess|evaluat|look|"
    r"check|test|exam|screen|"
    r"cover|read|judge|include)\w*|\bno result\b|\bnot part of\b"
)
_DENIES = re.compile(
    r"阴性|正常|健康|没事|没问题|安全|排除了|可以排除|"
    r"(?:没|没有|无|未|不见|未见|看不到|看不出|找不到)(?:有|再|能)?(?:看到|看出|发现|见到?|检出|"
    r"查出|提示|显示|出现|找到|存在)?(?:任何|什么|明显|相关)*"
    r"(?:的)?(?:需要转诊)?(?:的)?(?:[^,，不没无未]{0,14})(?:迹象|征象|表现|病变|糖网|水肿|变性|"
    r"青光眼|问题|异常|出血|损伤|近视|毛病|情况|改变|变化|信号)|"
    r"\b(?:no|not any|without|free of|negative for|ruled out|rules out|absence of|clear of|nor|"
    r"don't see|"
    r"didn't (?:find|see|show)|does not show|doesn't show|did not (?:find|show|see)|"
    r"not (?:detect\w+|found|seen|"
    r"present|have))\b|\bnegative\b|\b(?:is|looks|appears|seems) (?:\w+ )?(?:fine|normal|"
    r"healthy|good|clear|ok)\b|"
    r"\b(?:healthy|normal) (?:optic|retina|macula|disc)"
)
_NO_REFERRAL = re.compile(
    r"(?:没|没有|无|未|未见|不)[^,，]{0,8}(?:需要|用|要|必)[^,，]{0,3}(?:转诊|看医生|就医|"
    r"看眼科|医生)|不(?:建议|必|用|需要|需)转诊|"
    r"\b(?:no|not|nothing|n't)\b.{0,28}\b(?:referral|refer|needs? a doctor|see a doctor|doctor)\b"
)
_SHOWS = re.compile(
    r"(?:显示|提示|看到|看出|可见|看得出|能看出|发现|检出|呈现|属于|是)(?:了|有|出|您)*|阳性|"
    r"\b(?:shows?|showed|showing|reveals?|found|finds?|detect\w*|indicate\w*|suggests?|positive|"
    r"i (?:can )?see|"
    r"there (?:is|are)|visible)\b"
)
_PHOTO = re.compile(
    r"照片|图片|图像|眼底|结果|读片|机器|影像|片子|这张|视网膜|筛查|这项|看起来|能看出|"
    r"\b(?:photos?|pictures?|images?|scans?|readings?|results?|retinas?|fundus|screening|it|"
    r"this|i)\b"
)
_DECISION_KINDS: dict[Decision, Contradiction] = {"refer": "referable", "borderline": "borderline"}


def _conditions(line: str) -> tuple[Condition, ...]:
    return tuple(c for c, pattern in _CONDITIONS.items() if pattern.search(line))


_BOTH = re.compile(r"两只眼|双眼|两眼|两边|\bboth\b|\beach eye\b|\beither eye\b")
_RIGHT = re.compile(r"右眼|右边|右侧|\bright\b|\bod\b")
_LEFT = re.compile(r"左眼|左边|左侧|\bleft\b|\bos\b")


def _eyes(line: str) -> frozenset[Eye]:
    if _BOTH.search(line):
        return frozenset({"OD", "OS"})
    named: set[Eye] = set()
    if _RIGHT.search(line):
        named.add("OD")
    if _LEFT.search(line):
        named.add("OS")
    return frozenset(named)


def _meant(readings: Sequence[Reading], eyes: frozenset[Eye]) -> list[Reading]:
    """Return the newest reading of each eye that is spoken of; of unknown eyes the newest."""
    newest: dict[Eye | None, Reading] = {}
    for reading in readings:
        newest[reading.eye] = reading
    if eyes and any(e in newest for e in eyes):
        return [newest[e] for e in eyes if e in newest]
    return list(newest.values())


def _in_clause(
    clause: str, line: str, about: Sequence[Condition], readings: Sequence[Reading]
) -> list[Contradiction]:
    if _NOT_LOOKED.search(clause):
        return []
    if (named := _eyes(clause)) and len(named) == 1:
        readings = _meant(readings, named)
    kinds = comfort(clause)
    denies = bool(_DENIES.search(clause))
    shows = bool(_SHOWS.search(clause) and _PHOTO.search(line)) and not denies
    dismisses = bool(kinds & {"well", "no_need"}) or bool(_NO_REFERRAL.search(clause))
    found: list[Contradiction] = []
    for reading in readings:
        if reading.outcome != "assessed":
            if dismisses or ((denies or shows) and about):
                found.append("unreadable")
            continue
        if about and (denies or shows or dismisses):
            for condition in about:
                found += _about_condition(
                    reading, condition, denies=denies or dismisses, shows=shows
                )
        elif dismisses or (denies and _PHOTO.search(line)):
            found += _all_of_it(reading)
        if "dr" in about and _is_wrong_grade(clause, reading.dr_grade):
            found.append("grade")
    return found


def _about_condition(
    reading: Reading, condition: Condition, *, denies: bool, shows: bool
) -> list[Contradiction]:
    decision = reading.finding(condition).decision
    if decision == "not_assessed":
        return ["not_assessed"]
    if denies and decision in _DECISION_KINDS:
        return [_DECISION_KINDS[decision]]
    if shows and not denies and decision == "negative":
        return ["not_found"]
    return []


def _all_of_it(reading: Reading) -> list[Contradiction]:
    if reading.outcome != "assessed":
        return ["unreadable"]
    decisions = {f.decision for f in reading.findings}
    if "refer" in decisions:
        return ["referable"]
    return ["borderline"] if "borderline" in decisions else []


_GRADE = re.compile(r"([0-4零一二三四])\s*级|\bgrade\s*([0-4])\b|([0-4])期")
_DIGITS = {"零": 0, "一": 1, "二": 2, "三": 3, "四": 4}
_SEVERITY = (
    (re.compile(r"轻度|早期|\bmild\b"), 1),
    (re.compile(r"中度|\bmoderate\b"), 2),
    (re.compile(r"重度|严重|\bsevere\b"), 3),
    (re.compile(r"增殖|\bproliferative\b(?<!non-proliferative)"), 4),
)


def _is_wrong_grade(clause: str, grade: int | None) -> bool:
    """Tell whether a clause names a grade below the reader's; a higher one only hurries."""
    if grade is None:
        return False
    said = [m[1] or m[2] or m[3] for m in _GRADE.finditer(clause)]
    named = [_DIGITS.get(s, -1) if s in _DIGITS else int(s) for s in said]
    if not named:
        named = [n for pattern, n in _SEVERITY if pattern.search(clause)]
    return bool(named) and max(named) < grade
