"""The library's errors as core's: decided by what Telegram may have done with a message."""

from __future__ import annotations

from datetime import timedelta

from telegram.error import (
    BadRequest,
    ChatMigrated,
    Conflict,
    Forbidden,
    InvalidToken,
    RetryAfter,
    TelegramError,
)

from adapters.telegram.request import NotSent, ServerFailed
from core.errors import (
    OculiChatError,
    SendRefused,
    SendUnknown,
    Throttled,
    TransientError,
    Unreachable,
)

# The chat itself is gone, whatever is sent there.
_GONE = ("chat not found", "user is deactivated", "group chat was upgraded", "peer_id_invalid")


def retry_after_s(error: RetryAfter) -> float:
    """Return the pause Telegram asked for."""
    pause = error.retry_after
    return pause.total_seconds() if isinstance(pause, timedelta) else float(pause)


def markup_refused(error: TelegramError) -> bool:
    """Tell whether Telegram could not read our markup, so that plain text may still pass."""
    return isinstance(error, BadRequest) and "can't parse entities" in error.message.lower()


def picture_refused(error: TelegramError) -> bool:
    """Tell whether only the picture was refused, so that its words may still pass."""
    text = error.message.lower()
    return isinstance(error, BadRequest) and ("image_process" in text or "photo_" in text)


def send_error(error: TelegramError) -> OculiChatError:
    """Return what a failed send means for the outbox.

    The order matters: `BadRequest`, `NotSent` and `ServerFailed` are `NetworkError`s.
    """
    match error:
        case RetryAfter():
            return Throttled(
                "Telegram asks for a pause", retry_after_s=retry_after_s(error), scope="chat"
            )
        case Forbidden() | ChatMigrated():
            return SendRefused(error.message, unlink=True)
        case BadRequest():
            gone = any(sign in error.message.lower() for sign in _GONE)
            return SendRefused(error.message, unlink=gone)
        case InvalidToken():
            return TransientError("Telegram rejects the bot's token: set telegram.token anew")
        case NotSent() | ServerFailed() | Conflict():
            return Unreachable(error.message)
        case _:  # timed out, cut off, or an answer nobody can read
            return SendUnknown(error.message)
