"""Every screen of the console and the web chat: which route draws it, and how a browser gets there.

The tests that look at all screens go through this table, and one of them compares it with the
routers: a new page without a line here fails.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from aiohttp import web
from playwright.async_api import BrowserContext, Page, expect
from sqlalchemy import update

from adapters.http.server import HttpServer
from adapters.webchat.channel import WebChat
from adapters.webchat.links import StoredLinks
from adapters.webchat.settings import WebChatSettings
from core.message import Address, Attachment, AttachmentKind, Inbound
from core.ports import Health
from core.reply import Bold, Bullets, Button, Heading, Link, Paragraph, Reply, Text
from core.store.due import take_due
from core.store.keyring import load_or_create
from core.store.store import Store
from core.store.tables import staff
from migrations.schema import create
from tests.fakes.attendance import some_plans
from tests.fakes.core_fakes import FakeBlobs, FakeClock, FakeConversations
from tests.fakes.recalls import some_recalls
from tests.fakes.recordings import wav
from tests.fakes.takeover_world import HERE
from tests.fakes.waiting import until
from tests.integration.bedside.conftest import PHOTO, open_clinic
from tests.integration.console.conftest import PASSWORD, start_clinic
from tests.integration.console.test_calendar import fill as fill_calendar
from tests.integration.console.test_running import fill, fill_readings
from tests.integration.webchat.conftest import Site

# What answers a GET and is no page: parts, files, streams, addresses that only lead on.
NO_PAGES = {
    "/",
    "/chat/document/{id}",
    "/chat/manifest.webmanifest",
    "/chat/photo/{blob}",
    "/chat/static/{digest}/{name}",
    "/chat/stream",
    "/chat/voice/{blob}",
    "/console/static/{digest}/{name}",
    "/console/worker.js",
    "/static/{digest}/{name}",
}
_EMERGENCY = Reply(
    "emergency",
    (
        Paragraph((Text("眼睛突然看不见可能是急症。"), Bold("请现在就去眼科急诊。"))),
        Bullets(((Text("不要自己开车"),), (Text("不要揉眼睛"),))),
        Paragraph((Link("拨打 120", "tel:120"),)),
    ),
    ((Button("需要人工帮助", "v1:staff:ask"),),),
)
_PLAN = Reply(
    "plan",
    (Heading("复查"), Paragraph((Text("12月6日提醒您去复查，可以吗？"),))),
    ((Button("可以", "v1:plan:yes:1"), Button("换个日子", "v1:plan:other:1")),),
)


@dataclass
class Place:
    """Somewhere to look: a server with something in it, and what stands behind it."""

    base: str
    behind: Any
    routes: set[str]


@dataclass(frozen=True)
class Screen:
    """One screen.

    Attributes:
        route: the router's path of the page, so that none can be forgotten.
        name: of the picture.
        show: brings the browser there.
        is_first: what somebody sees first who follows an address; its weight and its time on a
            slow line are measured.
    """

    route: str
    name: str
    show: Callable[[Place, Page], Awaitable[None]]
    is_first: bool = True


def pages_of(server: HttpServer) -> set[str]:
    """Return the paths that a server answers with a page."""
    routes = server._runner.app.router.routes()  # type: ignore[union-attr]
    found = {r.resource.canonical for r in routes if r.method == "GET" and r.resource}
    return {path for path in found if path not in NO_PAGES}


def at(path: str, status: int = 200) -> Callable[[Place, Page], Awaitable[None]]:
    async def show(place: Place, page: Page) -> None:
        answer = await page.goto(f"{place.base}{path}", wait_until="load")
        assert answer is not None
        assert answer.status == status, path

    return show


async def enter(place: Place, page: Page, account: str, password: str = PASSWORD) -> None:
    """Log in from anywhere, whoever was logged in before."""
    await page.context.clear_cookies(name="oc_staff")
    await page.goto(f"{place.base}/console/login")
    await page.fill("#account", account)
    await page.fill("#password", password)
    await page.keyboard.press("Enter")
    await page.wait_for_url(lambda url: not url.endswith("/login"))


# ---- the console


async def _login(place: Place, page: Page) -> None:
    await page.context.clear_cookies(name="oc_staff")
    await page.goto(f"{place.base}/console/login")


async def _wrong_password(place: Place, page: Page) -> None:
    await _login(place, page)
    await page.fill("#account", "nobody")
    await page.fill("#password", "wrong")
    await page.keyboard.press("Enter")
    await expect(page.locator("[role=alert]")).to_be_visible()


async def _must_change(place: Place, page: Page) -> None:
    owes = update(staff).where(staff.c.account == "li")
    await place.behind.execute(owes.values(must_change=True))
    await enter(place, page, "li")
    await expect(page.locator("#new")).to_be_visible()
    await place.behind.execute(owes.values(must_change=False))


async def _as_admin(place: Place, page: Page) -> None:
    await enter(place, page, "zhao")
    await expect(page.locator(".task").first).to_be_visible()


async def _not_allowed(place: Place, page: Page) -> None:
    await enter(place, page, "wang")
    await page.goto(f"{place.base}/console/settings")
    await enter(place, page, "zhao")
    await page.goto(f"{place.base}/console/patients/99999")


def _channel_login(state: str, *, wrong: bool = False) -> Callable[[Place, Page], Awaitable[None]]:
    async def show(place: Place, page: Page) -> None:
        view = place.behind.login.view
        view.state, view.wrong_code = state, wrong
        await page.goto(f"{place.base}/console/channels")
        await expect(page.locator("#login")).to_be_visible()
        view.state, view.wrong_code = "idle", False

    return show


_digits = _channel_login("code_needed", wrong=True)


async def _added(place: Place, page: Page) -> None:
    await page.goto(f"{place.base}/console/staff")
    await page.locator("details.card > summary").click()
    await page.fill("#account", f"new{place.behind.clock.ms}")
    place.behind.clock.ms += 1
    await page.fill("#name", "孙护士")
    await page.locator("details.card button").click()
    await expect(page.locator(".given .secret")).to_be_visible()


async def _without_a_line(place: Place, page: Page) -> None:
    """Open the list of calls as the phone of a clinic has kept it, with a note that waits."""
    await page.goto(f"{place.base}/console/account")
    if await page.locator("#trust").count():
        await page.fill("#trust", PASSWORD)
        await page.locator("#phone .fields button").click()
    await page.goto(f"{place.base}/console/recalls")
    kept = """async () => Boolean(navigator.serviceWorker.controller
        && await caches.match('/console/recalls', {cacheName: 'console-kept'}))"""
    await until(lambda: page.evaluate(kept), "the list is kept")
    await page.context.set_offline(True)
    await page.goto(f"{place.base}/console/recalls")
    await expect(page.locator("#kept")).to_be_visible()
    await page.fill("#words-1", "没人接")
    await page.locator("#recall-1 .recall button").first.click()
    await expect(page.locator(".queued")).to_be_visible()


async def _line_is_back(place: Place, page: Page) -> None:
    await page.context.set_offline(False)
    await page.goto(f"{place.base}/console/attendance")


CONSOLE = (
    Screen("/console/login", "login", _login),
    Screen("/console/login", "login-wrong", _wrong_password, is_first=False),
    Screen("/console/account", "account-first-password", _must_change, is_first=False),
    Screen("/console", "today", _as_admin),
    Screen("/console/recalls", "recalls", at("/console/recalls")),
    Screen("/console/calendar", "calendar", at("/console/calendar")),
    Screen("/console/attendance", "attendance", at("/console/attendance")),
    Screen("/console/insight", "insight", at("/console/insight")),
    Screen("/console/channels", "channels", _channel_login("idle")),
    Screen("/console/channels", "channels-waits", _channel_login("waiting"), is_first=False),
    Screen(
        "/console/channels", "channels-digits", _channel_login("code_needed", wrong=True), False
    ),
    Screen("/console/settings", "settings", at("/console/settings")),
    Screen("/console/staff", "staff", at("/console/staff")),
    Screen("/console/staff", "staff-added", _added, is_first=False),
    Screen("/console/audit", "audit", at("/console/audit")),
    Screen("/console/account", "account", at("/console/account")),
    Screen("/console/account/codes", "codes", at("/console/account/codes")),
    Screen("/console/settings", "not-allowed", _not_allowed, is_first=False),
    Screen("/console/recalls", "recalls-offline", _without_a_line, is_first=False),
    Screen("/console/attendance", "line-is-back", _line_is_back, is_first=False),
)


async def _result(place: Place, page: Page) -> None:
    await page.goto(f"{place.base}{place.behind.result_path}", wait_until="load")


BEDSIDE = (
    Screen("/console/patients", "patients", at("/console/patients")),
    Screen("/console/patients/{patient}", "patient", at("/console/patients/1")),
    Screen("/console/conversations/{conversation}", "conversation", at("/console/conversations/1")),
    Screen("/console/photos/{photo}", "photo", at("/console/photos/3")),
    Screen("/console/voices/{voice}", "voice", at("/console/voices/1")),
    Screen("/console/new-photo", "new-photo", at("/console/new-photo")),
    Screen("/console/results/{visit}", "result", _result),
)


# ---- the web chat


async def _conversation(place: Place, page: Page) -> None:
    await page.goto(f"{place.base}/chat")
    await page.fill("#text", "右眼突然看不见了")
    await page.click(".send")
    await expect(page.locator("#log .patient")).not_to_have_count(0)
    for reply in (_EMERGENCY, _PLAN):
        await place.behind.say(place.behind.address, reply)
    await expect(page.locator(".plan button").first).to_be_visible()


async def _chat_offline(place: Place, page: Page) -> None:
    await page.goto(f"{place.base}/chat")
    await page.context.set_offline(True)
    await page.fill("#text", "还在吗")
    await page.click(".send")
    await expect(page.locator(".state.failed").first).to_be_visible()
    await expect(page.locator("#connection")).to_be_visible()


async def _chat_back(place: Place, page: Page) -> None:
    await page.context.set_offline(False)
    await page.goto(f"{place.base}/chat/link")


async def _link(place: Place, page: Page) -> None:
    await page.goto(f"{place.base}/chat/link")
    await page.click('form[action="/chat/link"] button')
    await expect(page.locator("#link")).to_be_visible()


async def _continue(place: Place, page: Page) -> None:
    await _link(place, page)
    link = await page.input_value("#link")
    place.behind.owner = (await page.context.cookies(place.base), link)
    await page.context.clear_cookies(name="oc_chat")
    await page.goto(link)
    await expect(page.locator("form button")).to_be_visible()


async def _logged_out(place: Place, page: Page) -> None:
    """Come in by the link, and have it taken back by who made it."""
    own, link = place.behind.owner
    await page.goto(link)
    await page.click("form button")
    guest = await page.context.cookies(place.base)
    await page.context.clear_cookies(name="oc_chat")
    await page.context.add_cookies([c for c in own if c["name"] == "oc_chat"])
    await page.goto(f"{place.base}/chat/link")
    await page.click('form[action="/chat/link/end"] button')
    await page.context.clear_cookies(name="oc_chat")
    await page.context.add_cookies([c for c in guest if c["name"] == "oc_chat"])
    await page.goto(f"{place.base}/chat")
    await expect(page.locator("main > .notice[role=status]")).to_be_visible()


_no_link = at("/chat/continue/none", 404)

CHAT = (
    Screen("/chat", "chat-welcome", at("/chat")),
    Screen("/chat", "chat", _conversation),
    Screen("/chat", "chat-offline", _chat_offline, is_first=False),
    Screen("/chat/link", "chat-link", _chat_back),
    Screen("/chat/link", "chat-link-made", _link, is_first=False),
    Screen("/chat/continue/{secret}", "chat-continue", _continue),
    Screen(
        "/chat/continue/{secret}", "chat-link-over", at("/chat/continue/none", 404), is_first=False
    ),
    Screen("/chat", "chat-logged-out", _logged_out, is_first=False),
)


@asynccontextmanager
async def console_place() -> AsyncIterator[Place]:
    """A clinic with calls, plans, queues and readings."""
    clinic = await start_clinic()
    clinic.parts.found.append(Health("fundus", True, facts={"model": "shipped-3"}))
    today = datetime.fromtimestamp(clinic.clock.now_ms() / 1000, UTC).date()
    some_recalls(clinic, "好的，我问问家里人")
    clinic.recalls.plans = some_plans(today)
    await fill_calendar(clinic, after=50)
    await fill(clinic)
    await fill_readings(clinic)
    try:
        yield Place(clinic.base, clinic, pages_of(clinic.server))
    finally:
        await clinic.close()


@asynccontextmanager
async def bedside_place() -> AsyncIterator[Place]:
    """A clinic with a patient who wrote, sent photos and spoke."""
    with TemporaryDirectory() as folder:
        async with open_clinic(Path(folder)) as clinic:
            w = clinic.world
            await w.write("p", "我有糖尿病十年了，最近看东西有点模糊", sender_name="张奶奶")
            await w.settle()
            for eye in ("右眼", "左眼", "右眼"):
                w.clock.ms += 86_400_000
                await w.write("p", eye, PHOTO.read_bytes())
                await w.settle()
            w._sequence += 1
            w.messenger.files["voice"] = wav(7_000)
            note = Attachment(AttachmentKind.VOICE, "voice")
            where = Address(*HERE, "p")
            await w.intake.accept([Inbound(where, f"m{w._sequence}", w._sequence, "", (note,))])
            await w.settle()
            w.clock.ms += 1_000
            await w.store.write(take_due, w.clock.ms)
            await w.dispatcher.claim_waiting()
            await w.settle()
            yield Place(clinic.base, clinic, pages_of(clinic.server))


@asynccontextmanager
async def chat_place() -> AsyncIterator[Place]:
    """The web chat with links."""
    with TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/links.db"
        create(url)
        store = Store(url, load_or_create(Path(folder) / "keys.json"))
        clock, blobs = FakeClock(), FakeBlobs()
        conversations = FakeConversations(clock)
        links = StoredLinks(store, clock, days=180)
        chat = WebChat(
            WebChatSettings(), history=conversations, blobs=blobs, clock=clock, links=links
        )
        routes: list[web.RouteDef] = chat.routes(conversations)
        server = HttpServer("127.0.0.1", 0, routes, shutdown_timeout_s=1)
        await server.start()
        try:
            yield Place(
                f"http://127.0.0.1:{server.port}",
                Site(clock, conversations, blobs, chat, server),
                pages_of(server),
            )
        finally:
            await server.stop()
            store.close()


async def ready_bedside(place: Place, context: BrowserContext) -> Page:
    """Log a doctor in, and have somebody at the clinic photographed once."""
    page = await context.new_page()
    page.set_default_timeout(60_000)
    await enter(place, page, "li")
    if not getattr(place.behind, "has_result", False):
        await page.goto(f"{place.base}/console/new-photo")
        await page.fill("#name", "刘大爷")
        await page.set_input_files("#camera_OD", PHOTO)
        await page.locator("input[name=consent]").check()
        await page.locator("#new-photo .primary").click()
        await expect(page.locator(".report")).to_have_count(1)
        place.behind.has_result = True
        place.behind.result_path = page.url.removeprefix(place.base)
    return page
