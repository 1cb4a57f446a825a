"""One process that fires what is due, beside the meter: APScheduler's job store or our table.

`python -m tests.bench.scheduler_worker fill:DUE_MS FOLDER` fills APScheduler's job store.
`python -m tests.bench.scheduler_worker apscheduler|ours FOLDER` drains FOLDER's database, writes
the number of every reminder it fires to `fired` and, when nothing is left, its longest event-loop
stall in ms to standard output.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from apscheduler.jobstores.sqlalchemy import SQLAlchemyJobStore
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from sqlalchemy import Engine, create_engine, event

from core.store.due import take_due
from core.store.keyring import load_or_create
from core.store.store import Store

NUMBER = 10_000

_TICK_S = 0.2  # ours is 1 s in service; here both look often, so that only the drain counts


async def _longest_stall_ms(stop: asyncio.Event) -> float:
    longest, before = 0.0, time.perf_counter()
    while not stop.is_set():
        await asyncio.sleep(0.005)
        now = time.perf_counter()
        longest, before = max(longest, now - before - 0.005), now
    return longest * 1000


async def fire(number: int, path: str) -> None:
    """Do what a due reminder does: leave a mark that survives this process."""
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(handle, f"{number}\n".encode())
    os.close(handle)


def aps_engine(folder: Path) -> Engine:
    """Return an engine with the settings that suit APScheduler best: WAL, synchronous=NORMAL."""
    engine = create_engine(f"sqlite:///{folder}/aps.db")

    @event.listens_for(engine, "connect")
    def _fast(connection, _record) -> None:  # type: ignore[no-untyped-def]
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("PRAGMA busy_timeout=10000")

    return engine


def _scheduler(engine: Engine) -> AsyncIOScheduler:
    return AsyncIOScheduler(
        jobstores={"default": SQLAlchemyJobStore(engine=engine)},
        job_defaults={"misfire_grace_time": None, "coalesce": True},
    )


async def _fill(folder: Path, due_ms: int) -> None:
    """Put the jobs in and leave at once: a scheduler that shuts down would begin to fire."""
    scheduler = _scheduler(aps_engine(folder))
    scheduler.start(paused=True)
    at = datetime.fromtimestamp(due_ms / 1000, UTC)
    for number in range(NUMBER):
        scheduler.add_job(
            fire, "date", run_date=at, args=[number, str(folder / "fired")], id=str(number)
        )
    os._exit(0)


async def _apscheduler(folder: Path) -> None:
    engine = aps_engine(folder)
    scheduler = _scheduler(engine)
    scheduler.start()
    quiet = 0
    while quiet < 10:
        await asyncio.sleep(_TICK_S)
        with engine.connect() as connection:
            left = connection.exec_driver_sql("SELECT count(*) FROM apscheduler_jobs").scalar()
        quiet = quiet + 1 if left == 0 or _has_stopped(folder) else 0
    scheduler.shutdown(wait=False)


def _has_stopped(folder: Path) -> bool:
    """Tell whether nothing was fired for ten seconds: a scheduler that died leaves its jobs."""
    fired = folder / "fired"
    return fired.exists() and time.time() - fired.stat().st_mtime > 10


async def _ours(folder: Path) -> None:
    store = Store(f"sqlite:///{folder}/ours.db", load_or_create(folder / "keys.json"))
    quiet = 0
    while quiet < 5:
        due = await store.write(take_due, int(time.time() * 1000))
        quiet = 0 if due.count else quiet + 1
        if not due.count:
            await asyncio.sleep(_TICK_S)
    store.close()


async def _main(which: str, folder: Path) -> None:
    if which.startswith("fill:"):
        await _fill(folder, int(which.partition(":")[2]))
    stop = asyncio.Event()
    probe = asyncio.create_task(_longest_stall_ms(stop))
    await asyncio.sleep(0.05)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await (_apscheduler(folder) if which == "apscheduler" else _ours(folder))
    stop.set()
    sys.stdout.write(f"{await probe:.1f}\n")


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    asyncio.run(_main(sys.argv[1], Path(sys.argv[2])))
