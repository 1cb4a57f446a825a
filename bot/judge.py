"""`triage`, `ask` and `eval`: the deterministic parts on one sentence or on a labelled file."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from bot.settings import Settings
from core.errors import ConfigError
from core.knowledge.library import Library
from core.knowledge.search import answer, search, title_of, use
from core.message import Language
from core.reply import plain_text
from core.triage.engine import assess
from core.triage.evaluation import context_line, prediction_line, read_cases, report, run, score
from core.triage.verdict import explain, to_json
from core.turn.words import language_of

_HITS = 3


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")


def _language(words: str) -> Language:
    return language_of(words, None, "zh-Hans") or "zh-Hans"


def _read_lines(path: Path) -> list[str]:
    try:
        return [line for line in path.read_text("utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({type(error).__name__}); check it") from None


def triage(words: str, context: Sequence[str], *, as_json: bool) -> None:
    """Print the verdict on one message; context lines are ``user: …`` and ``bot: …``."""
    verdict = assess(words, context=[context_line(line) for line in context])
    if as_json:
        _say(json.dumps(to_json(verdict), ensure_ascii=False))
        return
    _say(f"{verdict.action}  {verdict.urgency}  {' '.join(verdict.flags)}")
    _say(explain(verdict, _language(words)))


def ask(settings: Settings, question: str, *, as_json: bool) -> None:
    """Print what articles and the clinic's books answer, or that they do not know."""
    use(library=Library(settings.library_dir))
    language = _language(question)
    hits = search(question, language, _HITS)
    if as_json:
        found = [{"id": h.id, "title": title_of(h, language)} for h in hits]
        said = plain_text(answer(hits[0], language)) if hits else None
        _say(json.dumps({"hits": found, "answer": said}, ensure_ascii=False))
    else:
        _say(plain_text(answer(hits[0], language)) if hits else "-")


def evaluate_triage(dataset: Path, predictions: Path | None, *, as_json: bool) -> None:
    """Score the red-flag engine on labelled messages."""
    try:
        cases = read_cases(_read_lines(dataset))
    except (ValueError, KeyError) as error:
        raise ConfigError(f"{dataset}: not a triage dataset ({type(error).__name__})") from None
    verdicts = run(cases)
    if predictions is not None:
        lines = [prediction_line(case_id, verdict) for case_id, verdict in verdicts.items()]
        predictions.write_text("\n".join(lines) + "\n", "utf-8")
    scores = score(cases, verdicts)
    if as_json:
        rates = {name: [rate.hits, rate.of] for name, rate in scores.rates.items()}
        _say(json.dumps(rates, ensure_ascii=False))
    else:
        _say(report(scores))


def evaluate_retrieval(dataset: Path, predictions: Path | None, *, as_json: bool) -> None:
    """Score the knowledge search; rows: id, question, expected, also_ok, out_of_scope."""
    counts = {"hit_at_1": [0, 0], "hit_at_3": [0, 0], "rejected": [0, 0]}
    lines: list[str] = []
    for line in _read_lines(dataset):
        row: dict[str, Any] = json.loads(line)
        hits = [h.id for h in search(row["question"], _language(row["question"]), _HITS)]
        lines.append(json.dumps({"id": row["id"], "hits": hits}))
        if row.get("out_of_scope"):
            _count(counts["rejected"], not hits)
            continue
        good = _names(row.get("expected")) | _names(row.get("also_ok"))
        _count(counts["hit_at_1"], bool(hits) and hits[0] in good)
        _count(counts["hit_at_3"], bool(good & set(hits)))
    if predictions is not None:
        predictions.write_text("\n".join(lines) + "\n", "utf-8")
    if as_json:
        _say(json.dumps(counts))
        return
    for name, (right, of) in counts.items():
        _say(f"{name:10} {right}/{of}" + (f"  {right / of:.3f}" if of else ""))


def _names(value: object) -> set[str]:
    return {value} if isinstance(value, str) else set(cast("list[str]", value or []))


def _count(pair: list[int], good: bool) -> None:
    pair[0] += good
    pair[1] += 1
