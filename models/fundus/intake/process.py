"""Decoding in a process of its own, so that no file can hang, crash or fill the service.

A thread cannot be ended and a decoder written in C cannot be interrupted; a process can. It starts
with the first photo, in the time the networks load, keeps what it imported for the next photos, and
ends by itself when none comes: an idle service pays nothing for it.
"""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast, get_args

import numpy as np
import structlog

from core.errors import PatientError, TransientError
from models.fundus.intake.decoding import REFUSALS, STORED_PX, refuse_unopened
from models.fundus.intake.frames import read_frame, write_frame
from models.fundus.intake.photo import Format, Photo

log = structlog.get_logger(__name__)

MEMORY_BYTES = 1 << 30  # of address space, so the resident part stays well below
IDLE_S = 120.0
_ROOT = Path(__file__).parents[3]  # where the package `models` lies
_INHERITED = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TMPDIR")
_RETRY_S = 5.0
_START_S = 30.0  # Python, numpy and Pillow from a cold disk


@dataclass(frozen=True, slots=True)
class _Ended:
    """How a process that gave no answer ended, and what it spent on that job."""

    cpu_s: float
    status: int
    timed_out: bool


class DecoderProcess:
    """Decodes in a child process; not thread-safe: the reader's one worker owns it.

    Args:
        timeout_s: one file may take so long; then the process is killed.
        memory_bytes: address space of the process.
        idle_s: it ends when no file came for so long.
    """

    def __init__(
        self, *, timeout_s: float, memory_bytes: int = MEMORY_BYTES, idle_s: float = IDLE_S
    ) -> None:
        self._timeout_s = timeout_s
        self._arguments = [str(memory_bytes), str(idle_s)]
        self._process: subprocess.Popen[bytes] | None = None
        self._is_ready = False
        self._cpu_s = 0.0  # what the process had used when it last answered

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def start(self) -> None:
        """Start the process if it does not run; returns before it is ready."""
        if self._process is not None:
            if self._process.poll() is None:
                return
            self._forget()
        environment = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        # One thread, and no arena per thread: address space is what is limited.
        environment |= {"OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
        environment["PYTHONPATH"] = str(_ROOT)
        self._is_ready, self._cpu_s = False, 0.0
        try:
            self._process = subprocess.Popen(  # noqa: S603  our own module, no shell
                [sys.executable, "-s", "-P", "-m", f"{__package__}.worker", *self._arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment,
                close_fds=True,
            )
        except OSError as error:
            raise TransientError("no process to decode in", retry_after_s=_RETRY_S) from error

    def decode(
        self, data: bytes, *, max_bytes: int, max_pixels: int, working_px: int | None = None
    ) -> Photo:
        """Decode a file; see `decoding.decode`.

        Raises:
            PatientError: as there; `fundus.cannot_open` when it took too long or the decoder
                crashed.
            TransientError: the machine is too busy to decode.
        """
        job = {"task": "decode", "max_bytes": max_bytes, "max_pixels": max_pixels}
        head, body = self._ask({**job, "working_px": working_px}, data, max_pixels * 3)
        try:
            return _photo(head, body)
        except (ValueError, TypeError, KeyError) as error:
            raise PatientError("fundus.cannot_open") from error

    def clean_jpeg(
        self, data: bytes, *, max_bytes: int, max_pixels: int, longest_px: int = STORED_PX
    ) -> bytes:
        """Return the picture as a JPEG to keep; see `decoding.clean_jpeg`.

        Raises:
            PatientError, TransientError: as `decode`.
        """
        job = {"task": "clean", "max_bytes": max_bytes, "max_pixels": max_pixels}
        return self._ask({**job, "longest_px": longest_px}, data, max_pixels * 3)[1]

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._forget()

    def _ask(
        self, job: dict[str, Any], data: bytes, most_bytes: int
    ) -> tuple[dict[str, Any], bytes]:
        refuse_unopened(data, max_bytes=int(job["max_bytes"]))
        answered = self._try(job, data, most_bytes)
        if isinstance(answered, _Ended) and answered.status == 0:
            answered = self._try(job, data, most_bytes)  # it had just gone to rest
        if isinstance(answered, _Ended):
            raise self._explain(answered)
        head, body = answered
        if head.get("kind") == "refused":
            raise _refusal(head)
        return head, body

    def _try(
        self, job: dict[str, Any], data: bytes, most_bytes: int
    ) -> tuple[dict[str, Any], bytes] | _Ended:
        self.start()
        process = cast("subprocess.Popen[bytes]", self._process)
        began = time.monotonic()
        out, answers = cast("BinaryIO", process.stdin), cast("BinaryIO", process.stdout)
        try:
            if not self._is_ready:
                with _killed_after(process, _START_S):
                    head, _ = read_frame(answers, most_bytes=0)
                self._is_ready, self._cpu_s = head["kind"] == "ready", float(head["cpu_s"])
            began = time.monotonic()
            with _killed_after(process, self._timeout_s):
                write_frame(out, {**job, "cpu_s": math.ceil(self._timeout_s)}, data)
                head, body = read_frame(answers, most_bytes=most_bytes)
            self._cpu_s = float(head["cpu_s"])
        except (OSError, EOFError, ValueError, KeyError):
            return self._end(timed_out=time.monotonic() - began >= self._timeout_s)
        return head, body

    def _explain(self, ended: _Ended) -> PatientError | TransientError:
        """Blame the file only when the process really worked on it."""
        log.warning("photo_decoder_ended", status=ended.status, cpu_s=round(ended.cpu_s, 1))
        starved = ended.timed_out and ended.cpu_s < self._timeout_s / 2
        if starved or not self._is_ready or ended.status == 0:
            return TransientError("decoding got no time on this machine", retry_after_s=_RETRY_S)
        return PatientError("fundus.cannot_open")

    def _end(self, *, timed_out: bool) -> _Ended:
        process = cast("subprocess.Popen[bytes]", self._process)
        # Not `Popen.kill`: it reaps a process that is dead already, and its CPU time is lost.
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
        try:
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            cpu_s = used.ru_utime + used.ru_stime - self._cpu_s
        except ChildProcessError:  # somebody else has waited for it
            cpu_s = self._timeout_s
        ended = _Ended(cpu_s, process.returncode or 0, timed_out)
        self._forget()
        return ended

    def _forget(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        for pipe in (process.stdin, process.stdout):
            try:
                if pipe is not None:
                    pipe.close()
            except OSError:  # what was not written to it is lost with it
                continue
        process.wait()


def _photo(head: dict[str, Any], body: bytes) -> Photo:
    """Check what came back: whoever wrote it had a stranger's file to read."""
    height, width, channels = (int(n) for n in head["shape"])
    if channels != 3 or head["format"] not in get_args(Format):
        raise ValueError("not a photo")
    pixels = np.frombuffer(body, np.uint8).reshape(height, width, 3)
    eye = head["eye"] if head["eye"] in {"OD", "OS"} else None
    return Photo(pixels, int(head["width_px"]), int(head["height_px"]), head["format"], eye)


def _refusal(head: dict[str, Any]) -> PatientError:
    key, fields = head.get("key"), head.get("fields")
    if key not in REFUSALS or not isinstance(fields, dict):
        return PatientError("fundus.cannot_open")
    limits = cast("dict[str, Any]", fields)
    return PatientError(key, **{n: int(v) for n, v in limits.items() if isinstance(v, int)})


@contextmanager
def _killed_after(process: subprocess.Popen[bytes], seconds: float) -> Generator[None]:
    """Bound what happens inside: reading has no time limit, but a killed process ends it."""
    watch = threading.Timer(seconds, process.kill)
    watch.daemon = True
    watch.start()
    try:
        yield
    finally:
        watch.cancel()
