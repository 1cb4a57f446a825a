"""What runs for every message, send and tick looks things up; it never reads a whole table.

With a bound parameter SQLite cannot tell that a partial index fits: a send once read all of the
outbox, which nobody notices until there are a million rows.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, event

from core.store import alerts, due, inbox, leases, outbox
from core.store.completion import Completion, complete
from core.store.engine import make_engine, parse_url
from core.store.plans import AboutToSend, contacts_of, hold_back, latest_plan
from migrations.schema import create

MESSAGE = inbox.NewMessage(
    "telegram", "bot", "1", "1", 1, b"x", 1, "Asia/Shanghai", None, "token", 99
)


def _everything(connection: Connection) -> None:
    (taken,) = inbox.ingest(connection, [MESSAGE])
    due.take_due(connection, [5])
    leases.claim(connection, [leases.ClaimRequest(("a", "b"), 5, 10)])
    leases.renew(connection, [leases.Renewal(1, "token", 10)])
    complete(
        connection,
        [Completion(1, "token", "turn", 5, ((taken.inbox_id or 0, "answered"),), b"state")],
    )
    leases.pending_of(connection, 1)
    due.reminder_of(connection, 1)
    latest_plan(connection, 1)
    contacts_of(connection, 1)
    hold_back(connection, [AboutToSend(1, 1, 1, b"")])
    outbox.open_rows(connection, 10)
    alerts.tasks_to_alert(connection, 5)
    outbox.begin_sending(connection, [outbox.Attempt(1, 1, 1, 2)])
    outbox.settle_uncertain(connection, [outbox.UncertainPolicy(1, False, (), (), b"")])


@pytest.fixture
def plans(tmp_path: Path) -> list[tuple[str, str]]:
    """Every statement of the hot path with SQLite's plan for it."""
    url = f"sqlite:///{tmp_path / 'plans.db'}"
    create(url)
    engine = make_engine(parse_url(url), "write")
    seen: list[tuple[str, Any]] = []

    @event.listens_for(engine, "before_cursor_execute")
    def note(_c: Any, _cursor: Any, statement: str, values: Any, _x: Any, _many: bool) -> None:
        seen.append((statement, values))

    found: list[tuple[str, str]] = []
    with engine.begin() as connection:
        _everything(connection)
        for statement, values in seen:
            if statement.startswith(("SELECT", "UPDATE", "DELETE")):
                first = values[0] if isinstance(values, list) else values
                rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", first).all()
                found += [(statement, row[3]) for row in rows]
    engine.dispose()
    return found


def test_no_statement_of_the_hot_path_reads_a_whole_table(plans: list[tuple[str, str]]) -> None:
    assert len(plans) > 12
    whole = [
        (plan, " ".join(statement.split()))
        for statement, plan in plans
        if plan.startswith("SCAN") and "USING INDEX ix_" not in plan
    ]
    assert whole == []
