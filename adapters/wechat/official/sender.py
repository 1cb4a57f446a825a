"""Sends replies by the customer-service API, within what WeChat allows."""

from __future__ import annotations

from typing import Any, NoReturn

import structlog

from adapters.wechat.official.api import ApiError, WechatApi, remedy
from adapters.wechat.official.errcodes import Do
from adapters.wechat.official.link import Link
from adapters.wechat.official.media import Media
from adapters.wechat.official.reminders import Knocks
from adapters.wechat.official.window import Doorbell
from adapters.wechat.render import TEXT_LIMIT_BYTES, to_text, words_for_picture
from core.clock import Clock
from core.errors import (
    ConfigError,
    SendRefused,
    SendUnknown,
    Throttled,
    TransientError,
    Unreachable,
)
from core.message import Language
from core.reply import Reply
from core.split import longest_prefix
from core.store.store import Store
from core.store.wechat_official import (
    Chat,
    Correction,
    Grant,
    Wish,
    correct,
    is_subscribed,
    take,
)
from core.texts import text

log = structlog.get_logger(__name__)

_MINUTE_PAUSE_S, _DAY_PAUSE_S = 30.0, 600.0
_CONFIG_PAUSE_S = 60.0


class NotPermitted(Exception):
    """This account may not write by itself; nothing was sent."""


class Sender:
    """One account's way out."""

    def __init__(
        self,
        api: WechatApi,
        media: Media,
        knocks: Knocks,
        link: Link,
        doorbell: Doorbell,
        store: Store,
        clock: Clock,
        language: Language,
    ) -> None:
        self._api = api
        self._media = media
        self._knocks = knocks
        self._link = link
        self._doorbell = doorbell
        self._store = store
        self._clock = clock
        self._language: Language = language

    async def send(self, chat: Chat, reply: Reply, *, key: str) -> str | None:
        """Send one reply; see `core.ports.Channel.send`.

        Raises:
            NotPermitted: the account is not verified.
        """
        try:
            return await self._send(chat, reply, key)
        except ApiError as error:
            self._raise(error)
        except ConfigError as error:
            self._link.failed(str(error), by_us=True)
            raise TransientError(str(error), retry_after_s=_CONFIG_PAUSE_S) from None
        except (Unreachable, SendUnknown) as error:
            self._link.failed(f"WeChat cannot be reached: {error}", by_us=False)
            raise

    async def _send(self, chat: Chat, reply: Reply, key: str) -> str | None:
        message = await self._message(chat, reply)
        granted = await self._store.write(take, Wish(chat, self._clock.now_ms()))
        if granted.of in ("shut", "used_up"):
            return await self._without_window(chat, reply, key)
        if granted.is_last and message["msgtype"] == "text":
            line = "\n\n" + text(self._language, "wechat.more_waits")
            content = message["text"]["content"]
            if len((content + line).encode()) <= TEXT_LIMIT_BYTES:
                message["text"]["content"] = content + line
        try:
            await self._post(chat, reply, message)
        except ApiError as error:
            if error.do in (Do.WAIT_FOR_WINDOW, Do.WAIT_FOR_MESSAGE):
                how = "shut" if error.do is Do.WAIT_FOR_WINDOW else "used_up"
                await self._store.write(correct, Correction(chat, granted.of, how))
                return await self._without_window(chat, reply, key)
            await self._give_back(chat, granted.of)
            raise
        except SendUnknown:
            raise  # perhaps it was sent, then it counts
        except (TransientError, ConfigError):
            await self._give_back(chat, granted.of)
            raise
        self._link.succeeded()
        return None  # WeChat gives these messages no id

    async def _give_back(self, chat: Chat, of: Grant) -> None:
        await self._store.write(correct, Correction(chat, of, "return"))

    async def _post(self, chat: Chat, reply: Reply, message: dict[str, Any]) -> None:
        try:
            await self._api.call("/cgi-bin/message/custom/send", message)
        except ApiError as error:
            if error.do is not Do.NEW_MEDIA or reply.image is None:
                raise
            self._media.forget(reply.image)
            again = await self._message(chat, reply)
            await self._api.call("/cgi-bin/message/custom/send", again)

    async def _message(self, chat: Chat, reply: Reply) -> dict[str, Any]:
        """Return the body of a send; a picture that cannot go becomes its words."""
        if reply.image is not None:
            media_id = await self._media.upload(reply.image)
            if media_id is not None:
                return {
                    "touser": chat.chat_id,
                    "msgtype": "image",
                    "image": {"media_id": media_id},
                }
        words = words_for_picture(reply) if reply.image is not None else to_text(reply)
        if reply.kind == "plan":
            words += await self._invitation(chat, words)
        content = longest_prefix(words, TEXT_LIMIT_BYTES, "utf8")
        return {"touser": chat.chat_id, "msgtype": "text", "text": {"content": content}}

    async def _invitation(self, chat: Chat, words: str) -> str:
        """Return the line that asks for leave to remind, where that is the only way; or ""."""
        url = self._knocks.consent_url(chat.chat_id, self._store.keys)
        if url is None or await self._store.read(is_subscribed, chat):
            return ""
        line = f"\n\n{text(self._language, 'wechat.allow_reminder')}\n{url}"
        return line if len((words + line).encode()) <= TEXT_LIMIT_BYTES else ""

    async def _without_window(self, chat: Chat, reply: Reply, key: str) -> str | None:
        """Remind in another way; everything else waits until the person writes."""
        if reply.kind == "reminder":
            sent = await self._knocks.knock(chat, key=key)
            if sent is not None:
                self._link.succeeded()
                return sent
        raise self._doorbell.wait_for(chat.chat_id)

    def _raise(self, error: ApiError) -> NoReturn:
        """Raise what WeChat's refusal means for the outbox."""
        log.warning("wechat_send_refused", code=error.code)
        match error.do:
            case Do.TRY_AGAIN:
                raise Throttled("WeChat is busy", retry_after_s=5.0) from None
            case Do.WAIT_A_MINUTE:
                raise self._link.pause(_MINUTE_PAUSE_S) from None
            case Do.WAIT_FOR_TOMORROW:
                raise self._link.pause(_DAY_PAUSE_S) from None
            case Do.RENEW_TOKEN | Do.CONFIGURE:
                self._link.failed(remedy(error.code), by_us=True)
                raise TransientError(str(error), retry_after_s=_CONFIG_PAUSE_S) from None
            case Do.GIVE_UP_CHAT:
                raise SendRefused(str(error), unlink=True) from None
            case Do.NOT_PERMITTED:
                raise NotPermitted from None
            case _:
                raise SendRefused(str(error)) from None
