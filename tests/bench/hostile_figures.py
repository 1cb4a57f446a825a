"""Hostile files through the whole reader: what they cost, and whether each got the right answer."""

from __future__ import annotations

import resource
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from core.errors import PatientError, TransientError
from core.message import LANGUAGES
from core.texts import text
from models.fundus.reader import OnnxFundusReader
from models.fundus.settings import FundusSettings
from tests.bench.table import Figure
from tests.fakes.hostile_files import READING, Hostile, files

SEED = 20261122
_KIB = 1024 if sys.platform == "linux" else 1024 * 1024


@dataclass(slots=True)
class Outcome:
    """What became of the files.

    Attributes:
        answers: how often each answer was given.
        wrong: names of files with another answer than the right one.
        longest_s: of one file.
        slowest: its name.
        decoder_mib: largest memory of any process that decoded.
        service_mib: largest memory of this process.
    """

    answers: Counter[str] = field(default_factory=Counter[str])
    wrong: list[str] = field(default_factory=list[str])
    longest_s: float = 0.0
    slowest: str = ""
    decoder_mib: float = 0.0
    service_mib: float = 0.0


async def send_all(count: int, seed: int = SEED) -> Outcome:
    """Send `count` files to one reader, which must answer each and live."""
    found = Outcome()
    reader = OnnxFundusReader(FundusSettings(threads=1))
    try:
        await reader.warm_up()
        for sent in files(seed, count):
            began = time.monotonic()
            answer = await _answer(reader, sent)
            took_s = time.monotonic() - began
            found.answers[answer] += 1
            if answer not in sent.right and answer != "transient":
                found.wrong.append(f"{sent.name}: {answer}")
            if took_s > found.longest_s:
                found.longest_s, found.slowest = took_s, sent.name
    finally:
        await reader.close()
    found.decoder_mib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / _KIB
    found.service_mib = _peak_mib()
    return found


def _peak_mib() -> float:
    """Return the largest memory of this process.

    On Linux not from ``ru_maxrss``, which begins at what the process that started this one had.
    """
    try:
        status = Path("/proc/self/status").read_text("ascii")
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / _KIB
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(peak.split()[1]) / 1024


async def _answer(reader: OnnxFundusReader, sent: Hostile) -> str:
    try:
        await reader.read(sent.data, language="en")
    except PatientError as error:
        for language in LANGUAGES:  # every refusal has its words
            text(language, error.text_key, **error.fields)
        return error.text_key
    except TransientError:
        return "transient"
    return READING


async def hostile(_repeat: int, count: int = 1000) -> list[Figure]:
    """1,000 files made to hang, crash, fill or fool the reader."""
    found = await send_all(count)
    for line in found.wrong:
        sys.stderr.write(f"\nwrong: {line}")
    answers = ", ".join(f"{n} {key.removeprefix('fundus.')}" for key, n in found.answers.items())
    of = f"of {count} hostile files"
    return [
        Figure("hostile files: wrong answers", of, (len(found.wrong),), 0, note=answers),
        Figure(
            "hostile files: left to staff, no time to decode",
            of,
            (found.answers["transient"],),
            note="not blamed on the file; 0 on a machine that is not overloaded",
        ),
        Figure("hostile files: longest", "s", (found.longest_s,), 5, note=found.slowest),
        Figure("hostile files: memory of the decoder", "MiB", (found.decoder_mib,), 1024),
        Figure("hostile files: memory of the service", "MiB", (found.service_mib,), 1024),
    ]
