"""Our table of reminders beside APScheduler's SQLAlchemyJobStore: the same 10,000, all due at once.

Three scenes each: one process drains them (how long does its event loop stand still), one is
killed in the middle and started again (how many are lost), and two work on one database (how many
come twice, how many never).
"""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from core.store.keyring import load_or_create
from core.store.store import Store
from migrations.schema import prepare
from tests.bench.reminder_figures import _insert, _people
from tests.bench.scheduler_worker import NUMBER
from tests.bench.table import Figure

_PATIENCE_S = 180.0


async def _fill_apscheduler(folder: Path, due_ms: int) -> None:
    filling = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.bench.scheduler_worker", f"fill:{due_ms}", str(folder))
    )
    assert await filling.wait() == 0
    assert _left("apscheduler", folder) == NUMBER


async def _fill_ours(folder: Path, due_ms: int) -> None:
    url = f"sqlite:///{folder}/ours.db"
    prepare(url, backup_folder=folder)
    store = Store(url, load_or_create(folder / "keys.json"))
    await store.write(_people, None)
    await _insert(store, NUMBER, due_ms - NUMBER)
    store.close()


def _left(which: str, folder: Path) -> int:
    """Count what the database still holds as due."""
    name, query = {
        "apscheduler": ("aps.db", "SELECT count(*) FROM apscheduler_jobs"),
        "ours": ("ours.db", "SELECT count(*) FROM reminder WHERE state = 'pending'"),
    }[which]
    with closing(sqlite3.connect(folder / name, timeout=10)) as connection:
        return connection.execute(query).fetchone()[0]


def _fired(which: str, folder: Path) -> Counter[str]:
    """Count how often each was fired; ours fires into the inbox, which keeps it from there."""
    if which == "apscheduler":
        path = folder / "fired"
        return Counter(path.read_text("ascii").split() if path.exists() else ())
    with closing(sqlite3.connect(folder / "ours.db", timeout=10)) as connection:
        rows = connection.execute("SELECT message_id FROM inbox").fetchall()
    return Counter(row[0].split(":")[1] for row in rows)


async def _start(which: str, folder: Path) -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.bench.scheduler_worker",
        which,
        str(folder),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdout is not None
    assert (await process.stdout.readline()).strip() == b"ready"
    return process


async def _stall_ms(process: asyncio.subprocess.Process) -> float:
    try:
        async with asyncio.timeout(_PATIENCE_S):
            said, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        return _PATIENCE_S * 1000
    return float(said or 0)


async def _alone(which: str, folder: Path) -> float:
    return await _stall_ms(await _start(which, folder))


async def _killed(which: str, folder: Path) -> float:
    process = await _start(which, folder)
    began = time.monotonic()
    while _left(which, folder) > 0.7 * NUMBER and time.monotonic() - began < _PATIENCE_S:  # noqa: ASYNC110
        await asyncio.sleep(0)  # the worker is another process: there is no event to wait for
    process.kill()
    await process.wait()
    assert _left(which, folder) > 0, "it had finished before it was killed"
    return await _alone(which, folder)


async def _two(which: str, folder: Path) -> float:
    both = await asyncio.gather(_start(which, folder), _start(which, folder))
    return max(await asyncio.gather(*map(_stall_ms, both)))


async def _scene(
    which: str, scene: Callable[[str, Path], Awaitable[float]]
) -> tuple[float, int, int]:
    """Play one scene; returns the stall in ms, how many never fired, and how many twice."""
    with TemporaryDirectory() as name:
        folder, due_ms = Path(name), int(time.time() * 1000) - 1000
        if which == "apscheduler":
            await _fill_apscheduler(folder, due_ms)
        else:
            await _fill_ours(folder, due_ms)
        stall_ms = await scene(which, folder)
        fired = _fired(which, folder)
        return stall_ms, NUMBER - len(fired), fired.total() - len(fired)


async def schedulers(repeat: int) -> list[Figure]:
    """Play the three scenes with both, by turns."""
    found: dict[tuple[str, str], list[tuple[float, int, int]]] = {}
    for _ in range(repeat):
        for name, scene in (("one process", _alone), ("kill -9", _killed), ("two", _two)):
            for which in ("apscheduler", "ours"):
                found.setdefault((name, which), []).append(await _scene(which, scene))
    figures: list[Figure] = []
    for name, part, what, unit, bar in (
        ("one process", 0, "event loop stands still", "ms", 100.0),
        ("one process", 1, "never fired", f"of {NUMBER:,}", 0.0),
        ("kill -9", 1, "lost after kill -9 in the middle", f"of {NUMBER:,}", 0.0),
        ("kill -9", 2, "twice after kill -9 in the middle", f"of {NUMBER:,}", 0.0),
        ("two", 1, "never fired, two processes", f"of {NUMBER:,}", 0.0),
        ("two", 2, "twice, two processes", f"of {NUMBER:,}", 0.0),
    ):
        for which in ("ours", "apscheduler"):
            values = tuple(float(one[part]) for one in found[name, which])
            mine = which == "ours"
            label = f"{NUMBER:,} due, {'ours' if mine else 'APScheduler 3.11'}: {what}"
            figures.append(Figure(label, unit, values, bar if mine else None))
    return figures
