"""Tell questions about eye health from everything else people ask, by the words they hold."""

from __future__ import annotations

import re
from typing import Literal

Scope = Literal["eyes", "unclear", "elsewhere"]

_EYE_WORDS = re.compile(
    r"[眼睛瞳盲瞎泪睑]|视[力物网神野觉]|[远近弱斜复低老透]视|镜片|隐形|塑形镜|ok镜|角膜|"
    r"巩膜|结膜|葡萄膜|虹膜|"
    r"玻璃体|晶体|晶状体|青光|白内|黄斑|飞蚊|老花|花镜|散光|糖网|散瞳|放瞳|麦粒|睫毛|翼状|"
    r"胬肉|失明|重影|双影|"
    r"看不[清见到]|看东西|看得见|看书|看报|看字|看近|看远|看人|度数|验光|配镜|眼底|"
    r"(?<![a-z])ai(?![a-z])|照片|片子|隐私|数据|转诊|"
    r"(?<![a-z])(?:eye(?!let)|vision|visual|sight|retin|lens|contacts\b|glauc|catar|macul|cornea|blind|pupil|"
    r"squint|glasses|spectacles|specs\b|optic|optom|optician|ophthal|photo|picture|lid\b|"
    r"lids\b|lash|iri[st]i?s|"
    r"uve|scler|conjunct|kerat|myop|short-?sight|near-?sight|presby|astigm|floater|blur|"
    r"see\b|seeing|"
    r"look double|stye|chalaz|pteryg|amsler|lasik|ortho-?k|amd\b|privacy|my data|referral|"
    r"bloodshot|tear duct)"
)
# Eyes, but not their health: who we are, idioms, animals and plants, looks, things with a lens.
_OTHER_EYES = re.compile(
    r"你是.{0,4}(?:机器|真人|人工|ai)|你叫什么|are you (?:an? )?(?:real|robot|human|bot\b|ai\b)|"
    r"眼线|眼影|眼霜|眼妆|双眼皮|眼袋|黑眼圈|眼镜店|眼镜蛇|猫眼电影|猫眼(?:app|票)|鱼眼|"
    r"(?<!斗)鸡眼|龙眼|肚脐眼|屁眼|耳眼|针眼大|泉眼|"
    r"眼看[就着要快]|眼神|眼光|眼熟|眼红别人|心眼|亲眼|一眼|打眼镜|字眼|节骨眼|望远镜|"
    r"显微镜|什么颜色|哪个颜色|嫁接睫毛|接睫毛|种睫毛|睫毛膏|"
    r"(?:画|描|素描).{0,8}(?:眼|瞳)|(?:眼|瞳).{0,4}(?:怎么画|画法|画得)|"
    r"墨镜.{0,6}(?:流行|款式|牌子)|泳镜.{0,4}牌子|"
    r"照片.{0,6}(?:p图|修图|便宜|恢复|打印|壁纸|美颜)|(?:冲洗|打印|恢复|修).{0,3}照片|"
    r"这个照片怎么p|"
    r"(?:draw|paint|sketch|sew|knit|crochet)\w* .*\beyes?\b|"
    r"eye (?:colou?r|shadow|liner|cream|make-?up|of the)|"
    r"eyeliner|eyeshadow|mascara|colou?r(?:ed)? eyes|what colou?r|button eye|black-?eyed|"
    r"private eye|bull'?s-?eye|"
    r"bullseye|needle'?s eye|potato eyes|eyelash (?:extension|curler)|lash extension|"
    r"dark circles|under-?eye|"
    r"bags under|camera|telescope|microscope|portrait|photoshop|deleted? photos|"
    r"profile picture|sunglasses (?:brand|style)|"
    r"see (?:the|a) (?:movie|film|game|match)|sightsee|revision|television|supervis"
)
# Other illnesses and other business; next to an eye word they do not count.
_ELSEWHERE = re.compile(
    r"膝|腰[疼痛椎]|颈椎|肩|牙|胃|肚子|腹|肠|便秘|拉稀|痔|耳|鼻[子炎塞血]|喉|嗓|咳|感冒|"
    r"发烧|肺|肝|肾|心脏|心慌|"
    r"皮肤|痘|湿疹|脚|腿|骨|关节|月经|减肥|脱发|失眠|疫苗|西瓜|早餐|海鲜|咖啡|"
    r"天气|股票|基金|房贷|贷款|退税|个税|发票|快递|外卖|火车|高铁|机票|航班|电影|歌|游戏|菜|"
    r"红烧|面包|蛋糕|食谱|"
    r"汽车|油烟机|作业|作文|翻译|诗|代码|编程|程序怎么写|彩票|签证|工资|"
    r"(?:手机|电脑)(?:屏幕|黑屏|壳|坏)|截图|快充|wifi|牌子|降压药|"
    r"\b(?:lip|lips|breakfast|coffee|fix my|which brand|knee|back pain|my back|hip|shoulder|neck|"
    r"tooth|teeth|dentist|stomach|belly|bowel|ear|ears|nose|throat|"
    r"cough|cold(?! sore)|flu|fever|lung|liver|kidney|heart|skin|acne|"
    r"rash on my (?:arm|leg|back)|foot|feet|toe|leg|"
    r"ankle|hair|weight|diet|vaccine|cholesterol|period|"
    r"weather|stock|shares|bitcoin|mortgage|loan|tax|refund|invoice|parcel|flight|train|"
    r"hotel|movie|film|song|game|"
    r"football|recipe|cook|bake|bread|cake|soup|python|javascript|function|"
    r"spreadsheet formula|homework|essay|poem|"
    r"translate|visa|salary|car|bike|carpet|facebook|instagram|password|capital of|"
    r"president|phone to buy|sunscreen|"
    r"nail polish)\b"
)

_COMPLAINT = re.compile(r"疼|痛|红|痒|肿|看不|pain|hurt|\bred\b|itch|swollen|vision")


def scope_of(question: str) -> Scope:
    """Return what a question is about, as far as its words alone show it.

    Args:
        question: as `core.knowledge.terms.plain` returns it.
    """
    left = _OTHER_EYES.sub(" ", question)
    if left != question and not re.search(
        r"疼|痛|红|痒|肿|看不|pain|hurt|red\b|itch|swollen|vision", left
    ):
        return "elsewhere"
    if _EYE_WORDS.search(left):
        return "eyes"
    return "elsewhere" if _ELSEWHERE.search(question) else "unclear"


def foreign_words(question: str) -> list[str]:
    """Return the words that make a question one about something else; a book may know them.

    A clinic's handbook tells about car parks and invoices: what it names is its own business.
    """
    if scope_of(question) != "elsewhere":
        return []
    return [m.group() for p in (_OTHER_EYES, _ELSEWHERE) for m in p.finditer(question)]
