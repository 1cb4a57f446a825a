"""Voice notes: no machine here understands them, so a person of the clinic listens.

The answer never waits for the recording: it says at once that nobody has heard it yet and what not
to wait for. The recording itself is fetched and kept a moment later, by a timer of the conversation
that comes again when the messenger does not answer.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence

import structlog

from core import recording
from core.clinic import with_hours
from core.delivery import TASK_DETAIL
from core.errors import PatientError, TransientError
from core.message import Attachment, AttachmentKind, Inbound
from core.ports import Blobs, Channel
from core.reply import say
from core.store.keyring import Keyring
from core.store.voices import OpenTask
from core.texts import text
from core.turn import card, consulting
from core.turn.answer import Answer
from core.turn.hearing import sent_as
from core.turn.photos import Sent
from core.urgency import Urgency, most_urgent

log = structlog.get_logger(__name__)

WHY = "voice"
_NAME = re.compile(r"voice\.(\d{1,18})\.(\d)")
_FETCH_S = 20.0
# WeChat keeps a recording for three days.
_AGAIN_AFTER_MS = (60_000, 5 * 60_000, 30 * 60_000, 3 * 3_600_000, 12 * 3_600_000)


def _timer(inbox_id: int, attempt: int) -> str:
    return f"voice.{inbox_id}.{attempt}"


def due_of(name: str) -> tuple[int, int] | None:
    """Return inbox id and attempt of a timer that fetches a recording; None for another timer."""
    found = _NAME.fullmatch(name)
    return (int(found[1]), int(found[2])) if found else None


def schedule(answer: Answer, voices: Sequence[Sent]) -> None:
    """Have recordings kept, at once but after the answer; doing it again changes nothing."""
    for inbox_id in dict.fromkeys(sent.inbox_id for sent in voices):
        answer.timers.append((_timer(inbox_id, 0), answer.now_ms))


def open_task(keys: Keyring, tasks: Sequence[OpenTask]) -> OpenTask | None:
    """Return the task about an earlier recording that nobody has closed, or None."""
    for task in tasks:
        if keys.open_json(TASK_DETAIL, task.detail_sealed).get("why") == WHY:
            return task
    return None


def tell(answer: Answer, earlier: OpenTask | None) -> None:
    """Say that a person will listen and what not to wait for, and tell staff.

    Several recordings in a row are one task: it stays the one that is open.
    """
    urgency = most_urgent(Urgency.SAME_DAY, Urgency(answer.state.open_urgency or Urgency.SAME_DAY))
    if card.is_in_distress(answer.state, answer.now_ms):
        urgency = Urgency.IMMEDIATE
    if earlier is not None and Urgency(earlier.urgency).rank > urgency.rank:
        earlier = None  # what is known since makes it more urgent: a task of its own
    joins = earlier.id if earlier else None
    answer.tell_staff("human", str(urgency), alert=(WHY,), joins=joins, why=WHY)
    answer.outcome = "handed"
    key = "voice.kept_too" if earlier else "voice.kept"
    words = with_hours(answer.language, text(answer.language, key))
    answer.say_aside(say("notice", words))


def tell_alone(answer: Answer, earlier: OpenTask | None) -> None:
    """Answer a message that is nothing but a recording, and come back to the open question."""
    tell(answer, earlier)
    consulting.ask_again(answer)


def before_consent(answer: Answer) -> None:
    """Say what cannot wait: the recording may be an emergency, and nobody knows."""
    answer.say_aside(say("notice", text(answer.language, "voice.before_consent")))


async def keep(
    answer: Answer,
    due: tuple[int, int],
    message: Inbound,
    channel: Channel | None,
    blobs: Blobs,
) -> None:
    """Fetch and keep the recordings of one message.

    Args:
        answer: a turn of its own; it says something only when a recording is lost.
        due: inbox id of the message, and how often it was tried.
        message: the patient's.
        channel: gives the bytes.
        blobs: where they go.
    """
    inbox_id, attempt = due
    answer.outcome = "ignored"
    for position, attachment in enumerate(message.attachments):
        if attachment.kind is not AttachmentKind.VOICE:
            continue
        try:
            data = await _fetch(channel, attachment)
        except (TransientError, TimeoutError) as error:
            if attempt < len(_AGAIN_AFTER_MS):
                due_ms = answer.now_ms + _AGAIN_AFTER_MS[attempt]
                answer.timers.append((_timer(inbox_id, attempt + 1), due_ms))
                log.info("voice_note_later", error=type(error).__name__, attempt=attempt + 1)
            else:
                _lost(answer, attachment, "unreachable")
            continue
        except PatientError as error:
            _lost(answer, attachment, error.text_key)
            continue
        kind = recording.kind_of(data)
        if kind is None:
            _lost(answer, attachment, "no_recording")
            continue
        # The salt of a page's upload: such a file is there already, under this name.
        blob = await blobs.put(data, salt=sent_as(message.message_id).encode())
        if blob != attachment.ref:
            answer.discard.append(attachment)
        answer.outcome = "answered"
        answer.voices.append(
            {
                "inbox_id": inbox_id,
                "position": position,
                "blob": blob,
                "mime": kind.mime,
                "duration_ms": recording.duration_ms(data),
                "transcribed": attachment.transcribed,
                "received_at_ms": message.sent_at_ms or answer.now_ms,
            }
        )


async def _fetch(channel: Channel | None, attachment: Attachment) -> bytes:
    if channel is None:
        raise TransientError("the channel of this recording is switched off")
    async with asyncio.timeout(_FETCH_S):
        return await channel.fetch(attachment, limit_bytes=channel.capabilities.voice_limit_bytes)


def _lost(answer: Answer, attachment: Attachment, reason: str) -> None:
    """Say that a recording cannot be kept; what the messenger wrote down was answered anyway."""
    log.warning("voice_note_lost", reason=reason, transcribed=attachment.transcribed)
    answer.discard.append(attachment)
    if attachment.transcribed or any(reply.kind == "notice" for reply in answer.replies):
        return
    answer.outcome = "answered"
    answer.say_aside(say("notice", text(answer.language, "voice.lost")))
