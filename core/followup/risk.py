"""What is known about a person and makes a visit due sooner, in the words of the interval table.

From what the interview and earlier conversations settled (`core.interview.known`) and from clauses
the person wrote about their health (`core.agent.summary`). Nothing here lowers anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

# ADA: below 7 % for most, below 8 % where less is asked for; from 8 % on nobody's goal is met.
_HBA1C_HIGH = 8.0
_LONG_DIABETES_YEARS = 10

_BY_SLOT = {
    ("diabetes", "yes"): "diabetes",
    ("pregnant", "yes"): "pregnant",
    ("blood_pressure", "yes"): "blood_pressure",
    ("glaucoma", "family"): "glaucoma_family",
    ("only_eye", "yes"): "only_seeing_eye",
    ("immune", "yes"): "immunosuppressed",
    ("far", "yes"): "far_from_clinic",
    ("age", "under_3_months"): "under_3_months",
}
_HBA1C = re.compile(
    r"(?:糖化(?:血红蛋白)?|hba1c|a1c)[^\d,，。;；]{0,12}(\d{1,2}(?:\.\d)?)", re.IGNORECASE
)
_HBA1C_WORDS = re.compile(
    r"(?:糖化(?:血红蛋白)?)(?:一直|有点|也|很|特别|偏)*高|(?:high|poor) (?:hba1c|a1c)",
    re.IGNORECASE,
)
_RENAL = re.compile(
    r"肾病|肾(?:功能)?(?:不好|不全|衰)|透析|尿毒症|\bdialysis\b|\bkidney (?:disease|failure)\b",
    re.IGNORECASE,
)
_YEARS = re.compile(
    r"糖尿病[^\d,，。;；]{0,8}(\d{1,2})\s*多?年|(\d{1,2})\s*多?年[^,，。;；]{0,4}糖尿病"
    r"|diabet\w+ for (?:about |over |more than )?(\d{1,2}) years",
    re.IGNORECASE,
)
_DENIED = re.compile(r"没有|没得|不是|无肾|\bno\b|\bnot\b|n't", re.IGNORECASE)
_OTHERS = re.compile(r"妈|爸|奶奶|爷爷|外婆|外公|老公|老婆|mother|father|wife|husband|家族|遗传")


def modifiers(slots: Mapping[str, str], said: Iterable[str] = ()) -> frozenset[str]:
    """Return what counts, as the table's `sooner` and `escalators` name it.

    Args:
        slots: what holds about the person, by slot.
        said: clauses about health as the person wrote them; those that deny or are about somebody
            else are left out.
    """
    found = {name for (slot, value), name in _BY_SLOT.items() if slots.get(slot) == value}
    for clause in said:
        if _OTHERS.search(clause):
            continue
        if match := _HBA1C.search(clause):
            if _HBA1C_HIGH <= float(match[1]) <= 20:
                found.add("hba1c_high")
        elif _DENIED.search(clause):
            continue
        if _HBA1C_WORDS.search(clause) and not _DENIED.search(clause):
            found.add("hba1c_high")
        if _RENAL.search(clause) and not _DENIED.search(clause):
            found.add("renal")
        if (match := _YEARS.search(clause)) and int(next(g for g in match.groups() if g)) > (
            _LONG_DIABETES_YEARS
        ):
            found.add("over_10_years")
    return frozenset(found)
