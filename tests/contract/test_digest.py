"""The morning message to staff: counted right, sent once a day by one process, never too late."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, time
from pathlib import Path

import pytest
from sqlalchemy import Connection, select

from core.digest import DigestSettings, StaffDigest
from core.message import Address
from core.ports import Capabilities
from core.reply import from_json, plain_text
from core.store import tables
from core.store.digest import DayQuery, day_figures
from core.store.keyring import load_or_create
from core.store.outbox import OutboxRow
from core.store.store import Store
from migrations import upgrade
from tests.conftest import ManualClock

CHAT = Address("telegram", "bot", "9001")
HOUR_MS = 3_600_000
# 2027-01-15 06:00 in Shanghai.
START_MS = int(datetime(2027, 1, 14, 22, tzinfo=UTC).timestamp() * 1000)


class _Chats:
    """A channel as far as a digest asks it."""

    capabilities = Capabilities(4096, 1024, "utf16", True, drafts=False, media_limit_bytes=1)


@pytest.fixture
async def store(empty_database: str, tmp_path: Path) -> AsyncIterator[Store]:
    upgrade(empty_database)
    store = Store(empty_database, load_or_create(tmp_path / "keys.json"))
    await store.write(_fill, [None])
    yield store
    store.close()


def _fill(connection: Connection, _: Sequence[None]) -> list[None]:
    connection.execute(
        tables.conversation.insert(), {"channel": "telegram", "account": "bot", "chat_id": "4711"}
    )
    task = {"conversation_id": 1, "detail_sealed": b"s", "changed_at_ms": 0}
    for urgency, opened, deadline, state in (
        ("immediate", START_MS - 5 * HOUR_MS, START_MS - 4 * HOUR_MS, "open"),
        ("2_weeks", START_MS - 50 * HOUR_MS, START_MS + 90 * HOUR_MS, "open"),
        ("same_day", START_MS - 99 * HOUR_MS, START_MS - 90 * HOUR_MS, "done"),
    ):
        connection.execute(
            tables.staff_task.insert(),
            {**task, "kind": "human", "urgency": urgency, "created_at_ms": opened,
             "deadline_ms": deadline, "state": state},
        )  # fmt: skip
    plan = {
        "conversation_id": 1, "rule_id": "x", "table_version": "1", "source": "s", "reason": "x",
        "urgency": "2_weeks", "due_at_ms": 0, "zone": "Asia/Shanghai", "set_by": "rule",
        "created_at_ms": 0, "changed_at_ms": 0,
    }  # fmt: skip
    for state, due, visit in (
        ("active", "2027-01-20", "2027-01-15"),  # a visit today
        ("active", "2027-01-10", None),  # due, nothing booked
        ("active", "2027-01-10", "2027-01-12"),  # the booked day passed
        ("active", "2027-02-01", None),  # not yet
        ("seen", "2027-01-10", "2027-01-15"),  # over
    ):
        connection.execute(
            tables.follow_up.insert(), {**plan, "state": state, "due_day": due, "visit_day": visit}
        )
    return [None]


def a_digest(
    store: Store, clock: ManualClock, sent: list[Sequence[OutboxRow]], at: time = time(8)
) -> StaffDigest:
    return StaffDigest(
        store,
        clock,
        {("telegram", "bot"): _Chats()},
        lambda to, rows: sent.append(rows),
        DigestSettings((CHAT,), at, "en", "Asia/Shanghai", None),
    )


async def test_it_counts_what_a_morning_begins_with(store: Store) -> None:
    figures = await store.read(day_figures, DayQuery("2027-01-15", START_MS))
    assert (figures.open, figures.urgent, figures.overdue) == (2, 1, 1)
    assert figures.oldest_ms == START_MS - 50 * HOUR_MS
    assert (figures.visits, figures.due) == (1, 2)


async def test_it_comes_once_a_day_whoever_ticks_and_says_the_counts(store: Store) -> None:
    clock, sent = ManualClock(START_MS), []
    one, two = a_digest(store, clock, sent), a_digest(store, clock, sent)
    await one.tick()
    assert sent == []  # six o'clock
    clock.advance(s=2 * 3600 + 60)
    for digest in (one, two, one):
        await digest.tick()
    assert len(sent) == 1
    bodies = await store.read(
        lambda db, _: db.execute(select(tables.transcript.c.body_sealed)).scalars().all(), None
    )
    (body,) = bodies
    said = plain_text(from_json(store.keys.open_json("transcript.service", body)))
    assert all(number in said for number in ("2", "1"))
    clock.advance(s=24 * 3600)
    await two.tick()
    await one.tick()
    assert len(sent) == 2


async def test_after_noon_a_morning_message_is_left_out_until_tomorrow(store: Store) -> None:
    clock, sent = ManualClock(START_MS + 7 * HOUR_MS), []
    digest = a_digest(store, clock, sent)
    await digest.tick()
    assert sent == []
    clock.advance(s=20 * 3600)
    await digest.tick()
    assert len(sent) == 1


async def test_a_clinic_may_want_it_in_the_evening(store: Store) -> None:
    clock, sent = ManualClock(START_MS + 13 * HOUR_MS), []
    await a_digest(store, clock, sent, at=time(18)).tick()
    assert len(sent) == 1
