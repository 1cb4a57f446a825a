"""Write docs/reference/settings.md from the settings' own models, so that it cannot be wrong.

python scripts/settings_reference.py          writes the page
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel

from bot.settings import PREFIX, Settings

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "reference" / "settings.md"

_HEAD = f"""\
# Settings

Made by `python scripts/settings_reference.py` from the program itself; do not edit by hand.

- A setting comes from `config.yaml` (or the file named by `--config` or `OCULICHAT_CONFIG`);
  without it, the default holds. [`config.yaml`](../../config.yaml) runs as it is.
- The environment goes before the file: `{PREFIX}` and the path in capitals with `__` between
  levels, for example `telegram.token` → `{PREFIX}TELEGRAM__TOKEN`. Lists are JSON there
  (`{PREFIX}SERVER__TRUSTED_PROXIES='["10.0.0.2"]'`); lists of the `llm` part may also be separated
  by commas.
- The same variable with `_FILE` behind it names a file that holds the value: the way for secrets
  (`{PREFIX}TELEGRAM__TOKEN_FILE=/run/secrets/telegram_token`). Only
  `{PREFIX}DATABASE__KEY_FILE` is a path itself.
- An unknown or wrong setting ends the start with its name, the place, the remedy and exit
  status 78. No value is printed.
"""
_ATTRIBUTE = re.compile(r" {4}(\w+(?:, \w+)*): (.*)")
_TYPES = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
}


def _attributes(model: type[BaseModel]) -> dict[str, str]:
    """Return what a class's docstring says about each attribute."""
    found: dict[str, str] = {}
    name = ""
    _, _, section = (inspect.getdoc(model) or "").partition("Attributes:\n")
    for line in section.splitlines():
        if match := _ATTRIBUTE.fullmatch(line):
            name = match[1]
            found[name] = match[2]
        elif name and line.startswith(" " * 8):
            found[name] += " " + line.strip()
    return found


def _comments() -> dict[str, str]:
    """Return the comment above each top-level key of config.yaml."""
    text = (ROOT / "config.yaml").read_text("utf-8")
    blocks = re.finditer(r"^((?:# .*\n)+)(\w+):", text, re.MULTILINE)
    return {b[2]: " ".join(line[2:] for line in b[1].splitlines()) for b in blocks}


def _kind(schema: dict[str, Any]) -> str:
    """Return a type with its limits, in words."""
    if "anyOf" in schema:
        kinds = [_kind(each) for each in schema["anyOf"] if each.get("type") != "null"]
        return " or ".join(kinds) + " or null"
    if "enum" in schema:
        return " \\| ".join(f"`{value}`" for value in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_kind(schema['items'])}"
    if schema.get("format") == "path":
        return "path"
    kind = "secret text" if schema.get("format") == "password" else _TYPES[schema["type"]]
    words = {
        "minimum": "≥ {}",
        "exclusiveMinimum": "> {}",
        "maximum": "≤ {}",
        "pattern": "`{}`",
    }
    limits = [form.format(schema[key]) for key, form in words.items() if key in schema]
    return ", ".join([kind, *limits]).replace("|", "\\|")


def _default(value: Any) -> str:
    """Return a default as config.yaml would write it."""
    if isinstance(value, Path):
        return f"`{value}`" if not value.is_absolute() else "the installed ones"
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return "null"
    if isinstance(value, tuple):
        return f"`{list(cast('tuple[object, ...]', value))}`".replace("'", '"').replace("|", "\\|")
    return f"`{value}`"


def _rows(model: type[BaseModel], path: str, said: dict[str, str]) -> Iterator[str]:
    schema = model.model_json_schema()["properties"]
    for name, field in model.model_fields.items():
        if isinstance(field.default, BaseModel):
            continue  # a section of its own
        meaning = re.sub(r"\bNone\b", "null", said.get(name, "")).replace("``", "`")
        meaning = meaning.replace("|", "\\|")
        yield f"| `{path}{name}` | {_kind(schema[name])} | {_default(field.default)} | {meaning} |"


def page() -> str:
    """Return the whole page."""
    header = ["| setting | type | default | meaning |", "|---|---|---|---|"]
    parts = {n: f.default for n, f in Settings.model_fields.items()}
    models = {n: type(v) for n, v in parts.items() if isinstance(v, BaseModel)}
    comments = _comments()
    lines = [_HEAD, *header]
    for name, value in parts.items():
        if name not in models:
            meaning = comments.get(name, "")
            lines.append(f"| `{name}` | path | {_default(value)} | {meaning} |")
    for name, model in models.items():
        lines += _sections(name, model, header)
    return "\n".join(lines) + "\n"


def _sections(name: str, model: type[BaseModel], header: list[str]) -> Iterator[str]:
    """Yield a part's section, and a section for each part inside it."""
    title = (inspect.getdoc(model) or "").partition("\n")[0]
    yield from ("", f"## {name}", "", title)
    rows = list(_rows(model, f"{name}.", _attributes(model)))
    if rows:
        yield from ("", *header, *rows)
    for inner, field in model.model_fields.items():
        if isinstance(field.default, BaseModel):
            yield from _sections(f"{name}.{inner}", type(field.default), header)


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
