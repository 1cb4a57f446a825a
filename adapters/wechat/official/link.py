"""State of the connection to WeChat's API, and whether this account may write by itself."""

from __future__ import annotations

import time
from typing import Literal

import structlog

from core.errors import Throttled

log = structlog.get_logger(__name__)

State = Literal[
    "starting",
    "ready",
    "unreachable",  # the network or WeChat is down; what must go out waits
    "misconfigured",  # WeChat rejects app id, secret or our address
]
# An account may be verified any day: ask again after so long.
_PASSIVE_FOR_S = 24 * 3600.0


class Link:
    """What is known about the API; changes are logged once each.

    Args:
        always_passive: the settings say so.
        may_learn: becoming passive by WeChat's refusal is allowed.
    """

    def __init__(self, *, always_passive: bool, may_learn: bool) -> None:
        self._always_passive = always_passive
        self._may_learn = may_learn
        self._passive_until_s = 0.0
        self._paused_until_s = 0.0
        self.state: State = "starting"
        self.remedy = "WeChat's API was not asked yet"

    @property
    def is_passive(self) -> bool:
        """Whether answers go into WeChat's own requests."""
        return self._always_passive or time.monotonic() < self._passive_until_s

    def succeeded(self) -> None:
        """Note that WeChat answered as it should."""
        self._become("ready", "")

    def failed(self, remedy: str, *, by_us: bool) -> None:
        """Note a failure; `by_us` = an operator must act."""
        self._become("misconfigured" if by_us else "unreachable", remedy)

    def not_permitted(self) -> None:
        """Note that this account may not write by itself."""
        if not self.is_passive:
            log.warning("wechat_passive", learned=self._may_learn)
        if self._may_learn:
            self._passive_until_s = time.monotonic() + _PASSIVE_FOR_S

    def pause(self, seconds: float) -> Throttled:
        """Send nothing for so long: the account's quota is used."""
        self._paused_until_s = max(self._paused_until_s, time.monotonic() + seconds)
        return Throttled("WeChat's quota", retry_after_s=seconds, scope="account")

    def pause_s(self) -> float:
        """Return how much of the pause is left."""
        return max(0.0, self._paused_until_s - time.monotonic())

    def _become(self, state: State, remedy: str) -> None:
        if state != self.state:
            log.log(_level(state), "wechat_link", state=state, was=self.state)
        self.state, self.remedy = state, remedy


def _level(state: State) -> int:
    return 20 if state in ("starting", "ready") else 30
