"""The stock Python client `wechaty` as another program on the gateway: prints what it hears.

Run in a folder of its own, with the gateway's address and token as arguments. It needs five
patches of other libraries to import at all (ADR 14); they live here, where they harm nobody.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import types
import warnings
from typing import Any

warnings.simplefilter("ignore")


def import_wechaty() -> Any:
    """Import it on libraries of today."""
    import pyee  # noqa: PLC0415
    import urllib3  # noqa: PLC0415

    if not hasattr(pyee, "AsyncIOEventEmitter"):  # gone from the top of pyee 12
        from pyee.asyncio import AsyncIOEventEmitter  # noqa: PLC0415

        pyee.AsyncIOEventEmitter = AsyncIOEventEmitter
    if not hasattr(urllib3, "get_host"):  # gone from urllib3 2

        def get_host(url: str) -> tuple[str, str | None, int | None]:
            parts = urllib3.util.parse_url(url)
            return parts.scheme or "http", parts.host, parts.port

        urllib3.get_host = get_host
    try:
        import telnetlib  # noqa: F401, PLC0415
    except ModuleNotFoundError:  # gone from Python 3.13
        sys.modules["telnetlib"] = _telnetlib()
    from wechaty_puppet.schemas.puppet import PuppetOptions  # noqa: PLC0415

    if PuppetOptions.__hash__ is None:  # a default of a dataclass must have one since 3.11
        PuppetOptions.__hash__ = object.__hash__
    import wechaty  # noqa: PLC0415

    return wechaty


def _telnetlib() -> types.ModuleType:
    module = types.ModuleType("telnetlib")

    class Telnet:
        sock: socket.socket | None = None

        def open(self, host: str, port: int = 0, timeout: float = 3) -> None:
            self.sock = socket.create_connection((host, port), timeout)

        def close(self) -> None:
            if self.sock:
                self.sock.close()
                self.sock = None

        __del__ = close

    module.Telnet = Telnet  # type: ignore[attr-defined]
    return module


async def _main(endpoint: str, token: str) -> None:
    wechaty = import_wechaty()
    from apscheduler.schedulers.asyncio import AsyncIOScheduler  # noqa: PLC0415
    from wechaty_puppet import PuppetOptions  # noqa: PLC0415

    options = wechaty.WechatyOptions(
        puppet_options=PuppetOptions(token=token, end_point=endpoint),
        scheduler=AsyncIOScheduler(),
        port=0,
    )
    bot = wechaty.Wechaty(options)

    async def heard(message: Any) -> None:
        print("heard", message.text(), flush=True)

    bot.on("message", heard)
    print("starting", flush=True)
    await bot.start()
    print("ended", flush=True)


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
