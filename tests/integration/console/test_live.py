"""The stream behind Today: what each viewer gets, when it ends, and that nobody means no work."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from adapters.console.guard import guarded
from adapters.console.live import LiveToday
from adapters.console.rights import Right
from adapters.console.session import Doorkeeper
from adapters.console.staff_desk import StaffRoll
from adapters.http.server import HttpServer
from core.errors import TransientError
from core.store.tables import staff_session
from core.urgency import Urgency
from tests.fakes.waiting import PATIENCE_S, until
from tests.integration.console.conftest import CHEAP, a_task, form_token, logged_in


class PlainRows:
    """Draws rows as a test can read them."""

    def digest(self, task) -> str:
        return f"{task.urgency}/{task.claimed_by}"

    def row(self, task, language, form_token) -> str:
        return f"{language} {task.id} {form_token}"

    def counts(self, counts, language) -> str:
        return language


@pytest.fixture
async def live(clinic) -> AsyncIterator[LiveToday]:
    """The stream on a server of its own, with short times."""
    roll = StaffRoll(clinic.store)
    doorkeeper = Doorkeeper(roll, CHEAP, clinic.clock)
    live = LiveToday(
        worklist=clinic.worklist,
        rows=PlainRows(),
        doorkeeper=doorkeeper,
        clock=clinic.clock,
        poll_s=0.02,
        ping_s=0.1,
    )
    rights = {"GET /console/live": Right("nurse", is_part=True)}
    routes = guarded([web.get("/console/live", live.get)], doorkeeper, roll, clinic.clock, rights)
    server = HttpServer("127.0.0.1", 0, routes, shutdown_timeout_s=1)
    await server.start()
    live.url = f"http://127.0.0.1:{server.port}/console/live"
    yield live
    await server.stop()


@asynccontextmanager
async def viewing(live, browser, language: str = "zh-Hans"):
    """Open a stream and return what reads its next event but pings."""
    headers = {"Cookie": f"oc_language={language}"}
    async with browser.get(live.url, headers=headers) as answer:
        assert answer.status == 200

        async def following() -> tuple[str, dict]:
            event = ""
            async with asyncio.timeout(PATIENCE_S):
                async for line in answer.content:
                    name, _, value = line.decode().rstrip("\n").partition(": ")
                    if name == "event":
                        event = value
                    if name == "data" and event not in ("ping", ""):
                        return event, json.loads(value) if value else {}
            raise AssertionError("the stream ended")

        yield following


async def test_only_what_changed_in_ones_own_language_with_ones_own_token(clinic, live):
    async with logged_in(clinic, "wang") as nurse, logged_in(clinic, "li") as doctor:
        tokens = [await form_token(nurse), await form_token(doctor)]
        async with (
            viewing(live, nurse) as to_nurse,
            viewing(live, doctor, "en") as to_doctor,
        ):
            event, first = await to_nurse()
            assert event == "tasks"
            assert [pair[0] for pair in first["order"]] == [2, 3, 4, 1]
            assert first["rows"] == {}
            await to_doctor()
            clinic.worklist.tasks[9] = a_task(9, kind="emergency", urgency=Urgency.IMMEDIATE)
            texts = []
            for following in (to_nurse, to_doctor):
                said = {"rows": {}}
                while not said["rows"]:  # a second language is drawn when its viewer comes
                    _, said = await following()
                assert list(said["rows"]) == ["9"]
                texts.append(said["rows"]["9"])
            assert texts == [f"zh-Hans 9 {tokens[0]}", f"en 9 {tokens[1]}"]
            del clinic.worklist.tasks[9]
            _, said = await to_nurse()
            assert said["rows"] == {}
            assert [pair[0] for pair in said["order"]] == [2, 3, 4, 1]


async def test_a_stream_ends_with_its_login(clinic, live, nurse):
    async with viewing(live, nurse) as following:
        await following()
        await clinic.execute(staff_session.delete())
        assert await following() == ("over", {})
    async with nurse.get(live.url) as answer:
        assert answer.status == 401


async def _seen_now(clinic) -> bool:
    (session,) = await clinic.sessions()
    return session["seen_at_ms"] == clinic.clock.ms


async def test_watching_keeps_a_login_alive(clinic, live, nurse):
    async with viewing(live, nurse) as following:
        await following()
        for _ in range(4):
            clinic.clock.ms += 20 * 60_000
            await until(lambda: _seen_now(clinic), "the login renewed")
        clinic.clock.ms += 12 * 3_600_000  # but not for ever
        events = [(await following())[0]]
        while events[-1] == "tasks":  # the clock moved: the list was looked at afresh
            events.append((await following())[0])
        assert events[-1] == "over"


async def test_a_store_that_is_away_is_said_and_comes_back(clinic, live, nurse, monkeypatch):
    async with viewing(live, nurse) as following:
        assert not (await following())[1]["stale"]

        async def away():
            raise TransientError("away")

        with monkeypatch.context() as patch:
            patch.setattr(clinic.worklist, "stamp", away)
            assert (await following())[1]["stale"]
        assert not (await following())[1]["stale"]


async def test_nobody_watching_means_no_look(clinic, live, nurse):
    async with viewing(live, nurse) as following:
        await following()

    async def rests() -> bool:
        looks = clinic.worklist.looks
        await asyncio.sleep(0.2)  # ten looks, were somebody there
        return clinic.worklist.looks == looks

    await until(rests, "no look any more")
