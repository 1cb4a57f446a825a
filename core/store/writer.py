"""One writer thread with group commit: many callers, one transaction, one fsync.

A store operation is a batch function ``(connection, [argument, …]) -> [result, …]``. Callers hand
in one argument and await one result; whatever arrived while the last transaction ran is grouped by
function and committed together. When a batch fails, it is rolled back and each argument runs again
in a transaction of its own, so one bad row never takes its neighbours along.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import InterfaceError, OperationalError

from core.errors import TransientError

A = TypeVar("A")
R = TypeVar("R")
Batch = Callable[[Connection, Sequence[A]], Sequence[R]]

# More in one transaction gains nothing and makes the first caller wait.
_MAX_GROUP = 512


@dataclass(slots=True)
class _Job(Generic[A, R]):
    function: Batch[A, R]
    argument: A
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[R]
    result: R | None = None
    error: BaseException | None = None


@dataclass(slots=True)
class WriterCounts:
    """What the writer did, for metrics."""

    transactions: int = 0
    jobs: int = 0
    retried_alone: int = 0


class Writer:
    """Runs batch functions in one thread; `close` finishes what was accepted."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._jobs: deque[_Job[Any, Any]] = deque()
        self._wake = threading.Condition()
        self._closing = False
        self.counts = WriterCounts()
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    async def run(self, function: Batch[A, R], argument: A) -> R:
        """Run `function` for `argument` and return its result once committed.

        Raises:
            TransientError: the database was not available; nothing was written.
        """
        loop = asyncio.get_running_loop()
        job: _Job[A, R] = _Job(function, argument, loop, loop.create_future())
        with self._wake:
            if self._closing:
                raise TransientError("the store is closed")
            self._jobs.append(job)
            self._wake.notify()
        # A caller that gives up must not cancel what others may already rely on.
        return await asyncio.shield(job.future)

    def close(self) -> None:
        """Finish accepted work and stop the thread; safe to call twice."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join(timeout=30)
        self._engine.dispose()

    def _run(self) -> None:
        while True:
            with self._wake:
                while not self._jobs and not self._closing:
                    self._wake.wait()
                if not self._jobs:
                    return
                group = [self._jobs.popleft() for _ in range(min(len(self._jobs), _MAX_GROUP))]
            self._commit(group)
            _deliver(group)

    def _commit(self, group: list[_Job[Any, Any]]) -> None:
        self.counts.transactions += 1
        self.counts.jobs += len(group)
        try:
            self._transaction(group)
        except Exception as error:
            if len(group) == 1:
                group[0].error = error
                return
            for job in group:
                self.counts.retried_alone += 1
                try:
                    self._transaction([job])
                except Exception as own_error:
                    job.error = own_error

    def _transaction(self, group: list[_Job[Any, Any]]) -> None:
        by_function: dict[Batch[Any, Any], list[_Job[Any, Any]]] = {}
        for job in group:
            by_function.setdefault(job.function, []).append(job)
        with self._engine.begin() as connection:
            for function, jobs in by_function.items():
                results = function(connection, [job.argument for job in jobs])
                for job, result in zip(jobs, results, strict=True):
                    job.result = result


def _deliver(group: list[_Job[Any, Any]]) -> None:
    by_loop: dict[asyncio.AbstractEventLoop, list[_Job[Any, Any]]] = {}
    for job in group:
        by_loop.setdefault(job.loop, []).append(job)
    for loop, jobs in by_loop.items():
        if not loop.is_closed():
            loop.call_soon_threadsafe(_resolve, jobs)


def _resolve(jobs: list[_Job[Any, Any]]) -> None:
    for job in jobs:
        if job.future.done():
            continue
        if job.error is None:
            job.future.set_result(job.result)
        elif isinstance(job.error, (OperationalError, InterfaceError)):
            # The driver's text may quote our parameters; its class is enough.
            job.future.set_exception(
                TransientError(f"the database is not available ({type(job.error.orig).__name__})")
            )
        else:
            job.future.set_exception(job.error)
