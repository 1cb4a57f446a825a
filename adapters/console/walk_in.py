"""Somebody at the clinic: their chat, which only the console shows, and photos taken for them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from core.clock import Clock
from core.errors import PatientError
from core.intake import NAME
from core.message import Address, Attachment, AttachmentKind, Inbound, Language
from core.ports import Activity, Blobs, Capabilities, Draft, Intake
from core.reading import Eye
from core.reply import Reply
from core.store.patients import WALK_IN_ACCOUNT, WALK_IN_CHANNEL, ClinicVisit, begin_visits
from core.store.recall import PHONE
from core.store.store import Store
from core.texts import text
from core.turn.completion import STATE
from core.turn.state import ConsentKind, DialogState
from core.turn.state import to_json as state_to_json

# What the tick on the form says: their health data and their photos; no reminder can reach them.
_CONSENTS: tuple[ConsentKind, ...] = ("health", "photos")


class ConsoleChannel:
    """The channel of people at the clinic: what is said is read on the page of the result.

    Args:
        blobs: photos.
        max_bytes: largest photo.
    """

    name = WALK_IN_CHANNEL
    account = WALK_IN_ACCOUNT

    def __init__(self, blobs: Blobs, *, max_bytes: int) -> None:
        self._blobs = blobs
        self.capabilities = Capabilities(
            text_limit=100_000,
            caption_limit=100_000,
            text_unit="characters",
            buttons=True,
            drafts=False,
            media_limit_bytes=max_bytes,
            on_unknown="resend",
        )

    async def ready(self, to: Address, *, urgent: bool) -> None:
        """Return at once: there is no platform."""

    async def send(self, to: Address, reply: Reply, *, key: str) -> str | None:
        """Do nothing: the transcript has it, and the page reads it there."""
        return key

    async def fetch(self, attachment: Attachment, *, limit_bytes: int) -> bytes:
        """Return a photo.

        Raises:
            PatientError: larger than `limit_bytes`, or no longer there.
        """
        data = await self._blobs.get(attachment.ref)
        if len(data) > limit_bytes:
            raise PatientError("webchat.photo_too_large", limit_mb=limit_bytes // 1024 // 1024)
        return data

    async def discard(self, attachment: Attachment) -> None:
        """Delete a photo."""
        await self._blobs.discard(attachment.ref)

    @asynccontextmanager
    async def activity(self, to: Address, what: Activity) -> AsyncGenerator[None]:
        """Show nothing."""
        yield

    def draft(self, to: Address) -> Draft | None:
        """Return None: answers come whole."""
        return None


@dataclass(frozen=True, slots=True)
class NewWalkIn:
    """What the form says.

    Attributes:
        form_id: 32 hexadecimal digits made with the form; the same form is one visit.
        patient_id: somebody we know, or None.
        name, phone: as they said, or "".
        language: of what they take home.
        photos: by eye.
    """

    form_id: str
    patient_id: int | None
    name: str
    phone: str
    language: Language
    photos: Mapping[Eye, bytes]


class WalkIns:
    """Begins visits.

    Args:
        store: where they are kept.
        blobs: where photos go.
        intake: takes the photos as messages.
        clock: the present.
        zone: IANA zone of the clinic.
    """

    def __init__(self, store: Store, blobs: Blobs, intake: Intake, clock: Clock, zone: str) -> None:
        self._store = store
        self._blobs = blobs
        self._intake = intake
        self._clock = clock
        self._zone = zone

    async def begin(self, visit: NewWalkIn) -> int | None:
        """Store a visit with its photos and return its conversation; None for a wrong patient.

        Raises:
            TransientError: not all of it was stored; the same form again stores the rest.
        """
        keys, now_ms = self._store.keys, self._clock.now_ms()
        state = DialogState(
            language=visit.language,
            consents=dict.fromkeys(_CONSENTS, True),
            language_chosen=True,
        )
        version = text(visit.language, "consent.version")
        name = visit.name.encode("utf-8", "replace")
        conversation_id = await self._store.write(
            begin_visits,
            ClinicVisit(
                visit.form_id,
                visit.patient_id,
                keys.seal(NAME, name) if name else None,
                keys.seal_json(PHONE, visit.phone) if visit.phone else None,
                visit.language,
                self._zone,
                keys.seal_json(STATE, state_to_json(state)),
                tuple((kind, version) for kind in _CONSENTS),
                now_ms,
            ),
        )
        if conversation_id is None:
            return None
        await self._intake.accept(
            [
                await self._message(visit, eye, data, now_ms * 1000 + number)
                for number, (eye, data) in enumerate(sorted(visit.photos.items()))
            ]
        )
        return conversation_id

    async def _message(self, visit: NewWalkIn, eye: Eye, data: bytes, sequence: int) -> Inbound:
        ref = await self._blobs.put(data, salt=f"{visit.form_id}{eye}".encode())
        return Inbound(
            Address(WALK_IN_CHANNEL, WALK_IN_ACCOUNT, visit.form_id),
            f"{visit.form_id}-{eye}",
            sequence,
            text(visit.language, f"record.caption.{eye}"),
            (Attachment(AttachmentKind.PHOTO, ref, size_bytes=len(data)),),
            sender_id=visit.form_id,
            language_hint=visit.language,
        )
