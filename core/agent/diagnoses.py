"""Recognises a sentence that tells somebody what they have, or do not have. Pure.

A disease, a person or "this", and a verb that joins them, without anything that leaves it open.
What is said about a disease in general stays: there the disease is what the sentence is about.
"""

from __future__ import annotations

import re

# --- Chinese ---------------------------------------------------------------------------------

_DISEASE_ZH = (
    r"(?:青光眼|白内障|结膜炎|角膜炎|葡萄膜炎|虹膜炎|睑缘炎|视神经炎|麦粒肿|霰粒肿|针眼|红眼病|"
    r"飞蚊症|干眼症?|"
    r"视网膜(?:脱离|病变|裂孔|出血|血管阻塞)|网脱|黄斑[\u4e00-\u9fff]{2}|糖网|弱视|斜视|"
    r"翼状胬肉|胬肉|"
    r"偏头痛|角膜溃疡|圆锥角膜|"
    r"(?:(?![是有没就了不])[\u4e00-\u9fff]){1,6}(?:炎|(?<!毛)病(?![人史情因房区号程])变?|"
    r"(?<!急)症(?!状|候)|障(?!碍)|变性|脱离|出血|阻塞|"
    r"水肿|裂孔|肿瘤|感染|溃疡|胬肉))"
)
_EYE_DISEASE_ZH = (
    r"(?:青光眼|白内障|结膜炎|角膜炎|葡萄膜炎|虹膜炎|巩膜炎|视神经炎|麦粒肿|霰粒肿|针眼|红眼病|"
    r"干眼症|视网膜(?:脱离|病变|裂孔|出血)|网脱|"
    r"黄斑(?:变性|水肿|裂孔|前膜)|糖网|翼状胬肉|角膜溃疡)"
)
# The disease is what is talked or asked about, not what somebody has.
_TOPIC_ZH = re.compile(
    r"了解|问|检查|查一|查查|筛查|预防|防止|介绍|关于|说的|想知道|想看|排除|讲|解释|区分|鉴别|"
    r"注意|小心|留意|避免|资料|文章|话题|"
    r"常识|得过|有过|做过|以前|之前|患者|手术|控制|治疗|保护|专科|门诊|评估"
)
_SYSTEMIC_ZH = re.compile(
    r"(?:糖尿|心脏|高血|高血压|甲状腺|肾|血压|慢性|老毛|基础)病?$|糖尿病$|高血压$"
)
_JOINS_ZH = (
    r"(?:得了|得的(?:就)?是|患有|患了|患的(?:就)?是|患上|长了|长的(?:就)?是|犯了|就是|就叫|"
    r"叫做?|出现了?|发生了?|发展成|变成|已经是|出在|引起了|属于|确诊(?:为|是)?|"
    r"诊断(?:为|是|:|：)?|符合|考虑(?:为|是)?|不是|并非|没有|没得|有|是|排除了|不可能是)"
)
_ASSERTION_ZH = re.compile(
    rf"(?P<before>.{{0,24}}?)(?P<join>{_JOINS_ZH})(?P<between>(?:(?!不是|可能|什么|"
    rf"否)[^,，是]){{0,8}}?)"
    rf"(?P<disease>{_DISEASE_ZH})(?P<after>.*)"
)
_PERSON_ZH = re.compile(
    r"您|你|孩子|宝宝|妈|爸|母亲|父亲|爱人|老伴|老公|老婆|先生|太太|家人|爷爷|奶奶|外公|外婆|他|她"
)
_THIS_ZH = re.compile(
    r"这|那(?!些人|么多)|它|眼睛|左眼|右眼|症状|描述|看样子|看来|看起来|应该|肯定|一定|毫无疑问|"
    r"无疑|显然|"
    r"明显|确实|基本|百分|可以|已经?|八成|估计|大概率|典型"
)
# The sentence is about diseases or people in general.
_GENERAL_ZH = re.compile(
    r"原因|常见|多见|通常|多数|大多|比如|例如|有的|有些|叫做|包括|部分|人群|老人|老年人|患者|"
    r"很多|不少|任何|各种|主要|往往|(?:^|[^很更])多$|"
    r"一类|一组|之一|所谓|指的|意思|容易|风险|高发|引起|导致|造成|定义|预防|手术"
)
_AFTER_ZH = re.compile(
    r"^(?:的|常见|早期|典型)?[^,，]{0,5}(?:风险|可能|迹象|表现|症状|征兆|信号|家族史|病史|史|"
    r"病人|患者|人群|的人|"
    r"情况|原因|筛查|检查|门诊|专科|医生|药|手术|术后|并发症|引起|造成|时候?|期间|分级|来说|"
    r"高危|相关|有关|之一|"
    r"意思|知识|家族|倾向|遗传|评估|需要转诊)"
)
_OPEN_ZH = re.compile(
    r"如果|假如|倘若|若|要是|是否|有没有|是不是|吗|[?？]|一旦|提到|您说|你说|告诉|曾|"
    r"(?<!很)(?<!极)(?<!大)(?<!不)可能(?!性)|也许|或许|说不定|不一定|不见得|未必|不能|无法|"
    r"不代表|不等于|不意味|不是说|难说|"
    r"医生(?:会|才能|可以|能|说)|(?:需要|要)[^,，]{0,6}医生|才能|才知道|以便|为了|"
    r"建议.{0,12}排除|检查.{0,12}排除|"
    r"怀疑|担心|即使|就算|还是"
)


def _is_diagnosis_zh(plain: str) -> bool:
    if _OPEN_ZH.search(plain):
        return False
    told_before = ""
    for clause in re.split(r"[,，]", plain):
        found = _ASSERTION_ZH.search(clause)
        if found and _asserts_zh(found, told_before):
            return True
        told_before += clause
    return _is_about_person_zh(plain)


def _is_about_person_zh(plain: str) -> bool:
    """Tell whether a sentence puts a person and a disease together, however they are joined."""
    for clause in re.split(r"[,，]", plain):
        found = re.search(rf"(?P<before>.*?)(?P<disease>{_EYE_DISEASE_ZH})(?P<after>.*)", clause)
        if (
            found
            and re.search("您|你", plain)
            and not _AFTER_ZH.search(found["after"])
            and not _GENERAL_ZH.search(clause)
            and not _TOPIC_ZH.search(plain)
        ):
            return True
    return False


def _asserts_zh(found: re.Match[str], told_before: str) -> bool:
    before, join, disease = found["before"], found["join"], found["disease"]
    if before.endswith(("肯定", "一定", "确定")) and found["after"].startswith("引起"):
        return True
    if _AFTER_ZH.search(found["after"]) or _GENERAL_ZH.search(before + found["between"]):
        return False
    if join in ("是", "就是") and len(before) <= 6 and re.fullmatch(_EYE_DISEASE_ZH, disease):
        return True  # nothing before "is": it is the verdict on what was told
    if re.search(_DISEASE_ZH, before) and join in ("是", "有", "属于", "符合"):
        return False  # "a cataract is a clouding": about the disease
    is_person = bool(_PERSON_ZH.search(before))
    if join in ("有", "没有"):
        return is_person and not _SYSTEMIC_ZH.search(disease)
    is_this = bool(_THIS_ZH.search(before))
    if (
        is_person
        or is_this
        or join.startswith(("诊断", "确诊", "排除了", "得的", "患的", "不可能"))
    ):
        return True
    # "Listening to you, it is …": the clause before names the person, this one only the verdict.
    return len(before) <= 4 and bool(
        _PERSON_ZH.search(told_before) or _THIS_ZH.search(told_before) or join == "就是"
    )


# --- English ---------------------------------------------------------------------------------

_NAMED_EN = (
    r"(?:glaucoma|cataracts?|retin(?:itis|opathy|al (?:detachment|tear|vein occlusion|"
    r"artery occlusion|"
    r"ha?emorrhage))|(?:detached|torn) retina|\w*conjunctivitis|pink ?eye|keratitis|uveitis|iritis|"
    r"\w*scleritis|macular (?:degeneration|o?edema|hole|pucker)|blepharitis|dry[- ]eyes?|hordeolum|"
    r"stye|chalazion|amd|wet amd|optic neuritis|migraines?|pterygium|corneal (?:ulcer|abrasion)|"
    r"scratched cornea|"
    r"angle[- ]closure|amblyopia|lazy eye|strabismus|keratoconus|floaters|pvd|vitreous detachment|"
    r"shingles|endophthalmitis|giant cell arteritis|\w{4,}itis|diabetic retinopathy|retinoblastoma)"
)
_DISEASE_EN = rf"(?:{_NAMED_EN}|\w+ (?:disease|syndrome|disorder|infection|occlusion|degeneration))"
_ADVERBS_EN = (
    r"(?:\s+(?:do|does|did|must|clearly|definitely|certainly|probably|most likely|very likely|"
    r"likely|"
    r"obviously|already|really|almost certainly|surely|just|simply|both|now|not|n't|also|"
    r"absolutely|undoubtedly|still))*"
)
_WHO_EN = (
    r"(?:you|he|she|they|your (?:\w+ )?(?:mother|father|mum|mom|dad|husband|wife|child|son|"
    r"daughter|"
    r"baby|partner|eyes?|brother|sister|grand\w+)|the (?:patient|child|baby))"
)
_BETWEEN_EN = (
    r"(?:\s+(?!risk|chance|sign|symptom|history|question|appointment|asked|exam|test|worr|concern|"
    r"rule|more|less|important|possible|reason|cause|part|one of|treatment|surgery|screening|"
    r"higher|"
    r"any|several|common|never)[\w'-]+){0,5}?\s+"
)
_HAS_EN = re.compile(
    rf"\b{_WHO_EN}(?:'ve|n't)?{_ADVERBS_EN}(?:n't)?\s+(?:have|has|had|got|have got|has got|"
    rf"suffer(?:s|ed)?"
    rf"(?: from)?|developed|have developed|has developed|show|have been diagnosed with)"
    rf"{_BETWEEN_EN}(?P<disease>{_DISEASE_EN})\b(?P<after>.*)"
    rf"|\b(?:you're|you are|he's|he is|she's|she is) (?:suffering from|dealing with|having|"
    rf"experiencing|"
    rf"developing|getting){_BETWEEN_EN}(?P<disease2>{_DISEASE_EN})\b(?P<after2>.*)"
)
_IS_EN = re.compile(
    rf"\b(?:this|it|that|what (?:you|he|she)(?:'ve| have| has|'re| are|'s)? ?(?:got|have|has|"
    rf"describe\w*|describing|"
    rf"seeing|experiencing)?|(?:your|the|these|those|all this|all of this|"
    rf"your \w+'s) (?:symptoms?|problem|condition|"
    rf"diagnosis|cause(?: of (?:\w+ ){{0,3}}?\w+)?|picture|complaint|description)|everything)"
    rf"(?:\s+you (?:describe|mention))?{_ADVERBS_EN}\s*(?:is|'s|are|was|isn't|must be|has to be|"
    rf"sounds like|"
    rf"sounds|looks like|points? to|means?|fits?|indicates?|suggests)"
    rf"{_ADVERBS_EN}{_BETWEEN_EN}(?P<disease>{_NAMED_EN})\b(?P<after>.*)"
)
_SAYS_EN = re.compile(
    rf"\b(?:diagnosis\s*(?:is\b|:|-)|diagnosed (?:as|with)|i (?:can )?(?:diagnose|confirm|"
    rf"am sure|am certain)|"
    rf"i'm (?:sure|certain|confident)|(?:tells|shows) me|(?:sounds|looks|seems) like|must be|"
    rf"a (?:clear|classic|textbook|typical) case of|"
    rf"no doubt)[^a-z].{{0,40}}?\b{_NAMED_EN}\b"
)
_AFTER_EN = re.compile(
    r"^(?:\s|-)*(?:risk|specialist|screening|clinic|patients?|in (?:your|the) family|history|"
    r"exam\w*|"
    r"surgery|symptoms?|doctors?|check|drops|medicine|treatment|tests?|can|may|often|usually)\b"
)
_OPEN_EN = re.compile(
    r"\b(?:if|whether|when|in case|unless|do you have|did you|may|might|could|possibly|perhaps|"
    r"maybe|"
    r"you said|you mentioned|you told|people|patients who|anyone|someone|many|most|some|cannot|"
    r"can't|"
    r"unable|doesn't mean|does not mean|doesn't have to|to rule out|rule out|history of|because|"
    r"since|"
    r"has to look|only (?:a|an) (?:doctor|exam\w*)|one possib\w+|possible|suspect\w*|even)\b|\?"
)


def _is_diagnosis_en(plain: str) -> bool:
    if _OPEN_EN.search(plain):
        return False
    if _SAYS_EN.search(plain):
        return True
    for pattern in (_HAS_EN, _IS_EN):
        found = pattern.search(plain)
        if found is None:
            continue
        groups = found.groupdict()
        after = groups.get("after") or groups.get("after2") or ""
        if not _AFTER_EN.search(after):
            return True
    return False


def is_diagnosis(plain: str) -> bool:
    """Tell whether a plain sentence says what somebody has or does not have.

    Args:
        plain: see `core.agent.sentences.plain`.
    """
    return _is_diagnosis_zh(plain) or _is_diagnosis_en(plain)
