"""Starts the real LMDeploy HTTP server of `tests.contract.lmdeploy` in an environment of its own.

For tests and measurements in any tier:

    async with LmdeployServer.running("qwen3", "--session-len", "4096") as server:
        await server.say(Rule("请休息。", step_s=0.01))
        ...  # server.url

Each one takes about 0.5 GiB and, on two idle cores, 6 seconds to start; several may run at once.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

import httpx

from tests.contract.lmdeploy.script import Rule

ROOT = Path(__file__).resolve().parents[3]
PYTHON = ROOT / ".venv-lmdeploy/bin/python"
MODEL = "tiny-eye"
MISSING = "LMDeploy is not installed here: make contract-lmdeploy sets up .venv-lmdeploy"
_START_S = 90.0
_LOG_END = 4000


def is_installed() -> bool:
    """Tell whether the environment is complete."""
    return (ROOT / ".venv-lmdeploy/.ready").exists()


def free_port() -> int:
    """Return a loopback port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class LmdeployServer:
    """One running server.

    Attributes:
        url: base URL without ``/v1``.
        pid: of the server's process.
    """

    def __init__(self, process: asyncio.subprocess.Process, port: int, log: IO[bytes]) -> None:
        self._process = process
        self._log = log
        self._control: httpx.AsyncClient | None = None
        self.url = f"http://127.0.0.1:{port}"
        self.pid = process.pid

    @classmethod
    @asynccontextmanager
    async def running(
        cls, family: str = "qwen3", *flags: str, port: int = 0, python: Path = PYTHON
    ) -> AsyncGenerator[LmdeployServer, None]:
        """Start one; `family` is a key of `families.FAMILIES`, or "none": no tool parser.

        Args:
            family: which tool-call format its model has.
            flags: further flags of ``lmdeploy serve api_server``.
            port: 0 = any free one.
            python: of the server's environment.
        """
        port = port or free_port()
        with TemporaryFile() as log:
            process = await asyncio.create_subprocess_exec(
                *(python, "-m", "tests.contract.lmdeploy"),
                *("--family", family, "--port", str(port), "--", *flags),
                cwd=ROOT,
                env=_environment(),
                stdin=asyncio.subprocess.PIPE,  # the server dies when it is closed
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
            )
            server = cls(process, port, log)
            try:
                await server._started()
                yield server
            finally:
                await server.stop()

    async def _started(self) -> None:
        assert self._process.stdout
        async with asyncio.timeout(_START_S):
            line = await self._process.stdout.readline()
            if not line:
                raise RuntimeError(f"LMDeploy did not start:\n{self.log()}")
            self._control = httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{json.loads(line)['control']}", trust_env=False
            )
            async with httpx.AsyncClient(trust_env=False) as client:
                while not await _answers(client, self.url):
                    if self._process.returncode is not None:
                        raise RuntimeError(f"LMDeploy ended at its start:\n{self.log()}")
                    await asyncio.sleep(0.1)

    def log(self) -> str:
        """Return the end of what the server wrote."""
        self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, self._log.tell() - _LOG_END))
        return self._log.read().decode(errors="replace")

    @property
    def is_running(self) -> bool:
        """Tell whether the process lives."""
        return self._process.returncode is None

    async def say(self, *rules: Rule) -> None:
        """Say this from now on, and forget the calls so far."""
        assert self._control
        answer = await self._control.put("/rules", json=[asdict(rule) for rule in rules])
        answer.raise_for_status()

    async def state(self) -> dict[str, Any]:
        """Return ``{"active": int, "calls": [scripted_engine.EngineCall as a dict]}``."""
        assert self._control
        return (await self._control.get("/state")).json()

    async def calls(self) -> list[dict[str, Any]]:
        """Return the calls the engine has seen since `say`."""
        return (await self.state())["calls"]

    def kill(self) -> None:
        """Kill -9, as a crashed node."""
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGKILL)

    async def stop(self) -> None:
        """End the process; may be called twice."""
        if self._control:
            await self._control.aclose()
            self._control = None
        if self._process.stdin:
            self._process.stdin.close()
        if self._process.returncode is None:
            # It has nothing to save, and uvicorn would wait for open streams.
            self.kill()
        await self._process.wait()


async def _answers(client: httpx.AsyncClient, url: str) -> bool:
    with suppress(httpx.HTTPError):
        return (await client.get(f"{url}/health", timeout=2)).status_code == 200
    return False


def _environment() -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if k in {"PATH", "HOME", "LANG", "TMPDIR"}}
    # One thread: this measures protocols, and the machine has others to serve.
    return kept | {"OMP_NUM_THREADS": "1", "PYTHONPATH": ""}
