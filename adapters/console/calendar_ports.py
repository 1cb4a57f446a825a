"""What the console's calendar needs from the store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal, Protocol

# In the order of a day: who comes, who is to be called, who has not booked, what goes by itself.
Kind = Literal["visit", "call", "due", "message"]
KINDS: tuple[Kind, ...] = ("visit", "call", "due", "message")


@dataclass(frozen=True, slots=True)
class DayCount:
    """How many of a kind and reason a day has; `reason` is "" where no plan runs any more."""

    day: date
    kind: Kind
    reason: str
    n: int


@dataclass(frozen=True, slots=True)
class Entry:
    """Somebody on a day.

    Attributes:
        kind: what the day means for them.
        patient: short opaque label such as ``P-1042``.
        channel: where the patient writes.
        reason: why the visit is due, as in `DayCount`.
        at: hour and minute, or "" where only the day is known.
        place: where they booked, or "".
        task_id: the task on the list of calls, or None.
        is_late: should have happened before today.
        claimed_by: name of who took the call, or None.
    """

    kind: Kind
    patient: str
    channel: str
    reason: str
    at: str = ""
    place: str = ""
    task_id: int | None = None
    is_late: bool = False
    claimed_by: str | None = None


class FollowUpCalendar(Protocol):
    """Running follow-ups by day, as the clinic's calendar shows them."""

    async def counts(self, first: date, last: date) -> Sequence[DayCount]:
        """Return how many there are from `first` to `last`, both included.

        A call that is late counts today: nothing that is to be done lies in the past.
        """
        ...

    async def entries(self, day: date, *, reason: str, limit: int) -> Sequence[Entry]:
        """Return who is on a day, with a reason or with "" all; `limit` of each kind."""
        ...
