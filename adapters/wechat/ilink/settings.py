"""Settings of WeChat through iLink; imports nothing heavy, for `--help` reads it too."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, field_validator


class IlinkSettings(BaseModel):
    """WeChat's own bot interface for personal accounts: each patient scans a code once.

    Attributes:
        enabled: the channel is off unless this is true; nobody has to be registered first.
        base_url: where logins begin; each login is told its own address by WeChat.
        cdn_url: where media lie when WeChat names no full address.
        trusted_hosts: ends of the host names that an address from WeChat may have.
        poll_timeout_s: how long one long poll may take; WeChat holds it for about 35 s.
        connect_timeout_s: for a connection, name look-up and TLS included.
        request_timeout_s: for one call; media get three times as long.
        messages_per_context: messages we may send after each of the patient's.
        kept_for_emergencies: how many of these only an emergency card may use.
        context_hours: how long after the patient's last message we may write; WeChat says 24,
            people measured refusals from 15 on.
        most_logins: how many people may be connected; each is one open connection.
        expect_message_id: an accepted message without an id was dropped by WeChat, so staff hear
            of it; false = trust the acceptance.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    enabled: bool = False
    base_url: str = "https://ilinkai.weixin.qq.com"
    cdn_url: str = "https://novac2c.cdn.weixin.qq.com/c2c"
    trusted_hosts: tuple[str, ...] = ("weixin.qq.com", "wechat.com")
    poll_timeout_s: float = Field(default=40.0, gt=0)
    connect_timeout_s: float = Field(default=5.0, gt=0)
    request_timeout_s: float = Field(default=15.0, gt=0)
    messages_per_context: int = Field(default=10, ge=1)
    kept_for_emergencies: int = Field(default=2, ge=0)
    context_hours: float = Field(default=23.0, gt=0, le=24)
    most_logins: int = Field(default=200, ge=1, le=1000)
    expect_message_id: bool = True

    @field_validator("base_url", "cdn_url")
    @classmethod
    def _is_an_address(cls, url: str) -> str:
        if not url.startswith(("https://", "http://127.0.0.1:", "http://localhost:")):
            raise ValueError("an address begins with https:// (http only on this machine)")
        return url.rstrip("/")

    @property
    def context_ms(self) -> int:
        """How long after the patient's last message we may write."""
        return int(self.context_hours * 3_600_000)
