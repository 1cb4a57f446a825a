"""Photos: fetch, read, show, and keep what the reader said."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import structlog

from core.drift import Tallies
from core.errors import OculiChatError, PatientError, TransientError
from core.message import Attachment, AttachmentKind, Language
from core.ports import Blobs, Channel, FundusReader
from core.reading import Area, Areas, Finding, Reading
from core.reply import Image, say
from core.texts import text
from core.turn import which_eye
from core.turn.answer import Answer
from core.turn.both_eyes import Shown, explain_all
from core.turn.reading_answer import card_alt, explain_unreadable
from core.turn.words import eye_of

log = structlog.get_logger(__name__)

MAX_PHOTOS = 10
SECOND_EYE = 1000  # added to the place of a photo for the second eye in it; no message is so long
_PICTURE_NAMES = re.compile(r"\.(jpe?g|png|hei[cf]|webp|tiff?|bmp|dcm)$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Sent:
    """A picture of this turn: which message it came with, its place in it, and its own words."""

    inbox_id: int
    position: int
    attachment: Attachment
    caption: str = ""


def is_picture(attachment: Attachment) -> bool:
    """Tell whether an attachment claims to be a picture; the bytes decide later."""
    if attachment.kind is AttachmentKind.PHOTO:
        return True
    claimed = (attachment.mime or "").lower()
    return attachment.kind is AttachmentKind.DOCUMENT and (
        claimed.startswith("image/")
        or claimed == "application/dicom"
        or bool(_PICTURE_NAMES.search(attachment.name or ""))
    )


async def read_all(
    answer: Answer,
    photos: Sequence[Sent],
    *,
    caption: str,
    channel: Channel | None,
    blobs: Blobs,
    reader: FundusReader | None,
    tallies: Tallies | None = None,
) -> list[Reading]:
    """Read every photo, say the results together, keep photos and readings; returns the readings.

    A file that is no picture is answered with the reason; a reader that fails leaves the photo
    with staff, so a photo never disappears.
    """
    language = answer.language
    if len(photos) > MAX_PHOTOS:
        answer.say(say("notice", text(language, "turn.many_photos", limit=MAX_PHOTOS)))
    shown: list[Shown] = []
    for sent in photos[:MAX_PHOTOS]:
        try:
            data = await _fetch(channel, sent.attachment)
            # Of several photos sent at once, "right eye" is said about the one it came with.
            own = sent.caption if len(photos) > 1 else caption
            reading = await _read(reader, data, language, own)
        except PatientError as error:
            answer.discard.append(sent.attachment)  # no picture: there is nothing to keep
            answer.say(explain_unreadable(error.text_key, language, **error.fields))
            continue
        if tallies is not None and channel is not None:
            tallies.add(channel.name, reading)
        if reading is None:
            await _leave_to_staff(answer, sent, data, blobs)
            continue
        shown += await _keep(answer, sent, await _clean(reader, data), reading, blobs, channel)
    if shown:
        which_eye.say(answer, explain_all(shown, language))
    return [s.reading for s in shown]


async def _fetch(channel: Channel | None, attachment: Attachment) -> bytes:
    if channel is None:
        raise TransientError("the channel of this photo is switched off")
    return await channel.fetch(attachment, limit_bytes=channel.capabilities.media_limit_bytes)


async def _read(
    reader: FundusReader | None, data: bytes, language: Language, caption: str
) -> Reading | None:
    if reader is None:
        return None
    try:
        return await reader.read(data, language=language, eye=eye_of(caption))
    except PatientError:
        raise
    except OculiChatError as error:
        log.warning("reader_failed", error=type(error).__name__)
        return None


async def _clean(reader: FundusReader | None, data: bytes) -> bytes:
    """Return the photo without its metadata, or as it came when the reader has no time."""
    try:
        return await reader.clean(data) if reader is not None else data
    except OculiChatError as error:
        log.warning("photo_not_cleaned", error=type(error).__name__)
        return data


async def _leave_to_staff(answer: Answer, sent: Sent, data: bytes, blobs: Blobs) -> None:
    row = _row(answer, sent, await blobs.put(data))
    if row["blob"] != sent.attachment.ref:
        answer.discard.append(sent.attachment)
    answer.photos.append(row)
    answer.tell_staff("human", "2_weeks", why="photo_not_read")
    answer.outcome = "handed"
    answer.say(say("notice", text(answer.language, "turn.photo_failed")))


async def _keep(
    answer: Answer,
    sent: Sent,
    data: bytes,
    reading: Reading,
    blobs: Blobs,
    channel: Channel | None,
) -> list[Shown]:
    """Keep a photo with the reading and card of each eye in it."""
    blob = await blobs.put(data)
    if blob != sent.attachment.ref:
        # What the channel kept still says where and with what the photo was taken.
        answer.discard.append(sent.attachment)
    compressed_by = channel.name if channel is not None and sent.attachment.compressed else None
    shown: list[Shown] = []
    for number, eye in enumerate(reading.eyes()):
        image = None
        if eye.card:
            words = card_alt(eye, answer.language)
            image = Image(await blobs.put(eye.card), "image/jpeg", words)
        row = {
            **_row(answer, sent, blob),
            # A place of its own, so that each eye is graded by itself.
            "position": sent.position + number * SECOND_EYE,
            "card_blob": image.blob if image else None,
            "reading": reading_to_json(replace(eye, other=None)),
            "model_version": eye.model_version[:64],
        }
        answer.photos.append(row)
        shown.append(Shown(eye, image, compressed_by))
    return shown


def _row(answer: Answer, sent: Sent, blob: str) -> dict[str, Any]:
    return {
        "inbox_id": sent.inbox_id,
        "position": sent.position,
        "blob": blob,
        "card_blob": None,
        "reading": None,
        "model_version": None,
        "received_at_ms": answer.now_ms,
    }


def reading_to_json(reading: Reading) -> dict[str, Any]:
    """Return a reading as JSON-ready data, without its pictures."""
    data = asdict(replace(reading, card=None, other=None))
    return {**data, "other": reading_to_json(reading.other) if reading.other else None}


def reading_from_json(data: dict[str, Any]) -> Reading:
    """Read back what `reading_to_json` wrote."""
    values = dict(data)
    values["findings"] = tuple(Finding(**f) for f in data["findings"])
    for name in ("retake", "dr_at_least"):
        values[name] = tuple(data.get(name, ()))
    values["other"] = reading_from_json(data["other"]) if data.get("other") else None
    values["areas"] = _areas_from_json(data["areas"]) if data.get("areas") else None
    return Reading(**values)


def _areas_from_json(data: dict[str, Any]) -> Areas:
    def line(points: list[list[int]]) -> tuple[tuple[int, int], ...]:
        return tuple((x, y) for x, y in points)

    return Areas(
        width_px=data["width_px"],
        height_px=data["height_px"],
        field=line(data["field"]),
        influenced=tuple(
            Area(a["condition"], tuple(line(each) for each in a["lines"]))
            for a in data["influenced"]
        ),
    )


def worst(readings: Sequence[Reading]) -> Reading | None:
    """Return the reading that matters most: an assessed one with the most urgent result."""
    rank: dict[Literal["refer", "borderline", "negative", "not_assessed"], int] = {
        "refer": 3,
        "borderline": 2,
        "negative": 1,
        "not_assessed": 0,
    }
    usable = [r for r in readings if r.outcome != "not_fundus"]
    return max(
        usable,
        key=lambda r: (
            r.outcome == "assessed",
            max((rank[f.decision] for f in r.findings), default=0),
            r.dr_grade or 0,
        ),
        default=None,
    )
