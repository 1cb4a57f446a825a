from __future__ import annotations

import asyncio
from io import BytesIO
from uuid import uuid4

import aiohttp
import pytest

from adapters.webchat.settings import MEBIBYTE
from core.message import AttachmentKind
from core.reply import Button, Paragraph, Reply, Text

SCRIPT = {"Accept": "application/json"}
JPEG = b"\xff\xd8\xff" + b"x" * 1000


def photo_form(data: bytes = JPEG, **fields: str) -> aiohttp.FormData:
    form = aiohttp.FormData()
    for name, value in fields.items():
        form.add_field(name, value)
    form.add_field("photo", data, filename="eye.jpg", content_type="image/jpeg")
    return form


async def test_a_text_becomes_an_inbound(site, browser):
    message_id = str(uuid4())
    async with browser.post(
        "/chat/messages", data={"id": message_id, "text": " 眼睛红\r\n一天 "}, headers=SCRIPT
    ) as answer:
        assert answer.status == 202
        assert await answer.json() == {"ok": True, "id": message_id}
    (message,) = site.conversations.accepted
    assert message.message_id == message_id
    assert message.text == "眼睛红\n一天"
    assert message.address.channel == "webchat"
    assert message.address.account == "web"
    assert len(message.address.chat_id) == 64
    assert message.sent_at_ms == site.clock.ms
    assert message.language_hint == "zh-Hans"
    assert message.private


async def test_the_same_id_is_one_message_also_at_once(site, browser):
    data = {"id": str(uuid4()), "text": "x"}

    async def post() -> int:
        async with browser.post("/chat/messages", data=data, headers=SCRIPT) as answer:
            return answer.status

    assert await asyncio.gather(*[post() for _ in range(5)]) == [202] * 5
    assert len(site.conversations.accepted) == 1
    assert site.conversations.duplicates == 4


async def test_order_grows_even_when_the_clock_goes_back(site, browser):
    for text in "abc":
        async with browser.post("/chat/messages", data={"text": text}, headers=SCRIPT):
            site.clock.ms -= 1000
    sequences = [m.sequence for m in site.conversations.accepted]
    assert sequences == sorted(set(sequences))


async def test_without_script_a_form_leads_back_to_the_page(site, browser):
    data = {"id": str(uuid4()), "text": "first"}
    async with browser.post("/chat/messages", data=data, allow_redirects=False) as answer:
        assert answer.status == 303
        assert answer.headers["Location"] == "/chat#latest"
    async with browser.post("/chat/messages", data=data) as page:  # tapped twice
        assert "first" in await page.text()
    async with browser.post("/chat/messages", data={**data, "text": "second"}):  # after "back"
        pass
    assert [m.text for m in site.conversations.accepted] == ["first", "second"]


async def test_a_button_is_pressed_once(site, browser):
    async with browser.post("/chat/messages", data={"text": "hi"}, headers=SCRIPT):
        pass
    reply = Reply("plan", (Paragraph((Text("?"),)),), ((Button("好", "v1:plan:yes:3"),),))
    await site.say(site.address, reply)
    async with browser.get("/chat") as page:
        text = await page.text()
    form = text[text.index('<form method="post" action="/chat/messages"><input') :]
    message_id = form.split('name="id" value="')[1].split('"')[0]
    for _ in range(2):
        data = {"id": message_id, "button": "v1:plan:yes:3"}
        async with browser.post("/chat/messages", data=data) as page:
            assert 'value="v1:plan:yes:3"' not in await page.text()  # it has been answered
    assert [m.button for m in site.conversations.accepted] == [None, "v1:plan:yes:3"]


@pytest.mark.parametrize(
    ("data", "status"),
    [
        ({"text": ""}, 400),
        ({"text": " \n\t"}, 400),
        ({"text": "\x00\x01"}, 400),
        ({"id": "not-an-id", "text": "x"}, 400),
        ({"button": "drop table"}, 400),
        ({"button": "v1:" + "a:" * 40 + "b"}, 400),
        ({"text": "字" * 20_001}, 413),
        ({"text": "x" * 200_000}, 413),
        ({f"f{n}": "x" for n in range(50)}, 400),
    ],
)
async def test_what_cannot_be_taken_is_refused_in_words(site, browser, data, status):
    async with browser.post("/chat/messages", data=data, headers=SCRIPT) as answer:
        assert answer.status == status
        assert (await answer.json())["message"]
    assert site.conversations.accepted == []


async def test_a_body_beyond_every_limit(site, browser):
    headers = {**SCRIPT, "Content-Type": "application/x-www-form-urlencoded"}
    body = BytesIO(b"text=" + b"x" * 2_000_000)
    async with browser.post("/chat/messages", data=body, headers=headers) as answer:
        assert answer.status == 413
        assert (await answer.json())["message"]
    assert site.conversations.accepted == []


async def test_a_text_of_exactly_the_limit_is_taken(site, browser):
    async with browser.post(
        "/chat/messages", data={"text": "字" * 20_000}, headers=SCRIPT
    ) as answer:
        assert answer.status == 202


async def test_too_long_says_how_long_in_both_languages(browser):
    for language, word in (("zh-CN", "20001 个字"), ("en", "20001 characters")):
        headers = {**SCRIPT, "Accept-Language": language}
        async with browser.post(
            "/chat/messages", data={"text": "x" * 20_001}, headers=headers
        ) as answer:
            assert word in (await answer.json())["message"]


async def test_nul_and_broken_characters_are_cleaned(site, browser):
    body = b"text=a%00b%ED%A0%80c%FFd&id="
    headers = {**SCRIPT, "Content-Type": "application/x-www-form-urlencoded"}
    async with browser.post("/chat/messages", data=body, headers=headers) as answer:
        assert answer.status == 202
    text = site.conversations.accepted[0].text
    assert text.startswith("ab")
    assert text.endswith("d")
    text.encode("utf-8")


async def test_other_bodies_are_refused(browser):
    async with browser.post("/chat/messages", json={"text": "x"}) as answer:
        assert answer.status == 415
    async with browser.post("/chat/photos", data={"photo": "x"}) as answer:
        assert answer.status == 415


async def test_foreign_pages_may_not_post(site, browser):
    for headers in (
        {"Origin": "https://evil.test"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Origin": "null"},
    ):
        for path in ("/chat/messages", "/chat/photos", "/chat/preferences"):
            async with browser.post(path, data={"text": "x"}, headers=headers) as answer:
                assert answer.status == 403
    assert site.conversations.accepted == []
    async with browser.post(
        "/chat/messages", data={"text": "x"}, headers={**SCRIPT, "Origin": site.base}
    ) as answer:
        assert answer.status == 202


async def test_without_a_session_nothing_is_taken(site):
    async with (
        aiohttp.ClientSession(site.base) as nobody,
        nobody.post("/chat/messages", data={"text": "x"}, headers=SCRIPT) as answer,
    ):
        assert answer.status == 401
    assert site.conversations.accepted == []


async def test_a_store_that_is_down_asks_to_try_again(site, browser):
    site.conversations.down = True
    async with browser.post("/chat/messages", data={"text": "x"}, headers=SCRIPT) as answer:
        assert answer.status == 503
        assert int(answer.headers["Retry-After"]) > 0


async def test_a_flood_is_slowed(site, browser, stranger):
    for n in range(60):
        async with browser.post("/chat/messages", data={"text": str(n)}, headers=SCRIPT) as answer:
            assert answer.status == 202
    async with browser.post("/chat/messages", data={"text": "x"}, headers=SCRIPT) as answer:
        assert answer.status == 429
        assert 1 <= int(answer.headers["Retry-After"]) <= 61
    async with stranger.post("/chat/messages", data={"text": "x"}, headers=SCRIPT) as answer:
        assert answer.status == 202
    site.clock.ms += 60_001
    async with browser.post("/chat/messages", data={"text": "x"}, headers=SCRIPT) as answer:
        assert answer.status == 202


async def test_a_photo_becomes_an_attachment_once(site, browser):
    fields = {"id": str(uuid4()), "album": str(uuid4())}
    for _ in range(2):
        async with browser.post(
            "/chat/photos", data=photo_form(**fields), headers=SCRIPT
        ) as answer:
            assert answer.status == 202
    (message,) = site.conversations.accepted
    (photo,) = message.attachments
    assert photo.kind is AttachmentKind.PHOTO
    assert photo.size_bytes == len(JPEG)
    assert photo.name == "eye.jpg"
    assert await site.chat.fetch(photo, limit_bytes=MEBIBYTE) == JPEG
    assert message.album_id == fields["album"]
    assert message.message_id == fields["id"]


async def test_a_photo_without_script_leads_back(site, browser):
    async with browser.post("/chat/photos", data=photo_form(), allow_redirects=False) as answer:
        assert answer.status == 303
    assert len(site.conversations.accepted) == 1


@pytest.mark.parametrize("announced", [True, False])
async def test_a_photo_over_the_limit_is_refused_in_words(site, browser, announced):
    with aiohttp.MultipartWriter("form-data") as form:
        part = form.append(BytesIO(b"\xff\xd8\xff" + b"x" * (MEBIBYTE + 100_000)))
        part.set_content_disposition("form-data", name="photo", filename="a.jpg")
    chunked = None if announced else True
    async with browser.post("/chat/photos", data=form, headers=SCRIPT, chunked=chunked) as answer:
        assert answer.status == 413
        assert "1 MB" in (await answer.json())["message"]
    assert site.blobs.files == {}
    assert site.conversations.accepted == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"nothing like multipart",
        b"--b\r\n",
        b"--b\r\n\r\nno headers",
        b"--b\r\nContent-Disposition: form-data; name=photo; filename=a\r\n\r\ncut off",
        b"--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n\r\nx\r\n--c--\r\n",
        b"--b\r\nContent-Disposition: form-data; name=photo; filename=a\r\n\r\n\r\n--b--\r\n",
        b'--b\r\nContent-Disposition: form-data; name="f"\r\n\r\nx\r\n' * 50 + b"--b--\r\n",
        b"--b\r\n\xff\xfe: \x00\r\n\r\nx\r\n--b--\r\n",
    ],
)  # fmt: skip
async def test_malformed_multipart_is_a_clear_refusal(site, browser, body):
    headers = {**SCRIPT, "Content-Type": "multipart/form-data; boundary=b"}
    async with browser.post("/chat/photos", data=body, headers=headers) as answer:
        assert answer.status == 400
        assert (await answer.json())["message"]
    assert site.conversations.accepted == []


async def test_multipart_without_a_boundary(browser):
    headers = {**SCRIPT, "Content-Type": "multipart/form-data"}
    async with browser.post("/chat/photos", data=b"x", headers=headers) as answer:
        assert answer.status == 400


async def test_a_sender_who_hangs_up_leaves_nothing(site, browser):
    _reader, writer = await asyncio.open_connection("127.0.0.1", site.server.port)
    cookies = browser.cookie_jar.filter_cookies(aiohttp.client.URL(site.base))
    cookie = "; ".join(f"{c.key}={c.value}" for c in cookies.values())
    head = (
        "POST /chat/photos HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n"
        f"Content-Length: 5000\r\nCookie: {cookie}\r\n\r\n--b\r\n"
        'Content-Disposition: form-data; name="photo"; filename="a"\r\n\r\nhalf a pho'
    )
    writer.write(head.encode())
    await writer.drain()
    await asyncio.sleep(0.05)
    writer.close()
    await asyncio.sleep(0.05)
    assert site.blobs.files == {}
    assert site.conversations.accepted == []
