"""The second net: a small statistical layer that may raise "nothing" to "let me ask".

It never triggers and never silences; `engine` calls it only where no rule had anything to say.
Weights come from `training/triage/train_net.py`.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

MAX_GRAM = 3
_LONGEST_TEXT = 400  # characters; a longer text dilutes the score and costs time


@dataclass(frozen=True, slots=True)
class Net:
    """Logistic regression on TF-IDF of character n-grams.

    Attributes:
        version: date of training.
        threshold: probability from which the person is asked.
        bias: intercept.
        terms: n-gram → (inverse document frequency, weight).
    """

    version: str
    threshold: float
    bias: float
    terms: dict[str, tuple[float, float]]


def grams(text: str) -> frozenset[str]:
    """Return the character 1- to 3-grams of a normalised text."""
    return frozenset(
        text[at : at + n] for n in range(1, MAX_GRAM + 1) for at in range(len(text) - n + 1)
    )


@cache
def net() -> Net:
    """Return the trained layer, read at first use."""
    head, *rows = (files("core.triage") / "net.jsonl").read_text("utf-8").splitlines()
    data = json.loads(head)
    terms = {gram: (float(idf), float(weight)) for gram, idf, weight in map(json.loads, rows)}
    return Net(data["version"], data["threshold"], data["bias"], terms)


# Naming an eye or a person is no complaint: a photo's caption, the answer to "which eye?".
_NAMES_ONLY = re.compile(
    r"左|右|双|两|只|边|个|眼睛?|的|我|你|他|她|是|这|那|妈妈?|爸爸?|爷爷|奶奶|孩子|老公|老婆"
    r"|\b(?:left|right|both|eyes?|my|his|her|the|is|it|od|os|ou|this|mum|mom|dad)\b",
    re.IGNORECASE,
)


def has_substance(text: str) -> bool:
    """Tell whether a text says more than whose eye, or which, it is about."""
    rest = _NAMES_ONLY.sub("", text)
    return sum(c.isalnum() for c in rest) >= 2


def probability(text: str) -> float:
    """Return how much a normalised text looks like a red flag, in [0, 1]."""
    return score(net(), grams(text[:_LONGEST_TEXT]))


def score(layer: Net, found: frozenset[str]) -> float:
    """Return the probability for a set of n-grams."""
    known = [layer.terms[g] for g in found if g in layer.terms]
    norm = math.sqrt(sum(idf * idf for idf, _ in known)) or 1.0
    total = sum(idf * weight for idf, weight in known) / norm + layer.bias
    return 1 / (1 + math.exp(-max(-50.0, min(50.0, total))))
