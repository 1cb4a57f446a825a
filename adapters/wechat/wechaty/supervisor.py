"""Keeps the event stream of one gateway open, whatever happens to the gateway.

Start is idempotent, Stop is never sent: it would log the account out. One error event, one event
nobody can read, or a gateway that is away changes a state, and nothing else in the process.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import Never

import structlog

from adapters.wechat.wechaty.client import CallFailed, Event, GatewayClient
from adapters.wechat.wechaty.link import Link, place_of
from adapters.wechat.wechaty.protocol import EventType

_log = structlog.get_logger(__name__)

_OPEN_AFTER_S = 5.0  # without an event or an error the stream counts as open
_DONG_WITHIN_S = 15.0
_GREETING_S = 2.0  # the gateway itself begins each stream with a heartbeat

# What npm's wechaty-puppet calls ScanStatus: cancelled, waiting, scanned, confirmed, timed out.
_NOT_TO_SCAN = frozenset({1, 3, 4, 5})


class Supervisor:
    """Owner of the connection.

    Args:
        client: speaks to the gateway.
        link: where the state is noted.
        announced: takes the id of each new message.
        changed: is told that what was known about people may be out of date.
        quiet_s: after so long without any event the puppet is asked for one.
        sleep: waits.
    """

    def __init__(
        self,
        client: GatewayClient,
        link: Link,
        announced: Callable[[str], None],
        changed: Callable[[], None],
        *,
        quiet_s: float,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._client = client
        self._link = link
        self._announced = announced
        self._changed = changed
        self._quiet_s = quiet_s
        self._sleep = sleep

    async def run(self) -> Never:
        """Connect, read events, and connect again, until cancelled."""
        while True:
            try:
                await self._attend()
                error = CallFailed("unreachable", written=False, cause="the stream ended")
            except CallFailed as failed:
                error = failed
            except Exception as broken:
                _log.error("wechaty_stream_broken", **place_of(broken))
                error = CallFailed("failed", written=False, cause=type(broken).__name__)
            pause_s = self._link.failed(error)
            # What is left of the old connection must not keep the new stream waiting.
            self._client.hang_up()
            await self._sleep(pause_s)

    async def _attend(self) -> None:
        await self._client.start()
        async with self._client.events() as events:
            # A refusal comes as late as the first event; gateways of 1.x begin with one.
            late = asyncio.get_running_loop().call_later(_OPEN_AFTER_S, self._link.opened)
            try:
                async for event in events:
                    self._link.opened()
                    self._link.heard()
                    self._take(event)
            finally:
                late.cancel()

    def _take(self, event: Event) -> None:
        try:
            self._act(event)
        except Exception as error:
            _log.error("wechaty_event_broken", event_type=event.type, **place_of(error))

    def _act(self, event: Event) -> None:
        match event.type:
            case EventType.MESSAGE:
                self._link.proved_alive()
                if message_id := event.text("messageId"):
                    self._announced(message_id)
            case EventType.LOGIN:
                self._link.logged_in(event.text("contactId"))
            case EventType.LOGOUT:
                self._link.logged_out()
            case EventType.SCAN:
                qr = "" if event.payload.get("status") in _NOT_TO_SCAN else event.text("qrcode")
                is_new = bool(qr) and qr != self._link.qr
                self._link.scan(qr)
                if is_new:
                    show_in_terminal(qr)
            case EventType.DONG:
                self._link.proved_alive()
                self._link.dongs += 1
            case EventType.ERROR:
                # Not its text: puppets put into it what they were working on.
                _log.warning("wechaty_gateway_error")
            case EventType.DIRTY | EventType.FRIENDSHIP:
                self._changed()
            case EventType.HEARTBEAT if self._link.open_s > _GREETING_S:
                self._link.proved_alive()
            case _:
                pass  # rooms, ready: nothing of ours

    async def watch(self) -> Never:
        """Ask a puppet that has been silent for long whether it still hears, until cancelled."""
        while True:
            await self._sleep(self._quiet_s / 2)
            if self._link.state not in ("logged_in", "quiet"):
                continue
            if self._link.event_age_s < self._quiet_s:
                continue
            try:
                await self._client.ding()
            except CallFailed as error:
                _log.debug("wechaty_ding_failed", why=error.why)
            await self._sleep(_DONG_WITHIN_S if self._quiet_s > _DONG_WITHIN_S else self._quiet_s)
            if self._link.event_age_s < self._quiet_s or not self._link.is_open:
                continue
            if self._link.quiet() and self._link.dongs:
                self._client.hang_up()  # it used to answer: the stream itself may be dead


def show_in_terminal(qr: str) -> None:
    """Draw the code to scan where somebody looks at the terminal; otherwise do nothing."""
    if not sys.stderr.isatty():
        return
    import segno  # noqa: PLC0415 only for a login

    segno.make(qr).terminal(out=sys.stderr, compact=True)
