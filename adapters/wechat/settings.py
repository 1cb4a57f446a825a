"""Settings of the three ways to WeChat; each part's own are in its folder."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from adapters.wechat.ilink.settings import IlinkSettings
from adapters.wechat.official.settings import OfficialSettings
from adapters.wechat.wechaty.settings import WechatySettings


class WechatSettings(BaseModel):
    """WeChat: any of its ways may be on at once; each is a channel of its own.

    Attributes:
        official: an Official Account (服务号 or 订阅号).
        wechaty: a personal account behind a Wechaty gateway.
        ilink: a personal account over Tencent's iLink bot API.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    official: OfficialSettings = OfficialSettings()
    wechaty: WechatySettings = WechatySettings()
    ilink: IlinkSettings = IlinkSettings()
