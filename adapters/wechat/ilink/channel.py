"""WeChat through iLink as `core.ports.Channel`: every person who scanned our code is one login.

Lifecycle: `start` opens the connection pool and needs no network; `run` polls for every login
until cancelled, and finds new ones by itself; `stop` ends what is under way. WeChat being down at
any of these times is a state in `health`, never an exception.
"""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Never

import structlog
from aiohttp import web

from adapters.wechat.ilink.allowance import allowance, is_rate_limit, limit, pause_s
from adapters.wechat.ilink.api import Access, IlinkApi, NoAnswer, NotSent, Refused
from adapters.wechat.ilink.inbound import ACCOUNT, CHANNEL
from adapters.wechat.ilink.login import LoginDesk, QrLogin
from adapters.wechat.ilink.logins import (
    CONTEXT,
    Context,
    Use,
    all_logins,
    context_of,
    settle,
    take,
)
from adapters.wechat.ilink.media import fetch, upload_image
from adapters.wechat.ilink.receiving import Receiving
from adapters.wechat.ilink.settings import IlinkSettings
from adapters.wechat.ilink.typing import Typing
from adapters.wechat.ilink.wire import as_id, image_item, outgoing, text_item
from adapters.wechat.render import capabilities, to_text, words_for_picture
from core.clock import Clock
from core.errors import (
    PatientError,
    SendRefused,
    SendUnknown,
    Throttled,
    TransientError,
    Unreachable,
)
from core.message import Address, Attachment
from core.ports import Activity, Blobs, Capabilities, Draft, Health, Intake
from core.reply import Reply
from core.store.store import Store

_log = structlog.get_logger(__name__)

# Not documented; WeChat's own client stops at 100 MB. A fundus photo has 1 to 20.
_MEDIA_LIMIT_BYTES = 25 << 20
# How soon a message that waits for the person's next one notices that another process got it.
_LOOK_FOR_NEWS_S = 10.0
_MOST_PAUSES = 5_000
# `core.delivery` gives a send a minute; what ends before the message itself is surely not sent.
_UPLOAD_WITHIN_S = 35.0
_NOBODY = "nobody is connected: run `oculichat wechat login`"
_UNREACHABLE = "WeChat cannot be reached: check the network"


@dataclass(frozen=True, slots=True)
class _Pause:
    until_ms: int
    refusals: int


class IlinkChannel:
    """Implements `core.ports.Channel` for everybody who scanned our code.

    Args:
        settings: what the operator wants.
        store: logins and contexts are there.
        blobs: pictures to send.
        clock: the present.

    Attributes:
        desk: the login that the console shows.
    """

    name = CHANNEL
    account = ACCOUNT

    def __init__(self, settings: IlinkSettings, store: Store, blobs: Blobs, clock: Clock) -> None:
        self._settings = settings
        self._store = store
        self._blobs = blobs
        self._clock = clock
        self._api = IlinkApi(settings)
        self._typing = Typing(self._api, self._reach)
        self._pauses: dict[str, _Pause] = {}
        self._news: dict[str, asyncio.Event] = {}  # person → set when they write
        self._receiving = Receiving(
            self._api, store, clock, most=settings.most_logins, heard=self._heard
        )
        self._capabilities = capabilities(
            media_limit_bytes=_MEDIA_LIMIT_BYTES, proactive_window_ms=settings.context_ms
        )
        self.desk = LoginDesk(lambda: QrLogin(self._api, store, clock, base_url=settings.base_url))

    @property
    def capabilities(self) -> Capabilities:
        """WeChat's plain text, and how long we may write first."""
        return self._capabilities

    def health(self) -> Health:
        """Tell how the logins are; not required, for the other channels work without them."""
        states = self._receiving.states()
        facts = {name: str(states[name]) for name in sorted(states)}
        facts["logins"] = str(sum(states.values()))
        facts["login"] = self.desk.view.state
        if self.desk.view.qr:
            facts["qr"] = self.desk.view.qr
        detail = ""
        if not states:
            detail = _NOBODY
        elif states.get("stale"):
            detail = _scan_anew(states["stale"])
        elif states.get("unreachable"):
            detail = _UNREACHABLE
        elif states.get("not_storing"):
            detail = "messages cannot be stored: check the database; WeChat keeps them"
        elif self._receiving.left_out:
            detail = "some are not served: raise wechat.ilink.most_logins"
        return Health(CHANNEL, bool(states) and not detail, detail, required=False, facts=facts)

    # ---- life ----------------------------------------------------------------------------

    async def start(self) -> None:
        """Open the connection pool; from now on `send` and `fetch` may be called."""
        await self._api.start()

    async def stop(self) -> None:
        """Cancel background calls and close the connections; repeatable."""
        await self.desk.stop()
        await self._typing.close()
        await self._api.stop()

    async def run(self, intake: Intake) -> Never:
        """Receive from every login until cancelled; to be run by one task, after `start`."""
        await self._receiving.run(intake)

    def routes(self, intake: Intake) -> list[web.RouteDef]:
        """Return none: WeChat is asked, it never calls."""
        return []

    async def probe(self) -> Health:
        """Ask WeChat about the newest login, for `oculichat doctor`; receives nothing."""
        logins = await self._store.read(all_logins, self._settings.most_logins)
        stale = sum(login.state == "stale" for login in logins)
        facts = {"logins": str(len(logins)), "stale": str(stale)}
        detail = ""
        if not logins:
            detail = _NOBODY
        elif stale:
            detail = _scan_anew(stale)
        else:
            newest = logins[0]
            access = Access(newest.base_url, newest.token(self._store.keys))
            try:
                await self._api.call(access, "getconfig", {"ilink_user_id": newest.user_id})
            except Refused as error:
                detail = _scan_anew(1) if error.is_stale else ""
            except (NotSent, NoAnswer):
                detail = _UNREACHABLE
        return Health(CHANNEL, not detail, detail, required=False, facts=facts)

    # ---- out -----------------------------------------------------------------------------

    async def ready(self, to: Address, *, urgent: bool) -> None:
        """Hold a message back while the person's last one allows no more of ours.

        What cannot be sent at all is let through: `send` refuses it, and staff hear of it.
        """
        pause = self._pauses.get(to.chat_id)
        context = await self._store.read(context_of, to.chat_id)
        now_ms = self._clock.now_ms()
        match allowance(context, now_ms, self._settings, urgent=urgent):
            case "used_up":
                raise self._used_up(to.chat_id)
            case "open" if pause and context and context.refused and pause.until_ms > now_ms:
                wait_s = min((pause.until_ms - now_ms) / 1000, _LOOK_FOR_NEWS_S)
                raise Throttled(
                    "WeChat asked for a pause", retry_after_s=wait_s, sooner=self._next(to.chat_id)
                )
            case _:
                return

    def _used_up(self, user_id: str) -> Throttled:
        return Throttled(
            "WeChat takes no more", retry_after_s=_LOOK_FOR_NEWS_S, sooner=self._next(user_id)
        )

    def _next(self, user_id: str) -> asyncio.Event:
        """Return what is set when the person writes next."""
        return self._news.setdefault(user_id, asyncio.Event())

    def _heard(self, user_id: str) -> None:
        """Let what waits for this person go now: the allowance begins anew."""
        self._pauses.pop(user_id, None)
        if (waited_for := self._news.pop(user_id, None)) is not None:
            waited_for.set()

    async def send(self, to: Address, reply: Reply, *, key: str) -> str | None:
        """Send one reply; see `core.ports.Channel.send`.

        The key becomes WeChat's `client_id`. Nothing says that WeChat recognises repeats by it,
        so a message that may have arrived is not sent again (`Capabilities.on_unknown`).
        """
        urgent = reply.kind == "emergency"
        context = await self._store.read(context_of, to.chat_id)
        can = allowance(context, self._clock.now_ms(), self._settings, urgent=urgent)
        if context is None or can == "ended":
            raise SendRefused("the person's last message is too long ago for WeChat")
        access = self._access(context)
        try:
            item = await self._item(access, to.chat_id, reply)
        except NotSent as error:
            raise Unreachable(str(error)) from None
        except Refused as error:
            raise _refusal(error, 0) from None
        use = Use(context.id, context.received_at_ms, limit(self._settings, urgent=urgent))
        if not await self._store.write(take, use):
            raise self._used_up(to.chat_id)
        message = outgoing(
            to.chat_id,
            item,
            client_id=client_id(to.chat_id, key),
            context_token=self._token(context),
        )
        return await self._post(access, to.chat_id, context, use, message)

    async def _post(
        self,
        access: Access,
        user_id: str,
        context: Context,
        use: Use,
        message: dict[str, Any],
    ) -> str | None:
        """Make the one call that matters, and note how it ended."""
        try:
            answer = await self._api.call(access, "sendmessage", message)
        except NotSent as error:
            await self._give_back(use, context.refused)
            raise Unreachable(str(error)) from None
        except NoAnswer as error:
            raise SendUnknown(str(error)) from None
        except Refused as error:
            # A rate limit says nothing about the context, and a stale login neither.
            about_context = not (error.is_stale or is_rate_limit(error.reason))
            await self._give_back(use, context.refused + about_context)
            raise self._paused(user_id, error) from None
        self._pauses.pop(user_id, None)
        if context.refused:
            await self._store.write(settle, use)
        message_id = as_id(answer.get("message_id"))
        if not message_id and self._settings.expect_message_id:
            # Issues 263, 287 and 310 of Tencent/openclaw-weixin: taken, but not on its way.
            raise SendUnknown("WeChat gave the message no id")
        return message_id or None

    async def _give_back(self, use: Use, refused: int) -> None:
        """Uncount a message that WeChat did not take."""
        await self._store.write(settle, Use(use.context_id, use.received_at_ms, use.limit, refused))

    def _paused(self, user_id: str, error: Refused) -> TransientError:
        before = self._pauses.get(user_id)
        refusals = 1 + (before.refusals if before else 0)
        wait = _refusal(error, refusals)
        if len(self._pauses) >= _MOST_PAUSES:
            self._pauses.clear()
        until_ms = self._clock.now_ms() + int((wait.retry_after_s or 0.0) * 1000)
        self._pauses[user_id] = _Pause(until_ms, refusals)
        _log.warning("ilink_send_refused", code=error.code, refusals=refusals)
        return wait

    async def _item(self, access: Access, to: str, reply: Reply) -> dict[str, Any]:
        """Return what the message says or shows; a picture that was erased is said in words."""
        if reply.image is None:
            return text_item(to_text(reply))
        try:
            picture = await self._blobs.get(reply.image.blob)
        except PatientError:
            return text_item(words_for_picture(reply))
        try:
            async with asyncio.timeout(_UPLOAD_WITHIN_S):
                sent = await upload_image(
                    self._api, access, self._settings.cdn_url, to=to, data=picture
                )
        except TimeoutError:
            raise NotSent("the picture did not get to the CDN in time") from None
        return image_item(sent.param, sent.key, sent.cipher_bytes)

    def _access(self, context: Context) -> Access:
        return Access(context.login.base_url, context.login.token(self._store.keys))

    def _token(self, context: Context) -> str:
        return self._store.keys.open(CONTEXT, context.token_sealed).decode()

    async def _reach(self, user_id: str) -> tuple[Access, str] | None:
        context = await self._store.read(context_of, user_id)
        if context is None or context.login.state == "stale":
            return None
        return self._access(context), self._token(context)

    # ---- in ------------------------------------------------------------------------------

    async def fetch(self, attachment: Attachment, *, limit_bytes: int) -> bytes:
        """Fetch an attachment; see `core.ports.Channel.fetch`."""
        limit_bytes = min(limit_bytes, _MEDIA_LIMIT_BYTES)
        return await fetch(
            self._api, self._settings.cdn_url, attachment.ref, limit_bytes=limit_bytes
        )

    async def discard(self, attachment: Attachment) -> None:
        """Do nothing: until `fetch` the file is WeChat's alone."""

    def activity(self, to: Address, what: Activity) -> AbstractAsyncContextManager[None]:
        """Show "typing…", from 300 ms on; WeChat knows nothing else."""
        return self._typing.shown(to.chat_id)

    def draft(self, to: Address) -> Draft | None:
        """Return None: each state of a draft would count as a message."""
        return None


def _scan_anew(people: int) -> str:
    return f"{people} must scan anew: run `oculichat wechat login`"


def client_id(user_id: str, key: str) -> str:
    """Return WeChat's name for one message of ours: the same for each attempt to send it."""
    return f"oculichat-{hashlib.sha256(f'{user_id}/{key}'.encode()).hexdigest()[:24]}"


def _refusal(error: Refused, refusals: int) -> TransientError:
    """Return what a refusal means: nothing was taken, and when to come back."""
    if error.is_stale:
        return TransientError("WeChat wants this person to scan anew")
    return Throttled("WeChat refuses for now", retry_after_s=pause_s(refusals, error.reason))
