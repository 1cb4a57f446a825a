"""Starts the real Wechaty gateway of this folder, for tests: a Node process of its own.

In a test::

    with Gateway.running(folder) as gateway:
        await gateway.says("wxid_alice", "你好")
        sent = await gateway.sent()
"""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.fakes.ports import free_port

FOLDER = Path(__file__).parent
TOKEN = "puppet_mock_token_0001"
ALICE, BOT, ROOM = "wxid_alice", "wxid_bot", "r1@chatroom"

why_not = (
    ""
    if shutil.which("node") and (FOLDER / "node_modules").is_dir()
    else "the Wechaty gateway needs Node 18 or newer with its packages: install Node, `make setup`"
)
needs_node = pytest.mark.skipif(bool(why_not), reason=why_not)


class Gateway:
    """One gateway; `kill` and `start` it as often as you like, on the same ports.

    Its process is the caller's, not an event loop's, so that tests can share one.
    """

    def __init__(self, folder: Path, **environment: str) -> None:
        self._log = folder / "gateway.log"
        self._state_file = folder / "gateway-state.jsonl"
        self.port, self._control = free_port(), free_port()
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    @contextmanager
    def running(cls, folder: Path, **environment: str) -> Iterator[Gateway]:
        """Run one until the block ends."""
        gateway = cls(folder, **environment)
        try:
            gateway.start()
            yield gateway
        finally:
            gateway.kill()

    @property
    def settings(self) -> dict[str, Any]:
        """Settings of a channel that talks to it, with short waits and no pace."""
        return {
            "enabled": True,
            "endpoint": f"127.0.0.1:{self.port}",
            "token": TOKEN,
            "tls": False,
            "messages_per_min": 1_000_000,
            "chat_gap_s": 0,
        }

    # ---- the process ---------------------------------------------------------------------

    def start(self) -> None:
        """Start it and wait until it is ready."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                ["node", "gateway.mjs"],
                cwd=FOLDER,
                stdout=subprocess.PIPE,
                stderr=log,
                env={
                    "PATH": os.environ["PATH"],
                    "HOME": os.environ.get("HOME", "/"),
                    "GW_PORT": str(self.port),
                    "GW_CONTROL_PORT": str(self._control),
                    "GW_TOKEN": TOKEN,
                    "GW_STATE": str(self._state_file),
                    **self._environment,
                },
            )
        assert self._process.stdout is not None
        while (line := self._process.stdout.readline()) != b"ready\n":
            assert line, f"the gateway ended: {self._log.read_text()[-2000:]}"

    def kill(self) -> None:
        """End it at once, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def freeze(self) -> None:
        """Stop it where it stands; its connections stay open."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    # ---- what happens in WeChat ----------------------------------------------------------

    async def control(self, name: str, body: bytes = b"", **query: str) -> Any:
        """Call one of its controls."""
        url = f"http://127.0.0.1:{self._control}/{name}"
        async with (
            aiohttp.ClientSession() as session,
            session.post(url, params=query, data=io.BytesIO(body)) as answer,
        ):
            found = await answer.json()
            assert answer.status == 200, found
            return found

    async def says(self, sender: str, text: str, **query: str) -> str:
        """Let somebody write; returns the message's id."""
        return (await self.control("text", text.encode(), **{"from": sender}, **query))["id"]

    async def sends(self, sender: str, picture: bytes, **query: str) -> str:
        """Let somebody send a picture; returns the message's id."""
        return (await self.control("picture", picture, **{"from": sender}, **query))["id"]

    async def state(self) -> dict[str, Any]:
        """Return everything it noted."""
        return await self.control("state")

    async def sent(self, chat: str | None = None) -> list[dict[str, Any]]:
        """Return what reached WeChat, to one chat or to all."""
        found = (await self.state())["sent"]
        return [s for s in found if chat in (None, s["chat"])]
