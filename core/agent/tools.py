"""Tools the model may call.

Each gets what it needs as a callable or as plain data; none writes anything. What a call wishes to
happen (a task for staff, a plan to propose) is collected in `Wishes` and carried out with the
turn's one completing transaction, so a turn that is abandoned leaves nothing and one that is
repeated leaves it once.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any

from core.agent import drugs
from core.agent.loop import Tool
from core.agent.prompt import Passage
from core.followup.intervals import BOUND_DAYS, findings_of, table
from core.followup.plan import PlanProposal
from core.message import Language
from core.ports import ToolSpec
from core.reading import Reading
from core.texts import text
from core.urgency import Urgency, most_urgent

_LONGEST_SUMMARY = 500


@dataclass(slots=True)
class Wishes:
    """What the model's calls want to happen at the end of the turn.

    Attributes:
        staff: summary for staff, or None; the first of the turn counts.
        proposal: a follow-up to ask the patient about, or None; the most urgent of the turn.
    """

    staff: str | None = None
    proposal: PlanProposal | None = None


def _spec(name: str, language: Language, properties: Mapping[str, Mapping[str, Any]]) -> ToolSpec:
    described = {
        key: {**schema, "description": text(language, f"agent.tool.{name}.{key}")}
        for key, schema in properties.items()
    }
    return ToolSpec(
        name,
        text(language, f"agent.tool.{name}.description"),
        {
            "type": "object",
            "properties": described,
            "required": list(properties),
            "additionalProperties": False,
        },
    )


def read_fundus_photo(
    photo_ids: Sequence[str],
    read: Callable[[str], Awaitable[Reading]],
    *,
    language: Language,
    timeout_s: float = 20.0,
) -> Tool | None:
    """Make the tool that reads one of the person's own photos, or None when there is none.

    Args:
        photo_ids: the only ids the model may name, newest last; from our upload table.
        read: reads the photo with that id; PatientError and TransientError are told to the model
            as "no result".
        language: of the findings.
        timeout_s: longest reading.
    """
    if not photo_ids:
        return None
    known = frozenset(photo_ids)
    spec = _spec(
        "read_fundus_photo", language, {"photo_id": {"type": "string", "enum": list(photo_ids)}}
    )

    async def run(arguments: Mapping[str, Any]) -> str:
        wanted = arguments["photo_id"]
        if wanted not in known:  # the schema says so too; a path must never get through
            return "error: there is no such photo"
        return findings_text(await read(wanted), language)

    return Tool(spec, run, timeout_s)


def search_knowledge(
    find: Callable[[str], Sequence[Passage]], *, language: Language, timeout_s: float = 5.0
) -> Tool:
    """Make the tool that looks something up in the articles and the clinic's books.

    Args:
        find: returns passages for a question, best first; none when out of scope.
        language: of the descriptions.
        timeout_s: longest search.
    """
    question = {"type": "string", "minLength": 2, "maxLength": 300}
    spec = _spec("search_knowledge", language, {"question": question})

    async def run(arguments: Mapping[str, Any]) -> str:
        passages = find(arguments["question"])
        if not passages:
            return text(language, "agent.tool.search_knowledge.nothing")
        bodies = "\n\n".join(f"[{p.id}] {p.title}\n{p.text.strip()}" for p in passages)
        return f"{text(language, 'agent.tool.search_knowledge.found')}\n{bodies}"

    return Tool(spec, run, timeout_s)


def ask_staff(wishes: Wishes, *, language: Language) -> Tool:
    """Make the tool that hands the conversation to the clinic's staff."""
    summary = {"type": "string", "minLength": 2, "maxLength": 2 * _LONGEST_SUMMARY}
    spec = _spec("ask_staff", language, {"summary": summary})

    async def run(arguments: Mapping[str, Any]) -> str:
        if wishes.staff is None:
            wishes.staff = str(arguments["summary"])[:_LONGEST_SUMMARY]
        return text(language, "agent.tool.ask_staff.done")

    return Tool(spec, run, 5.0)


def drug_information(*, language: Language) -> Tool:
    """Make the tool that says what a drug is for; it knows no dose and says so."""
    name = {"type": "string", "minLength": 2, "maxLength": 100}
    spec = _spec("drug_information", language, {"name": name})

    async def run(arguments: Mapping[str, Any]) -> str:
        drug = drugs.find(arguments["name"])
        if drug is None:
            return text(language, "agent.tool.drug_information.unknown")
        about = drug.drug_class
        return text(
            language,
            "agent.tool.drug_information.found",
            name=drug.names[language][0],
            kind=about.name[language],
            purpose=about.purpose[language],
            cautions=about.cautions[language],
            tell=about.tell[language],
            sources=", ".join(about.sources),
        )

    return Tool(spec, run, 5.0)


# --- follow-up -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PlanGround:
    """What a plan of the model has to respect.

    Attributes:
        open_urgency: most urgent class still open.
        readings: of the person's photos.
        today: in the person's zone.
        due: day the running plan is due, or None.
        planned_urgency: class of the running plan, or None.
        proposed: what is proposed already and not answered, with its day, or None.
    """

    open_urgency: Urgency
    readings: Sequence[Reading]
    today: date
    due: date | None = None
    planned_urgency: Urgency | None = None
    proposed: tuple[PlanProposal, date] | None = None


def plan_follow_up(wishes: Wishes, ground: PlanGround, *, language: Language) -> Tool:
    """Make the tool that proposes a follow-up.

    The day comes from the interval table, never from the model, and the patient decides with the
    same buttons as in the guided consult.
    """
    reasons = sorted(name for name, row in table().assessments.items() if row is not None)
    classes = [str(u) for u in Urgency if u is not Urgency.NONE]
    spec = _spec(
        "plan_follow_up",
        language,
        {
            "reason": {"type": "string", "enum": [*reasons, "other"]},
            "urgency": {"type": "string", "enum": classes},
        },
    )

    async def run(arguments: Mapping[str, Any]) -> str:
        wanted = proposal_for(arguments["reason"], Urgency(arguments["urgency"]), ground)
        due = ground.today + timedelta(days=wanted.due_in_days)
        if ground.due is not None and ground.due <= due:
            return text(language, "agent.tool.plan_follow_up.earlier", date=ground.due.isoformat())
        if wishes.proposal is None or wanted.due_in_days < wishes.proposal.due_in_days:
            wishes.proposal = wanted
        due = ground.today + timedelta(days=wishes.proposal.due_in_days)
        return text(language, "agent.tool.plan_follow_up.asked", date=due.isoformat())

    return Tool(spec, run, 5.0)


def proposal_for(reason: str, urgency: Urgency, ground: PlanGround) -> PlanProposal:
    """Return the follow-up for a reason and a class, as urgent as anything that is known.

    What the model says can only hurry: rows of the table for its reason, for its class, for the
    open red flag, for every photo and what was planned or proposed before all count, and the
    earliest day and the most urgent class win.
    """
    intervals = table()
    rows = [intervals.urgency[urgency]]
    named = intervals.assessments.get(reason)
    if named is not None:
        rows.append(named)
    if ground.open_urgency is not Urgency.NONE:
        rows.append(intervals.urgency[ground.open_urgency])
    found = [name for r in ground.readings for name in findings_of(r)]
    rows += [intervals.findings[n] for n in found if n in intervals.findings]
    leading = min(rows, key=lambda r: (r.urgency.rank, r.due_in_days))
    days = min(r.due_in_days for r in rows)
    classes = [r.urgency for r in rows]
    if ground.planned_urgency is not None:
        classes.append(ground.planned_urgency)
    if ground.proposed is not None:
        before, day = ground.proposed
        classes.append(before.urgency)
        days = min(days, max((day - ground.today).days, 0))
    highest = most_urgent(*classes)
    days = min(days, BOUND_DAYS.get(highest, days))
    made = PlanProposal(
        leading.rule_id, leading.rule_id, highest, days, leading.source, intervals.version
    )
    return replace(made, reason=reason) if leading is named else made


# --- photos in words -------------------------------------------------------------------------


def findings_text(reading: Reading, language: Language) -> str:
    """Return a reading in a few words, for the model and for later prompts."""

    def say(key: str, **fields: str | int) -> str:
        return text(language, f"agent.reading.{key}", **fields)

    if reading.outcome == "not_fundus":
        return say("not_fundus")
    comma = "；" if language == "zh-Hans" else "; "
    if reading.outcome == "ungradable":
        causes = [say(f"cause.{c}") for c in reading.retake] or [say("cause.unknown")]
        return say("ungradable", causes=comma.join(causes))
    colon = "：" if language == "zh-Hans" else ": "
    words = [
        f"{say(f'condition.{f.condition}')}{colon}{say(f'decision.{f.decision}')}"
        + (f" ({f.probability:.0%})" if f.probability is not None else "")
        for f in reading.findings
    ]
    if reading.dr_grade is not None:
        words.append(say("grade", grade=reading.dr_grade))
    eye = say(f"eye.{reading.eye or 'unknown'}")
    assessed = say("assessed", eye=eye, model=reading.model_version, findings=comma.join(words))
    return f"{assessed} {say('closing')}"
