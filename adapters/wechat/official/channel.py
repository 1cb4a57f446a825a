"""One Official Account as `core.ports.Channel`.

Lifecycle: `start` opens the connection pool and needs no network; `run` fetches the first token and
watches over it until cancelled; `stop` ends what is under way. WeChat being down at any of these
times is a state in `health`, never an exception.
"""

from __future__ import annotations

import asyncio
import hmac
import re
from collections.abc import AsyncGenerator, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any

import structlog
from aiohttp import web

from adapters.wechat.official.api import ApiError, WechatApi, remedy
from adapters.wechat.official.inbound import CHANNEL, Note, Push, to_push
from adapters.wechat.official.link import Link
from adapters.wechat.official.media import DOWNLOAD_LIMIT_BYTES, Media
from adapters.wechat.official.passive import Body, PassiveAnswers, Verdict
from adapters.wechat.official.push import Asking, Door, Hold, PushCounts, ReplyFields
from adapters.wechat.official.reminders import Knocks, consent_mark
from adapters.wechat.official.seen import Seen
from adapters.wechat.official.sender import NotPermitted, Sender
from adapters.wechat.official.settings import OfficialSettings
from adapters.wechat.official.window import Doorbell
from adapters.wechat.official.wire import Unreadable
from adapters.wechat.render import TEXT_LIMIT_BYTES, capabilities, to_text, words_for_picture
from core.clock import Clock
from core.delivery import TASK_DETAIL
from core.errors import (
    ConfigError,
    OculiChatError,
    SendUnknown,
    Throttled,
    TransientError,
)
from core.message import Address, Attachment, Language
from core.ports import Activity, Blobs, Capabilities, Draft, Health, Intake
from core.reply import Reply
from core.split import longest_prefix
from core.store.store import Store
from core.store.wechat_official import (
    Chat,
    HeardFrom,
    TemplateFailure,
    has_unsent,
    note_heard,
    subscribe,
    template_failed,
    unfollow,
)
from core.texts import text

log = structlog.get_logger(__name__)

_STORED_WITHIN_S = 3.5
_TOKEN_CHECK_S = 60.0
_TYPING_DELAY_S, _TYPING_REPEAT_S, _MOST_TYPING = 0.3, 12.0, 10
_MORE = re.compile(r"\s*(?:继续|更多|more|continue)[\s。.!！]*", re.IGNORECASE)


class OfficialAccount:
    """Implements `core.ports.Channel` for one Official Account.

    Args:
        settings: with an app id.
        store: token, windows and waiting answers.
        blobs: pictures we send.
        clock: the present.
        language: of the few lines of our own; WeChat does not say a person's.
        public_url: where patients reach this server, for consents to one reminder.
    """

    name = CHANNEL

    def __init__(
        self,
        settings: OfficialSettings,
        *,
        store: Store,
        blobs: Blobs,
        clock: Clock,
        language: Language = "zh-Hans",
        public_url: str | None = None,
    ) -> None:
        if settings.app_id is None:
            raise ConfigError("wechat.official.app_id is not set: take it from the console")
        self._settings = settings
        self._store = store
        self._clock = clock
        self._language: Language = language
        self._account = settings.app_id
        self._api = WechatApi(settings, store, clock)
        self._media = Media(self._api, blobs, clock, settings.picture_hosts)
        self._link = Link(
            always_passive=settings.reply == "passive" or settings.app_secret is None,
            may_learn=settings.reply == "auto",
        )
        self._doorbell = Doorbell()
        self._seen = Seen()
        self._passive = PassiveAnswers(store, clock)
        self._knocks = Knocks(settings, self._api, store, clock, language, public_url)
        self._sender = Sender(
            self._api, self._media, self._knocks, self._link, self._doorbell, store, clock, language
        )
        self._errands: set[asyncio.Task[Any]] = set()
        self._door: Door | None = None
        self._capabilities = capabilities(media_limit_bytes=DOWNLOAD_LIMIT_BYTES)

    @property
    def account(self) -> str:
        """The account's AppID."""
        return self._account

    @property
    def capabilities(self) -> Capabilities:
        """What an Official Account can do.

        No window: `send` itself finds another way for a reminder, or keeps it and lets staff know.
        """
        return self._capabilities

    @property
    def api(self) -> WechatApi:
        """The account's API, for the menu."""
        return self._api

    @property
    def counts(self) -> PushCounts:
        """What was pushed."""
        return self._door.counts if self._door else PushCounts()

    def health(self) -> Health:
        """Tell how the API is; not required, for the other channels work without it."""
        link = self._link
        passive = link.is_passive
        facts = {"state": link.state, "mode": "passive" if passive else "push"}
        needs_no_api = self._settings.app_secret is None
        good = needs_no_api or link.state == "ready"
        return Health(CHANNEL, good, "" if good else link.remedy, required=False, facts=facts)

    # ---- life ----------------------------------------------------------------------------

    async def start(self) -> None:
        """Open the connection pool."""
        await self._api.start()

    async def stop(self) -> None:
        """Cancel background calls and close the connections; repeatable."""
        errands = list(self._errands)
        for task in errands:
            task.cancel()
        await asyncio.gather(*errands, return_exceptions=True)
        await self._api.stop()

    async def run(self, intake: Intake) -> None:
        """Keep the token fresh until cancelled; pushes come by the routes."""
        while True:
            await self._look_after_token()
            await asyncio.sleep(_TOKEN_CHECK_S)

    async def _look_after_token(self) -> None:
        if self._settings.app_secret is None:
            return
        try:
            await self._api.tokens.get()
        except ConfigError as error:
            self._link.failed(str(error), by_us=True)
        except TransientError as error:
            self._link.failed(f"WeChat cannot be reached: {error}", by_us=False)
        else:
            self._link.succeeded()

    async def probe(self) -> Health:
        """Ask WeChat once whether our token works, for `oculichat doctor`; changes nothing."""
        if self._settings.app_secret is None:
            return self.health()
        try:
            await self._api.fetch_once()
            self._link.succeeded()
        except ApiError as error:
            self._link.failed(remedy(error.code), by_us=True)
        except ConfigError as error:
            self._link.failed(str(error), by_us=True)
        except (TransientError, SendUnknown) as error:
            self._link.failed(f"WeChat cannot be reached: {error}", by_us=False)
        return self.health()

    # ---- in ------------------------------------------------------------------------------

    def routes(self, intake: Intake) -> list[web.RouteDef]:
        """Return the push address, and the page people come back to from a consent."""

        async def receive(fields: Mapping[str, str], asking: Asking) -> ReplyFields | None:
            return await self._receive(fields, asking, intake)

        door = self._door = Door(self._settings, self._clock, receive)
        path = self._settings.path
        found = [web.get(path, door.verify), web.post(path, door.push)]
        if self._settings.subscribe_template_id:
            found.append(web.get(f"{path}/subscribed", self._subscribed))
        return found

    async def _receive(
        self, fields: Mapping[str, str], asking: Asking, intake: Intake
    ) -> ReplyFields | None:
        """Store a push, then say what to answer; see `push.Door`."""
        push = to_push(fields, account=self._account, now_ms=self._clock.now_ms())
        if push is None:
            raise Unreadable("a field is missing")
        chat = Chat(CHANNEL, self._account, push.open_id)
        is_repeat = self._seen.has(push.open_id, push.message_id)
        if is_repeat and not self._link.is_passive:
            return None
        # WeChat is told in time that it has to repeat, but what was begun is finished: half a
        # push would be a message whose answer may not be sent.
        work = asyncio.create_task(self._take_in(chat, push, intake, is_repeat=is_repeat))
        self._errands.add(work)
        work.add_done_callback(self._errand_done)
        try:
            async with asyncio.timeout(_STORED_WITHIN_S):
                is_more = await asyncio.shield(work)
        except TimeoutError:
            raise TransientError("storing takes too long") from None
        if push.message is None:
            return None
        if not self._link.is_passive:
            return None
        verdict = await self._passive.verdict(
            chat, push.message_id, arrived_s=asking.arrived_s, is_open=asking.is_open
        )
        return self._passive_reply(push, verdict, is_more=is_more)

    async def _take_in(self, chat: Chat, push: Push, intake: Intake, *, is_repeat: bool) -> bool:
        """Store a push; true when it only asks for what waits."""
        if push.note is not None:
            await self._note(chat, push.note)
        if push.message is None or push.heard is None:
            return False
        is_more = await self._asks_for_more(chat, push)
        await self._store_push(chat, push, intake, only_note=is_more or is_repeat)
        self._seen.add(push.open_id, push.message_id)
        self._doorbell.ring(push.open_id)
        return is_more

    def _errand_done(self, task: asyncio.Task[Any]) -> None:
        self._errands.discard(task)
        if not task.cancelled():
            task.exception()  # whoever waited has it; nobody waiting is nobody to tell

    async def _store_push(self, chat: Chat, push: Push, intake: Intake, *, only_note: bool) -> None:
        """Store the message, then what it renews: somebody new has a conversation only then.

        A reply that is quicker waits for the doorbell.
        """
        if push.message is not None and not only_note:
            await intake.accept([push.message])
        at_ms = min(push.at_ms, self._clock.now_ms())
        note = HeardFrom(chat, push.heard or "message", push.message_id, at_ms)
        writes: list[Coroutine[Any, Any, object]] = [self._store.write(note_heard, note)]
        if self._link.is_passive:
            writes.append(self._passive.open(chat, push.message_id))
        await asyncio.gather(*writes)

    async def _asks_for_more(self, chat: Chat, push: Push) -> bool:
        """Tell whether this only asks for what waits, so that no turn is made of it."""
        message = push.message
        if message is None or not _MORE.fullmatch(message.text):
            return False
        return await self._store.read(has_unsent, chat) or (
            self._link.is_passive and await self._passive.waits(chat)
        )

    async def _note(self, chat: Chat, note: Note) -> None:
        if note.what == "unfollowed":
            await self._store.write(unfollow, chat)
        elif note.status and note.status != "success":
            detail = self._store.keys.seal_json(TASK_DETAIL, {"why": "refused"})
            failure = TemplateFailure(chat, note.message_id, self._clock.now_ms(), detail)
            if await self._store.write(template_failed, failure):
                log.warning("wechat_template_failed")

    def _passive_reply(self, push: Push, verdict: Verdict, *, is_more: bool) -> ReplyFields | None:
        if verdict == "hold":
            raise Hold
        if verdict == "nothing":
            return None
        if verdict == "later":
            key = "wechat.nothing_waits" if is_more else "wechat.answer_later"
            verdict = Body(text(self._language, key))
        fields: dict[str, str | int | Mapping[str, str]] = {
            "ToUserName": push.open_id,
            "FromUserName": push.to,
            "CreateTime": self._clock.now_ms() // 1000,
        }
        if verdict.media_id:
            return {**fields, "MsgType": "image", "Image": {"MediaId": verdict.media_id}}
        return {**fields, "MsgType": "text", "Content": verdict.text}

    async def _subscribed(self, request: web.Request) -> web.Response:
        """Note a person's consent to one reminder; WeChat sends them here."""
        query = request.query
        open_id = query.get("openid", "")
        mark = consent_mark(open_id, self._store.keys)
        given = query.get("reserved", "").encode("utf-8", "surrogateescape")
        good = (
            hmac.compare_digest(mark.encode(), given)
            and query.get("action") == "confirm"
            and query.get("template_id") == self._settings.subscribe_template_id
            and await self._store.write(subscribe, Chat(CHANNEL, self._account, open_id))
        )
        key = "wechat.subscribed" if good else "wechat.not_subscribed"
        return web.Response(text=text(self._language, key), status=200 if good else 400)

    # ---- out -----------------------------------------------------------------------------

    async def ready(self, to: Address, *, urgent: bool) -> None:
        """Wait out a pause of the whole account; an urgent reply is tried all the same."""
        pause_s = self._link.pause_s()
        if pause_s > 0 and not urgent:
            raise Throttled("WeChat's quota", retry_after_s=pause_s, scope="account")

    async def send(self, to: Address, reply: Reply, *, key: str) -> str | None:
        """Send one reply; see `core.ports.Channel.send`. WeChat knows no keys of ours."""
        chat = Chat(CHANNEL, self._account, to.chat_id)
        if not self._link.is_passive:
            try:
                return await self._sender.send(chat, reply, key=key)
            except NotPermitted:
                self._link.not_permitted()
                if not self._link.is_passive:
                    raise TransientError(
                        "this account may not write by itself: set wechat.official.reply",
                        retry_after_s=60,
                    ) from None
        return await self._put(chat, reply)

    async def _put(self, chat: Chat, reply: Reply) -> str | None:
        """Put a reply into the request that waits for it, or wait for the next one."""
        if await self._passive.put(chat, await self._body(reply)):
            return None
        raise self._doorbell.wait_for(chat.chat_id)

    async def _body(self, reply: Reply) -> Body:
        if reply.image is None:
            return Body(longest_prefix(to_text(reply), TEXT_LIMIT_BYTES, "utf8"))
        if self._settings.app_secret is not None:
            with suppress(ApiError, OculiChatError):
                media_id = await self._media.upload(reply.image)
                if media_id is not None:
                    return Body(media_id=media_id)
        return Body(longest_prefix(words_for_picture(reply), TEXT_LIMIT_BYTES, "utf8"))

    async def fetch(self, attachment: Attachment, *, limit_bytes: int) -> bytes:
        """Fetch an attachment; see `core.ports.Channel.fetch`."""
        return await self._media.fetch(attachment, limit_bytes=limit_bytes)

    async def discard(self, attachment: Attachment) -> None:
        """Do nothing: until `fetch` the file is WeChat's alone."""

    def activity(self, to: Address, what: Activity) -> AbstractAsyncContextManager[None]:
        """Show that an answer is being written, from 300 ms on."""
        return self._shown(to.chat_id)

    @asynccontextmanager
    async def _shown(self, chat_id: str) -> AsyncGenerator[None]:
        self._passive.turn_begins(chat_id)
        task: asyncio.Task[None] | None = None
        if self._settings.typing and not self._link.is_passive:
            task = asyncio.create_task(self._show_typing(chat_id), name="wechat-typing")
            self._errands.add(task)
            task.add_done_callback(self._errand_done)
        try:
            yield
        finally:
            if task is not None:
                task.cancel()
            self._passive.turn_ends(chat_id)

    async def _show_typing(self, chat_id: str) -> None:
        """Say "typing" now and then; the least important call, so the first failure ends it."""
        await asyncio.sleep(_TYPING_DELAY_S)
        with suppress(ApiError, OculiChatError):
            for _ in range(_MOST_TYPING):
                body = {"touser": chat_id, "command": "Typing"}
                await self._api.call("/cgi-bin/message/custom/typing", body)
                await asyncio.sleep(_TYPING_REPEAT_S)

    def draft(self, to: Address) -> Draft | None:
        """Return None: WeChat shows a message once."""
        return None
