"""Voice notes over the whole core: what the patient hears at once, and what is kept for staff."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from core.delivery import TASK_DETAIL
from core.errors import PatientError, TransientError
from core.message import Address, Attachment, AttachmentKind, Inbound
from core.store.due import take_due
from core.store.tables import inbox, staff_task, timer, voice_note
from core.texts import text
from tests.fakes.recordings import amr, opus, wav
from tests.fakes.takeover_world import HERE, Messenger, World, world

KEPT = text("zh-Hans", "voice.kept")


@dataclass
class Flaky(Messenger):
    """A messenger whose files can be out of reach."""

    failing: list[Exception] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    async def fetch(self, attachment: Attachment, *, limit_bytes: int) -> bytes:
        if self.failing:
            raise self.failing.pop(0)
        data = await super().fetch(attachment, limit_bytes=limit_bytes)
        if len(data) > limit_bytes:
            raise PatientError("turn.file_too_large", limit_mb=limit_bytes >> 20)
        return data


@asynccontextmanager
async def a_world(folder: Path, **options: Any) -> AsyncIterator[World]:
    async with world(folder, **options) as w:
        w.messenger = Flaky()
        w.dispatcher._handle._channels[HERE] = w.messenger  # type: ignore[attr-defined]
        w.delivery._channels[HERE] = w.messenger  # type: ignore[attr-defined]

        async def discard(_to: Address, attachments: Sequence[Attachment]) -> None:
            for attachment in attachments:
                await w.messenger.discard(attachment)

        w.dispatcher._discard = discard
        yield w


async def speak(
    w: World, data: bytes = b"", words: str = "", *, chat: str = "p", **fields: Any
) -> None:
    """Have the patient send a voice note; `words` is what their messenger wrote down."""
    w._sequence += 1
    ref = f"voice-{w._sequence}"
    w.messenger.files[ref] = data or opus(7_000)
    note = Attachment(AttachmentKind.VOICE, ref, "audio/ogg", transcribed=bool(words))
    where = Address(*HERE, chat)
    message = Inbound(where, f"m{w._sequence}", w._sequence, words, (note,), **fields)
    await w.intake.accept([message])
    await w.settle()


async def tick(w: World, later_ms: int = 1_000) -> None:
    """Let time pass, as the ticker does."""
    w.clock.ms += later_ms
    await w.store.write(take_due, w.clock.ms)
    await w.dispatcher.claim_waiting()
    await w.settle()


def rows(w: World, table: Any) -> list[Any]:
    with w.store._read_engine.connect() as connection:
        return list(connection.execute(select(table).order_by(table.c.id)).all())


def whys(w: World) -> list[str]:
    keys = w.store.keys
    return [
        keys.open_json(TASK_DETAIL, t.detail_sealed).get("why", t.kind) for t in rows(w, staff_task)
    ]


async def test_who_speaks_hears_at_once_and_the_note_is_kept(tmp_path: Path) -> None:
    async with a_world(tmp_path) as w:
        await speak(w)
        assert w.heard("p") == [KEPT]
        for promise in ("急诊", "120", "写下"):
            assert promise in KEPT
        (task,) = rows(w, staff_task)
        assert whys(w) == ["voice"]
        assert (task.kind, task.urgency) == ("human", "same_day")
        assert task.deadline_ms == w.clock.ms + 4 * 3_600_000
        assert rows(w, voice_note) == [], "the answer does not wait for the file"
        await tick(w)
        (note,) = rows(w, voice_note)
        assert (note.mime, note.duration_ms, note.transcribed) == ("audio/ogg", 7_000, False)
        assert await w.blobs.get(note.blob) == opus(7_000)
        folder = tmp_path / "blobs" / note.blob[:2] / note.blob
        assert b"OggS" not in folder.read_bytes(), "sealed"
        assert w.messenger.files == {}, "the messenger's own copy is given up"
        assert w.heard("p") == [KEPT], "keeping it is silent"
        assert w.outcomes(1)["m1"] == "handed"


async def test_several_notes_are_one_task_until_it_is_closed(tmp_path: Path) -> None:
    async with a_world(tmp_path) as w:
        for _ in range(3):
            await speak(w)
            w.clock.ms += 60_000
        assert w.heard("p")[1:] == [text("zh-Hans", "voice.kept_too")] * 2
        (task,) = rows(w, staff_task)
        assert task.changed_at_ms > task.created_at_ms, "the worklist draws it anew"

        def close(connection: Any, _items: Any) -> list[None]:
            connection.execute(update(staff_task).values(state="done"))
            return [None]

        await w.store.write(close, None)
        await speak(w)
        assert [t.state for t in rows(w, staff_task)] == ["done", "open"]
        await tick(w)
        assert len(rows(w, voice_note)) == 4


async def test_a_task_closed_in_the_same_moment_is_opened_anew(tmp_path: Path) -> None:
    async with a_world(tmp_path) as w:
        await speak(w)
        read = w.store.read

        async def closing(function: Any, argument: Any) -> Any:
            found = await read(function, argument)
            if function.__name__ == "open_tasks_of":

                def close(connection: Any, _items: Any) -> list[None]:
                    connection.execute(update(staff_task).values(state="done"))
                    return [None]

                await w.store.write(close, None)
            return found

        w.store.read = closing  # type: ignore[method-assign]
        await speak(w)
        assert [t.state for t in rows(w, staff_task)] == ["done", "open"]


async def test_a_transcript_is_as_good_as_typed(tmp_path: Path) -> None:
    async with a_world(tmp_path) as w:
        await speak(w, amr(2_000), "右眼突然看不见了")
        assert w.messenger.sent[0][1].kind == "emergency"
        assert len(w.messenger.sent) == 1
        await tick(w)
        (note,) = rows(w, voice_note)
        assert (note.mime, note.transcribed) == ("audio/amr", True)
        assert "voice" not in whys(w), "nobody has to listen before somebody acts"


async def test_a_transcript_answers_the_interview(tmp_path: Path) -> None:
    async with a_world(tmp_path) as w:
        await speak(w, amr(2_000), "最近看东西有点模糊")
        assert w.heard("p")
        assert KEPT not in w.heard("p")
        assert rows(w, staff_task) == []


async def test_a_red_flag_beside_a_note_goes_first_and_the_note_is_not_lost(
    tmp_path: Path,
) -> None:
    async with a_world(tmp_path) as w:
        w._sequence += 1
        w.messenger.files["v"] = opus()
        note = Attachment(AttachmentKind.VOICE, "v")
        where = Address(*HERE, "p")
        await w.intake.accept([Inbound(where, "m1", 1, "右眼突然看不见了", (note,))])
        await w.settle()
        assert [reply.kind for _, reply in w.messenger.sent] == ["emergency", "notice"]
        assert "voice" in whys(w)
        task = rows(w, staff_task)[-1]
        assert task.urgency == "immediate", "as urgent as what is known"
        await tick(w)
        assert len(rows(w, voice_note)) == 1


async def test_before_consent_it_is_said_what_cannot_wait(tmp_path: Path) -> None:
    async with a_world(tmp_path, consent_required=True) as w:
        await speak(w)
        assert w.heard("p")[0] == text("zh-Hans", "voice.before_consent")
        assert w.messenger.sent[1][1].kind == "consent"
        await tick(w)
        assert rows(w, voice_note) == []
        assert rows(w, staff_task) == []
        assert w.messenger.files, "nothing is fetched"
        await w.write("p", "", button="v1:consent:all")
        await w.settle()
        assert KEPT in w.heard("p")
        await tick(w)
        assert len(rows(w, voice_note)) == 1


async def test_who_refuses_photos_only_still_has_the_note_kept(tmp_path: Path) -> None:
    async with a_world(tmp_path, consent_required=True) as w:
        await speak(w)
        for button in ("each", "yes:health", "no:photos", "no:reminders"):
            await w.write("p", "", button=f"v1:consent:{button}")
            await w.settle()
        assert KEPT in w.heard("p")
        assert text("zh-Hans", "consent.photos_refused") not in w.heard("p")
        await tick(w)
        assert len(rows(w, voice_note)) == 1


async def test_who_refuses_everything_leaves_no_note(tmp_path: Path) -> None:
    async with a_world(tmp_path, consent_required=True) as w:
        await speak(w)
        await w.write("p", "", button="v1:consent:none")
        await w.settle()
        assert w.messenger.files == {}
        await tick(w)
        assert rows(w, voice_note) == []
        assert KEPT not in w.heard("p")


async def test_a_messenger_that_is_out_of_reach_is_asked_again(tmp_path: Path) -> None:
    async with a_world(tmp_path) as w:
        w.messenger.failing = [TransientError("down"), TimeoutError()]
        await speak(w)
        assert w.heard("p") == [KEPT]
        await tick(w)
        await w.write("p", "右眼有点痒，两天了")
        await w.settle()
        assert len(w.heard("p")) > 1, "words do not wait for the file"
        await tick(w, 60_000)
        assert rows(w, voice_note) == []
        await tick(w, 5 * 60_000)
        assert len(rows(w, voice_note)) == 1
        assert rows(w, timer) == []


@pytest.mark.parametrize("why", ["gone", "too large", "no recording", "never"])
async def test_a_note_that_cannot_be_kept_is_said_so_once(tmp_path: Path, why: str) -> None:
    async with a_world(tmp_path) as w:
        data = {"too large": b"OggS" + b"x" * (5 << 20), "no recording": b"MZ a program"}
        if why == "gone":
            w.messenger.failing = [PatientError("telegram.file_gone")]
        if why == "never":
            w.messenger.failing = [TransientError("down")] * 9
        await speak(w, data.get(why, b""))
        for later_ms in (1_000, *([13 * 3_600_000] * 8 if why == "never" else ())):
            await tick(w, later_ms)
        assert w.heard("p") == [KEPT, text("zh-Hans", "voice.lost")]
        assert rows(w, voice_note) == []
        assert rows(w, timer) == []


async def test_the_next_words_are_no_answer_to_the_list_of_red_flags(tmp_path: Path) -> None:
    async with a_world(tmp_path) as w:
        await speak(w)
        await w.write("p", "右眼")
        await w.settle()
        assert "emergency" not in [reply.kind for _, reply in w.messenger.sent]


async def test_while_staff_answer_the_note_is_theirs_and_nobody_is_forgotten(
    tmp_path: Path,
) -> None:
    async with a_world(tmp_path) as w:
        await w.write("p", "你好")
        await w.settle()
        chat = w.chat("p")
        taken = await w.takeovers.take(chat, staff_id=1, name="王护士")
        await w.settle()
        await speak(w, wav(3_000))
        await tick(w)
        assert len(rows(w, voice_note)) == 1
        assert KEPT not in w.heard("p")
        await w.takeovers.hand_back(chat, taken.takeover_id or 0, name="王护士")
        await w.settle()
        assert KEPT in w.heard("p"), "what nobody answered is answered"
        assert whys(w) == ["voice"]
        await tick(w)
        assert len(rows(w, voice_note)) == 1, "kept once"


async def test_a_stop_in_the_middle_loses_no_note(tmp_path: Path) -> None:
    async with a_world(tmp_path) as w:
        await speak(w)
    async with a_world(tmp_path) as w:
        w.clock.ms += 60_000
        w.messenger.files["voice-1"] = opus(7_000)
        await tick(w)
        assert len(rows(w, voice_note)) == 1
        assert [r.outcome for r in rows(w, inbox)] == ["handed", "answered"]
