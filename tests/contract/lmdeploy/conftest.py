"""Real LMDeploy servers for the tests of this folder, started on first use, one kind at a time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from tests.contract.lmdeploy.server import MISSING, LmdeployServer, is_installed

_HERE = Path(__file__).parent


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--record", action="store_true", help="keep the traffic for the replays")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "lmdeploy: needs LMDeploy; run by make contract-lmdeploy")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave these tests out of every other run: they need half a minute and half a gigabyte."""
    is_test = collection_path.parent == _HERE and collection_path.name.startswith("test_")
    return True if is_test and "lmdeploy" not in (config.option.markexpr or "") else None


class Servers:
    """Keeps one server running in a loop of its own, and swaps it when another kind is needed."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._kind: tuple[str, ...] | None = None
        self._context: AbstractAsyncContextManager[LmdeployServer] | None = None
        self._server: LmdeployServer | None = None

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run something in the servers' loop, where their processes and connections belong."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=100)

    def of(self, kind: tuple[str, ...]) -> LmdeployServer:
        """Return a running server of this kind: format and flags."""
        if kind != self._kind or self._server is None or not self._server.is_running:
            self.close()
            self._context = LmdeployServer.running(*kind)
            self._server = self.run(self._context.__aenter__())
            self._kind = kind
        assert self._server
        return self._server

    def close(self) -> None:
        """Stop the server."""
        if self._context:
            self.run(self._context.__aexit__(None, None, None))
        self._context, self._server, self._kind = None, None, None

    def end(self) -> None:
        """Stop everything."""
        self.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    if not is_installed():
        pytest.skip(MISSING)
    servers = Servers()
    yield servers
    servers.end()
