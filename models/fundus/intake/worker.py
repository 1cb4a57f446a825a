"""The process that decodes: reads jobs from its standard input, answers on its standard output.

It may hang, crash or fill its memory on a hostile file; `process` then ends it and starts another.
It writes no file, sees no setting and no key, and ends by itself when nobody needs it.
"""

from __future__ import annotations

import os
import resource
import select
import sys
from typing import Any, BinaryIO

from core.errors import PatientError
from models.fundus import intake
from models.fundus.intake.frames import read_frame, write_frame


def _limit(memory_bytes: int) -> None:
    """Bound what a hostile file can take from the machine."""
    limits = [(resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_CORE, 0)]
    if sys.platform == "linux":  # elsewhere the address space holds more than what is used
        limits.append((resource.RLIMIT_AS, memory_bytes))
    for what, most in limits:
        resource.setrlimit(what, (most, most))


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _limit_cpu(more_s: int) -> None:
    """End this process when one job takes longer, even if nobody watches any more."""
    soft = int(_cpu_s()) + more_s + 1
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.RLIM_INFINITY))


def _answer(job: dict[str, Any], data: bytes, out: BinaryIO) -> None:
    limits = {"max_bytes": job["max_bytes"], "max_pixels": job["max_pixels"]}
    try:
        if job["task"] == "clean":
            kept = intake.clean_jpeg(data, **limits, longest_px=job["longest_px"])
            write_frame(out, {"kind": "jpeg", "cpu_s": _cpu_s()}, kept)
            return
        photo = intake.decode(data, **limits, working_px=job["working_px"])
    except PatientError as error:
        refused = {"kind": "refused", "key": error.text_key, "fields": error.fields}
        write_frame(out, {**refused, "cpu_s": _cpu_s()}, b"")
        return
    head = {
        "kind": "photo",
        "shape": photo.pixels.shape,
        "width_px": photo.width_px,
        "height_px": photo.height_px,
        "format": photo.format,
        "eye": photo.eye,
        "cpu_s": _cpu_s(),
    }
    write_frame(out, head, photo.pixels.tobytes())


def main(memory_bytes: int, idle_s: float) -> None:
    """Answer jobs until there are no more, or none has come for `idle_s` seconds."""
    # Only frames may reach the service: what a decoder prints goes nowhere.
    out = os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    source = os.fdopen(0, "rb", buffering=0)
    jobs = os.fdopen(os.dup(0), "rb")
    _limit(memory_bytes)
    write_frame(out, {"kind": "ready", "cpu_s": _cpu_s()}, b"")
    while select.select([source], [], [], idle_s)[0]:
        try:
            job, data = read_frame(jobs, most_bytes=1 << 31)
        except EOFError:
            return
        _limit_cpu(int(job["cpu_s"]))
        _answer(job, data, out)


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
