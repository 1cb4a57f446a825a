"""The morning message to the staff chats: what waits, what is overdue, who is expected.

Counts only: it names nobody. Sent once per local day, by whichever process comes first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, time
from zoneinfo import ZoneInfo

import structlog

from core.clock import Clock
from core.delivery import OUTBOX_BODY
from core.followup.walltime import day_of, wall_of
from core.message import Address, Language
from core.ports import Channel
from core.reply import Block, Link, Paragraph, Reply, paragraph, to_json
from core.split import split
from core.store.digest import DayFigures, DayQuery, Digest, day_figures, send_digest, was_sent
from core.store.history import SERVICE_BODY
from core.store.outbox import OutboxRow
from core.store.store import Store
from core.texts import text

log = structlog.get_logger(__name__)

_LATEST = time(12, 0)  # a morning message that is hours late says nothing new


@dataclass(frozen=True, slots=True)
class DigestSettings:
    """Where and when.

    Attributes:
        chats: staff chats.
        at: local time of day.
        language: of the message.
        zone: IANA zone of the clinic.
        console_url: address of the staff console, or None.
    """

    chats: tuple[Address, ...]
    at: time
    language: Language
    zone: str
    console_url: str | None


class StaffDigest:
    """Sends the message of the day when its time has come; see `DigestSettings`."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        channels: Mapping[tuple[str, str], Channel],
        deliver: Callable[[Address, Sequence[OutboxRow]], None],
        settings: DigestSettings,
    ) -> None:
        self._store = store
        self._clock = clock
        self._channels = channels
        self._deliver = deliver
        self._settings = settings
        self._done = ""

    async def tick(self) -> None:
        """Send today's message unless it was sent, is not due yet, or comes too late."""
        settings, now_ms = self._settings, self._clock.now_ms()
        now = wall_of(now_ms, settings.zone).time()
        day = day_of(now_ms, settings.zone).isoformat()
        too_late = settings.at < _LATEST <= now
        if self._done == day or now < settings.at or too_late:
            return
        if not await self._store.read(was_sent, day):
            figures = await self._store.read(day_figures, DayQuery(day, now_ms))
            reply = digest_reply(figures, settings)
            sent = await self._store.write(send_digest, self._sealed(day, now_ms, reply))
            for to, rows in sent:
                self._deliver(to, rows)
            if sent:
                log.info("staff_digest", open=figures.open, overdue=figures.overdue)
        self._done = day

    def _sealed(self, day: str, now_ms: int, reply: Reply) -> Digest:
        keys = self._store.keys
        messages: list[tuple[Address, bytes, tuple[bytes, ...]]] = []
        for to in self._settings.chats:
            capabilities = self._channels[(to.channel, to.account)].capabilities
            parts = split(reply, capabilities)
            sealed = tuple(keys.seal_json(OUTBOX_BODY, to_json(part)) for part in parts)
            messages.append((to, keys.seal_json(SERVICE_BODY, to_json(reply)), sealed))
        return Digest(day, now_ms, tuple(messages))


def digest_reply(figures: DayFigures, settings: DigestSettings) -> Reply:
    """Return the message: tasks, overdue ones, visits of the day, plans that are due."""
    language = settings.language
    oldest = "-"
    if figures.oldest_ms is not None:
        oldest = (
            f"{datetime.fromtimestamp(figures.oldest_ms / 1000, ZoneInfo(settings.zone)):%m-%d}"
        )
    lines = [
        text(language, "alert.digest.tasks", open=figures.open, urgent=figures.urgent),
        text(language, "alert.digest.overdue", overdue=figures.overdue, oldest=oldest),
        text(language, "alert.digest.visits", visits=figures.visits, due=figures.due),
    ]
    console = text(language, "alert.console")
    url = settings.console_url
    blocks: list[Block] = [paragraph(line) for line in lines]
    blocks.append(Paragraph((Link(console, url),)) if url else paragraph(console))
    return Reply("notice", tuple(blocks))
