"""Settings of the Wechaty gateway; imports nothing heavy, for `--help` reads it too."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator


class WechatySettings(BaseModel):
    """A personal WeChat account behind a Wechaty puppet service.

    Attributes:
        enabled: whether the gateway is used.
        endpoint: ``host:port`` of the gateway.
        token: the one the gateway was started with.
        account: our own name for the WeChat account behind it; chats are kept under this name, so
            change it when another account takes over.
        tls: encrypt; off only for a gateway on the same machine or inside a VPN, for the token
            and what patients write would cross the network in clear.
        ca_file: certificates that vouch for the gateway (PEM); None = the system's.
        server_name: name in the gateway's certificate where that is not the host.
        connect_timeout_s: for a connection and the gateway's Start.
        request_timeout_s: for one call; files get three times as long.
        keepalive_s: how often a quiet connection is tried.
        keepalive_timeout_s: how long the answer may take; a frozen gateway is noticed within
            the sum of both.
        quiet_s: after so long without any event the puppet itself is asked for one.
        messages_per_min: over all chats; people who type faster look like robots to WeChat.
        chat_gap_s: between two messages to one chat, up to half longer at random.
        move_from_groups: answer a question put in a group in the private chat of the one who
            asked, where they are a contact of the account.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    enabled: bool = False
    endpoint: str = "127.0.0.1:8788"
    token: SecretStr | None = None
    account: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")] = "gateway"
    tls: bool = True
    ca_file: Path | None = None
    server_name: str | None = None
    connect_timeout_s: float = Field(default=10.0, gt=0, le=120)
    request_timeout_s: float = Field(default=15.0, gt=0, le=120)
    keepalive_s: float = Field(default=10.0, gt=0, le=600)
    keepalive_timeout_s: float = Field(default=4.0, gt=0, le=60)
    quiet_s: float = Field(default=60.0, gt=0)
    messages_per_min: float = Field(default=40.0, gt=0)
    chat_gap_s: float = Field(default=1.0, ge=0)
    move_from_groups: bool = True

    @field_validator("endpoint")
    @classmethod
    def _endpoint_has_its_form(cls, endpoint: str) -> str:
        host, _, port = endpoint.rpartition(":")
        if not host or "/" in host or not port.isdecimal() or not 0 < int(port) < 65536:
            raise ValueError("an endpoint has the form host:port, without http://")
        return endpoint

    @field_validator("token")
    @classmethod
    def _token_has_its_form(cls, token: SecretStr | None) -> SecretStr | None:
        # It travels in a header.
        if token is not None and not (
            token.get_secret_value().isascii() and token.get_secret_value().isprintable()
        ):
            raise ValueError("a token has printable ASCII characters only")
        return token

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if self.enabled and (self.token is None or not self.token.get_secret_value()):
            raise ValueError("enabled needs token: the one the gateway was started with")
        return self

    @property
    def host(self) -> str:
        """Host of the gateway, without the brackets of an IPv6 address."""
        return self.endpoint.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """Port of the gateway."""
        return int(self.endpoint.rpartition(":")[2])
