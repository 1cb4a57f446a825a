"""Messages the gateway announced and we have not stored yet, kept over a crash.

An event carries only a message's id; what it says is asked for in a call of its own. The gateway
repeats no event, so between the two the id stands in a small file: a process that was killed
asks again when it is back.
"""

from __future__ import annotations

import json
import os
from collections import OrderedDict
from pathlib import Path

import structlog

_log = structlog.get_logger(__name__)

_MOST_LINES = 1_000  # of what is done with, before the file is written anew
_MOST = 50_000  # days of a busy account while the database is away


class Waiting:
    """An ordered set of message ids in a file. Each change is one short append.

    It survives the end of the process, not that of the machine: nothing is synced to disk.

    Args:
        path: the file; made on the first change.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._tries: OrderedDict[str, int] = OrderedDict()
        self._file: int | None = None
        self._lines = 0
        self._is_cut = False  # the end of an earlier process cut the last line
        self._load()

    def __len__(self) -> int:
        return len(self._tries)

    def add(self, message_id: str) -> bool:
        """Note a message; False when it waits already, or when too many do."""
        if message_id in self._tries:
            return False
        if len(self._tries) >= _MOST:
            _log.error("wechaty_message_dropped", waiting=len(self._tries))
            return False
        self._tries[message_id] = 0
        self._append("+", message_id)
        return True

    def first(self) -> str | None:
        """Return the message to ask for next."""
        return next(iter(self._tries), None)

    def later(self, message_id: str) -> int:
        """Put a message that cannot be read behind the others; returns how often that was."""
        self._tries[message_id] += 1
        self._tries.move_to_end(message_id)
        return self._tries[message_id]

    def done(self, message_id: str) -> None:
        """Forget a message: it is stored, or never will be."""
        del self._tries[message_id]
        self._append("-", message_id)
        if self._lines > _MOST_LINES + 2 * len(self._tries):
            self._start_anew()

    def close(self) -> None:
        """Close the file; the next change opens it again."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _append(self, what: str, message_id: str) -> None:
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            if self._is_cut:
                os.write(self._file, b"\n")
                self._is_cut = False
        os.write(self._file, (json.dumps([what, message_id]) + "\n").encode())
        self._lines += 1

    def _load(self) -> None:
        try:
            text = self._path.read_text("utf-8")
        except OSError:
            return
        lines = text.splitlines()
        self._lines = len(lines)
        self._is_cut = not text.endswith("\n") and bool(text)
        for line in lines:
            try:
                what, message_id = json.loads(line)
            except ValueError:
                continue  # the last one, cut by the end of the process
            if what == "+":
                self._tries[str(message_id)] = 0
            else:
                self._tries.pop(str(message_id), None)

    def _start_anew(self) -> None:
        """Replace the file by one that holds only what waits."""
        self.close()
        anew = self._path.with_suffix(".new")
        anew.unlink(missing_ok=True)
        handle = os.open(anew, os.O_WRONLY | os.O_CREAT, 0o600)
        lines = [json.dumps(["+", message_id]) + "\n" for message_id in self._tries]
        os.write(handle, "".join(lines).encode())
        os.close(handle)
        anew.replace(self._path)
        self._lines = len(lines)
