"""Ranks our own articles for a question: BM25 over character pairs and words.

Titles and lay names weigh more than the text, and lay words of the question bring the articles'
words with them. A question whose rarer words the articles do not know finds nothing at all.
bm25s 0.2 with the same terms and weights was tried: see docs/adr/0011.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache

from core.knowledge.articles import Article, articles
from core.knowledge.lay import meanings
from core.knowledge.scope import scope_of
from core.knowledge.terms import plain, tokens
from core.message import LANGUAGES

# Chosen on tests/unit/knowledge_questions.yaml.
_K1, _B = 1.2, 0.4
_TITLE_WEIGHT, _ALIAS_WEIGHT = 4.0, 3.0
_CHARACTER_WEIGHT = 0.5  # a single character says less than a pair
_MEANT_WEIGHT = 0.4  # of a word that was not said but meant
_NAME_BONUS = 6.0  # a lay name stands in the question as it is
# Least score, and least share of the question's information that the best article must hold.
_ENOUGH = {"eyes": (6.0, 0.1), "unclear": (18.0, 0.45), "elsewhere": (math.inf, 1.0)}


@dataclass(frozen=True, slots=True)
class Ranking:
    """What a question found among the articles.

    Attributes:
        scores: (article id, score), best first; only ids of articles that share a term.
        coverage: share of the question's information that the best article holds, in [0, 1].
        in_scope: false = the articles do not answer this.
    """

    scores: tuple[tuple[str, float], ...]
    coverage: float
    in_scope: bool


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
        plain(name): number
        for number, article in enumerate(known)
        for tag in LANGUAGES
        for name in (*article.aliases[tag], article.title[tag])
    }
    ordered = sorted(names.items(), key=lambda entry: -len(entry[0]))
    unknown = 0.5 * math.log(1 + (size + 0.5) / 0.5)  # half: it may just be a filler word
    return _Index(tuple(a.id for a in known), postings, idf, tuple(ordered), unknown)


def weights(question: str) -> Mapping[str, float]:
    """Return a question's terms with the information each carries; lay words' meanings too."""
    index = _index()
    said = dict.fromkeys(tokens(question), 1.0)
    meant = dict.fromkeys(tokens(meanings(question)), _MEANT_WEIGHT)
    return {
        term: share
        * index.idf.get(term, index.unknown_idf)
        * (_CHARACTER_WEIGHT if len(term) == 1 else 1.0)
        for term, share in (meant | said).items()
    }


def rank(question: str) -> Ranking:
    """Rank the articles.

    Args:
        question: as `core.knowledge.terms.plain` returns it.
    """
    index = _index()
    asked = weights(question)
    said = set(tokens(question))
    if not said:
        return Ranking((), 0.0, in_scope=False)
    scores: dict[int, float] = {}
    covered: dict[int, float] = {}
    for term, weight in asked.items():
        for number, tf in index.postings.get(term, ()):
            scores[number] = scores.get(number, 0.0) + weight * tf
            if term in said:
                covered[number] = covered.get(number, 0.0) + weight
    for name, number in index.names:
        # Nearly two thousand names, of which a question holds a few: no call for the others.
        if name in question and _stands_alone(name, question):
            scores[number] = scores.get(number, 0.0) + _NAME_BONUS * math.log2(1 + len(name) / 2)
    ranked = sorted(
        ((index.ids[number], score) for number, score in scores.items()),
        key=lambda found: (-found[1], found[0]),
    )
    if not ranked:
        return Ranking((), 0.0, in_scope=False)
    total = sum(weight for term, weight in asked.items() if term in said)
    coverage = max(covered.values(), default=0.0) / total
    least_score, least_coverage = _ENOUGH[scope_of(question)]
    enough = ranked[0][1] >= least_score and coverage >= least_coverage
    return Ranking(tuple(ranked), coverage, in_scope=enough)


def _stands_alone(name: str, question: str) -> bool:
    """Tell whether a Latin name begins a word; Chinese has no gaps to look for."""
    return not name[0].isascii() or bool(re.search(rf"(?<![a-z0-9]){re.escape(name)}", question))
