"""Find what answers a question: our own articles and the passages of the clinic's books.

Pure over what `use` was told: the consult, the model's prompt and the command line all ask here.
Own articles go first unless a book clearly holds more of the question; books are not reviewed by
us, so their answers say book and page and are quoted only where the safety check lets them pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from core.agent.contradiction import Known
from core.agent.safety import check
from core.knowledge.article_search import Ranking, rank, weights
from core.knowledge.articles import articles
from core.knowledge.library import BookPassage, Library
from core.knowledge.meaning import Meaning
from core.knowledge.scope import foreign_words
from core.knowledge.terms import plain, tokens
from core.message import Language
from core.reply import Bold, Bullets, Paragraph, Reply, Text, paragraph
from core.texts import text

_RUNNER_UP = 0.4  # of the best article's score
_FUSED = 20  # ranks of each list that count
_RRF = 60.0  # Cormack, Clarke, Büttcher 2009: reciprocal rank fusion
_CANDIDATES = 8
# Shares of the question's information that a passage must hold: to be shown at all, to answer
# what no article does, and to go before the best article.
_SHOWN, _ALONE, _AHEAD_BY = 0.5, 0.6, 0.25
_FILLER = 0.5  # a word that no passage has may say nothing
_OTHER_LANGUAGE = 0.8  # a passage in another language was only matched by translated terms


@dataclass(frozen=True, slots=True)
class Hit:
    """An article or a passage that answers; the order of hits counts, not their scores.

    Attributes:
        id: ``KB01`` … or ``<book>#<number>``.
        score: comparable among articles only.
        also: id of a passage of a book on the same question, cited below an article.
    """

    id: str
    score: float
    also: str | None = None


@dataclass(slots=True)
class _Sources:
    library: Library | None = None
    meaning: Meaning | None = None


_sources = _Sources()


def use(*, library: Library | None = None, meaning: Meaning | None = None) -> None:
    """Let this process search these beside the articles; without arguments, articles alone."""
    _sources.library, _sources.meaning = library, meaning


def search(question: str, language: Language, k: int = 3) -> list[Hit]:
    """Return up to k articles and passages that answer, best first; none when out of scope.

    Args:
        question: as the person wrote it; either language is understood.
        language: the person's language; passages in it go before others.
        k: how many to return.
    """
    asked = plain(question)
    ranking = rank(asked)
    by_meaning = _sources.meaning.ranking(question) if _sources.meaning else ()
    own = _articles(ranking, by_meaning)
    if _sources.library is None:
        return own[:k]
    found = _passages(asked, ranking, language, by_meaning)
    if not own:
        return [hit for hit, share in found if share >= _ALONE][:k]
    ahead = [hit for hit, share in found if share >= ranking.coverage + _AHEAD_BY]
    behind = [hit for hit, share in found if share < ranking.coverage + _AHEAD_BY]
    if found and (best := _sources.library.passage(found[0][0].id)):
        own[0] = replace(own[0], also=best.id if best.language == language else None)
    return [*ahead[:1], own[0], *behind[:1], *own[1:], *behind[1:]][:k]


def _articles(ranking: Ranking, by_meaning: Sequence[str]) -> list[Hit]:
    if not ranking.in_scope:
        return []
    best = ranking.scores[0][1]
    scores = dict(ranking.scores)
    near = [i for i in by_meaning if i in articles()]
    if not near:
        return [Hit(i, s) for i, s in ranking.scores if s >= _RUNNER_UP * best]
    order = _fuse([i for i, _ in ranking.scores], near)
    good = {i for i, s in ranking.scores if s >= _RUNNER_UP * best} | set(near[:3])
    return [Hit(i, scores.get(i, 0.0)) for i in order if i in good]


def _fuse(*lists: Sequence[str]) -> list[str]:
    fused: dict[str, float] = {}
    for ids in lists:
        for place, each in enumerate(ids[:_FUSED], start=1):
            fused[each] = fused.get(each, 0.0) + 1 / (_RRF + place)
    return sorted(fused, key=lambda each: -fused[each])


def _passages(
    asked: str, ranking: Ranking, language: Language, by_meaning: Sequence[str]
) -> list[tuple[Hit, float]]:
    """Return passages with the share of the question each holds, best first."""
    library = _sources.library
    if library is None:
        return []
    told = weights(asked)
    said = {term: told[term] for term in dict.fromkeys(tokens(asked))}
    # What the best article is called in both languages finds a book in the other one.
    named: Mapping[Language, str] = {}
    if ranking.in_scope:
        named = articles()[ranking.scores[0][0]].title
    meant: dict[str, float] = {t: 1.0 for title in named.values() for t in tokens(title)}
    wanted = {**meant, **told}
    terms = sorted(wanted, key=lambda t: -wanted[t])
    near = [i for i in by_meaning if "#" in i][:3] if ranking.in_scope else []
    candidates = {p.id: p for p in library.find(terms, _CANDIDATES)}
    candidates |= {i: p for i in near if i not in candidates and (p := library.passage(i))}
    foreign = foreign_words(asked)
    candidates = {i: p for i, p in candidates.items() if _names(p, foreign)}
    held = {
        each.id: frozenset(tokens(f"{' '.join(each.headings)} {each.text}"))
        for each in candidates.values()
    }
    anywhere = frozenset[str]().union(*held.values())
    said = {t: w if t in anywhere else _FILLER * w for t, w in said.items()}
    shares: dict[str, float] = {}
    for each in candidates.values():
        share = _share(said, held[each.id])
        if each.language != language and each.language in named:
            title = dict.fromkeys(tokens(named[each.language]), 1.0)
            # Never ahead of an article that the person can read.
            most = ranking.coverage + _AHEAD_BY - 0.01
            share = max(share, min(_OTHER_LANGUAGE * _share(title, held[each.id]), most))
        shares[each.id] = max(share, _SHOWN) if each.id in near else share
    order = sorted(shares, key=lambda i: -shares[i])
    if near:
        order = _fuse(order, near)
    return [(Hit(i, shares[i]), shares[i]) for i in order if shares[i] >= _SHOWN]


def _names(passage: BookPassage, words: Sequence[str]) -> bool:
    if not words:
        return True
    told = plain(f"{' '.join(passage.headings)} {passage.text}")
    return all(word in told for word in words)


def _share(wanted: Mapping[str, float], held: frozenset[str]) -> float:
    total = sum(wanted.values())
    return sum(w for t, w in wanted.items() if t in held) / total if total else 0.0


def article_hit(article_id: str) -> Hit | None:
    """Return the hit for an article named by its id, or None when there is no such article."""
    return Hit(article_id, 0.0) if article_id in articles() else None


def title_of(hit: Hit, language: Language) -> str:
    """Return what a hit is called, for lists."""
    if hit.id in articles():
        return articles()[hit.id].title[language]
    found = _passage_of(hit.id)
    return place(found, language) if found else hit.id


def words_of(hit: Hit, language: Language) -> str:
    """Return a hit's words for the model's prompt; what may not be said is not given to it."""
    if hit.id in articles():
        article = articles()[hit.id]
        facts = [fact.text for fact in article.facts[language]]
        return "\n".join([*facts, article.when_to_go[language]])
    found = _passage_of(hit.id)
    if found is None:
        return ""
    return _quotable(found) or text(language, "knowledge.see", place=place(found, language))


def answer(hit: Hit, language: Language) -> Reply:
    """Return what a hit says, when to go at once, and where it is from."""
    if hit.id not in articles():
        return _book_answer(hit, language)
    article = articles()[hit.id]
    go = text(language, "knowledge.when_to_go", when=article.when_to_go[language])
    cited = text(language, "knowledge.cite", id=article.id, version=article.version)
    also = _passage_of(hit.also) if hit.also else None
    more = [text(language, "knowledge.also", place=place(also, language))] if also else []
    return Reply(
        "answer",
        (
            Paragraph((Bold(article.title[language]),)),
            Bullets(tuple((Text(fact.text),) for fact in article.facts[language])),
            Paragraph((Bold(go),)),
            *(paragraph(line) for line in more),
            paragraph(cited),
        ),
    )


def _book_answer(hit: Hit, language: Language) -> Reply:
    found = _passage_of(hit.id)
    if found is None:  # removed since it was found
        return Reply("answer", (paragraph(text(language, "knowledge.gone")),))
    head = found.headings[-1] if found.headings else found.title
    where = place(found, language)
    quote = _quotable(found) if found.language == language else ""
    body = quote or text(language, "knowledge.see", place=where)
    go = text(language, "knowledge.book_when_to_go")
    return Reply(
        "answer",
        (
            Paragraph((Bold(head),)),
            *(paragraph(line) for line in body.split("\n") if line.strip()),
            Paragraph((Bold(go),)),
            paragraph(text(language, "knowledge.book_cite", place=where)),
        ),
    )


def place(passage: BookPassage, language: Language) -> str:
    """Return where a passage stands: book, section, page."""
    section = " › ".join([h for h in passage.headings if h != passage.title][-2:])
    parts = [text(language, "knowledge.book", title=passage.title)]
    if section:
        parts.append(section)
    if passage.page is not None:
        parts.append(text(language, "knowledge.page", page=passage.page))
    return ("，" if language == "zh-Hans" else ", ").join(parts)


def _quotable(passage: BookPassage) -> str:
    """Return a passage as it may be shown, or "" when the outgoing check objects to any of it."""
    whole = " ".join([*passage.headings, passage.text])
    checked = check(f"{whole}\n", language=passage.language, known=Known())
    return "" if checked.problems else passage.text


def _passage_of(passage_id: str) -> BookPassage | None:
    return _sources.library.passage(passage_id) if _sources.library else None
