"""Tells staff in their own chats that an emergency waits on the worklist.

The turn marks the task as due for an alert in its own transaction; this part, beaten by the
ticker, sends it to the first chat and, while nobody takes the task, to the next one. Quiet hours
hold reminders to patients, never an alert. The text names no person and quotes nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

import structlog

from core.clock import Clock
from core.delivery import OUTBOX_BODY
from core.message import Address, Language
from core.ports import Channel
from core.reply import Block, Bold, Link, Paragraph, Reply, paragraph, to_json
from core.split import split
from core.store.alerts import NewAlert, WaitingTask, send_alerts, tasks_to_alert
from core.store.history import SERVICE_BODY
from core.store.outbox import OutboxRow
from core.store.store import Store
from core.texts import text

log = structlog.get_logger(__name__)

# With one chat the alert is still repeated once.
_FEWEST_ALERTS = 2


@dataclass(frozen=True, slots=True)
class AlertSettings:
    """Where alerts go.

    Attributes:
        chats: staff chats in the order in which they are tried.
        repeat_after_ms: a task nobody took for so long is announced in the next chat.
        language: of the alerts.
        zone: IANA zone of the times shown.
        console_url: address of the staff console, or None.
    """

    chats: tuple[Address, ...]
    repeat_after_ms: int
    language: Language
    zone: str
    console_url: str | None


@dataclass(slots=True)
class AlertCounts:
    """What was sent, for metrics."""

    sent: int = 0
    repeated: int = 0


class StaffAlerts:
    """Sends what is due.

    Args:
        store: where tasks and the outbox are.
        clock: the present.
        channels: by (name, account), for the limits of each chat's channel.
        deliver: takes the committed rows to their channel.
        settings: see `AlertSettings`.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        channels: Mapping[tuple[str, str], Channel],
        deliver: Callable[[Address, Sequence[OutboxRow]], None],
        settings: AlertSettings,
    ) -> None:
        self._store = store
        self._clock = clock
        self._channels = channels
        self._deliver = deliver
        self._settings = settings
        self.counts = AlertCounts()

    async def tick(self) -> None:
        """Send every alert that is due."""
        for task in await self._store.read(tasks_to_alert, self._clock.now_ms()):
            alert = self._alert(task)
            rows: list[OutboxRow] = await self._store.write(send_alerts, alert)
            if rows:
                self.counts.sent += 1
                self.counts.repeated += task.alerts > 0
                log.info("staff_alerted", task=task.id, urgency=task.urgency, alert=task.alerts + 1)
                self._deliver(alert.to, rows)

    def _alert(self, task: WaitingTask) -> NewAlert:
        chats = self._settings.chats
        to = chats[task.alerts % len(chats)]
        is_last = task.alerts + 1 >= max(_FEWEST_ALERTS, len(chats))
        now_ms = self._clock.now_ms()
        reply = alert_reply(task, self._settings)
        capabilities = self._channels[(to.channel, to.account)].capabilities
        keys = self._store.keys
        return NewAlert(
            task.id,
            task.alerts,
            to,
            f"alert:{task.id}:{task.alerts + 1}",
            keys.seal_json(SERVICE_BODY, to_json(reply)),
            tuple(
                keys.seal_json(OUTBOX_BODY, to_json(part)) for part in split(reply, capabilities)
            ),
            now_ms,
            None if is_last else now_ms + self._settings.repeat_after_ms,
        )


def alert_reply(task: WaitingTask, settings: AlertSettings) -> Reply:
    """Return an alert: number, class, since when, and the way to the console."""
    language = settings.language
    since = datetime.fromtimestamp(task.opened_at_ms / 1000, ZoneInfo(settings.zone))
    line = text(
        language,
        "alert.line",
        patient=f"P-{task.patient_id}",
        urgency=text(language, f"alert.class.{task.urgency}"),
        since=f"{since:%m-%d %H:%M}",
    )
    blocks: list[Block] = [Paragraph((Bold(line),))]
    if task.alerts:
        blocks.append(paragraph(text(language, "alert.again", n=task.alerts + 1)))
    console = text(language, "alert.console")
    url = settings.console_url
    blocks.append(Paragraph((Link(console, url),)) if url else paragraph(console))
    return Reply("emergency", tuple(blocks))
