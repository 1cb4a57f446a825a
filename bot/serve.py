"""`serve` and `demo`: the process from its first line to its last."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys

from adapters.console.codes import new_password
from adapters.console.passwords import Passwords
from bot import log
from bot.service import Service
from bot.settings import Settings
from core.clock import SystemClock
from core.store.staff import NewStaff, count_staff, set_staff

_FIRST_ACCOUNT = "admin"


def serve_until_stopped(settings: Settings) -> None:
    """Run the service until SIGTERM or SIGINT."""
    log.set_up(settings.log)
    asyncio.run(_serve(settings, announce=False))


def serve_demo(settings: Settings, host: str, port: int) -> None:
    """Run with web chat on, and print where to look."""
    server = settings.server.model_copy(update={"host": host, "port": port})
    web_chat = settings.webchat.model_copy(update={"enabled": True})
    settings = settings.model_copy(update={"server": server, "webchat": web_chat})
    log.set_up(settings.log)
    asyncio.run(_serve(settings, announce=True))


async def _serve(settings: Settings, *, announce: bool) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stopping.set)
    service = Service(settings)
    await service.start()
    try:
        password = await _first_password(service)
        if announce:
            _announce(service, password)
        elif password:
            _say(f"console: {_FIRST_ACCOUNT} / {password}  (shown once)")
        await stopping.wait()
    finally:
        await service.stop()


async def _first_password(service: Service) -> str | None:
    """Create the first console account with a random password; None when there is one already."""
    if not service.settings.console.enabled or await service.store.read(count_staff, None):
        return None
    password = new_password()
    passwords = Passwords(service.settings.console)
    hashed = await asyncio.to_thread(passwords.hash, password)
    at_ms = SystemClock().now_ms()
    await service.store.write(set_staff, NewStaff(_FIRST_ACCOUNT, _FIRST_ACCOUNT, hashed, at_ms))
    return password


def _announce(service: Service, password: str | None) -> None:
    host = service.settings.server.host
    local = host in ("127.0.0.1", "::1", "localhost")
    address = f"http://{'127.0.0.1' if local else _own_address()}:{service.port}"
    _say("")
    _say(f"  OculiChat   {address}/")
    _say(f"  Console     {address}/console")
    if password:
        _say(f"              {_FIRST_ACCOUNT} / {password}   (shown once, note it down)")
    else:
        _say(f"              {_FIRST_ACCOUNT} / the password shown at the first start")
    if not local:
        import segno  # noqa: PLC0415 only drawn for a phone

        _say("\n  On a phone in the same network:\n")
        code = segno.make(address, micro=False)
        code.terminal(out=sys.stdout, compact=True)  # pyright: ignore[reportUnknownMemberType]
        _say("  Plain HTTP: for trying out only, not for real patients.")
    _say("\n  Stop with Ctrl-C.")


def _own_address() -> str:
    """Return this machine's address in its network; no packet is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # TEST-NET-1: picks the outgoing interface
            return str(probe.getsockname()[0])
        except OSError:
            return "127.0.0.1"


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
