"""A short form of `tests.bench.followup_simulation` on both databases, and two replicas at once."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import func, select

from core.store.due import take_due
from core.store.engine import make_engine, parse_url
from core.store.tables import inbox
from migrations.schema import create
from tests.bench.followup_simulation import World, simulate


def test_ten_days_with_kills_outages_and_travellers_keeps_every_promise(empty_database):
    book = simulate(empty_database, patients=60, days=10, seed=1)
    assert book.is_clean, book
    assert book.due > 20
    assert book.kills > 3
    assert book.outages
    assert book.moves
    assert book.stops


@pytest.mark.parametrize("empty_database", ["postgresql"], indirect=True)
def test_two_replicas_fire_each_reminder_once(empty_database):
    create(empty_database)
    engine = make_engine(parse_url(empty_database), "write")
    world = World(engine, 300, 3)
    late = world.now_ms + 90 * 86_400_000
    counts: list[int] = []

    def replica() -> None:
        own = make_engine(parse_url(empty_database), "write")
        while True:
            with own.begin() as db:
                (due,) = take_due(db, [late])
            if not due.count:
                break
            counts.append(due.count)
        own.dispose()

    threads = [threading.Thread(target=replica) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with engine.connect() as db:
        events = db.execute(select(func.count()).select_from(inbox)).scalar_one()
        distinct = db.execute(select(func.count(inbox.c.message_id.distinct()))).scalar_one()
    engine.dispose()
    assert sum(counts) == events == distinct > 600
