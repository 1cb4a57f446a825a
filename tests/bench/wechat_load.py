"""Many people on an Official Account at once, against the real process with a slow model.

WeChat delivers each push three times, a moment apart, as it does when an answer was late.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from tests.acceptance.harness import ANSWER, MARK, Service, mark
from tests.fakes.llm import FakeLlm, Script
from tests.fakes.wechat_api import ACCOUNT_NAME, AES_KEY, SECRET, WechatApi, make_push

_EARLY_BIRD = 999_999
_QUESTION = "{token} 请问你们周末上班吗"


@dataclass
class Load:
    """What the load did.

    Attributes:
        answered_after_s: how long WeChat waited, per delivery.
        statuses: what WeChat was answered.
        times_answered: how many answers each message got.
        took_s: from each message to its answer.
    """

    answered_after_s: list[float] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)
    times_answered: Counter[int] = field(default_factory=Counter)
    took_s: list[float] = field(default_factory=list)

    def p99_s(self) -> float:
        """Return the wait that 99 of 100 deliveries stayed below."""
        return sorted(self.answered_after_s)[int(len(self.answered_after_s) * 0.99)]


def settings_for(api: WechatApi, llm_url: str) -> dict[str, str]:
    """Return settings of a service with nothing but the account and a model."""
    return {
        "DATA_DIR": "data",
        "WECHAT__OFFICIAL__APP_ID": str(api.settings()["app_id"]),
        "WECHAT__OFFICIAL__APP_SECRET": SECRET,
        "WECHAT__OFFICIAL__TOKEN": str(api.settings()["token"]),
        "WECHAT__OFFICIAL__AES_KEY": AES_KEY,
        "WECHAT__OFFICIAL__BASE_URL": api.base,
        "LLM__BASE_URLS": llm_url,
        "LLM__MAX_IN_FLIGHT": "256",
        "LLM__FIRST_TOKEN_TIMEOUT_S": "60",
        "LLM__PROBE_TIMEOUT_S": "60",
        "DIALOG__MERGE_WINDOW_MS": "0",
        "CONSENT__REQUIRED": "false",
        "WEBCHAT__ENABLED": "false",
        "CONSOLE__ENABLED": "false",
        "FUNDUS__ENABLED": "false",
        "SERVER__PORT": "0",
        "LOG__FORMAT": "json",
    }


async def load(
    folder: Path, *, people: int, per_s: float, seconds: float, model_s: float = 2.0
) -> Load:
    """Let people write at a steady pace, each message delivered three times.

    Args:
        folder: for the service.
        people: who write in turn.
        per_s: messages a second, all together.
        seconds: how long.
        model_s: how long the model takes for its first word.
    """
    found = Load()
    sent_at_s: dict[int, float] = {}
    async with (
        WechatApi.running() as api,
        FakeLlm(Script(text=ANSWER, token=MARK.pattern, delay_s=model_s)) as llm,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
    ):
        service = Service(folder, settings_for(api, llm.url))
        await service.start()
        try:
            url = f"{service.url}/wechat/push"
            chance = random.Random(1)
            # The vocabulary is compiled beside the first seconds; that is `starts`' figure.
            await _deliver(session, url, api, "oEarly_bird", _EARLY_BIRD, 0.0, Load())
            await _answered(api, {_EARLY_BIRD})
            began = time.monotonic()
            tasks: list[asyncio.Task[None]] = []
            for number in range(int(per_s * seconds)):
                await asyncio.sleep(max(0.0, began + number / per_s - time.monotonic()))
                open_id = f"oPerson_{number % people}"
                sent_at_s[number] = time.monotonic()
                push = _deliver(session, url, api, open_id, number, chance.random(), found)
                tasks.append(asyncio.create_task(push))
            await asyncio.gather(*tasks)
            await _answered(api, set(sent_at_s))
            await asyncio.sleep(1.0)  # a second answer would come now
        finally:
            if service.is_running:
                await service.stop()
    at_s = answers(api)
    found.times_answered = Counter(len(at_s.get(number, [])) for number in sent_at_s)
    offset_s = time.time() - time.monotonic()
    found.took_s = [
        at_s[number][0] - offset_s - at for number, at in sent_at_s.items() if number in at_s
    ]
    return found


async def _answered(api: WechatApi, numbers: set[int]) -> None:
    """Wait until these messages are answered, or for a minute: what is missing is counted."""
    for _ in range(600):
        if numbers <= answers(api).keys():
            return
        await asyncio.sleep(0.1)


def answers(api: WechatApi) -> dict[int, list[float]]:
    """Return when each message was answered, by its number."""
    found: dict[int, list[float]] = {}
    for sent in api.sent:
        for token in MARK.findall(sent.get("text", {}).get("content", "")):
            found.setdefault(int(token[1:]), []).append(sent["at_s"])
    return found


async def _deliver(
    session: aiohttp.ClientSession,
    url: str,
    api: WechatApi,
    open_id: str,
    number: int,
    chance: float,
    found: Load,
) -> None:
    api.user_acts(open_id, "message")
    fields = {
        "ToUserName": ACCOUNT_NAME,
        "FromUserName": open_id,
        "CreateTime": int(time.time()),
        "MsgType": "text",
        "Content": _QUESTION.replace("{token}", mark(number)),
        "MsgId": 24_000_000_000 + number,
    }

    async def once(after_s: float) -> None:
        await asyncio.sleep(after_s)
        push = make_push(fields, mode="secure")
        began = time.monotonic()
        try:
            async with session.post(url, params=push.query, data=push.body) as answer:
                found.statuses[f"{answer.status} {await answer.text()}"] += 1
        except aiohttp.ClientError as error:
            found.statuses[type(error).__name__] += 1
        found.answered_after_s.append(time.monotonic() - began)

    # The first repeat may come beside the first delivery, the second long after.
    await asyncio.gather(once(0.0), once(chance * 0.5), once(0.5 + chance))
