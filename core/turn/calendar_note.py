"""What goes with a booking: a file for the phone's calendar, and a link to the visit's page."""

from __future__ import annotations

from datetime import date, time

from core.followup.visit_file import Fingerprints, Visit, calendar_file, visit_token, visit_uid
from core.reply import Document, Link, Paragraph, Reply, Span, Text
from core.store.plans import FollowUpChange, NewFollowUp, Plan
from core.texts import text
from core.turn.answer import Answer

_ASKED_WHERE = "plan_place"


def has_news(answer: Answer, *, was_asked: str | None) -> bool:
    """Tell whether this turn completed a booking.

    While we ask where the visit is we wait for the answer, whatever it is, so that one entry with
    the place comes instead of two.

    Args:
        answer: the turn.
        was_asked: `DialogState.awaiting` when it began.
    """
    if answer.state.awaiting == _ASKED_WHERE:
        return False
    if any(reply.kind == "emergency" for reply in answer.replies):
        return False  # nothing else is to be read now
    return _columns(answer).get("visit_day") is not None or was_asked == _ASKED_WHERE


def visit_of(
    answer: Answer, plan: Plan | None, keys: Fingerprints, conversation_id: int
) -> Visit | None:
    """Return the visit as it stands after this turn, or None when none is booked.

    Args:
        answer: the turn.
        plan: the chat's plan before it.
        keys: make the visit's name in calendars.
        conversation_id: whose visit.
    """
    change = answer.follow_up
    if isinstance(change, FollowUpChange) and change.state != "active":
        return None
    columns = _columns(answer)
    day, at, zone = columns.get("visit_day"), columns.get("visit_time"), columns.get("zone")
    if day is None and plan is not None and plan.state == "active" and plan.visit_day is not None:
        day, at, zone = plan.visit_day.isoformat(), plan.visit_time, plan.zone
    if day is None:
        return None
    private = change.private if change is not None else {}
    return Visit(
        uid=visit_uid(keys, conversation_id),
        day=date.fromisoformat(day),
        at=time.fromisoformat(at) if at else None,
        zone=zone or answer.zone,
        place=str(private.get("place") or ""),
        language=answer.language,
        changed_at_ms=answer.now_ms,
    )


def calendar_note(
    visit: Visit,
    keys: Fingerprints,
    conversation_id: int,
    *,
    public_url: str | None,
    takes_files: bool,
) -> Reply | None:
    """Return the reply with the file, the link or both; None where neither can be.

    Args:
        visit: what was booked.
        keys: sign the link.
        conversation_id: whose visit.
        public_url: where patients reach this service's pages, or None.
        takes_files: the channel takes documents.
    """
    spans: tuple[Span, ...] = ()
    if public_url:
        url = f"{public_url.rstrip('/')}/visit/{visit_token(keys, conversation_id, visit.day)}"
        spans = (Text(text(visit.language, "visit.link")), Link(url, url))
    elif takes_files:
        spans = (Text(text(visit.language, "visit.file")),)
    if not spans:
        return None
    file = Document("visit.ics", "text/calendar", calendar_file(visit)) if takes_files else None
    return Reply("plan", (Paragraph(spans),), document=file)


def _columns(answer: Answer) -> dict[str, str | None]:
    match answer.follow_up:
        case NewFollowUp(row=columns) | FollowUpChange(state="active", columns=columns):
            return columns
        case _:
            return {}
