"""Find the article that answers a question: BM25 over character pairs and words.

Chinese is cut into character pairs, English into lightly stemmed words, so one index serves both
languages and no tokenizer has to be loaded. Titles and lay names weigh more than the text. A
question whose rarer words the knowledge base does not know is answered with nothing at all.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from core.knowledge.articles import Article, articles
from core.message import LANGUAGES, Language
from core.reply import Bold, Bullets, Paragraph, Reply, Text, paragraph
from core.texts import text

# Chosen on tests/unit/knowledge_questions.yaml.
_K1, _B = 1.2, 0.4
_TITLE_WEIGHT, _ALIAS_WEIGHT = 4.0, 3.0
_CHARACTER_WEIGHT = 0.5  # a single character says less than a pair
_NAME_BONUS = 6.0  # a lay name stands in the question as it is
_MIN_SCORE = 7.0
_MIN_COVERAGE = 0.2  # share of the question's information the article must contain
_RUNNER_UP = 0.4  # of the best score

_WORD = re.compile(r"[a-z0-9]+|[\u3400-\u9fff]+")
# Words and pairs that every question has; they say nothing about its topic.
_STOP_WORDS = """
a an the and or of to in on at is are was be am i my me you your it its this that do does did can
could should would will what how why when which who if for with from about have has had get got
there any some so as by not no yes he she his her they them their we our please tell know need
want much many long often after before during into s t m re ve don
怎么 么办 什么 为什 么样 么用 可以 以吗 能不 不能 是不 不是 多久 久能 久可 请问
想问 问一 一下 我想 知道 哪些 有哪 是什 么是 么回 回事 如何 需要 要不 会不 不会
有没 没有 应该 该怎 了吗 的吗 好吗 吗我 我的 我们 你们 的时 时候 么时 是怎 还能
能吗 一个 这个 那个 有什 可不 不可 告诉 诉我 有点
"""
_STOP = frozenset(_STOP_WORDS.split())
_STOP_CHARACTERS = frozenset(
    "的了是不有在我你他她们这那一个么什怎吗呢吧啊能会要可以就都和也很还多没去到上下中看眼睛"
)
_EYE_WORDS = re.compile(
    r"[眼睛瞳视盲瞎泪睑晶]|镜片|隐形|塑形镜|ok镜|角膜|青光|白内|黄斑|飞蚊|近视|老花|散光|糖网|散瞳|麦粒|照片|隐私|数据|看不|看东西|失明|"
    r"eye|vision|sight|retin|lens|glauc|catar|macul|cornea|blind|pupil|squint|glasses|photo"
)


_OTHER_EYES = re.compile(  # eyes, but not their health
    r"眼线|眼影|眼霜|双眼皮|眼镜店|猫眼电影|鱼眼|draw\w* .*eyes|eye (?:colou?r|shadow)|colou?r eyes"
)


@dataclass(frozen=True, slots=True)
class Hit:
    """An article that answers; `score` only orders hits of one question."""

    id: str
    score: float


def _stem(word: str) -> str:
    for ending in ("ies", "ing", "es", "ed", "s", "y"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word.removesuffix(ending)
    return word


def _plain(content: str) -> str:
    return unicodedata.normalize("NFKC", content).lower()


def tokens(content: str) -> list[str]:
    """Return the index terms of a text: character pairs, characters and word stems."""
    found: list[str] = []
    for run in _WORD.findall(_plain(content)):
        if run[0].isascii():
            if run not in _STOP:
                found.append(_stem(run))
        else:
            found += (p for i in range(len(run) - 1) if (p := run[i : i + 2]) not in _STOP)
            found += (c for c in run if c not in _STOP_CHARACTERS)
    return found


@dataclass(frozen=True, slots=True)
class _Index:
    ids: tuple[str, ...]
    postings: dict[str, list[tuple[int, float]]]  # term → (article, saturated term frequency)
    idf: dict[str, float]
    names: tuple[tuple[str, int], ...]  # lay name → article, longest first
    unknown_idf: float


def _weighted(article: Article) -> dict[str, float]:
    counts: dict[str, float] = {}

    def add(parts: Iterable[str], weight: float) -> None:
        for part in parts:
            for term in tokens(part):
                counts[term] = counts.get(term, 0.0) + weight

    for tag in LANGUAGES:
        add([article.title[tag]], _TITLE_WEIGHT)
        add(article.aliases[tag], _ALIAS_WEIGHT)
        add((fact.text for fact in article.facts[tag]), 1.0)
        add([article.when_to_go[tag]], 0.5)
    return counts


@cache
def _index() -> _Index:
    """Build the index at the first question (tens of milliseconds)."""
    known = tuple(articles().values())
    counted = [_weighted(a) for a in known]
    lengths = [sum(c.values()) for c in counted]
    mean = sum(lengths) / max(len(lengths), 1)
    postings: dict[str, list[tuple[int, float]]] = {}
    for number, counts in enumerate(counted):
        norm = _K1 * (1 - _B + _B * lengths[number] / mean)
        for term, tf in counts.items():
            postings.setdefault(term, []).append((number, tf * (_K1 + 1) / (tf + norm)))
    size = len(known)
    idf = {t: math.log(1 + (size - len(p) + 0.5) / (len(p) + 0.5)) for t, p in postings.items()}
    names = {
        _plain(name): number
        for number, article in enumerate(known)
        for tag in LANGUAGES
        for name in (*article.aliases[tag], article.title[tag])
    }
    ordered = sorted(names.items(), key=lambda entry: -len(entry[0]))
    unknown = 0.5 * math.log(1 + (size + 0.5) / 0.5)  # half: it may just be a filler word
    return _Index(tuple(a.id for a in known), postings, idf, tuple(ordered), unknown)


def _stands_alone(name: str, question: str) -> bool:
    """Tell whether a Latin name begins a word; Chinese has no gaps to look for."""
    return not name[0].isascii() or bool(re.search(rf"(?<![a-z0-9]){re.escape(name)}", question))


def search(question: str, language: Language, k: int = 3) -> list[Hit]:
    """Return up to k articles that answer the question, best first; none when out of scope.

    Args:
        question: as the person wrote it; either language is understood.
        language: the person's language; breaks no ties today, kept for callers' clarity.
        k: how many to return.
    """
    del language  # the index holds both languages; a mixed question finds its article too
    index = _index()
    plain = _plain(question)
    asked = dict.fromkeys(tokens(plain))
    if not asked:
        return []
    scores: dict[int, float] = {}
    covered: dict[int, float] = {}
    total = 0.0
    for term in asked:
        idf = index.idf.get(term, index.unknown_idf)
        if len(term) == 1:
            idf *= _CHARACTER_WEIGHT
        total += idf
        for number, weight in index.postings.get(term, ()):
            scores[number] = scores.get(number, 0.0) + idf * weight
            covered[number] = covered.get(number, 0.0) + idf
    named: set[int] = set()
    for name, number in index.names:
        # Nearly two thousand names, of which a question holds a few: no call for the others.
        if name in plain and _stands_alone(name, plain):
            scores[number] = scores.get(number, 0.0) + _NAME_BONUS * math.log2(1 + len(name) / 2)
            named.add(number)
    about_eyes = _EYE_WORDS.search(plain) and not _OTHER_EYES.search(plain)
    ranked = sorted(
        (Hit(index.ids[number], score) for number, score in scores.items()),
        key=lambda hit: (-hit.score, hit.id),
    )
    in_scope = named or any(
        about_eyes and score >= _MIN_SCORE and covered.get(number, 0.0) >= _MIN_COVERAGE * total
        for number, score in scores.items()
    )
    if not in_scope:
        return []
    return [hit for hit in ranked[:k] if hit.score >= _RUNNER_UP * ranked[0].score]


def article_hit(article_id: str) -> Hit | None:
    """Return the hit for an article named by its id, or None when there is no such article."""
    return Hit(article_id, 0.0) if article_id in articles() else None


def answer(hit: Hit, language: Language) -> Reply:
    """Return the article as a reply: facts, when to go at once, and the article's id."""
    article = articles()[hit.id]
    go = text(language, "knowledge.when_to_go", when=article.when_to_go[language])
    cited = text(language, "knowledge.cite", id=article.id, version=article.version)
    return Reply(
        "answer",
        (
            Paragraph((Bold(article.title[language]),)),
            Bullets(tuple((Text(fact.text),) for fact in article.facts[language])),
            Paragraph((Bold(go),)),
            paragraph(cited),
        ),
    )
