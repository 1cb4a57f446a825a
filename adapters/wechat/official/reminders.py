"""Reminders outside the 48-hour window: template message, else one-time subscription message."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

import structlog

from adapters.wechat.official.api import ApiError, WechatApi
from adapters.wechat.official.errcodes import Do
from adapters.wechat.official.settings import OfficialSettings
from core.clock import Clock
from core.errors import SendRefused, SendUnknown
from core.message import Language
from core.split import longest_prefix
from core.store.keyring import Keyring
from core.store.store import Store
from core.store.wechat_official import Chat, use_subscription
from core.texts import text

log = structlog.get_logger(__name__)

_FIELD_CHARACTERS = 20  # what a template's `thing` takes
_SUBSCRIBE_CHARACTERS = 200
_CONFIRM_URL = "https://mp.weixin.qq.com/mp/subscribemsg"
# The ways that may be tried again at once when one of them does not work.
_ANOTHER_WAY = (Do.NO_CONSENT, Do.NOT_PERMITTED, Do.CONFIGURE, Do.REFUSE, Do.WAIT_FOR_WINDOW)


class Knocks:
    """Tells people outside the window that a reminder waits; says nothing medical.

    A notification is read on locked screens and by families, so it names neither finding nor visit.
    """

    def __init__(
        self,
        settings: OfficialSettings,
        api: WechatApi,
        store: Store,
        clock: Clock,
        language: Language,
        public_url: str | None,
    ) -> None:
        self._settings = settings
        self._api = api
        self._store = store
        self._clock = clock
        self._language: Language = language
        self._public_url = public_url

    async def knock(self, chat: Chat, *, key: str) -> str | None:
        """Send a template or subscription message; None when neither can be.

        Args:
            chat: whom.
            key: stable id of the reminder, so that WeChat recognises a repeat.

        Raises:
            SendRefused: the person is gone.
            SendUnknown, TransientError: as every send.
        """
        sent = await self._by_template(chat, key) if self._settings.template_id else None
        if sent is None and self._settings.subscribe_template_id:
            sent = await self._by_subscription(chat)
        return sent

    async def _by_template(self, chat: Chat, key: str) -> str | None:
        body: dict[str, Any] = {
            "touser": chat.chat_id,
            "template_id": self._settings.template_id,
            "client_msg_id": f"reminder-{key}",
            "data": {name: {"value": value} for name, value in self._fields()},
        }
        if self._settings.template_url:
            body["url"] = self._settings.template_url
        try:
            answer = await self._api.call("/cgi-bin/message/template/send", body)
        except ApiError as error:
            if error.do is Do.GIVE_UP_CHAT:
                raise SendRefused("not a follower", unlink=True) from None
            if error.do not in _ANOTHER_WAY:
                raise
            log.warning("wechat_template_refused", code=error.code)
            return None
        return str(answer.get("msgid", "")) or "template"

    def _fields(self) -> list[tuple[str, str]]:
        now_s = self._clock.now_ms() / 1000
        today = datetime.fromtimestamp(now_s, ZoneInfo("Asia/Shanghai"))
        known = {
            "date": f"{today.year}年{today.month}月{today.day}日",
            "what": text(self._language, "wechat.template_what"),
        }
        found: list[tuple[str, str]] = []
        for field in self._settings.template_fields:
            name, _, wanted = field.partition(":")
            value = known.get(wanted.strip(), wanted.strip())
            found.append((name.strip(), value[:_FIELD_CHARACTERS]))
        return found

    async def _by_subscription(self, chat: Chat) -> str | None:
        if not await self._store.write(use_subscription, chat):
            return None
        words = text(self._language, "wechat.subscription_words")
        body = {
            "touser": chat.chat_id,
            "template_id": self._settings.subscribe_template_id,
            "scene": str(self._settings.subscribe_scene),
            "title": text(self._language, "wechat.subscription_title"),
            "data": {
                "content": {"value": longest_prefix(words, _SUBSCRIBE_CHARACTERS, "characters")}
            },
        }
        try:
            await self._api.call("/cgi-bin/message/template/subscribe", body)
        except ApiError as error:
            if error.do is Do.GIVE_UP_CHAT:
                raise SendRefused("not reachable", unlink=True) from None
            if error.do not in _ANOTHER_WAY:
                raise
            log.warning("wechat_subscription_refused", code=error.code)
            return None
        except SendUnknown:
            raise
        return "subscription"

    def consent_url(self, chat_id: str, keys: Keyring) -> str | None:
        """Return the page where a person allows one reminder; None where it is not set up."""
        template_id = self._settings.subscribe_template_id
        if template_id is None or self._public_url is None:
            return None
        back = self._public_url.rstrip("/") + self._settings.path + "/subscribed"
        return (
            f"{_CONFIRM_URL}?action=get_confirm&appid={self._settings.app_id}"
            f"&scene={self._settings.subscribe_scene}&template_id={quote(template_id, safe='')}"
            f"&redirect_url={quote(back, safe='')}&reserved={consent_mark(chat_id, keys)}"
            "#wechat_redirect"
        )


def consent_mark(chat_id: str, keys: Keyring) -> str:
    """Return what WeChat carries to our page and back, so that nobody consents for another."""
    return keys.fingerprint(b"wechat-consent " + chat_id.encode())[:32]
