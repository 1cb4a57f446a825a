"""The fake as a process of its own, as harnesses that kill the service use it."""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from tests.fakes.botapi import TOKEN, BotApi

ROOT = Path(__file__).parents[3]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "calls.jsonl"


@pytest.fixture
def base(log: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "tests.fakes.botapi", "--port", "0", "--log", str(log)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout
        yield json.loads(process.stdout.readline())["base"]
        process.terminate()


async def test_control_poll_answer_and_log(base: str, log: Path):
    async with aiohttp.ClientSession(base) as session:

        async def post(path: str, **body: object) -> object:
            async with session.post(path, json=body) as answer:
                return (await answer.json())["result"]

        bot = f"/bot{TOKEN}"
        await post("/control/user_text", chat_id=7, text="/start ref")
        data = base64.b64encode(b"jpeg").decode()
        await post("/control/user_photo", chat_id=7, data=data, caption="右眼")
        first, second = await post(f"{bot}/getUpdates", timeout=0)  # type: ignore[misc]
        assert first["message"]["entities"][0]["type"] == "bot_command"
        assert await post(f"{bot}/getUpdates", offset=first["update_id"] + 1) == [second]

        await post("/control/fault", kind="429", method="sendMessage", retry_after=2)
        async with session.post(f"{bot}/sendMessage", json={"chat_id": 7, "text": "a"}) as refused:
            assert refused.status == 429
            assert (await refused.json())["parameters"] == {"retry_after": 2}
        await post(f"{bot}/sendMessage", chat_id=7, text="<b>你好</b>", parse_mode="HTML")

        async with session.get("/control/log?since=1") as answer:
            [call] = await answer.json()
        async with session.get("/control/state") as answer:
            state = await answer.json()
    assert (call["method"], call["chat_id"], call["text"]) == ("sendMessage", 7, "你好")
    assert json.loads(log.read_text()) == call
    assert (state["pending"], state["confirmed"], state["accepted"]) == (1, 1, 1)


async def test_two_pollers_and_wrong_tokens_are_told_so(api: BotApi):
    async with aiohttp.ClientSession(api.base) as session:
        async with session.post("/bot1:x/getMe") as stranger:
            assert stranger.status == 401
        call = session.post(f"/bot{TOKEN}/getUpdates", json={"timeout": 20})
        first = asyncio.ensure_future(call)
        await api.until(lambda: api.poller == 1)
        async with session.post(f"/bot{TOKEN}/getUpdates", json={"timeout": 0}) as second:
            assert second.status == 200
        async with await first as ended:
            assert ended.status == 409
            assert "terminated by other getUpdates" in (await ended.json())["description"]
