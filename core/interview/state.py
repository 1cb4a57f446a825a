"""What a running consult remembers between two messages, and what it ends in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from core.urgency import Urgency


def _no_slots() -> Mapping[str, str]:
    return {}


@dataclass(frozen=True, slots=True)
class ConsultState:
    """A consult under way or just ended; plain data, survives restarts as JSON.

    Attributes:
        started_at_ms: when the person first told of the complaint.
        updated_at_ms: when they last said something; an old state is recapped or dropped.
        slots: what is known, by slot (see `slots.yaml`).
        asked: slots asked for, in order; none is asked twice.
        pending: the slot of the open question, or None.
        complaint: the presenting complaint, or None while it is unclear.
        retried: the open question was shown again once after an answer nobody understood.
        photo_suggested: a fundus photo was suggested already.
        ended: the assessment was given and no question is open.
        urgency: the class given, or None; kept when a new symptom reopens the consult, because
            what was given is never lowered.
        reason: the rule that gave it, or None.
    """

    started_at_ms: int
    updated_at_ms: int
    slots: Mapping[str, str] = field(default_factory=_no_slots)
    asked: tuple[str, ...] = ()
    pending: str | None = None
    complaint: str | None = None
    retried: bool = False
    photo_suggested: bool = False
    ended: bool = False
    urgency: Urgency | None = None
    reason: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready form that `from_json` reads back equal."""
        return asdict(replace(self, slots=dict(self.slots)))

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> ConsultState:
        """Read back what `to_json` wrote."""
        fields: dict[str, Any] = dict(data)
        fields["asked"] = tuple(fields["asked"])
        if fields["urgency"] is not None:
            fields["urgency"] = Urgency(fields["urgency"])
        return ConsultState(**fields)


@dataclass(frozen=True, slots=True)
class Assessment:
    """How a consult ends.

    Attributes:
        urgency: how soon to be seen.
        reason: id of the rule that decided, for example ``diabetes_no_recent_photo``.
        slots: what is known, for the record and for staff; skipped questions as ``skip``.
        counted: the slots that the rule rests on.
        raised_by: slots of the person that made the class one more urgent.
        is_guess: a question without an answer was counted as its worst.
        is_floored: the class is that of a red flag which was open before.
        version: of the consult's data.
    """

    urgency: Urgency
    reason: str
    slots: Mapping[str, str]
    counted: Mapping[str, str] = field(default_factory=_no_slots)
    raised_by: tuple[str, ...] = ()
    is_guess: bool = False
    is_floored: bool = False
    version: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready form that `from_json` reads back equal."""
        return asdict(replace(self, slots=dict(self.slots), counted=dict(self.counted)))

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Assessment:
        """Read back what `to_json` wrote."""
        fields: dict[str, Any] = dict(data)
        fields["urgency"] = Urgency(fields["urgency"])
        fields["raised_by"] = tuple(fields["raised_by"])
        return Assessment(**fields)
