"""Settings of the Telegram channel; imports nothing heavy, for `--help` reads it too."""

from __future__ import annotations

import re
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

_TOKEN = re.compile(r"\d+:[\w-]+")
_WEBHOOK_SECRET = re.compile(r"[A-Za-z0-9_-]{1,256}")  # what setWebhook allows


class TelegramSettings(BaseModel):
    """One Telegram bot.

    Attributes:
        token: from @BotFather; the channel is off without one.
        base_url: of the Bot API, up to and including ``/bot``; the token follows.
        base_file_url: of file downloads, up to and including ``/bot``.
        mode: ``polling`` needs no public address; ``webhook`` does, and answers sooner.
        webhook_url: https address by which Telegram reaches `webhook_path` here.
        webhook_path: path the service serves for it.
        webhook_secret: Telegram repeats it in every request; 1-256 of ``A-Z a-z 0-9 _ -``.
        webhook_max_connections: how many updates Telegram may deliver at once, 1-100.
        proxy: http proxy to Telegram, may hold credentials.
        poll_timeout_s: how long one long poll may wait, 1-50.
        connect_timeout_s: for a connection, name look-up and TLS included.
        request_timeout_s: for one call; uploads and downloads get three times as long.
        drafts: show an answer while it is being written.
        menu: keep the bot's command menu up to date.
        messages_per_s: over all chats; Telegram documents 30, more only for paid broadcasts.
        chat_messages_per_s: to one private chat.
        chat_burst: messages one chat may get at once before its own limit counts.
        group_messages_per_min: to one group.
        longest_wait_s: a send that would have to wait longer is handed back as `Throttled`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    token: SecretStr | None = None
    base_url: str = "https://api.telegram.org/bot"
    base_file_url: str = "https://api.telegram.org/file/bot"
    mode: Literal["polling", "webhook"] = "polling"
    webhook_url: str | None = None
    webhook_path: str = Field(default="/telegram/webhook", pattern=r"^/[A-Za-z0-9_/-]+$")
    webhook_secret: SecretStr | None = None
    webhook_max_connections: int = Field(default=20, ge=1, le=100)
    proxy: SecretStr | None = None
    poll_timeout_s: int = Field(default=50, ge=1, le=50)
    connect_timeout_s: float = Field(default=5.0, gt=0)
    request_timeout_s: float = Field(default=20.0, gt=0)
    drafts: bool = True
    menu: bool = True
    messages_per_s: float = Field(default=25.0, gt=0)
    chat_messages_per_s: float = Field(default=1.0, gt=0)
    chat_burst: int = Field(default=3, ge=1, le=10)
    group_messages_per_min: int = Field(default=20, ge=11)
    longest_wait_s: float = Field(default=1.5, ge=0)

    @field_validator("token")
    @classmethod
    def _token_has_its_form(cls, token: SecretStr | None) -> SecretStr | None:
        if token is not None and not _TOKEN.fullmatch(token.get_secret_value()):
            raise ValueError("a bot token has the form 123456:letters, as @BotFather writes it")
        return token

    @field_validator("proxy")
    @classmethod
    def _proxy_is_http(cls, proxy: SecretStr | None) -> SecretStr | None:
        if proxy is not None and not proxy.get_secret_value().startswith("http://"):
            raise ValueError("a proxy has the form http://[user:password@]host:port")
        return proxy

    @model_validator(mode="after")
    def _webhook_is_complete(self) -> Self:
        if self.mode == "webhook" and (self.webhook_url is None or self.webhook_secret is None):
            raise ValueError("mode webhook needs webhook_url and webhook_secret, or use polling")
        secret = self.webhook_secret
        if secret is not None and not _WEBHOOK_SECRET.fullmatch(secret.get_secret_value()):
            raise ValueError("webhook_secret is 1-256 characters out of A-Z a-z 0-9 _ -")
        return self

    @property
    def bot_id(self) -> str:
        """The bot's own id: the numeric beginning of its token; "" without a token."""
        return "" if self.token is None else self.token.get_secret_value().partition(":")[0]
