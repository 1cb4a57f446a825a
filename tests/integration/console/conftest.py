"""The staff console on a real socket, over a store in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import aiohttp
import pytest

from adapters.console.passwords import Passwords
from adapters.console.ports import Staff, StaffTask
from adapters.console.settings import ConsoleSettings
from adapters.console.site import console_routes
from adapters.http.server import HttpServer
from core.urgency import Urgency
from tests.fakes.console_fakes import FakeRecalls, FakeStaff, FakeWorklist
from tests.fakes.core_fakes import FakeClock

PASSWORD = "正确的 horse battery"
CHEAP = ConsoleSettings(argon2_memory_kib=64, argon2_passes=1)
HOSTILE = "<script>alert(1)</script>"


@dataclass
class Clinic:
    clock: FakeClock
    staff: FakeStaff
    worklist: FakeWorklist
    recalls: FakeRecalls
    server: HttpServer

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.server.port}"


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


async def start_clinic() -> tuple[Clinic, Passwords]:
    clock, staff, passwords = FakeClock(), FakeStaff(), Passwords(CHEAP)
    staff.accounts["wang"] = Staff(7, "王护士", passwords.hash(PASSWORD))
    worklist, recalls = FakeWorklist(staff), FakeRecalls()
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
        accounts=staff,
        sessions=staff,
        worklist=worklist,
        recalls=recalls,
        attendance=recalls,
        passwords=passwords,
        clock=clock,
    )
    server = HttpServer("127.0.0.1", 0, routes, shutdown_timeout_s=1)
    await server.start()
    return Clinic(clock, staff, worklist, recalls, server), passwords


@pytest.fixture
async def clinic() -> AsyncIterator[Clinic]:
    clinic, passwords = await start_clinic()
    yield clinic
    await clinic.server.stop()
    passwords.close()


@pytest.fixture
async def browser(clinic: Clinic) -> AsyncIterator[aiohttp.ClientSession]:
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(clinic.base, cookie_jar=jar) as session:
        yield session


@pytest.fixture
async def nurse(clinic: Clinic, browser: aiohttp.ClientSession) -> aiohttp.ClientSession:
    """A browser that is logged in."""
    async with browser.post(
        "/console/login", data={"account": " Wang ", "password": PASSWORD}
    ) as page:
        assert page.url.path == "/console"
    return browser
