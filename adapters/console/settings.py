"""Settings of the staff console."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class ConsoleSettings(BaseModel):
    """The staff's pages.

    Attributes:
        enabled: whether they are served.
        idle_minutes: a session ends after so long without a visit.
        session_hours: a session ends after so long in any case.
        attempts_per_account: failed logins per account and address in 15 minutes.
        attempts_per_address: failed logins per address in 15 minutes.
        argon2_memory_kib: memory of one password check. The defaults of these three are OWASP's
            (Password Storage Cheat Sheet): 19 MiB, 2 passes, 1 lane; 58 ms on a small server.
        argon2_passes: passes over it.
        argon2_lanes: lanes.
        timezone: IANA zone of the times shown.
        offline_hours: so long a phone that somebody made the clinic's own (My account) may show
            the list of calls without a line; 0 lets no phone keep anything.
        refresh_s: how often the page looks for new tasks.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    enabled: bool = True
    idle_minutes: Annotated[int, Field(ge=1, le=720)] = 30
    session_hours: Annotated[int, Field(ge=1, le=72)] = 12
    attempts_per_account: Annotated[int, Field(ge=1, le=100)] = 5
    attempts_per_address: Annotated[int, Field(ge=1, le=1_000)] = 30
    argon2_memory_kib: Annotated[int, Field(ge=8, le=1_048_576)] = 19 * 1024
    argon2_passes: Annotated[int, Field(ge=1, le=20)] = 2
    argon2_lanes: Annotated[int, Field(ge=1, le=8)] = 1
    timezone: str = "Asia/Shanghai"
    offline_hours: Annotated[int, Field(ge=0, le=72)] = 12
    refresh_s: Annotated[int, Field(ge=5, le=600)] = 20
