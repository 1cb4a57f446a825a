"""An answer shown while it is being written.

Private chats get Telegram's own drafts (``sendMessageDraft``): a preview that Telegram itself
removes after 30 s, so neither a crash nor a missed close leaves anything behind.

A server without drafts gets a silent message that is edited as the answer grows. Closing deletes
it *before* the final answer is sent as one normal message, so nobody reads the answer twice; the
final answer never depends on the draft, for it is in the outbox. What a crash in that moment can
leave is an unfinished text, marked by its "…", above the whole answer.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import structlog
from telegram import Bot
from telegram.error import BadRequest, Forbidden, InvalidToken, RetryAfter, TelegramError

from adapters.telegram.errands import Errands
from adapters.telegram.errors import retry_after_s
from adapters.telegram.pace import Pace
from core.split import clean_text, longest_prefix

_log = structlog.get_logger(__name__)

# Edits count as messages; peers that edited faster were stopped for minutes.
_EDIT_INTERVAL_S = 1.0
_EDIT_GROWTH = 80  # characters that make an edit worth it …
_EDIT_LATEST_S = 3.0  # … or this long after the last one
_DRAFT_INTERVAL_S = 0.5
_TEXT_LIMIT = 4096  # UTF-16 units, https://core.telegram.org/bots/api#sendmessage
_UNFINISHED = " …"
_CLOSE_TIMEOUT_S = 2.0
_DELETE_ATTEMPTS = 3

Mode = Literal["draft", "edit", "off"]


@dataclass(slots=True)
class Drafting:
    """What all drafts of one bot share. `native` turns false when the server knows no drafts."""

    bot: Bot
    pace: Pace
    errands: Errands
    now_s: Callable[[], float] = time.monotonic
    native: bool = True


class TelegramDraft:
    """A growing answer in one private chat; implements `core.ports.Draft`."""

    def __init__(self, drafting: Drafting, chat_id: int) -> None:
        self._shared = drafting
        self._chat_id = chat_id
        self._draft_id = secrets.randbelow(2**31 - 1) + 1  # must not be 0
        self._mode: Mode = "draft" if drafting.native else "edit"
        self._shown = ""
        self._shown_at_s = float("-inf")
        self._opened_at_s = drafting.now_s()
        self._message_id: int | None = None
        self._drawing: asyncio.Task[None] | None = None
        self._closed = False

    async def show(self, text: str) -> None:
        """Draw `text` in the background if it is time to; never waits for Telegram."""
        if self._closed or (self._drawing and not self._drawing.done()) or not self._is_due(text):
            return
        if self._shared.pace.spare(str(self._chat_id)):
            self._shown, self._shown_at_s = text, self._shared.now_s()
            self._drawing = self._shared.errands.run(self._draw(text), "draft")

    async def close(self) -> None:
        """Let the last drawing end and take the draft away."""
        self._closed = True
        if self._drawing and not self._drawing.done():
            await asyncio.wait((self._drawing,), timeout=_CLOSE_TIMEOUT_S)
        if self._message_id is not None:
            removal = self._shared.errands.run(self._remove(), "draft-removal")
            if removal:
                await asyncio.wait((removal,), timeout=_CLOSE_TIMEOUT_S)

    def _is_due(self, text: str) -> bool:
        if self._mode == "off" or text == self._shown or not text.strip():
            return False
        now_s = self._shared.now_s()
        if now_s - self._opened_at_s < _DRAFT_INTERVAL_S:
            return False  # an answer that is ready this soon is better read at once
        since_s = now_s - self._shown_at_s
        if self._mode == "draft":
            return since_s >= _DRAFT_INTERVAL_S
        grown = len(text) - len(self._shown) >= _EDIT_GROWTH
        return since_s >= _EDIT_LATEST_S or (grown and since_s >= _EDIT_INTERVAL_S)

    async def _draw(self, text: str) -> None:
        text = clean_text(text)
        try:
            if self._mode == "draft":
                await self._draw_native(longest_prefix(text, _TEXT_LIMIT, "utf16"))
            if self._mode == "edit":
                room = _TEXT_LIMIT - len(_UNFINISHED)
                await self._draw_message(longest_prefix(text, room, "utf16") + _UNFINISHED)
        except RetryAfter as error:
            self._shared.pace.pause(str(self._chat_id), retry_after_s(error))
        except BadRequest as error:
            if "not modified" not in error.message.lower():
                self._mode = "off"
        except (Forbidden, InvalidToken):
            self._mode = "off"
        except TelegramError:
            # After a lost answer to the first message nobody knows its id: no more of them.
            if self._mode == "edit" and self._message_id is None:
                self._mode = "off"
        if self._closed and self._message_id is not None:
            await self._remove()

    async def _draw_native(self, text: str) -> None:
        try:
            await self._shared.bot.send_message_draft(self._chat_id, self._draft_id, text)
        except InvalidToken:  # 404: a server that does not know the method, or 401
            self._shared.native = False
            self._mode = "edit"
            _log.info("telegram_drafts_unsupported")
        except BadRequest:
            self._mode = "edit"

    async def _draw_message(self, text: str) -> None:
        bot = self._shared.bot
        if self._message_id is None:
            sent = await bot.send_message(self._chat_id, text, disable_notification=True)
            self._message_id = sent.message_id
        else:
            await bot.edit_message_text(text, self._chat_id, self._message_id)

    async def _remove(self) -> None:
        message_id, self._message_id = self._message_id, None
        for attempt in range(1, _DELETE_ATTEMPTS + 1):
            if message_id is None:
                return
            try:
                await self._shared.bot.delete_message(self._chat_id, message_id)
            except RetryAfter as error:
                await asyncio.sleep(retry_after_s(error))
            except (BadRequest, Forbidden, InvalidToken):  # already gone, or nothing to be done
                return
            except TelegramError:
                await asyncio.sleep(attempt)
            else:
                return
