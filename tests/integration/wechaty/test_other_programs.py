"""The stock `wechaty` client on the same gateway, and what this process never becomes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from adapters.wechat.wechaty.channel import WechatyChannel
from tests.fakes.waiting import until
from tests.gateway.gateway import FOLDER, TOKEN, Gateway, needs_node
from tests.integration.wechaty.conftest import Remembering, state_of

ROOT = Path(__file__).parents[3]


@contextmanager
def _stock_client(gateway: Gateway, folder: Path) -> Iterator[Path]:
    """Run the stock client; yields the file of what it prints."""
    out = folder / "stock.out"
    with out.open("w") as stdout, (folder / "stock.err").open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, FOLDER / "stock_client.py", f"127.0.0.1:{gateway.port}", TOKEN],
            cwd=folder,
            env={"PATH": os.environ["PATH"], "CACHE_DIR": str(folder / "cache")},
            stdout=stdout,
            stderr=stderr,
        )
        try:
            yield out
        finally:
            process.kill()
            process.wait()


@needs_node
async def test_the_stock_client_comes_and_goes(
    channel: WechatyChannel,
    gateway: Gateway,
    intake: Remembering,
    tmp_path: Path,
    person: str,
) -> None:
    stops = (await gateway.state())["calls"]["stop"]
    with _stock_client(gateway, tmp_path) as out:
        await until(lambda: "starting" in out.read_text())
        # It sends Stop, which logs the account out under us, and then Start.
        await until(lambda: not channel.health().ok)
        assert (await gateway.state())["calls"]["stop"] == stops + 1
        await until(lambda: channel.health().ok or state_of(channel) == "occupied")
    await until(lambda: channel.health().ok)
    await gateway.says(person, "still you?")
    await until(lambda: intake.of(person))


_QUIET_PROCESS = """
import os, sys
from pathlib import Path
from adapters.wechat.wechaty.channel import WechatyChannel
from adapters.wechat.wechaty.settings import WechatySettings
settings = WechatySettings(enabled=True, token="ours", endpoint="127.0.0.1:1")
from adapters.wechat.wechaty.client import GatewayClient
import asyncio
async def main():
    client = GatewayClient(settings)
    print(client._channel._host, client._channel._port, client._metadata)
    client.close()
asyncio.run(main())
print(sorted({m.partition(".")[0] for m in sys.modules} & set(sys.argv[1:])))
print(os.listdir())
"""
_NOT_OURS = ["wechaty", "wechaty_puppet", "quart", "flask", "github", "requests", "pyee"]


def test_nothing_of_the_stock_client_comes_with_the_channel(tmp_path: Path) -> None:
    environment = {"TOKEN": "leaked", "ENDPOINT": "evil.example:1", "token": "x", "endpoint": "y"}
    ran = subprocess.run(
        [sys.executable, "-c", _QUIET_PROCESS, *_NOT_OURS],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        timeout=240,
        check=True,
    )
    gateway, modules, files = ran.stdout.splitlines()
    assert gateway == "127.0.0.1 1 {'authorization': 'Wechaty ours'}"
    assert modules == "[]"
    assert files == "[]"


def test_without_the_extra_the_operator_is_told_what_to_install(tmp_path: Path) -> None:
    code = """
import sys
sys.modules["grpclib"] = None
from core.errors import ConfigError
try:
    import adapters.wechat.wechaty.channel
except ConfigError as error:
    print(error)
"""
    ran = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
        check=True,
    )
    assert "uv sync --extra wechaty" in ran.stdout
    assert "wechat.wechaty.enabled" in ran.stdout


@pytest.mark.parametrize("name", ["package.json", "package-lock.json"])
def test_the_gateways_packages_name_no_registry_but_npms_own(name: str) -> None:
    text = (FOLDER / name).read_text("utf-8")
    hosts = {part.partition("/")[0] for part in text.split('"resolved": "https://')[1:]}
    assert hosts <= {"registry.npmjs.org"}
    assert "http://" not in text.replace('"url": "http://', "")
