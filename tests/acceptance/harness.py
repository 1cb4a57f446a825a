"""The real service as a process, between a fake Telegram and a fake LLM on real sockets.

What is promised is checked from outside: the fakes keep what really arrived. The service's own
database is opened only while the service is stopped, to see how it accounts for its messages.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import sqlite3
import sys
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import aiohttp

from core.delivery import OUTBOX_BODY
from core.store.engine import make_engine, parse_url
from core.store.inbox import InboxCounts, abandoned, count_inbox
from core.store.keyring import load_or_create
from tests.fakes.botapi import BotApi
from tests.fakes.llm import FakeLlm, Script
from tests.fakes.waiting import PATIENCE_S, until

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "12345:test-token-of-the-acceptance-tests"
MARK = re.compile(r"T\d{6}")
# Nothing that says what is wrong with an eye, so that only the model answers it.
QUESTION = "{token} 请问你们周末上班吗"
ANSWER = "收到 {token}，我们周末也上班。"
# What a person must never read, and a log never hold.
INNARDS = re.compile(r"Traceback|Error\b|Exception|SECRET-UPSTREAM|INTERNAL_|\bsqlite|\.py\b")


def mark(number: int) -> str:
    """Return the token that a question carries and its answer repeats."""
    return f"T{number:06d}"


@dataclass
class Service:
    """One data folder and the process that works on it now; start it again after it ended.

    Attributes:
        folder: working directory of the process; its data folder is `data` in it.
        settings: environment variables without their prefix.
        spawned_at: `time.monotonic()` of the last start.
    """

    folder: Path
    settings: dict[str, str]
    process: asyncio.subprocess.Process | None = None
    starts: int = 0
    spawned_at: float = 0.0
    _log: Path = field(default=Path())

    @property
    def data(self) -> Path:
        """The data folder."""
        return self.folder / "data"

    @property
    def pid(self) -> int:
        """The process id."""
        assert self.process is not None
        return self.process.pid

    @property
    def is_running(self) -> bool:
        """Whether the process lives."""
        return self.process is not None and self.process.returncode is None

    def log(self) -> str:
        """Return what all runs have written to standard error."""
        return "".join(p.read_text("utf-8") for p in sorted(self.folder.glob("stderr.*")))

    async def spawn(self) -> None:
        """Start the process and return at once."""
        assert not self.is_running
        self.folder.mkdir(parents=True, exist_ok=True)
        self.starts += 1
        self._log = self.folder / f"stderr.{self.starts:03d}"
        with self._log.open("wb") as errors:
            self.spawned_at = time.monotonic()
            self.process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "bot",
                "serve",
                cwd=self.folder,
                env=environment(self.settings),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=errors,
            )

    async def start(self, timeout_s: float = PATIENCE_S) -> None:
        """Start the process and wait until `/readyz` says so."""
        await self.spawn()
        async with asyncio.timeout(timeout_s), aiohttp.ClientSession() as session:
            while True:
                assert self.is_running, f"the service ended at its start:\n{self.log()}"
                with contextlib.suppress(aiohttp.ClientError, LookupError, ValueError):
                    async with session.get(f"{self.url}/readyz") as answer:
                        if answer.status == 200:
                            return
                await asyncio.sleep(0.02)

    @property
    def url(self) -> str:
        """Where the last run listens.

        Raises:
            LookupError: it has not said so yet.
        """
        for line in self._log.read_text("utf-8").splitlines():
            if '"event": "started"' in line:
                return f"http://127.0.0.1:{json.loads(line)['port']}"
        raise LookupError("not started")

    async def kill(self) -> None:
        """End the process as a crash does."""
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        await self.process.wait()

    async def stop(self, timeout_s: float = PATIENCE_S) -> int:
        """Ask the process to end and return its exit status."""
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(timeout_s):
            return await self.process.wait()

    def unfinished(self) -> int:
        """Count what has no ending yet while the service runs: to wait for, not to judge by."""
        path = self.data / "oculichat.db"
        with contextlib.closing(sqlite3.connect(path, timeout=30)) as database:
            (count,) = database.execute(
                "SELECT (SELECT count(*) FROM inbox WHERE state = 'pending')"
                " + (SELECT count(*) FROM outbox WHERE state IN ('pending', 'sending'))"
            ).fetchone()
        return count

    # ---- the stopped service's own books ---------------------------------------------------

    def counts(self) -> InboxCounts:
        """Return how every message ended."""
        with self._database() as connection:
            assert abandoned(connection) == 0
            return count_inbox(connection)

    def query(self, sql: str) -> list[Any]:
        """Read rows."""
        with self._database() as connection:
            return list(connection.exec_driver_sql(sql).all())

    def execute(self, sql: str) -> int:
        """Change rows, as time passing would; returns how many."""
        engine = make_engine(parse_url(self.database_url), "write")
        try:
            with engine.begin() as connection:
                return connection.exec_driver_sql(sql).rowcount
        finally:
            engine.dispose()

    def said_in(self, state: str) -> list[str]:
        """Return the unsealed bodies of outbox rows in one state."""
        keys = load_or_create(self.data / "keys.json")
        with self._database() as connection:
            rows = connection.exec_driver_sql(
                f"SELECT body_sealed FROM outbox WHERE state = '{state}'"
            ).all()
        return [json.dumps(keys.open_json(OUTBOX_BODY, row[0]), ensure_ascii=False) for row in rows]

    @property
    def database_url(self) -> str:
        """The database of the data folder."""
        return f"sqlite:///{self.data / 'oculichat.db'}"

    @contextlib.contextmanager
    def _database(self) -> Any:
        assert not self.is_running, "its books are read only while it is stopped"
        engine = make_engine(parse_url(self.database_url), "read")
        try:
            with engine.connect() as connection:
                yield connection
        finally:
            engine.dispose()


def environment(settings: dict[str, str]) -> dict[str, str]:
    """Return this process's environment with exactly these settings of the service.

    Bytecode is kept, as in every installation, but outside the source tree.
    """
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("OCULICHAT_")}
    inherited.pop("PYTHONDONTWRITEBYTECODE", None)
    inherited.setdefault("PYTHONPYCACHEPREFIX", str(Path(gettempdir()) / "oculichat-bytecode"))
    return {**inherited, **{f"OCULICHAT_{k}": v for k, v in settings.items()}}


@dataclass
class World:
    """A service with everything around it."""

    api: BotApi
    llm: FakeLlm | None
    service: Service

    def ask(self, chat_id: int, number: int, words: str = QUESTION) -> dict[str, Any]:
        """A person asks question `number`."""
        return self.api.user_text(chat_id, words.replace("{token}", mark(number)))

    def replies(self, chat_id: int | None = None) -> list[dict[str, Any]]:
        """Return everything sent as a message of its own, oldest first."""
        return [c for c in self.api.accepted("", chat_id) if c["method"] in _MESSAGES]

    def answered(self, chat_id: int | None = None) -> list[str]:
        """Return the tokens that came back, in the order they arrived."""
        return [m for call in self.replies(chat_id) for m in MARK.findall(call["text"])]

    async def settled(self) -> None:
        """Wait until every message was taken, handled and answered, and that was recorded."""

        def is_settled() -> bool:
            return not self.api.updates and self.service.unfinished() == 0

        await until(is_settled, "every message handled and every reply recorded")

    async def stop(self) -> InboxCounts:
        """Stop the service and check that every message has exactly one ending."""
        assert await self.service.stop() == 0, self.service.log()
        counts = self.service.counts()
        assert counts.pending == 0, counts
        return counts


_MESSAGES = ("sendMessage", "sendPhoto", "sendMediaGroup", "editMessageText")


def settings_for(
    api: BotApi, llm_urls: Sequence[str] = (), **settings: str | float
) -> dict[str, str]:
    """Return settings for the fakes; our own pace out of the way, other keys as they are."""
    return {
        "DATA_DIR": "data",
        "TELEGRAM__TOKEN": TOKEN,
        "TELEGRAM__BASE_URL": api.base_url,
        "TELEGRAM__BASE_FILE_URL": api.base_file_url,
        "TELEGRAM__POLL_TIMEOUT_S": "5",
        "TELEGRAM__MESSAGES_PER_S": "100000",
        "TELEGRAM__CHAT_MESSAGES_PER_S": "100000",
        "TELEGRAM__MENU": "false",
        "LLM__BASE_URLS": ",".join(llm_urls),
        "LLM__MAX_IN_FLIGHT": "256",
        "LLM__FIRST_TOKEN_TIMEOUT_S": "60",
        "LLM__CONNECT_TIMEOUT_S": "60",
        "LLM__PROBE_TIMEOUT_S": "60",
        "CONSENT__REQUIRED": "false",
        "DIALOG__MERGE_WINDOW_MS": "0",
        "SERVER__PORT": "0",
        "LOG__FORMAT": "json",
        **{k: str(v) for k, v in settings.items()},
    }


@contextlib.asynccontextmanager
async def a_world(
    folder: Path, *, llm: Script | None = None, start: bool = True, **settings: str | float
) -> AsyncIterator[World]:
    """Run a service between its fakes; without `llm` no LLM is configured.

    A process still alive at the end is killed.
    """
    async with contextlib.AsyncExitStack() as stack:
        api = await stack.enter_async_context(BotApi.running(token=TOKEN))
        model = await stack.enter_async_context(FakeLlm(llm)) if llm else None
        urls = [model.url] if model else []
        service = Service(folder, settings_for(api, urls, **settings))
        try:
            if start:
                await service.start()
            yield World(api, model, service)
        finally:
            if service.is_running:
                await service.kill()
