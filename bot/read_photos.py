"""`oculichat fundus`: the reader on files, for staff and for evaluation."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from bot import log
from bot.settings import Settings
from core.errors import OculiChatError, PatientError
from core.message import Language
from core.reply import plain_text
from core.texts import text
from core.turn.both_eyes import Shown, explain_all
from core.turn.photos import reading_to_json
from models.fundus.reader import OnnxFundusReader


def read_photos(
    settings: Settings,
    photos: Sequence[Path],
    *,
    as_json: bool,
    card_folder: Path | None,
    language: str,
) -> int:
    """Read each file and print the result; returns 1 when one could not be opened."""
    log.set_up(settings.log)
    spoken: Language = "en" if language == "en" else "zh-Hans"
    return asyncio.run(_read_all(settings, photos, as_json, card_folder, spoken))


async def _read_all(
    settings: Settings,
    photos: Sequence[Path],
    as_json: bool,
    card_folder: Path | None,
    language: Language,
) -> int:
    zone = ZoneInfo(settings.dialog.zone)
    reader = OnnxFundusReader(settings.fundus, today=lambda: datetime.now(zone).date())
    status = 0
    try:
        for path in photos:
            result: dict[str, Any] = {"file": str(path)}
            try:
                data = await asyncio.to_thread(path.read_bytes)
                reading = await reader.read(data, language=language)
            except PatientError as error:
                status = 1
                result["error"] = text(language, error.text_key, **error.fields)
            except (OSError, OculiChatError) as error:
                status = 1
                result["error"] = f"{type(error).__name__}: cannot be read"
            else:
                result |= reading_to_json(reading)
                for number, eye in enumerate(reading.eyes(), start=1):
                    if card_folder and eye.card:
                        second = "" if number == 1 else f".{number}"
                        target = card_folder / f"{path.stem}{second}.card.jpg"
                        await asyncio.to_thread(_save, target, eye.card)
                        (result if number == 1 else result["other"])["card"] = str(target)
                shown = [Shown(eye, None, None) for eye in reading.eyes()]
                result["text"] = plain_text(explain_all(shown, language)[-1])
            _print(result, as_json=as_json)
    finally:
        await reader.close()
    return status


def _save(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _print(result: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(result, ensure_ascii=False) + "\n")
    else:
        said = result.get("text") or result["error"]
        sys.stdout.write(f"{result['file']}\n{said}\n\n")
    sys.stdout.flush()
