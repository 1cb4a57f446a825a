"""Last check of what the model wants to say, before anybody reads it.

Sentence by sentence: a sentence that doses, diagnoses, comforts falsely, promises or harms is
taken out and, where needed, replaced by a fixed text. Rules of clinical specification §5. Pure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from core.agent.comfort import comfort, directs
from core.agent.contradiction import Known, first_contradiction, is_open, plays_down
from core.agent.diagnoses import is_diagnosis
from core.agent.doses import is_dose
from core.agent.sentences import SENTENCE_END, plain, sentences
from core.message import Language
from core.texts import text
from core.urgency import Urgency

Problem = Literal["dose", "diagnosis", "comfort", "promise", "harm"]


@dataclass(frozen=True, slots=True)
class Checked:
    """The answer as it may be said.

    Attributes:
        text: corrected Markdown; "" when too little was left: say something else instead.
        problems: what was found, each kind once, in order.
    """

    text: str
    problems: tuple[Problem, ...] = ()


def check(answer: str, *, language: Language, known: Known) -> Checked:
    """Correct an answer of the model.

    Args:
        answer: Markdown as the model wrote it, any language.
        language: of the texts added here.
        known: what is open and what the photos show. Whether the answer contradicts it as a whole
            is `core.agent.contradiction`'s to say; here single sentences are taken out.
    """
    kept: list[str] = []
    problems: list[Problem] = []
    n_sentences = 0
    context = ""
    for sentence in sentences(answer):
        line = plain(sentence)
        if line.strip():
            n_sentences += 1
        found = _problem(line, context, known)
        context = f"{context[-200:]} {line}"
        if found is None:
            kept.append(sentence)
        else:
            if found not in problems:
                problems.append(found)
            if sentence.endswith("\n"):
                kept.append("\n")
    left = re.sub(r"\n{3,}", "\n\n", "".join(kept)).strip()
    n_left = sum(bool(re.search(r"\w", s)) for s in sentences(left))
    if not n_left or (problems and n_left * 2 < n_sentences):
        return Checked("", tuple(problems))  # what is left was built on what is gone
    added = [text(language, f"agent.safety.instead.{p}") for p in problems if p in _INSTEAD]
    added += _required(left, language, known, was_comforting="comfort" in problems)
    return Checked("\n\n".join([left, *added]), tuple(problems))


def showable(so_far: str, *, language: Language, known: Known) -> str:
    """Return the whole sentences of a growing answer that may be shown while it grows.

    Ends before the first sentence with a problem or a contradiction; the final text comes from
    `check`.
    """
    del language  # both are always looked for
    ends = [m.end() for m in SENTENCE_END.finditer(so_far)]
    whole = so_far[: ends[-1]] if ends else ""
    shown, context = "", ""
    for sentence in sentences(whole):
        line = plain(sentence)
        if _problem(line, context, known) or first_contradiction(sentence, known):
            break
        context = f"{context[-200:]} {line}"
        shown += sentence
    return shown.strip()


_INSTEAD: frozenset[Problem] = frozenset({"dose", "diagnosis"})


def _required(left: str, language: Language, known: Known, *, was_comforting: bool) -> list[str]:
    """Return what an answer must hold and does not: how soon to go, and that a photo is no exam."""
    added: list[str] = []
    of_photo = bool(known.readings) and bool(_SPEAKS_OF_PHOTO.search(left))
    sends_on = directs(plain(left))
    is_pressing = known.open_urgency.rank <= Urgency.SAME_DAY.rank
    if was_comforting or (is_pressing and not sends_on):
        added.append(text(language, f"agent.safety.care.{care_of(known.open_urgency)}"))
    elif of_photo and not is_open(known.open_urgency) and not sends_on:
        asks = {f.decision for r in known.readings for f in r.findings} & {"refer", "borderline"}
        if asks:
            added.append(text(language, "agent.safety.care.photo"))
    disclaimer = text(language, "agent.safety.reading_disclaimer")
    if of_photo and disclaimer not in left:
        added.append(disclaimer)
    return added


def care_of(urgency: Urgency) -> str:
    """Return which fixed words (``agent.safety.care.<key>``) say how soon to go."""
    match urgency:
        case Urgency.IMMEDIATE:
            return "immediate"
        case Urgency.SAME_DAY:
            return "same_day"
        case Urgency.WITHIN_48_H | Urgency.TWO_WEEKS:
            return "soon"
        case _:
            return "some_time"


# --- rules -----------------------------------------------------------------------------------

_PROMISE = re.compile(
    r"(?:保证|一定能|一定会|肯定能|肯定会|绝对能|绝对会|包(?:您|你)|百分之?百|"
    r"100%)[^,，。]{0,10}(?:好|恢复|治愈|痊愈|没事|复明|看清)"
    r"|\b(?:i promise|i guarantee|guaranteed to"
    r"|will (?:definitely|certainly|surely|fully|completely) "
    r"(?:recover|heal|be cured|improve|get better)|100% (?:cured|safe|sure))"
)
_HARM = re.compile(
    r"(?:母乳|蜂蜜|茶水|尿|口水|白酒|牙膏|香油|盐水)[^,，。]{0,8}(?:滴|洗|敷|涂|点)|(?:滴|洗|敷|涂)"
    r"[^,，。]{0,4}(?:母乳|蜂蜜|尿|口水|白酒)|自己[^,，。]{0,6}(?:拔出|取出|挑出|抠出)|(?:剩下|"
    r"以前剩|家里剩|别人)"
    r"的?[^,，。]{0,4}(?:眼药|药水|药)|\b(?:breast ?milk|honey|urine|saliva)\b.{0,30}\beyes?\b"
    r"|\b(?:pull|take|remove) (?:it|the (?:object|glass|metal|splinter)) out\b"
    r"|\bleft-?over (?:drops|antibiotics|medicine)"
)
_WARNS = re.compile(
    r"不要|请勿|切勿|不能|不可|别|避免|不建议|不应|无法|没有人能|谁也不能|不会"
    r"|\b(?:don't|do not|never|not|avoid|without|cannot|can't|no one"
    r"|no (?:left-?over|breast|honey))\b"
)
_SPEAKS_OF_PHOTO = re.compile(
    r"照片|图片|眼底|图像|拍|识别结果|检测结果|\b(?:photo|photograph|image|picture|fundus|retina)",
    re.IGNORECASE,
)


_FALSE = frozenset({"well", "no_need", "passes", "wait"})


def _problem(line: str, context: str, known: Known) -> Problem | None:
    if is_dose(line, context):
        return "dose"
    if is_diagnosis(line):
        return "diagnosis"
    if _HARM.search(line) and not _WARNS.search(line):
        return "harm"
    if _PROMISE.search(line) and not _WARNS.search(line):
        return "promise"
    # A normal photo is no reason to comfort either: symptoms override it (specification §3).
    if plays_down(line, known.open_urgency) or (known.readings and comfort(line) & _FALSE):
        return "comfort"
    return None
