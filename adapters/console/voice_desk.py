"""Voice notes as the console shows them, and what staff write down of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from core import recording
from core.delivery import TASK_DETAIL
from core.errors import PatientError
from core.message import Language
from core.ports import Blobs
from core.store import voices as rows
from core.store.store import Store
from core.triage.engine import assess
from core.triage.verdict import explain
from core.triage.verdict import from_json as verdict_from_json
from core.triage.verdict import to_json as verdict_to_json
from core.urgency import staff_within_ms

WORDS = "voice_hearing.words"
VERDICT = "voice_hearing.verdict"


@dataclass(frozen=True, slots=True)
class Hearing:
    """What somebody on the staff heard; `note` is what the rules make of it, or ""."""

    by: str
    at_ms: int
    words: str
    note: str


@dataclass(frozen=True, slots=True)
class VoiceNote:
    """A recording of a patient.

    Attributes:
        id: stable id; in addresses.
        patient_id, conversation_id: whose.
        message_id: of its message, as the platform names it.
        at_ms: when it came.
        blob: the file.
        kind: its format.
        duration_ms: how long it lasts, or None.
        transcribed: the messenger wrote down what was said.
        hearings: by staff, oldest first.
    """

    id: int
    patient_id: int
    conversation_id: int
    message_id: str
    at_ms: int
    blob: str
    kind: recording.RecordingKind
    duration_ms: int | None
    transcribed: bool
    hearings: tuple[Hearing, ...]

    @property
    def length(self) -> str:
        """Return how long it lasts as a clock shows it, or ""."""
        if self.duration_ms is None:
            return ""
        seconds = round(self.duration_ms / 1000)
        return f"{seconds // 60}:{seconds % 60:02}"


class VoiceDesk:
    """Reads voice notes out of the store, and keeps what staff heard."""

    def __init__(self, store: Store, blobs: Blobs) -> None:
        self._store = store
        self._blobs = blobs

    async def voice(self, voice_id: int, language: Language) -> VoiceNote | None:
        """Return one note, or None; one of nobody is none."""
        row = await self._store.read(rows.voice_of, voice_id)
        if row is None or row["patient_id"] is None:
            return None
        return self._voice(row, language)

    async def of_messages(
        self, messages: Iterable[tuple[int, str | None]], language: Language
    ) -> dict[tuple[int, str], list[VoiceNote]]:
        """Return the notes of some messages, by conversation and message id."""
        wanted: dict[int, list[str]] = {}
        for conversation_id, message_id in messages:
            if message_id is not None:
                wanted.setdefault(conversation_id, []).append(message_id)
        found: dict[tuple[int, str], list[VoiceNote]] = {}
        for query in wanted.items():
            for row in await self._store.read(rows.voices_of_messages, query):
                note = self._voice(row, language)
                found.setdefault((note.conversation_id, note.message_id), []).append(note)
        return found

    async def audio(self, note: VoiceNote) -> bytes | None:
        """Return the recording, or None when the file is gone."""
        try:
            return await self._blobs.get(note.blob)
        except PatientError:
            return None

    async def hear(
        self, note: VoiceNote, *, staff_id: int, form_id: str, at_ms: int, words: str
    ) -> bool:
        """Keep what somebody heard; False when this form was kept before.

        The rules read it for staff: a red flag opens a task, and nothing makes anything less
        urgent. The patient is told nothing by it.
        """
        keys, verdict = self._store.keys, assess(words)
        task_sealed = None
        if verdict.action == "trigger":
            detail = {
                "why": "voice_heard",
                "flags": list(verdict.flags),
                "verdict": verdict_to_json(verdict),
            }
            task_sealed = keys.seal_json(TASK_DETAIL, detail)
        row = {
            "voice_id": note.id,
            "staff_id": staff_id,
            "form_id": form_id,
            "at_ms": at_ms,
            "words_sealed": keys.seal(WORDS, words.encode("utf-8", "replace")),
            "verdict_sealed": keys.seal_json(VERDICT, verdict_to_json(verdict)),
        }
        deadline_ms = at_ms + staff_within_ms(verdict.urgency)
        return await self._store.write(
            rows.add_hearings,
            rows.NewHearing(
                row, note.conversation_id, task_sealed, str(verdict.urgency), deadline_ms
            ),
        )

    def _voice(self, row: dict[str, Any], language: Language) -> VoiceNote:
        kind = recording.kind_named(row["mime"])
        return VoiceNote(
            row["id"],
            row["patient_id"],
            row["conversation_id"],
            row["message_id"],
            row["received_at_ms"],
            row["blob"],
            kind or recording.RecordingKind(row["mime"], "bin", plays=False),
            row["duration_ms"],
            bool(row["transcribed"]),
            tuple(self._hearing(each, language) for each in row["hearings"]),
        )

    def _hearing(self, row: dict[str, Any], language: Language) -> Hearing:
        keys = self._store.keys
        verdict = verdict_from_json(keys.open_json(VERDICT, row["verdict_sealed"]))
        note = explain(verdict, language, to="staff") if verdict.action != "none" else ""
        words = keys.open(WORDS, row["words_sealed"]).decode()
        return Hearing(row["name"], row["at_ms"], words, note)
