"""What the pages about patients show, opened and in words: chats, timeline, photos, reviews."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal
from zoneinfo import ZoneInfo

from adapters.console.frame import moment
from adapters.console.voice_desk import VoiceDesk, VoiceNote
from core.agent.summary import summary
from core.delivery import TASK_DETAIL
from core.errors import PatientError
from core.intake import NAME
from core.message import Address, Language
from core.ports import Blobs
from core.reading import Eye, Reading
from core.reply import Reply, from_json
from core.store import patients as rows
from core.store.history import PATIENT_BODY, SERVICE_BODY
from core.store.patients import Page
from core.store.recall import NOTE, PHONE, PLACE, PLAN_OUTCOME
from core.store.store import Store
from core.takeover import Chat
from core.texts import catalogue, text
from core.triage.verdict import explain as explain_verdict
from core.triage.verdict import from_json as verdict_from_json
from core.turn.completion import READING, STATE, VERDICT
from core.turn.photos import reading_from_json
from core.turn.state import DialogState
from core.turn.state import from_json as state_from_json

COMMENT = "reading_review.comment"
_EYES: tuple[Eye, ...] = ("OD", "OS")
# Enough to find the latest of each eye and the one before.
_PHOTOS = 40


@dataclass(frozen=True, slots=True)
class PatientChat:
    """One chat of a patient.

    Attributes:
        chat: for replying.
        name: how they call themselves there, or "".
        is_reachable: the platform has not said that the chat is gone.
        is_messenger: the patient can read there; a photo taken at the clinic has no such chat.
        last_at_ms: when they last wrote, or None.
        is_taken: staff answer here now.
        state: dialog state.
    """

    chat: Chat
    name: str
    is_reachable: bool
    is_messenger: bool
    last_at_ms: int | None
    is_taken: bool
    state: DialogState


@dataclass(frozen=True, slots=True)
class Person:
    """A patient with their chats."""

    id: int
    name: str
    phone: str
    language: Language
    since_ms: int
    chats: tuple[PatientChat, ...]

    @property
    def label(self) -> str:
        """Name them as every list does."""
        return f"P-{self.id}"

    @property
    def conversation_ids(self) -> tuple[int, ...]:
        """Ids of all their chats."""
        return tuple(each.chat.conversation_id for each in self.chats)

    def messenger(self) -> PatientChat | None:
        """Return the chat in which they can read, the one last used, or None."""
        open_ones = [c for c in self.chats if c.is_messenger and c.is_reachable]
        return max(open_ones, key=lambda c: c.last_at_ms or 0, default=None)


@dataclass(frozen=True, slots=True)
class Review:
    """What a doctor said about a photo; None = not said."""

    by: str
    staff_id: int
    at_ms: int
    eye: Eye | None
    gradable: bool | None
    dr_grade: int | None
    conditions: dict[str, bool]
    agrees: bool | None
    comment: str


@dataclass(frozen=True, slots=True)
class PatientPhoto:
    """A photo with what the reader and the doctors said.

    Attributes:
        id: stable id; in addresses.
        patient_id, conversation_id: whose.
        at_ms: when it came.
        blob, card_blob: the files.
        reading: what the reader said, or None.
        model_version: which weights.
        reviews: by doctors, the newest first.
    """

    id: int
    patient_id: int
    conversation_id: int
    at_ms: int
    blob: str
    card_blob: str | None
    reading: Reading | None
    model_version: str
    reviews: tuple[Review, ...] = ()

    @property
    def eye(self) -> Eye | None:
        """Return which eye it is: a doctor's word goes before the reader's."""
        for review in self.reviews:
            if review.eye is not None:
                return review.eye
        return self.reading.eye if self.reading else None


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a timeline or a conversation.

    Attributes:
        source: where it comes from, with `id` its address on the page.
        author: who said it, for messages.
        kind: `core.reply.ReplyKind`, state of a plan, kind of a task.
        words: what to read.
        reply: a message of ours or of staff.
        note: what came of it, or what the rules made of it.
        sent: how far a message of ours has come: "", sent, pending, sending, unknown, dead.
        photo: for a photo.
        is_spoken: the patient said it in a voice note.
        voices: the recordings of it that are kept.
    """

    source: Literal["message", "photo", "plan", "task"]
    id: int
    at_ms: int
    author: Literal["patient", "service", "staff", ""] = ""
    kind: str = ""
    words: str = ""
    reply: Reply | None = None
    note: str = ""
    sent: str = ""
    photo: PatientPhoto | None = None
    is_spoken: bool = False
    voices: tuple[VoiceNote, ...] = ()


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a page of the timeline ends: the oldest id shown of each source, or None."""

    message: int | None = None
    photo: int | None = None
    plan: int | None = None
    task: int | None = None

    def written(self) -> str:
        """Return it for an address."""
        return "-".join(str(n or "") for n in (self.message, self.photo, self.plan, self.task))

    @classmethod
    def read(cls, written: str) -> Cursor:
        """Read it back; nonsense is the newest page."""
        parts = written.split("-")
        if len(parts) != 4 or not all(p == "" or (p.isascii() and p.isdigit()) for p in parts):
            return cls()
        return cls(*(int(p[:18]) if p else None for p in parts))


class PatientDesk:
    """Reads patients out of the store.

    Args:
        store: where they are.
        blobs: where pictures are.
        zone: IANA zone of the times in words.
        default: language of patients whose language nothing shows.
    """

    def __init__(self, store: Store, blobs: Blobs, zone: str, default: Language) -> None:
        self._store = store
        self._blobs = blobs
        self._zone = ZoneInfo(zone)
        self._default: Language = default
        self.voices = VoiceDesk(store, blobs)

    # -- people and chats ----------------------------------------------------------------

    async def people(self, before: int | None, limit: int) -> list[Person]:
        """Return people, the newest first, older than the id `before`."""
        found = await self._store.read(rows.patients, Page((), before, limit))
        return [self._person(row) for row in found]

    async def person(self, patient_id: int) -> Person | None:
        """Return one patient, or None."""
        row = await self._store.read(rows.patient_of, patient_id)
        return self._person(row) if row else None

    async def chat(self, conversation_id: int) -> tuple[int, PatientChat] | None:
        """Return the patient's id and the chat, or None; a staff chat is none."""
        row = await self._store.read(rows.chat_of, conversation_id)
        if row is None:
            return None
        person = await self.person(row["patient_id"])
        if person is None:
            return None
        chats = {each.chat.conversation_id: each for each in person.chats}
        return person.id, chats[conversation_id]

    def _person(self, row: dict[str, Any]) -> Person:
        language = self._language(row["language"])
        chats = tuple(self._chat(chat, language) for chat in row["chats"])
        phone = row["phone_sealed"]
        return Person(
            row["id"],
            next((chat.name for chat in chats if chat.name), ""),
            self._store.keys.open_json(PHONE, phone) if phone else "",
            language,
            row["created_at_ms"],
            chats,
        )

    def _language(self, tag: str | None) -> Language:
        if tag == "en":
            return "en"
        return "zh-Hans" if tag == "zh-Hans" else self._default

    def _chat(self, row: dict[str, Any], language: Language) -> PatientChat:
        keys = self._store.keys
        name, state = row["name_sealed"], row["state_sealed"]
        return PatientChat(
            Chat(row["id"], Address(row["channel"], row["account"], row["chat_id"]), language),
            keys.open(NAME, name).decode("utf-8", "replace") if name else "",
            bool(row["active"]),
            row["channel"] != rows.WALK_IN_CHANNEL,
            row["last_inbound_at_ms"],
            row["takeover_id"] is not None,
            state_from_json(keys.open_json(STATE, state)) if state else DialogState(),
        )

    def facts(self, person: Person, language: Language) -> list[str]:
        """Return what they told of their health, in their own words, one line a kind."""
        told = [fact for chat in person.chats for fact in chat.state.facts]
        return summary(told, language).replace("- ", "", 1).split("\n- ") if told else []

    # -- timeline --------------------------------------------------------------------------

    async def timeline(
        self, person: Person, cursor: Cursor, limit: int, language: Language
    ) -> tuple[list[Entry], Cursor | None]:
        """Return a page of everything, the newest first, and where the next page begins."""
        ids = person.conversation_ids
        sources: tuple[tuple[int | None, list[Entry]], ...] = (
            (cursor.message, await self._said(ids, cursor.message, limit + 1, language)),
            (cursor.photo, await self._photo_entries(ids, cursor.photo, limit + 1)),
            (cursor.plan, await self._plan_entries(ids, cursor.plan, limit + 1, language)),
            (cursor.task, await self._task_entries(ids, cursor.task, limit + 1, language)),
        )
        merged = sorted(
            (entry for _, entries in sources for entry in entries),
            key=lambda entry: (entry.at_ms, entry.id),
            reverse=True,
        )
        shown = merged[:limit]
        if len(merged) <= limit:
            return shown, None
        kept = {id(entry) for entry in shown}
        ends = [
            min((e.id for e in entries if id(e) in kept), default=before)
            for before, entries in sources
        ]
        return self._in_order(sources, shown), Cursor(*ends)

    @staticmethod
    def _in_order(
        sources: Sequence[tuple[int | None, list[Entry]]], shown: list[Entry]
    ) -> list[Entry]:
        """Add what an older id of a shown source would otherwise skip: clocks may disagree."""
        kept = {id(entry) for entry in shown}
        late: list[Entry] = []
        for _, entries in sources:
            oldest = min((e.id for e in entries if id(e) in kept), default=None)
            if oldest is not None:
                late += [e for e in entries if e.id > oldest and id(e) not in kept]
        return shown + late

    async def conversation(
        self, conversation_id: int, before: int | None, limit: int, language: Language
    ) -> list[Entry]:
        """Return what was said in one chat, oldest first: the last `limit` before an id."""
        said = await self._said((conversation_id,), before, limit, language)
        return list(reversed(said))

    async def newest(self, conversation_id: int) -> int:
        """Return the id of the newest message of a chat."""
        return await self._store.read(rows.newest_message, conversation_id)

    async def is_busy(self, conversation_id: int) -> bool:
        """Tell whether a message of this chat waits for its turn."""
        return bool(await self._store.read(rows.waiting_in, conversation_id))

    async def _said(
        self, ids: tuple[int, ...], before: int | None, limit: int, language: Language
    ) -> list[Entry]:
        keys, entries = self._store.keys, list[Entry]()
        found = await self._store.read(rows.messages, Page(ids, before, limit))
        recorded = await self.voices.of_messages(
            [(row["conversation_id"], row["message_id"]) for row in found], language
        )
        for row in found:
            note, reply, words, is_spoken = "", None, "", False
            if row["author"] == "patient":
                body = keys.open_json(PATIENT_BODY, row["body_sealed"])
                words, is_spoken = body["text"], bool(body.get("voices"))
                note = self._verdict(row["verdict_sealed"], language)
            else:
                reply = from_json(keys.open_json(SERVICE_BODY, row["body_sealed"]))
            entries.append(
                Entry(
                    "message",
                    row["id"],
                    row["at_ms"],
                    row["author"],
                    row["kind"],
                    words,
                    reply,
                    note,
                    row["sent"],
                    is_spoken=is_spoken,
                    voices=tuple(
                        recorded.get((row["conversation_id"], row["message_id"] or ""), ())
                    ),
                )
            )
        return entries

    def _verdict(self, sealed: bytes | None, language: Language) -> str:
        """Return what triage made of it, when it made anything of it."""
        if sealed is None:
            return ""
        data = self._store.keys.open_json(VERDICT, sealed)
        if data.get("action", "none") == "none":
            return ""
        return explain_verdict(verdict_from_json(data), language, to="staff")

    async def _photo_entries(
        self, ids: tuple[int, ...], before: int | None, limit: int
    ) -> list[Entry]:
        found = await self._photos(ids, before, limit)
        return [Entry("photo", each.id, each.at_ms, photo=each) for each in found]

    async def _plan_entries(
        self, ids: tuple[int, ...], before: int | None, limit: int, language: Language
    ) -> list[Entry]:
        keys, entries = self._store.keys, list[Entry]()
        known = catalogue(language)
        for row in await self._store.read(rows.plans, Page(ids, before, limit)):
            reason = known.get(f"console.reason.{row['reason']}") or str(row["reason"])
            due = row["due_day"] or moment(row["due_at_ms"], self._zone)[:10]
            words = text(language, "record.plan_due", reason=reason, day=due)
            place = keys.open_json(PLACE, row["place_sealed"]) if row["place_sealed"] else ""
            booked = " ".join(p for p in (row["visit_day"], row["visit_time"], place) if p)
            if booked:
                words += text(language, "record.plan_booked", visit=booked)
            outcome = row["outcome_sealed"]
            said: dict[str, Any] = keys.open_json(PLAN_OUTCOME, outcome) if outcome else {}
            spoken = [each for each in said.values() if isinstance(each, str)]
            note = " ".join(each for each in (row["outcome_day"], *spoken) if each)
            entries.append(
                Entry(
                    "plan",
                    row["id"],
                    row["created_at_ms"],
                    kind=row["state"],
                    words=words,
                    note=note,
                )
            )
        return entries

    async def _task_entries(
        self, ids: tuple[int, ...], before: int | None, limit: int, language: Language
    ) -> list[Entry]:
        keys, entries = self._store.keys, list[Entry]()
        for row in await self._store.read(rows.tasks, Page(ids, before, limit)):
            detail = keys.open_json(TASK_DETAIL, row["detail_sealed"])
            note = keys.open(NOTE, row["note_sealed"]).decode() if row["note_sealed"] else ""
            by = f"{row['name']}: " if row["name"] and note and row["kind"] != "follow_up" else ""
            entries.append(
                Entry(
                    "task",
                    row["id"],
                    row["created_at_ms"],
                    kind=row["state"],
                    words=text(language, f"desk.{detail.get('why') or 'red_flag'}"),
                    note=by + note,
                )
            )
        return entries

    # -- photos ------------------------------------------------------------------------------

    async def eyes(self, person: Person) -> dict[Eye, PatientPhoto]:
        """Return the newest photo of each eye that could be told."""
        found: dict[Eye, PatientPhoto] = {}
        for each in await self._photos(person.conversation_ids, None, _PHOTOS):
            if each.eye is not None and each.reading is not None:
                found.setdefault(each.eye, each)
        return {eye: found[eye] for eye in _EYES if eye in found}

    async def photos_of(self, person: Person) -> list[PatientPhoto]:
        """Return their newest photos."""
        return await self._photos(person.conversation_ids, None, _PHOTOS)

    async def photo(self, photo_id: int) -> PatientPhoto | None:
        """Return one photo, or None; one of nobody is none."""
        row = await self._store.read(rows.photo_of, photo_id)
        if row is None or row["patient_id"] is None:
            return None
        return self._photo(row, row["reviews"])

    async def picture(self, blob: str) -> bytes | None:
        """Return a picture's bytes, or None when the file is gone."""
        try:
            return await self._blobs.get(blob)
        except PatientError:
            return None

    async def review(
        self,
        photo: PatientPhoto,
        *,
        staff_id: int,
        form_id: str,
        at_ms: int,
        said: dict[str, Any],
        comment: str,
    ) -> bool:
        """Keep what a doctor says; False when this form was kept before."""
        keys = self._store.keys
        sealed = keys.seal(COMMENT, comment.encode("utf-8", "replace")) if comment else None
        return await self._store.write(
            rows.add_reviews,
            {
                "photo_id": photo.id,
                "staff_id": staff_id,
                "form_id": form_id,
                "at_ms": at_ms,
                "model_version": photo.model_version or None,
                "comment_sealed": sealed,
                **said,
            },
        )

    async def _photos(
        self, ids: tuple[int, ...], before: int | None, limit: int
    ) -> list[PatientPhoto]:
        found = await self._store.read(rows.photos, Page(ids, before, limit))
        said = await self._store.read(rows.reviews, [row["id"] for row in found])
        return [
            self._photo({**row, "patient_id": 0}, [r for r in said if r["photo_id"] == row["id"]])
            for row in found
        ]

    def _photo(self, row: dict[str, Any], reviews: Sequence[dict[str, Any]]) -> PatientPhoto:
        sealed = row["reading_sealed"]
        reading = reading_from_json(self._store.keys.open_json(READING, sealed)) if sealed else None
        return PatientPhoto(
            row["id"],
            row["patient_id"],
            row["conversation_id"],
            row["received_at_ms"],
            row["blob"],
            row["card_blob"],
            reading,
            row["model_version"] or "",
            tuple(self._review(review) for review in reviews),
        )

    def _review(self, row: dict[str, Any]) -> Review:
        comment = row["comment_sealed"]
        return Review(
            row["name"],
            row["staff_id"],
            row["at_ms"],
            row["eye"],
            row["gradable"],
            row["dr_grade"],
            {c: row[c] for c in ("dme", "glaucoma", "amd", "pm") if row[c] is not None},
            row["agrees"],
            self._store.keys.open(COMMENT, comment).decode() if comment else "",
        )
