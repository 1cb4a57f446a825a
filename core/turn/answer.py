"""What a turn has decided so far: replies, the new state, and the records to keep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from core.followup.cadence import STANDARD
from core.followup.calendar import ALWAYS_OPEN, OpenDays
from core.followup.plan import PlanProposal
from core.message import Attachment, Inbound, Language
from core.reply import Reply
from core.store.plans import ContactChange, FollowUpChange, NewFollowUp
from core.turn.state import DialogState

_ONE_ALERT_PER_MS = 3_600_000


@dataclass(slots=True)
class Answer:
    """Grows during one turn; becomes its completion at the end.

    Attributes:
        state: dialog state as it will be kept.
        language: of everything said in this turn.
        now_ms: the present, fixed for the whole turn.
        zone: IANA zone of the patient.
        outcome: how the messages ended: answered, handed (to staff), refused, ignored.
        replies: what to say, in order.
        asides: those of them that the dialog does not remember.
        verdict: triage verdict as JSON, stored with the patient's words.
        can_alert: staff have chats in which emergencies are announced.
        alerting: which of `tasks` are to be announced, by position.
        patient_said: what the patient said about their open emergency, for staff to see.
        wished: the follow-up that this turn led to, offered at its end.
        arm: cadence of a plan that begins now.
        open_days: of the clinic.
        window_ms: how long after a message the channel lets us write first; None = always.
        takes_files: the channel takes a small file with an answer.
        readings: id and new reading of photos that are stored already.
        voices: recordings that are kept now.
        joining: which of `tasks`, by position, are about what an open task is about, and its id.
        reminder_outcome: what became of the reminder: said, staff or passed.
        relay_to: conversations that get it too, or instead.
        new_zone: the patient says where they are.
        phone: a number they left.
        pressed: (label, action) of the buttons that were on offer when the turn began.
    """

    state: DialogState
    language: Language
    now_ms: int
    zone: str
    pressed: tuple[tuple[str, str], ...] = ()
    can_alert: bool = False
    outcome: str = "answered"
    replies: list[Reply] = field(default_factory=list[Reply])
    asides: list[Reply] = field(default_factory=list[Reply])
    verdict: dict[str, Any] | None = None
    consents: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    photos: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    readings: list[tuple[int, dict[str, Any]]] = field(
        default_factory=list[tuple[int, dict[str, Any]]]
    )
    tasks: list[tuple[str, str, dict[str, Any]]] = field(
        default_factory=list[tuple[str, str, dict[str, Any]]]
    )
    voices: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    alerting: set[int] = field(default_factory=set[int])
    joining: dict[int, int] = field(default_factory=dict[int, int])
    patient_said: str | None = None
    follow_up: NewFollowUp | FollowUpChange | None = None
    reminder_done: int | None = None
    reminder_outcome: str = "said"
    reminder_again_ms: int | None = None
    relay_to: tuple[int, ...] = ()
    wished: PlanProposal | None = None
    arm: str = STANDARD
    open_days: OpenDays = ALWAYS_OPEN
    window_ms: int | None = None
    takes_files: bool = False
    new_zone: str | None = None
    contact: ContactChange | None = None
    phone: str | None = None
    discard: list[Attachment] = field(default_factory=list[Attachment])
    follow_on: list[Inbound] = field(default_factory=list[Inbound])
    timers: list[tuple[str, int | None]] = field(default_factory=list[tuple[str, int | None]])

    def say(self, *replies: Reply) -> None:
        """Add replies, and remember the turn's buttons for people who type their numbers.

        The numbers go on from one reply of a turn to the next (`core.turn.completion`).
        """
        self.replies.extend(replies)
        if any(reply.buttons for reply in replies):
            rows = [row for reply in self.replies for row in reply.buttons]
            offered = tuple((button.label, button.action) for row in rows for button in row)
            self.state = replace(self.state, offered=offered)

    def say_aside(self, reply: Reply) -> None:
        """Say something that is no question.

        It names red flags, and triage must not take the next "yes, the right one" for an answer
        to them; so it stays out of what the dialog remembers.
        """
        self.asides.append(reply)
        self.say(reply)

    def remember(self, **changes: Any) -> None:
        """Change the dialog state."""
        self.state = replace(self.state, **changes)

    def tell_staff(
        self,
        kind: str,
        urgency: str,
        *,
        alert: Sequence[str] = (),
        joins: int | None = None,
        **detail: Any,
    ) -> None:
        """Open a task on the staff worklist; the detail is sealed.

        Args:
            kind: why it is there, as in `staff_task`.
            urgency: how soon somebody must act.
            alert: what staff chats are told of, for example the flags; none of it is announced
                twice within an hour, unless it became more urgent.
            joins: an open task that says the same; a new one is opened only if it was closed.
            detail: what staff need to know.
        """
        self.tasks.append((kind, urgency, detail))
        if joins is not None:
            self.joining[len(self.tasks) - 1] = joins
        fresh_from = self.now_ms - _ONE_ALERT_PER_MS
        known = {k: at for k, at in self.state.alerted.items() if at > fresh_from}
        new = {f"{urgency}:{what}": self.now_ms for what in alert}
        if self.can_alert and new.keys() - known.keys():
            self.alerting.add(len(self.tasks) - 1)
            self.remember(alerted=known | new)
