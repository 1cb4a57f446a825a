"""Turns what was decided into the rows of one transaction: sealed, split for the channel."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from core.agent.summary import facts, merged
from core.delivery import OUTBOX_BODY, TASK_DETAIL
from core.dispatch import INBOX_BODY, TurnInput
from core.gather import Waiting
from core.gather import to_json as message_to_json
from core.message import AttachmentKind, Inbound
from core.ports import Capabilities, Channel
from core.reply import Reply, plain_text, to_json
from core.split import numbered_buttons, split
from core.store.completion import Completion, Entry
from core.store.hand_back import is_replay
from core.store.history import PATIENT_BODY, SERVICE_BODY
from core.store.keyring import Keyring
from core.store.plans import FollowUpChange, NewFollowUp
from core.turn.answer import Answer
from core.turn.state import to_json as state_to_json
from core.urgency import Urgency, staff_within_ms

STATE = "conversation.state"
READING = "photo.reading"
VERDICT = "transcript.verdict"
PHONE = "patient.phone"

_BLOB = re.compile(r"[0-9a-f]{64}")

# A channel that is switched off keeps its replies; they are cut as for the narrowest one.
_NARROWEST = Capabilities(1_800, 0, "utf8", buttons=False, drafts=False, media_limit_bytes=0)


def to_completion(
    keys: Keyring,
    answer: Answer,
    turn: TurnInput,
    token: str,
    channel: Channel | None,
    *,
    dead: bool,
) -> Completion:
    """Return the completion of a turn."""
    capabilities = channel.capabilities if channel else _NARROWEST
    state = answer.state
    for waiting in turn.messages:
        if isinstance(waiting.what, Inbound) and not is_replay(waiting.message_id):
            state = state.with_exchange("patient", waiting.what.text)
            state = replace(state, facts=merged(state.facts, facts(waiting.what.text)))
    for reply in answer.replies:
        if not any(reply is aside for aside in answer.asides):
            state = state.with_exchange("service", plain_text(reply))
    if any(reply.kind == "emergency" for reply in answer.replies):
        state = replace(state, since_emergency=0)  # what led to the card is answered
    said: list[Entry] = []
    buttons = 0
    for reply in answer.replies:
        shown = reply if capabilities.buttons else numbered_buttons(reply, first=buttons + 1)
        said.append(_said(keys, answer, reply, split(shown, capabilities)))
        buttons += sum(len(row) for row in reply.buttons)
    return Completion(
        turn.conversation_id,
        token,
        turn.turn_id,
        answer.now_ms,
        tuple((w.inbox_id, answer.outcome) for w in turn.messages),
        keys.seal_json(STATE, state_to_json(state)),
        dead=dead,
        entries=(*_heard(keys, answer, turn), *said),
        language=state.language,
        zone=state.zone,
        consents=tuple(answer.consents),
        photos=tuple(_photo(keys, row) for row in answer.photos),
        voices=tuple(answer.voices),
        readings=tuple((n, keys.seal_json(READING, reading)) for n, reading in answer.readings),
        tasks=tuple(
            {
                "kind": kind,
                "urgency": urgency,
                "turn_id": turn.turn_id,
                "detail_sealed": keys.seal_json(TASK_DETAIL, detail),
                "created_at_ms": answer.now_ms,
                "changed_at_ms": answer.now_ms,
                "deadline_ms": answer.now_ms + staff_within_ms(Urgency(urgency)),
                "alert_due_ms": answer.now_ms if number in answer.alerting else None,
                "joins": answer.joining.get(number),
            }
            for number, (kind, urgency, detail) in enumerate(answer.tasks)
        ),
        patient_said=answer.patient_said,
        follow_up=_sealed_plan(keys, answer.follow_up),
        reminder_done=answer.reminder_done,
        reminder_outcome=answer.reminder_outcome,
        relay_to=answer.relay_to,
        new_zone=answer.new_zone,
        contact=answer.contact,
        phone_sealed=keys.seal_json(PHONE, answer.phone) if answer.phone else None,
        reminder_again_ms=answer.reminder_again_ms,
        timers=tuple(answer.timers),
        discard=tuple(answer.discard),
        follow_on=tuple(
            (m.message_id, m.sequence, keys.seal_json(INBOX_BODY, message_to_json(m)))
            for m in answer.follow_on
        ),
    )


def _sealed_plan(
    keys: Keyring, change: NewFollowUp | FollowUpChange | None
) -> NewFollowUp | FollowUpChange | None:
    """Return the change with its private parts sealed into columns."""
    if change is None or not change.private:
        return change
    columns = {
        f"{name}_sealed": keys.seal_json(f"follow_up.{name}", value)
        for name, value in change.private.items()
    }
    if isinstance(change, NewFollowUp):
        return replace(change, row={**change.row, **columns}, private={})
    return replace(change, columns={**change.columns, **columns}, private={})


def _photo(keys: Keyring, row: dict[str, Any]) -> dict[str, Any]:
    reading = row["reading"]
    rest = {name: value for name, value in row.items() if name != "reading"}
    return {**rest, "reading_sealed": keys.seal_json(READING, reading) if reading else None}


def _heard(keys: Keyring, answer: Answer, turn: TurnInput) -> list[Entry]:
    people = [
        (w, w.what)
        for w in turn.messages
        # What staff left without an answer stands in the transcript already.
        if isinstance(w.what, Inbound) and not is_replay(w.message_id)
    ]
    verdict = keys.seal_json(VERDICT, answer.verdict) if answer.verdict else None
    return [
        Entry(
            "patient",
            "button" if message.button else "message",
            keys.seal_json(PATIENT_BODY, _shown(answer, waiting, message)),
            waiting.received_at_ms,
            waiting.message_id,
            verdict,
        )
        for waiting, message in people
    ]


def _shown(answer: Answer, waiting: Waiting, message: Inbound) -> dict[str, object]:
    """Return a message as its writer sees it again: a button by its label."""
    label = {action: label for label, action in answer.pressed}.get(message.button or "")
    mine = [row["blob"] for row in answer.photos if row["inbox_id"] == waiting.inbox_id]
    photos = list(dict.fromkeys(mine))  # one picture may hold two eyes
    if answer.outcome == "held":  # not read yet; a channel that keeps uploads can show them
        photos = [
            a.ref
            for a in message.attachments
            if a.kind is not AttachmentKind.VOICE and _BLOB.fullmatch(a.ref)
        ]
    voices = [
        a.ref if _BLOB.fullmatch(a.ref) else ""  # only a channel that keeps uploads can play them
        for a in message.attachments
        if a.kind is AttachmentKind.VOICE
    ]
    shown: dict[str, object] = {"text": message.text or label or "", "photos": photos}
    return {**shown, "voices": voices} if voices else shown


def _said(keys: Keyring, answer: Answer, reply: Reply, parts: Sequence[Reply]) -> Entry:
    return Entry(
        "service",
        reply.kind,
        keys.seal_json(SERVICE_BODY, to_json(reply)),
        answer.now_ms,
        parts=tuple(keys.seal_json(OUTBOX_BODY, to_json(part)) for part in parts),
    )
