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
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import aiohttp
import pytest
import yaml
from sqlalchemy import select

from adapters.terminal.channel import TerminalChannel, inbound
from bot.service import Service
from bot.settings import Settings
from core.store.inbox import count_inbox
from core.store.tables import staff_task
from tests.conftest import ManualClock
from tests.fakes.botapi import BotApi

_TRANSCRIPTS = sorted((Path(__file__).parents[1] / "transcripts").glob("*.yaml"))
_FIXTURES = Path(__file__).parents[1] / "fixtures" / "fundus"
# 2027-01-15 10:00 in Shanghai: a Friday morning, outside quiet hours.
_START_MS = 1_799_978_400_000


@dataclass(frozen=True)
class Heard:
    """One reply as the person sees it."""

    text: str
    buttons: tuple[tuple[str, str], ...]
    picture: bool


class Person(Protocol):
    """Someone on one channel."""

    async def says(self, text: str) -> None: ...
    async def presses(self, label: str, action: str) -> None: ...
    async def sends(self, photo: Path, caption: str) -> None: ...
    async def heard(self) -> list[Heard]: ...


class OnTerminal:
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
            if accepted["method"] not in ("sendMessage", "sendPhoto"):
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


class OnWebChat:
    def __init__(self, base: str, session: aiohttp.ClientSession) -> None:
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
        async with self._session.get(f"{self._base}/chat/stream?after=0") as stream:
            body = b""
            try:
                async with asyncio.timeout(0.4):
                    async for chunk in stream.content.iter_any():
                        body += chunk
            except TimeoutError:
                pass
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
    channel: str, tmp_path: Path, clock: ManualClock
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
            yield service, OnWebChat(base, session)
        await service.stop()


async def _settled(service: Service, accepted: int) -> None:
    """Wait until every message that was sent is in, handled and delivered."""
    async with asyncio.timeout(30):
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
) -> None:
    known = sent = 0
    for step in script["steps"]:
        replies = await person.heard()
        if "says" in step:
            await person.says(step["says"])
        elif "sends" in step:
            await person.sends(_FIXTURES / step["sends"], step.get("caption", ""))
        elif "presses" in step:
            offered = [b for heard in replies for b in heard.buttons]
            action = next(a for label, a in reversed(offered) if label == step["presses"])
            await person.presses(step["presses"], action)
        if "later" in step:
            for _ in range(step["later"]["days"]):
                clock.advance(s=24 * 3600)
                await service.ticker.tick_due()
                await service.settle()
        else:
            sent += 1
        await _settled(service, sent)
        replies = await person.heard()
        new, known = replies[known:], len(replies)
        if "hears" in step:
            assert len(new) == len(step["hears"]), f"after {step}: {[h.text for h in new]}"
            for expected, heard in zip(step["hears"], new, strict=True):
                _check(expected, heard)
        rest = iter(new)
        for expected in step.get("hears_some", []):
            assert any(_fits(expected, heard) for heard in rest), (
                f"nothing fits {expected} in {[(h.text, h.buttons, h.picture) for h in new]}"
            )


@pytest.mark.parametrize("channel", ["terminal", "telegram", "webchat"])
@pytest.mark.parametrize("path", _TRANSCRIPTS, ids=lambda p: p.stem)
async def test_transcript(path: Path, channel: str, tmp_path: Path) -> None:
    script = yaml.safe_load(path.read_text("utf-8"))
    clock = ManualClock(_START_MS)
    async with _conversation(channel, tmp_path, clock) as (service, person):
        await _play(script, service, person, clock)
        kinds = await service.store.read(
            lambda c, _: list(c.execute(select(staff_task.c.kind)).scalars()), None
        )
        if "tasks" in script:
            assert sorted(kinds) == sorted(script["tasks"])
        accounts = await service.store.read(count_inbox, None)
        assert (accounts.pending, accounts.dead) == (0, 0)
