"""Voice notes in the console: heard by staff, audited, and read by the rules for staff."""

from __future__ import annotations

import re
from typing import Any

import pytest

from adapters.console.desk import StaffDesk
from core.message import Address, Attachment, AttachmentKind, Inbound
from core.store.due import take_due
from core.store.tables import staff_task, voice_hearing, voice_note
from core.texts import text
from tests.fakes.recordings import amr, wav
from tests.fakes.takeover_world import HERE
from tests.integration.bedside.conftest import HOSTILE, Clinic, form_on, opened
from tests.integration.bedside.test_patient_pages import posted, rows


async def a_note(clinic: Clinic, data: bytes = b"", chat: str = "p", words: str = "") -> None:
    w = clinic.world
    w._sequence += 1
    ref = f"voice-{w._sequence}"
    w.messenger.files[ref] = data or wav(23_000)
    note = Attachment(AttachmentKind.VOICE, ref, transcribed=bool(words))
    where = Address(*HERE, chat)
    await w.intake.accept([Inbound(where, f"m{w._sequence}", w._sequence, words, (note,))])
    await w.settle()
    w.clock.ms += 1_000
    await w.store.write(take_due, w.clock.ms)
    await w.dispatcher.claim_waiting()
    await w.settle()


@pytest.mark.parametrize("page", ["/console/patients/1", "/console/conversations/1"])
async def test_timeline_and_chat_play_the_note(clinic: Clinic, nurse, page: str) -> None:
    await a_note(clinic)
    async with nurse.get(page) as answer:
        found = await answer.text()
        assert "media-src 'self'" in answer.headers["Content-Security-Policy"]
        assert "blob: " not in answer.headers["Content-Security-Policy"].partition("media-src")[2]
        assert "microphone=()" in answer.headers["Permissions-Policy"]
    (source,) = re.findall(r'<audio controls preload="none" src="([^"]+)"', found)
    assert "0:23" in found
    async with nurse.get(source) as answer:
        assert answer.status == 200
        assert await answer.read() == wav(23_000)
        assert answer.content_type == "audio/wav"
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Content-Disposition"] == 'inline; filename="voice-1.wav"'
    async with nurse.get(source, headers={"Range": "bytes=0-1"}) as answer:
        assert (answer.status, await answer.read()) == (206, b"RI")
    assert ("voice_played", 1) in clinic.audited()


async def test_the_task_is_on_today_with_its_deadline(clinic: Clinic, nurse) -> None:
    await a_note(clinic)
    w = clinic.world
    (task,) = await StaffDesk(w.store, w.clock, "zh-Hans").open_tasks(limit=9)
    assert task.summary == text("zh-Hans", "desk.voice")
    assert (task.kind, task.urgency.value, task.patient) == ("human", "same_day", "P-1")
    assert task.due_at_ms is not None
    assert text("zh-Hans", "desk.voice") in await opened(nurse, "/console/patients/1")


async def test_a_format_no_browser_plays_is_offered_as_a_file(clinic: Clinic, nurse) -> None:
    await a_note(clinic, amr(5_000), words="右眼有点痒")
    page = await opened(nurse, "/console/conversations/1")
    assert "<audio" not in page
    assert "右眼有点痒" in page
    assert '<a class="button" href="/console/voices/1/audio" download>' in page
    async with nurse.get("/console/voices/1/audio") as answer:
        assert answer.headers["Content-Disposition"] == 'attachment; filename="voice-1.amr"'


async def test_a_note_whose_file_is_not_here_says_so(clinic: Clinic, nurse) -> None:
    await a_note(clinic, b"MZ a program")
    page = await opened(nurse, "/console/patients/1")
    assert text("zh-Hans", "voice.not_here") in page
    await opened(nurse, "/console/voices/1", 404)


async def test_what_was_heard_is_kept_once_and_read_by_the_rules(clinic: Clinic, nurse) -> None:
    await a_note(clinic)
    heard = clinic.world.heard("p")
    form = await form_on(nurse, "/console/voices/1")
    words = f"昨天起右眼突然看不见了。{HOSTILE}"
    for _ in range(2):  # a double tap
        status, where = await posted(nurse, "/console/voices/1/heard", **form, words=words)
        assert (status, where) == (303, "/console/voices/1?said=kept#heard")
    (hearing,) = await rows(clinic, voice_hearing)
    assert "看不见".encode() not in hearing.words_sealed
    page = await opened(nurse, "/console/voices/1?said=kept")
    assert "突然看不见了" in page
    assert HOSTILE not in page
    assert text("zh-Hans", "voice.red_flag") in page
    for other in ("/console/patients/1", "/console/conversations/1"):
        assert "王护士 听到：" in await opened(nurse, other)
    w = clinic.world
    first, second = await StaffDesk(w.store, w.clock, "zh-Hans").open_tasks(limit=9)
    assert (first.kind, first.urgency.value) == ("emergency", "immediate")
    assert "突然" in first.summary
    assert first.basis
    assert second.summary == text("zh-Hans", "desk.voice"), "it stays until somebody closes it"
    assert w.heard("p") == heard, "the patient is told nothing by it"
    assert ("voice_heard", 1) in clinic.audited()


async def test_harmless_words_open_and_lower_nothing(clinic: Clinic, nurse) -> None:
    await clinic.world.write("p", "右眼突然看不见了")
    await clinic.world.settle()
    await a_note(clinic)
    before = [(t.urgency, t.state) for t in await rows(clinic, staff_task)]
    form = await form_on(nurse, "/console/voices/1")
    words = "没什么，就是问几点开门"
    assert (await posted(nurse, "/console/voices/1/heard", **form, words=words))[0] == 303
    assert [(t.urgency, t.state) for t in await rows(clinic, staff_task)] == before


@pytest.mark.parametrize(("words", "status"), [("", 400), (" \n", 400), ("长" * 4_001, 413)])
async def test_empty_and_endless_words_are_refused(
    clinic: Clinic, nurse, words: str, status: int
) -> None:
    await a_note(clinic)
    form = await form_on(nurse, "/console/voices/1")
    assert (await posted(nurse, "/console/voices/1/heard", **form, words=words))[0] == status
    assert await rows(clinic, voice_hearing) == []


async def test_a_note_of_nobody_is_nobodys(clinic: Clinic, nurse) -> None:
    await a_note(clinic)
    token = (await form_on(nurse, "/console/voices/1"))["form_token"]
    for number in ("9", "9" * 30, "x"):
        await opened(nurse, f"/console/voices/{number}", 404)
        await opened(nurse, f"/console/voices/{number}/audio", 404)
    assert (await posted(nurse, "/console/voices/9/heard", form_token=token))[0] == 404

    def erase(connection: Any, _items: Any) -> list[None]:
        connection.exec_driver_sql("DELETE FROM patient")
        return [None]

    await clinic.world.store.write(erase, None)
    assert await rows(clinic, voice_note) == []
    await opened(nurse, "/console/voices/1/audio", 404)
