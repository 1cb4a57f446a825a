from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from bot.settings import Settings
from scripts.settings_reference import PAGE, page

_CONFIG = Path(__file__).parents[2] / "config.yaml"
# Its default is the installed folder, whose path differs from machine to machine.
_NOT_IN_CONFIG = {"fundus": {"weights"}}


def _defaults() -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, field in Settings.model_fields.items():
        default = field.default
        if isinstance(default, BaseModel):
            values[name] = default.model_dump(mode="json", exclude=_NOT_IN_CONFIG.get(name))
        else:
            values[name] = str(default)
    return values


def test_the_settings_page_is_what_the_models_say() -> None:
    stale = "stale: run .venv/bin/python scripts/settings_reference.py"
    assert PAGE.read_text("utf-8") == page(), stale


def test_every_setting_on_the_page_has_a_meaning() -> None:
    rows = [line for line in page().splitlines() if line.startswith("| `")]
    assert len(rows) > 50
    assert [row for row in rows if row.endswith("|  |")] == []


def test_config_yaml_shows_every_setting_with_its_default() -> None:
    assert yaml.safe_load(_CONFIG.read_text("utf-8")) == _defaults()
