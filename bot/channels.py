"""The channels that connect to somewhere: which are on, and how each is made.

A new one adds its lines to `connected`; the service starts, runs, asks and stops them all alike.
Each is imported only when it is on: an idle process does not pay for what it does not use.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from bot.settings import Settings
from core.clock import Clock
from core.ports import Blobs, Channel, Health, Intake
from core.store.store import Store

if TYPE_CHECKING:
    from aiohttp import web


class Connected(Channel, Protocol):
    """A channel with a life of its own."""

    async def start(self) -> None:
        """Open what `send` and `fetch` need; the far side may be down."""
        ...

    async def stop(self) -> None:
        """End what is under way; repeatable."""
        ...

    async def run(self, intake: Intake) -> None:
        """Receive, or care for the connection, until cancelled."""
        ...

    def routes(self, intake: Intake) -> Sequence[web.AbstractRouteDef]:
        """Return the routes it is called on, if any."""
        ...

    def health(self) -> Health:
        """Tell how the connection is."""
        ...

    async def probe(self) -> Health:
        """Ask the far side once, for `oculichat doctor`; between `start` and `stop`."""
        ...


@runtime_checkable
class Counted(Protocol):
    """A channel with counters of its own for `/metrics`."""

    @property
    def name(self) -> str:
        """Adapter name; names the metric."""
        ...

    @property
    def counts(self) -> object:
        """The counters, a dataclass of numbers."""
        ...


@dataclass(frozen=True, slots=True)
class Parts:
    """What channels are made of.

    Attributes:
        store: the database.
        clock: the present.
        blobs: pictures, the patients' and ours.
        data_dir: where a channel may keep files of its own.
    """

    store: Store
    clock: Clock
    blobs: Blobs
    data_dir: Path


@dataclass(frozen=True, slots=True)
class Switch:
    """One channel the settings may switch on.

    Attributes:
        name: as in `Address.channel`.
        why_off: what is not set; "" = it is on.
        make: makes it.
    """

    name: str
    why_off: str
    make: Callable[[Settings, Parts], Connected]


def switches(settings: Settings) -> tuple[Switch, ...]:
    """Return every channel there is, on or off."""
    return (
        Switch(
            "telegram",
            "" if settings.telegram.token is not None else "telegram.token is not set",
            _telegram,
        ),
        Switch(
            "wechat",
            "" if settings.wechat.official.app_id else "wechat.official.app_id is not set",
            _official,
        ),
        Switch(
            "wechaty",
            "" if settings.wechat.wechaty.enabled else "wechat.wechaty.enabled is false",
            _wechaty,
        ),
        Switch(
            "ilink",
            "" if settings.wechat.ilink.enabled else "wechat.ilink.enabled is false",
            _ilink,
        ),
    )


def connected(settings: Settings, parts: Parts) -> list[Connected]:
    """Make the channels that are on."""
    return [s.make(settings, parts) for s in switches(settings) if not s.why_off]


def _telegram(settings: Settings, parts: Parts) -> Connected:
    from adapters.telegram.channel import TelegramChannel  # noqa: PLC0415 20 MiB

    return TelegramChannel(settings.telegram, parts.blobs)


def _wechaty(settings: Settings, parts: Parts) -> Connected:
    from adapters.wechat.wechaty.channel import WechatyChannel  # noqa: PLC0415 an extra

    return WechatyChannel(settings.wechat.wechaty, parts.blobs, parts.clock, parts.data_dir)


def _ilink(settings: Settings, parts: Parts) -> Connected:
    from adapters.wechat.ilink.channel import IlinkChannel  # noqa: PLC0415 httpx, cryptography

    return IlinkChannel(settings.wechat.ilink, parts.store, parts.blobs, parts.clock)


def _official(settings: Settings, parts: Parts) -> Connected:
    from adapters.wechat.official.channel import OfficialAccount  # noqa: PLC0415

    return OfficialAccount(
        settings.wechat.official,
        store=parts.store,
        blobs=parts.blobs,
        clock=parts.clock,
        language=settings.dialog.language,
        public_url=settings.server.public_url,
    )
