"""A personal WeChat account behind a Wechaty gateway, as `core.ports.Channel`.

Lifecycle: `start` needs no network; `run` keeps the event stream open and takes messages in until
cancelled; `stop` closes the connection and leaves the account logged in. The gateway being away is
a state in `health`, never an exception.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from adapters.wechat.render import capabilities, to_text, words_for_picture
from adapters.wechat.wechaty.client import CallFailed, GatewayClient, TooLarge
from adapters.wechat.wechaty.filebox import FileBox, Inline, Remote, Stored
from adapters.wechat.wechaty.inbound import CHANNEL
from adapters.wechat.wechaty.link import Link
from adapters.wechat.wechaty.pace import Pace
from adapters.wechat.wechaty.receiver import Receiver
from adapters.wechat.wechaty.remote import NotThere, fetch_url
from adapters.wechat.wechaty.settings import WechatySettings
from adapters.wechat.wechaty.supervisor import Supervisor
from adapters.wechat.wechaty.waiting import Waiting
from core.clock import Clock
from core.errors import (
    Bug,
    OculiChatError,
    PatientError,
    SendRefused,
    SendUnknown,
    Throttled,
    TransientError,
    Unreachable,
)
from core.message import Address, Attachment, AttachmentKind
from core.ports import Activity, Blobs, Capabilities, Draft, Health, Intake
from core.reply import Reply

if TYPE_CHECKING:
    from aiohttp import web

_MEBIBYTE = 1024 * 1024
_CAPABILITIES = replace(capabilities(media_limit_bytes=25 * _MEBIBYTE), documents=True)
# A gateway that was restarted is back within this; waiting here makes no message uncertain.
_WAIT_FOR_LOGIN_S = 5.0
_TRY_AGAIN_S = 60.0  # or as soon as the account is logged in


class WechatyChannel:
    """Implements `core.ports.Channel` for one gateway.

    Args:
        settings: of the gateway.
        blobs: pictures to send.
        clock: the present.
        folder: where announced messages are noted until they are stored.
    """

    def __init__(self, settings: WechatySettings, blobs: Blobs, clock: Clock, folder: Path) -> None:
        self._settings = settings
        self._blobs = blobs
        self._clock = clock
        self._notes = folder / f"wechaty-{settings.account}.jsonl"
        self._link = Link()
        self._pace = Pace(
            messages_per_min=settings.messages_per_min, chat_gap_s=settings.chat_gap_s
        )
        self._client: GatewayClient | None = None

    @property
    def name(self) -> str:
        """Adapter name."""
        return CHANNEL

    @property
    def account(self) -> str:
        """The operator's name for the account: its id is known only after a login."""
        return self._settings.account

    @property
    def capabilities(self) -> Capabilities:
        """What a personal account can do; it may write first at any time."""
        return _CAPABILITIES

    def health(self) -> Health:
        """Tell whether the stream is open, the account logged in, and events come."""
        link = self._link
        facts = link.facts()
        return Health(CHANNEL, link.state == "logged_in", link.remedy, required=False, facts=facts)

    # ---- life ----------------------------------------------------------------------------

    async def start(self) -> None:
        """Prepare the connection; from now on `send` and `fetch` may be called."""
        if self._client is None:
            self._client = GatewayClient(self._settings)

    async def stop(self) -> None:
        """Close the connection; the account stays logged in at the gateway."""
        if self._client is not None:
            self._client.close()
            self._client = None
            await asyncio.sleep(0)  # the loop closes the socket at its next turn

    async def run(self, intake: Intake) -> None:
        """Receive until cancelled; after `start`."""
        settings, client = self._settings, self._gateway()
        waiting = Waiting(self._notes)
        receiver = Receiver(
            client,
            self._link,
            waiting,
            self._clock,
            account=settings.account,
            move=settings.move_from_groups,
        )
        supervisor = Supervisor(
            client,
            self._link,
            receiver.announced,
            receiver.forget_people,
            quiet_s=settings.quiet_s,
        )
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(supervisor.run(), name="wechaty-stream")
                tasks.create_task(supervisor.watch(), name="wechaty-watch")
                tasks.create_task(receiver.run(intake), name="wechaty-receiver")
        finally:
            waiting.close()

    def routes(self, intake: Intake) -> Sequence[web.AbstractRouteDef]:
        """Return nothing: we call the gateway, it never calls us."""
        return []

    async def probe(self) -> Health:
        """Ask the gateway for its version, for `oculichat doctor`; changes nothing there."""
        try:
            version = await self._gateway().version()
        except CallFailed as error:
            self._link.failed(error)
            return self.health()
        return Health(CHANNEL, True, "", required=False, facts={"gateway": version})

    def _gateway(self) -> GatewayClient:
        if self._client is None:
            raise Bug("the channel is not started")
        return self._client

    # ---- out -----------------------------------------------------------------------------

    async def ready(self, to: Address, *, urgent: bool) -> None:
        """Keep a person's pace, and give a gateway that restarts a moment."""
        try:
            async with asyncio.timeout(_WAIT_FOR_LOGIN_S):
                await self._link.usable_event.wait()
        except TimeoutError:
            return  # `send` says so
        await self._pace.turn(to.chat_id, urgent=urgent)

    async def send(self, to: Address, reply: Reply, *, key: str) -> str | None:
        """Send one reply; see `core.ports.Channel.send`. WeChat knows no keys of ours."""
        if not self._link.is_usable:
            raise Throttled(
                f"WeChat account {self._link.state}: {self._link.remedy}",
                retry_after_s=_TRY_AGAIN_S,
                scope="account",
                sooner=self._link.usable_event,
            )
        file = None if to_text(reply) else await self._file_of(reply)
        try:
            if file is None:
                return await self._gateway().send_text(to.chat_id, words_for_picture(reply))
            data, name = file
            return await self._gateway().send_file(to.chat_id, data, name)
        except CallFailed as error:
            raise _send_error(error) from error

    async def _file_of(self, reply: Reply) -> tuple[bytes, str] | None:
        """Return bytes and name of what goes out as a file; `core.split` sends words apart.

        None also for a picture that was erased: its words still go out.
        """
        if reply.document is not None:
            return reply.document.text.encode(), reply.document.name
        if reply.image is None:
            return None
        try:
            data = await self._blobs.get(reply.image.blob)
        except PatientError:
            return None
        return data, reply.image.mime.replace("image/", "picture.")

    async def fetch(self, attachment: Attachment, *, limit_bytes: int) -> bytes:
        """Fetch an attachment; see `core.ports.Channel.fetch`."""
        limit_bytes = min(limit_bytes, _CAPABILITIES.media_limit_bytes)
        try:
            box = await self._box(attachment, limit_bytes)
            data = b"" if box is None else await self._content(box, limit_bytes)
        except (TooLarge, OverflowError):
            limit_mb = limit_bytes // _MEBIBYTE
            raise PatientError("turn.file_too_large", limit_mb=limit_mb) from None
        except NotThere:
            raise PatientError("turn.file_unreadable") from None
        except CallFailed as error:
            if error.why in ("failed", "refused"):
                raise PatientError("turn.file_unreadable") from None
            raise TransientError(f"fetching failed: {error.why}") from error
        except (httpx.HTTPError, TimeoutError) as error:
            raise TransientError(f"fetching failed: {type(error).__name__}") from error
        if not data:
            raise PatientError("turn.file_unreadable")
        return data

    async def _box(self, attachment: Attachment, limit_bytes: int) -> FileBox | None:
        if not attachment.ref:
            return None
        client = self._gateway()
        if attachment.kind is AttachmentKind.PHOTO:
            try:
                box = await client.picture(attachment.ref, limit_bytes=limit_bytes)
            except CallFailed as error:
                if error.why not in ("failed", "refused"):
                    raise
                box = None
            if box is not None:
                return box
        return await client.file(attachment.ref, limit_bytes=limit_bytes)

    async def _content(self, box: FileBox, limit_bytes: int) -> bytes:
        match box:
            case Inline(data):
                return data
            case Stored(uuid):
                return await self._gateway().download(uuid, limit_bytes=limit_bytes)
            case Remote(url):
                timeout_s = 3 * self._settings.request_timeout_s
                return await fetch_url(url, limit_bytes=limit_bytes, timeout_s=timeout_s)

    async def discard(self, attachment: Attachment) -> None:
        """Do nothing: until `fetch` the file is WeChat's alone."""

    @asynccontextmanager
    async def activity(self, to: Address, what: Activity) -> AsyncGenerator[None]:
        """Show nothing: personal accounts cannot."""
        yield

    def draft(self, to: Address) -> Draft | None:
        """Return None: a message is written once."""
        return None


def _send_error(error: CallFailed) -> OculiChatError:
    """Return what a failed send means for the outbox: at most once is sent what was written."""
    if error.written:
        return SendUnknown(str(error))
    if error.why == "refused":
        return SendRefused(str(error))
    return Unreachable(str(error))
