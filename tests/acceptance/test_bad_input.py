"""Whatever arrives is answered or refused in plain words; the service stays up and keeps quiet."""

from __future__ import annotations

import io
import itertools
import struct
import zlib
from urllib.parse import urlencode
from uuid import uuid4

import aiohttp
import pytest
import pytest_asyncio

from tests.acceptance.harness import INNARDS, ROOT, TOKEN, a_world
from tests.fakes.ports import free_port
from tests.fakes.recordings import opus
from tests.fakes.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

PHOTO = (ROOT / "tests/fixtures/fundus/idrid_grade2.jpg").read_bytes()
SECRET_WORDS = "王小明说的悄悄话"
SECRET_NAME = "zhangsan-report"
WEBHOOK_SECRET = "webhook_secret_of_the_tests"
_chats = itertools.count(3001)


def png_bomb(side: int = 50_000) -> bytes:
    """Return a valid PNG of side × side black pixels in a few hundred kB."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    packer = zlib.compressobj(9)
    row = bytes(1 + (side + 7) // 8)
    pixels = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory):
    """By webhook, so that the web server and its bad requests are part of it."""
    port = free_port()
    settings = {
        "SERVER__PORT": port,
        "TELEGRAM__MODE": "webhook",
        "TELEGRAM__WEBHOOK_URL": f"http://127.0.0.1:{port}/telegram/webhook",
        "TELEGRAM__WEBHOOK_SECRET": WEBHOOK_SECRET,
    }
    async with a_world(tmp_path_factory.mktemp("bad"), **settings) as world:
        await until(lambda: world.api.webhook.get("url"), "the webhook")
        yield world
        counts = await world.stop()
        assert counts.dead == 0
        log = world.service.log()
        assert "Traceback" not in log
        for secret in (SECRET_WORDS, SECRET_NAME, TOKEN, WEBHOOK_SECRET, "Person 3"):
            assert secret not in log


@pytest_asyncio.fixture(loop_scope="module")
async def world(running):
    yield running
    assert running.service.is_running


@pytest.fixture
def chat() -> int:
    return next(_chats)


async def words_back(world, chat: int) -> str:
    """Return what the person reads; it is never our innards."""
    await until(lambda: world.replies(chat), "an answer")
    await world.settled()
    text = "\n".join(call["text"] for call in world.replies(chat))
    assert not INNARDS.search(text), text
    return text


@pytest.mark.parametrize(
    ("data", "size", "said"),
    [
        (PHOTO, 30 * 1024 * 1024, "MB"),
        (PHOTO[: len(PHOTO) // 3], None, "没有传完整"),
        (b"", None, "空"),
        (b"%PDF-1.7\n" + SECRET_WORDS.encode() * 50, None, "不是能打开的照片"),
        (bytes(range(256)) * 40, None, "不是能打开的照片"),
        (png_bomb(), None, "像素太多"),
    ],
    ids=["30 MB", "truncated", "empty", "PDF named .jpg", "noise", "PNG bomb"],
)
@pytest.mark.parametrize("form", ["photo", "file"])
async def test_a_bad_photo_is_answered_with_what_to_do(world, chat, data, size, said, form):
    if form == "photo":
        world.api.user_photo(chat, data, size=size)
    else:
        world.api.user_document(chat, data, name=f"{SECRET_NAME}.jpg", size=size)
    assert said in await words_back(world, chat)


@pytest.mark.parametrize(
    "text",
    [
        f"\x00{SECRET_WORDS}\x00",
        f"{SECRET_WORDS}\ud800 眼睛\udfff",
        SECRET_WORDS * 500,
        "\u202e" + SECRET_WORDS + "\u0301" * 500,
        "<b>" + SECRET_WORDS + "</i> & <script>alert(1)</script>",
    ],
    ids=["NUL", "lone surrogates", "4,000 characters", "right to left", "markup"],
)
async def test_odd_text_is_answered(world, chat, text):
    world.api.user_text(chat, text)
    assert await words_back(world, chat)


async def test_things_we_cannot_read_are_answered(world, chat):
    world.api.user_sticker(chat)
    world.api.user_location(chat)
    await until(lambda: len(world.replies(chat)) == 2, "two answers")
    assert all("文字和照片" in call["text"] for call in world.replies(chat))


async def test_a_voice_note_is_answered_at_once_and_kept(world, chat):
    kept = {path for path in (world.service.data / "blobs").rglob("*") if path.is_file()}
    world.api.user_voice(chat, opus())
    words = await words_back(world, chat)
    assert "听不懂语音" in words
    assert "急诊" in words

    def is_kept() -> bool:
        return any(
            path.is_file() and not path.suffix
            for path in set((world.service.data / "blobs").rglob("*")) - kept
        )

    await until(is_kept, "the recording in a file of its own")


async def test_an_update_nobody_can_read_holds_up_nothing(world, chat):
    world.api.push({"message": {"message_id": "seven", "chat": SECRET_WORDS}})
    world.api.push({"message": {"message_id": 7}})
    world.api.push({"something_new": {"text": SECRET_WORDS}})
    world.api.user_text(chat, "/help")
    assert await words_back(world, chat)
    assert not world.api.updates


@pytest.mark.parametrize(
    ("secret", "body", "status"),
    [
        ("wrong", b'{"update_id": 1}', 403),
        (None, b'{"update_id": 1}', 403),
        ("错", b'{"update_id": 1}', 403),
        (WEBHOOK_SECRET, b"{", 400),
        (WEBHOOK_SECRET, b"\xff\xfe", 400),
        (WEBHOOK_SECRET, b"[" * 100_000, 400),
        (WEBHOOK_SECRET, b"[]", 400),
        (WEBHOOK_SECRET, b'{"update_id": "x"}', 400),
        (WEBHOOK_SECRET, b" " * 2_000_000, 413),
    ],
)
async def test_a_forged_or_broken_webhook_call_is_refused(world, secret, body, status):
    headers = {"X-Telegram-Bot-Api-Secret-Token": secret} if secret else {}
    url = f"{world.service.url}/telegram/webhook"
    async with (
        aiohttp.ClientSession() as session,
        session.post(url, data=io.BytesIO(body), headers=headers) as answer,
    ):
        assert answer.status == status
        assert not INNARDS.search(await answer.text())


@pytest_asyncio.fixture(loop_scope="module")
async def browser(world):
    headers = {"Accept": "application/json"}
    jar = aiohttp.CookieJar(unsafe=True)  # an address instead of a name
    async with aiohttp.ClientSession(world.service.url, headers=headers, cookie_jar=jar) as session:
        async with session.get("/chat") as page:
            assert page.status == 200
        yield session


def a_form(data: bytes, name: str = f"{SECRET_NAME}.jpg") -> aiohttp.FormData:
    form = aiohttp.FormData()
    form.add_field("id", str(uuid4()))
    form.add_field("photo", io.BytesIO(data), filename=name, content_type="image/jpeg")
    return form


async def test_web_chat_refuses_what_is_too_much_in_plain_words(browser):
    text = SECRET_WORDS * 25_000
    async with browser.post("/chat/messages", data={"text": text[:25_000]}) as answer:
        assert answer.status == 413
        assert "20000" in (await answer.text()).replace(",", "")
    body = io.BytesIO(urlencode({"text": text}).encode())
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    async with browser.post("/chat/messages", data=body, headers=kind) as answer:
        assert answer.status == 413
        assert not INNARDS.search(await answer.text())
    async with browser.post("/chat/photos", data=a_form(bytes(30 * 1024 * 1024))) as answer:
        assert answer.status == 413
        assert not INNARDS.search(await answer.text())


@pytest.mark.parametrize(
    "post",
    [
        {"path": "/chat/messages", "data": b"\xff\xfe\x00"},
        {"path": "/chat/messages", "data": {"text": "   "}},
        {"path": "/chat/messages", "data": {"button": SECRET_WORDS}},
        {"path": "/chat/messages", "data": {"id": "x", "text": "?"}},
        {"path": "/chat/photos", "data": {"photo": "text"}},
        {
            "path": "/chat/photos",
            "data": b"--x\r\nbroken",
            "headers": {"Content-Type": "multipart/form-data; boundary=x"},
        },
    ],
    ids=["bytes", "blank", "button", "id", "no file", "broken form"],
)
async def test_web_chat_answers_broken_requests_with_4xx(browser, post):
    async with browser.post(post["path"], **{k: v for k, v in post.items() if k != "path"}) as a:
        assert 400 <= a.status < 500
        assert a.status not in (401, 404)
        assert not INNARDS.search(await a.text())


async def test_web_chat_answers_nul_bytes_and_bad_photos(browser):
    async with browser.post("/chat/messages", data={"text": f"\x00{SECRET_WORDS}"}) as answer:
        assert answer.status == 202
    for data in (PHOTO[:5000], png_bomb(), b"%PDF-1.7 and more"):
        async with browser.post("/chat/photos", data=a_form(data)) as answer:
            assert answer.status == 202

    async def page() -> str:
        async with browser.get("/chat") as answer:
            return await answer.text()

    async def answered() -> bool:
        shown = await page()
        return all(said in shown for said in ("没有传完整", "像素太多", "不是能打开的照片"))

    await until(answered, "three answers on the page")
    assert "Traceback" not in await page()
