"""What a turn has decided so far: replies, the new state, and the records to keep."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from core.message import Attachment, Inbound, Language
from core.reply import Reply
from core.store.completion import FollowUpChange, NewFollowUp
from core.turn.state import DialogState


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
        verdict: triage verdict as JSON, stored with the patient's words.
        pressed: (label, action) of the buttons that were on offer when the turn began.
    """

    state: DialogState
    language: Language
    now_ms: int
    zone: str
    pressed: tuple[tuple[str, str], ...] = ()
    outcome: str = "answered"
    replies: list[Reply] = field(default_factory=list[Reply])
    verdict: dict[str, Any] | None = None
    consents: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    photos: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    tasks: list[tuple[str, str, dict[str, Any]]] = field(
        default_factory=list[tuple[str, str, dict[str, Any]]]
    )
    follow_up: NewFollowUp | FollowUpChange | None = None
    reminder_done: int | None = None
    reminder_again_ms: int | None = None
    discard: list[Attachment] = field(default_factory=list[Attachment])
    follow_on: list[Inbound] = field(default_factory=list[Inbound])
    timers: list[tuple[str, int | None]] = field(default_factory=list[tuple[str, int | None]])

    def say(self, *replies: Reply) -> None:
        """Add replies, and remember their buttons for people who type them."""
        self.replies.extend(replies)
        buttons = tuple((b.label, b.action) for r in replies for row in r.buttons for b in row)
        if buttons:
            self.state = replace(self.state, offered=buttons)

    def remember(self, **changes: Any) -> None:
        """Change the dialog state."""
        self.state = replace(self.state, **changes)

    def tell_staff(self, kind: str, urgency: str, **detail: Any) -> None:
        """Open a task on the staff worklist; the detail is sealed."""
        self.tasks.append((kind, urgency, detail))
