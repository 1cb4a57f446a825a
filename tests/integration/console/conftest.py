"""The staff console on a real socket, over a store in memory."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import aiohttp
import pytest
from sqlalchemy import Connection, Executable, Table, select

from adapters.console.calendar_desk import CalendarDesk
from adapters.console.channels import StoredQueues
from adapters.console.insight_page import StoredInsights
from adapters.console.passwords import Passwords
from adapters.console.ports import StaffTask
from adapters.console.settings import ConsoleSettings
from adapters.console.site import console_routes
from adapters.console.staff_desk import StaffRoll
from adapters.http.server import HttpServer
from core.clinic import put_in_force
from core.clinic_book import StoredClinic
from core.followup.calendar import ALWAYS_OPEN, OpenDays
from core.store.keyring import load_or_create
from core.store.staff import NewStaff, add_staff, list_members
from core.store.store import Store
from core.store.tables import audit, staff_session
from core.urgency import Urgency
from migrations.schema import create
from tests.fakes.bedside import quiet_bedside
from tests.fakes.console_fakes import FakeLogin, FakeParts, FakeRecalls, FakeWorklist
from tests.fakes.core_fakes import FakeClock

PASSWORD = "正确的 horse battery"
CHEAP = ConsoleSettings(argon2_memory_kib=64, argon2_passes=1)
HOSTILE = "<script>alert(1)</script>"


# Accounts of every clinic: login name, name, role; all with the same password.
STAFF = (("wang", "王护士", "nurse"), ("li", "李医生", "doctor"), ("zhao", "赵主任", "admin"))


@dataclass
class Clinic:
    clock: FakeClock
    store: Store
    ids: dict[str, int]
    worklist: FakeWorklist
    recalls: FakeRecalls
    parts: FakeParts
    login: FakeLogin
    server: HttpServer
    passwords: Passwords
    folder: TemporaryDirectory[str]

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.server.port}"

    async def sessions(self) -> list[dict[str, Any]]:
        return await self.rows(staff_session)

    async def audited(self) -> list[str]:
        return [row["what"] for row in await self.rows(audit)]

    async def rows(self, table: Table) -> list[dict[str, Any]]:
        def read(connection: Connection, _argument: None) -> list[dict[str, Any]]:
            return [dict(row) for row in connection.execute(select(table)).mappings()]

        return await self.store.read(read, None)

    async def execute(self, statement: Executable) -> None:
        def write(connection: Connection, statements: Sequence[Executable]) -> list[None]:
            return [connection.execute(each) and None for each in statements]

        await self.store.write(write, statement)

    async def close(self) -> None:
        await self.server.stop()
        self.passwords.close()
        self.store.close()
        self.folder.cleanup()
        put_in_force({})


@cache
def _empty_database() -> bytes:
    with TemporaryDirectory() as folder:
        file = Path(folder) / "empty.db"
        create(f"sqlite:///{file}")
        return file.read_bytes()


async def _with_staff(
    folder: str, passwords: Passwords, now_ms: int
) -> tuple[Store, dict[str, int]]:
    file = Path(folder) / "clinic.db"
    file.write_bytes(_empty_database())
    store = Store(f"sqlite:///{file}", load_or_create(Path(folder) / "keys.json"))
    hashed = passwords.hash(PASSWORD)
    for account, name, role in STAFF:
        member = NewStaff(account, name, hashed, now_ms, role, must_change=False)
        await store.write(add_staff, member)
    members = await store.read(list_members, None)
    return store, {member["account"]: member["id"] for member in members}


def a_task(task_id: int, **fields) -> StaffTask:
    now = FakeClock().now_ms()
    known = {
        "kind": "human",
        "urgency": Urgency.ROUTINE,
        "opened_at_ms": now - task_id * 60_000,
        "patient": f"P-{task_id}",
        "channel": "webchat",
        "summary": "请人工回复",
    }
    return StaffTask(task_id, **{**known, **fields})


async def start_clinic(open_days: OpenDays = ALWAYS_OPEN) -> Clinic:
    clock, passwords, folder = FakeClock(), Passwords(CHEAP), TemporaryDirectory()
    store, ids = await _with_staff(folder.name, passwords, clock.now_ms())
    names = {ids[account]: name for account, name, _ in STAFF}
    worklist, recalls, parts = FakeWorklist(names), FakeRecalls(), FakeParts()
    login = FakeLogin()
    for task in (
        a_task(1),
        a_task(2, kind="emergency", urgency=Urgency.IMMEDIATE, summary=f"突然看不见 {HOSTILE}"),
        a_task(3, kind="failed_delivery", urgency=Urgency.SAME_DAY, claimed_by="李医生"),
        a_task(
            4,
            kind="overdue_follow_up",
            urgency=Urgency.TWO_WEEKS,
            due_at_ms=clock.now_ms() - 3 * 86_400_000,
        ),
    ):
        worklist.tasks[task.id] = task
    routes = console_routes(
        CHEAP,
        roll=StaffRoll(store),
        worklist=worklist,
        recalls=recalls,
        attendance=recalls,
        calendar=CalendarDesk(store, clock, CHEAP.timezone),
        parts=parts,
        queues=StoredQueues(store),
        clinic=StoredClinic(store),
        insights=StoredInsights(store),
        passwords=passwords,
        bedside=quiet_bedside(store, clock),
        logins={"wechaty": login},
        open_days=open_days,
        clock=clock,
    )
    server = HttpServer("127.0.0.1", 0, routes, shutdown_timeout_s=1)
    await server.start()
    return Clinic(clock, store, ids, worklist, recalls, parts, login, server, passwords, folder)


@pytest.fixture
async def clinic() -> AsyncIterator[Clinic]:
    clinic = await start_clinic()
    yield clinic
    await clinic.close()


@pytest.fixture
async def browser(clinic: Clinic) -> AsyncIterator[aiohttp.ClientSession]:
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(clinic.base, cookie_jar=jar) as session:
        yield session


@asynccontextmanager
async def logged_in(clinic: Clinic, account: str) -> AsyncIterator[aiohttp.ClientSession]:
    """Give a browser of its own to somebody who has logged in."""
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(clinic.base, cookie_jar=jar) as session:
        async with session.post(
            "/console/login", data={"account": account, "password": PASSWORD}
        ) as page:
            assert page.url.path == "/console"
        yield session


@pytest.fixture
async def nurse(clinic: Clinic, browser: aiohttp.ClientSession) -> aiohttp.ClientSession:
    """A browser that is logged in."""
    async with browser.post(
        "/console/login", data={"account": " Wang ", "password": PASSWORD}
    ) as page:
        assert page.url.path == "/console"
    return browser


@pytest.fixture
async def admin(clinic: Clinic) -> AsyncIterator[aiohttp.ClientSession]:
    """A browser of an admin."""
    async with logged_in(clinic, "zhao") as session:
        yield session


async def form_token(browser: aiohttp.ClientSession, page: str = "/console") -> str:
    """Return the token that belongs into this browser's forms."""
    async with browser.get(page) as answer:
        found = re.search(r'name="form_token" value="(\w+)"', await answer.text())
    assert found
    return found[1]
