"""What an operator does from the command line: migrate, look at reminders, ask the doctor."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import asdict
from datetime import datetime
from zoneinfo import ZoneInfo

from bot import followup_rules, log
from bot.channels import Parts, connected, switches
from bot.settings import Settings
from core.clock import SystemClock
from core.errors import ConfigError
from core.ports import Health
from core.store.due import Planned, planned
from core.store.engine import is_sqlite, make_engine, parse_url
from migrations import HEAD, current
from migrations.schema import bring_up_to_date
from models.fundus.reader import OnnxFundusReader
from models.llm.client import LlmClient


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")


def migrate_database(settings: Settings, *, check: bool) -> int:
    """Upgrade, or with `check` only tell; returns the exit status."""
    url = settings.database_url
    if check:
        found = current(url)
        _say(f"schema: {found or 'none'}; this version: {HEAD}")
        return 0 if found == HEAD else 1
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    done = bring_up_to_date(url, backup_folder=settings.data_dir / "backups")
    if done.before == done.after:
        _say(f"schema: {done.after}, nothing to do")
    else:
        _say(f"schema: {done.before or 'none'} → {done.after}")
    if done.backup:
        _say(f"backup: {done.backup}")
    return 0


def print_reminders(settings: Settings, *, as_json: bool) -> None:
    """Print what is planned; no names and no reasons that a bystander could read."""
    engine = make_engine(parse_url(settings.database_url), "read")
    try:
        with engine.connect() as connection:
            rows = planned(connection, None)
    finally:
        engine.dispose()
    if as_json:
        _say(json.dumps([asdict(row) for row in rows], ensure_ascii=False))
        return
    if not rows:
        _say("no reminders are planned")
    for row in rows:
        _say(_line(row))


def _line(row: Planned) -> str:
    at = datetime.fromtimestamp(row.due_at_ms / 1000, ZoneInfo(row.zone))
    return f"{at:%Y-%m-%d %H:%M} {row.zone}  #{row.id}  {row.channel}  {row.step}  {row.state}"


def run_doctor(settings: Settings, *, as_json: bool) -> int:
    """Check every part and say what to do about what is wrong; returns the exit status."""
    quiet = settings.log.model_copy(update={"level": "warning"})
    log.set_up(quiet)
    parts = asyncio.run(_examine(settings))
    if as_json:
        _say(json.dumps([{**asdict(p), "facts": dict(p.facts)} for p in parts], ensure_ascii=False))
    else:
        for part in parts:
            mark = "ok  " if part.ok else "FAIL" if part.required else "warn"
            facts = " ".join(f"{k}={v}" for k, v in part.facts.items() if v)
            _say(f"{mark} {part.name:10} {part.detail} {facts}".rstrip())
    return 0 if all(part.ok for part in parts if part.required) else 1


async def _examine(settings: Settings) -> list[Health]:
    parts = [_database(settings), await _reader(settings), followup_rules.health(settings)]
    if settings.llm.base_urls:
        client = LlmClient(settings.llm)
        await client.start()
        parts.append(await client.probe())
        await client.stop()
    else:
        parts.append(Health("llm", True, "off: the guided consult answers", required=False))
    parts += await _channels(settings)
    return parts


def _database(settings: Settings) -> Health:
    url = settings.database_url
    kind = "sqlite" if is_sqlite(parse_url(url)) else "postgresql"
    try:
        found = current(url)
    except ConfigError as error:
        return Health("database", False, str(error))
    except Exception as error:
        detail = f"cannot be reached ({type(error).__name__}); check database.url"
        return Health("database", False, detail, facts={"kind": kind})
    if found is None and kind == "sqlite":
        return Health("database", True, "will be created at the first start", facts={"kind": kind})
    good = found == HEAD
    detail = "" if good else f"schema {found}, needed {HEAD}: run `oculichat migrate`"
    return Health("database", good or kind == "sqlite", detail, facts={"kind": kind})


async def _reader(settings: Settings) -> Health:
    reader = OnnxFundusReader(settings.fundus)
    try:
        await reader.warm_up()
        return reader.health()
    except ConfigError as error:
        return Health("fundus", False, str(error))
    finally:
        await reader.close()


async def _channels(settings: Settings) -> list[Health]:
    """Ask every channel that is on, and say of the others why they are off."""
    off = [s for s in switches(settings) if s.why_off]
    found = [Health(s.name, True, f"off: {s.why_off}", required=False) for s in off]
    if len(off) == len(switches(settings)):
        return found
    from core.store.blobs import BlobStore  # noqa: PLC0415 only with a channel
    from core.store.keyring import load_or_create  # noqa: PLC0415
    from core.store.store import Store  # noqa: PLC0415

    # Probes write nothing, so the schema need not be there yet.
    store = Store(settings.database_url, load_or_create(settings.key_file))
    blobs = BlobStore(settings.data_dir / "blobs", store.keys)
    try:
        for channel in connected(settings, Parts(store, SystemClock(), blobs, settings.data_dir)):
            await channel.start()
            try:
                found.append(await channel.probe())
            finally:
                await channel.stop()
    finally:
        store.close()
    return found
