from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from prometheus_client.parser import text_string_to_metric_families

from adapters.terminal.channel import TerminalChannel
from bot.fundus_reports import print_agreement, print_drift
from bot.metrics import render
from bot.service import Service
from bot.settings import Settings
from core.errors import ConfigError
from core.message import Address, Attachment, AttachmentKind, Inbound
from core.reading import CONDITIONS, Decision, Finding, Outcome, Reading
from core.store.engine import make_engine, parse_url
from core.store.keycheck import open_keyring
from core.store.tables import conversation, inbox, photo, reading_review, staff
from core.turn.completion import READING
from core.turn.photos import reading_to_json
from migrations import upgrade

FIXTURES = Path(__file__).parents[1] / "fixtures" / "fundus"
NOW = datetime.now(ZoneInfo("Asia/Shanghai"))


def a_reading(outcome: Outcome = "assessed", *, dr: Decision = "negative", grade: int = 0) -> dict:
    findings = tuple(
        Finding(c, dr, {"negative": 0.1, "refer": 0.9}.get(dr, 0.5), "m 1")
        if c == "dr" and outcome == "assessed"
        else Finding(c, "not_assessed")
        for c in CONDITIONS
    )
    poor = 0.2 if outcome == "ungradable" else 0.9
    return reading_to_json(
        Reading(outcome, findings, grade, None, 0.95, poor, (), "m 1", "CPU", 9, 9)
    )


@pytest.fixture
def settings(tmp_path: Path, empty_database: str) -> Settings:
    """Two quiet weeks and a third in which most photos are too poor; six reviews."""
    settings = Settings(data_dir=tmp_path, database={"url": empty_database})
    upgrade(settings.database_url, backup_folder=tmp_path)
    keys = open_keyring(settings.database_url, settings.key_file)
    monday = NOW.replace(hour=12) - timedelta(days=NOW.weekday())
    rows, incoming = [], []
    for week in range(3):
        at_ms = int((monday - timedelta(days=7 * (2 - week))).timestamp() * 1000)
        for n in range(40):
            number = len(rows) + 1
            poor = n < (30 if week == 2 else 2)
            grade = 3 if n % 4 == 0 else 0
            kept = a_reading("ungradable") if poor else a_reading(dr="refer" if grade else "negative", grade=grade)  # fmt: skip  # noqa: E501
            incoming.append(
                {
                    "id": number,
                    "conversation_id": 1 + number % 2,
                    "message_id": f"m{number}",
                    "sequence": number,
                    "received_at_ms": at_ms,
                    "state": "done",
                }
            )
            rows.append(
                {
                    "id": number,
                    "conversation_id": 1 + number % 2,
                    "inbox_id": number,
                    "position": 0,
                    "blob": "0" * 64,
                    "reading_sealed": keys.seal_json(READING, kept) if n != 39 else None,
                    "received_at_ms": at_ms,
                }
            )
    engine = make_engine(parse_url(settings.database_url), "write")
    with engine.begin() as connection:
        for n in (1, 2):
            connection.execute(
                conversation.insert(),
                {"id": n, "channel": "telegram", "account": "1", "chat_id": f"secret-{n}"},
            )
        connection.execute(inbox.insert(), incoming)
        connection.execute(photo.insert(), rows)
        connection.execute(
            staff.insert(),
            {
                "id": 1,
                "account": "doctor",
                "name": "secret name",
                "password_hash": "",
                "active": True,
                "created_at_ms": 0,
            },
        )
        said = {5: 3, 9: 1, 6: 0, 7: 2, 8: 0}  # photos 5 and 9: the reader said grade 3
        reviews = [(5, 0, False), *((n, grade, grade in {0, 3}) for n, grade in said.items())]
        connection.execute(
            reading_review.insert(),
            [
                {
                    "photo_id": n,
                    "staff_id": 1,
                    "form_id": f"form-{k}",
                    "at_ms": k,
                    "dr_grade": grade,
                    "gradable": True,
                    "agrees": agrees,
                }
                for k, (n, grade, agrees) in enumerate(reviews)
            ],
        )
    engine.dispose()
    return settings


def test_drift_finds_the_week_that_differs(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    assert print_drift(settings, first=None, last=None, as_json=True) == 1
    weeks = json.loads(capsys.readouterr().out)
    assert [w["photos"] for w in weeks] == [40, 40, 40]
    assert [w["outcomes"]["ungradable"] for w in weeks] == [2, 2, 30]
    assert [w["outcomes"]["unread"] for w in weeks] == [1, 1, 1]
    assert [[s["what"] for s in w["shifts"]] for w in weeks[:2]] == [[], []]
    assert "ungradable" in [s["what"] for s in weeks[2]["shifts"]]
    print_drift(settings, first=None, last=None, as_json=False)
    text = capsys.readouterr().out
    assert "differs: ungradable 75%, before 5%" in text
    assert "secret" not in text
    day = (NOW - timedelta(days=30)).date().isoformat()
    assert print_drift(settings, first=day, last=day, as_json=False) == 0
    assert "no photos" in capsys.readouterr().out


def test_agreement_counts_the_newest_review_of_each_doctor(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    assert print_agreement(settings, first=None, last=None, as_json=True) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["model_version"], found["reviews"]) == ("m 1", 5)
    heads = {h["name"]: h for h in found["heads"]}
    referable = heads["dr_referable"]
    assert (referable["n"], referable["same"]["hits"]) == (5, 3)
    assert (referable["over"]["hits"], referable["under"]["hits"]) == (1, 1)
    assert heads["dr_grade"]["kappa"]["value"] == pytest.approx(1 - 40 / 88)  # by hand
    print_agreement(settings, first=None, last=None, as_json=False)
    text = capsys.readouterr().out
    assert "5 reviews of 2 patients" in text
    assert "secret" not in text


def test_without_a_database_or_with_a_wrong_day(tmp_path: Path, settings: Settings) -> None:
    for command in (print_drift, print_agreement):
        with pytest.raises(ConfigError, match="migrate"):
            command(Settings(data_dir=tmp_path / "new"), first=None, last=None, as_json=False)
        with pytest.raises(ConfigError, match="is not a day"):
            command(settings, first="tomorrow", last=None, as_json=False)
        with pytest.raises(ConfigError, match="swap them"):
            command(settings, first="2026-02-02", last="2026-02-01", as_json=False)


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    settings = Settings(
        data_dir=tmp_path / "data",
        server={"port": 0},
        dialog={"merge_window_ms": 0},
        consent={"required": False},
        fundus={"threads": 1},
    )
    service = Service(
        settings,
        extra_channel=lambda blobs: TerminalChannel(print, blobs, tmp_path, as_json=True),
    )
    await service.start()
    yield service
    await service.stop()


async def test_metrics_tell_what_was_said_by_channel(service: Service) -> None:
    for number, name in enumerate(("idrid_grade4.jpg", "not_a_fundus.jpg", "idrid_grade0.jpg")):
        picture = Attachment(AttachmentKind.PHOTO, str(FIXTURES / name), "image/jpeg")
        address = Address("terminal", "local", "me")
        await service.intake.accept(
            [Inbound(address, f"m{number}", number, attachments=(picture,), sender_id="me")]
        )
        await service.settle()
    families = list(text_string_to_metric_families((await render(service)).decode()))
    samples = {(s.name, *sorted(s.labels.items())): s.value for f in families for s in f.samples}

    def value(name: str, **labels: str) -> float:
        return samples[(f"oculichat_fundus_{name}", *sorted(labels.items()))]

    assert value("photos_total", channel="terminal", outcome="assessed") == 2
    assert value("photos_total", channel="terminal", outcome="not_fundus") == 1
    refer = {"channel": "terminal", "condition": "dr", "decision": "refer"}
    assert value("findings_total", **refer) >= 1
    buckets = [
        value("score_bucket", channel="terminal", head="is_fundus", le=le)
        for le in (*(f"{n / 10:.1f}" for n in range(1, 10)), "+Inf")
    ]
    assert buckets == sorted(buckets)
    assert buckets[-1] == value("score_count", channel="terminal", head="is_fundus") == 3
