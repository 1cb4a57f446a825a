"""`oculichat models …`: weights by name or address, checked before they are kept."""

from __future__ import annotations

import json
import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bot.settings import Settings
from core.errors import ConfigError
from models.hub.address import resolve
from models.hub.catalogue import Entry, load
from models.hub.download import Wanted, fetch

_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_BAR = 30


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")


def _folder(settings: Settings) -> Path:
    return settings.data_dir / "models"


def _entries(settings: Settings) -> dict[str, Entry]:
    return load(_folder(settings) / "catalogue.yaml")


def list_models(settings: Settings, *, as_json: bool) -> int:
    """Print what can be pulled, and what is there."""
    rows: list[dict[str, Any]] = []
    for name, entry in sorted(_entries(settings).items()):
        path = _folder(settings) / name / entry.file
        there = str(path) if path.exists() else None
        rows.append({"name": name, **entry.model_dump(mode="json"), "path": there})
        if not as_json:
            size = f"{entry.size_bytes / 1e6:.1f} MB" if entry.size_bytes else "size not known"
            state = there or ("can be pulled" if entry.urls else "needs --url and --sha256")
            _say(f"{name:20} {size:16} {state}\n  {entry.about}\n  licence: {entry.licence}")
    if as_json:
        _say(json.dumps(rows, ensure_ascii=False))
    return 0


def pull(settings: Settings, name: str, *, url: str | None, sha256: str | None) -> int:
    """Fetch weights into `data_dir/models/NAME/` and print what to set.

    Args:
        settings: where the data lies.
        name: of the catalogue; with `url`, any name.
        url: where the file is, instead of the catalogue's own addresses.
        sha256: of the file; goes with `url`.

    Raises:
        ConfigError: unknown name, a missing or wrong hash, or no address gave the file.
    """
    entry = _entries(settings).get(name)
    if url is not None:
        wanted = _given(settings, name, entry, url, sha256)
    elif sha256 is not None:
        raise ConfigError("--sha256 goes with --url; the catalogue has its own")
    elif entry is None:
        known = ", ".join(sorted(_entries(settings)))
        raise ConfigError(f"{name!r} is not in the catalogue ({known}); or give --url and --sha256")
    elif not entry.urls or entry.sha256 is None:
        raise ConfigError(
            f"{name}: no address is known; ask whoever has the file for it and its SHA-256, then"
            f" `oculichat models pull {name} --url … --sha256 …`"
        )
    else:
        target = _folder(settings) / name / entry.file
        wanted = Wanted(entry.urls, entry.sha256, target, entry.size_bytes)
    bar = _Bar(wanted.target.name)
    is_new = fetch(wanted, progress=bar)
    bar.end()
    _say(f"{'fetched' if is_new else 'already there'}: {wanted.target}")
    if entry is not None and entry.setting:
        _say(f"to use it: set {entry.setting} to this file, then `oculichat doctor`")
    return 0


def _given(
    settings: Settings, name: str, entry: Entry | None, url: str, sha256: str | None
) -> Wanted:
    if sha256 is None:
        raise ConfigError("--url needs --sha256: nobody could tell the right file from another")
    if not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise ConfigError(f"--sha256 {sha256!r} is not 64 hexadecimal digits")
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,63}", name):
        raise ConfigError(f"{name!r}: a name has small letters, digits, dots and dashes")
    last = urlsplit(resolve(url)).path.rpartition("/")[2]
    file = entry.file if entry is not None else last
    if not _FILE_NAME.fullmatch(file):
        file = f"{name}.bin"
    return Wanted((url,), sha256.lower(), _folder(settings) / name / file)


@dataclass(slots=True)
class _Bar:
    """Progress on standard error: a bar on a terminal, a line every ten seconds elsewhere."""

    name: str
    began_s: float = 0.0
    first: int = 0
    shown_s: float = 0.0
    is_drawn: bool = False

    def __call__(self, done: int, whole: int | None) -> None:
        now = time.monotonic()
        if not self.began_s:
            self.began_s, self.first = now, done
        every_s = 0.2 if sys.stderr.isatty() else 10.0
        if now - self.shown_s < every_s and done != whole:
            return
        self.shown_s = now
        rate = (done - self.first) / max(now - self.began_s, 0.001)
        words = f"{done / 1e6:.1f} MB, {rate / 1e6:.1f} MB/s"
        if whole:
            full = round(_BAR * done / whole)
            left = f"{(whole - done) / rate:.0f} s left" if rate else ""
            words = f"[{'#' * full:{_BAR}}] {done / whole:4.0%} {words} {left}"
        end = "" if sys.stderr.isatty() else "\n"
        start = "\r" if sys.stderr.isatty() else ""
        sys.stderr.write(f"{start}{self.name} {words}{'   ' if start else ''}{end}")
        sys.stderr.flush()
        self.is_drawn = True

    def end(self) -> None:
        """Leave the line of the bar."""
        if self.is_drawn and sys.stderr.isatty():
            sys.stderr.write("\n")
