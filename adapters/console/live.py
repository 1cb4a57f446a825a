"""Today, live: one look at the worklist for all who have it open, and to each what changed.

While anybody watches, one task asks the store for a stamp of the open tasks every `poll_s` (so
tasks of other replicas appear too) and, when it moved, renders the rows that changed: once for
each language. A viewer gets the order of the rows with a digest each, and the rows it has not
seen; a page that finds a digest it does not hold asks for the whole list. So nothing is kept per
viewer but how far it is, and a slow phone costs no backlog.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import structlog
from aiohttp import web

from adapters.console.guard import visit_of
from adapters.console.ports import Counts, StaffTask, Worklist
from adapters.console.session import Doorkeeper
from adapters.http.failures import Refusal
from adapters.http.language import language_of
from adapters.http.sse import EventStream
from core.clock import Clock
from core.errors import TransientError
from core.message import Language

log = structlog.get_logger(__name__)

POLL_S = 0.4
PING_S = 15.0
SHOWN = 200
# Stands for each viewer's own form token in a row that is rendered once for all.
TOKEN_PLACE = "0form0token0"  # noqa: S105 holds nothing
_RETRY_MS = 2_000
_MOST_VIEWERS = 2_000
# What only time changes: being late, and the counts.
_AFRESH_MS = 20_000


class Rows(Protocol):
    """Draws what the list is made of."""

    def digest(self, task: StaffTask) -> str:
        """Return a short word that changes when the row has to be drawn anew."""
        ...

    def row(self, task: StaffTask, language: Language, form_token: str) -> str:
        """Return one row."""
        ...

    def counts(self, counts: Counts, language: Language) -> str:
        """Return the figures above the list."""
        ...


@dataclass(frozen=True, slots=True)
class _Row:
    digest: str
    since: int  # number of the look that drew it
    html: Mapping[Language, str]


@dataclass(slots=True)
class _Viewer:
    stream: EventStream
    language: Language


@dataclass(slots=True)
class _Look:
    """How the list stood; `number` grows with each change."""

    number: int = 0
    stamp: str = ""
    at_ms: int = 0
    is_stale: bool = False
    rows: dict[int, _Row] = field(default_factory=dict[int, "_Row"])
    counts: dict[Language, str] = field(default_factory=dict["Language", str])
    messages: dict[tuple[Language, int], str] = field(
        default_factory=dict["tuple[Language, int]", str]
    )


class LiveToday:
    """Serves ``/console/live``.

    Args:
        worklist: what is to be done.
        rows: draws it.
        doorkeeper: tells whether a viewer is still logged in.
        clock: the present.
        poll_s: how often to look while somebody watches.
        ping_s: how often a quiet stream shows that it lives and its session is checked.
    """

    def __init__(
        self,
        *,
        worklist: Worklist,
        rows: Rows,
        doorkeeper: Doorkeeper,
        clock: Clock,
        poll_s: float = POLL_S,
        ping_s: float = PING_S,
    ) -> None:
        self._worklist = worklist
        self._rows = rows
        self._doorkeeper = doorkeeper
        self._clock = clock
        self._poll_s = poll_s
        self._ping_s = ping_s
        self._viewers: dict[EventStream, _Viewer] = {}
        self._look = _Look()
        self._watch: asyncio.Task[None] | None = None

    async def get(self, request: web.Request) -> web.StreamResponse:
        """Send what changes until the viewer leaves or is logged out."""
        if len(self._viewers) >= _MOST_VIEWERS:
            raise Refusal(503, retry_after_s=30)
        stream = EventStream(request)
        viewer = self._viewers[stream] = _Viewer(stream, language_of(request))
        try:
            async with stream:
                await stream.retry(_RETRY_MS)
                await self._begin(viewer.language)
                await self._serve(request, viewer)
        except TransientError:
            pass  # the browser connects again by itself
        finally:
            del self._viewers[stream]
            if not self._viewers and self._watch is not None:
                self._watch.cancel()
                self._watch = None
        return stream.response

    async def _serve(self, request: web.Request, viewer: _Viewer) -> None:
        visit, stream, cursor = visit_of(request), viewer.stream, -1
        while not stream.closing:
            if cursor != self._look.number:
                message = self._message(viewer.language, cursor)
                cursor = self._look.number
                await stream.send(
                    message.replace(TOKEN_PLACE, visit.form_token), event="tasks", id=cursor
                )
            if not await stream.wait(self._ping_s):
                again = await self._doorkeeper.again(visit)
                if again is None:
                    await stream.send("", event="over")
                    return
                visit = again
                await self._doorkeeper.stay(visit)
                await stream.ping()

    async def _begin(self, language: Language) -> None:
        """Have a look to send, in this language too, before the first message."""
        if self._watch is None or language not in self._look.counts:
            await self._take()
        if self._watch is None:
            self._watch = asyncio.create_task(self._keep_looking())

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(self._poll_s)
            try:
                late = self._clock.now_ms() - self._look.at_ms >= _AFRESH_MS
                if late or self._look.is_stale or await self._worklist.stamp() != self._look.stamp:
                    await self._take()
            except TransientError:
                self._say_stale()
            except Exception as error:
                # One bad row must not end the list for everybody.
                log.exception("live_list_failed", error=type(error).__name__)
                self._say_stale()

    def _say_stale(self) -> None:
        if not self._look.is_stale:
            self._look.is_stale = True
            self._publish()

    async def _take(self) -> None:
        """Look at the list, and wake the viewers when it is not as it was."""
        stamp = await self._worklist.stamp()
        tasks = await self._worklist.open_tasks(limit=SHOWN)
        counted = await self._worklist.counts()
        look = self._look
        languages: set[Language] = {viewer.language for viewer in self._viewers.values()}
        counts: dict[Language, str] = {
            language: self._rows.counts(counted, language) for language in languages
        }
        rows = self._drawn(tasks, languages)
        order = [(task_id, row.digest) for task_id, row in rows.items()]
        is_same = (
            not look.is_stale
            and counts == look.counts
            and order == [(task_id, row.digest) for task_id, row in look.rows.items()]
        )
        look.stamp, look.at_ms, look.is_stale = stamp, self._clock.now_ms(), False
        look.rows, look.counts = rows, counts
        if not (is_same and look.number):
            self._publish()

    def _drawn(self, tasks: Sequence[StaffTask], languages: set[Language]) -> dict[int, _Row]:
        drawn: dict[int, _Row] = {}
        for task in tasks:
            digest, before = self._rows.digest(task), self._look.rows.get(task.id)
            if before is not None and before.digest == digest and languages <= before.html.keys():
                drawn[task.id] = before
                continue
            html: dict[Language, str] = {
                each: self._rows.row(task, each, TOKEN_PLACE) for each in languages
            }
            is_new = before is None or before.digest != digest
            since = self._look.number + 1 if is_new or before is None else before.since
            drawn[task.id] = _Row(digest, since, html)
        return drawn

    def _publish(self) -> None:
        self._look.number += 1
        self._look.messages.clear()
        for viewer in self._viewers.values():
            viewer.stream.wake()

    def _message(self, language: Language, cursor: int) -> str:
        """Return what a viewer needs who saw look `cursor`; -1 = has the page and nothing else."""
        look = self._look
        known = look.messages.get((language, cursor))
        if known is None:
            new = {
                str(task_id): row.html[language]
                for task_id, row in look.rows.items()
                if cursor >= 0 and row.since > cursor
            }
            known = look.messages[language, cursor] = json.dumps(
                {
                    "order": [[task_id, row.digest] for task_id, row in look.rows.items()],
                    "rows": new,
                    "counts": look.counts[language],
                    "stale": look.is_stale,
                },
                ensure_ascii=False,
            )
        return known
