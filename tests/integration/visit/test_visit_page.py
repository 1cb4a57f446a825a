from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest

from adapters.http.server import HttpServer
from adapters.visit.site import visit_routes
from bot.visits import VisitFinder
from core.followup.visit_file import visit_token
from core.store.keyring import load_or_create
from core.store.recall import PLACE
from core.store.store import Store
from core.store.tables import conversation, follow_up, patient
from core.store.visits import booked_visit
from core.turn.calendar_note import calendar_note
from migrations.schema import prepare
from tests.fakes.core_fakes import FakeClock

HOSTILE = "县医院<script>alert(1)</script>"


def _insert(connection, batches):
    for table, rows in batches:
        connection.execute(table.insert(), rows)
    return [None] * len(batches)


def _end(connection, states):
    for state in states:
        connection.execute(follow_up.update().values(state=state))
    return [None] * len(states)


@pytest.fixture
async def site(tmp_path: Path):
    url = f"sqlite:///{tmp_path}/visit.db"
    prepare(url, backup_folder=tmp_path)
    store, clock = Store(url, load_or_create(tmp_path / "keys.json")), FakeClock()
    day = datetime.fromtimestamp(clock.now_ms() / 1000, UTC).date() + timedelta(days=10)
    for batch in (
        (patient, [{"id": 1, "language": "en", "zone": "Asia/Shanghai", "created_at_ms": 0}]),
        (conversation, [{"id": 5, "channel": "telegram", "account": "1", "chat_id": "secret-chat",
                         "patient_id": 1}]),
        (follow_up, [{
            "conversation_id": 5, "rule_id": "dr3", "table_version": "1", "source": "ADA17",
            "reason": "dr3", "urgency": "2_weeks", "due_at_ms": 0, "zone": "Asia/Shanghai",
            "set_by": "patient", "state": "active", "created_at_ms": 0, "changed_at_ms": 0,
            "visit_day": day.isoformat(), "visit_time": "09:30",
            "place_sealed": store.keys.seal_json(PLACE, HOSTILE),
        }]),
    ):  # fmt: skip
        await store.write(_insert, batch)
    server = HttpServer(
        "127.0.0.1", 0, visit_routes(VisitFinder(store, clock)), shutdown_timeout_s=1
    )
    await server.start()
    yield f"http://127.0.0.1:{server.port}", store, clock, day
    await server.stop()
    store.close()


async def test_the_link_that_is_said_shows_the_visit_and_gives_the_file(site):
    base, store, _, day = site
    visit = await store.read(booked_visit, (5, store.keys))
    assert visit is not None
    reply = calendar_note(visit, store.keys, 5, public_url=f"{base}/", takes_files=True)
    url = reply.blocks[0].spans[1].url
    async with aiohttp.ClientSession() as browser:
        async with browser.get(url) as page:
            text = await page.text()
            assert page.status == 200
            assert page.headers["X-Robots-Tag"] == "noindex, nofollow"
            assert page.headers["Referrer-Policy"] == "no-referrer"
            assert page.headers["Cache-Control"] == "no-store"
        assert "09:30" in text
        assert "<script" not in text
        assert "secret-chat" not in text
        assert "dr3" not in text
        async with browser.get(f"{url}/visit.ics") as file:
            assert file.content_type == "text/calendar"
            body = await file.text()
    assert body == reply.document.text
    assert f"DTSTART:{day:%Y%m%d}T013000Z" in body


async def test_links_that_were_not_made_here_are_too_old_or_without_a_visit(site):
    base, store, clock, day = site
    token = visit_token(store.keys, 5, day)
    other = visit_token(store.keys, 6, day)
    async with aiohttp.ClientSession() as browser:

        async def status(token: str) -> int:
            async with browser.get(f"{base}/visit/{token}") as page:
                return page.status

        assert await status(token) == 200
        assert await status(other) == 404
        assert await status(token[:-1] + ("0" if token[-1] != "0" else "1")) == 404
        clock.ms += 20 * 86_400_000
        assert await status(token) == 404
        clock.ms -= 20 * 86_400_000
        await store.write(_end, "stopped")
        assert await status(token) == 404
    assert isinstance(day, date)
