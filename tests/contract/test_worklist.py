"""The worklist of Today: in the order of what cannot wait, with what a call needs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from sqlalchemy import Connection, select

from adapters.console.desk import StaffDesk
from core.delivery import TASK_DETAIL
from core.store import tables
from core.store.history import PATIENT_BODY
from core.store.keyring import Keyring, load_or_create
from core.store.recall import PHONE
from core.store.store import Store
from migrations import upgrade
from tests.conftest import ManualClock

HOUR_MS = 3_600_000
NOW_MS = 1_800_000_000_000


def _fill(connection: Connection, keys: Sequence[Keyring]) -> list[None]:
    (key,) = keys
    connection.execute(
        tables.patient.insert(),
        {
            "zone": "Asia/Shanghai",
            "created_at_ms": 0,
            "phone_sealed": key.seal_json(PHONE, "138 0000 0000"),
        },
    )
    connection.execute(
        tables.conversation.insert(),
        {"channel": "telegram", "account": "b", "chat_id": "1", "patient_id": 1},
    )
    connection.execute(
        tables.staff.insert(),
        {"account": "n", "name": "N", "password_hash": "", "active": True, "created_at_ms": 0},
    )
    for n in range(6):
        connection.execute(
            tables.transcript.insert(),
            {"conversation_id": 1, "turn_id": "t", "author": "patient", "kind": "message",
             "at_ms": n, "body_sealed": key.seal_json(PATIENT_BODY, {"text": f"words {n}"})},
        )  # fmt: skip
    for kind, urgency, opened, deadline in (
        ("human", "2_weeks", 90, 30),  # 1: not late
        ("follow_up", "2_weeks", 200, -80),  # 2: late by days
        ("human", "same_day", 5, 19),  # 3: not late, soon
        ("emergency", "immediate", 1, 1),  # 4: cannot wait
        ("human", "same_day", 40, -16),  # 5: late
    ):
        connection.execute(
            tables.staff_task.insert(),
            {"conversation_id": 1, "kind": kind, "urgency": urgency,
             "detail_sealed": key.seal_json(TASK_DETAIL, {"why": "no_answer"}),
             "created_at_ms": NOW_MS - opened * HOUR_MS, "changed_at_ms": 0,
             "deadline_ms": NOW_MS + deadline * HOUR_MS},
        )  # fmt: skip
    return [None]


@pytest.fixture
async def desk(empty_database: str, tmp_path: Path) -> AsyncIterator[tuple[StaffDesk, Store]]:
    upgrade(empty_database)
    store = Store(empty_database, load_or_create(tmp_path / "keys.json"))
    await store.write(_fill, store.keys)
    yield StaffDesk(store, ManualClock(NOW_MS), "en"), store
    store.close()


async def test_what_cannot_wait_comes_first_then_what_is_late(
    desk: tuple[StaffDesk, Store],
) -> None:
    tasks = await desk[0].open_tasks(limit=10)
    assert [task.id for task in tasks] == [4, 5, 2, 3, 1]
    assert [task.id for task in await desk[0].open_tasks(limit=2)] == [4, 5]
    assert tasks[0].due_at_ms == NOW_MS + HOUR_MS
    assert tasks[0].phone == "138 0000 0000"
    assert [m.text for m in tasks[0].messages] == [f"words {n}" for n in range(2, 6)]


async def test_a_follow_up_is_not_closed_without_an_outcome(
    desk: tuple[StaffDesk, Store],
) -> None:
    worklist, store = desk
    assert not await worklist.close(2, by=1, note="called", at_ms=NOW_MS)
    assert await worklist.close(1, by=1, note="called", at_ms=NOW_MS)
    done = await store.read(
        lambda db, _: (
            db.execute(select(tables.staff_task.c.id).where(tables.staff_task.c.state == "done"))
            .scalars()
            .all()
        ),
        None,
    )
    assert done == [1]
