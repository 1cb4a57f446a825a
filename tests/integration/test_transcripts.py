"""Golden conversations, each played through every channel over its real transport.

`tests/transcripts/*.yaml`: who says what, and what must come back. Pressing a button names its
label; `later` moves the clock and lets the ticker beat. `hears` is exact in number and order,
`hears_some` wants each in order among others.
"""

from __future__ import annotations

import asyncio
import html
import itertools
import json
import re
import uuid
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import aiohttp
import pytest
import yaml
from sqlalchemy import func, select

from adapters.terminal.channel import TerminalChannel, inbound
from adapters.wechat.ilink.logins import TOKEN, NewLogin, save_login
from bot.service import Service
from bot.settings import Settings
from core.store.inbox import count_inbox
from core.store.tables import staff_task, transcript
from tests.conftest import ManualClock
from tests.fakes.botapi import BotApi
from tests.fakes.ilink import Ilink
from tests.fakes.waiting import PATIENCE_S
from tests.fakes.wechat_api import AES_KEY, Answer, Phone, WechatApi
from tests.gateway.gateway import Gateway

_TRANSCRIPTS = sorted((Path(__file__).parents[1] / "transcripts").glob("*.yaml"))
_FIXTURES = Path(__file__).parents[1] / "fixtures" / "fundus"
# 2027-01-15 10:00 in Shanghai: a Friday morning, outside quiet hours.
_START_MS = 1_799_978_400_000
# Said beside a plan where the platform lets us write first for a limited time only.
_WINDOW_NOTICE = "这个软件只允许我在您上次发消息后"


@dataclass(frozen=True)
class Heard:
    """One reply as the person sees it."""

    text: str
    buttons: tuple[tuple[str, str], ...]
    picture: bool


class Person(Protocol):
    """Someone on one channel.

    `types` is true where choices are numbers to be typed, so that only the newest can be chosen.
    """

    types: bool

    async def says(self, text: str) -> None: ...
    async def presses(self, label: str, action: str) -> None: ...
    async def sends(self, photo: Path, caption: str) -> None: ...
    async def heard(self) -> list[Heard]: ...


class OnTerminal:
    types = False

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._numbers = itertools.count(1)

    def attach(self, service: Service) -> None:
        self._service = service

    async def _line(self, **data: str) -> None:
        line = inbound(json.dumps(data), next(self._numbers), as_json=True)
        await self._service.intake.accept([line])

    async def says(self, text: str) -> None:
        await self._line(text=text)

    async def presses(self, label: str, action: str) -> None:
        await self._line(button=action)

    async def sends(self, photo: Path, caption: str) -> None:
        await self._line(photo=str(photo), text=caption)

    async def heard(self) -> list[Heard]:
        replies = [json.loads(line) for line in self.lines]
        return [
            Heard(
                r["text"],
                tuple((b["label"], b["action"]) for b in r["buttons"]),
                r["image"] is not None and Path(r["image"]).stat().st_size > 1000,
            )
            for r in replies
        ]


class OnTelegram:
    types = False
    chat = 4711

    def __init__(self, api: BotApi) -> None:
        self._api = api

    async def says(self, text: str) -> None:
        self._api.user_text(self.chat, text)

    async def presses(self, label: str, action: str) -> None:
        self._api.user_presses(self.chat, action)

    async def sends(self, photo: Path, caption: str) -> None:
        self._api.user_photo(self.chat, photo.read_bytes(), caption)

    async def heard(self) -> list[Heard]:
        found: list[Heard] = []
        for accepted in self._api.accepted():
            if accepted["method"] not in ("sendMessage", "sendPhoto", "sendDocument"):
                continue
            call = {**accepted, **accepted["params"]}
            markup = call.get("reply_markup") or {}
            rows = json.loads(markup) if isinstance(markup, str) else markup
            buttons = tuple(
                (b["text"], b["callback_data"])
                for row in rows.get("inline_keyboard", [])
                for b in row
            )
            words = call.get("text") or call.get("caption") or ""
            plain = html.unescape(re.sub(r"<[^>]+>", "", words))
            found.append(Heard(plain, buttons, call["method"] == "sendPhoto"))
        return _joined(found)


def _joined(found: list[Heard]) -> list[Heard]:
    """Put a picture and the parts of its text together again, as a person reads them."""
    joined: list[Heard] = []
    for part in found:
        if joined and joined[-1].picture and not joined[-1].buttons and not part.picture:
            last = joined.pop()
            joined.append(Heard(f"{last.text}\n{part.text}", part.buttons, True))
        else:
            joined.append(part)
    return joined


class OnIlink:
    """Plain text on WeChat: choices are numbered lines, and a long answer comes in parts."""

    types = True
    window_ms = 23 * 3_600_000
    user = "o9cq80-alice@im.wechat"

    def __init__(self, wechat: Ilink) -> None:
        self._wechat = wechat

    async def says(self, text: str) -> None:
        self._wechat.user_says(self.user, text)

    async def presses(self, label: str, action: str) -> None:
        self._wechat.user_says(self.user, action)

    async def sends(self, photo: Path, caption: str) -> None:
        self._wechat.user_photo(self.user, photo.read_bytes(), caption=caption)

    async def heard(self) -> list[Heard]:
        found = [Heard(s.get("text", ""), (), "picture" in s) for s in self._wechat.sent]
        texts = [Heard(h.text, numbered_choices(h.text), h.picture) for h in whole_texts(found)]
        return [h for h in pictures_with_words(texts) if not h.text.startswith(_WINDOW_NOTICE)]


class OnWechaty:
    """A personal account behind a real Wechaty gateway; everything it hears comes as an event."""

    types = True

    def __init__(self, gateway: Gateway, service: Service, user: str) -> None:
        self._gateway = gateway
        self._service = service
        self._user = user

    async def _stored(self, sending: Awaitable[str]) -> None:
        before = self._service.intake.counts.accepted
        await sending
        async with asyncio.timeout(PATIENCE_S):
            while self._service.intake.counts.accepted == before:  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    async def says(self, text: str) -> None:
        await self._stored(self._gateway.says(self._user, text))

    async def presses(self, label: str, action: str) -> None:
        await self.says(action)

    async def sends(self, photo: Path, caption: str) -> None:
        if caption:  # WeChat has no captions: words and picture are two messages
            await self.says(caption)
        await self._stored(self._gateway.sends(self._user, photo.read_bytes()))

    async def heard(self) -> list[Heard]:
        found = [
            Heard(s.get("text", ""), (), s.get("bytes", 0) > 1000)
            for s in await self._gateway.sent(self._user)
            if s["kind"] == "text" or s["type"].startswith("image/")  # not the calendar file
        ]
        texts = [Heard(h.text, numbered_choices(h.text), h.picture) for h in whole_texts(found)]
        return pictures_with_words(texts)


class OnWechat:
    """An Official Account: pushes in, customer-service messages out, knocks after two days."""

    types = True
    window_ms = 48 * 3_600_000

    def __init__(self, phone: Phone) -> None:
        self._phone = phone

    async def _sent(self, answer: Answer) -> None:
        assert (answer.status, answer.text) == (200, "success")

    async def says(self, text: str) -> None:
        await self._sent(await self._phone.text(text))

    async def presses(self, label: str, action: str) -> None:
        await self._sent(await self._phone.text(action))

    async def sends(self, photo: Path, caption: str) -> None:
        if caption:  # WeChat has no captions: words and picture are two messages
            await self._sent(await self._phone.text(caption))
        await self._sent(await self._phone.photo(photo.read_bytes()))

    async def heard(self) -> list[Heard]:
        api = self._phone.api
        found: list[Heard] = []
        for sent in api.sent_to(self._phone.open_id):
            if sent["msgtype"] == "image":
                picture = api.uploads[sent["image"]["media_id"]]
                found.append(Heard("", (), len(picture) > 1000))
            else:
                found.append(Heard(sent["text"]["content"], (), False))
        self.knocks = sum(sent["kind"] == "template" for sent in api.sent)
        texts = [Heard(h.text, numbered_choices(h.text), h.picture) for h in whole_texts(found)]
        return pictures_with_words(texts)


def pictures_with_words(found: list[Heard]) -> list[Heard]:
    """Put a picture and the text behind it together, as a person reads them."""
    joined: list[Heard] = []
    for part in found:
        if joined and joined[-1].picture and not joined[-1].text:
            joined[-1] = Heard(part.text, part.buttons, True)
        else:
            joined.append(part)
    return joined


def whole_texts(found: list[Heard]) -> list[Heard]:
    """Put the parts of a long answer, which end with (1/3) and so on, together again."""
    joined: list[Heard] = []
    before = ""
    for part in found:
        mark = re.search(r"\n\n\((\d+)/(\d+)\)$", part.text)
        text = before + (part.text[: mark.start()] if mark else part.text)
        if mark and mark[1] != mark[2]:
            before = text + "\n"
            continue
        before = ""
        joined.append(Heard(text, part.buttons, part.picture))
    return joined


def numbered_choices(text: str) -> tuple[tuple[str, str], ...]:
    """Return label and number of each numbered line: a person types the number."""
    return tuple((label, n) for n, label in re.findall(r"^(\d+)\. (.+)$", text, re.MULTILINE))


class OnWebChat:
    types = False

    def __init__(self, service: Service, base: str, session: aiohttp.ClientSession) -> None:
        self._service = service
        self._base = base
        self._session = session

    async def _post(self, path: str, **fields: Any) -> None:
        form = aiohttp.FormData()
        form.add_field("id", str(uuid.uuid4()))
        for name, value in fields.items():
            if isinstance(value, bytes):
                form.add_field(name, value, filename="p.jpg", content_type="image/jpeg")
            else:
                form.add_field(name, value)
        headers = {"Origin": self._base, "Accept": "application/json"}
        async with self._session.post(
            f"{self._base}{path}", data=form, headers=headers, allow_redirects=False
        ) as answer:
            assert answer.status < 400, await answer.text()

    async def says(self, text: str) -> None:
        await self._post("/chat/messages", text=text)

    async def presses(self, label: str, action: str) -> None:
        await self._post("/chat/messages", button=action)

    async def sends(self, photo: Path, caption: str) -> None:
        if caption:  # the page has no captions: words and picture are two messages
            await self._post("/chat/messages", text=caption)
        await self._post("/chat/photos", photo=photo.read_bytes())

    async def heard(self) -> list[Heard]:
        newest = await self._service.store.read(
            lambda c, _: c.execute(select(func.max(transcript.c.id))).scalar(), None
        )
        body = b""
        async with (
            asyncio.timeout(PATIENCE_S),
            self._session.get(f"{self._base}/chat/stream?after=0") as stream,
        ):
            while newest is not None and f"id: {newest}\n".encode() not in body:
                body += await stream.content.readline()
            body += await stream.content.readline() + b"\n"  # the event's last field
        found: list[Heard] = []
        for block in body.decode().split("\n\n"):
            data = re.search(r"^data: (.*)$", block, re.MULTILINE)
            if "event: item" not in block or data is None:
                continue
            item = json.loads(data[1])
            if item["author"] == "patient":
                continue
            buttons = tuple(
                (html.unescape(label), html.unescape(action))
                for action, label in re.findall(
                    r'name="button" value="([^"]*)"[^>]*>(.*?)</button>', item["html"]
                )
            )
            words = html.unescape(re.sub(r"<[^>]+>", " ", item["html"]))
            found.append(Heard(re.sub(r" +", " ", words), buttons, "<img" in item["html"]))
        return found


@asynccontextmanager
async def _conversation(
    channel: str, tmp_path: Path, clock: ManualClock, request: pytest.FixtureRequest
) -> AsyncIterator[tuple[Service, Person]]:
    values: dict[str, Any] = {
        "data_dir": tmp_path / "data",
        "server": {"port": 0},
        "dialog": {"merge_window_ms": 0},
        "fundus": {"threads": 1},
    }
    if channel == "terminal":
        person = OnTerminal()
        service = Service(
            Settings(**values),
            extra_channel=lambda blobs: TerminalChannel(
                person.lines.append, blobs, tmp_path / "pictures", as_json=True
            ),
            network=False,
            clock=clock,
        )
        person.attach(service)
        await service.start()
        yield service, person
        await service.stop()
        return
    if channel == "ilink":
        async with Ilink.running(clock.now_ms) as wechat:
            values["wechat"] = {"ilink": wechat.settings()}
            service = Service(Settings(**values), clock=clock)
            bot = wechat.connect(OnIlink.user)
            sealed = service.store.keys.seal(TOKEN, bot.token.encode())
            scan = NewLogin(bot.user, bot.bot_id, wechat.base, sealed, clock.now_ms())
            await service.store.write(save_login, scan)
            await service.start()
            try:
                yield service, OnIlink(wechat)
            finally:
                await service.stop()
        return
    if channel == "wechaty":
        gateway: Gateway = request.getfixturevalue("wechaty_gateway")
        values["wechat"] = {"wechaty": gateway.settings}
        service = Service(Settings(**values), clock=clock)
        await service.start()
        async with asyncio.timeout(PATIENCE_S):  # what is written before a stream is open is lost
            while not all(c.health().ok for c in service.connected):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        try:
            yield service, OnWechaty(gateway, service, f"wxid_{tmp_path.name}")
        finally:
            await service.stop()
        return
    if channel == "wechat":
        async with WechatApi.running(now_s=lambda: clock.now_ms() / 1000) as wechat_api:
            values["wechat"] = {
                "official": wechat_api.settings(aes_key=AES_KEY, template_id="reminder-template")
            }
            service = Service(Settings(**values), clock=clock)
            await service.start()
            url = f"http://127.0.0.1:{service.port}/wechat/push"
            try:
                yield (
                    service,
                    OnWechat(Phone(wechat_api, url, mode="secure", now_s=wechat_api.now_s)),
                )
            finally:
                await service.stop()
        return
    async with (
        BotApi.running() as api,
        aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session,
    ):
        if channel == "telegram":
            values["telegram"] = {
                "token": api.token,
                "base_url": api.base_url,
                "base_file_url": api.base_file_url,
                "poll_timeout_s": 1,
                "chat_messages_per_s": 1000,
                "messages_per_s": 1000,
                "drafts": False,
            }
        service = Service(Settings(**values), clock=clock)
        await service.start()
        base = f"http://127.0.0.1:{service.port}"
        if channel == "telegram":
            yield service, OnTelegram(api)
        else:
            async with session.get(f"{base}/chat") as page:
                assert page.status == 200
            yield service, OnWebChat(service, base, session)
        await service.stop()


async def _settled(service: Service, accepted: int) -> None:
    """Wait until every message that was sent is in, handled and delivered."""
    async with asyncio.timeout(PATIENCE_S):
        while service.intake.counts.accepted < accepted:  # noqa: ASYNC110 nobody tells us
            await asyncio.sleep(0.01)
        await service.settle()


def _check(expected: dict[str, Any], heard: Heard) -> None:
    for words in expected.get("contains", []):
        assert words in heard.text, f"{words!r} is missing in {heard.text!r}"
    for words in expected.get("lacks", []):
        assert words not in heard.text, f"{words!r} must not be in {heard.text!r}"
    labels = [label for label, _ in heard.buttons]
    for label in expected.get("buttons", []):
        assert label in labels, f"no button {label!r} among {labels}"
    if expected.get("picture"):
        assert heard.picture, f"no picture with {heard.text!r}"


def _fits(expected: dict[str, Any], heard: Heard) -> bool:
    try:
        _check(expected, heard)
    except AssertionError:
        return False
    return True


async def _play(
    script: dict[str, Any], service: Service, person: Person, clock: ManualClock
) -> bool:
    """Play a script; false when this channel cannot play it to its end.

    Args:
        script: the steps.
        service: the running service.
        person: who speaks.
        clock: the service's.
    """
    known = sent = 0
    said_at_ms = clock.now_ms()
    for step in script["steps"]:
        replies = await person.heard()
        if "says" in step:
            await person.says(step["says"])
        elif "sends" in step:
            await person.sends(_FIXTURES / step["sends"], step.get("caption", ""))
        elif "presses" in step:
            offered = [b for heard in replies for b in heard.buttons]
            if person.types and step["presses"] not in _newest(replies):
                return False
            action = next(a for label, a in reversed(offered) if label == step["presses"])
            await person.presses(step["presses"], action)
        if "later" in step:
            (unit, count), *_ = step["later"].items()
            for _ in range(count):
                clock.advance(s={"days": 24 * 3600, "hours": 3600, "minutes": 60}[unit])
                await service.ticker.tick_due()
                await service.settle()
        else:
            sent += 1
            said_at_ms = clock.now_ms()
        await _settled(service, sent)
        replies = await person.heard()
        new, known = replies[known:], len(replies)
        expects = step.get("hears") or step.get("hears_some")
        silent_ms = clock.now_ms() - said_at_ms
        if isinstance(person, OnWechat) and expects and silent_ms > person.window_ms:
            assert person.knocks, "no template message said that a reminder waits"
            return False
        expects = bool(step.get("hears") or step.get("hears_some"))
        if isinstance(person, OnIlink) and expects and silent_ms > person.window_ms:
            assert new == [], "WeChat would refuse it"
            assert await _staff_tasks(service), "nobody would hear of it"
            return False
        if "hears" in step:
            assert len(new) == len(step["hears"]), f"after {step}: {[h.text for h in new]}"
            for expected, heard in zip(step["hears"], new, strict=True):
                _check(expected, heard)
        rest = iter(new)
        for expected in step.get("hears_some", []):
            assert any(_fits(expected, heard) for heard in rest), (
                f"nothing fits {expected} in {[(h.text, h.buttons, h.picture) for h in new]}"
            )
    return True


def _newest(replies: list[Heard]) -> list[str]:
    return [label for heard in replies[-1:] for label, _ in heard.buttons]


async def _staff_tasks(service: Service) -> list[str]:
    return await service.store.read(
        lambda c, _: list(c.execute(select(staff_task.c.kind)).scalars()), None
    )


@pytest.mark.parametrize(
    "channel", ["terminal", "telegram", "webchat", "ilink", "wechat", "wechaty"]
)
@pytest.mark.parametrize("path", _TRANSCRIPTS, ids=lambda p: p.stem)
async def test_transcript(
    path: Path, channel: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    script = yaml.safe_load(path.read_text("utf-8"))
    clock = ManualClock(_START_MS)
    async with _conversation(channel, tmp_path, clock, request) as (service, person):
        whole = await _play(script, service, person, clock)
        if "tasks" in script and whole:
            assert sorted(await _staff_tasks(service)) == sorted(script["tasks"])
        accounts = await service.store.read(count_inbox, None)
        assert (accounts.pending, accounts.dead) == (0, 0)
