"""Every error this service raises on purpose, split by who acts on it.

    OculiChatError
    ├── PatientError          the patient can act: say `text_key` to them in their language
    ├── TransientError        nobody acts: try again later (`retry_after_s`)
    │   ├── Throttled         the platform or server asked for a pause; nothing was accepted
    │   ├── Unreachable       the connection failed before anything was accepted: safe to repeat
    │   └── ModelUnavailable  the LLM gave no usable answer; the guided consult takes over
    │       ├── ModelBusy         it is well, but too many are asking: say so
    │       └── ContextOverflow   the conversation is too long for it: shorten and repeat
    ├── SendUnknown           the platform may or may not have accepted the message
    ├── SendRefused           the platform will never accept this message (blocked, chat gone)
    ├── ConfigError           the operator acts: names the key, the file and the remedy
    └── Bug                   we act: an invariant is broken

Adapters translate library errors into these at the border; core never sees a library's error.
"""

from __future__ import annotations

import asyncio
from typing import Literal


class OculiChatError(Exception):
    """Root of the tree; never raised itself."""


class PatientError(OculiChatError):
    """Something the patient can mend; `text_key` names the catalogue text that says how."""

    def __init__(self, text_key: str, **fields: str | int) -> None:
        super().__init__(text_key)
        self.text_key = text_key
        self.fields = fields


class TransientError(OculiChatError):
    """Will pass by itself; `retry_after_s` is the pause the other side asked for, if it did."""

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Throttled(TransientError):
    """The other side asked for a pause and accepted nothing.

    `scope` says what has to pause: one chat, or everything sent from this account. `sooner` is
    set when trying is worth it before the pause is over (WeChat: the person wrote again).
    """

    def __init__(
        self,
        message: str,
        *,
        retry_after_s: float,
        scope: Literal["chat", "account"] = "chat",
        sooner: asyncio.Event | None = None,
    ) -> None:
        super().__init__(message, retry_after_s=retry_after_s)
        self.scope: Literal["chat", "account"] = scope
        self.sooner = sooner


class Unreachable(TransientError):
    """The connection failed before the other side accepted anything, so repeating is safe."""


class ModelUnavailable(TransientError):
    """The LLM gave no usable answer: down, overloaded, cut off or too slow."""


class ModelBusy(ModelUnavailable):
    """Our own admission limit is reached; whoever asks is told that many are asking."""


class ContextOverflow(ModelUnavailable):
    """The conversation is longer than the LLM's context; shorten it and repeat."""


class SendUnknown(OculiChatError):
    """A request left us and no answer came back: the platform may have delivered it."""


class SendRefused(OculiChatError):
    """The platform refuses for good.

    `unlink` is true when the chat itself is gone (blocked, deleted), so that nothing else
    is sent there until the patient writes again.
    """

    def __init__(self, message: str, *, unlink: bool = False) -> None:
        super().__init__(message)
        self.unlink = unlink


class ConfigError(OculiChatError):
    """A setting is wrong; the message names the key, the file and the remedy. Exit status 78."""


class Bug(OculiChatError):
    """An invariant is broken; never shown to a patient, always logged with its turn."""
