from __future__ import annotations

import asyncio
import re
from io import BytesIO

import aiohttp
import numpy as np
import pytest
from PIL import Image as Picture

from adapters.http.server import HttpServer
from adapters.webchat.channel import WebChat
from adapters.webchat.photo import small_copy
from adapters.webchat.settings import WebChatSettings
from core.errors import ConfigError
from core.message import Address
from core.reply import Document, Image, Paragraph, Reply, Text, say
from models.fundus.reader import OnnxFundusReader
from models.fundus.settings import FundusSettings
from tests.fakes.core_fakes import FakeBlobs, FakeConversations
from tests.fakes.waiting import PATIENCE_S
from tests.integration.webchat.test_posts import JPEG, SCRIPT, photo_form


def a_large_photo() -> bytes:
    """A noisy camera JPEG, lying on its side, with the place it was taken."""
    noise = np.random.default_rng(1).integers(0, 255, (900, 1200, 3), dtype=np.uint8)
    exif = Picture.Exif()
    exif[0x0112] = 6
    exif.get_ifd(0x8825)[1] = "N"
    out = BytesIO()
    Picture.fromarray(noise).save(out, "JPEG", quality=60, exif=exif)
    return out.getvalue()


async def test_the_page_carries_its_protection(site, browser):
    async with browser.get("/chat") as page:
        policy = page.headers["Content-Security-Policy"]
        text = await page.text()
        assert page.headers["X-Content-Type-Options"] == "nosniff"
        assert page.headers["Cache-Control"] == "no-store"
        assert "Server" not in page.headers
        cookie = page.cookies["oc_chat"]
    assert "unsafe" not in policy
    assert cookie["httponly"]
    assert cookie["samesite"] == "Lax"
    assert not cookie["secure"]
    assert "style=" not in text
    assert "<style" not in text
    assert "http://" not in text
    assert "https://" not in text
    assert cookie.value not in text


async def test_a_document_can_be_saved_by_its_own_patient_only(site, browser):
    file = Document("visit.ics", "text/calendar", "BEGIN:VCALENDAR\r\n")
    async with browser.post("/chat/messages", data={"text": "你好"}, headers=SCRIPT):
        pass
    await site.say(site.address, say("answer", "without a file"))
    await site.say(site.address, Reply("plan", (Paragraph((Text("the visit"),)),), document=file))
    async with browser.get("/chat") as page:
        (path,) = set(re.findall(r'href="(/chat/document/\d+)"', await page.text()))
    async with browser.get(path) as answer:
        assert await answer.text() == file.text
        assert answer.content_type == "text/calendar"
        assert answer.headers["Content-Disposition"] == 'attachment; filename="visit.ics"'
    number = int(path.rpartition("/")[2])
    async with browser.get(f"/chat/document/{number - 1}") as answer:
        assert answer.status == 404
    async with aiohttp.ClientSession(site.base) as stranger:
        async with stranger.get("/chat"):
            pass
        async with stranger.get(path) as answer:
            assert answer.status == 404


async def test_behind_https_the_cookie_is_bound_to_the_host(site):
    async with (
        aiohttp.ClientSession(site.base) as browser,
        browser.get("/chat", headers={"X-Forwarded-Proto": "https"}) as page,
    ):
        assert page.cookies["__Host-oc_chat"]["secure"]
        assert "Strict-Transport-Security" in page.headers


async def test_behind_a_proxy_that_renames_the_host(site, browser):
    for origin, status in (("https://eye.example", 202), ("https://evil.test", 403)):
        headers = {
            **SCRIPT,
            "Origin": origin,
            "X-Forwarded-Host": "eye.example",
            "X-Forwarded-For": "203.0.113.7",
        }
        async with browser.post("/chat/messages", data={"text": "x"}, headers=headers) as answer:
            assert answer.status == status


async def test_other_peers_cannot_claim_a_proxy():
    chat = WebChat(WebChatSettings(), history=FakeConversations(), blobs=FakeBlobs())
    routes = chat.routes(FakeConversations())
    server = HttpServer("127.0.0.1", 0, routes, trusted_proxies=frozenset())
    await server.start()
    async with (
        aiohttp.ClientSession() as browser,
        browser.get(
            f"http://127.0.0.1:{server.port}/chat", headers={"X-Forwarded-Proto": "https"}
        ) as page,
    ):
        assert "oc_chat" in page.cookies
    await server.stop()


async def test_the_root_leads_to_the_chat(site, browser):
    async with browser.get("/", allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (302, "/chat")


async def test_what_was_said_is_on_the_page_and_only_there(site, browser, stranger):
    async with browser.post("/chat/messages", data={"text": "<b>红</b>"}, headers=SCRIPT):
        pass
    await site.say(site.address, say("answer", "我听到了"))
    async with browser.get("/chat") as page:
        text = await page.text()
    assert "&lt;b&gt;红&lt;/b&gt;" in text
    assert "我听到了" in text
    async with stranger.get("/chat") as page:
        assert "我听到了" not in await page.text()


async def test_a_long_conversation_begins_near_its_end(site, browser):
    async with browser.post("/chat/messages", data={"text": "first"}, headers=SCRIPT):
        pass
    for n in range(70):
        site.conversations.add(site.address, "patient", text=f"word{n}.")
    async with browser.get("/chat") as page:
        text = await page.text()
    assert "word69." in text
    assert "word3." not in text
    assert "/chat?earlier=1" in text
    async with browser.get("/chat?earlier=1") as page:
        assert "word3." in await page.text()


async def test_language_and_size_are_kept(browser):
    for fields, sign in (
        ({"language": "en"}, 'lang="en"'),
        ({"size": "large"}, 'class="large"'),
        ({"language": "xx", "size": "huge"}, 'lang="en" class="large"'),
        ({"language": "zh-Hans", "size": "normal"}, '<html lang="zh-Hans">'),
    ):
        async with browser.post("/chat/preferences", data=fields) as page:
            assert sign in await page.text()


async def test_static_files_are_compressed_and_kept(browser):
    async with browser.get("/chat") as page:
        text = await page.text()
    url = next(part for part in text.split('"') if part.endswith("chat.js"))
    async with browser.get(url, headers={"Accept-Encoding": "gzip"}) as answer:
        assert answer.headers["Content-Encoding"] == "gzip"
        assert "immutable" in answer.headers["Cache-Control"]
        script = await answer.read()
    async with browser.get(url, headers={"Accept-Encoding": "identity"}) as answer:
        assert "Content-Encoding" not in answer.headers
        assert await answer.read() == script
    old = url.replace(url.split("/")[-2], "0" * 12)
    async with browser.get(old) as answer:  # a page from before an update
        assert answer.headers["Cache-Control"] == "no-cache"
    for path in ("/chat/static/x/settings.py", "/chat/static/x/..%2fsettings.py"):
        async with browser.get(path) as answer:
            assert answer.status == 404


async def test_the_manifest(browser):
    async with browser.get("/chat/manifest.webmanifest") as answer:
        manifest = await answer.json(content_type="application/manifest+json")
    async with browser.get(manifest["icons"][0]["src"]) as answer:
        assert answer.content_type == "image/svg+xml"


async def test_pictures_are_for_their_own_conversation(site, browser, stranger):
    async with browser.post("/chat/photos", data=photo_form(), headers=SCRIPT):
        pass
    own = site.conversations.accepted[0].attachments[0].ref
    async with stranger.get(f"/chat/photo/{own}") as answer:
        assert answer.status == 404
    async with browser.get(f"/chat/photo/{own}") as answer:
        assert answer.status == 200
        assert answer.content_type == "image/jpeg"
        assert answer.headers["Cache-Control"].startswith("private")
        assert "sandbox" in answer.headers["Content-Security-Policy"]
        assert await answer.read() == JPEG
    card = await site.blobs.put(b"\x89PNG\r\n\x1a\n...")
    async with browser.get(f"/chat/photo/{card}") as answer:  # nobody's yet
        assert answer.status == 404
    reply = Reply("reading", (Paragraph((Text("x"),)),), image=Image(card, "image/png", "卡"))
    await site.say(site.address, reply)
    async with browser.get(f"/chat/photo/{card}") as answer:
        assert answer.content_type == "image/png"
    del site.blobs.files[card]
    async with browser.get(f"/chat/photo/{card}") as answer:  # erased
        assert answer.status == 404


async def test_the_conversation_shows_a_small_copy_without_metadata(site, browser):
    original = a_large_photo()
    async with browser.post("/chat/photos", data=photo_form(original), headers=SCRIPT) as answer:
        assert answer.status == 202
    blob = site.conversations.accepted[0].attachments[0].ref
    async with browser.get("/chat") as page:
        assert f'src="/chat/photo/{blob}?small=1"' in await page.text()
    async with browser.get(f"/chat/photo/{blob}") as answer:
        assert await answer.read() == original
    async with browser.get(f"/chat/photo/{blob}?small=1") as answer:
        assert answer.content_type == "image/jpeg"
        small = await answer.read()
    assert len(small) < len(original) / 2
    with Picture.open(BytesIO(small)) as picture:
        assert picture.size == (600, 800)  # turned upright as the camera said
        assert not picture.getexif()


@pytest.mark.parametrize("data", [b"", b"\xff\xd8\xff" + b"x" * 200_000, b"GIF89a" + b"\xff" * 99])
async def test_no_small_copy_of_what_is_no_picture(data):
    reader = OnnxFundusReader(FundusSettings())
    try:
        assert await small_copy(data, reader.clean) is None
    finally:
        await reader.close()
    assert await small_copy(data, None) is None


async def test_a_page_in_disguise_is_never_shown(site, browser):
    page = b"<html><script>alert(1)</script>"
    async with browser.post("/chat/photos", data=photo_form(page), headers=SCRIPT):
        pass
    blob = site.conversations.accepted[0].attachments[0].ref
    async with browser.get(f"/chat/photo/{blob}") as answer:
        assert answer.content_type == "application/octet-stream"
        assert answer.headers["Content-Disposition"].startswith("attachment")


async def test_errors_are_calm_and_tell_nothing(site, browser, monkeypatch):
    async with browser.get("/nowhere/<script>") as answer:
        assert answer.status == 404
        text = await answer.text()
        assert "没有找到" in text
        assert "<script" not in text
    async with browser.delete("/chat") as answer:
        assert answer.status == 405
        assert answer.headers["Allow"]

    async def broken(*args: object, **kwargs: object) -> None:
        raise RuntimeError("secret words of a patient")

    monkeypatch.setattr(site.conversations, "history", broken)
    async with browser.get("/chat") as answer:
        assert answer.status == 500
        text = await answer.text()
    assert "Traceback" not in text
    assert "secret" not in text
    assert "120" in text
    async with browser.get("/chat", headers=SCRIPT) as answer:
        assert (await answer.json())["ok"] is False


ODD_REQUESTS = [
    b"GET /chat HTTP/1.1\r\n\r\n",
    b"GET /chat HTTP/1.1\r\nHost: \xff\xfe\r\n\r\n",
    b"GET /chat HTTP/1.1\r\nHost: x\r\nCookie: oc_chat=\xff\xfe; oc_language=\x80; oc_size\r\n\r\n",
    b"GET /chat HTTP/1.1\r\nHost: x\r\nAccept-Language: \xff;q=\xff,,;;zh;q=nan\r\n\r\n",
    b"GET /chat HTTP/1.1\r\nHost: x\r\nX-Forwarded-Proto: ftp\r\nX-Forwarded-For: \xff,,\r\n\r\n",
    b"GET /chat/photo/%00%ff HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /chat/static/%ff/%ed%a0%80 HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /chat?" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /chat HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 20_000 + b"\r\n\r\n",
    b"POST /chat/messages HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    b"POST /chat/messages HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"BREW /chat HTTP/1.1\r\nHost: x\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00",
]  # fmt: skip


@pytest.mark.parametrize("request_bytes", ODD_REQUESTS)
async def test_odd_requests_get_an_answer_and_no_server_error(site, request_bytes):
    reader, writer = await asyncio.open_connection("127.0.0.1", site.server.port)
    writer.write(request_bytes)
    writer.write_eof()
    async with asyncio.timeout(PATIENCE_S):
        status_line = await reader.readline()
    writer.close()
    assert not status_line.startswith(b"HTTP/1.1 5")
    async with aiohttp.ClientSession(site.base) as after, after.get("/chat") as page:
        assert page.status == 200


async def test_a_taken_port_names_the_setting(site):
    second = HttpServer("127.0.0.1", site.server.port, [])
    with pytest.raises(ConfigError, match=r"server\.port"):
        await second.start()


async def test_accounts_are_apart(site, browser):
    async with browser.post("/chat/messages", data={"text": "x"}, headers=SCRIPT):
        pass
    at = site.address
    site.conversations.say(Address(at.channel, "other", at.chat_id), say("answer", "elsewhere"))
    async with browser.get("/chat") as page:
        assert "elsewhere" not in await page.text()
