"""Dialog state: what a conversation must remember from one turn to the next.

Kept sealed in its conversation's row. A state written by an older version reads back with
defaults; one that cannot be read starts afresh rather than blocking the patient.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

from core.message import Language

ConsentKind = Literal["health", "photos", "reminders"]
CONSENTS: tuple[ConsentKind, ...] = ("health", "photos", "reminders")

# Enough for the last three exchanges of triage and a model's short memory.
_RECENT = 16
_RECENT_CHARACTERS = 1_200
_HELD = 20


@dataclass(frozen=True, slots=True)
class DialogState:
    """The memory of one conversation.

    Attributes:
        language: chosen or recognised; None until the first words.
        zone: IANA zone, when the patient told us; None = the clinic's.
        consents: what was granted (True) or refused (False); absent = never asked.
        asking: ``all`` or the one consent that the last question was about; None = not asked.
        held: messages (message id, inbox id, JSON) that wait for consent.
        recent: the last exchanges as (author, text), oldest first.
        since_emergency: how many of `recent` came after the last emergency card.
        consult: state of the guided consult as JSON, or None.
        confirming: triage verdict (JSON) whose "is this happening now?" is open, or None.
        open_urgency: class of the last red flag that was not resolved, or "".
        open_since_ms: when that card was sent.
        open_person: whom it was about, as in the interview's slot ``person``.
        refused: they said "not now" to that card; the risk was stated, and is not stated again.
        advice: the last verdict or assessment that led to advice, as JSON, for "why?".
        distress_at_ms: when they last said something about harming themselves, or 0.
        known: what is known about the people this chat is about (`core.interview.known`).
        alerted: when staff chats were told of what, for this patient.
        language_chosen: the language was chosen, not recognised; words do not change it.
        offered: (label, action) of the buttons last shown, for people who type them.
        proposal: follow-up that was proposed and not answered yet, as JSON, or None.
        awaiting: what free text is expected to be: ``plan_date`` (or ``plan_date_again``),
            ``plan_place``, ``plan_result``, ``phone``; None = nothing.
        eye_open: (inbox id, position, number in its album) of photos about which "which eye?" is
            open.
        facts: (kind, words) about health as the patient told them (`core.agent.summary`); they
            outlive `recent`.
        seen_language_hint: platform's hint, used before the first words.
        deciding_photo: (inbox id, position) of the photo whose reading mattered most, for the plan
            that rests on it; empty = none yet.
        referred_by: payload of the deep link that brought the patient, or "".
        opted_out: the patient stopped reminders.
        planned: a follow-up was agreed on, so that words about a visit may be about it.
        linking: hash of the code with which another chat asked to share its reminders, or "".
        told_model_down_at_ms: when we last said that the model is down.
    """

    language: Language | None = None
    zone: str | None = None
    consents: dict[str, bool] = field(default_factory=dict[str, bool])
    asking: str | None = None
    held: tuple[tuple[str, int, dict[str, Any]], ...] = ()
    recent: tuple[tuple[str, str], ...] = ()
    since_emergency: int = 0
    consult: dict[str, Any] | None = None
    confirming: dict[str, Any] | None = None
    open_urgency: str = ""
    open_since_ms: int = 0
    open_person: str = "self"
    refused: bool = False
    advice: dict[str, Any] | None = None
    distress_at_ms: int = 0
    known: dict[str, dict[str, list[Any]]] = field(default_factory=dict[str, dict[str, list[Any]]])
    alerted: dict[str, int] = field(default_factory=dict[str, int])
    language_chosen: bool = False
    offered: tuple[tuple[str, str], ...] = ()
    proposal: dict[str, Any] | None = None
    awaiting: str | None = None
    eye_open: tuple[tuple[int, int, int], ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    deciding_photo: tuple[int, ...] = ()
    referred_by: str = ""
    opted_out: bool = False
    planned: bool = False
    linking: str = ""
    told_model_down_at_ms: int = 0

    def with_exchange(self, author: str, text: str) -> DialogState:
        """Return the state with one more exchange remembered."""
        if not text:
            return self
        entry = (author, text[:_RECENT_CHARACTERS])
        return replace(
            self,
            recent=(*self.recent, entry)[-_RECENT:],
            since_emergency=self.since_emergency + 1,
        )

    def triage_context(self) -> tuple[tuple[str, str], ...]:
        """Return the last three exchanges, as far as no emergency card has answered them."""
        return self.recent[-min(6, self.since_emergency) :] if self.since_emergency else ()

    def holding(self, message_id: str, inbox_id: int, message: dict[str, Any]) -> DialogState:
        """Return the state with one more message kept for after consent."""
        return replace(self, held=(*self.held, (message_id, inbox_id, message))[-_HELD:])

    def granted(self, kind: ConsentKind) -> bool:
        """Tell whether a consent was given and not withdrawn."""
        return self.consents.get(kind, False)


_VERSION = 1
_TUPLES_OF_TUPLES = ("held", "recent", "offered", "eye_open", "facts")


def to_json(state: DialogState) -> dict[str, Any]:
    """Return the state as JSON-ready data, defaults left out."""
    plain = DialogState()
    data: dict[str, Any] = {"v": _VERSION}
    for item in fields(state):
        value = getattr(state, item.name)
        if value != getattr(plain, item.name):
            data[item.name] = value
    return data


def from_json(data: dict[str, Any]) -> DialogState:
    """Read back what `to_json` wrote; unknown keys of a newer version are dropped."""
    known = {item.name for item in fields(DialogState)}
    values = {name: value for name, value in data.items() if name in known}
    for name in _TUPLES_OF_TUPLES:
        if name in values:
            values[name] = tuple(tuple(entry) for entry in values[name])
    if "deciding_photo" in values:
        values["deciding_photo"] = tuple(values["deciding_photo"])
    return DialogState(**values)
