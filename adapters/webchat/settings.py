"""Settings of the web chat."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

MEBIBYTE = 1024 * 1024


class WebChatSettings(BaseModel):
    """The chat page for phones.

    Attributes:
        enabled: whether the page is served.
        account: our name in `Address.account`; changing it starts every conversation afresh.
        max_upload_bytes: largest photo.
        max_voice_bytes: largest voice note.
        max_voice_s: longest voice note; the page's recorder stops by itself.
        max_text_characters: longest message; longer ones are refused with a clear answer.
        session_lifetime_days: how long a browser keeps its conversation without a visit;
            browsers themselves forget after 400.
        messages_per_minute: per conversation; more are asked to wait.
        max_viewers: pages that may listen at once.
        timezone: IANA zone of the times on the page.
        emergency_number: shown on every page and dialled by its link.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    enabled: bool = True
    account: Annotated[str, Field(pattern=r"^[a-z0-9_-]{1,32}$")] = "web"
    max_upload_bytes: Annotated[int, Field(ge=MEBIBYTE, le=100 * MEBIBYTE)] = 25 * MEBIBYTE
    max_voice_bytes: Annotated[int, Field(ge=MEBIBYTE, le=20 * MEBIBYTE)] = 5 * MEBIBYTE
    max_voice_s: Annotated[int, Field(ge=10, le=600)] = 120
    max_text_characters: Annotated[int, Field(ge=100, le=100_000)] = 20_000
    session_lifetime_days: Annotated[int, Field(ge=1, le=400)] = 180
    messages_per_minute: Annotated[int, Field(ge=1, le=10_000)] = 60
    max_viewers: Annotated[int, Field(ge=1, le=100_000)] = 2_000
    timezone: str = "Asia/Shanghai"
    emergency_number: Annotated[str, Field(pattern=r"^\+?[0-9]{2,15}$")] = "120"
