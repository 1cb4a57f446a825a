"""Fetch one file: resumed where it broke off, checked before it gets its name.

The bytes grow in ``NAME.part``; only a file with the right SHA-256 is renamed to ``NAME``, so a
name on disk is a promise. Proxies come from the environment (`HTTPS_PROXY`, `HTTP_PROXY`,
`NO_PROXY`).
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import httpx

from core.errors import ConfigError
from models.hub.address import authorization, resolve, shown

TRIES = 5  # in a row without a byte gained
_PAUSE_S = 1.0  # before the second try; doubles
_TIMEOUT = httpx.Timeout(30.0, connect=15.0)
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")
_RESUMED, _WHOLE, _NOTHING_LEFT = 206, 200, 416

Progress = Callable[[int, int | None], None]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A file to fetch.

    Attributes:
        urls: where it lies, tried in order; see `models.hub.address`.
        sha256: of the file, lower case.
        target: where it goes.
        size_bytes: of the file, or None when not known.
    """

    urls: Sequence[str]
    sha256: str
    target: Path
    size_bytes: int | None = None


class _WrongFile(Exception):
    """What came is not the file: start over, once."""


class _Gone(Exception):
    """This address does not have it; another may."""


def fetch(
    wanted: Wanted,
    *,
    progress: Progress = lambda _done, _whole: None,
    sleep: Callable[[float], None] = time.sleep,
) -> bool:
    """Fetch a file, going on where an earlier try ended.

    Args:
        wanted: what, from where, to where.
        progress: told how many bytes there are, and of how many (None = not said).
        sleep: waits between tries.

    Returns:
        False when the right file was there already.

    Raises:
        ConfigError: no address gave the file, its hash is another, the disk is full or may not be
            written, or another process is fetching it.
    """
    if wanted.target.is_file() and _hash(wanted.target) == wanted.sha256:
        return False
    problems: list[str] = []
    with _part(wanted.target) as part:
        for url in wanted.urls:
            address = resolve(url)
            try:
                _fetch_from(address, authorization(url), part, wanted, progress, sleep)
            except _Gone as error:
                problems.append(f"{shown(address)}: {error}")
                continue
            _keep(part, wanted.target)
            return True
    raise ConfigError(f"{wanted.target.name} could not be fetched; " + "; ".join(problems))


@contextmanager
def _part(target: Path) -> Generator[BinaryIO]:
    """Open the unfinished file for this process alone."""
    path = target.with_name(target.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+b")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written ({error.strerror})") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConfigError(f"{path} is being fetched by another process; wait for it") from None
        try:
            yield file
        finally:
            if path.exists() and not path.stat().st_size:
                path.unlink()  # nothing to go on from


def _fetch_from(
    address: str,
    secret: dict[str, str],
    part: BinaryIO,
    wanted: Wanted,
    progress: Progress,
    sleep: Callable[[float], None],
) -> None:
    """Fetch from one address until the file is whole and right."""
    may_start_over = True
    tries = 0
    # httpx does not carry the secret to another host when it is sent on.
    headers = _headers() | secret
    with httpx.Client(follow_redirects=True, timeout=_TIMEOUT, headers=headers) as client:
        while True:
            before = part.seek(0, os.SEEK_END)
            try:
                _go_on(client, address, part, wanted, progress)
                _check(part, wanted)
            except _WrongFile as error:
                part.truncate(0)
                # An old rest of another version may be in front: one fresh start tells.
                if not may_start_over or not before:
                    raise _Gone(str(error)) from None
                may_start_over = False
            except (httpx.TransportError, _Busy) as error:
                gained = part.seek(0, os.SEEK_END) > before
                tries = 1 if gained else tries + 1
                if tries >= TRIES:
                    raise _Gone(str(error) or type(error).__name__) from None
                sleep(_PAUSE_S * 2 ** (tries - 1))
            except httpx.HTTPError as error:
                raise _Gone(str(error) or type(error).__name__) from None
            except OSError as error:
                raise ConfigError(f"{wanted.target}: {error.strerror}") from None
            else:
                return


class _Busy(Exception):
    """The server asks for a pause, or the stream ended early."""


def _headers() -> dict[str, str]:
    # As it is, not packed: ranges of a packed stream are ranges of something else.
    return {"User-Agent": "oculichat", "Accept-Encoding": "identity"}


def _go_on(
    client: httpx.Client, address: str, part: BinaryIO, wanted: Wanted, progress: Progress
) -> None:
    """Append what is missing to the part."""
    have = part.seek(0, os.SEEK_END)
    if wanted.size_bytes is not None and have == wanted.size_bytes:
        return
    headers = {"Range": f"bytes={have}-"} if have else {}
    with client.stream("GET", address, headers=headers) as answer:
        if answer.status_code == _NOTHING_LEFT and have:
            return  # the hash tells whether it is whole
        whole = _accept(answer, part, have)
        done = part.seek(0, os.SEEK_END)
        _make_room(wanted, done, whole)
        limit = wanted.size_bytes or whole
        for chunk in answer.iter_raw():
            part.write(chunk)
            done += len(chunk)
            if limit is not None and done > limit:
                raise _WrongFile(f"longer than the {limit} bytes it should have")
            progress(done, limit)
        part.flush()
        if whole is not None and done < whole:
            raise _Busy(f"ended after {done} of {whole} bytes")


def _accept(answer: httpx.Response, part: BinaryIO, have: int) -> int | None:
    """Look at the head of an answer, and return how long the whole file is, if it says so."""
    status = answer.status_code
    if status in {408, 425, 429} or status >= 500:
        raise _Busy(f"HTTP {status}")
    if status not in {_WHOLE, _RESUMED}:
        raise _Gone(f"HTTP {status}")
    length = answer.headers.get("Content-Length", "")
    if status == _RESUMED:
        found = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
        if found is None or int(found[1]) != have:
            raise _WrongFile("another part came than the one asked for")
        return int(found[2]) if found[2] != "*" else None
    part.truncate(0)  # the server knows no ranges, or there was nothing yet
    return int(length) if length.isdigit() else None


def _make_room(wanted: Wanted, done: int, whole: int | None) -> None:
    size = wanted.size_bytes or whole
    if wanted.size_bytes is not None and whole is not None and whole != wanted.size_bytes:
        raise _WrongFile(f"has {whole} bytes and should have {wanted.size_bytes}")
    free = shutil.disk_usage(wanted.target.parent).free
    if size is not None and size - done > free:
        raise ConfigError(
            f"{wanted.target.parent}: {(size - done) >> 20} MiB are needed, {free >> 20} are free"
        )


def _check(part: BinaryIO, wanted: Wanted) -> None:
    part.flush()
    found = _hash(Path(part.name))
    if found != wanted.sha256:
        raise _WrongFile(f"has sha256 {found} and should have {wanted.sha256}")


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _keep(part: BinaryIO, target: Path) -> None:
    """Give the file its name; after a power cut it is whole or not there."""
    try:
        os.fsync(part.fileno())
        Path(part.name).replace(target)
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise ConfigError(f"{target}: cannot be written ({error.strerror})") from None
