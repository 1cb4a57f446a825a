"""Wiring: builds every part from the settings, starts them in order, and stops them in reverse.

Start: store and schema → what an earlier process left → channels → HTTP → ticker. Stop: refuse new
messages → let turns and sends in flight finish → disconnect. A message not finished by then is in
the inbox or outbox, and the next start goes on with it.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack
from datetime import date, datetime, time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import structlog

from adapters.console.desk import StaffDesk
from adapters.console.passwords import Passwords
from adapters.console.walk_in import ConsoleChannel
from adapters.webchat.channel import WebChat
from adapters.webchat.links import StoredLinks
from bot import followup_rules
from bot.channels import Connected, Counted, Parts, connected, switches
from bot.knowledge import KnowledgeSources
from bot.memory import give_back
from bot.settings import Settings
from bot.ticker import Ticker
from core.alerts import AlertSettings, StaffAlerts
from core.clinic_book import StoredClinic
from core.clock import Clock, SystemClock
from core.delivery import Delivery
from core.digest import DigestSettings, StaffDigest
from core.dispatch import Dispatcher, DispatchLimits
from core.drift import Tallies
from core.errors import ConfigError, TransientError
from core.intake import StoreIntake
from core.message import Address, Attachment, Inbound
from core.ports import Channel, Health
from core.store.blobs import BlobStore
from core.store.engine import is_sqlite, parse_url
from core.store.history import TranscriptHistory
from core.store.keycheck import open_keyring
from core.store.leases import free_all_leases
from core.store.store import Store
from core.takeover import Takeovers, TakeoverSettings
from core.triage.engine import assess, warm_up
from core.turn.turn import TurnHandler, TurnSettings
from migrations.schema import prepare
from models.fundus.reader import OnnxFundusReader

if TYPE_CHECKING:
    from adapters.http.server import HttpServer
    from core.turn.model_answer import ModelAssistant
    from models.llm.client import LlmClient
log = structlog.get_logger(__name__)

_RUN_AGAIN_S = 5.0

ChannelMaker = Callable[[BlobStore], Channel]


class Service:
    """The running program.

    Args:
        settings: what the operator wants.
        extra_channel: makes one more channel, for the terminal.
        network: serve HTTP and Telegram; off for the terminal and for tests.
        clock: the present.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        extra_channel: ChannelMaker | None = None,
        network: bool = True,
        clock: Clock | None = None,
    ) -> None:
        self._settings = settings
        self._network = network
        self.clock = clock or SystemClock()
        # What the constructor takes, and what `start` adds on top of it; freed in reverse.
        self._held = ExitStack()
        self._exit = AsyncExitStack()
        self._tasks: list[asyncio.Task[None]] = []
        self._server: HttpServer | None = None
        self.connected: list[Connected] = []
        with ExitStack() as held:
            self._open_store(held)
            self._build(extra_channel)
            self._held = held.pop_all()

    def _open_store(self, held: ExitStack) -> None:
        settings = self._settings
        url = settings.database_url
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        self._only_user = is_sqlite(parse_url(url))
        if self._only_user:
            held.callback(os.close, _lock(settings.data_dir / "lock"))
        prepare(url, backup_folder=settings.data_dir / "backups")
        self.store = Store(url, open_keyring(url, settings.key_file))
        held.callback(self.store.close)

    def _build(self, extra_channel: ChannelMaker | None) -> None:
        settings = self._settings
        self.blobs = BlobStore(settings.data_dir / "blobs", self.store.keys)
        self.history = TranscriptHistory(self.store)
        self.llm = self._make_llm()
        self.reader = OnnxFundusReader(settings.fundus, today=self._today)
        self.readings = Tallies()
        self.knowledge = KnowledgeSources(settings)
        self.channels: dict[tuple[str, str], Channel] = {}
        self._make_channels(extra_channel)
        self.delivery = Delivery(self.store, self.clock, self.channels)
        self.alerts = self._make_alerts()
        self.dispatcher = self._make_dispatcher()
        self.intake = StoreIntake(self.store, self.clock, self.dispatcher, settings.dialog.zone)
        self.desk = StaffDesk(self.store, self.clock, settings.dialog.language)
        self.clinic = StoredClinic(self.store, followup_rules.clinics_table(settings.followups))
        self.takeovers = self._make_takeovers()
        self.ticker = Ticker(
            self.store,
            self.clock,
            self.dispatcher,
            self.delivery,
            int(settings.dialog.lease_s * 1000),
            self.alerts,
            self._make_digest(),
            self.takeovers,
        )

    def _today(self) -> date:
        zone = ZoneInfo(self._settings.dialog.zone)
        return datetime.fromtimestamp(self.clock.now_ms() / 1000, zone).date()

    def _staff_chats(self) -> tuple[Address, ...]:
        chats: list[Address] = []
        for chat in self._settings.staff.alert_chats:
            name, _, chat_id = chat.partition(":")
            account = next((a for n, a in self.channels if n == name), None)
            if account is None:
                raise ConfigError(
                    f"staff.alert_chats: there is no channel {name!r}; switch it on or take "
                    "its chats out"
                )
            chats.append(Address(name, account, chat_id))
        return tuple(chats)

    def _make_digest(self) -> StaffDigest | None:
        """Return what writes to staff each morning; None without chats or without a time."""
        settings, at = self._settings, self._settings.followups.digest_at
        if not (settings.staff.alert_chats and self._network) or at is None:
            return None
        return StaffDigest(
            self.store,
            self.clock,
            self.channels,
            self.delivery.deliver,
            DigestSettings(
                self._staff_chats(),
                time.fromisoformat(at),
                settings.dialog.language,
                settings.dialog.zone,
                settings.staff.console_url,
            ),
        )

    def _make_takeovers(self) -> Takeovers:
        staff = self._settings.staff
        return Takeovers(
            self.store,
            self.clock,
            self.channels,
            self.delivery.deliver,
            self.dispatcher.fence_moved,
            TakeoverSettings(
                int(staff.takeover_nudge_min * 60_000),
                int(staff.takeover_idle_min * 60_000),
                alert_staff=self.alerts is not None,
                language=self._settings.dialog.language,
            ),
        )

    def _make_alerts(self) -> StaffAlerts | None:
        """Return what alerts staff; None without chats, or where no channel is made for them."""
        settings, staff = self._settings, self._settings.staff
        if not (staff.alert_chats and self._network):
            return None
        return StaffAlerts(
            self.store,
            self.clock,
            self.channels,
            self.delivery.deliver,
            AlertSettings(
                self._staff_chats(),
                int(staff.repeat_after_minutes * 60_000),
                settings.dialog.language,
                settings.dialog.zone,
                staff.console_url,
            ),
        )

    def _make_llm(self) -> LlmClient | None:
        if not self._settings.llm.base_urls:
            return None
        # Client and agent are a fifth of the service's code; without a model they stay out.
        from models.llm.client import LlmClient  # noqa: PLC0415

        return LlmClient(self._settings.llm)

    def _make_assistant(self) -> ModelAssistant | None:
        if self.llm is None:
            return None
        from core.turn.model_answer import ModelAssistant  # noqa: PLC0415

        limits = self._settings.llm.limits()
        return ModelAssistant(self.llm, limits, self.store, self.llm.tokens)

    def _make_channels(self, extra: ChannelMaker | None) -> None:
        settings = self._settings
        if extra is not None:
            self._add(extra(self.blobs))
        if not self._network:
            return
        if settings.webchat.enabled:
            self._add(
                WebChat(
                    settings.webchat,
                    history=self.history,
                    blobs=self.blobs,
                    clock=self.clock,
                    shrink=self.reader.clean,
                    links=StoredLinks(
                        self.store, self.clock, days=settings.webchat.session_lifetime_days
                    ),
                )
            )
        else:
            log.info("channel_off", channel="webchat", why="webchat.enabled is false")
        if settings.console.enabled:
            limit = settings.webchat.max_upload_bytes
            self._add(ConsoleChannel(self.blobs, max_bytes=limit))
        for switch in switches(settings):
            if switch.why_off:
                log.info("channel_off", channel=switch.name, why=switch.why_off)
        parts = Parts(self.store, self.clock, self.blobs, settings.data_dir)
        self.connected = connected(settings, parts)
        for channel in self.connected:
            self._add(channel)

    def _add(self, channel: Channel) -> None:
        self.channels[(channel.name, channel.account)] = channel

    def _make_dispatcher(self) -> Dispatcher:
        dialog, plans = self._settings.dialog, self._settings.followups
        followup_rules.put_in_force(plans)
        handler = TurnHandler(
            self.store,
            self.clock,
            TurnSettings(
                dialog.language,
                dialog.zone,
                self._settings.consent.required,
                self._settings.clinic.emergency_place,
                alert_staff=self.alerts is not None,
                open_days=followup_rules.open_days(plans),
                arms=plans.compare,
                arms_seed=plans.compare_seed,
                public_url=self._settings.server.public_url if self._network else None,
            ),
            self.channels,
            self.blobs,
            self.reader if self._settings.fundus.enabled else None,
            self._make_assistant(),
            self.knowledge.prepare,
            self.readings,
        )
        limits = DispatchLimits(
            dialog.merge_window_ms, int(dialog.lease_s * 1000), dialog.turns_at_once
        )
        return Dispatcher(
            self.store,
            self.clock,
            handler,
            self.delivery.deliver,
            _is_urgent,
            limits,
            discard=self._discard,
        )

    async def _discard(self, address: Address, attachments: Sequence[Attachment]) -> None:
        channel = self.channels.get((address.channel, address.account))
        if channel is not None:
            for attachment in attachments:
                await channel.discard(attachment)

    @property
    def port(self) -> int:
        """The port really listened on."""
        return self._server.port if self._server else 0

    async def start(self) -> None:
        """Start everything; on failure what was started is stopped again.

        Raises:
            ConfigError: something cannot work as it is set.
        """
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def _start(self) -> None:
        for channel in self.connected:
            await channel.start()
            self._exit.push_async_callback(channel.stop)
        if self.llm is not None:
            await self.llm.start()
            self._exit.push_async_callback(self.llm.stop)
        self._exit.push_async_callback(self.reader.close)
        self._exit.push_async_callback(self.knowledge.stop)
        self._tasks.append(self.knowledge.start())
        if self._only_user:
            await self.store.write(free_all_leases, None)
        await self.clinic.use()
        if self.store.shared:
            self._tasks.append(asyncio.create_task(self.clinic.follow()))
        await followup_rules.follow_zone_data(self.store)
        await self.delivery.recover(only_user=self._only_user)
        await self.dispatcher.claim_waiting()
        if self._network:
            await self._start_http()
        for channel in self.connected:
            self._tasks.append(asyncio.create_task(_keep_running(channel, self.intake)))
        self.ticker.start()
        # A second of compiling, off the loop: the first message should not pay for it.
        self._tasks.append(asyncio.create_task(asyncio.to_thread(_warm_up)))
        log.info("started", port=self.port, channels=[name for name, _ in self.channels])

    async def _start_http(self) -> None:
        from adapters.http.server import HttpServer  # noqa: PLC0415 not for the terminal
        from bot.http import routes  # noqa: PLC0415

        server = self._settings.server
        passwords = Passwords(self._settings.console)
        self._exit.callback(passwords.close)
        self._server = HttpServer(
            server.host,
            server.port,
            routes(self, self._settings, passwords),
            trusted_proxies=frozenset(server.trusted_proxies),
        )
        await self._server.start()
        self._exit.push_async_callback(self._server.stop)

    async def stop(self) -> None:
        """Stop gently: nothing new, what is in flight finishes, the rest stays stored."""
        self.intake.close()
        if self.ticker.is_running:
            self.ticker.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        await self.dispatcher.stop()
        await self.delivery.stop(drain_s=10.0)
        await self._exit.aclose()
        self._held.close()

    async def settle(self) -> None:
        """Wait until nothing is in work or on its way, for scripts that feed line by line."""
        quiet = 0
        while quiet < 2:
            busy = self.dispatcher.open_lanes or self.delivery.open_queues
            quiet = 0 if busy else quiet + 1
            await asyncio.sleep(0.01)

    async def health(self) -> list[Health]:
        """Tell how each part is, for `/readyz` and `oculichat doctor`."""
        parts = [await self._database_health(), self.reader.health()]
        if self.llm is not None:
            parts.append(self.llm.health())
        else:
            detail = "no llm.base_urls: the guided consult answers"
            parts.append(Health("llm", True, detail, required=False))
        parts += [channel.health() for channel in self.connected]
        if self._network:
            off = [s for s in switches(self._settings) if s.why_off]
            parts += [Health(s.name, True, f"off: {s.why_off}", required=False) for s in off]
        return parts

    async def _database_health(self) -> Health:
        try:
            await self.store.check()
        except TransientError as error:
            return Health("database", False, str(error))
        return Health("database", True)

    @property
    def settings(self) -> Settings:
        """What the operator wants."""
        return self._settings

    def web_chat(self) -> WebChat | None:
        """The web chat, when it is on."""
        return next((c for c in self.channels.values() if isinstance(c, WebChat)), None)

    def counts(self) -> Mapping[str, Any]:
        """Return the counters of every part, for `/metrics`."""
        counts: dict[str, Any] = {
            "intake": self.intake.counts,
            "dispatch": self.dispatcher.counts,
            "delivery": self.delivery.counts,
            "writer": self.store.writer.counts,
        }
        counts |= {c.name: c.counts for c in self.connected if isinstance(c, Counted)}
        return counts | ({"alerts": self.alerts.counts} if self.alerts else {})


async def _keep_running(channel: Connected, intake: StoreIntake) -> None:
    """Run a channel; one that ends by itself is started again and disturbs no other."""
    while True:
        try:
            await channel.run(intake)
        except Exception as error:
            # Where, but not what: an error's text may hold a patient's words.
            where = "".join(traceback.format_tb(error.__traceback__))
            name = type(error).__name__
            log.error("channel_broken", channel=channel.name, error=name, at=where)  # noqa: TRY400
        await asyncio.sleep(_RUN_AGAIN_S)


def _warm_up() -> None:
    """Compile the triage vocabulary and give back what that took."""
    warm_up()
    give_back()


def _is_urgent(message: Inbound) -> bool:
    return not message.button and bool(message.text) and assess(message.text).action == "trigger"


def _lock(path: Path) -> int:
    """Take the data folder for this process alone; freed by the system when it ends."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        raise ConfigError(
            f"data_dir: {path.parent} is in use by another oculichat process; stop it, or set "
            "another data_dir"
        ) from None
    return handle
