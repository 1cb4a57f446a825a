"""One Telegram bot as `core.ports.Channel`.

Lifecycle: `start` opens the connection pool and needs no network; `run` introduces the bot and
then polls, or keeps the webhook set, until cancelled; `stop` ends what is under way. Telegram
being down at any of these times is a state in `health`, never an exception.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any
from urllib.parse import quote

import structlog
from aiohttp import web
from telegram import Bot, LinkPreviewOptions, Message, Update
from telegram.error import BadRequest, RetryAfter, TelegramError

from adapters.telegram import menu, webhook
from adapters.telegram.activity import Shown
from adapters.telegram.draft import Drafting, TelegramDraft
from adapters.telegram.errands import Errands
from adapters.telegram.errors import markup_refused, picture_refused, retry_after_s, send_error
from adapters.telegram.inbound import ALLOWED_UPDATES, CHANNEL, to_inbound
from adapters.telegram.link import Link, persist
from adapters.telegram.pace import Pace
from adapters.telegram.polling import poll
from adapters.telegram.render import keyboard, to_html, to_plain
from adapters.telegram.request import BotRequest, TooLarge
from adapters.telegram.settings import TelegramSettings
from core.errors import ConfigError, PatientError, SendRefused, SendUnknown, TransientError
from core.message import Address, Attachment, Inbound
from core.ports import Activity, Blobs, Capabilities, Draft, Health, Intake
from core.reply import Image, Reply
from core.split import clean_text, text_size

_log = structlog.get_logger(__name__)

# https://core.telegram.org/bots/api: sendMessage, sendPhoto, getFile
_TEXT_LIMIT, _CAPTION_LIMIT = 4096, 1024
_DOWNLOAD_LIMIT_BYTES = 20 * 1024 * 1024
_CAPABILITIES = Capabilities(
    text_limit=_TEXT_LIMIT,
    caption_limit=_CAPTION_LIMIT,
    text_unit="utf16",
    buttons=True,
    drafts=True,
    documents=True,
    media_limit_bytes=_DOWNLOAD_LIMIT_BYTES,
)
_ACTIONS: dict[Activity, str] = {"typing": "typing", "sending_photo": "upload_photo"}
_POLL_GRACE_S = 10.0  # beyond the long poll's own timeout
_WEBHOOK_CHECK_S = 300.0
_NO_PREVIEW = LinkPreviewOptions(is_disabled=True)


class TelegramChannel:
    """Implements `core.ports.Channel` for one bot."""

    def __init__(self, settings: TelegramSettings, blobs: Blobs) -> None:
        if settings.token is None:
            raise ConfigError("telegram.token is not set: take one from @BotFather")
        # At DEBUG the library logs addresses with the token and what patients write.
        logging.getLogger("telegram").setLevel(logging.WARNING)
        self._settings = settings
        self._blobs = blobs
        self._request = BotRequest(
            connect_timeout_s=settings.connect_timeout_s,
            request_timeout_s=settings.request_timeout_s,
            proxy=None if settings.proxy is None else settings.proxy.get_secret_value(),
        )
        self._bot = Bot(
            settings.token.get_secret_value(),
            base_url=settings.base_url,
            base_file_url=settings.base_file_url,
            request=self._request,
            get_updates_request=self._request,
        )
        self._pace = Pace(
            messages_per_s=settings.messages_per_s,
            chat_messages_per_s=settings.chat_messages_per_s,
            chat_burst=settings.chat_burst,
            group_messages_per_min=settings.group_messages_per_min,
            longest_wait_s=settings.longest_wait_s,
        )
        self._errands = Errands()
        self._drafting = Drafting(self._bot, self._pace, self._errands)
        self._link = Link()

    @property
    def name(self) -> str:
        """Adapter name."""
        return CHANNEL

    @property
    def account(self) -> str:
        """The bot's id, known from its token without asking Telegram."""
        return self._settings.bot_id

    @property
    def capabilities(self) -> Capabilities:
        """Telegram's documented limits."""
        return _CAPABILITIES

    def health(self) -> Health:
        """Tell how the connection is; not required, for the other channels work without it."""
        link = self._link
        facts = {"state": link.state, "mode": self._settings.mode, "bot": link.username or ""}
        return Health(CHANNEL, link.state == "ready", link.remedy, required=False, facts=facts)

    # ---- life ----------------------------------------------------------------------------

    async def start(self) -> None:
        """Open the connection pool; from now on `send` and `fetch` may be called."""
        await self._request.initialize()

    async def stop(self) -> None:
        """Cancel background calls and close the connections; repeatable."""
        await self._errands.close()
        await self._request.shutdown()

    async def run(self, intake: Intake) -> None:
        """Receive until cancelled: the long poll, or in webhook mode the care for the webhook.

        To be run in both modes, by one task, after `start`.
        """
        await persist(self._introduce, self._link)
        if self._settings.menu:
            self._errands.run(menu.publish(self._bot), "menu")
        if self._settings.mode == "polling":

            async def receive(updates: Sequence[dict[str, Any]]) -> None:
                await self._receive(updates, intake)

            timeout_s = self._settings.poll_timeout_s
            await poll(self._fetch_updates, receive, self._link, poll_timeout_s=timeout_s)
        while True:
            await asyncio.sleep(_WEBHOOK_CHECK_S)
            await persist(self._keep_webhook, self._link)

    def routes(self, intake: Intake) -> list[web.RouteDef]:
        """Return the webhook's route; none in polling mode."""
        secret = self._settings.webhook_secret
        if self._settings.mode == "polling" or secret is None:
            return []

        async def receive(updates: Sequence[dict[str, Any]]) -> None:
            await self._receive(updates, intake)

        handler = webhook.handler(receive, secret=secret.get_secret_value())
        return [web.post(self._settings.webhook_path, handler)]

    async def probe(self) -> Health:
        """Ask Telegram once who we are, for `oculichat doctor`; changes nothing there."""
        try:
            self._link.username = (await self._bot.get_me()).username
        except TelegramError as error:
            self._link.failed(error)
        else:
            self._link.succeeded()
        return self.health()

    async def _introduce(self) -> None:
        me = await self._bot.get_me()
        self._link.username = me.username
        if self._settings.mode == "webhook":
            await self._set_webhook()
        else:
            await self._bot.delete_webhook(drop_pending_updates=False)

    async def _set_webhook(self) -> None:
        secret = self._settings.webhook_secret
        await self._bot.set_webhook(
            self._settings.webhook_url or "",
            secret_token=None if secret is None else secret.get_secret_value(),
            allowed_updates=ALLOWED_UPDATES,
            max_connections=self._settings.webhook_max_connections,
            drop_pending_updates=False,
        )

    async def _keep_webhook(self) -> None:
        """Set the webhook again when somebody removed or moved it."""
        info = await self._bot.get_webhook_info()
        if info.url != self._settings.webhook_url:
            _log.warning("telegram_webhook_lost")
            await self._set_webhook()

    # ---- in ------------------------------------------------------------------------------

    async def _fetch_updates(self, offset: int | None, timeout_s: int) -> list[dict[str, Any]]:
        # Not `Bot.get_updates`: one update it cannot read would block, and log, all others.
        allowed = quote(json.dumps(ALLOWED_UPDATES))
        url = f"{self._bot.base_url}/getUpdates?timeout={timeout_s}&allowed_updates={allowed}"
        if offset is not None:
            url += f"&offset={offset}"
        return await self._request.call(url, timeout_s=timeout_s + _POLL_GRACE_S)

    async def _receive(self, updates: Sequence[dict[str, Any]], intake: Intake) -> None:
        """Store updates, then answer button presses, so that their clocks stop turning."""
        messages: list[Inbound] = []
        for update in updates:
            messages += self._read(update)
        if messages:
            await intake.accept(messages)
        for message in messages:
            if message.button is not None:
                query_id = message.message_id.removeprefix("cb:")
                self._errands.run(self._bot.answer_callback_query(query_id), "callback-answer")

    def _read(self, update: dict[str, Any]) -> list[Inbound]:
        """Read one update; one we cannot read is logged by its id and left out."""
        try:
            parsed = Update.de_json(update, None)
            return to_inbound(parsed, account=self.account, username=self._link.username)
        except Exception as error:
            # No traceback: the library's errors repeat the update, a patient's words included.
            _log.error(
                "telegram_update_unreadable",
                update_id=update.get("update_id"),
                error=type(error).__name__,
            )
            return []

    # ---- out -----------------------------------------------------------------------------

    async def ready(self, to: Address, *, urgent: bool) -> None:
        """Keep Telegram's pace; see `core.ports.Channel.ready`."""
        await self._pace.turn(to.chat_id, urgent=urgent)

    async def send(self, to: Address, reply: Reply, *, key: str) -> str | None:
        """Send one reply; see `core.ports.Channel.send`. Telegram knows no keys of ours."""
        try:
            chat_id = int(to.chat_id)
        except ValueError:
            raise SendRefused("not a Telegram chat id", unlink=True) from None
        picture = None if reply.image is None else await self._picture(reply.image)
        try:
            message = await self._send(chat_id, reply, picture)
        except TelegramError as error:
            if isinstance(error, RetryAfter):
                self._pace.pause(to.chat_id, retry_after_s(error))
            raise send_error(error) from error
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            # The library could not read what Telegram says it sent.
            raise SendUnknown(f"unreadable answer: {type(error).__name__}") from error
        return str(message.message_id)

    async def _send(self, chat_id: int, reply: Reply, picture: bytes | None) -> Message:
        """Send as HTML; as plain text when Telegram cannot read that; without a bad picture."""
        try:
            return await self._post(chat_id, reply, picture, html=True)
        except BadRequest as error:
            if markup_refused(error):
                _log.warning("telegram_markup_refused", kind=reply.kind)
                return await self._post(chat_id, reply, picture, html=False)
            if picture is not None and picture_refused(error):
                _log.warning("telegram_picture_refused", kind=reply.kind)
                return await self._post(chat_id, reply, None, html=True)
            raise

    async def _post(
        self, chat_id: int, reply: Reply, picture: bytes | None, *, html: bool
    ) -> Message:
        text, mode = (to_html(reply), "HTML") if html else (to_plain(reply), None)
        image = reply.image
        if not text and image is not None:
            text, mode = clean_text(image.alt), None
        if reply.document is not None:
            return await self._bot.send_document(
                chat_id,
                reply.document.text.encode(),
                caption=text or None,
                parse_mode=mode,
                reply_markup=keyboard(reply),
                filename=reply.document.name,
                # Telegram would show some files in a way of its own.
                disable_content_type_detection=True,
            )
        if picture is None or image is None:
            return await self._bot.send_message(
                chat_id,
                text,
                parse_mode=mode,
                reply_markup=keyboard(reply),
                link_preview_options=_NO_PREVIEW,
            )
        if mode is None and text_size(text, "utf16") > _CAPTION_LIMIT:
            text = ""
        return await self._bot.send_photo(
            chat_id,
            picture,
            caption=text or None,
            parse_mode=mode,
            reply_markup=keyboard(reply),
            filename=image.mime.replace("/", "."),
        )

    async def _picture(self, image: Image) -> bytes | None:
        """Return the picture's bytes, or None when it was erased: its words still go out."""
        try:
            return await self._blobs.get(image.blob)
        except PatientError:
            return None

    async def fetch(self, attachment: Attachment, *, limit_bytes: int) -> bytes:
        """Fetch an attachment; see `core.ports.Channel.fetch`."""
        limit_bytes = min(limit_bytes, _DOWNLOAD_LIMIT_BYTES)
        too_large = PatientError("telegram.too_large", limit_mb=limit_bytes // (1024 * 1024))
        if not attachment.ref:
            raise PatientError("telegram.file_gone")
        if (attachment.size_bytes or 0) > limit_bytes:
            raise too_large
        try:
            file = await self._bot.get_file(attachment.ref)
            if (file.file_size or 0) > limit_bytes:
                raise too_large
            return await self._request.download(file.file_path or "", limit_bytes=limit_bytes)
        except TooLarge:
            raise too_large from None
        except FileNotFoundError:
            raise PatientError("telegram.file_gone") from None
        except RetryAfter as error:
            wait_s = retry_after_s(error)
            raise TransientError("Telegram asks for a pause", retry_after_s=wait_s) from error
        except BadRequest as error:
            if "too big" in error.message.lower():
                raise too_large from error
            raise PatientError("telegram.file_gone") from error
        except TelegramError as error:
            raise TransientError(f"fetching failed: {type(error).__name__}") from error

    async def discard(self, attachment: Attachment) -> None:
        """Do nothing: until `fetch` the file is Telegram's alone."""

    def activity(self, to: Address, what: Activity) -> AbstractAsyncContextManager[None]:
        """Show what the service is doing, from 300 ms on."""

        async def show() -> None:
            if not self._pace.spare(to.chat_id):
                return
            try:
                await self._bot.send_chat_action(to.chat_id, _ACTIONS[what])
            except RetryAfter as error:
                self._pace.pause(to.chat_id, retry_after_s(error))

        return Shown(show, self._errands)

    def draft(self, to: Address) -> Draft | None:
        """Start a growing answer; None in groups and where settings turn it off."""
        if not self._settings.drafts or not to.chat_id.isdecimal():
            return None
        return TelegramDraft(self._drafting, int(to.chat_id))
