"""Recognises a sentence that doses a drug or changes a treatment (clinical specification §5).

A dose is put together from parts (drug, amount, frequency, change), in Chinese or English, because
no list holds the ways to say it. Pure.
"""

from __future__ import annotations

import re
from functools import cache

from core.agent import drugs

_N = r"(?:\d+(?:\.\d+)?|[一二两三四五六七八九十半几])"
_N_EN = r"(?:\d+(?:\.\d+)?|a|an|one|two|three|four|five|six|half(?: an?)?)"

_DRUG_EN = (
    r"drops?|ointments?|medicines?|medications?|drugs?|tablets?|pills?|capsules?|gels?|insulin|"
    r"steroids?|antibiotics?|blood thinners?|fish oil|artificial tears|atropine|aspirin|"
    r"warfarin|metformin|ibuprofen|"
    r"paracetamol|acetaminophen|lutein|vitamins?|pilocarpine|\w{2,}(?:prost|olol|zolamide|monidine|"
    r"m[yi]cin|cillin|floxacin|sone|solone|profen|fenac|statin|sartan|pril|dipine|azole|clovir|mab|"
    r"cept|sporine)"
)
_DRUG = re.compile(
    r"药(?!房|店|师|学|监|品说明)|滴眼|眼膏|滴剂|胶囊|注射液|激素|胰岛素|抗生素|泪液|阿托品|玻璃酸|"
    r"甘露醇|阿司匹林|华法林|甲钴胺|叶黄素|维生素|维[abc]|凝胶|软膏|二甲双胍|"
    # International names translate into Chinese by syllables of their own.
    r"[\u4e00-\u9fff]{1,4}(?:沙星|洛尔|前列素|前列腺素|唑胺|霉素|西林|米松|尼龙|泼尼松|可的松|"
    r"布洛芬|"
    r"芬酸|莫尼定|果芸香碱|替米特|他定|更昔洛韦|昔洛韦|康唑|单抗|西普|地平|沙坦|普利|他汀|"
    r"环孢素|司莫司)|"
    rf"\b(?:{_DRUG_EN})\b"
)
# Verbs that only a drug follows.
_GIVEN = re.compile(
    r"滴(?!答)|点眼|点药|涂|服用|口服|吃(?![鱼菜饭水早午晚多少得])|注射|"
    r"\b(?:instil\w*|apply|take|swallow|inject|put in|squeeze)\b"
)
_AMOUNT = re.compile(
    rf"{_N}\s*(?:毫克|微克|毫升|滴(?![水血泪汗])|个?单位)"
    rf"|{_N}\s*(?:mg|mcg|μg|ug|ml|iu)\b|黄豆大|米粒大|绿豆大"
    rf"|\b{_N_EN}\s*(?:milligrams?|micrograms?|millilit\w+|(?<!a )(?<!an )drops?|"
    rf"(?:single )?drop (?:of|in|into|each|to)|tablets?|pills?|capsules?|puffs?|"
    rf"units? of)\b"
)
_PIECES = re.compile(rf"{_N}\s*(?:片(?![刻子])|粒(?![沙灰尘]))")
_CONCENTRATION = re.compile(r"\d+(?:\.\d+)?\s*%")
_TIMES = rf"{_N}{{1,2}}\s*(?:次|回|遍)"
_FREQUENCY = re.compile(
    rf"(?:每|一)\s*(?:日|天|晚|早|周|{_N}?\s*(?:个)?\s*(?:小时|钟头))\s*(?:[滴点涂吃服用]个?)?\s*"
    rf"(?:{_N}{{1,2}}\s*(?:次|回|遍|滴|片|粒|支)|[点涂滴服吃用])"
    rf"|(?:每|隔)\s*(?:隔)?\s*{_N}\s*(?:个)?\s*(?:小时|钟头|分钟|天)"
    rf"|{_TIMES}\s*/\s*(?:日|天)|{_N}\s*/\s*(?:日|天)|[上下]午[^,，]{{0,3}}(?:滴|涂|服)|(?:早中晚|早晚|三餐[前后]?)各?"
    r"|(?:临睡|睡(?:觉|前)|晚上|早上|早晨|饭[前后]|起床)(?:之)?[前后时]?[^,，。]{0,3}?(?:点|滴|"
    r"涂|服|吃|挤)(?!心|饭|早|晚|鱼|蔬)"
    r"|\b(?:once|twice|thrice|(?:one|two|three|four|five|six|\d+)\s*(?:times|x))\s*"
    r"(?:(?:a|per|each|every)\s*)?(?:day|daily|night|hour|week)"
    r"|\bevery\s+(?:\w+\s+)?(?:hours?|day|night|morning|evening)\b"
    r"|\b(?:daily(?! (?:drops?|life|activities|living|routine|tasks))|hourly|nightly)\b"
    r"|\bat bedtime\b|\bbefore bed\b|\bwhile awake\b|\b(?:[qbt]\.?i\.?d|o\.?d|p\.?r\.?n)\b"
    r"|\bin the morning and\b.{0,20}\b(?:night|evening)\b"
)
# What else is done so often: warm compresses, breaks, check-ups, meals.
_NO_DRUG = re.compile(
    r"热敷|冷敷|按摩|往下按|冲洗|清洁|清洗|清水|休息|户外|检查|复查|复诊|随访|眨眼|远眺|看远|"
    r"洗手|用眼|运动|"
    r"散步|走路|吃[^,，]{0,3}鱼(?!油)|蔬|菜|睡眠|血糖|血压|吃鱼|蔬菜|水果|喝水|查一次|做一次|"
    r"量一|测|之间|两种|摘下|"
    r"镜片|"
    r"\b(?:compress\w*|outdoors?|check\w*|rests?|screens?|breaks?|exam\w*|blink\w*|rinse\w*|"
    r"wash\w*|"
    r"warm|massage\w*|walk\w*|exercise\w*|fish|vegetables?|fruit|blood (?:sugar|pressure)|"
    r"measure\w*|"
    r"sunglasses|look\w*|between (?:the )?(?:two|different)|hat|lens case|lenses)\b"
)
_STOPS = re.compile(
    r"停用|停掉|停了|停药|停服|停一停|先停|暂停|断药|(?:不|不用|不必|不需要|用不着)(?:滴|吃|点|"
    r"服|涂|用|打)(?:药)?了|先不(?:滴|吃|点|服|涂)|"
    r"别再?(?:滴|吃|点|服)了?|(?:不用|不必|不需要)再(?:滴|吃|点|服)|"
    r"\b(?:stop(?:ping)?|discontinue|skip(?:ping)?|pause|come off|leave out|quit|"
    r"miss)\s+(?:\w+\s+){0,4}?"
    rf"(?:{_DRUG_EN})\b|\b(?:won't|don't|do not|no longer|needn't|not) need\s+(?:to (?:take|"
    rf"use)\s+)?"
    rf"(?:\w+\s+){{0,4}}?(?:{_DRUG_EN})\b"
)
_CHANGES = re.compile(
    r"加大|加量|减量|增加|减少|减半|加倍|减掉|换成|换用|改用|改成|改为|调到|调高|调低|多(?:滴|"
    r"吃|点|服|涂)|"
    r"少(?:滴|吃|点|服|涂)|加一次|加用|加到|减到|减为|(?:慢慢|逐渐|逐步|再)(?:减|加|停)|"
    r"\b(?:increase|reduce|double|halve|switch|taper\w*|cut (?:down|back)|lower|raise|instead of|"
    r"add (?:another|an extra|one more)|extra|more often|less often|go up|step up)\b"
)
_DOSE = re.compile(r"剂量|用量|药量|\bdos(?:e|es|age)\b")
_CHANGED = re.compile(
    r"剂量|用量|药量|浓度|次数|单位|"
    rf"{_TIMES}|\b(?:dos(?:e|es|age)|strength)\b"
)
_WARNS = re.compile(
    r"不要|请勿|切勿|不能|不可|(?<!差)别(?!的|再滴|再吃|再点|再服)|避免|不建议|不应|不该|不自己|"
    r"不自行|千万|"
    r"不随便|不擅自|擅自|无法|没有人能|谁也不能|不会"
    r"|\b(?:don't|do not|never|not|avoid|without|cannot|can't|no one)\b"
)
# To tell somebody which drug to get is a prescription, whatever the dose.
_PRESCRIPTION_ZH = (
    r"(?:沙星|洛尔|前列素|前列腺素|唑胺|霉素|西林|米松|泼尼|可的松|泼诺|芬酸|莫尼定|果芸香碱|"
    r"昔洛韦|康唑|阿托品|环孢素|"
    r"甘露醇|激素|抗生素|消炎药|降压药水|降眼压药)"
)
_PRESCRIPTION_EN = (
    r"(?:\w{2,}(?:prost|olol|zolamide|monidine|m[yi]cin|cillin|floxacin|sone|solone|fenac|"
    r"clovir|sporine)|"
    r"atropine|pilocarpine|steroids?|steroid drops|antibiotics?|antibiotic drops)"
)
_PRESCRIBES = re.compile(
    rf"(?:可以|建议|不妨|应该|最好|先|去药店|给您|帮您|试试|推荐)[^,，]{{0,6}}?(?:买|用|滴|试|"
    rf"吃|涂|点|上|开|服|打)[^,，]{{0,6}}?"
    rf"{_PRESCRIPTION_ZH}|{_PRESCRIPTION_ZH}[^,，]{{0,6}}(?:先用|用上|用着|滴着|吃着|买|试试)"
    rf"|\b(?:try|use|get|buy|start|i'd take|i would take|i recommend|i suggest|i'd use|go with|"
    rf"put in)\s+"
    rf"(?:\S+\s+){{0,3}}?{_PRESCRIPTION_EN}\b"
    rf"|\b(?:one|two|three|four|\d+|a couple of)\s+(?:more\s+)?(?:ibuprofen|paracetamol|"
    rf"acetaminophen|aspirin|"
    rf"tylenol|advil|{_PRESCRIPTION_EN})\b"
)
_DEFERS = re.compile(
    r"(?:听|问|遵|按|由|经)(?:从|过)?(?:您的)?(?:医|药师|大夫)|\b(?:ask|follow|talk to|"
    r"by) (?:a |the |your )?doctor\b"
)
# What the person told or was prescribed is repeated, not ordered.
_REPEATED = re.compile(
    r"吗$|[?？]|您(?:上次|刚才|之前)?(?:说|提到|告诉)|医生(?:给您)?(?:开|说|让|嘱咐)的?|处方上|"
    r"\b(?:you (?:said|mentioned|told)|your doctor (?:told|prescribed|said)|as prescribed)\b"
)
_OF_PEOPLE = re.compile(r"患者|的人|人群|老人|儿童|准确|概率|people|patients|of (?:the|all|those)")


def is_dose(plain: str, context: str = "") -> bool:
    """Tell whether a plain sentence doses a drug or changes a treatment.

    Args:
        plain: see `core.agent.sentences.plain`.
        context: the plain sentences before it; a list names its drug only once.
    """
    if _REPEATED.search(plain):
        return False
    names_drug = bool(_DRUG.search(plain) or _known_drug().search(plain))
    about_drug = names_drug or bool(_GIVEN.search(plain))
    is_treatment = about_drug or bool(_DRUG.search(context) or _known_drug().search(context))
    if _changes_treatment(plain, is_treatment=is_treatment):
        return True
    is_warning, is_other_care = bool(_WARNS.search(plain)), bool(_NO_DRUG.search(plain))
    has_amount = _AMOUNT.search(plain) or (is_treatment and _PIECES.search(plain))
    if has_amount and not is_warning and not is_other_care:
        return True
    is_frequent = bool(_FREQUENCY.search(plain))
    if _CONCENTRATION.search(plain) and not _OF_PEOPLE.search(plain):
        return about_drug or is_frequent
    if _PRESCRIBES.search(plain) and not is_warning and not _DEFERS.search(plain):
        return True
    if not is_frequent or is_other_care:
        return False
    return is_treatment or bool(_BARE.fullmatch(plain))


@cache
def _known_drug() -> re.Pattern[str]:
    """Return what finds the names of our own list; Latin ones as whole words."""
    latin = "|".join(map(re.escape, sorted(drugs.latin_names())))
    chinese = "|".join(map(re.escape, sorted(drugs.chinese_names())))
    return re.compile(rf"\b(?:{latin})\b|{chinese}")


# Nothing but a frequency: "four times a day should do" is about whatever was named before.
_BARE = re.compile(
    rf"(?:[^\u4e00-\u9fff]{{0,7}}(?:{_FREQUENCY.pattern})[^\u4e00-\u9fff]{{0,24}})|"
    rf"[\u4e00-\u9fff\d,，]{{0,9}}"
)


def _changes_treatment(plain: str, *, is_treatment: bool) -> bool:
    if _WARNS.search(plain) or _DEFERS.search(plain):
        return False
    is_treatment = is_treatment or bool(_DOSE.search(plain))
    if _STOPS.search(plain):
        return is_treatment
    if not _CHANGES.search(plain):
        return False
    says_what = _CHANGED.search(plain) or _FREQUENCY.search(plain) or _DRUG.search(plain)
    return is_treatment and bool(says_what)
