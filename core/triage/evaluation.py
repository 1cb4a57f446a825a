"""Score the engine on a labelled data set: the measures of the clinical specification §7.

Pure functions; the command line reads and writes the files.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.triage.engine import ContextLine, assess
from core.triage.verdict import Verdict
from core.urgency import Urgency

_Z_95 = 1.96


@dataclass(frozen=True, slots=True)
class Case:
    """One labelled message.

    Attributes:
        id: of the row.
        language: ``zh`` or ``en``.
        text: what was written.
        context: earlier lines.
        kind: ``red_flag``, ``hard_negative``, ``ordinary`` … as in the data set.
        should_trigger: whether a card is right.
        red_flags: flags of which at least one should be named.
        urgency: labelled class.
        least: least urgent class that is still acceptable.
        most: most urgent class that is still acceptable.
    """

    id: str
    language: str
    text: str
    context: tuple[ContextLine, ...]
    kind: str
    should_trigger: bool
    red_flags: tuple[str, ...]
    urgency: Urgency
    least: Urgency
    most: Urgency


@dataclass(frozen=True, slots=True)
class Rate:
    """A share with its Wilson 95 % interval."""

    hits: int
    of: int

    @property
    def value(self) -> float:
        """Return the share; 0 when there is nothing to count."""
        return self.hits / self.of if self.of else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """Return the Wilson score interval."""
        if not self.of:
            return 0.0, 0.0
        n, p, z2 = self.of, self.value, _Z_95**2
        centre = p + z2 / (2 * n)
        width = _Z_95 * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
        return max(0.0, (centre - width) / (1 + z2 / n)), min(1.0, (centre + width) / (1 + z2 / n))


@dataclass(frozen=True, slots=True)
class Scores:
    """Measures by name, and what went wrong."""

    rates: Mapping[str, Rate]
    missed: tuple[str, ...]
    false_triggers: tuple[str, ...]


def context_line(line: str) -> ContextLine:
    """Read one context line: ``bot: …`` is the service, everything else the patient."""
    author, _, rest = line.partition(":")
    match author.strip().lower():
        case "bot" | "service" | "assistant":
            return ContextLine("service", rest.strip())
        case "user" | "patient":
            return ContextLine("patient", rest.strip())
        case _:
            return ContextLine("patient", line)


def read_cases(lines: Iterable[str]) -> list[Case]:
    """Read a data set in JSON lines."""
    return [_case(json.loads(line)) for line in lines if line.strip()]


def _case(row: Mapping[str, Any]) -> Case:
    """Read one row; a row without labels can still be predicted, and counts as a negative."""
    return Case(
        id=str(row["id"]),
        language=row.get("lang", "zh"),
        text=row["text"],
        context=tuple(context_line(c) for c in row.get("context") or ()),
        kind=row.get("kind", "unlabelled"),
        should_trigger=bool(row.get("should_trigger")),
        red_flags=tuple(row.get("red_flags") or ()),
        urgency=Urgency(row.get("urgency", "none")),
        least=Urgency(row.get("min_ok", "none")),
        most=Urgency(row.get("max_ok", "immediate")),
    )


def run(cases: Sequence[Case], judge: Callable[..., Verdict] = assess) -> dict[str, Verdict]:
    """Return the verdict on each case, by id."""
    return {case.id: judge(case.text, context=case.context) for case in cases}


def prediction_line(case_id: str, verdict: Verdict) -> str:
    """Return one line of a predictions file."""
    row = {
        "id": case_id,
        "action": verdict.action,
        "urgency": str(verdict.urgency),
        "red_flags": list(verdict.flags),
        "rule_version": verdict.rule_version,
    }
    return json.dumps(row, ensure_ascii=False)


def score(cases: Sequence[Case], verdicts: Mapping[str, Verdict]) -> Scores:
    """Compare verdicts with labels. `confirm` is a miss on red flags, right on the rest."""
    counts: dict[str, list[int]] = {}
    missed: list[str] = []
    false_triggers: list[str] = []

    def add(name: str, hit: bool) -> None:
        count = counts.setdefault(name, [0, 0])
        count[0] += hit
        count[1] += 1

    for case in cases:
        verdict = verdicts[case.id]
        triggered = verdict.action == "trigger"
        rank = verdict.urgency.rank
        if case.should_trigger:
            for name in ("all", case.language):
                add(f"sensitivity_{name}", triggered)
            if case.urgency is Urgency.IMMEDIATE:
                add("sensitivity_immediate", triggered)
            if triggered:
                add("flag_id_hit", not set(verdict.flags).isdisjoint(case.red_flags))
            else:
                missed.append(case.id)
            add("no_undertriage", triggered and rank <= case.least.rank)
        else:
            for name in ("all", case.kind, case.language):
                add(f"specificity_{name}", not triggered)
            add("confirm_rate_on_negatives", verdict.action == "confirm")
            add("no_overtriage", rank >= case.most.rank)
            if triggered:
                false_triggers.append(case.id)
    rates = {name: Rate(*count) for name, count in sorted(counts.items())}
    return Scores(rates, tuple(missed), tuple(false_triggers))


def report(scores: Scores) -> str:
    """Return the measures as a table."""
    rows: list[str] = []
    for name, rate in scores.rates.items():
        low, high = rate.interval
        rows.append(
            f"{name:32s} {rate.hits:4d}/{rate.of:<4d} {rate.value:6.3f} [{low:.3f},{high:.3f}]"
        )
    return "\n".join(rows)
