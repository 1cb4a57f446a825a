"""State of the connection to Telegram, and how long to wait before trying it again."""

from __future__ import annotations

import asyncio
import random
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal, TypeVar

import structlog
from telegram.error import Conflict, InvalidToken, RetryAfter, TelegramError

from adapters.telegram.errors import retry_after_s
from core.errors import TransientError

_log = structlog.get_logger(__name__)
_T = TypeVar("_T")

State = Literal[
    "starting",
    "ready",
    "unreachable",  # the network or Telegram is down; we keep trying
    "conflict",  # somebody else polls with our token, or has set a webhook
    "unauthorized",  # Telegram rejects the token
    "not_storing",  # our own intake refuses; Telegram keeps the messages
]
_REMEDY: dict[State, str] = {
    "starting": "not yet connected",
    "ready": "",
    "unreachable": "Telegram cannot be reached: check the network and telegram.proxy",
    "conflict": "another process uses this bot's token: stop it, or remove its webhook",
    "unauthorized": "Telegram rejects the token: set telegram.token anew from @BotFather",
    "not_storing": "messages cannot be stored: check the database; Telegram keeps them for 24 h",
}
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 30.0
# Neither passes by itself soon, and Telegram counts the attempts.
_LEAST_PAUSE_S: dict[State, float] = {"conflict": 5.0, "unauthorized": 30.0}


@dataclass(slots=True)
class Link:
    """What is known about the connection; changes are logged once each."""

    state: State = "starting"
    username: str | None = None
    failures: int = 0

    @property
    def remedy(self) -> str:
        """What an operator should do about it; "" when all is well."""
        return _REMEDY[self.state]

    def succeeded(self) -> None:
        """Note that Telegram answered as it should."""
        self.failures = 0
        self._become("ready")

    def failed(self, error: Exception) -> float:
        """Note a failure and return how many seconds to wait before the next attempt."""
        self.failures += 1
        match error:
            case RetryAfter():
                return retry_after_s(error)
            case Conflict():
                self._become("conflict", error)
            case InvalidToken():
                self._become("unauthorized", error)
            case TelegramError():
                self._become("unreachable", error)
            case _:
                if not isinstance(error, TransientError):
                    # Where, but not what: an error's text and locals may hold a patient's words.
                    where = traceback.format_tb(error.__traceback__)
                    _log.error(
                        "telegram_intake_broken", error=type(error).__name__, where="".join(where)
                    )
                self._become("not_storing", error)
        pause_s = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2 ** min(self.failures - 1, 10))
        pause_s *= random.uniform(0.5, 1.0)  # noqa: S311 spreads attempts, guards nothing
        return max(pause_s, _LEAST_PAUSE_S.get(self.state, 0.0))

    def _become(self, state: State, error: Exception | None = None) -> None:
        if state != self.state:
            cause = type(error).__name__ if error else None
            _log.log(_level(state), "telegram_link", state=state, was=self.state, cause=cause)
            self.state = state


async def persist(
    action: Callable[[], Awaitable[_T]],
    link: Link,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> _T:
    """Repeat `action` until it succeeds; only cancelling ends it earlier."""
    while True:
        try:
            result = await action()
        except Exception as error:
            await sleep(link.failed(error))
        else:
            link.succeeded()
            return result


def _level(state: State) -> int:
    return 20 if state in ("starting", "ready") else 30
