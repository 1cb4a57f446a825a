"""`oculichat chat`: the whole service behind a keyboard or a script's JSON lines."""

from __future__ import annotations

import asyncio
import json
import sys
import time

from adapters.terminal.channel import TerminalChannel, inbound
from bot import log
from bot.service import Service
from bot.settings import Settings
from core.store.blobs import BlobStore


def run_chat(settings: Settings, *, as_json: bool, without_llm: bool) -> None:
    """Talk until standard input ends; each line is answered before the next is read."""
    quiet = settings.log.model_copy(update={"level": "warning"})
    llm = settings.llm.model_copy(update={"base_urls": ()}) if without_llm else settings.llm
    # One line is one message here: nothing is gained by waiting for a second.
    dialog = settings.dialog.model_copy(update={"merge_window_ms": 0})
    settings = settings.model_copy(update={"llm": llm, "dialog": dialog, "log": quiet})
    log.set_up(settings.log)
    asyncio.run(_chat(settings, as_json=as_json))


async def _chat(settings: Settings, *, as_json: bool) -> None:
    def make(blobs: BlobStore) -> TerminalChannel:
        return TerminalChannel(_write, blobs, settings.data_dir / "terminal", as_json=as_json)

    service = Service(settings, extra_channel=make, network=False)
    await service.start()
    try:
        while True:
            if not as_json and sys.stdin.isatty():
                sys.stdout.write("> ")
                sys.stdout.flush()
            line = await asyncio.to_thread(sys.stdin.readline)
            if not line:
                break
            if line.strip():
                await _one_line(service, line.rstrip("\r\n"), as_json=as_json)
    finally:
        await service.settle()
        await service.stop()


async def _one_line(service: Service, line: str, *, as_json: bool) -> None:
    try:
        # Microseconds grow over restarts too, so a message never meets an older one's id.
        message = inbound(line, time.time_ns() // 1000, as_json=as_json)
    except ValueError:
        error = "a line must be a JSON object with text, photo or button"
        _write(json.dumps({"error": error}))
        return
    await service.intake.accept([message])
    await service.settle()


def _write(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
