"""Settings of the Official Account; imports nothing heavy, for `--help` reads it too."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

MenuEntry = Literal["start", "help", "new", "lang", "privacy", "human", "reminders", "stop"]
_AES_KEY = re.compile(r"[A-Za-z0-9+/]{43}")
_PUSH_TOKEN = re.compile(r"[A-Za-z0-9]{3,32}")  # what the console allows


class OfficialSettings(BaseModel):
    """A WeChat Official Account (服务号 or 订阅号).

    Attributes:
        app_id: AppID of the account, ``wx…``; the channel is off without one.
        app_secret: AppSecret; without it nothing can be sent but passive replies.
        token: the Token of the console's server configuration, 3-32 letters and digits.
        aes_key: its EncodingAESKey, 43 characters; null accepts plaintext only.
        previous_aes_key: the one before, so that a change of keys loses no message.
        require_encryption: refuse plaintext pushes; for the console's secure mode (安全模式).
        path: where WeChat pushes to on this server.
        reply: ``push`` answers by the customer-service API, ``passive`` in the push's own answer
            (accounts that are not verified), ``auto`` pushes until WeChat says it may not.
        base_url: of WeChat's API.
        picture_hosts: hosts a picture may be fetched from when its media id cannot be.
        request_timeout_s: for one call; uploads and downloads get three times as long.
        template_id: of a template message for reminders outside the 48-hour window; service
            accounts only.
        template_fields: which field of the template says what: ``name: date``, ``name: what`` or
            ``name: text to say``.
        template_url: page that the template message opens.
        subscribe_template_id: of a one-time subscription message (一次性订阅消息), for reminders
            where there is no template message; needs `server.public_url`.
        subscribe_scene: its scene, 0-10000.
        menu: keys of the menu that ``oculichat wechat menu`` publishes, in order.
        typing: show that an answer is being written.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    app_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_]{6,64}$")] | None = None
    app_secret: SecretStr | None = None
    token: SecretStr | None = None
    aes_key: SecretStr | None = None
    previous_aes_key: SecretStr | None = None
    require_encryption: bool = False
    path: str = Field(default="/wechat/push", pattern=r"^/[A-Za-z0-9_/-]+$")
    reply: Literal["auto", "push", "passive"] = "auto"
    base_url: str = "https://api.weixin.qq.com"
    picture_hosts: tuple[str, ...] = ("mmbiz.qpic.cn", "mmecoa.qpic.cn")
    request_timeout_s: float = Field(default=10.0, gt=0, le=60)
    template_id: str | None = None
    template_fields: tuple[str, ...] = ("thing1: what", "date2: date")
    template_url: Annotated[str, Field(pattern=r"^https?://[!-~]+$")] | None = None
    subscribe_template_id: str | None = None
    subscribe_scene: int = Field(default=1000, ge=0, le=10_000)
    menu: Annotated[tuple[MenuEntry, ...], Field(max_length=7)] = ("start", "reminders", "human")
    typing: bool = True

    @field_validator("token")
    @classmethod
    def _token_has_its_form(cls, token: SecretStr | None) -> SecretStr | None:
        if token is not None and not _PUSH_TOKEN.fullmatch(token.get_secret_value()):
            raise ValueError("the console's Token has 3-32 letters and digits")
        return token

    @field_validator("aes_key", "previous_aes_key")
    @classmethod
    def _key_has_its_form(cls, key: SecretStr | None) -> SecretStr | None:
        if key is not None and not _AES_KEY.fullmatch(key.get_secret_value()):
            raise ValueError("an EncodingAESKey has 43 characters of A-Z a-z 0-9 + /")
        return key

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if self.app_id is None:
            return self
        if self.token is None:
            raise ValueError("app_id needs token: the one of the console's server configuration")
        if self.require_encryption and self.aes_key is None:
            raise ValueError("require_encryption needs aes_key: the console's EncodingAESKey")
        if self.reply == "push" and self.app_secret is None:
            raise ValueError("reply: push needs app_secret")
        return self
