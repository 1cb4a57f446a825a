"""What a person's last message allows us. Pure.

WeChat takes about ten messages of ours after each of the person's, and none a day later. It says
no with one code for several reasons, so refusals in a row count as the end of the allowance.
"""

from __future__ import annotations

from typing import Literal

from adapters.wechat.ilink.logins import Context
from adapters.wechat.ilink.settings import IlinkSettings

Allowance = Literal[
    "open",
    "used_up",  # wait until the person writes
    "ended",  # too long ago, or never: somebody has to call
]
# Issues 81, 204, 286 and 309 of Tencent/openclaw-weixin: -2 is said for too many messages, for
# an old context and for no stated reason; only the first two stay.
_REFUSALS = 3
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 5.0, 600.0
_RATE_PAUSE_S = 30.0  # issue 270: a rate limit lasted for half an hour


def allowance(
    context: Context | None, now_ms: int, settings: IlinkSettings, *, urgent: bool
) -> Allowance:
    """Tell whether another message may go."""
    if context is None or now_ms - context.received_at_ms > settings.context_ms:
        return "ended"
    if context.refused >= _REFUSALS or context.sent >= limit(settings, urgent=urgent):
        return "used_up"
    return "open"


def limit(settings: IlinkSettings, *, urgent: bool) -> int:
    """Return how many messages of this kind one context takes; at least one."""
    if urgent:
        return settings.messages_per_context
    return max(1, settings.messages_per_context - settings.kept_for_emergencies)


def pause_s(refusals: int, reason: str) -> float:
    """Return how long to wait after so many refusals in a row."""
    first_s = _RATE_PAUSE_S if is_rate_limit(reason) else _FIRST_PAUSE_S
    return min(_LONGEST_PAUSE_S, first_s * 2 ** min(max(refusals - 1, 0), 10))


def is_rate_limit(reason: str) -> bool:
    """Tell whether WeChat says that everything is well but too fast."""
    return "rate" in reason.lower() or "freq" in reason.lower()
