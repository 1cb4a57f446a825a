"""Voice notes of the chat page: posted like photos, played back only to who sent them."""

from __future__ import annotations

import re
from io import BytesIO
from uuid import uuid4

import aiohttp
import pytest

from adapters.webchat.settings import MEBIBYTE
from core.message import AttachmentKind
from tests.fakes.recordings import ALL, amr, opus, wav, webm

SCRIPT = {"Accept": "application/json"}


def voice_form(data: bytes, **fields: str) -> aiohttp.FormData:
    form = aiohttp.FormData()
    for name, value in fields.items():
        form.add_field(name, value)
    form.add_field("voice", BytesIO(data), filename="voice-note", content_type="audio/webm")
    return form


async def post(browser, data: bytes, **fields: str) -> tuple[int, str]:
    form = voice_form(data, **fields)
    async with browser.post("/chat/voices", data=form, headers=SCRIPT) as answer:
        return answer.status, (await answer.json()).get("message", "")


async def test_a_note_becomes_an_attachment_once_however_often_it_is_posted(site, browser):
    message_id = str(uuid4())
    for _ in range(2):
        assert await post(browser, webm(), id=message_id) == (202, "")
    (message,) = site.conversations.accepted
    (note,) = message.attachments
    assert (note.kind, note.size_bytes) == (AttachmentKind.VOICE, len(webm()))
    assert message.message_id == message_id
    assert len(site.blobs.files) == 1
    assert await site.chat.fetch(note, limit_bytes=MEBIBYTE) == webm()
    # The service keeps a recording under its message's id: no second copy.
    assert await site.blobs.put(webm(), salt=message_id.encode()) == note.ref


@pytest.mark.parametrize("mime", ALL)
async def test_every_format_of_phones_is_taken(site, browser, mime):
    assert (await post(browser, ALL[mime]()))[0] == 202


@pytest.mark.parametrize(
    ("data", "status", "words"),
    [
        (b"\xff\xd8\xff a photo", 415, "不是我认得的录音"),
        (b"<svg onload=alert(1)>", 415, "不是我认得的录音"),
        (wav(5_000) + b"x" * (5 * MEBIBYTE), 413, "120 秒"),
        (opus(123_000), 413, "120 秒"),
        (amr(180_000), 413, "120 秒"),
        (b"", 400, "先录一段"),
    ],
    ids=["a photo", "a script", "too many bytes", "too long", "too long by its frames", "nothing"],
)
async def test_what_is_refused_is_said_and_not_kept(site, browser, data, status, words):
    found, message = await post(browser, data)
    assert (found, words in message) == (status, True), message
    assert site.blobs.files == {}
    assert site.conversations.accepted == []


async def test_two_minutes_and_the_click_that_ends_them_are_taken(browser):
    assert (await post(browser, webm(120_000)))[0] == 202


async def test_without_script_a_note_leads_back_to_the_page_that_plays_it(site, browser):
    async with browser.post("/chat/voices", data=voice_form(opus())) as page:
        text = await page.text()
    (source,) = re.findall(r'<audio controls[^>]* src="(/chat/voice/[0-9a-f]{64})"', text)
    async with browser.get(source) as answer:
        assert answer.status == 200
        assert await answer.read() == opus()
        assert answer.content_type == "audio/ogg"
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Content-Disposition"] == 'inline; filename="voice-note.ogg"'
        assert "sandbox" in answer.headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    ("wanted", "status", "begin", "end"),
    [
        ("bytes=0-1", 206, 0, 2),  # how Safari begins
        ("bytes=10-", 206, 10, None),
        ("bytes=-20", 206, -20, None),
        ("bytes=0-99999999", 206, 0, None),
        ("bytes=99999999-", 416, 0, 0),
        ("bytes=0-1,4-5", 200, 0, None),
        ("nonsense", 200, 0, None),
    ],
)
async def test_players_get_the_piece_they_ask_for(site, browser, wanted, status, begin, end):
    await post(browser, opus())
    (blob,) = site.blobs.files
    async with browser.get(f"/chat/voice/{blob}", headers={"Range": wanted}) as answer:
        assert answer.status == status
        body = await answer.read()
    if status != 416:
        assert body == opus()[begin:end]
        first = begin % len(opus())
        expected = f"bytes {first}-{first + len(body) - 1}/{len(opus())}"
        assert answer.headers.get("Content-Range") == (expected if status == 206 else None)


async def test_a_note_is_only_for_its_own_chat(site, browser, stranger):
    await post(browser, opus())
    (blob,) = site.blobs.files
    for path in (f"/chat/voice/{blob}", f"/chat/photo/{blob}"):
        async with stranger.get(path) as answer:
            assert answer.status == 404
    async with (
        aiohttp.ClientSession(site.base) as nobody,
        nobody.get(f"/chat/voice/{blob}") as answer,
    ):
        assert answer.status == 404


async def test_what_no_browser_plays_is_offered_as_a_file(site, browser):
    await post(browser, amr())
    (blob,) = site.blobs.files
    async with browser.get(f"/chat/voice/{blob}") as answer:
        assert answer.headers["Content-Disposition"] == 'attachment; filename="voice-note.amr"'


async def test_only_the_page_that_records_may_use_the_microphone(browser):
    async with browser.get("/chat") as page:
        assert "microphone=(self)" in page.headers["Permissions-Policy"]
        assert "media-src 'self' blob:" in page.headers["Content-Security-Policy"]
    for path in ("/chat/manifest.webmanifest", "/chat/nothing"):
        async with browser.get(path) as other:
            assert "microphone=()" in other.headers["Permissions-Policy"]
            assert "media-src" not in other.headers["Content-Security-Policy"]


async def test_foreign_pages_may_not_post_a_note(site, browser):
    headers = {"Origin": "https://evil.test"}
    async with browser.post("/chat/voices", data=voice_form(opus()), headers=headers) as answer:
        assert answer.status == 403
    assert site.conversations.accepted == []
