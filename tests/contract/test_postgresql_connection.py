"""A PostgreSQL connection is asked whether it lives after a rest, and not for each transaction."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from core.store import engine as engines
from core.store.engine import make_engine, parse_url

pytestmark = pytest.mark.parametrize("empty_database", ["postgresql"], indirect=True)


def _backend(engine: Engine) -> int:
    with engine.begin() as connection:
        return connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()


def _count_pings(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    pings: list[Any] = []
    real = engine.dialect.do_ping

    def ping(connection: Any) -> bool:
        pings.append(connection)
        return real(connection)

    monkeypatch.setattr(engine.dialect, "do_ping", ping)
    return pings


def test_a_connection_in_use_is_not_asked(
    empty_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "_ALIVE_FOR_S", 3600.0)
    engine = make_engine(parse_url(empty_database), "write")
    pings = _count_pings(engine, monkeypatch)
    backends = {_backend(engine) for _ in range(5)}
    assert (len(backends), pings) == (1, [])
    engine.dispose()


def test_a_connection_that_died_at_rest_is_made_anew(
    empty_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "_ALIVE_FOR_S", 0.0)
    engine = make_engine(parse_url(empty_database), "write")
    pings = _count_pings(engine, monkeypatch)
    first = _backend(engine)
    assert _backend(engine) == first
    assert len(pings) == 1
    other = make_engine(parse_url(empty_database), "write")
    with other.begin() as connection:
        # Waits until it is gone, five seconds at most.
        ended = connection.exec_driver_sql(f"SELECT pg_terminate_backend({first}, 5000)")
        assert ended.scalar_one()
    assert _backend(engine) != first
    engine.dispose()
    other.dispose()


def test_a_connection_that_died_in_use_fails_once(
    empty_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "_ALIVE_FOR_S", 3600.0)
    engine = make_engine(parse_url(empty_database), "write")
    first = _backend(engine)
    other = make_engine(parse_url(empty_database), "write")
    with other.begin() as connection:
        connection.exec_driver_sql(f"SELECT pg_terminate_backend({first}, 5000)")
    with pytest.raises(OperationalError):
        _backend(engine)
    assert _backend(engine) != first
    engine.dispose()
    other.dispose()
