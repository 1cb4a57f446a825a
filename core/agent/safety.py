"""Last check of what the model wants to say, before anybody reads it.

Sentence by sentence: a sentence that doses, diagnoses, comforts falsely, promises or harms is
taken out and, where needed, replaced by a fixed text. Rules of clinical specification §5. Pure.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Literal

from core.message import Language
from core.reading import Reading
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


def check(
    answer: str, *, language: Language, open_urgency: Urgency, reading: Reading | None
) -> Checked:
    """Correct an answer of the model.

    Args:
        answer: Markdown as the model wrote it, any language.
        language: of the texts added here.
        open_urgency: most urgent class that is still open in this conversation.
        reading: the photo reading the conversation is about, or None.
    """
    # A normal photo is no reason to comfort either: symptoms override it (specification §3).
    no_comfort = is_open(open_urgency) or reading is not None
    kept: list[str] = []
    problems: list[Problem] = []
    n_sentences = 0
    context = ""
    for sentence in _sentences(answer):
        plain = _plain(sentence)
        if plain.strip():
            n_sentences += 1
        found = _problem(plain, context, no_comfort=no_comfort)
        context = f"{context[-200:]} {plain}"
        if found is None:
            kept.append(sentence)
        else:
            if found not in problems:
                problems.append(found)
            if sentence.endswith("\n"):
                kept.append("\n")
    left = re.sub(r"\n{3,}", "\n\n", "".join(kept)).strip()
    n_left = sum(bool(re.search(r"\w", s)) for s in _sentences(left))
    if not n_left or (problems and n_left * 2 < n_sentences):
        return Checked("", tuple(problems))  # what is left was built on what is gone
    added = [text(language, f"agent.safety.instead.{p}") for p in problems if p in _INSTEAD]
    if "comfort" in problems:
        added.append(text(language, f"agent.safety.care.{_care(open_urgency)}"))
    if reading is not None and _SPEAKS_OF_PHOTO.search(left):
        disclaimer = text(language, "agent.safety.reading_disclaimer")
        if disclaimer not in left:
            added.append(disclaimer)
    return Checked("\n\n".join([left, *added]), tuple(problems))


def showable(
    so_far: str, *, language: Language, open_urgency: Urgency, reading: Reading | None
) -> str:
    """Return the whole sentences of a growing answer that may be shown while it grows.

    Ends before the first sentence with a problem; the final text comes from `check`.
    """
    ends = [m.end() for m in _SENTENCE_END.finditer(so_far)]
    whole = so_far[: ends[-1]] if ends else ""
    no_comfort = is_open(open_urgency) or reading is not None
    shown, context = "", ""
    for sentence in _sentences(whole):
        plain = _plain(sentence)
        if _problem(plain, context, no_comfort=no_comfort):
            break
        context = f"{context[-200:]} {plain}"
        shown += sentence
    return shown.strip()


def is_open(urgency: Urgency) -> bool:
    """Tell whether a class asks for a doctor within two weeks."""
    return urgency.rank <= Urgency.TWO_WEEKS.rank


_INSTEAD: frozenset[Problem] = frozenset({"dose", "diagnosis"})


def _care(urgency: Urgency) -> str:
    match urgency:
        case Urgency.IMMEDIATE:
            return "immediate"
        case Urgency.SAME_DAY:
            return "same_day"
        case Urgency.WITHIN_48_H | Urgency.TWO_WEEKS:
            return "soon"
        case _:
            return "some_time"


# --- sentences -------------------------------------------------------------------------------

_SENTENCE_END = re.compile(r"[。！？!?；;\n]+|\.(?=\s)")


def _sentences(answer: str) -> list[str]:
    ends = [m.end() for m in _SENTENCE_END.finditer(answer)]
    starts = [0, *ends]
    return [s for a, b in zip(starts, [*ends, len(answer)], strict=True) if (s := answer[a:b])]


def _plain(sentence: str) -> str:
    """Return a sentence as it is matched: full-width forms folded, emphasis removed."""
    folded = unicodedata.normalize("NFKC", sentence).lower().replace("’", "'")
    return re.sub(r"[*_`#\u200b-\u200d\ufeff]", "", folded).rstrip(" .。!…\n")


def _problem(plain: str, context: str, *, no_comfort: bool) -> Problem | None:
    if _is_dose(plain, context):
        return "dose"
    if _is_diagnosis(plain):
        return "diagnosis"
    if _HARM.search(plain) and not _WARNS.search(plain):
        return "harm"
    if _PROMISE.search(plain) and not _WARNS.search(plain):
        return "promise"
    if no_comfort and _COMFORT.search(plain) and not _NOT_COMFORT.search(plain):
        return "comfort"
    return None


# --- rules: both languages are always looked for ---------------------------------------------

_N = r"(?:\d+(?:\.\d+)?|[一二两三四五六七八九十半几])"
_DRUG = re.compile(
    r"药|滴眼|眼膏|滴剂|药片|胶囊|注射|激素|胰岛素|抗生素|人工泪液|泪液|阿托品|拉坦|噻吗|布林佐|"
    r"溴莫|毛果芸香|左氧|妥布|氧氟|玻璃酸|地塞|泼尼松|甘露醇|乙酰唑胺|服用|口服|吃|涂|点眼|"
    r"\b(?:drops?|ointment|medicines?|medications?|tablets?|pills?|capsules?|insulin|steroids?|"
    r"antibiotics?|tears|atropine|latanoprost|timolol|brinzolamide|brimonidine|pilocarpine|"
    r"acetazolamide|prednis\w+|dexamethasone|tobra\w+|\w+floxacin|ibuprofen|aspirin|paracetamol|"
    r"take|instil\w*|apply)\b"
)
_AMOUNT = re.compile(
    rf"{_N}\s*(?:毫克|微克|毫升|滴|片|粒|单位|支)|{_N}\s*(?:mg|mcg|μg|ug|ml|iu)\b"
    rf"|\b(?:\d+(?:\.\d+)?|one|two|three|four|half(?: a)?)\s*(?:milligrams?|drops?|tablets?|pills?|"
    rf"capsules?|units?)\b"
)
_CONCENTRATION = re.compile(r"\d+(?:\.\d+)?\s*%")
_FREQUENCY = re.compile(
    rf"(?:每|一)\s*(?:日|天|晚|早|周|{_N}?\s*(?:个)?\s*小时)\s*{_N}?\s*(?:次|滴|片|粒|点|涂|用|服|吃)"
    rf"|(?:每|隔)\s*{_N}\s*(?:个)?\s*(?:小时|分钟|天)|{_N}\s*次\s*/\s*(?:日|天)|{_N}\s*/\s*(?:日|天)"
    r"|早晚各|睡前(?:点|滴|涂|用|服|吃)"
    r"|\b(?:once|twice|(?:one|two|three|four|five|six|\d+)\s*(?:times|x))\s*"
    r"(?:(?:a|per|each|every)\s*)?(?:day|daily|night|hour|week)"
    r"|\bevery\s+(?:\w+\s+)?(?:hours?|day|night|morning|evening)\b"
    r"|\b(?:daily(?! (?:life|activities|living|routine|tasks))|hourly|nightly)\b"
    r"|\bat bedtime\b|\b[qbt]\.?i?\.?d\b"
)
# Frequencies that are no drug's: warm compresses, breaks, check-ups.
_NO_DRUG = re.compile(
    r"热敷|冷敷|按摩|往下按|冲洗|清洁|清洗|休息|户外|检查|复查|复诊|随访|眨眼|远眺|看远|洗手|用眼|"
    r"\b(?:compress\w*|outdoors?|check\w*|rest|screen|breaks?|exam\w*|blink\w*|rinse|wash|warm|massage)\b"
)
_CHANGE = re.compile(
    r"(?:停用|停掉|停药|停服|加大|加量|减量|增加|减少|换成|换用|改用)[^,，。]{0,8}"
    r"(?:药|滴眼|剂量|用量|胰岛素|激素|阿司匹林|华法林)|(?:停药|加量|减量|把药停)"
    r"|(?:剂量|用量|药量)[^,，。]{0,4}(?:加大|增加|加倍|减少|减半|调高|调低)"
    r"|\b(?:stop|discontinue|increase|reduce|double|halve|switch|skip)\s+(?:\w+\s+){0,3}"
    r"(?:dos(?:e|age)|drops|medicines?|medications?|tablets?|insulin|steroids?|aspirin|warfarin|"
    r"blood thinners?)\b"
)
_WARNS = re.compile(
    r"不要|请勿|切勿|不能|不可|别|避免|不建议|不应|不自己|不自行|"
    r"不随便|不擅自|听医生|问医生|遵医嘱|无法|没有人能|谁也不能|不会"
    r"|\b(?:don't|do not|never|not|avoid|without|cannot|can't|no one"
    r"|no (?:left-?over|breast|honey))\b"
)

_DISEASE_ZH = (
    r"(?:青光眼|白内障|结膜炎|角膜炎|葡萄膜炎|虹膜炎|睑缘炎|视神经炎|麦粒肿|霰粒肿|飞蚊症|干眼|"
    r"视网膜|黄斑|糖网|近视|远视|散光|弱视|斜视|翼状胬肉|糖尿病|高血压|"
    r"\w{0,6}(?:炎|病(?!人|史|情)|症(?!状)|障|变性|脱离|出血|阻塞|水肿|裂孔|肿瘤|感染))"
)
_DIAGNOSIS_ZH = re.compile(
    r"(?:您|你)(?:的?(?:孩子|妈妈|母亲|爸爸|父亲|老伴|家人|左眼|右眼|双眼|眼睛))?"
    rf"(?:这|的情况|目前|现在|已经|肯定|一定|明显|显然|确实|很可能|"
    rf"大概率|应该|就)*(?:得了|患有|患了|得的是|患的是|确诊|就是|是得了|有|是|没有|没得|并没有|不是)"
    rf"(?:了|为|典型的|轻度|中度|重度|早期|晚期|急性|慢性|一种|的)*{_DISEASE_ZH}"
    rf"|(?:这|那|症状)(?:就是|肯定是|一定是|明显是|显然是|是典型的){_DISEASE_ZH}"
    rf"|(?:可以|能够|已)?(?:诊断|确诊)(?:为|是){_DISEASE_ZH}"
    rf"|(?:(?:可以|已经?|能够?|基本)排除了?|排除了|不可能是){_DISEASE_ZH}"
)
_HEDGED_ZH = re.compile(
    r"如果|假如|倘若|若|要是|是否|有没有|吗|[?？]|一旦|提到|您说|你说|告诉|曾|(?<!很)可能(?!性)|"
    r"也许|或许|不能|无法|不代表|不等于|不意味|不是说|医生(?:会|才能|可以|能)|"
    r"需要医生|才能|以便|为了|建议.{0,12}排除|检查.{0,12}排除|人群"
)
_DISEASE_EN = (
    r"(?:glaucoma|cataracts?|retin\w+|conjunctivitis|keratitis|uveitis|iritis|scleritis|detachment|"
    r"macular \w+|degeneration|diabet\w+|blepharitis|dry eyes?|hordeolum|chalazion|amd|oedema|"
    r"edema|occlusion|neuritis|infection|myopia|disease|syndrome|disorder|pink eye|pterygium|"
    r"ha?emorrhage|ulcer|migraine|tumou?r|hypertension|floaters)"
)
_DIAGNOSIS_EN = re.compile(
    rf"\b(?:you|your child|he|she|the patient)(?:'ve| do| clearly| definitely| certainly| probably|"
    rf" most likely| very likely| likely| do not| don't| does not| doesn't| obviously| already)*"
    rf"\s+(?:have|has|got|suffer from|suffers from|developed|are suffering from|"
    rf"is suffering from|have got|have developed)\s+(?:[\w-]+\s+){{0,4}}?{_DISEASE_EN}\b"
    rf"|\b(?:this|it)\s+(?:is|'s)\s+(?:definitely|clearly|certainly|obviously|a case of|typical)\s+"
    rf"(?:[\w-]+\s+){{0,3}}?{_DISEASE_EN}\b"
    rf"|\b(?:your|the) diagnosis is\b|\bi (?:can )?diagnose\b|\byou(?:'ve| have) been diagnosed\b"
)
_HEDGED_EN = re.compile(
    r"\b(?:if|whether|when|in case|do you have|did you|may|might|could|possibly|perhaps|you said|"
    r"you mentioned|you told|people|patients who|cannot|can't|unable|doesn't mean|does not mean|"
    r"to rule out|history of|because)\b|\?"
)

_COMFORT = re.compile(
    r"(?:不用|不需要|不必|无需|没必要|用不着)[^,，。]{0,6}(?:看医生|看眼科|就医|就诊|去医院|"
    r"担心|检查|治疗|处理|紧张|着急|害怕|复查|急诊)|没(?:什么)?(?:大碍|事|关系|大问题|问题)|无大碍|放心|问题不大|"
    r"(?:不|并不|不太)(?:严重|要紧|紧急)|(?:一切|完全|眼睛|眼底|视网膜|结果|照片)(?:都|很|是|非常|完全|基本)*(?:正常|健康)(?!的?人)|可以(?:先|再)?(?:等|观察|拖)|"
    r"(?:会|就能|能)(?:自己|自然|自行|自动)?(?:好|恢复|消失|痊愈|缓解)的?$|自愈|"
    r"不是(?:急症|大病)|过几天(?:再|就)|没有(?:任何)?(?:危险|异常)"
    r"|\bno need (?:to|for)\b.{0,20}\b(?:see|visit|go|worry|doctor|hospital|check)"
    r"|\b(?:don't|do not|needn't|doesn't|does not) (?:need|have) to\b.{0,12}\b"
    r"(?:see|visit|go|worry|be)"
    r"|\b(?:don't|do not|needn't) (?:worry|be worried|be concerned|panic)\b|\bnothing to worry\b"
    r"|\b(?:everything|all|it|your eyes?|your retina) (?:is|are|looks?|seems?) "
    r"(?:fine|normal|ok|okay|good|healthy|well)\b|\b(?:is|are|it's) (?:not serious|nothing serious|"
    r"harmless|perfectly normal|not urgent|not an emergency)\b|\byou(?:'re| are) (?:fine|healthy|"
    r"ok|okay|safe)\b|\b(?:can|could) (?:safely )?wait\b|\b(?:go|goes) away by|\bon its own\b"
    r"|\brest assured\b|\bclean bill\b|\bno (?:danger|cause for concern|signs? of anything)\b"
)
_NOT_COMFORT = re.compile(
    r"不要以为|别以为|不代表|不等于|不意味|不能说明|不能排除|即使|就算|哪怕|不可以|"
    r"不能等|不要等|不能拖|放心不下|才能?放心|正常也|要紧不要紧|能保证|"
    r"\b(?:doesn't mean|does not mean|even if|cannot rule out|can't wait|cannot wait|not safe)\b"
)
_PROMISE = re.compile(
    r"(?:保证|一定能|一定会|肯定能|肯定会|百分之?百|100%)[^,，。]{0,10}(?:好|恢复|治愈|痊愈|没事|复明|看清)"
    r"|\b(?:i promise|i guarantee|guaranteed to"
    r"|will (?:definitely|certainly|surely|fully|completely) "
    r"(?:recover|heal|be cured|improve|get better)|100% (?:cured|safe|sure))"
)
_HARM = re.compile(
    r"(?:母乳|蜂蜜|茶水|尿|口水|白酒|牙膏|香油|盐水)[^,，。]{0,8}(?:滴|洗|敷|涂|点)|(?:滴|洗|敷|涂)"
    r"[^,，。]{0,4}(?:母乳|蜂蜜|尿|口水|白酒)|自己[^,，。]{0,6}(?:拔出|取出|挑出|抠出)|(?:剩下|以前剩|家里剩|别人)"
    r"的?[^,，。]{0,4}(?:眼药|药水|药)|\b(?:breast ?milk|honey|urine|saliva)\b.{0,30}\beyes?\b"
    r"|\b(?:pull|take|remove) (?:it|the (?:object|glass|metal|splinter)) out\b"
    r"|\bleft-?over (?:drops|antibiotics|medicine)"
)
_SPEAKS_OF_PHOTO = re.compile(
    r"照片|图片|眼底|图像|拍|识别结果|检测结果|\b(?:photo|photograph|image|picture|fundus|retina)",
    re.I,
)


def _is_dose(plain: str, context: str) -> bool:
    if _CHANGE.search(plain) and not _WARNS.search(plain):
        return True
    names_drug = bool(_DRUG.search(plain))
    if _AMOUNT.search(plain) and (names_drug or _DRUG.search(context)):
        return True
    if _CONCENTRATION.search(plain) and names_drug and not re.search(r"患者|的人|people|of", plain):
        return True
    if not _FREQUENCY.search(plain):
        return False
    return names_drug or bool(_DRUG.search(context) and not _NO_DRUG.search(plain))


def _is_diagnosis(plain: str) -> bool:
    if _DIAGNOSIS_ZH.search(plain) and not _HEDGED_ZH.search(plain):
        return True
    return bool(_DIAGNOSIS_EN.search(plain)) and not _HEDGED_EN.search(plain)
