"""A clinic with patients: the whole core behind the console, on real sockets."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import aiohttp
import pytest
from aiohttp import web
from sqlalchemy import select, update

from adapters.console import site
from adapters.console.guard import guarded
from adapters.console.live import LiveToday
from adapters.console.login import Login
from adapters.console.passwords import Passwords
from adapters.console.patient_desk import PatientDesk
from adapters.console.patient_site import Bedside, patient_routes
from adapters.console.session import Doorkeeper
from adapters.console.settings import ConsoleSettings
from adapters.console.staff_desk import StaffRoll
from adapters.console.today import Today
from adapters.console.walk_in import ConsoleChannel, WalkIns
from adapters.http.pages import environment
from adapters.http.server import HttpServer
from adapters.http.static import StaticFiles
from core.errors import PatientError
from core.message import Language
from core.reading import CONDITIONS, Area, Areas, Eye, Finding, Reading
from core.store.tables import audit, staff
from tests.fakes.console_fakes import FakeWorklist
from tests.fakes.takeover_world import SlowAssistant, World, world

PASSWORD = "正确的 horse battery"
CHEAP = ConsoleSettings(argon2_memory_kib=64, argon2_passes=1)
HOSTILE = "<script>alert(1)</script>"
PHOTO = Path(__file__).parents[2] / "fixtures" / "fundus" / "idrid_grade2.jpg"
# Of PHOTO, which is 512 x 427 px.
AREAS = Areas(
    512,
    427,
    ((0, 213), (76, 40), (256, 0), (436, 40), (512, 213), (436, 390), (256, 427), (76, 390)),
    (Area("dr", (((120, 200), (200, 190), (210, 280), (130, 290)),)),),
)
_TOKEN = re.compile(r'name="form_token" value="([0-9a-f]{64})"')
_FORM = re.compile(r'name="form_id" value="([0-9a-f]{32})"')


class StillReader:
    """A fundus reader that always says the same, in no time."""

    async def read(self, photo: bytes, *, language: Language, eye: Eye | None = None) -> Reading:
        if not photo.startswith(b"\xff\xd8"):
            raise PatientError("fundus.not_a_picture")
        findings = tuple(
            Finding(c, "refer" if c == "dr" else "negative", 0.83 if c == "dr" else 0.04, "still 1")
            for c in CONDITIONS
        )
        return Reading(
            "assessed",
            findings,
            2,
            eye,
            0.99,
            0.95,
            (),
            "still 1",
            "none",
            100,
            100,
            PHOTO.read_bytes(),
            areas=AREAS,
        )

    async def clean(self, photo: bytes) -> bytes:
        return photo


@dataclass
class Clinic:
    world: World
    server: HttpServer
    walk_ins: WalkIns

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.server.port}"

    def audited(self) -> list[tuple[str, int | None]]:
        with self.world.store._read_engine.connect() as connection:
            return [
                (row.what, row.patient_id)
                for row in connection.execute(select(audit).order_by(audit.c.id))
            ]


def _routes(w: World, bedside: Bedside, passwords: Passwords) -> list[web.RouteDef]:
    """Return the pages about patients and the way in to them."""
    here = Path(site.__file__).parent
    static = StaticFiles(here / "static", "/console/static")
    templates = environment(here / "templates", static_url=static.url)
    roll = StaffRoll(w.store)
    doorkeeper = Doorkeeper(roll, CHEAP, w.clock)
    login = Login(
        settings=CHEAP,
        accounts=roll,
        codes=roll,
        audit=roll,
        passwords=passwords,
        doorkeeper=doorkeeper,
        templates=templates,
        clock=w.clock,
    )
    worklist = FakeWorklist({1: "王护士", 2: "李医生"})
    today = Today(settings=CHEAP, worklist=worklist, templates=templates, clock=w.clock)
    live = LiveToday(worklist=worklist, rows=today, doorkeeper=doorkeeper, clock=w.clock)
    routes = [
        *patient_routes(CHEAP, bedside, templates, w.clock),
        web.get("/console", today.get),
        web.get("/console/tasks", today.tasks),
        web.get("/console/live", live.get),
        web.post("/console/preferences", today.preferences),
        web.get("/console/login", login.form),
        web.post("/console/login", login.post),
        *static.routes(),
    ]
    return guarded(routes, doorkeeper, roll, w.clock)


@asynccontextmanager
async def open_clinic(folder: Path) -> AsyncIterator[Clinic]:
    async with world(folder, assistant=SlowAssistant(), reader=StillReader()) as w:
        channel = ConsoleChannel(w.blobs, max_bytes=5_000_000)
        w.dispatcher._handle._channels[("console", "clinic")] = channel  # type: ignore[attr-defined]
        passwords = Passwords(CHEAP)
        hashed = passwords.hash(PASSWORD)

        def give_passwords(connection, _arguments):
            for number, (account, role) in enumerate((("wang", "nurse"), ("li", "doctor")), 1):
                connection.execute(
                    update(staff)
                    .where(staff.c.id == number)
                    .values(account=account, role=role, password_hash=hashed)
                )
            return [None]

        await w.store.write(give_passwords, None)
        walk_ins = WalkIns(w.store, w.blobs, w.intake, w.clock, "Asia/Shanghai")
        desk = PatientDesk(w.store, w.blobs, "Asia/Shanghai", "zh-Hans")
        bedside = Bedside(
            desk,
            w.takeovers,
            walk_ins,
            lambda version: {"dr": (0.2, 0.6)} if version == "still 1" else {},
            5_000_000,
        )
        server = HttpServer("127.0.0.1", 0, _routes(w, bedside, passwords), shutdown_timeout_s=1)
        await server.start()
        yield Clinic(w, server, walk_ins)
        await server.stop()
        passwords.close()


@asynccontextmanager
async def signed_in(clinic: Clinic, account: str) -> AsyncIterator[aiohttp.ClientSession]:
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(clinic.base, cookie_jar=jar) as session:
        fields = {"account": account, "password": PASSWORD}
        async with session.post("/console/login", data=fields) as page:
            assert page.status == 200
        yield session


@pytest.fixture
async def clinic() -> AsyncIterator[Clinic]:
    with TemporaryDirectory() as folder:
        async with open_clinic(Path(folder)) as found:
            yield found


@pytest.fixture
async def nurse(clinic: Clinic) -> AsyncIterator[aiohttp.ClientSession]:
    async with signed_in(clinic, "wang") as session:
        yield session


@pytest.fixture
async def doctor(clinic: Clinic) -> AsyncIterator[aiohttp.ClientSession]:
    async with signed_in(clinic, "li") as session:
        yield session


async def opened(browser: aiohttp.ClientSession, path: str, status: int = 200) -> str:
    """Return a page."""
    async with browser.get(path) as answer:
        assert answer.status == status, await answer.text()
        return await answer.text()


async def form_on(browser: aiohttp.ClientSession, path: str) -> dict[str, str]:
    """Return the tokens that the forms of a page carry."""
    page = await opened(browser, path)
    fields = {"form_token": _TOKEN.findall(page)[0]}
    if found := _FORM.findall(page):
        fields["form_id"] = found[0]
    return fields
