"""Shows "typing…" while a turn runs. WeChat wants a ticket for it, which lasts about a day."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

from adapters.wechat.ilink.api import Access, IlinkApi, NoAnswer, NotSent, Refused
from core.errors import OculiChatError

Find = Callable[[str], Awaitable[tuple[Access, str] | None]]
_DELAY_S = 0.3  # most turns are over by then
_REPEAT_S = 5.0
_MOST_REPEATS = 60  # five minutes; nobody is still waiting
_MOST_TICKETS = 2_000
_ON, _OFF = 1, 2


class Typing:
    """Owner of the calls nobody waits for.

    Args:
        api: the started client.
        find: returns how to reach a person and their context, or None when we cannot.
    """

    def __init__(self, api: IlinkApi, find: Find) -> None:
        self._api = api
        self._find = find
        self._tickets: dict[str, str] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def shown(self, user_id: str) -> AsyncGenerator[None]:
        """Show it while the block runs; never raises, never delays the block."""
        task = self._own(self._repeat(user_id))
        try:
            yield
        finally:
            task.cancel()

    def _own(self, call: Awaitable[None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(call)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _repeat(self, user_id: str) -> None:
        await asyncio.sleep(_DELAY_S)
        try:
            found = await self._find(user_id)
            if found is None:
                return
            access, context = found
            ticket = await self._ticket(access, user_id, context)
            try:
                for _ in range(_MOST_REPEATS):
                    await self._say(access, user_id, ticket, _ON)
                    await asyncio.sleep(_REPEAT_S)
            except asyncio.CancelledError:
                self._own(self._off(access, user_id, ticket))
                raise
        except (NotSent, NoAnswer, Refused, OculiChatError):
            self._tickets.pop(user_id, None)  # perhaps it was too old

    async def _off(self, access: Access, user_id: str, ticket: str) -> None:
        try:
            await self._say(access, user_id, ticket, _OFF)
        except (NotSent, NoAnswer, Refused):
            return

    async def _ticket(self, access: Access, user_id: str, context: str) -> str:
        if user_id not in self._tickets:
            body = {"ilink_user_id": user_id, "context_token": context}
            answer = await self._api.call(access, "getconfig", body)
            if len(self._tickets) >= _MOST_TICKETS:
                self._tickets.clear()
            self._tickets[user_id] = str(answer.get("typing_ticket") or "")
        return self._tickets[user_id]

    async def _say(self, access: Access, user_id: str, ticket: str, status: int) -> None:
        body = {"ilink_user_id": user_id, "typing_ticket": ticket, "status": status}
        await self._api.call(access, "sendtyping", body)

    async def close(self) -> None:
        """Cancel what is under way."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
