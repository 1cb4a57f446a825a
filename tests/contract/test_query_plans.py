"""What runs for every message, send and tick looks things up; it never reads a whole table.

With a bound parameter SQLite cannot tell that a partial index fits: a send once read all of the
outbox, which nobody notices until there are a million rows.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, event

from core.store import (
    alerts,
    calendar,
    due,
    hand_back,
    inbox,
    leases,
    outbox,
    patients,
    takeover,
    takeover_watch,
    wechat_answers,
    wechat_official,
)
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
    _official_account(connection)
    _staff_answer(connection)
    _look_at(connection)
    _calendar(connection)


def _calendar(connection: Connection) -> None:
    """Open the staff's calendar."""
    days = calendar.Days(date(2026, 3, 1), date(2026, 3, 31), "Asia/Shanghai", "dr3", 100)
    for read in (calendar.count_visits, calendar.count_due, calendar.count_messages):
        read(connection, days)
    for read in (calendar.visits, calendar.due, calendar.messages):
        read(connection, days)
    calendar.calls(connection)


def _official_account(connection: Connection) -> None:
    chat = wechat_official.Chat("telegram", "bot", "1")
    heard = wechat_official.HeardFrom(chat, "message", "1", 5)
    wechat_official.note_heard(connection, [heard])
    for _ in range(wechat_official.PER_MESSAGE):
        wechat_official.take(connection, [wechat_official.Wish(chat, 6)])
    wechat_official.correct(connection, [wechat_official.Correction(chat, "message", "return")])
    wechat_official.has_unsent(connection, chat)
    failure = wechat_official.TemplateFailure(chat, "1", 6, b"")
    wechat_official.template_failed(connection, [failure])
    asked = wechat_answers.Asked(chat, "1", 5)
    wechat_answers.ask(connection, [asked])
    wechat_answers.add(connection, [wechat_answers.Addition(chat, "1", None, b"x", 6)])
    wechat_answers.offer(connection, [asked])


def _staff_answer(connection: Connection) -> None:
    connection.exec_driver_sql(
        "INSERT INTO staff (id, account, name, password_hash, active, created_at_ms) "
        "VALUES (1, 'wang', 'Wang', '', 1, 0)"
    )
    notice = takeover.Message("turn-1", "service", "notice", b"x", (b"x",))
    said = takeover.Message("turn-2", "staff", "answer", b"x", (b"x",))
    (taken,) = takeover.take(connection, [takeover.Taking(1, 1, None, 5, notice)])
    number = taken.takeover_id or 0
    takeover.reply(connection, [takeover.StaffReply(1, 1, 6, said)])
    takeover_watch.going_on(connection)
    takeover_watch.nudge(connection, [takeover_watch.Nudge(number, 0, 7, 8, b"x", True)])
    takeover_watch.stay(connection, [(number, 1, 8)])
    hand_back.last_said(connection, 1)
    hand_back.hand_back(
        connection,
        [
            hand_back.HandBack(
                1,
                number,
                "idle",
                9,
                notice,
                lambda _state, _rows: b"x",
                lambda body: body,
                lambda _photo, _reading, _card: notice,
                b"x",
            )
        ],
    )


def _look_at(connection: Connection) -> None:
    """Open a patient's pages."""
    page = patients.Page((1,), 99, 10)
    patients.patients(connection, page)
    patients.patient_of(connection, 1)
    patients.chat_of(connection, 1)
    for source in (patients.messages, patients.photos, patients.plans, patients.tasks):
        source(connection, page)
    patients.photo_of(connection, 1)
    patients.reviews(connection, [1])
    patients.newest_message(connection, 1)
    patients.waiting_in(connection, 1)
    patients.begin_visits(
        connection,
        [patients.ClinicVisit("f" * 32, None, None, None, "en", "Asia/Shanghai", b"x", (), 1)],
    )


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
