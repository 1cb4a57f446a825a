"""Train the second net of triage: character n-grams → "this may be a red flag after all".

    python -m training.triage.train_net            # writes core/triage/net.jsonl

Data: the project's own paraphrases (`tests/unit/triage_cases.yaml`), nothing else. Logistic
regression on TF-IDF of character 1-3-grams. The threshold is the lowest at which, in grouped
cross-validation, at most 2 % of the negatives would be raised; a group is one flag or one kind of
hard negative, so that a sentence never helps to judge its sisters.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from core.triage.lexicon import lexicon
from core.triage.net import Net, grams, score
from core.triage.normalise import normalise

ROOT = Path(__file__).parents[2]
CASES = ROOT / "tests" / "unit" / "triage_cases.yaml"
TARGET = ROOT / "core" / "triage" / "net.jsonl"
RAISED_NEGATIVES = 0.02
FOLDS = 6
STEPS = 1500
RATE = 20.0
L2 = 2e-4
FEWEST_TEXTS = 10  # an n-gram in fewer says little and costs memory in every process


def read() -> tuple[list[frozenset[str]], np.ndarray, list[str]]:
    """Return n-grams, labels and groups of all cases."""
    data: dict[str, Any] = yaml.safe_load(CASES.read_text("utf-8"))
    rows = [(text, 1.0, flag) for flag, text in data["red_flags"]]
    rows += [(text, 0.0, kind) for kind, text in data["hard_negatives"]]
    rows += [(text, 0.0, f"ordinary{n % 12}") for n, text in enumerate(data["ordinary"])]
    words = lexicon()
    texts = [grams(normalise(text, words).text) for text, _, _ in rows]
    return texts, np.array([y for _, y, _ in rows]), [g for _, _, g in rows]


def fit(texts: list[frozenset[str]], labels: np.ndarray) -> Net:
    """Fit balanced, L2-regularised logistic regression by gradient descent."""
    counts = Counter(g for text in texts for g in text)
    kept = sorted(g for g, n in counts.items() if n >= FEWEST_TEXTS)
    vocabulary = {g: i for i, g in enumerate(kept)}
    idf = np.array([np.log(len(texts) / counts[g]) + 1 for g in vocabulary])
    # One entry for each n-gram of each text: all but a hundredth of the full matrix is zero.
    cells = [(n, vocabulary[g]) for n, text in enumerate(texts) for g in text if g in vocabulary]
    row, column = np.array(cells).T
    square = np.bincount(row, idf[column] ** 2, len(texts))
    value = idf[column] / np.sqrt(np.maximum(square, 1e-18))[row]
    balance = np.where(labels > 0, 0.5 / labels.mean(), 0.5 / (1 - labels.mean()))
    weights, bias = np.zeros(len(vocabulary)), 0.0
    for _ in range(STEPS):
        logit = np.bincount(row, value * weights[column], len(texts)) + bias
        error = (1 / (1 + np.exp(-logit)) - labels) * balance
        slope = np.bincount(column, value * error[row], len(vocabulary)) / len(labels)
        weights -= RATE * (slope + L2 * weights)
        bias -= 0.1 * RATE * float(error.mean())
    terms = {g: (float(idf[i]), float(weights[i])) for g, i in vocabulary.items()}
    return Net("", 0.0, bias, terms)


def out_of_fold(texts: list[frozenset[str]], labels: np.ndarray, groups: list[str]) -> np.ndarray:
    """Return for each case the probability by a model that never saw its group."""
    folds = {group: n % FOLDS for n, group in enumerate(sorted(set(groups)))}
    fold = np.array([folds[g] for g in groups])
    result = np.zeros(len(labels))
    for held_out in range(FOLDS):
        seen = [t for t, f in zip(texts, fold, strict=True) if f != held_out]
        layer = fit(seen, labels[fold != held_out])
        for n in np.flatnonzero(fold == held_out):
            result[n] = score(layer, texts[n])
    return result


def main() -> None:
    """Cross-validate, choose the threshold, train on everything and write the file."""
    texts, labels, groups = read()
    guess = out_of_fold(texts, labels, groups)
    threshold = round(float(np.quantile(guess[labels == 0], 1 - RAISED_NEGATIVES)) + 0.005, 2)
    found = float((guess[labels == 1] >= threshold).mean())
    print(f"threshold {threshold}: finds {found:.3f} of flags never seen in training")
    layer = fit(texts, labels)
    head = {
        "version": lexicon().version,
        "threshold": threshold,
        "bias": round(layer.bias, 3),
    }
    rows = ([g, round(i, 2), round(w, 2)] for g, (i, w) in layer.terms.items())
    lines = (json.dumps(row, ensure_ascii=False) for row in (head, *rows))
    TARGET.write_text("\n".join(lines) + "\n", "utf-8")


if __name__ == "__main__":
    main()
