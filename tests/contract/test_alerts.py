"""Alerts in the store, on both databases: due, sent once, and silent when somebody took it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, select

from core.message import Address
from core.store import tables
from core.store.alerts import NewAlert, send_alerts, tasks_to_alert
from core.store.engine import make_engine, parse_url
from migrations import upgrade

CHAT = Address("telegram", "bot", "9001")


@pytest.fixture
def connection(empty_database: str) -> Iterator[Connection]:
    upgrade(empty_database)
    engine = make_engine(parse_url(empty_database), "write")
    with engine.begin() as connection:
        connection.execute(
            tables.conversation.insert(),
            {"channel": "telegram", "account": "bot", "chat_id": "4711"},
        )
        yield connection
    engine.dispose()


def a_task(connection: Connection, **fields: object) -> int:
    known = {
        "conversation_id": 1,
        "kind": "emergency",
        "urgency": "immediate",
        "detail_sealed": b"sealed",
        "created_at_ms": 1_000,
        "changed_at_ms": 1_000,
        "alert_due_ms": 1_000,
    }
    row = tables.staff_task.insert().returning(tables.staff_task.c.id)
    return connection.execute(row, known | fields).scalar_one()


def an_alert(task_id: int, alerts: int = 0, next_due_ms: int | None = 6_000) -> NewAlert:
    return NewAlert(task_id, alerts, CHAT, "alert:1:1", b"body", (b"part",), 2_000, next_due_ms)


def test_due_tasks_are_open_and_not_in_the_future(connection: Connection) -> None:
    due = a_task(connection)
    a_task(connection, state="claimed")
    a_task(connection, alert_due_ms=None)
    a_task(connection, alert_due_ms=9_000)
    assert [t.id for t in tasks_to_alert(connection, 2_000)] == [due]


def test_of_two_replicas_one_sends(connection: Connection) -> None:
    task = a_task(connection)
    first, second = send_alerts(connection, [an_alert(task), an_alert(task)])
    assert (len(first), second) == (1, [])
    assert not tasks_to_alert(connection, 5_999)
    (again,) = tasks_to_alert(connection, 6_000)
    assert again.alerts == 1


def test_a_chat_is_one_conversation_however_often_it_is_told(connection: Connection) -> None:
    one, two = a_task(connection), a_task(connection)
    rows = [r for rows in send_alerts(connection, [an_alert(one), an_alert(two)]) for r in rows]
    assert len({row.conversation_id for row in rows}) == 1
    kinds = connection.execute(select(tables.outbox.c.kind)).scalars().all()
    assert kinds == ["emergency", "emergency"]


def test_a_task_that_was_taken_is_not_announced(connection: Connection) -> None:
    task = a_task(connection)
    connection.execute(tables.staff_task.update().values(state="claimed"))
    assert send_alerts(connection, [an_alert(task)]) == [[]]


def test_after_the_last_alert_nothing_is_due(connection: Connection) -> None:
    task = a_task(connection)
    send_alerts(connection, [an_alert(task, next_due_ms=None)])
    assert tasks_to_alert(connection, 10**12) == []
