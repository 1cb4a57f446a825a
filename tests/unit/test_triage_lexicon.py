"""The data files a clinician edits: complete, without duplicates, in both languages."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
import yaml

from core.errors import Bug
from core.texts import catalogue
from core.triage.frames import rule_book
from core.triage.lexicon import AREAS, _lexicon, lexicon, read_yaml
from core.triage.normalise import normalise
from core.triage.places import Places
from core.triage.terms import Expression, compile_terms, split_terms

# Clinical specification §2.
FLAGS = {
    "sudden_vision_loss",
    "transient_vision_loss",
    "chemical_burn",
    "open_globe",
    "acute_angle_closure",
    "retinal_detachment",
    "vitreous_haemorrhage",
    "cl_keratitis",
    "postop_infection",
    "neuro_diplopia",
    "gca",
    "leukocoria",
    "orbital_cellulitis",
    "zoster_ophthalmicus",
    "hyphema_blunt",
    "painful_red_vision",
    "optic_neuritis",
    "sudden_distortion",
    "thermal_uv_injury",
    "corneal_fb",
    "neonatal_conjunctivitis",
    "raised_icp_htn",
    "graft_rejection",
    "infant_glaucoma",
    "stroke_signs",
    "facial_palsy",
    "drop_anaphylaxis",
    "self_harm",
}
ONE_LANGUAGE = {"hypothetical_after"}


def _unknown(name: str) -> Expression:
    raise Bug(name)


def test_every_flag_of_the_specification_has_a_class_and_a_rule() -> None:
    book = rule_book()
    assert set(book.flags) == FLAGS
    assert {r.flag for r in book.rules} == FLAGS


def test_every_concept_speaks_both_languages() -> None:
    lex = lexicon()
    for finder in (lex.concepts, lex.scopes):
        for name in set(finder) - ONE_LANGUAGE:
            spoken = [p.language for p in finder.patterns if p.concept == name]
            assert spoken == ["zh", "en"], name


def test_no_term_stands_twice_in_one_concept() -> None:
    parts = [read_yaml("vocabulary/language.yaml")["scopes"]]
    parts += [read_yaml(f"vocabulary/{area}.yaml")["concepts"] for area in AREAS]
    names = [name for part in parts for name in part]
    assert len(names) == len(set(names)), "a concept stands in two files"
    for part in parts:
        for name, blocks in part.items():
            for language, block in blocks.items():
                terms = split_terms(block)
                twice = {t for t in terms if terms.count(t) > 1}
                assert not twice, f"{name}.{language}: {twice}"


def test_every_concept_is_used() -> None:
    book = rule_book()
    used = {c for r in book.rules for i in r.items for c in i.concepts}
    used |= {c for r in book.rules for c in r.unless}
    used |= {*book.escalators, *book.trauma_escalators, "chronic", "disease"}
    used |= {c for values in book.slots.values() for cs in values.values() for c in cs}
    assert set(lexicon().concepts) <= used


def test_slots_name_known_concepts() -> None:
    for values in rule_book().slots.values():
        for concepts in values.values():
            assert set(concepts) <= set(lexicon().concepts)


def test_every_flag_has_its_texts() -> None:
    for language in ("zh-Hans", "en"):
        texts = catalogue(language)
        for flag in FLAGS:
            assert f"triage.card.{flag}" in texts
            assert f"triage.flag.{flag}" in texts


@pytest.mark.parametrize(
    ("term", "language", "matches", "not_matches"),
    [
        ("看不(到|见)", "zh", ["看不到", "看不见"], ["看不清"]),
        ("眼~疼", "zh", ["眼睛很疼"], ["眼睛，很疼", "眼睛不疼"]),
        ("#天", "zh", ["3天", "两天"], ["天"]),
        ("cannot see", "en", ["i cannot see"], ["scannot see", "cannot seem"]),
        ("eye~pain", "en", ["eye is in pain"], ["eye, no pain", "eye without pain"]),
        ("(很|好)*疼", "zh", ["很很好疼"], []),
        ("[1-3]岁", "zh", ["2岁"], ["4岁"]),
    ],
)
def test_terms_mean_what_the_manual_says(
    term: str, language: str, matches: list[str], not_matches: list[str]
) -> None:
    pattern = re.compile(compile_terms(term, language, _unknown).regex)
    for text in matches:
        assert pattern.search(text), text
    for text in not_matches:
        assert not pattern.search(text), text


@pytest.mark.parametrize("term", ["(看", "了?", "看)"])
def test_a_malformed_term_is_refused(term: str) -> None:
    with pytest.raises(Bug):
        compile_terms(term, "zh", _unknown)


def test_compiling_is_quick_enough_for_a_start() -> None:
    began_s = time.thread_time()
    known = _lexicon.__wrapped__()
    for pattern in (*known.concepts.patterns, *known.scopes.patterns):
        pattern.compiled()
    assert time.thread_time() - began_s < 10


def test_a_pattern_is_tried_wherever_it_can_begin() -> None:
    cases = yaml.safe_load((Path(__file__).parent / "triage_cases.yaml").read_text("utf-8"))
    texts = [t for _, t in cases["red_flags"]][::16] + [t for _, t in cases["hard_negatives"]][::8]
    known = lexicon()
    for text in texts:
        plain = normalise(text, known).text
        places = Places(plain)
        for finder in (known.concepts, known.scopes):
            everywhere = [
                (pattern.concept, *match.span())
                for pattern in finder.patterns
                for match in pattern.compiled().finditer(plain)
            ]
            assert list(finder.find(places)) == everywhere, text
            some = tuple(finder)[::7]
            found = [f for f in everywhere if f[0] in some]
            assert list(finder.find(places, *some)) == found, text
