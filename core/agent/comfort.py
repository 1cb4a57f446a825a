"""Recognises false comfort: all is well, no doctor is needed, it can wait. Pure.

Clause by clause, so that "the photo is blurred, but it looks normal" is found, while "even if it
looks normal" and "a normal photo does not mean that you are well" are not.
"""

from __future__ import annotations

import re
from typing import Literal

from core.agent.sentences import clauses

# A whole sentence that leaves it open, or says the opposite of comfort.
_OPEN = re.compile(
    r"如果|假如|倘若|要是|即使|就算|哪怕|即便|除非|是否|是不是|有没有|吗$|[?？]|一般(?:来说)?人|"
    r"不能?等于|不等于|不代表|不意味|不能说|不好说|不能说明|不能(?:就)?(?:认为|保证|排除)|"
    r"说明不了|不要以为|别以为|并不表示|"
    r"不能因为|正常也|没事也|才能?(?:放心|说)|"
    r"(?<!only )\bif\b|\b(?:even (?:if|when)|unless|whether|does(?:n't| not) (?:mean|rule)|"
    r"do(?:n't| not) mean|"
    r"can(?:'t|not) (?:say|tell|rule|"
    r"promise|be sure|know|assume)|can(?:'t|not) wait|cannot rule out|not (?:safe|the same|"
    r"proof|enough)|"
    r"could not|hard to say|does(?:n't| not) (?:prove|replace|guarantee)|no guarantee|"
    r"until a doctor|to be sure)\b|\?"
)
# "It is normal to worry" is about feelings; "do not panic, but go" calms and does not delay.
_FEELINGS = re.compile(
    r"越早|"
    r"(?:难受|担心|害怕|紧张|着急|焦虑|心情|反应|感受)[^,，]{0,4}(?:是|很)?(?:正常|可以理解)|"
    r"正常的?(?:反应|心情|感受)|"
    r"(?:别|不要|不能|不可)(?:就)?(?:把[^,，]{0,8})?当|恢复正常|正常时|要紧不要紧|正常(?:情况|"
    r"人|上班|生活|使用|眼压范围是)|像正常|不正常|不太正常|"
    r"\b(?:normal|natural|okay|ok) to (?:feel|be|worry)\b|\bnormally\b|\bback to normal\b|"
    r"\bnot (?:quite )?"
    r"(?:normal|fine|ok|okay|healthy)\b|\b(?:looked|felt|was|were) (?:fine|normal) (?:before|"
    r"until)\b"
)

_VISIT = (
    r"(?:看(?:医生|眼科|病|大夫|急诊|诊)?|去(?:眼科|医院|看)|就医|就诊|医院|挂号|检查|治疗|处理|"
    r"复查|复诊|急诊|转诊|"
    r"跑|管|理会|理它)"
)
_NO_NEED = re.compile(
    rf"(?:不用|不需要|不必|无需|无须|没必要|没有必要|用不着|犯不着|不急着|不着急|不急|不一定要|"
    rf"不一定非|可以不)[^,，]{{0,8}}?"
    rf"(?:{_VISIT}|担心|紧张|着急|害怕|急(?!诊))|(?:别|不要)(?:太|过于|过分|再)?(?:担心|操心|"
    rf"往心里去|当回事|瞎想|多想|自己吓)|"
    r"不(?:用|必|要)放在心上|(?:不|并不|也不|不太|不算|没那么)(?:着)?急(?!诊)|来得及|不碍事|"
    r"不打紧|无所谓|"
    r"(?<!别)(?<!不要)当(?:成|作)?没事|不予理会|忽略(?:它|就)|不理它|"
    r"\bno (?:need|reason|rush|hurry|urgency)\b(?! to (?:wait|suffer))"
    r"|\b(?:don't|do not|needn't|doesn't|does not|won't|no longer) (?:need|have) (?:to|a|"
    r"any)?\b.{0,24}?\b"
    r"(?:see|visit|go|worry|be|doctor|appointment|referral|follow|check|exam\w*|treatment|"
    r"emergency|tests?)\b"
    r"|\b(?:don't|do not|needn't|no need to) (?:worry|be worried|be concerned|be alarmed|stress|"
    r"fret)\b"
    r"|\bnothing to (?:worry|be (?:worried|concerned|afraid))\b|\b(?:would|should|could)(?:n't|"
    r" not) (?:\w+ )?(?:rush|bother|worry|go|hurry|trouble)\b|\bno point (?:in|to)\b"
    r"|\bignore (?:it|this|that|the)\b|\b(?:carry on|continue) as (?:usual|normal|before)\b|"
    r"\bforget about it\b|\bnot necessary\b|\bunnecessary\b"
)
_THINGS = (
    r"(?:大碍|事儿?|关系|(?:大|太大)?问题|毛病|异常|病变?|危险|不对劲?|不妥|不好|"
    r"可(?:担心|怕)|要紧|风险)"
)
_WELL = re.compile(
    r"(?:没|没有|未)(?:有|再)?(?:发现|看到|查出)?(?:什么|任何)?(?:需要|要)(?:处理|治疗|担心|"
    r"注意|操心)|继续保持|(?:是|都)好的$|"
    r"\bnothing\b.{0,30}\b(?:problem|trouble|disease|lose sleep)\b|\bin good shape\b|"
    rf"(?:没|没有|无|未见|未发现|没发现|没看出|没看到|没查出|看不出|不像有|并无|也无)(?:任何|"
    rf"什么|啥|明显|太大|多大|大|有|的)*{_THINGS}(?!就诊)|"
    r"(?:啥|什么|任何)(?:事|问题|毛病)儿?(?:都|也)?(?:没有|没)|无大碍|无恙|干干净净|(?:眼底|"
    r"视网膜|照片|结果|里面|眼睛)(?:看起来)?(?:很|挺|都|是|非常)?干净|(?:筛查|检查|测试|这关|"
    r"全部|顺利)(?:都)?(?:通过|过关)|恭喜|误报|误判|虚惊|"
    r"小题大做|多虑|想多了|白担心|过度担心|(?:可以|尽管|请|您|就|大可)?(?<!比较)(?:放心|安心|"
    r"放宽心|放一百个心)|良性|"
    r"(?:正常|健康|良好|挺好|很好|不错|完好|没坏|好好的|好着呢)(?!的?人|地|教育|助手|问题|信息|"
    r"知识|档案|数据|码|检查|状况|习惯)|"
    r"(?:不|并不|不太|不算|没那么|不怎么)(?:严重|要紧|紧急|可怕|危险)|问题不大|不是(?:急症|大病|"
    r"大事|大问题|什么大)|小问题|小毛病|"
    r"(?:只是|就是|不过是|无非是|估计是|多半是)(?:有点|普通|一般|正常|暂时)*(?:的)?(?:累|疲劳|"
    r"用眼过度|没睡好|没休息好|上火|老化|小)|"
    r"\b(?:everything|all|it|this|that|they|both|both eyes|the (?:eyes?|retina|photo|picture|"
    r"image|results?|"
    r"reading|scan|left|right)(?: (?:eye|photo|one))?|your (?:\w+ )?(?:eyes?|retina|photo|"
    r"picture|result|vision|"
    r"results|reading|image|scan))\s(?:is|are|looks?|seems?|appears?|came back|comes back|was|were|"
    r"turned out)\s(?:\w+ ){0,2}?(?:fine|normal|ok|okay|good|healthy|well|clear|great|in order|"
    r"unremarkable|"
    r"all right|alright|harmless|mild|minor)\b"
    r"|\b(?:a|an|your|shows?|have|has|see|got|is|of|within|with) (?:\w+ )?(?:healthy|normal|"
    r"clear) (?:eyes?|retina|optic|result|photo|picture|reading|fundus|range|scan)\b"
    r"|\b(?:is|are|it's) (?:not serious|nothing serious|nothing|harmless|perfectly|"
    r"completely normal|"
    r"not urgent|not an emergency|not dangerous|benign)\b|\byou(?:'re| are) (?:\w+ )?(?:fine|"
    r"healthy|ok|okay|safe|"
    r"in the clear|all set|good)\b|\brest assured\b|\ball clear\b|\bclean bill\b|\bno (?:danger|"
    r"cause for|problems?|"
    r"abnormalit\w+|issues?|signs? of (?:any|disease|damage|trouble|anything))\b|"
    r"\bnothing (?:wrong|abnormal|bad|"
    r"unusual|suspicious|is wrong|to see|serious)\b|\bgood news\b|\b(?:you can )?relax\b|"
    r"\b(?:just|only|"
    r"probably just) (?:\w+ )?(?:tired\w*|fatigue|strain|stress|age|ageing|aging|dryness|"
    r"a minor|nothing)\b"
    r"|\ball (?:good|fine|well|normal)\b|\bfalse alarm\b|\bpassed\b(?! away| out)|\bcongrat\w+|"
    r"\bspotless\b|\b(?:no|not|nothing|n't)\b.{0,24}?\b(?:of|any|for) concern\b"
    r"|\b(?:not|nothing|n't|never)\b.{0,20}?\banything (?:\w+ )?(?:wrong|abnormal|unusual|"
    r"suspicious|worrying|bad|serious)\b"
    r"|\bfree of (?:any )?(?:disease|problems?)\b"
)
_LATER = re.compile(
    r"(?:下个?(?:周|星期|礼拜|月)|(?:(?<!超)(?<!不)过|等|隔)(?:几|两|三|一)?(?:天|周|个?月|阵|"
    r"段时间|一阵|些日子)|过些(?:天|日子)|"
    r"[两三四五几一]{1,2}(?:天|周|个星期|个月)(?:(?:之?后|以后)(?:再|去|来|复查|看|还)|再)|改天|"
    r"有空|方便的时候|有时间(?:再|就)|"
    r"(?:先|再|可以|不妨)[^,，]{0,6}?(?:观察|等等|等一等|等几天|等(?:一|两|三)[天周]|拖|"
    r"看看情况|缓缓|歇歇|忍)|观察(?:一下|几天|一阵|"
    r"[一两二三四五几]+[天周]|看看)|再说|再看情况|再等|等等看|等一等|"
    r"周末|(?:睡|歇)(?:一|上)?(?:晚|觉|两天)?(?:再)?看看|(?:天|周|星期|个?月)后?(?:还|仍)?不好|"
    r"(?:加重|严重|厉害|变差|恶化|不行)了?(?:的话)?再(?:去|看|来|说)|下次(?:复查|检查|看病)|"
    r"(?:复查|体检)的?时候(?:顺便|再))"
    r"|\b(?:next (?:week|month|year|visit|appointment)|in a (?:few|couple)(?: of)? (?:days|"
    r"weeks|months)|(?:a|another|the next) (?:few|couple)"
    r"(?: of)? (?:more )?(?:days|weeks|months)|in (?:two|three|four|several|\d+) (?:days|weeks|"
    r"months)|wait "
    r"(?:and see|a|until|for|it out|till)|(?:can|could) (?:safely |easily )?wait|"
    r"see how it (?:goes|develops|feels)|"
    r"keep an eye on it|watch it|later (?:this|in)|when(?:ever)? (?:you have time|it(?:'s|"
    r" is) convenient|convenient)|"
    r"at your (?:next|convenience)|only if it (?:gets|becomes|is)|(?:this|at the) weekend|(?:by|"
    r"at|for|towards) the end of the (?:week|month)|"
    r"take your time|some ?time (?:soon|later)|sleep on it|monitor it|give it (?:a|some|another))\b"
)
_WAITS = re.compile(
    r"观察|再等|等等|等一等|拖|再说|看看情况|忍|缓缓|\b(?:wait|see how|watch it|keep an eye|"
    r"monitor it|give it)\b"
)
_TOMORROW = re.compile(
    r"明天|明早|明后天|后天|过一晚|睡一觉|睡醒|天亮|等上班|(?<!一)周一(?!次)|\b(?:tomorrow|"
    r"overnight|in the morning|on monday)\b"
)
_PASSES = re.compile(
    r"缓过来|(?:躺|歇|坐)一?会儿?|"
    r"(?:会|(?:就?能|自然)(?=自|慢|好起来))(?:自己|自然|自行|自动|慢慢)?(?:就)?(?:好|恢复|消失|"
    r"痊愈|缓解|退)(?:起来|了|的)?$|自愈|自己(?:会|就)(?:好|消)|"
    r"(?:休息|睡|歇|缓)(?:一)?(?:下|会儿?|觉|晚|两天|几天|一休息)?就(?:会|能)?(?:好|没事|恢复)|"
    r"过(?:几|两)天就|"
    r"\b(?:go|goes|clear|clears|pass|passes|heal|heals|settle|settles|resolve|"
    r"resolves) (?:away |up |off |down )?"
    r"(?:by|on) (?:itself|its own|their own)\b|\bon its own\b|\bwill (?:pass|go away|clear up|"
    r"settle)\b"
)
_NOT_LATER = re.compile(
    r"拖不得|来不及|危险|不要|别|不能|不可|不该|切勿|千万|不宜|等不|绝不|勿|拖不得|还要|也要|"
    r"仍要|一定要|"
    r"\b(?:don't|do not|never|not|can't|cannot|rather than|instead of|no need to|before|"
    r"could cost|risk\w*|dangerous|too late|too long)\b"
)

# Words that only sound good, alone no comfort; they count where nobody is sent to a doctor.
_SOUNDS_GOOD = re.compile(
    r"(?<![你您最])好(?!像|几|多|奇|转|处|医|友|的话|不好|吗|好(?:保护|爱护|检查))|稳定|轻微|"
    r"轻度|乐观|顺利|平稳|自然|年纪|累|疲劳|休息|睡|缓解|自己|"
    r"误|没啥|没什么|还行|照常|照旧|平时|习惯|忽略|轻松|"
    r"\b(?:good(?! (?:sight|vision|question|idea))|great|fine|clean|ok|okay|mild|minor|stable|"
    r"rest|sleep|usual|"
    r"common|calm|relax|harmless|ignore|reassuring|excellent|perfect|better|lucky|settle|normal)\b"
)
_DIRECTS = re.compile(
    r"(?<!不)(?<!不用)(?<!不必)(?:请|要|建议|尽快|尽早|需要|必须|最好|马上|立刻|应该?|让|约|去|"
    r"找|由|到|送)[^。,，]{0,14}?"
    r"(?:看|医生|大夫|眼科|急诊|医院|120|转诊|复核|检查|就医|就诊|重拍|重新拍|原图)|"
    r"\b(?:please|should|need\w*|must|let|advis\w+|recommend\w*|suggest\w*|have|see|go|call|ask|"
    r"get|send|could you)\b"
    r".{0,60}?\b(?:doctor\w*|examined|emergency|clinic|ambulance|specialist|seen|referral|"
    r"hospital|looked|checked|"
    r"ophthalmologist|optician|visit|again|new one|original)\b"
)


def sounds_good(plain: str) -> bool:
    """Tell whether words sound good although they claim nothing certain."""
    return bool(_SOUNDS_GOOD.search(plain)) and not _OPEN.search(plain)


def directs(plain: str) -> bool:
    """Tell whether words send somebody to a doctor (or ask for a better photo)."""
    return any(
        _DIRECTS.search(c) and not _NO_NEED.search(c) and not _LATER.search(c)
        for c in re.split(r"[。；;\n,，]|\.\s", plain)
    )


Kind = Literal["well", "no_need", "passes", "later", "wait", "tomorrow"]


def comfort(plain: str) -> frozenset[Kind]:
    """Return the kinds of comfort a plain sentence gives.

    ``well`` says that nothing is wrong, ``no_need`` that no doctor is needed, ``passes`` that it
    goes by itself, ``later`` that days are time enough, ``wait`` that
    one may simply wait, ``tomorrow`` that the next day is.
    """
    found: set[Kind] = set()
    if _OPEN.search(plain):
        return frozenset()
    for clause in clauses(plain):
        if _FEELINGS.search(clause):
            continue
        if _NO_NEED.search(clause):
            found.add("no_need")
        if _WELL.search(clause):
            found.add("well")
        if _PASSES.search(clause):
            found.add("passes")
        if _NOT_LATER.search(clause):
            continue
        if _LATER.search(clause):
            found.add("later")
            if _WAITS.search(clause):
                found.add("wait")
        if _TOMORROW.search(clause):
            found.add("tomorrow")
    return frozenset(found)
