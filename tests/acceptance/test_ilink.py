"""WeChat over iLink and the real process: logging in beside it, crashes, photos."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from adapters.wechat.ilink.logins import TOKEN, NewLogin, save_login
from core.store.keyring import load_or_create
from core.store.store import Store
from tests.acceptance.harness import ANSWER, MARK, QUESTION, Service, environment, mark
from tests.fakes.ilink import Ilink
from tests.fakes.llm import FakeLlm, Script
from tests.fakes.waiting import PATIENCE_S, until

COMMAND = Path(sys.executable).with_name("oculichat")
USERS = [f"o9cq80-{n}@im.wechat" for n in range(10)]


@dataclass
class World:
    """A service between a fake WeChat and a fake LLM."""

    wechat: Ilink
    llm: FakeLlm
    service: Service

    def ask(self, user: str, number: int) -> None:
        """A person asks question `number`."""
        self.wechat.user_says(user, QUESTION.replace("{token}", mark(number)))

    def answered(self, user: str) -> list[str]:
        """Return the tokens that came back to a person, in order."""
        return [m for text in self.wechat.texts(user) for m in MARK.findall(text)]

    def all_answered(self) -> int:
        """Return how many answers came back, repeats included."""
        return sum(len(self.answered(user)) for user in USERS)

    async def connect(self, users: list[str]) -> None:
        """People scanned our code, one after the other."""
        store = Store(self.service.database_url, load_or_create(self.service.data / "keys.json"))
        try:
            for user in users:
                bot = self.wechat.connect(user)
                sealed = store.keys.seal(TOKEN, bot.token.encode())
                login = NewLogin(user, bot.bot_id, self.wechat.base, sealed, _now_ms())
                await store.write(save_login, login)
        finally:
            store.close()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


@contextlib.asynccontextmanager
async def a_world(folder: Path, script: Script) -> AsyncIterator[World]:
    async with Ilink.running(_now_ms) as wechat, FakeLlm(script) as llm:
        wechat.hold_s = 1.0
        settings = {
            "DATA_DIR": "data",
            "WECHAT__ILINK__ENABLED": "true",
            "WECHAT__ILINK__BASE_URL": wechat.base,
            "WECHAT__ILINK__CDN_URL": f"{wechat.base}/c2c",
            "LLM__BASE_URLS": llm.url,
            "LLM__MAX_IN_FLIGHT": "64",
            "LLM__FIRST_TOKEN_TIMEOUT_S": "60",
            "LLM__PROBE_TIMEOUT_S": "60",
            "CONSENT__REQUIRED": "false",
            "DIALOG__MERGE_WINDOW_MS": "0",
            "SERVER__PORT": "0",
            "LOG__FORMAT": "json",
        }
        service = Service(folder, settings)
        await service.start()
        try:
            yield World(wechat, llm, service)
        finally:
            if service.is_running:
                await service.kill()


async def test_after_kill_9_the_poll_goes_on_and_everything_is_answered_once(tmp_path):
    async with a_world(tmp_path, Script(text=ANSWER)) as world:
        await world.connect(USERS)
        for n, user in enumerate(USERS):
            world.ask(user, n)
        await until(lambda: world.all_answered() == 10, "the first answers")
        world.llm.hold()
        for n, user in enumerate(USERS):
            world.ask(user, 100 + n)
        await until(lambda: world.llm.active == 10, "10 model calls in flight")
        await world.service.kill()
        assert world.all_answered() == 10
        for n, user in enumerate(USERS):
            world.ask(user, 200 + n)
        calls = len(world.wechat.calls)
        world.llm.release()
        await world.service.start()
        await until(lambda: world.all_answered() >= 30, "every answer")
        await asyncio.sleep(0.5)  # a second answer would come now
        again = [b for m, b in world.wechat.calls[calls:] if m == "getupdates"]
        assert again[0]["get_updates_buf"], "not from the beginning"
        assert await world.service.stop() == 0
        for n, user in enumerate(USERS):
            assert world.answered(user) == [mark(n), mark(100 + n), mark(200 + n)]
        counts = world.service.counts()
        assert (counts.pending, counts.dead) == (0, 0)
        assert world.service.query("SELECT count(*) FROM outbox WHERE state <> 'sent'") == [(0,)]
        ids = Counter(sent["client_id"] for sent in world.wechat.sent)
        assert set(ids.values()) == {1}
        for secret in (*world.wechat.bots, "context-", *USERS):
            assert secret not in world.service.log()


async def test_logging_in_beside_the_running_service(tmp_path):
    async with a_world(tmp_path, Script(text=ANSWER)) as world:
        login = await asyncio.create_subprocess_exec(
            COMMAND,
            "wechat",
            "login",
            cwd=tmp_path,
            env={**environment(world.service.settings), "PYTHONIOENCODING": "utf-8"},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        await until(lambda: world.wechat.scans, "the QR code")
        world.wechat.scan(USERS[0], digits="4711")
        assert login.stdin is not None
        login.stdin.write(b"0000\n4711\n")
        async with asyncio.timeout(PATIENCE_S):
            out, errors = await login.communicate()
        said = out.decode()
        assert login.returncode == 0, errors.decode()
        assert "https://liteapp.weixin.qq.com/q/1" in said
        assert "▀" in said or "█" in said
        assert "not right" in said
        assert "Connected" in said
        world.ask(USERS[0], 1)
        await until(lambda: world.answered(USERS[0]) == [mark(1)], "the answer")
        listed = await _run(world, "wechat", "logins")
        (bot,) = [b for b in world.wechat.bots.values() if not b.stale]
        assert bot.bot_id in listed
        assert "active" in listed
        assert USERS[0] not in listed
        assert "forgotten" in await _run(world, "wechat", "forget", bot.bot_id)
        assert "nobody" in await _run(world, "wechat", "logins")
        await until(lambda: '"state": "ready"' in world.service.log(), "a log")

        async def is_left_alone() -> bool:
            polls = bot.polls
            await asyncio.sleep(2 * world.wechat.hold_s)
            return bot.polls == polls

        await until(is_left_alone, "a poll under way may end; no further ones begin")
        for secret in world.wechat.bots:
            assert secret not in said + errors.decode() + world.service.log()


async def _run(world: World, *arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(
        COMMAND,
        *arguments,
        cwd=world.service.folder,
        env={**environment(world.service.settings), "PYTHONIOENCODING": "utf-8"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(PATIENCE_S):
        out, _ = await process.communicate()
    assert process.returncode == 0
    return out.decode()
