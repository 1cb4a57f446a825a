"""The pages about patients, over the whole core."""

from __future__ import annotations

import asyncio
from xml.etree import ElementTree

import aiohttp
import pytest
from sqlalchemy import select

from adapters.console.patient_desk import Cursor, PatientDesk
from core.store.tables import consent, inbox, patient, photo, reading_review
from tests.integration.bedside import conftest as bedside
from tests.integration.bedside.conftest import (
    HOSTILE,
    PHOTO,
    Clinic,
    form_on,
    opened,
    signed_in,
)


async def rows(clinic: Clinic, table) -> list:
    with clinic.world.store._read_engine.connect() as connection:
        return list(connection.execute(select(table)).all())


async def a_patient(clinic: Clinic, chat: str = "p") -> None:
    w = clinic.world
    await w.write(chat, "我有糖尿病十年了，最近看东西模糊", sender_name=f"张奶奶{HOSTILE}")
    await w.settle()
    await w.write(chat, "右眼", PHOTO.read_bytes())
    await w.settle()


async def posted(browser: aiohttp.ClientSession, path: str, **fields) -> tuple[int, str]:
    async with browser.post(path, data=fields, allow_redirects=False) as answer:
        return answer.status, answer.headers.get("Location", "")


async def test_a_patients_page_has_everything_and_is_audited(clinic: Clinic, nurse) -> None:
    await a_patient(clinic)
    page = await opened(nurse, "/console/patients/1")
    for words in ("张奶奶", "糖尿病十年", "右眼（OD）", "83%", "/console/conversations/1"):
        assert words in page
    assert HOSTILE not in page
    assert ("patient_viewed", 1) in clinic.audited()
    assert "P-1" in await opened(nurse, "/console/patients")
    assert ("patients_viewed", 1) in clinic.audited()


async def test_a_number_leads_to_its_patient(clinic: Clinic, nurse) -> None:
    await a_patient(clinic)
    assert "张奶奶" in await opened(nurse, "/console/patients?number=p-1")
    assert "没有编号为P-77的患者" in await opened(nurse, "/console/patients?number=P-77")


async def test_nobody_is_nobody(clinic: Clinic, doctor) -> None:
    token = (await form_on(doctor, "/console/new-photo"))["form_token"]
    for path in ("patients/9", "conversations/9", "photos/9", "photos/9/image", "results/9"):
        await opened(doctor, f"/console/{path}", 404)
        await opened(doctor, f"/console/{path.replace('9', '9' * 30)}", 404)
    for path in ("conversations/9/take", "conversations/9/reply", "photos/9/review"):
        assert (await posted(doctor, f"/console/{path}", form_token=token))[0] == 404


async def test_the_timeline_has_every_entry_once_over_its_pages(clinic: Clinic) -> None:
    w = clinic.world
    for n in range(12):
        w.clock.ms += 60_000
        await w.write("p", f"第{n}条")
        await w.settle()
        if n % 3 == 0:
            await w.write("p", "左眼", PHOTO.read_bytes())
            await w.settle()
    desk = PatientDesk(w.store, w.blobs, "Asia/Shanghai", "zh-Hans")
    person = await desk.person(1)
    assert person is not None
    seen, cursor = [], Cursor()
    while cursor is not None:
        entries, cursor = await desk.timeline(person, cursor, 7, "zh-Hans")
        seen += [(e.source, e.id) for e in entries]
        if cursor is not None:
            assert Cursor.read(cursor.written()) == cursor
    assert len(seen) == len(set(seen))
    assert sum(source == "photo" for source, _ in seen) == 4
    everything, _ = await desk.timeline(person, Cursor(), 1_000, "zh-Hans")
    assert sorted(seen) == sorted((e.source, e.id) for e in everything)


async def test_taking_over_replying_and_handing_back(clinic: Clinic, nurse) -> None:
    await a_patient(clinic)
    chat = "/console/conversations/1"
    form = await form_on(nurse, chat)
    assert await posted(nurse, f"{chat}/take", **form) == (303, f"{chat}#latest")
    form = await form_on(nurse, chat)
    words = f"请今天来。{HOSTILE}"
    for _ in range(2):  # a double tap
        assert (await posted(nurse, f"{chat}/reply", **form, words=words))[0] == 303
    await clinic.world.settle()
    said = [words for words in clinic.world.heard("p") if "请今天来" in words]
    assert said == [f"王护士（诊所工作人员）\n\n{words}"]
    page = await opened(nurse, chat)
    assert HOSTILE not in page
    assert "王护士（诊所工作人员）" in page
    takeover = (await clinic.world.takeovers.of(1)).id
    form = await form_on(nurse, chat)
    assert (await posted(nurse, f"{chat}/hand-back", **form, takeover=takeover))[0] == 303
    await clinic.world.settle()
    assert await clinic.world.takeovers.of(1) is None
    what = [w for w, patient_id in clinic.audited() if patient_id == 1]
    assert {"chat_taken", "chat_replied", "chat_handed_back", "chat_viewed"} <= set(what)


async def test_a_reply_to_a_chat_that_is_not_yours_stays_in_the_form(clinic: Clinic, nurse) -> None:
    await a_patient(clinic)
    chat = "/console/conversations/1"
    await posted(nurse, f"{chat}/take", **await form_on(nurse, chat))
    form = await form_on(nurse, chat)
    async with signed_in(clinic, "li") as doctor:
        theirs = await form_on(doctor, chat)
        assert (await posted(doctor, f"{chat}/take", **theirs))[0] == 409
        assert (await posted(doctor, f"{chat}/take", **theirs, instead_of=1))[0] == 303
    async with nurse.post(f"{chat}/reply", data={**form, "words": "我写的"}) as answer:
        assert answer.status == 409
        assert "我写的</textarea>" in await answer.text()
    assert not any("我写的" in words for words in clinic.world.heard("p"))


async def test_the_open_page_hears_of_new_messages(clinic: Clinic, nurse) -> None:
    await a_patient(clinic)
    path = "/console/conversations/1/messages"
    async with nurse.get(path) as answer:
        mark = answer.headers["X-Mark"]
    async with nurse.get(path, params={"mark": mark}) as answer:
        assert answer.status == 204
    await clinic.world.write("p", "还有一件事")
    await clinic.world.settle()
    async with nurse.get(path, params={"mark": mark}) as answer:
        assert "还有一件事" in await answer.text()
        assert answer.headers["X-Mark"] != mark


async def test_pictures_are_served_to_staff_alone_and_never_stored(clinic: Clinic, nurse) -> None:
    await a_patient(clinic)
    for name in ("image", "small", "card"):
        async with nurse.get(f"/console/photos/1/{name}") as answer:
            assert answer.content_type == "image/jpeg"
            assert answer.headers["Cache-Control"] == "no-store"
    async with (
        aiohttp.ClientSession(clinic.base) as stranger,
        stranger.get("/console/photos/1/image") as answer,
        stranger.get("/console/photos/1/overlay") as drawing,
    ):
        assert (answer.status, drawing.status) == (401, 401)
    assert clinic.audited().count(("picture_viewed", 1)) == 3


async def test_the_areas_are_drawn_over_the_photo_and_audited_like_it(
    clinic: Clinic, nurse
) -> None:
    await a_patient(clinic)
    page = await opened(nurse, "/console/photos/1")
    assert 'src="/console/photos/1/overlay"' in page
    assert "<strong>1</strong>" in page
    async with nurse.get("/console/photos/1/overlay") as answer:
        assert answer.content_type == "image/svg+xml"
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Content-Security-Policy"] == "default-src 'none'; img-src 'self'"
        drawn = ElementTree.fromstring(await answer.text())
    name = "{http://www.w3.org/2000/svg}"
    assert drawn.get("viewBox") == "0 0 512 427"
    assert drawn.find(f"{name}image").get("href") == "/console/photos/1/image"
    paths = [path.get("d") for path in drawn.iter(f"{name}path")]
    assert paths[0].startswith("M0 213L")  # the field of view
    assert paths[2:] == ["M120 200L200 190L210 280L130 290Z"] * 2
    assert [text.text for text in drawn.iter(f"{name}text")] == ["1"]
    assert clinic.audited().count(("picture_viewed", 1)) == 1


async def test_a_reading_from_before_there_were_areas_has_no_drawing(
    clinic: Clinic, nurse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bedside, "AREAS", None)
    await a_patient(clinic)
    page = await opened(nurse, "/console/photos/1")
    assert "/console/photos/1/overlay" not in page
    assert "/console/photos/1/card" in page
    async with nurse.get("/console/photos/1/overlay") as answer:
        assert answer.status == 404


async def test_a_doctors_grade_is_kept_once_and_sealed(clinic: Clinic, doctor) -> None:
    await a_patient(clinic)
    page = await opened(doctor, "/console/photos/1")
    assert "20% / 60%" in page
    assert "still 1" in page
    form = await form_on(doctor, "/console/photos/1")
    said = {"agrees": "no", "gradable": "yes", "dr_grade": "3", "pm": "no", "comment": "出血更多"}
    for _ in range(2):
        assert (await posted(doctor, "/console/photos/1/review", **form, **said))[0] == 303
    kept = await rows(clinic, reading_review)
    assert len(kept) == 1
    row = kept[0]
    assert (row.photo_id, row.staff_id, row.agrees, row.gradable) == (1, 2, False, True)
    assert (row.dr_grade, row.pm, row.glaucoma, row.model_version) == (3, False, None, "still 1")
    assert "出血".encode() not in row.comment_sealed
    assert "出血更多" in await opened(doctor, "/console/photos/1")
    bad = {**form, "dr_grade": "9"}
    assert (await posted(doctor, "/console/photos/1/review", **bad))[0] == 400
    assert (await posted(doctor, "/console/photos/1/review", **form))[0] == 400


async def test_a_nurse_does_not_grade(clinic: Clinic, nurse) -> None:
    await a_patient(clinic)
    form = await form_on(nurse, "/console/photos/1")
    status, _ = await posted(nurse, "/console/photos/1/review", **form, agrees="yes")
    assert status == 403
    assert await rows(clinic, reading_review) == []


async def test_a_result_is_sent_to_the_patients_messenger_once(clinic: Clinic, nurse) -> None:
    await a_patient(clinic)
    before = len(clinic.world.heard("p"))
    form = await form_on(nurse, "/console/photos/1")
    for _ in range(2):
        assert (await posted(nurse, "/console/photos/1/send", **form))[0] == 303
    await clinic.world.settle()
    sent = clinic.world.heard("p")[before:]
    assert len(sent) == 1
    assert "王护士（诊所工作人员）" in sent[0]
    assert clinic.world.messenger.sent[-1][1].image is not None


def a_visit(form: dict[str, str], *, consent: bool = True, **fields) -> aiohttp.FormData:
    data = aiohttp.FormData()
    for name, value in {**form, **fields, **({"consent": "yes"} if consent else {})}.items():
        data.add_field(name, value)
    for eye in ("OD", "OS"):
        data.add_field(f"camera_{eye}", b"", filename="", content_type="image/jpeg")
        data.add_field(f"file_{eye}", PHOTO.read_bytes(), filename="eye.jpg")
    return data


async def visited(browser, data: aiohttp.FormData) -> tuple[int, str]:
    async with browser.post("/console/new-photo", data=data, allow_redirects=False) as answer:
        return answer.status, answer.headers.get("Location", "")


async def test_somebody_at_the_clinic_gets_both_eyes_read(clinic: Clinic, nurse) -> None:
    form = await form_on(nurse, "/console/new-photo")
    fields = {"name": "刘大爷", "phone": "138 0013 8000", "language": "zh-Hans"}
    first = await visited(nurse, a_visit(form, **fields))
    again = await visited(nurse, a_visit(form, **fields))  # a double tap, or a lost line
    assert first == again == (303, "/console/results/1")
    await clinic.world.settle()
    page = await opened(nurse, "/console/results/1")
    assert page.index("右眼（OD）") < page.index("左眼（OS）")
    assert page.count('class="report"') == 2
    assert "刘大爷" in page
    assert {(r.kind, r.granted) for r in await rows(clinic, consent)} == {
        ("health", True),
        ("photos", True),
    }
    assert len(await rows(clinic, photo)) == 2
    assert len(await rows(clinic, patient)) == 1
    assert {r.outcome for r in await rows(clinic, inbox)} == {"answered"}
    assert {("photo_taken", 1), ("result_viewed", 1)} <= set(clinic.audited())
    patient_page = await opened(nurse, "/console/patients/1")
    assert "tel:13800138000" in patient_page
    assert "没有可以联系的聊天渠道" in patient_page
    await opened(nurse, "/console/conversations/1")


async def test_without_consent_nothing_is_read_or_kept(clinic: Clinic, nurse) -> None:
    form = await form_on(nurse, "/console/new-photo")
    async with nurse.post("/console/new-photo", data=a_visit(form, consent=False)) as answer:
        assert answer.status == 400
        assert "没有本人同意" in await answer.text()
    wrong = {**form, "form_token": "0" * 64}
    assert (await visited(nurse, a_visit(wrong)))[0] == 403
    assert await rows(clinic, photo) == []
    assert await rows(clinic, patient) == []


async def test_a_photo_for_a_patient_we_know_can_go_to_their_messenger(
    clinic: Clinic, nurse
) -> None:
    await a_patient(clinic)
    form = await form_on(nurse, "/console/new-photo?patient=1")
    status, where = await visited(nurse, a_visit(form, patient="1", language="zh-Hans"))
    assert (status, where) == (303, "/console/results/2")
    await clinic.world.settle()
    page = await opened(nurse, where)
    assert "把结果发给患者（test）" in page
    assert len(await rows(clinic, patient)) == 1
    status, _ = await visited(nurse, a_visit({**form, "form_id": "f" * 32}, patient="99"))
    assert status == 400


async def test_a_result_in_the_making_looks_again_by_itself(clinic: Clinic, nurse) -> None:
    slow = asyncio.Event()
    reader = clinic.world.dispatcher._handle._reader
    real = reader.read

    async def read(*args, **fields):
        await slow.wait()
        return await real(*args, **fields)

    reader.read = read
    form = await form_on(nurse, "/console/new-photo")
    _, where = await visited(nurse, a_visit(form))
    async with nurse.get(where) as answer:
        assert answer.headers["Refresh"] == "2"
        assert "正在判读" in await answer.text()
    slow.set()
    await clinic.world.settle()
    async with nurse.get(where) as answer:
        assert "Refresh" not in answer.headers


async def test_a_file_that_is_no_picture_says_so(clinic: Clinic, nurse) -> None:
    form = await form_on(nurse, "/console/new-photo")
    data = aiohttp.FormData()
    for name, value in {**form, "consent": "yes"}.items():
        data.add_field(name, value)
    data.add_field("file_OD", b"%PDF-1.7", filename="a.pdf")
    _, where = await visited(nurse, data)
    await clinic.world.settle()
    page = await opened(nurse, where)
    assert 'class="words task"' in page


@pytest.mark.parametrize("path", ["patients", "new-photo"])
async def test_pages_speak_english_too(clinic: Clinic, nurse, path: str) -> None:
    async with nurse.get(f"/console/{path}", headers={"Accept-Language": "en"}) as answer:
        assert 'lang="en"' in await answer.text()


async def test_a_photo_that_staff_left_without_a_word_gets_its_result(clinic: Clinic) -> None:
    w = clinic.world
    await w.write("p", "你好")
    await w.settle()
    taken = await w.takeovers.take(w.chat("p"), staff_id=1, name="王护士")
    await w.write("p", "右眼", PHOTO.read_bytes())
    await w.settle()
    assert not any("眼底照片的参考结果" in words for words in w.heard("p"))
    assert len(await rows(clinic, photo)) == 1
    done = await w.takeovers.hand_back(w.chat("p"), taken.takeover_id, name="王护士")
    assert done.waiting == 1
    await w.settle()
    assert "右眼眼底照片的参考结果" in w.heard("p")[-1]
    assert w.messenger.sent[-1][1].image is not None
    assert set(w.outcomes(1)) == {"m1", "m2"}
    assert len(await rows(clinic, photo)) == 1
