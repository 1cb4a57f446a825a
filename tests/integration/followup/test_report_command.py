from __future__ import annotations

import csv
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from bot.followups import print_report
from bot.settings import Settings
from core.errors import ConfigError
from core.store.engine import make_engine, parse_url
from core.store.tables import conversation, follow_up, reminder
from migrations.schema import prepare

NOW = datetime.now(ZoneInfo("Asia/Shanghai"))


def _ms(at: datetime) -> int:
    return int(at.astimezone(UTC).timestamp() * 1000)


def _day(days: int) -> str:
    return (NOW.date() + timedelta(days=days)).isoformat()


def _plan(plan_id: int, due_in: int, *, state: str = "active", **fields: object) -> dict:
    due = datetime.combine(NOW.date() + timedelta(days=due_in), NOW.time(), NOW.tzinfo)
    return {
        "id": plan_id,
        "conversation_id": 1 + plan_id % 3,
        "rule_id": "dr2",
        "table_version": "1",
        "source": "ADA17",
        "reason": "dr2",
        "urgency": "routine",
        "due_at_ms": _ms(due.replace(hour=12, minute=0)),
        "zone": "Asia/Shanghai",
        "set_by": "rule",
        "state": state,
        "created_at_ms": _ms(NOW - timedelta(days=100)),
        "changed_at_ms": _ms(NOW - timedelta(days=50)),
        "due_day": _day(due_in),
        "visit_day": None,
        "outcome_day": None,
        "confirmed_at_ms": None,
        "arm": "standard",
        **fields,
    }


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    settings = Settings(data_dir=tmp_path)
    prepare(settings.database_url, backup_folder=tmp_path)
    engine = make_engine(parse_url(settings.database_url), "write")
    with engine.begin() as connection:
        connection.execute(
            conversation.insert(),
            [
                {"channel": c, "account": "1", "chat_id": f"secret-{n}"}
                for n, c in enumerate(("telegram", "telegram", "webchat", "webchat"))
            ],
        )
        connection.execute(
            follow_up.insert(),
            [
                _plan(1, -40, visit_day=_day(-40), state="seen", outcome_day=_day(-41)),
                _plan(2, -40, confirmed_at_ms=1, state="seen", outcome_day=_day(-10)),
                _plan(3, -40, due_day=None),  # planned before plans had days
                _plan(4, -5, conversation_id=4, arm="lighter", reason="glaucoma"),
                _plan(5, 5),
                _plan(6, -400),
            ],
        )
        connection.execute(
            reminder.insert(),
            [
                {"follow_up_id": plan, "conversation_id": 1, "step": "due", "due_at_ms": 0,
                 "state": state, "outcome": outcome, "changed_at_ms": 0}
                for plan, state, outcome in (
                    (1, "done", "said"), (1, "done", "said"), (2, "done", "passed"),
                    (3, "pending", None), (4, "done", "said"),
                )
            ],
        )  # fmt: skip
    engine.dispose()
    return settings


def _run(settings: Settings, capsys, **options) -> str:
    known = {"first": None, "last": None, "as_json": False, "as_csv": False}
    assert print_report(settings, **{**known, **options}) == 0
    return capsys.readouterr().out


def test_json(settings, capsys):
    data = json.loads(_run(settings, capsys, as_json=True))
    total = data["total"]
    assert (total["due"], total["reminded"], total["confirmed"]) == (4, 2, 2)
    assert (total["on_time"], total["late"], total["open"], total["lost"]) == (1, 1, 1, 1)
    assert total["judged"] == 3  # one may still come on time
    assert set(data["by_channel"]) == {"telegram", "webchat"}
    assert data["by_reason"]["glaucoma"]["due"] == 1
    assert data["comparison"]["arms"][0]["arm"] == "lighter"


def test_csv_and_text_name_nobody(settings, capsys):
    rows = list(csv.DictReader(_run(settings, capsys, as_csv=True).splitlines()))
    assert rows[0]["by"] == "total"
    assert rows[0]["due"] == "4"
    assert {row["by"] for row in rows} == {"total", "reason", "channel", "arm", "month"}
    text = _run(settings, capsys)
    assert "1/3 = 33%" in text
    assert "secret" not in text


def test_a_period(settings, capsys):
    narrow = json.loads(_run(settings, capsys, first=_day(-6), last=_day(-4), as_json=True))
    assert narrow["total"]["due"] == 1
    nothing = json.loads(_run(settings, capsys, first=_day(3), last=_day(9), as_json=True))
    assert nothing["total"]["due"] == 0


@pytest.mark.parametrize(
    "wrong", [{"first": "tomorrow"}, {"first": "2026-02-01", "last": "2026-01-01"}]
)
def test_days_that_are_none(settings, wrong):
    with pytest.raises(ConfigError, match="--"):
        print_report(
            settings, **{"first": None, "last": None, **wrong}, as_json=False, as_csv=False
        )
