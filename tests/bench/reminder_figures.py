"""Figures of a long list of reminders: an idle tick, many due at once, and how late they fire."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from sqlalchemy import Connection

from core.store.due import take_due
from core.store.keyring import load_or_create
from core.store.store import Store
from core.store.tables import conversation, follow_up, reminder
from migrations.schema import prepare
from tests.bench.followup_simulation import Book, simulate
from tests.bench.table import Figure

_PEOPLE = 10_000
_CHUNK = 20_000


def _plan(connection: Connection, plans: Sequence[tuple[int, int, int]]) -> list[None]:
    """Insert `number` reminders from id `first` on, due 1 ms apart from `due_ms` on."""
    for first, number, due_ms in plans:
        connection.execute(
            reminder.insert(),
            [
                {
                    "follow_up_id": 1 + (first + n) % _PEOPLE,
                    "conversation_id": 1 + (first + n) % _PEOPLE,
                    "step": "day_1",
                    "due_at_ms": due_ms + n,
                    "changed_at_ms": 0,
                }
                for n in range(number)
            ],
        )
    return [None] * len(plans)


def _people(connection: Connection, arguments: Sequence[None]) -> list[None]:
    connection.execute(
        conversation.insert(),
        [{"channel": "bench", "account": "1", "chat_id": str(n)} for n in range(_PEOPLE)],
    )
    connection.execute(
        follow_up.insert(),
        [
            {
                "conversation_id": 1 + n,
                "rule_id": "r",
                "table_version": "1",
                "source": "s",
                "reason": "r",
                "urgency": "routine",
                "due_at_ms": 0,
                "zone": "UTC",
                "set_by": "rule",
                "state": "active",
                "created_at_ms": 0,
                "changed_at_ms": 0,
            }
            for n in range(_PEOPLE)
        ],
    )
    return [None] * len(arguments)


async def _insert(store: Store, number: int, due_ms: int) -> None:
    for first in range(0, number, _CHUNK):
        many = min(_CHUNK, number - first)
        await store.write(_plan, (first, many, due_ms + first))


async def _drain(store: Store) -> int:
    """Take what is due in ticks, as the ticker does; return how many."""
    taken = 0
    while True:
        due = await store.write(take_due, int(time.time() * 1000))
        if not due.count:
            return taken
        taken += due.count


async def _late(store: Store, number: int) -> int:
    """Spread reminders over the next seconds, tick once a second; return the latest in ms."""
    start_ms = int(time.time() * 1000) + 500
    await _insert(store, number, start_ms)
    taken, latest_ms = 0, 0
    while taken < number:
        await asyncio.sleep(1)
        while (due := await store.write(take_due, int(time.time() * 1000))).count:
            taken += due.count
            latest_ms = max(latest_ms, due.latest_ms)
    return latest_ms


async def month(repeat: int) -> list[Figure]:
    """Simulate a month of 10,000 patients (`tests.bench.followup_simulation`)."""
    books: list[Book] = []
    for seed in range(1, repeat + 1):
        with TemporaryDirectory() as folder:
            url = f"sqlite:///{folder}/simulation.db"
            books.append(
                await asyncio.to_thread(simulate, url, patients=10_000, days=30, seed=seed)
            )
    note = f"{books[0].due:,} due, {books[0].kills} kills, {books[0].outages} outages"
    broken = [float(b.missed + b.doubled + b.quiet + b.after_stop) for b in books]
    seconds = tuple(b.seconds for b in books)
    return [
        Figure("a month of 10,000 patients", "s", seconds, 60, note=note),
        Figure("missed, doubled, at night, after stop", "", tuple(broken), 0),
    ]


async def reminders(repeat: int, *, pending: int, due: int) -> list[Figure]:
    """Measure with `pending` reminders in the far future and `due` at once."""
    idle: list[float] = []
    rates: list[float] = []
    late: list[float] = []
    for _ in range(repeat):
        with TemporaryDirectory() as folder:
            url = f"sqlite:///{folder}/bench.db"
            prepare(url, backup_folder=Path(folder))
            store = Store(url, load_or_create(Path(folder) / "keys.json"))
            try:
                await store.write(_people, None)
                now_ms = int(time.time() * 1000)
                await _insert(store, pending, now_ms + 10**10)
                ticks: list[float] = []
                for _tick in range(50):
                    began = time.perf_counter()
                    assert not await _drain(store)
                    ticks.append((time.perf_counter() - began) * 1000)
                idle.append(statistics.median(ticks))
                late.append(await _late(store, 5_000))
                await _insert(store, due, now_ms - due - 1000)
                began = time.perf_counter()
                assert await _drain(store) == due
                rates.append(due / (time.perf_counter() - began))
            finally:
                store.close()
    of = f"{pending:,} pending"
    return [
        Figure("idle tick", "ms", tuple(idle), 1, note=of, peers="129 Procrastinate"),
        Figure(f"{due:,} due at once", "per s", tuple(rates), 5000, more_is_better=True, note=of),
        Figure("latest of 5,000 spread over 5 s", "ms", tuple(late), 2000, note="ticks of 1 s"),
    ]
