"""Asks the gateway for each announced message and hands it to the intake, in their order."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Never, cast

import structlog

from adapters.wechat.wechaty.client import CallFailed, GatewayClient
from adapters.wechat.wechaty.inbound import Message, Person, to_inbound
from adapters.wechat.wechaty.link import Link, place_of
from adapters.wechat.wechaty.protocol import wire
from adapters.wechat.wechaty.waiting import Waiting
from core.clock import Clock
from core.errors import TransientError
from core.message import Inbound
from core.ports import Intake

_log = structlog.get_logger(__name__)

_MOST_PEOPLE = 2_000
_MOST_TRIES = 6
_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 15.0


class Receiver:
    """Empties `waiting`.

    Args:
        client: speaks to the gateway.
        link: says who we are, and when the gateway can be asked.
        waiting: the announced messages.
        clock: the present.
        account: our own name for the account.
        move: questions put in a group are answered in the private chat too.
        sleep: waits.
    """

    def __init__(
        self,
        client: GatewayClient,
        link: Link,
        waiting: Waiting,
        clock: Clock,
        *,
        account: str,
        move: bool,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._client = client
        self._link = link
        self._waiting = waiting
        self._clock = clock
        self._account = account
        self._move = move
        self._sleep = sleep
        self._people: OrderedDict[str, Person] = OrderedDict()
        self._sequence = 0
        self._news = asyncio.Event()

    def announced(self, message_id: str) -> None:
        """Note that there is a message; it is on disk when this returns."""
        if self._waiting.add(message_id):
            self._news.set()

    async def run(self, intake: Intake) -> Never:
        """Fetch and store announced messages, until cancelled."""
        failures = 0
        while True:
            message_id = self._waiting.first()
            if message_id is None:
                self._news.clear()
                await self._news.wait()
                continue
            await self._link.usable_event.wait()
            if await self._receive(message_id, intake):
                failures = 0
            else:
                failures += 1
                await self._sleep(min(_LONGEST_PAUSE_S, _PAUSE_S * 2 ** min(failures - 1, 8)))

    async def _receive(self, message_id: str, intake: Intake) -> bool:
        """Take one message as far as it goes; False = wait before the next try."""
        try:
            found = await self._read(_message(message_id, await self._client.message(message_id)))
        except CallFailed as error:
            if error.why not in ("failed", "refused", "timeout"):
                return False  # the connection is gone; the supervisor brings it back
            return self._put_off(message_id, error.why)
        except Exception as error:
            _log.error("wechaty_message_broken", **place_of(error))
            self._waiting.done(message_id)
            return True
        try:
            if found:
                await intake.accept(found)
        except Exception as error:
            if not isinstance(error, TransientError):
                _log.error("wechaty_intake_broken", **place_of(error))
            self._link.stored(False)
            return False
        self._link.stored(True)
        self._waiting.done(message_id)
        return True

    def _put_off(self, message_id: str, why: str) -> bool:
        """Try the others first; after several times nobody can read it."""
        tries = self._waiting.later(message_id)
        if tries < _MOST_TRIES:
            return False
        _log.error("wechaty_message_unreadable", why=why, tries=tries)
        self._waiting.done(message_id)
        return True

    async def _read(self, message: Message) -> list[Inbound]:
        if message.sender_id in ("", self._link.me):
            return []  # what we sent comes back as an event
        me = await self._person(self._link.me) if message.room_id else Person(self._link.me)
        sender = await self._person(message.sender_id)
        now_ms = self._clock.now_ms()
        # The stream's own order. Times only keep it growing over restarts of this process.
        told_ms = message.sent_at_ms if 0 < message.sent_at_ms < now_ms else now_ms
        self._sequence = max(self._sequence + 1, told_ms)
        return to_inbound(
            message, sender, me, account=self._account, sequence=self._sequence, move=self._move
        )

    async def _person(self, person_id: str) -> Person:
        """Return who somebody is; without a name when the gateway cannot tell."""
        known = self._people.get(person_id)
        if known is not None:
            self._people.move_to_end(person_id)
            return known
        try:
            told = await self._client.contact(person_id)
        except CallFailed as error:
            if error.why == "unreachable":
                raise
            return Person(person_id)
        person = Person(person_id, told.name, told.friend, int(cast("int", told.type)))
        self._people[person_id] = person
        if len(self._people) > _MOST_PEOPLE:
            self._people.popitem(last=False)
        return person

    def forget_people(self) -> None:
        """Ask anew who people are: somebody changed their name, or became a contact."""
        self._people.clear()


def _message(message_id: str, told: wire.MessagePayloadResponse) -> Message:
    return Message(
        message_id,
        int(cast("int", told.type)),
        told.text,
        told.from_id,
        told.room_id,
        tuple(told.mention_ids),
        told.timestamp,
        told.filename,
    )
